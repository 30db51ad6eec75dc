//! What is on the screen and what a key does: pure. The loop hands it keys and what the agents said; it asks nobody itself.

use dauphin_api::dto::{Alert, Cluster, JournalEntry, Member};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::{BTreeMap, VecDeque};

/// Lags of a replica that are kept for the picture: half a minute of looks.
pub(super) const LAGS_MAX: usize = 60;

/// What the agents said.
#[derive(Debug)]
pub(super) enum Update {
    Cluster(Result<Box<Cluster>, String>),
    Journal(Vec<JournalEntry>),
    Alerts(Vec<Alert>),
    /// What a command is doing.
    Progress(String),
    /// A command's end.
    Done(Result<String, String>),
    /// Something to read.
    Text {
        title: String,
        lines: Vec<String>,
    },
}

/// What a key asks the loop to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    Quit,
    Give(Command),
    Ask(Question),
}

/// What a person wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Switchover(String),
    Restart(String),
    Reinit(String),
    Pause,
    Resume,
}

impl Command {
    /// What it asks before it is done.
    pub(super) fn question(&self) -> String {
        match self {
            Self::Switchover(to) => format!("hand leadership to {to}? (y/n)"),
            Self::Restart(member) => format!("restart {member}'s server? (y/n)"),
            Self::Reinit(member) => format!("throw {member}'s data away and copy it again? type {member}, then Enter:"),
            Self::Pause => "switch automatic failover off? (y/n)".to_owned(),
            Self::Resume => "switch automatic failover on? (y/n)".to_owned(),
        }
    }

    /// What destroys something wants the name typed.
    fn wants_name(&self) -> Option<&str> {
        match self {
            Self::Reinit(member) => Some(member),
            Self::Switchover(_) | Self::Restart(_) | Self::Pause | Self::Resume => None,
        }
    }
}

/// What a person wants to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    Explain(String),
    WhatIf(String),
}

/// What the keys are for just now.
#[derive(Debug)]
pub(super) enum Mode {
    Watching,
    /// A command waits for yes or no, or for what is typed.
    Sure {
        command: Command,
        typed: String,
    },
    /// A text lies over the rest.
    Reading {
        title: String,
        lines: Vec<String>,
        from: u16,
    },
}

/// Everything.
#[derive(Debug)]
pub(super) struct State {
    pub(super) colours: bool,
    pub(super) cluster: Option<Box<Cluster>>,
    /// Why nothing newer is known.
    pub(super) blind: Option<String>,
    pub(super) journal: Vec<JournalEntry>,
    pub(super) alerts: Vec<Alert>,
    /// Bytes behind, newest last.
    pub(super) lags: BTreeMap<String, VecDeque<u64>>,
    pub(super) selected: usize,
    pub(super) mode: Mode,
    /// How the last command goes or went.
    pub(super) told: Option<Result<String, String>>,
    /// A command is under way.
    pub(super) busy: bool,
}

impl State {
    pub(super) fn new(colours: bool) -> Self {
        Self {
            colours,
            cluster: None,
            blind: None,
            journal: Vec::new(),
            alerts: Vec::new(),
            lags: BTreeMap::new(),
            selected: 0,
            mode: Mode::Watching,
            told: None,
            busy: false,
        }
    }

    /// Takes in what the agents said.
    pub(super) fn take(&mut self, update: Update) {
        match update {
            Update::Cluster(Ok(cluster)) => {
                for member in &cluster.members {
                    let lags = self.lags.entry(member.name.clone()).or_default();
                    lags.push_back(member.lag_bytes.unwrap_or_default());
                    if lags.len() > LAGS_MAX {
                        lags.pop_front();
                    }
                }
                self.lags.retain(|name, _| cluster.members.iter().any(|m| m.name == *name));
                self.selected = self.selected.min(cluster.members.len().saturating_sub(1));
                self.cluster = Some(cluster);
                self.blind = None;
            }
            Update::Cluster(Err(error)) => self.blind = Some(error),
            Update::Journal(entries) => self.journal = entries,
            Update::Alerts(alerts) => self.alerts = alerts,
            Update::Progress(text) => self.told = Some(Ok(text)),
            Update::Done(ended) => (self.busy, self.told) = (false, Some(ended)),
            Update::Text { title, lines } => self.mode = Mode::Reading { title, lines, from: 0 },
        }
    }

