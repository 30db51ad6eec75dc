//! A hardware watchdog: while the guard feeds it the machine runs; when the guard cannot, or a server outlives its
//! deadline, the machine resets. The supervisor says when to feed. Its time limit is set with the kernel module.

use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// An open watchdog device.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: File,
}

impl Watchdog {
    /// Opens the device, which starts its clock.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        Ok(Self { device: OpenOptions::new().append(true).custom_flags(no_wait).open(path)? })
    }

    /// Starts its clock again.
    pub(crate) fn feed(&mut self) -> io::Result<()> {
        self.device.write_all(b"\0")
    }

    /// Stops it: `V` before the close tells the driver that the end is meant.
    pub(crate) fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(b"V")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_and_ends_with_the_magic_letter() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut watchdog = Watchdog::open(file.path()).expect("opens");
        watchdog.feed().expect("fed");
        watchdog.feed().expect("fed");
        watchdog.disarm().expect("disarmed");
        assert_eq!(std::fs::read(file.path()).expect("readable"), b"\0\0V");
    }
}
