//! What happened, one line per event, and its hash: the same seed must give the same hash.

use dauphin_ha::Reason;
use dauphin_model::Mono;

/// The trace.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    keep: bool,
    lines: Vec<String>,
    reasons: Vec<Reason>,
    hash: u64,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self { keep, lines: Vec::new(), reasons: Vec::new(), hash: 0xCBF2_9CE4_8422_2325 }
    }

    pub(crate) fn line(&mut self, now: Mono, at: usize, text: &str) {
        // FNV-1a
        for byte in now.0.to_le_bytes().iter().chain(text.as_bytes()).chain([&u8::try_from(at).unwrap_or(u8::MAX)]) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if self.keep {
            self.lines.push(format!("{:>9.3}  m{:<2} {}{text}", now.0 as f64 / 1e6 - 1.0, at + 1, "  ".repeat(at)));
        }
    }

    /// What a member wrote into its journal.
    pub(crate) fn reason(&mut self, now: Mono, at: usize, reason: &Reason) {
        self.line(now, at, &reason.to_string());
        if self.keep {
            self.reasons.push(reason.clone());
        }
    }

    /// All journals together, oldest first, if they were kept.
    pub(crate) fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The lines kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Hash of everything that happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