    fn member(&self) -> Option<&Member> {
        self.cluster.as_ref()?.members.get(self.selected)
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Act> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Act::Quit);
        }
        match std::mem::replace(&mut self.mode, Mode::Watching) {
            Mode::Watching => self.watching(key.code),
            Mode::Sure { command, typed } => self.sure(key.code, command, typed),
            Mode::Reading { title, lines, from } => {
                let last = u16::try_from(lines.len().saturating_sub(1)).unwrap_or(u16::MAX);
                let from = match key.code {
                    KeyCode::Down | KeyCode::Char('j') => from.saturating_add(1).min(last),
                    KeyCode::Up | KeyCode::Char('k') => from.saturating_sub(1),
                    _ => return None,
                };
                self.mode = Mode::Reading { title, lines, from };
                None
            }
        }
    }

    fn watching(&mut self, code: KeyCode) -> Option<Act> {
        let count = self.cluster.as_ref().map_or(0, |c| c.members.len());
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Act::Quit),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(count.saturating_sub(1)),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Char('?') => {
                let lines = HELP.iter().map(|line| (*line).to_owned()).collect();
                self.mode = Mode::Reading { title: "keys".to_owned(), lines, from: 0 };
            }
            KeyCode::Char(letter) => return self.letter(letter),
            _ => {}
        }
        None
    }

    /// Letters are about the member that is marked.
    fn letter(&mut self, letter: char) -> Option<Act> {
        let paused = self.cluster.as_ref()?.paused;
        let (name, leads) = self.member().map(|m| (m.name.clone(), m.role == "leader"))?;
        let command = match letter {
            'e' => return Some(Act::Ask(Question::Explain(name))),
            'w' => return Some(Act::Ask(Question::WhatIf(name))),
            's' if leads => {
                self.told = Some(Err(format!("{name} leads already: mark the member that is to lead")));
                return None;
            }
            's' => Command::Switchover(name),
            'r' => Command::Restart(name),
            'R' => Command::Reinit(name),
            'p' if paused => Command::Resume,
            'p' => Command::Pause,
            _ => return None,
        };
        if self.busy {
            self.told = Some(Err("a command is under way: wait for its end".to_owned()));
            return None;
        }
        self.mode = Mode::Sure { command, typed: String::new() };
        None
    }

    fn sure(&mut self, code: KeyCode, command: Command, mut typed: String) -> Option<Act> {
        let yes = match (command.wants_name(), code) {
            (None, KeyCode::Char('y' | 'Y')) => true,
            (Some(name), KeyCode::Enter) => typed == name,
            (Some(_), KeyCode::Char(letter)) => {
                typed.push(letter);
                self.mode = Mode::Sure { command, typed };
                return None;
            }
            (Some(_), KeyCode::Backspace) => {
                typed.pop();
                self.mode = Mode::Sure { command, typed };
                return None;
            }
            (_, _) => false,
        };
        if !yes {
            self.told = Some(Ok("nothing was done".to_owned()));
            return None;
        }
        (self.busy, self.told) = (true, Some(Ok("under way".to_owned())));
        Some(Act::Give(command))
    }
}

/// Every key.
pub(super) const HELP: [&str; 9] = [
    "up, down   mark a member",
    "e          explain why it leads, or does not",
    "w          what if it were killed",
    "s          hand leadership to it",
    "r          restart its server",
    "R          throw its data away and copy it again",
    "p          switch automatic failover off, or on again",
    "?          this",
    "q          quit",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let member = |name: &str, role: &str| Member { name: name.into(), role: role.into(), ..Member::default() };
        let members = vec![member("m1", "leader"), member("m2", "replica")];
        let mut state = State::new(false);
        state.take(Update::Cluster(Ok(Box::new(Cluster { members, ..Cluster::default() }))));
        state
    }

    fn press(state: &mut State, keys: &str) -> Option<Act> {
        let code = |c| match c {
            '>' => KeyCode::Down,
            '!' => KeyCode::Enter,
            c => KeyCode::Char(c),
        };
        keys.chars().filter_map(|c| state.key(KeyEvent::from(code(c)))).last()
    }

    #[test]
    fn a_switchover_goes_to_the_marked_member_and_is_asked_about_first() {
        let mut state = state();
        assert_eq!(press(&mut state, "s"), None);
        assert!(state.told.as_ref().is_some_and(|t| t.as_ref().is_err_and(|e| e.contains("leads already"))));
        assert_eq!(press(&mut state, ">sn"), None);
        assert_eq!(press(&mut state, ">sy"), Some(Act::Give(Command::Switchover("m2".into()))));
        // one at a time
        assert_eq!(press(&mut state, "ry"), None);
        state.take(Update::Done(Ok("m2 leads".into())));
        assert_eq!(press(&mut state, "ry"), Some(Act::Give(Command::Restart("m2".into()))));
    }

    #[test]
    fn what_destroys_wants_the_name_typed() {
        let mut state = state();
        assert_eq!(press(&mut state, ">Ry"), None);
        assert_eq!(press(&mut state, "m1!"), None, "another name, and y before it");
        assert_eq!(press(&mut state, "Rm2!"), Some(Act::Give(Command::Reinit("m2".into()))));
    }

    #[test]
    fn questions_are_about_the_marked_member() {
        let mut state = state();
        assert_eq!(press(&mut state, "e"), Some(Act::Ask(Question::Explain("m1".into()))));
        assert_eq!(press(&mut state, ">w"), Some(Act::Ask(Question::WhatIf("m2".into()))));
        state.take(Update::Text { title: "t".into(), lines: vec!["a".into(), "b".into()] });
        press(&mut state, ">>>");
        assert!(matches!(state.mode, Mode::Reading { from: 1, .. }), "no further than the last line");
        assert_eq!(press(&mut state, "q"), None, "it only closes the text");
        assert_eq!(press(&mut state, "q"), Some(Act::Quit));
    }

    #[test]
    fn without_an_answer_the_last_one_stays_and_keys_do_no_harm() {
        let mut state = state();
        state.take(Update::Cluster(Err("no agent answers".into())));
        assert!(state.cluster.is_some() && state.blind.is_some());
        let mut empty = State::new(false);
        for keys in ["s", "e", "p", ">", "?"] {
            assert_eq!(press(&mut empty, keys), None, "{keys}");
        }
    }

    #[test]
    fn lags_are_kept_for_half_a_minute() {
        let mut state = state();
        for _ in 0..2 * LAGS_MAX {
            let cluster = state.cluster.clone().expect("it");
            state.take(Update::Cluster(Ok(cluster)));
        }
        assert_eq!(state.lags["m2"].len(), LAGS_MAX);
    }
}
