//! What stateright walks: a world, and how many turns it may still take. It decides nothing about clusters.

use dauphin_model::{Mono, Span};
use dauphin_sim::{Turn, World};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How long a world may take to heal after the last turn and what it broke (L1).
const HEALS_WITHIN: Span = Span::ms(60_000);
/// For so long, at least, a healed world is watched after the last turn.
const WATCHED: Span = Span::ms(1_000);

/// Where a walk begins and how far it goes.
#[derive(Debug, Clone)]
pub struct Explorer {
    /// The world to begin with.
    pub start: World,
    /// Turns that a run may take.
    pub turns: u8,
    /// The first of them is this one; any, otherwise.
    pub first: Option<Turn>,
    /// The first is taken within this time from the start.
    pub window: Span,
    /// Further turns are taken for this long after the first.
    pub then: Span,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ends {
    /// It does.
    No,
    /// It healed, and no further turn may be taken.
    Well,
    /// An invariant broke.
    Broken,
}

/// A world on its way.
#[derive(Clone)]
pub struct State {
    /// The world, at a moment of choice.
    pub world: World,
    left: u8,
    /// Until when turns may be taken.
    until: Mono,
    /// The last turn.
    since: Mono,
    acknowledged: u64,
    ends: Ends,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // until when turns are taken, and since when it heals, does not change what the world does
        (self.left, self.ends).hash(state);
        self.world.hash(state);
    }
}

/// As stateright itself tells states apart: by their hash.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let hash = |state: &Self| {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            hasher.finish()
        };
        hash(self) == hash(other)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} turns left)", self.world.now().since(Mono(0)), self.left)
    }
}

/// What happens at a moment of choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The next thing, as it usually does.
    GoOn,
    /// Something else.
    Take(Turn),
}

impl Explorer {
    /// Every turn that can be the first.
    #[must_use]
    pub fn firsts(&self) -> BTreeSet<Turn> {
        let mut found = BTreeSet::new();
        let mut state = self.begin();
        while state.ends == Ends::No && state.world.now() < state.until {
            found.extend(state.world.turns());
            state.world.go_on();
            self.walk(&mut state);
        }
        found
    }

    /// Follows one run: the turns it takes, each with how many moments of choice lie before it. What broke, if anything.
    #[must_use]
    pub fn replay(&self, run: &[(usize, Turn)]) -> Option<String> {
        let mut state = self.begin();
        let mut passed = 0;
        let mut turns = run.iter().peekable();
        while state.ends == Ends::No {
            let act = match turns.next_if(|(at, _)| *at == passed) {
                Some((_, turn)) => Act::Take(*turn),
                None => Act::GoOn,
            };
            state = self.next_state(&state, act)?;
            passed += 1;
        }
        state.world.violation().map(ToOwned::to_owned)
    }

    fn begin(&self) -> State {
        let mut world = self.start.clone();
        let now = world.now();
        world.run_to_choice(now + self.window);
        let acknowledged = world.acknowledged_so_far();
        let ends = if world.violation().is_some() { Ends::Broken } else { Ends::No };
        State { world, left: self.turns, until: now + self.window, since: now, acknowledged, ends }
    }

    /// On to the next moment of choice.
    fn walk(&self, state: &mut State) {
        let limit = state.since + HEALS_WITHIN;
        let choice = state.world.run_to_choice(limit);
        if state.world.violation().is_some() {
            state.ends = Ends::Broken;
            return;
        }
        let now = state.world.now();
        let no_more = state.left == 0 || now >= state.until;
        let lives = state.world.acknowledged_so_far() > state.acknowledged && now >= state.since + WATCHED;
        if no_more && lives && state.world.settled() {
            state.ends = Ends::Well;
        } else if !choice || now >= limit {
            state.world.never_healed();
            state.ends = Ends::Broken;
        }
    }
}

impl Model for Explorer {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Act>) {
        if state.ends != Ends::No {
            return;
        }
        actions.push(Act::GoOn);
        if state.left > 0 && state.world.now() < state.until {
            let first = self.first.filter(|_| state.left == self.turns);
            let turns = state.world.turns().into_iter().filter(|turn| first.is_none_or(|first| *turn == first));
            actions.extend(turns.map(Act::Take));
        }
    }

    fn next_state(&self, last: &State, act: Act) -> Option<State> {
        let mut state = last.clone();
        match act {
            Act::GoOn => state.world.go_on(),
            Act::Take(turn) => {
                state.world.take(turn);
                let now = state.world.now();
                if state.left == self.turns {
                    state.until = now + self.then;
                }
                state.left -= 1;
                state.since = now;
                state.acknowledged = state.world.acknowledged_so_far();
            }
        }
        self.walk(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("every invariant holds, and every run heals", |_, state: &State| {
            state.ends != Ends::Broken
        })]
    }
}
