//! The fault proxy of `late` and `delay`: carries the frames of a member's link between two tap devices, each of them later
//! than it came. A process of its own runs it (`dauphin lab relay`), started by a fault and ended by a heal. It changes
//! nothing in a frame, keeps their order, and loses those that it is told to lose.

use crate::error::LabError;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// The largest frame that a tap device hands over, with what comes before it.
const FRAME_MAX: usize = 70_000;
/// Frames that wait in one direction; what comes beyond that is lost, as in a router.
const WAITING_MAX: usize = 20_000;

/// How it treats frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// Every frame is this much later.
    pub delay: Duration,
    /// And up to this much more.
    pub jitter: Duration,
    /// So many of a thousand frames are lost.
    pub lost: u32,
}

/// Carries frames between the two devices until one of them is gone.
///
/// # Errors
/// When a device cannot be opened.
pub fn run(devices: [&Path; 2], treatment: Treatment) -> Result<(), LabError> {
    let open = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(path).map_err(LabError::io("cannot open", path))
    };
    let [a, b] = [open(devices[0])?, open(devices[1])?];
    let copy = |file: &File, path: &Path| file.try_clone().map_err(LabError::io("cannot use", path));
    let (a_out, b_out) = (copy(&a, devices[0])?, copy(&b, devices[1])?);
    std::thread::scope(|scope| {
        for (from, to, seed) in [(a, b_out, 1), (b, a_out, 2)] {
            let (sender, receiver) = sync_channel(WAITING_MAX);
            scope.spawn(move || take(from, &sender, Dues::new(treatment, seed)));
            scope.spawn(move || give(&receiver, to));
        }
    });
    Ok(())
}

type Frame = (Instant, Vec<u8>);

fn take(mut from: File, frames: &SyncSender<Frame>, mut dues: Dues) {
    let mut buffer = vec![0; FRAME_MAX];
    while let Ok(length) = from.read(&mut buffer) {
        let Some(due) = dues.next(Instant::now()) else { continue };
        let frame = buffer.get(..length).unwrap_or_default().to_vec();
        if let Err(TrySendError::Disconnected(_)) = frames.try_send((due, frame)) {
            return;
        }
    }
}

fn give(frames: &Receiver<Frame>, mut to: File) {
    while let Ok((due, frame)) = frames.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // a device whose other end is down takes nothing: as a cable that is out
        let _ = to.write(&frame);
    }
}

/// When each frame is due.
struct Dues {
    treatment: Treatment,
    last: Option<Instant>,
    state: u64,
}

impl Dues {
    fn new(treatment: Treatment, seed: u64) -> Self {
        Self { treatment, last: None, state: seed }
    }

    /// For a frame that comes now; `None`: it is lost.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        if self.draw(1_000) < u64::from(self.treatment.lost) {
            return None;
        }
        let jitter = u64::try_from(self.treatment.jitter.as_micros()).unwrap_or(u64::MAX);
        let due = now + self.treatment.delay + Duration::from_micros(self.draw(jitter.max(1)));
        let due = self.last.map_or(due, |last| due.max(last));
        self.last = Some(due);
        Some(due)
    }

    /// A number below `below` (SplitMix64).
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

/// The words for the process that runs it.
pub(crate) fn arguments(devices: &[PathBuf; 2], treatment: Treatment) -> Vec<String> {
    let [a, b] = devices.each_ref().map(|path| path.display().to_string());
    let number = |duration: Duration| duration.as_millis().to_string();
    let (delay, jitter, lost) = (number(treatment.delay), number(treatment.jitter), treatment.lost.to_string());
    ["lab", "relay", &a, &b, "--delay-ms", &delay, "--jitter-ms", &jitter, "--lost", &lost].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_late_in_order_and_some_are_lost() {
        let treatment = Treatment { delay: Duration::from_millis(50), jitter: Duration::from_millis(40), lost: 100 };
        let mut dues = Dues::new(treatment, 7);
        let now = Instant::now();
        let given: Vec<Instant> = (0..1_000).filter_map(|_| dues.next(now)).collect();
        assert!((850..950).contains(&given.len()), "{}", given.len());
        assert!(given.is_sorted());
        let late = |due: &Instant| *due - now;
        assert!(given.iter().all(|d| (50..=90).contains(&late(d).as_millis())));
    }

    #[test]
    fn what_one_device_says_the_other_hears_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("frames");
        std::fs::write(&path, b"frame").expect("written");
        let (sender, receiver) = sync_channel(8);
        let treatment = Treatment { delay: Duration::from_millis(30), jitter: Duration::ZERO, lost: 0 };
        let begun = Instant::now();
        // a file ends where a device waits: what it reads then has no length
        let reader =
            std::thread::spawn(move || take(File::open(path).expect("open"), &sender, Dues::new(treatment, 1)));
        let (due, frame) = receiver.recv().expect("a frame");
        assert_eq!(frame, b"frame");
        assert!(due >= begun + treatment.delay);
        drop(receiver);
        reader.join().expect("it ends when nobody takes frames");
    }
}
