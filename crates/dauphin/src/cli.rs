//! The arguments of every verb. Only their shape: what they do stands in `verb/`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Sets up, runs, heals and explains replicated PostgreSQL clusters.
#[derive(Parser)]
#[command(name = "dauphin", version, max_term_width = 100, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Which cluster is meant, and how it is answered.
#[derive(Args, Clone, Default)]
pub(crate) struct Target {
    /// The cluster's file, or a member's
    #[arg(long, global = true, value_name = "FILE", env = "DAUPHIN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The address of one agent, instead of a file
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// The file with the token that commands need; the configuration names one too
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print one JSON document instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Make the cluster's certificates, secrets and a bundle of files for each member
    Init(Init),
    /// Run a member: its agent, guard and database server
    Agent(Service),
    /// Run a proxy: clients reach the leader, or replicas, through it
    Proxy(ProxyRun),
    /// Real clusters in a folder of this machine, and faults for them
    #[command(subcommand)]
    Lab(Lab),
    /// The main job, shown step by step: a leader dies, a replica takes over, nothing is lost
    Demo(Demo),
    /// The cluster as it is now
    Status(Status),
    /// How far the replicas are behind
    Lag,
    /// The proxies, whom they send clients to, and their pools
    Proxies,
    /// What people are told of: lag, members that are gone, no leader; silences
    Alerts(Alerts),
    /// Who replicates from whom
    Topology,
    /// Hand leadership over, without an error for idle clients
    Switchover(Switchover),
    /// Promote a replica while the leader is gone
    Failover(Failover),
    /// Restart the server of one member, or of all in a safe order
    Restart(Restart),
    /// Wipe a replica's data and clone it again
    Reinit(Member),
    /// Stop automatic acts
    Pause,
    /// Take automatic acts up again
    Resume,
    /// The shared settings: show, change, take back
    #[command(subcommand)]
    Config(Config),
    /// Every leadership so far, and why it changed
    History,
    /// Why something was done automatically
    Explain(Explain),
    /// Who would take over, how long writes would stop, what would be lost
    #[command(subcommand)]
    WhatIf(WhatIf),
    /// The cluster on the whole terminal, live, with keys for the same acts
    Top,
    /// Advice about this cluster
    Doctor,
    /// One line for cron: exit 0 healthy, 1 warning, 2 critical, 3 unknown
    Check(Check),
    /// The clusters that this machine knows of
    Clusters,
    /// Which cluster a server belongs to
    WhichCluster(WhichCluster),
    /// The cluster's own store: members, snapshot
    #[command(subcommand)]
    Store(Store),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(Man),
}

#[derive(Args)]
pub(crate) struct Init {
    /// Where the bundles are written; default: a folder named after the cluster beside the file
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// New certificates in the bundles that are there, from the CA that is there; nothing else changes
    #[arg(long)]
    pub(crate) renew: bool,
}

#[derive(Args)]
pub(crate) struct Service {
    /// Leave the caller's session, so that its end does not end this
    #[arg(long, hide = true)]
    pub(crate) own_session: bool,
}

#[derive(Args)]
pub(crate) struct ProxyRun {
    /// Take over from the process that runs with this configuration, if one does: it serves its clients to their end
    #[arg(long)]
    pub(crate) takeover: bool,
    #[command(flatten)]
    pub(crate) service: Service,
}

#[derive(Subcommand)]
pub(crate) enum Lab {
    /// Make a cluster in a folder and start it
    Up(Box<LabUp>),
    /// What it is made of: addresses, passwords, processes
    Show(LabDir),
    /// Stop everything and remove the folder
    Down(LabDown),
    /// Let something happen to a member
    Fault(LabFault),
    /// End cuts and disk faults, thaw frozen processes, start missing agents
    Heal(LabHeal),
    /// Carry the frames of a member's link, late: what some faults run
    #[command(hide = true)]
    Relay(LabRelay),
}

