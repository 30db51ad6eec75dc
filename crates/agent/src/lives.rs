//! Which life the server is in. Starts, ends and orders to end overtake each other on their way to whoever keeps count: the
//! word of an older process's end must not be taken for the end of the one that runs now. The server's keeper asks; pure.

/// The lives of one server.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// The process that runs, as far as is known.
    up: Option<u32>,
    /// Grows with every start and end: what was seen in another life is thrown away.
    life: u64,
    /// A process whose end was told before its start was.
    ended_early: Option<u32>,
}

impl Lives {
    /// A server that ran before this agent did, or none.
    pub(crate) fn adopted(pid: Option<u32>) -> Self {
        Self { up: pid, ..Self::default() }
    }

    /// Whether a server runs, and which life it is.
    pub(crate) fn now(&self) -> (bool, u64) {
        (self.up.is_some(), self.life)
    }

    /// One is about to be started.
    pub(crate) fn starts(&mut self) {
        self.ended_early = None;
    }

    /// It was started. `false`: it has ended already.
    pub(crate) fn started(&mut self, pid: u32) -> bool {
        self.life += 1;
        let lives = self.ended_early.take() != Some(pid);
        self.up = lives.then_some(pid);
        lives
    }

    /// A process ended. `false`: an older one, and another runs.
    pub(crate) fn ended(&mut self, pid: u32) -> bool {
        if self.up.is_some_and(|up| up != pid) {
            return false;
        }
        self.ended_early = Some(pid);
        self.life += 1;
        self.up = None;
        true
    }

    /// Whatever ran in that life has been ended. `false`: that life was over already.
    pub(crate) fn over(&mut self, life: u64) -> bool {
        let this = self.life == life;
        if this {
            self.life += 1;
            self.up = None;
        }
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order to end the server, whose word comes only when the next one runs already: that one was believed dead for ever.
    #[test]
    fn a_late_word_of_an_older_end_does_not_end_the_life_of_now() {
        let mut lives = Lives::adopted(Some(10));
        let (_, fenced) = lives.now();
        assert!(lives.ended(10), "the guard tells of the end first");
        lives.starts();
        assert!(lives.started(11));
        assert!(!lives.over(fenced), "then who gave the order hears that it was carried out");
        assert!(!lives.ended(10), "or the guard's word comes twice, or late");
        assert!(lives.now().0);
        assert!(lives.ended(11));
        assert!(!lives.now().0);
    }

    #[test]
    fn an_end_that_is_told_before_its_start_is_not_lost() {
        let mut lives = Lives::default();
        lives.starts();
        assert!(lives.ended(12));
        assert!(!lives.started(12), "it has ended already");
        assert!(!lives.now().0);
        lives.starts();
        assert!(lives.started(12), "the number may come again");
    }

    #[test]
    fn every_start_and_end_is_another_life() {
        let mut lives = Lives::default();
        let mut seen = vec![lives.now().1];
        assert!(lives.started(1));
        seen.push(lives.now().1);
        assert!(lives.over(lives.now().1));
        seen.push(lives.now().1);
        assert!(lives.ended(1));
        seen.push(lives.now().1);
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }
}
