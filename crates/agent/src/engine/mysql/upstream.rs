//! Whom a replica of MySQL or MariaDB follows, and whether it acknowledges: it does while its leader enforces that, and logs in
//! with another account then. A look every now and then sees to it that the two agree.

use super::{LOOK_LIMIT, MysqlHands, own_voter};
use crate::engine::Error;
use crate::engine::mysql::questions::{Answer, Question};
use crate::server::{Server, lock};
use dauphin_engine::mysql::{Check, SourceTls, Upstream, Version};
use dauphin_ha::{EngineOutcome, Role};
use dauphin_model::{Leadership, LeadershipState, MemberName, Position, Voter};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the leader's agent may take to say whether it counts this replica.
const COUNTED_WITHIN: Duration = Duration::from_millis(500);
/// How often it is asked again while it is about to.
const COUNTED_POLL: Duration = Duration::from_millis(20);
/// How long a replica may take to apply what it received before it follows another one.
const FOLLOW_LIMIT: Duration = Duration::from_secs(10);
/// The same where it only changes how it follows: steps wait meanwhile.
const REFOLLOW_LIMIT: Duration = Duration::from_secs(1);
/// How long it is left alone after that failed: what is in the way, an applier that somebody stopped, may stay there.
const REFOLLOW_REST: Duration = Duration::from_secs(1);
/// How long a leader that stops in order waits for its replicas to have everything.
const REPLICAS_LIMIT: Duration = Duration::from_secs(2);
/// How often they are asked meanwhile.
const REPLICAS_POLL: Duration = Duration::from_millis(10);

/// What a server was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Follows {
    upstream: MemberName,
    voter: Voter,
    acknowledges: bool,
    delay_s: u64,
    /// When changing over failed: it may have stopped receiving on the way.
    halfway: Option<Instant>,
}

/// How late a replica is meant to apply, in seconds: not while anybody may count on what it received and has not applied.
fn delay_s(server: &Server, voter: &Voter, acknowledges: bool) -> u64 {
    let counts = is_published(server, voter);
    let picture = server.picture.borrow();
    let meant = picture.spec.member(&voter.name).and_then(|member| member.delay).filter(|_| !acknowledges && !counts);
    meant.map_or(0, |delay| delay.as_ms().div_ceil(1_000))
}

impl MysqlHands {
    /// Follows this member; as one that acknowledges if that is its leader and counts it.
    pub(super) async fn follow(
        &self,
        server: &Server,
        upstream: &MemberName,
        voter: &Voter,
    ) -> Result<EngineOutcome, Error> {
        let said = if leads(server, upstream) { counted_by(server, upstream, voter).await } else { None };
        let (acknowledges, version) = said.map_or((false, None), |(counted, version)| (counted, Some(version)));
        self.follow_as(server, upstream, voter, acknowledges, version, FOLLOW_LIMIT).await?;
        Ok(EngineOutcome::Done)
    }

    async fn follow_as(
        &self,
        server: &Server,
        upstream: &MemberName,
        voter: &Voter,
        acknowledges: bool,
        version: Option<Version>,
        limit: Duration,
    ) -> Result<(), Error> {
        let spec = server.spec();
        let member = spec.member(upstream).ok_or_else(|| Error::Unnamed { member: upstream.clone() })?;
        let delay_s = delay_s(server, voter, acknowledges);
        let tls = self.server.settings().await.tls.filter(|_| spec.mysql.sql_tls);
        let to = Upstream {
            host: member.host.clone(),
            port: member.sql_port,
            version,
            voter: voter.clone(),
            acknowledges,
            tls: tls.map(|tls| SourceTls { ca: tls.ca, check: Check::Host }),
            delay_s,
            secret: self.credentials.replication.clone(),
        };
        *lock(&self.follows) = None;
        self.server.follow_as(&to, limit).await?;
        let (upstream, voter) = (upstream.clone(), voter.clone());
        *lock(&self.follows) = Some(Follows { upstream, voter, acknowledges, delay_s, halfway: None });
        Ok(())
    }

    /// Whether this replica may be counted and does not acknowledge, or the other way round. In step with what is published, and
    /// streaming, there is nothing to ask.
    pub(super) fn out_of_step(&self, server: &Server, streams: bool) -> bool {
        let Some(told) = self.told(server).filter(|told| leads(server, &told.upstream)) else { return false };
        told.halfway.is_some() || may_count(server, &told.voter) != told.acknowledges || (told.acknowledges && !streams)
    }

    /// Whether this replica is not as late as it is meant to be.
    pub(super) fn is_mistimed(&self, server: &Server) -> bool {
        self.told(server).is_some_and(|told| told.delay_s != delay_s(server, &told.voter, told.acknowledges))
    }

