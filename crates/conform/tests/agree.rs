//! The scenarios on real PostgreSQL 15 and 18: what is seen there must be what is seen on the simulator's fake servers.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says where")]

mod real;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use dauphin_conform::{Scenario, differences, on_fakes, scenarios_of};
use dauphin_engine::postgres::Binaries;
use dauphin_model::EngineKind;
use real::Template;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One scenario alone, by a part of its name.
const ONLY: &str = "DAUPHIN_SCENARIO";

#[test]
fn fake_servers_agree_with_postgresql_15() {
    support::as_dauphin("fake_servers_agree_with_postgresql_15", async {
        let bin = installed(15).await.expect("PostgreSQL 15 is always tested: scripts/engines.sh postgres-15");
        Box::pin(agree(bin)).await;
    });
}

#[test]
fn fake_servers_agree_with_postgresql_18() {
    support::as_dauphin("fake_servers_agree_with_postgresql_18", async {
        match installed(18).await {
            Some(bin) => Box::pin(agree(bin)).await,
            None => eprintln!(
                "PostgreSQL 18 is not installed (scripts/engines.sh postgres): fake servers were not held to it"
            ),
        }
    });
}

/// The programs of this version: where the tests are told to look, in the checkout, in the system.
async fn installed(major: u32) -> Option<Binaries> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines");
    let told = std::env::var_os("DAUPHIN_TEST_BIN").filter(|v| !v.is_empty()).map(PathBuf::from);
    let places = [
        checkout.join(format!("postgres-{major}/bin")),
        PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
        PathBuf::from(format!("/usr/pgsql-{major}/bin")),
    ];
    for place in told.into_iter().chain(places) {
        if let Ok(bin) = Binaries::open(&place).await
            && bin.version.major == major
        {
            return Some(bin);
        }
    }
    None
}

/// Runs the scenarios on the fake servers and on these, two at a time: most of a scenario's time is waiting.
async fn agree(bin: Binaries) {
    let on = format!("PostgreSQL {}", bin.version);
    let only = std::env::var(ONLY).unwrap_or_default();
    let wanted: Vec<Scenario> =
        scenarios_of(EngineKind::Postgres).into_iter().filter(|s| s.name.contains(&only)).collect();
    let begun = Instant::now();
    let template = Box::pin(Template::new(bin)).await;
    let lane = async |first: usize| {
        let (mut found, mut looks) = (Vec::new(), 0);
        for scenario in wanted.iter().skip(first).step_by(2) {
            let fake = on_fakes(scenario).unwrap_or_else(|e| panic!("on the fake: {e}"));
            let real = Box::pin(template.run(scenario)).await;
            found.extend(differences(scenario, "the fake", &fake));
            found.extend(differences(scenario, &on, &real));
            looks += real.len();
            eprintln!("{on}: {}", scenario.name);
        }
        (found, looks)
    };
    let ((mut found, looks), (others, more)) = tokio::join!(lane(0), lane(1));
    found.extend(others);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let took = begun.elapsed().as_millis();
    eprintln!("{on}: {} scenarios, {} looks, as on the fake servers ({took} ms)", wanted.len(), looks + more);
}
