//! The dependency rule of DESIGN: which crate may stand on which. It reads `cargo metadata`, not the sources.
//!
//! `dauphin` -> faces -> services -> edges -> model, and pure -> model; never pure -> edge, never edge -> edge.

use crate::source::Finding;
use serde_json::Value;

/// A floor of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// The nouns, on which everything stands.
    Model,
    Pure,
    Edge,
    Service,
    Face,
    Binary,
    /// Simulated members.
    Sim,
    /// Real servers for tests and users.
    Lab,
    /// Chores of the project.
    Chore,
}

const LAYERS: &[(&str, Layer)] = &[
    ("dauphin-model", Layer::Model),
    ("dauphin-ha", Layer::Pure),
    ("dauphin-merge", Layer::Pure),
    ("dauphin-wire", Layer::Pure),
    ("dauphin-alerts", Layer::Pure),
    ("dauphin-histories", Layer::Pure),
    ("dauphin-planner", Layer::Pure),
    ("dauphin-store", Layer::Edge),
    ("dauphin-engine", Layer::Edge),
    ("dauphin-backup", Layer::Edge),
    ("dauphin-net", Layer::Edge),
    ("dauphin-guard", Layer::Edge),
    ("dauphin-notify", Layer::Edge),
    ("dauphin-agent", Layer::Service),
    ("dauphin-proxy", Layer::Service),
    ("dauphin-mesh", Layer::Service),
    ("dauphin-monitor", Layer::Service),
    ("dauphin-api", Layer::Face),
    ("dauphin-tui", Layer::Face),
    ("dauphin", Layer::Binary),
    ("dauphin-sim", Layer::Sim),
    ("dauphin-explore", Layer::Sim),
    ("dauphin-lab", Layer::Lab),
    ("dauphin-chaos", Layer::Lab),
    ("dauphin-conform", Layer::Lab),
    ("xtask", Layer::Chore),
];

/// Single edges that the rule forbids and that are wanted, each with its reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("dauphin-agent", "dauphin-api", "the agent's process serves HTTP: it hands the api crate its answers"),
    (
        "dauphin-agent",
        "dauphin-sim",
        "`what-if` foretells with the same core, in the simulator: no clock, no chance of its own",
    ),
    ("dauphin-tui", "dauphin-api", "`top` shows what the HTTP interface says, in its types"),
    ("dauphin-explore", "dauphin-sim", "the model checker walks the simulator's world"),
    ("dauphin-conform", "dauphin-sim", "the simulator's fake servers are held to real ones"),
    ("dauphin-lab", "dauphin-api", "the lab asks its members over HTTP, as users do"),
    ("dauphin-chaos", "dauphin-lab", "it makes labs and hits them"),
    ("dauphin-chaos", "dauphin-api", "it asks the members over HTTP, as users do"),
];

/// A package of the workspace and those of the workspace that it depends on, tests aside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Package {
    name: String,
    dependencies: Vec<String>,
}

/// The packages, from `cargo metadata`.
pub(super) fn packages(metadata: &Value) -> Vec<Package> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let own: Vec<String> = packages.iter().map(name).collect();
    let dependencies = |package: &Value| {
        let real = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
        let all = list(&package["dependencies"]);
        all.iter().filter(real).map(name).filter(|dependency| own.contains(dependency)).collect()
    };
    packages.iter().map(|package| Package { name: name(package), dependencies: dependencies(package) }).collect()
}

/// Every dependency that the rule forbids, and every crate that has no floor.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let Some(from) = layer(&package.name) else {
            let message =
                "this crate is on no layer: add it to LAYERS in xtask/src/tidy/layers.rs and to ARCHITECTURE.md";
            found.push(Finding::new(&package.name, 0, message));
            continue;
        };
        for dependency in &package.dependencies {
            let excepted = EXCEPTIONS.iter().any(|(a, b, _)| *a == package.name && b == dependency);
            let allowed = layer(dependency).is_none_or(|to| may_stand_on(from, to));
            if !excepted && !allowed {
                found.push(Finding::new(
                    &package.name,
                    0,
                    format!(
                        "may not depend on {dependency} ({from:?} on {:?}); the layers are in ARCHITECTURE.md",
                        layer(dependency)
                    ),
                ));
            }
        }
    }
    found
}

fn layer(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

fn may_stand_on(from: Layer, to: Layer) -> bool {
    use Layer::{Binary, Chore, Edge, Face, Lab, Model, Pure, Service, Sim};
    match from {
        Model => false,
        Pure => to == Model,
        Edge | Sim => matches!(to, Model | Pure),
        Service | Lab => matches!(to, Model | Pure | Edge),
        Face => matches!(to, Model | Pure | Edge | Service),
        Binary => to != Binary && to != Chore,
        Chore => to != Binary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn verdict(name: &str, dependencies: &[&str], expected: &[&str]) {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        let found = check(&[Package { name: name.to_owned(), dependencies }]);
        let messages: Vec<&str> = found.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages.len(), expected.len(), "{messages:?}");
        for (message, expected) in messages.iter().zip(expected) {
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn the_rule_holds_from_floor_to_floor() {
        verdict("dauphin-ha", &["dauphin-model"], &[]);
        verdict("dauphin-ha", &["dauphin-wire"], &["may not depend on dauphin-wire"]);
        verdict("dauphin-ha", &["dauphin-store"], &["Pure on Some(Edge)"]);
        verdict("dauphin-engine", &["dauphin-model", "dauphin-wire", "dauphin-ha"], &[]);
        verdict("dauphin-engine", &["dauphin-guard"], &["Edge on Some(Edge)"]);
        verdict("dauphin-agent", &["dauphin-engine", "dauphin-guard", "dauphin-ha", "dauphin-model"], &[]);
        verdict("dauphin-agent", &["dauphin-proxy"], &["Service on Some(Service)"]);
        verdict("dauphin-api", &["dauphin-agent"], &[]);
        verdict("dauphin-model", &["dauphin-ha"], &["Model on Some(Pure)"]);
        verdict("dauphin", &["dauphin-api", "dauphin-lab", "dauphin-guard"], &[]);
        verdict("dauphin-lab", &["dauphin"], &["Lab on Some(Binary)"]);
    }

    #[test]
    fn exceptions_are_single_edges() {
        verdict("dauphin-agent", &["dauphin-api"], &[]);
        verdict("dauphin-proxy", &["dauphin-api"], &["Service on Some(Face)"]);
    }

    #[test]
    fn a_new_crate_needs_a_floor() {
        verdict("dauphin-misc", &[], &["on no layer"]);
    }

    #[test]
    fn metadata_is_read_without_tests_and_strangers() {
        let metadata = serde_json::json!({"packages": [
            {"name": "dauphin-ha", "dependencies": [
                {"name": "dauphin-model", "kind": null},
                {"name": "dauphin-lab", "kind": "dev"},
                {"name": "serde", "kind": null},
            ]},
            {"name": "dauphin-model", "dependencies": []},
            {"name": "dauphin-lab", "dependencies": []},
        ]});
        let packages = packages(&metadata);
        let ha = packages.first().expect("three");
        assert_eq!(ha, &Package { name: "dauphin-ha".to_owned(), dependencies: vec!["dauphin-model".to_owned()] });
    }
}
