//! One file per verb, and which arguments lead to which.

mod agent;
mod alerts;
mod check;
mod clusters;
mod command;
mod completions;
mod config;
mod demo;
mod doctor;
mod explain;
mod history;
mod init;
mod lab;
mod lag;
mod man;
mod proxies;
mod proxy;
mod service;
mod status;
mod store;
mod top;
mod topology;
mod what_if;
mod which_cluster;

use crate::cli::{Cli, Verb};
use crate::failure::Outcome;

/// Runs the verb; the result is the exit code.
pub(crate) fn run(cli: Cli) -> Outcome {
    let target = &cli.target;
    match cli.verb {
        Verb::Init(options) => init::run(target, &options),
        Verb::Agent(options) => agent::run(target, &options),
        Verb::Proxy(options) => proxy::run(target, &options),
        Verb::Lab(verb) => lab::run(target, verb),
        Verb::Demo(options) => demo::run(&options),
        Verb::Status(options) => status::run(target, &options),
        Verb::Lag => lag::run(target),
        Verb::Proxies => proxies::run(target),
        Verb::Alerts(options) => alerts::run(target, options),
        Verb::Topology => topology::run(target),
        Verb::Switchover(options) => command::switchover(target, options),
        Verb::Failover(options) => command::failover(target, options),
        Verb::Restart(options) => command::restart(target, options),
        Verb::Reinit(options) => command::reinit(target, options),
        Verb::Pause => command::pause(target),
        Verb::Resume => command::resume(target),
        Verb::Config(verb) => config::run(target, verb),
        Verb::History => history::run(target),
        Verb::Explain(options) => explain::run(target, &options),
        Verb::Top => top::run(target),
        Verb::WhatIf(wish) => what_if::run(target, &wish),
        Verb::Doctor => doctor::run(target),
        Verb::Check(options) => check::run(target, &options),
        Verb::Clusters => clusters::run(target),
        Verb::WhichCluster(options) => which_cluster::run(target, &options),
        Verb::Store(verb) => store::run(target, verb),
        Verb::Completions(options) => completions::run(&options),
        Verb::Man(options) => man::run(&options),
    }
}
