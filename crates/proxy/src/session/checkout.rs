//! Gives a session a server of its pool for the next transaction: at once where one is free that has the session's settings,
//! else in turn. Only `session` calls it. It sends nothing of the client's.

use super::attach::{RETRY, refused};
use super::clock::Wait;
use super::end::End;
use super::notice::{Board, Why};
use super::{Port, Session, Source};
use crate::pool::link::{Link, Right};
use crate::pool::{Hungry, Pool, Pools};
use crate::server::OpenError;
use crate::stats::Gauge;
use crate::track::Reported;
use dauphin_model::Target;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How often a session that waits looks whether a connection may be opened for it.
const WANT_AGAIN: Duration = Duration::from_millis(200);

/// How long a read waits for a connection to a replica.
const REPLICA_WAIT: Duration = Duration::from_millis(250);

/// How long a server may take to set what a session had set.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(2);

impl Session {
    /// A server that is free and needs nothing set: without a wait, and without an allocation.
    pub(super) fn check_out_now(&mut self) -> bool {
        let Source::Shared(pools, held) = &mut self.source else { return false };
        if self.port != Port::Write || self.hub.is_stopping() || self.seated.seat.who.database.paused.get() {
            return false;
        }
        let Some(right) = self.shard.leader_right() else { return false };
        let Some(link) = pools.leader.take(|its| *its == right, self.track.memory().state(), true) else {
            return false;
        };
        *held = Some(Rc::clone(&pools.leader));
        self.admitted = true;
        self.note_no_wait();
        self.adopt(link);
        true
    }

    /// A server that takes new transactions, within the limit.
    ///
    /// # Errors
    /// How the session ends instead.
    pub(super) async fn check_out(&mut self, pools: &Rc<Pools>, board: &Board) -> Result<(), End> {
        let hub = Arc::clone(&self.hub);
        let _held = Gauge::new(&hub.stats.held);
        let limits = hub.rules().limits.clone();
        let mut views = hub.subscribe();
        self.hold(&mut views, board).await?;
        let seat = Rc::clone(&self.seated.seat);
        let mut wait = Wait::begin(&seat);
        let mut deadline = Instant::now() + limits.wait;
        board.post_end(Some(deadline));
        let mut kept_out: Option<Instant> = None;
        self.choose().await;
        loop {
            if hub.is_stopping() {
                return Err(End::stopping());
            }
            let view = Arc::clone(&views.borrow_and_update());
            wait.see(&view);
            let stays = self.may_stay(&view)?;
            if self.hold(&mut views, board).await? {
                deadline = Instant::now() + limits.wait;
                board.post_end(Some(deadline));
                continue;
            }
            if stays {
                self.admitted = true;
                wait.done();
                return Ok(());
            }
            if Instant::now() >= deadline {
                hub.stats.waited_too_long.add();
                return Err(End::waited(limits.wait, &board.why()));
            }
            let place = if self.backend.is_none() { self.pool(pools) } else { None };
            let Some((pool, target, right)) = place else {
                board.post(Why::of(&view));
                tokio::select! {
                    _ = views.changed() => {}
                    () = sleep_until(deadline) => {}
                }
                continue;
            };
            if let Some(link) = pool.take(|its| *its == right, self.track.memory().state(), false) {
                self.set_up(link, &pool).await?;
                continue;
            }
            // A replica that lets a read wait for long is not worth it: the leader serves it.
            let chosen = matches!((&self.reading, &right), (Some(_), Right::Replica(_)));
            let patience = if chosen { deadline.min(Instant::now() + REPLICA_WAIT) } else { deadline };
            let mut offered = pool.queue();
            let offer = loop {
                let hungry = self.want(pools, &pool, &target, &right);
                if hungry.is_some() {
                    board.post(Why::Busy { limit: limits.pool, member: target.member.clone() });
                } else {
                    board.post_opening(&target.member);
                }
                tokio::select! {
                    offer = &mut offered => break offer.ok(),
                    () = pool.budget.freed(), if hungry.is_some() => {}
                    // What was on its way for this session may have gone to another shard meanwhile.
                    () = sleep_until(deadline.min(Instant::now() + WANT_AGAIN)), if Instant::now() < deadline => {}
                    _ = views.changed() => break None,
                    () = sleep_until(patience) => break None,
                }
            };
            // What was given at the same moment is not lost.
            let offer = offer.or_else(|| {
                offered.close();
                offered.try_recv().ok()
            });
            match offer {
                Some(Ok(link)) if self.is_paused() => pool.give(link, &self.shard),
                Some(Ok(link)) => self.set_up(link, &pool).await?,
                None | Some(Err(_)) if chosen => self.choose_none(),
                None => {}
                Some(Err(error)) => {
                    board.post(refused(error, &target, self.greeted, &mut kept_out)?);
                    tokio::select! {
                        _ = views.changed() => {}
                        () = sleep_until(deadline.min(Instant::now() + RETRY)) => {}
                    }
                }
            }
        }
    }

