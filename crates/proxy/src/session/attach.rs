//! Finds a server for a session that has its own, and waits for one, within a limit, while there is none. Only `session`
//! calls it. It never sends anything of the client's but its login and what is needed to set the session up again.

use super::clock::Wait;
use super::end::End;
use super::notice::{Board, Why};
use super::{Port, Session, Source};
use crate::hub::ReadSlot;
use crate::pool::link::{Counted, Fate, Link, Right};
use crate::pool::open::{self, Login};
use crate::server::{OpenError, Server};
use crate::stats::Gauge;
use crate::table::View;
use crate::track::Known;
use dauphin_model::{Target, Term};
use dauphin_wire::postgres::message::{Report, TOO_MANY_CONNECTIONS};
use dauphin_wire::postgres::scram::Secret;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pause before a server that was not ready is asked again.
pub(super) const RETRY: Duration = Duration::from_millis(20);

/// How long access rules that keep a client out are taken for those of a closed server.
const KEPT_OUT_PATIENCE: Duration = Duration::from_secs(2);

/// How long opening one connection may take before it is tried again, perhaps elsewhere.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);

/// Where to attach.
enum Place {
    Leader(Target, Term),
    Replica(Target, ReadSlot),
}

impl Place {
    fn target(&self) -> &Target {
        match self {
            Self::Leader(target, _) | Self::Replica(target, _) => target,
        }
    }

    fn holds(&self, view: &View) -> bool {
        match self {
            Self::Leader(target, term) => view.term == *term && view.admitting_leader() == Some(target),
            Self::Replica(target, _) => view.usable_replicas().any(|replica| replica == target),
        }
    }
}

impl Session {
    /// Attaches the session to a server that takes new transactions.
    ///
    /// # Errors
    /// How the session ends instead.
    pub(super) async fn attach(&mut self) -> Result<(), End> {
        self.waiting(async |session: &mut Self, board: &Board| match &session.source {
            Source::Shared(pools, _) => {
                let pools = Rc::clone(pools);
                session.check_out(&pools, board).await
            }
            Source::Own(_) => session.attach_own(board).await,
        })
        .await
    }

    async fn attach_own(&mut self, board: &Board) -> Result<(), End> {
        let hub = Arc::clone(&self.hub);
        let _held = Gauge::new(&hub.stats.held);
        let limit = hub.rules().limits.wait;
        let mut views = hub.subscribe();
        self.hold(&mut views, board).await?;
        let seat = Rc::clone(&self.seated.seat);
        let mut wait = Wait::begin(&seat);
        let mut deadline = Instant::now() + limit;
        board.post_end(Some(deadline));
        let mut kept_out: Option<Instant> = None;
        loop {
            if hub.is_stopping() {
                return Err(End::stopping());
            }
            let view = Arc::clone(&views.borrow_and_update());
            wait.see(&view);
            let stays = self.may_stay(&view)?;
            if self.hold(&mut views, board).await? {
                deadline = Instant::now() + limit;
                board.post_end(Some(deadline));
                continue;
            }
            if stays {
                self.admitted = true;
                wait.done();
                return Ok(());
            }
            let mut next = deadline;
            let place = if self.backend.is_none() { self.place(&view) } else { None };
            if place.is_none() {
                board.post(Why::of(&view));
            }
            if let Some(place) = place {
                board.post_opening(&place.target().member);
                match self.open(&place, &mut views, deadline).await {
                    Some(Ok(server)) => {
                        let link = match place {
                            Place::Leader(_, term) => Link::new(server, Right::Leader(term), Counted::Nothing),
                            Place::Replica(target, slot) => {
                                Link::new(server, Right::Replica(target.member), Counted::Reader(slot))
                            }
                        };
                        if self.greeted {
                            hub.stats.reattached.add();
                        }
                        self.adopt(link);
                        continue;
                    }
                    Some(Err(error)) => {
                        board.post(refused(error, place.target(), self.greeted, &mut kept_out)?);
                        next = Instant::now() + RETRY;
                    }
                    None => drop(board.post(Why::Said(format!("{} does not answer", place.target().member)))),
                }
            }
            if Instant::now() >= deadline {
                hub.stats.waited_too_long.add();
                return Err(End::waited(limit, &board.why()));
            }
            tokio::select! {
                _ = views.changed() => {}
                () = tokio::time::sleep_until(next.min(deadline)) => {}
            }
        }
    }