#[derive(Args)]
pub(crate) struct LabRelay {
    /// Two tap devices
    #[arg(num_args = 2, required = true)]
    pub(crate) devices: Vec<PathBuf>,
    #[arg(long)]
    pub(crate) delay_ms: u64,
    #[arg(long)]
    pub(crate) jitter_ms: u64,
    /// Of a thousand frames
    #[arg(long)]
    pub(crate) lost: u32,
}

#[derive(Args)]
pub(crate) struct LabUp {
    /// The folder: it must be empty or missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The database
    #[arg(long, default_value = "postgres", value_parser = ["postgres", "mysql", "mariadb"])]
    pub(crate) engine: String,
    /// Number of members, 1 to 7
    #[arg(long, default_value_t = 3)]
    pub(crate) members: u16,
    /// When a commit is acknowledged; otherwise quorum, or async where there is no replica
    #[arg(long, value_parser = ["async", "sync", "quorum"])]
    pub(crate) durability: Option<String>,
    #[arg(long, default_value = "standard", value_parser = ["fast", "standard", "wan"])]
    pub(crate) profile: String,
    #[arg(long, default_value = "raft", value_parser = ["raft", "etcd", "consul", "zookeeper"])]
    pub(crate) store: String,
    /// The engine's bin directory; otherwise .engines, PATH and the system's folders are searched
    #[arg(long, value_name = "DIR")]
    pub(crate) bin: Option<PathBuf>,
    /// Proxy on this port and 10 above; members 1, 101 and 201 above and following
    #[arg(long, default_value_t = 15_000)]
    pub(crate) base_port: u16,
    /// No proxy
    #[arg(long)]
    pub(crate) no_proxy: bool,
    /// A network namespace and an address of its own for each member
    #[arg(long)]
    pub(crate) hosts: bool,
    /// A disk of its own for each member, whose power can be cut
    #[arg(long)]
    pub(crate) disks: bool,
    /// A wall clock of its own for each member, which can be set (needs libfaketime)
    #[arg(long)]
    pub(crate) clocks: bool,
    /// A mesh of this many sites
    #[arg(long, value_name = "SITES")]
    pub(crate) mesh: Option<u16>,
    /// The last member holds a vote and no data
    #[arg(long)]
    pub(crate) witness: bool,
    /// What commits do when replicas are short
    #[arg(long, default_value = "wait", value_parser = ["wait", "degrade"])]
    pub(crate) on_shortage: String,
}

#[derive(Args)]
pub(crate) struct LabDir {
    /// The lab's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct LabDown {
    /// The lab's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Stop everything, and leave the files
    #[arg(long)]
    pub(crate) keep_data: bool,
}

#[derive(Args)]
pub(crate) struct LabFault {
    /// The lab's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Whom it hits
    #[arg(long, value_name = "NAME")]
    pub(crate) member: String,
    /// kill-server, kill-agent, kill-node, freeze-server, freeze-agent, freeze-node, freeze-backend, no-descriptors;
    /// disk-full, disk-error, disk-slow, disk-hang; with --disks power-cut; with --clocks clock-forward, clock-back; with
    /// --hosts partition, partition-in, partition-out, cut-pair, split, replication-cut, store-cut, client-cut, reset,
    /// slow, delay, late
    #[arg(long)]
    pub(crate) kind: String,
}

