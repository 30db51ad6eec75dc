//! What a seed stands for: size, durability, faults and their rates. Swarm testing: each seed draws its own subset.

use crate::rng::Rng;
use crate::struck::Struck;
use dauphin_ha::variant::Variant;
use dauphin_model::{
    AlertSpec, ClusterName, Durability, EngineKind, HealthSpec, MemberKind, MemberName, MemberSpec, MysqlSpec,
    OnShortage, PostgresSpec, Profile, Span, Spec,
};

/// How long faults go on.
const CHAOS: Span = Span::ms(40_000);

/// Tells what is drawn for servers of GTIDs from the rest.
const GTIDS: u64 = 0x67D5;

/// One simulation.
#[derive(Debug, Clone)]
pub struct Config {
    /// The seed.
    pub seed: u64,
    /// The cluster.
    pub spec: Spec,
    /// A rule left out.
    pub variant: Option<Variant>,
    /// How long faults go on.
    pub chaos: Span,
    /// Which faults happen.
    pub faults: Faults,
    /// These faults and no others, instead of those that the seed draws. Clocks, lost messages and the world's own times
    /// stay those of the seed.
    pub plan: Option<Vec<Struck>>,
    /// Keep one line per event.
    pub trace: bool,
    /// How busy the world is.
    pub pace: Pace,
}

/// How busy the world is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Nothing happens by chance: times are fixed, and only the explorer's turns go wrong.
    pub steady: bool,
    /// Clients.
    pub clients: usize,
    /// The pause of each between two writes, in milliseconds: from, up to.
    pub client_ms: (u64, u64),
    /// How often a stream carries log and acknowledgements.
    pub ship: Span,
}

impl Default for Pace {
    fn default() -> Self {
        Self { steady: false, clients: 4, client_ms: (5, 40), ship: Span::ms(4) }
    }
}

/// Which faults happen, in percent of the fault moments; 0: never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The server's processes die.
    pub kill_server: u64,
    /// The agent dies; comes back later.
    pub kill_agent: u64,
    /// All of a member dies.
    pub kill_node: u64,
    /// The agent stands still for a while.
    pub pause_agent: u64,
    /// All of a member stands still for a while.
    pub pause_node: u64,
    /// A member is cut off from the others, both ways.
    pub partition: u64,
    /// One direction only.
    pub one_way: u64,
    /// A member does not reach the store.
    pub store_cut: u64,
    /// A replica's stream carries nothing for a while, though it stands.
    pub stream_stalls: u64,
    /// A member's disk is full.
    pub full_disk: u64,
    /// A server loses the older part of its log.
    pub lost_log: u64,
    /// A replica's applier stands still for a while (servers of GTIDs).
    pub applier_stands: u64,
    /// Somebody writes on a replica (servers of GTIDs).
    pub errant: u64,
    /// A member is upgraded to a newer series (servers of GTIDs).
    pub upgraded: u64,
    /// Nobody upgrades the others in the end.
    pub upgrade_stands: bool,
    /// The store has no majority for a while.
    pub store_stands: u64,
    /// The store is restored from an old copy; once in a run.
    pub store_restored: u64,
    /// Messages lost, of a hundred.
    pub loss: u64,
    /// Engine steps go another way.
    pub steps: Ways,
    /// Changes of the store go another way.
    pub store: Ways,
    /// Writes of a member's notes go another way.
    pub notes: Ways,
    /// A person asks for something.
    pub operator: u64,
    /// People change the specification.
    pub changes: u64,
    /// The members' clocks run at different rates.
    pub drift: bool,
    /// A rewound copy starts only once it has received from its source what was written meanwhile.
    pub rewind_waits: bool,
}

/// How work goes wrong, in percent of the times.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ways {
    /// It fails before it is done.
    pub before: u64,
    /// It fails for good.
    pub hopeless: u64,
    /// It is done, and reported failed.
    pub after: u64,
    /// It is done late.
    pub late: u64,
    /// It does not answer.
    pub never: u64,
    /// Its end is told twice.
    pub twice: u64,
}

fn name(i: u64) -> MemberName {
    MemberName::new(&format!("m{i}")).unwrap_or_else(|_| unreachable!("m and a number is a name"))
}

