//! Looks at this member's server again and again, and keeps access and what it holds for others as they should be. It reports
//! and keeps house; it never decides who leads.

use crate::engine::{Access, House};
use crate::lag::LagClock;
use crate::server::Server;
use dauphin_ha::{Event, Role};
use dauphin_model::{Leadership, Remark, Run, ServerView};
use dauphin_net::Identity;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the server is looked at while something is under way.
const LOOK_BUSY: Duration = Duration::from_millis(20);
/// Pending settings and slots are looked at this often.
const HOUSE_EVERY: Duration = Duration::from_secs(5);
/// The disk is probed this often.
const DISK_EVERY: Duration = Duration::from_millis(500);
/// A new connection is tried this often: kept ones go on answering when the postmaster alone stands still.
const KNOCK_EVERY: Duration = Duration::from_secs(2);
/// This many knocks in a row without an answer, and the server counts as hung.
const KNOCKS_MAX: u32 = 3;
/// A certificate with fewer days left is worth a warning.
pub(crate) const CERTIFICATE_DAYS_MIN: i64 = 30;

/// Looks until the agent ends.
pub(crate) async fn run(server: Arc<Server>, identity: Arc<Identity>) {
    let disk = server
        .engine
        .probe_disk(DISK_EVERY)
        .inspect_err(|error| tracing::error!(%error, "the disk cannot be probed"))
        .ok();
    let mut house = House::default();
    let mut kept = Instant::now();
    let mut lag = LagClock::default();
    let (mut knocked, mut unanswered) = (Instant::now(), 0_u32);
    loop {
        let (role, beat, suspect, calm, believed_up, record) = {
            let picture = server.picture.borrow();
            let calm = match picture.role {
                Role::Leader => picture.busy.is_none(),
                Role::Replica => picture.server.streaming.is_some() && picture.busy.is_none(),
                _ => false,
            };
            let profile = picture.spec.profile;
            let (beat, suspect) = (profile.beat().duration(), profile.suspect().duration());
            (picture.role, beat, suspect, calm, picture.believes_up, picture.store.leadership.clone())
        };
        let (up, life) = server.life();
        if up {
            let mut view = server.engine.look(&server, beat).await;
            view.disk_ok = disk.as_ref().is_none_or(|d| d.age() < suspect.max(3 * DISK_EVERY));
            view.pending_restart.clone_from(&house.pending_restart);
            view.serves = server.serves();
            lag.measure(dauphin_guard::boottime(), &mut view);
            view.remarks = remarks(&view, &house.by_hand, identity.days_left());
            if view.run == Run::Running && knocked.elapsed() >= KNOCK_EVERY {
                knocked = Instant::now();
                unanswered = if server.engine.is_silent(suspect).await { unanswered + 1 } else { 0 };
            }
            if unanswered >= KNOCKS_MAX {
                view.run = Run::Hung;
            }
            let running = view.run == Run::Running;
            if running {
                server.engine.after_look(&server, role, &view);
            }
            if server.life() == (true, life) {
                server.inbox.tell(Event::Server(Box::new(view)));
            }
            if running && role == Role::Replica && calm && !server.serves() {
                let_readers_in(&server).await;
            }
            let changed = server.changed_lately(HOUSE_EVERY);
            if running && (changed || kept.elapsed() >= HOUSE_EVERY) {
                kept = Instant::now();
                server.engine.look_around(&server, &mut house, beat).await;
                server.engine.keep_house(&server, role).await;
            }
        }
        if !up {
            unanswered = 0;
            // told before: but a server that ends while a step starts it is believed to run once that step is done
            if believed_up && server.life() == (false, life) {
                server.inbox.tell(Event::ServerExited);
            }
        }
        let pause = if calm { beat / 2 } else { LOOK_BUSY };
        // what follows a look may go by the record: commits wait for a replica that is counted now
        let _ = tokio::time::timeout(pause, another_record(&server, record.as_ref())).await;
    }
}

/// Waits until the store's record is another one than this.
async fn another_record(server: &Server, than: Option<&Leadership>) {
    let mut picture = server.picture.clone();
    if picture.wait_for(|now| now.store.leadership.as_ref() != than).await.is_err() {
        // the agent ends
        std::future::pending::<()>().await;
    }
}

/// What a person should know of the server: reported, never undone.
fn remarks(view: &ServerView, by_hand: &[String], certificate_days: i64) -> Vec<Remark> {
    let mut found = Vec::new();
    if certificate_days < CERTIFICATE_DAYS_MIN {
        found.push(Remark::CertificateEnds { days: certificate_days });
    }
    if view.replay_paused {
        found.push(Remark::ReplayPaused);
    }
    if !by_hand.is_empty() {
        found.push(Remark::SetByHand { settings: by_hand.to_vec() });
    }
    found.extend(view.remarks.iter().cloned());
    found
}

/// A replica that follows a leader serves reads.
async fn let_readers_in(server: &Server) {
    let Ok(_hand) = server.hand.try_lock() else { return };
    if server.picture.borrow().role != Role::Replica {
        return;
    }
    if let Err(error) = server.set_access(Access::Open).await {
        tracing::warn!(%error, "readers cannot be let in yet");
    }
}