    /// Whether the server that the session has takes new transactions; one that never will again is left.
    pub(super) fn may_stay(&mut self, view: &View) -> Result<bool, End> {
        match self.backend.as_ref().map(|backend| backend.right.fate(view)) {
            Some(Fate::Admitted) => Ok(true),
            Some(Fate::Closed | Fate::Superseded) => {
                self.leave()?;
                Ok(false)
            }
            Some(Fate::Hold) | None => Ok(false),
        }
    }

    fn place(&self, view: &View) -> Option<Place> {
        let leader = || view.admitting_leader().map(|target| Place::Leader(target.clone(), view.term));
        match self.port {
            Port::Write => leader(),
            Port::Read => {
                let zone = self.shard.zone();
                match self.hub.pick_replica(view, self.wish(zone.as_deref())) {
                    Some((target, slot)) => Some(Place::Replica(target, slot)),
                    None if self.hub.rules().read_from_leader => leader(),
                    None => None,
                }
            }
        }
    }

    /// Opens a connection; none when it took too long or the place is no longer right.
    async fn open(
        &self,
        place: &Place,
        views: &mut watch::Receiver<Arc<View>>,
        deadline: Instant,
    ) -> Option<Result<Server, OpenError>> {
        let Source::Own(own) = &self.source else { return None };
        let (login, secret): &(Login, Secret) = own;
        let opening = async {
            let leads = matches!(place, Place::Leader(..));
            let (mut server, _) = open::open(&self.hub, place.target(), leads, login, secret).await?;
            if self.greeted {
                let (mut known, memory) = (Known::default(), self.track.memory());
                server.restore(memory, 0, &mut known).await?;
                server.report_as(memory).await?;
            }
            Ok(server)
        };
        let superseded = async {
            while views.changed().await.is_ok() {
                if !place.holds(&views.borrow_and_update()) {
                    break;
                }
            }
        };
        tokio::select! {
            opened = opening => Some(opened),
            () = superseded => None,
            () = tokio::time::sleep_until(deadline.min(Instant::now() + OPEN_TIMEOUT)) => None,
        }
    }
}

/// What a refusal means: a reason to try again, or the session's end.
pub(super) fn refused(
    error: OpenError,
    target: &Target,
    greeted: bool,
    kept_out: &mut Option<Instant>,
) -> Result<Why, End> {
    let said = |text| Ok(Why::Said(text));
    match error {
        OpenError::NotYet(why) => {
            *kept_out = None;
            said(format!("{}: {why}", target.member))
        }
        OpenError::KeptOut(body) => {
            let since = *kept_out.get_or_insert_with(Instant::now);
            if since.elapsed() > KEPT_OUT_PATIENCE {
                return Err(End::Server(body));
            }
            said(format!("{} keeps clients out", target.member))
        }
        // Others may leave; a session that was in is worth the wait.
        OpenError::Refused(body) if greeted && Report::parse(&body).code == TOO_MANY_CONNECTIONS.as_bytes() => {
            said(format!("{} has too many connections", target.member))
        }
        OpenError::Refused(body) => Err(End::Server(body)),
        OpenError::NotRestored(why) => Err(End::not_restored(&why)),
        OpenError::Broken(why) => {
            tracing::warn!(member = %target.member, %why, "a member cannot be used for clients");
            said(format!("{}: {why}", target.member))
        }
    }
}