/// A plain cluster.
#[must_use]
pub fn spec(members: u64, durability: Durability) -> Spec {
    let member = |i| MemberSpec {
        name: name(i),
        kind: MemberKind::Data,
        host: format!("h{i}"),
        sql_port: 1,
        api_port: 2,
        link_port: 3,
        priority: 100,
        never_leader: false,
        reporting: false,
        zone: None,
        follow: None,
        delay: None,
        alert_lag: None,
        alert_lag_bytes: None,
    };
    Spec {
        cluster: ClusterName::new("sim").unwrap_or_else(|_| unreachable!("a name")),
        engine: EngineKind::default(),
        durability,
        required: None,
        on_shortage: OnShortage::Wait,
        profile: Profile::Standard,
        allow_reclone: true,
        members: (1..=members).map(member).collect(),
        postgres: PostgresSpec::default(),
        mysql: MysqlSpec::default(),
        read_lag_max_bytes: 1 << 24,
        alerts: AlertSpec::default(),
        health: HealthSpec::default(),
        notify: Vec::new(),
    }
}

impl Config {
    /// What this seed draws.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let members = rng.pick(&[3, 3, 3, 3, 3, 5, 5, 4, 4, 2, 2, 1, 6, 7]).unwrap_or(3);
        let durability = rng
            .pick(&[Durability::Quorum, Durability::Quorum, Durability::Sync, Durability::Async])
            .unwrap_or(Durability::Quorum);
        // nobody is there to vouch
        let durability = if members == 1 { Durability::Async } else { durability };
        let mut spec = spec(members, durability);
        spec.profile = rng.pick(&[Profile::Standard, Profile::Fast]).unwrap_or_default();
        if rng.chance(25) {
            spec.on_shortage = OnShortage::Degrade;
        }
        if rng.chance(if members == 2 { 75 } else { 10 })
            && let Some(last) = spec.members.last().cloned()
        {
            spec.members.push(MemberSpec { name: name(9), kind: MemberKind::Witness, ..last });
        }
        if members > 3 && rng.chance(30) {
            spec.members[members as usize - 1].reporting = true;
        }
        if members > 3 && rng.chance(30) {
            spec.members[1].priority = 200;
        }
        if members > 3 && rng.chance(20) {
            spec.members[2].never_leader = true;
        }
        let faults = Faults::drawn(&mut rng);
        Self { seed, spec, variant: None, chaos: CHAOS, faults, plan: None, trace: false, pace: Pace::default() }
    }

    /// What this seed draws, on servers of this engine.
    #[must_use]
    pub fn of_seed_on(engine: EngineKind, seed: u64) -> Self {
        let mut config = Self::of_seed(seed);
        config.spec.engine = engine;
        if engine.has_gtids() {
            config.faults.draw_for_gtids(seed);
        }
        if engine == EngineKind::Mariadb && config.spec.durability != Durability::Async {
            // it waits for one acknowledgement
            (config.spec.durability, config.spec.required) = (Durability::Quorum, Some(1));
        }
        config
    }
}

impl Faults {
    /// What can go wrong besides on servers of GTIDs. Drawn apart: the rest is the seed's on every engine.
    fn draw_for_gtids(&mut self, seed: u64) {
        let mut rng = Rng::new(seed ^ GTIDS);
        let mut draw = |likely: u64, most: u64| if rng.chance(likely) { rng.between(1, most + 1) } else { 0 };
        self.applier_stands = draw(50, 30);
        self.errant = draw(30, 10);
        self.upgraded = draw(25, 8);
        self.upgrade_stands = draw(50, 1) > 0;
    }

    /// A subset of all faults, each as often as it comes.
    fn drawn(rng: &mut Rng) -> Self {
        let mut draw = |likely: u64, most: u64| if rng.chance(likely) { rng.between(1, most + 1) } else { 0 };
        Self {
            kill_server: draw(60, 30),
            kill_agent: draw(50, 20),
            kill_node: draw(60, 30),
            pause_agent: draw(40, 20),
            pause_node: draw(40, 20),
            partition: draw(50, 30),
            one_way: draw(30, 20),
            store_cut: draw(30, 20),
            stream_stalls: draw(50, 40),
            full_disk: draw(25, 15),
            lost_log: draw(25, 30),
            applier_stands: 0,
            errant: 0,
            upgraded: 0,
            upgrade_stands: false,
            store_stands: draw(25, 15),
            store_restored: draw(8, 3),
            loss: draw(40, 20),
            steps: Ways {
                before: draw(35, 10),
                hopeless: draw(20, 5),
                after: draw(35, 10),
                late: draw(25, 10),
                never: draw(20, 5),
                twice: draw(20, 30),
            },
            store: Ways {
                before: draw(35, 8),
                after: draw(35, 8),
                late: draw(25, 10),
                never: draw(20, 5),
                twice: draw(20, 20),
                hopeless: 0,
            },
            notes: Ways {
                before: draw(25, 20),
                after: draw(25, 20),
                late: draw(20, 15),
                never: draw(15, 5),
                ..Ways::default()
            },
            operator: draw(40, 30),
            changes: draw(25, 20),
            drift: draw(50, 1) > 0,
            rewind_waits: true,
        }
    }
}