    /// Has a connection opened for whoever waits; something to hold while that is not allowed.
    fn want(&self, pools: &Rc<Pools>, pool: &Rc<Pool>, target: &Target, right: &Right) -> Option<Hungry> {
        if pools.want(pool, target, right) {
            return None;
        }
        let hungry = pool.starve();
        if self.shard.make_room(&pool.place) {
            pools.want(pool, target, right);
        }
        Some(hungry)
    }

    /// Where the next transaction goes.
    fn pool(&self, pools: &Rc<Pools>) -> Option<(Rc<Pool>, Target, Right)> {
        let leader = || self.shard.leader().map(|(target, right)| (Rc::clone(&pools.leader), target, right));
        if let Some(member) = self.reading.as_ref().and_then(|reading| reading.chosen())
            && let Some(target) = self.shard.replicas().into_iter().find(|target| target.member == *member)
        {
            return Some((pools.replica(&self.hub, member), target, Right::Replica(member.clone())));
        }
        if self.port == Port::Write {
            return leader();
        }
        let (view, zone) = (self.shard.view(), self.shard.zone());
        let wish = self.wish(zone.as_deref());
        let replicas = view.readable().map(|replica| (pools.replica(&self.hub, &replica.target.member), replica));
        let best = replicas.min_by_key(|(pool, replica)| wish.rank(replica, pool.load()));
        let best = best.map(|(pool, replica)| {
            let target = replica.target.clone();
            let right = Right::Replica(target.member.clone());
            (pool, target, right)
        });
        best.or_else(|| if self.hub.rules().read_from_leader { leader() } else { None })
    }

    /// Gives a server that was checked out this session's settings, and takes it.
    async fn set_up(&mut self, mut link: Box<Link>, pool: &Rc<Pool>) -> Result<(), End> {
        let memory = self.track.memory();
        if link.state != memory.state() {
            link.server.parameters = link.reported.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let restored = timeout(SET_UP_TIMEOUT, link.server.restore(memory, link.state, &mut link.known)).await;
            match restored.unwrap_or_else(|_| Err(OpenError::NotYet("it does not answer".into()))) {
                Ok(()) => {
                    link.state = memory.state();
                    link.reported = Reported::of(&link.server.parameters);
                }
                Err(_) if self.reading.is_some() && matches!(link.right, Right::Replica(_)) => {
                    pool.closed();
                    self.choose_none();
                    return Ok(());
                }
                Err(OpenError::NotRestored(why)) => {
                    pool.closed();
                    return Err(End::not_restored(&why));
                }
                // The server is gone: there is another, or there will be.
                Err(_) => {
                    pool.closed();
                    return Ok(());
                }
            }
        }
        if !self.is_fresh(&link).await {
            pool.give(link, &self.shard);
            self.choose_none();
            return Ok(());
        }
        if let Source::Shared(_, held) = &mut self.source {
            *held = Some(Rc::clone(pool));
        }
        self.adopt(link);
        Ok(())
    }
}
