//! The post: takes notices into the outbox, and sends each place its own in their order, again and again until it took them.
//! A place that fails holds up no other one.

use crate::body;
use crate::error::SendError;
use crate::letter::Letter;
use crate::outbox::{Outbox, Ticket};
use crate::{command, http, mail, secret};
use dauphin_model::{TargetKind, TargetSpec};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The pause after a first failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether a pause is over.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a place may refuse the same notice before it is given up: another one may be wanted.
const REFUSALS_MAX: u32 = 5;

/// How a place is.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Notices that wait for it.
    pub waiting: usize,
    /// Notices that it took, since this process started.
    pub sent: u64,
    /// Notices that were given up: no room, or refused again and again.
    pub dropped: u64,
    /// Why the last attempt failed.
    pub failing: Option<String>,
    tries: u32,
    again: Option<Instant>,
    busy: bool,
}

/// The post.
#[derive(Debug)]
pub struct Post {
    outbox: Outbox,
    places: Mutex<BTreeMap<String, Standing>>,
    news: Notify,
}

impl Post {
    /// Opens the outbox in that folder. An agent has more to do than to tell people: where the folder cannot be read that
    /// is logged, and what lies there waits for a start that can.
    #[must_use]
    pub fn open(dir: &Path) -> Arc<Self> {
        let outbox = Outbox::open(dir).unwrap_or_else(|error| {
            tracing::error!(%error, "notices that wait cannot be read; new ones are tried all the same");
            Outbox::unread(dir)
        });
        Arc::new(Self { outbox, places: Mutex::default(), news: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a notice for every place that it concerns; it is on the disk when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// The first place for which it could not be written; the others have it.
    pub fn take(&self, targets: &[TargetSpec], letter: &Letter) -> Result<(), SendError> {
        let mut first = Ok(());
        for target in targets {
            let Some(letter) = letter.from_level(target.level) else { continue };
            match self.outbox.put(&target.name, &letter) {
                Ok(0) => {}
                Ok(dropped) => {
                    self.dropped(&target.name, dropped, "the outbox is full: the least of what waits is dropped")
                }
                Err(error) => first = first.and(Err(error)),
            }
        }
        self.news.notify_one();
        first
    }

    async fn done(self: &Arc<Self>, place: &str, ticket: Ticket) {
        let (post, place) = (Arc::clone(self), place.to_owned());
        let _ = blocking(move || post.outbox.done(&place, ticket)).await;
    }

    fn dropped(&self, place: &str, count: usize, why: &str) {
        tracing::error!(place, count, "{why}");
        self.lock().entry(place.to_owned()).or_default().dropped += u64::try_from(count).unwrap_or(u64::MAX);
    }

    /// How each place is.
    #[must_use]
    pub fn standings(&self) -> BTreeMap<String, Standing> {
        let mut all = self.lock().clone();
        for (place, waiting) in self.outbox.waiting() {
            all.entry(place).or_default().waiting = waiting;
        }
        all
    }

    /// Sends what waits. `targets`: the places as they are now. Runs until it is dropped.
    pub async fn run(self: Arc<Self>, targets: impl Fn() -> Vec<TargetSpec>) {
        loop {
            let (now, waiting) = (targets(), self.outbox.waiting());
            let named = |place: &str| now.iter().any(|t| t.name == place);
            for place in waiting.keys().filter(|place| !named(place.as_str())) {
                self.forget(place.clone()).await;
            }
            for target in now {
                if waiting.get(&target.name).is_some_and(|count| *count > 0) && self.begin(&target.name) {
                    tokio::spawn(Arc::clone(&self).deliver(target));
                }
            }
            let _ = tokio::time::timeout(LOOK_EVERY, self.news.notified()).await;
        }
    }

    /// A place is not in the configuration any more.
    async fn forget(self: &Arc<Self>, place: String) {
        if self.lock().get(&place).is_some_and(|s| s.busy) {
            return;
        }
        let (post, of) = (Arc::clone(self), place.clone());
        let count = blocking(move || post.outbox.give_up(&of)).await.unwrap_or(0);
        if count > 0 {
            tracing::warn!(place, count, "a place is not in the configuration any more: what waited is dropped");
        }
        self.lock().remove(&place);
    }

    /// Whether it is time to try a place; it is busy then.
    fn begin(&self, place: &str) -> bool {
        let mut places = self.lock();
        let standing = places.entry(place.to_owned()).or_default();
        let due = !standing.busy && standing.again.is_none_or(|again| again <= Instant::now());
        standing.busy |= due;
        due
    }

    async fn deliver(self: Arc<Self>, target: TargetSpec) {
        let (post, name) = (Arc::clone(&self), target.name.clone());
        let Some((ticket, letter)) = blocking(move || post.outbox.first(&name)).await.flatten() else {
            self.lock().entry(target.name).or_default().busy = false;
            return;
        };
        let result = send(&target, &letter).await;
        if self.judge(&target.name, &result) {
            // before the next one is looked for
            self.done(&target.name, ticket).await;
        }
        self.lock().entry(target.name).or_default().busy = false;
        self.news.notify_one();
    }

    /// Notes what came of an attempt. Whether that notice is over: delivered, or given up.
    fn judge(&self, name: &str, result: &Result<String, SendError>) -> bool {
        let mut places = self.lock();
        let place = places.entry(name.to_owned()).or_default();
        let error = match result {
            Ok(_) => {
                if place.failing.take().is_some() {
                    tracing::info!(place = name, "notices are delivered again");
                }
                (place.tries, place.again) = (0, None);
                place.sent += 1;
                return true;
            }
            Err(error) => error,
        };
        if place.failing.is_none() {
            tracing::warn!(place = name, %error, "notices cannot be delivered; they wait and are tried again");
        }
        place.failing = Some(error.to_string());
        place.again = Some(Instant::now() + pause(place.tries));
        place.tries = place.tries.saturating_add(1);
        if !error.is_refusal() || place.tries < REFUSALS_MAX {
            return false;
        }
        (place.tries, place.again) = (0, None);
        drop(places);
        self.dropped(name, 1, "a place refuses a notice again and again: it is given up");
        true
    }
}

/// Runs what waits for a disk where that holds nobody up. `None`: it was interrupted.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// A secret's text.
async fn secret(file: &Path) -> Result<String, SendError> {
    let path = file.to_owned();
    let interrupted = || SendError::File { file: file.to_owned(), what: "it was not read to its end".to_owned() };
    blocking(move || secret::read(&path)).await.ok_or_else(interrupted)?
}

/// The pause after so many failures: it grows, and no two are quite alike, so that many senders do not come together.
fn pause(tries: u32) -> Duration {
    let whole = RETRY_FIRST.saturating_mul(1 << tries.min(10)).min(RETRY_MAX);
    let mut byte = [0_u8; 1];
    // without randomness it is a pause like any other
    let _ = getrandom::fill(&mut byte);
    // three quarters to five quarters
    whole.mul_f64(0.75 + f64::from(byte[0]) / 510.0)
}

/// Sends a notice to a place now, once; what the place answered.
///
/// # Errors
/// Why it did not take it.
pub async fn send(target: &TargetSpec, letter: &Letter) -> Result<String, SendError> {
    if let (TargetKind::Email, Some(email)) = (target.kind, &target.email) {
        return mail::send(email, target.ca_file.as_deref(), letter).await;
    }
    let document = match target.kind {
        // without the part of its own it cannot come from a file
        TargetKind::Webhook | TargetKind::Command | TargetKind::Email => body::own(letter),
        TargetKind::Slack => body::slack(letter),
        TargetKind::Alertmanager => body::alertmanager(letter),
    };
    let text = document.to_string().into_bytes();
    if target.kind == TargetKind::Command {
        let program = target.command.as_deref().unwrap_or(Path::new(""));
        return command::run(program, &text).await;
    }
    let mut url = match (&target.url, &target.url_file) {
        (Some(url), _) => url.clone(),
        (None, Some(file)) => secret(file).await?,
        (None, None) => String::new(),
    };
    if target.kind == TargetKind::Alertmanager {
        url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
    }
    let mut headers = vec![("dauphin-notice", letter.id())];
    if let Some(file) = &target.token_file {
        headers.push(("authorization", format!("Bearer {}", secret(file).await?)));
    }
    if let Some(file) = &target.secret_file {
        headers.push(("dauphin-signature", format!("sha256={}", signature(&secret(file).await?, &text))));
    }
    http::post(&url, &headers, text, target.ca_file.as_deref()).await
}

/// HMAC-SHA256 of a body, as hexadecimal digits.
fn signature(key: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() };
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_somewhere() {
        assert!(pause(0) >= Duration::from_millis(750) && pause(0) <= Duration::from_millis(1_250));
        assert!(pause(3) >= Duration::from_secs(6));
        assert!(pause(u32::MAX) <= RETRY_MAX.mul_f64(1.26));
    }

    #[test]
    fn a_body_is_signed_as_rfc_4231_says() {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }
}