#[derive(Args)]
pub(crate) struct LabHeal {
    /// The lab's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Only this member
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// The database
    #[arg(long, default_value = "postgres", value_parser = ["postgres", "mysql", "mariadb"])]
    pub(crate) engine: String,
    /// Where the demo's cluster is made; default: .lab/demo in the current folder
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The engine's bin directory
    #[arg(long, value_name = "DIR")]
    pub(crate) bin: Option<PathBuf>,
    /// The demo's first port
    #[arg(long, default_value_t = 15_000)]
    pub(crate) base_port: u16,
    /// Leave the cluster running at the end (as KEEP=1 in the environment)
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args)]
pub(crate) struct Status {
    /// Go on showing it until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args)]
pub(crate) struct Alerts {
    /// Go on showing them until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(subcommand)]
    pub(crate) verb: Option<AlertsVerb>,
}

#[derive(Subcommand)]
pub(crate) enum AlertsVerb {
    /// Tell nobody of some alerts for a while
    Silence(Silence),
    /// End a silence
    Unsilence(Number),
    /// An alert is in hand: no reminders until it gets worse
    Ack(Number),
    /// Send a test message to each place, and show what each answered
    Test,
}

#[derive(Args)]
pub(crate) struct Silence {
    /// The member, or `all`
    pub(crate) member: String,
    /// Only this kind of alert: docs/alerts.md lists them
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// For how long, as in 2h
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) lasts: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) because: String,
}

#[derive(Args)]
pub(crate) struct Number {
    /// Its number, as `dauphin alerts` shows it
    pub(crate) id: u64,
}

#[derive(Args)]
pub(crate) struct Switchover {
    /// The next leader; otherwise the replica that is furthest
    #[arg(long, value_name = "MEMBER")]
    pub(crate) to: Option<String>,
}

#[derive(Args)]
pub(crate) struct Failover {
    /// The next leader
    #[arg(long, value_name = "MEMBER")]
    pub(crate) to: String,
    /// Accept that acknowledged commits may be lost
    #[arg(long)]
    pub(crate) allow_data_loss: bool,
}

#[derive(Args)]
pub(crate) struct Restart {
    /// The member
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) member: Option<String>,
    /// All members, one after the other
    #[arg(long)]
    pub(crate) all: bool,
    /// Only where a setting waits for it
    #[arg(long)]
    pub(crate) if_pending: bool,
}

#[derive(Args)]
pub(crate) struct Member {
    /// The member
    pub(crate) member: String,
}

#[derive(Subcommand)]
pub(crate) enum Config {
    /// The shared settings as they are in force
    Show,
    /// Change settings: checked, shown as a difference, applied
    Set(ConfigSet),
    /// Change them in an editor
    Edit,
    /// Take the last change back
    Undo,
    /// The changes so far
    History,
}

#[derive(Args)]
pub(crate) struct ConfigSet {
    /// KEY=VALUE, as in postgres.parameters.work_mem=64MB
    #[arg(value_name = "KEY=VALUE", required_unless_present = "unset")]
    pub(crate) set: Vec<String>,
    /// Give a setting back to its default
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    /// Check and show the difference, change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// A decision's number, as history and journal show it; or a member: why it leads, or does not; otherwise the last decision
    /// that changed something
    #[arg(value_name = "ID|MEMBER")]
    pub(crate) what: Option<String>,
}

#[derive(Args)]
pub(crate) struct Check {
    /// Measured values behind the line, as Nagios and Icinga draw them
    #[arg(long)]
    pub(crate) perfdata: bool,
}

#[derive(Subcommand)]
pub(crate) enum WhatIf {
    /// If this member's agent, guard and server died
    Kill {
        /// The member
        member: String,
    },
    /// If this member stood still
    Freeze {
        /// The member
        member: String,
    },
    /// If all members of this zone died
    Zone {
        /// The zone, as the cluster file names it
        zone: String,
    },
    /// If these members were cut off from all others
    CutOff {
        /// The members
        #[arg(required = true)]
        members: Vec<String>,
    },
}

#[derive(Args)]
pub(crate) struct WhichCluster {
    /// A server's address
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
}

#[derive(Subcommand)]
pub(crate) enum Store {
    /// Who holds a copy, who leads it
    Status,
    /// Give a member of the configuration a copy and a vote
    Add(Member),
    /// Take the copy and vote of a member that is gone away
    Remove(Member),
    /// Write a snapshot and drop the log before it
    Snapshot,
}

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args)]
pub(crate) struct Man {
    /// Where the pages are written
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