    /// What this copy of the server was told last, unless that failed a moment ago.
    fn told(&self, server: &Server) -> Option<Follows> {
        let rests = |told: &Follows| told.halfway.is_some_and(|failed| failed.elapsed() < REFOLLOW_REST);
        lock(&self.follows).clone().filter(|told| !rests(told) && told.voter == own_voter(server))
    }

    /// Asks the leader's agent, and follows in the other way where its word changed.
    pub(super) fn ask_whether_counted(&self, server: &Arc<Server>) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let server = Arc::clone(server);
        server.runtime.clone().spawn(async move {
            if let Some(hands) = server.engine.mysql() {
                hands.keep_in_step(&server).await;
                hands.asking.store(false, Ordering::Release);
            }
        });
    }

    async fn keep_in_step(&self, server: &Server) {
        let Some(told) = lock(&self.follows).clone() else { return };
        let said = if leads(server, &told.upstream) {
            self.counted_soon(server, &told).await.map(|(counted, version)| (counted, Some(version)))
        } else {
            Some((false, None))
        };
        let Some((counted, version)) = said else { return };
        let late = told.delay_s == delay_s(server, &told.voter, counted);
        if counted == told.acknowledges && late && told.halfway.is_none() {
            return;
        }
        let Ok(_hand) = server.hand.try_lock() else { return };
        // a step may have come between
        if server.picture.borrow().role != Role::Replica || *lock(&self.follows) != Some(told.clone()) {
            return;
        }
        match self.follow_as(server, &told.upstream, &told.voter, counted, version, REFOLLOW_LIMIT).await {
            Ok(()) => {
                tracing::info!(leader = %told.upstream, acknowledges = counted, "follows as the leader counts it")
            }
            Err(error) => {
                tracing::warn!(%error, "the replica cannot follow as the leader counts it yet");
                *lock(&self.follows) = Some(Follows { halfway: Some(Instant::now()), ..told });
            }
        }
    }

    /// [`counted_by`], of a leader that publishes first whom it is about to count: its commits wait from then on.
    async fn counted_soon(&self, server: &Server, told: &Follows) -> Option<(bool, Version)> {
        let until = Instant::now() + COUNTED_WITHIN;
        loop {
            let said = counted_by(server, &told.upstream, &told.voter).await;
            let waits = matches!(said, Some((false, _))) && !told.acknowledges && is_published(server, &told.voter);
            let same = leads(server, &told.upstream) && lock(&self.follows).as_ref() == Some(told);
            if !waits || !same || Instant::now() >= until {
                return said;
            }
            tokio::time::sleep(COUNTED_POLL).await;
        }
    }

    /// Whether this server waits for that copy.
    pub(super) fn counts(&self, voter: &Voter) -> bool {
        lock(&self.enforced).as_ref().is_some_and(|enforced| enforced.voters.contains(voter))
    }

    /// Waits a little until every replica that is attached has all that this closed leader has.
    pub(super) async fn wait_for_replicas(&self, server: &Server) {
        let until = Instant::now() + REPLICAS_LIMIT;
        let view = self.server.view(LOOK_LIMIT).await;
        let Some(ours) = view.position else { return };
        let attached = view.attached.iter().filter_map(|a| a.voter.as_ref());
        for name in attached.map(|voter| &voter.name) {
            while !holds(server, name, &ours).await {
                if Instant::now() >= until {
                    tracing::info!(%name, "stops though this replica has not said that it has everything");
                    return;
                }
                tokio::time::sleep(REPLICAS_POLL).await;
            }
        }
    }
}

/// Whether that member says that its log holds all of this.
async fn holds(server: &Server, member: &MemberName, ours: &Position) -> bool {
    let answer = server.question(member, Question::Position, COUNTED_WITHIN).await;
    matches!(answer, Some(Answer::Position(Some(theirs))) if theirs.holds(ours))
}

/// Whether the record names this member the leader.
fn leads(server: &Server, name: &MemberName) -> bool {
    server.picture.borrow().store.leadership.as_ref().is_some_and(|record| record.leader.name == *name)
}

/// Whether what is published lets the leader count this copy.
fn may_count(server: &Server, voter: &Voter) -> bool {
    let elected = |r: &Leadership| r.state == LeadershipState::Elected;
    is_published(server, voter) || server.picture.borrow().store.leadership.as_ref().is_some_and(elected)
}

/// Whether the published set names this copy.
fn is_published(server: &Server, voter: &Voter) -> bool {
    server.picture.borrow().store.leadership.as_ref().is_some_and(|r| r.published.voters.contains(voter))
}

/// Whether that leader waits for this copy, and which version it runs, as its agent says. `None`: it does not say.
async fn counted_by(server: &Server, leader: &MemberName, voter: &Voter) -> Option<(bool, Version)> {
    match server.question(leader, Question::Counts { voter: voter.clone() }, COUNTED_WITHIN).await {
        Some(Answer::Counts { counted, version }) => Some((counted, version)),
        Some(_) | None => None,
    }
}
