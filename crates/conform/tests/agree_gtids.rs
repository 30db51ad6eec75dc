//! The scenarios on real MySQL and MariaDB: what is seen there must be what is seen on the simulator's fake servers.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says where")]
#![allow(unreachable_pub, reason = "the engine's own tests share what makes servers")]

mod gtids;
#[path = "../../engine/tests/support/run.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod run;
#[path = "../../engine/tests/mysql/stage.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod stage;

use dauphin_conform::{Scenario, differences, on_fakes, scenarios_of};
use dauphin_model::EngineKind;
use gtids::Template;
use stage::Stage;
use std::time::Instant;

/// One scenario alone, by a part of its name.
const ONLY: &str = "DAUPHIN_SCENARIO";

#[test]
fn fake_servers_agree_with_mysql_9() {
    run::as_dauphin("fake_servers_agree_with_mysql_9", Box::pin(agree("mysql-9", EngineKind::Mysql)));
}

#[test]
fn fake_servers_agree_with_mariadb_10_11() {
    run::as_dauphin("fake_servers_agree_with_mariadb_10_11", Box::pin(agree("mariadb-10.11", EngineKind::Mariadb)));
}

/// Runs the scenarios on the fake servers and on these, one after the other.
async fn agree(name: &str, engine: EngineKind) {
    let Some(stage) = Stage::new(name).await else { return };
    let on = stage.bin.version.to_string();
    let only = std::env::var(ONLY).unwrap_or_default();
    let wanted: Vec<Scenario> = scenarios_of(engine).into_iter().filter(|s| s.name.contains(&only)).collect();
    let begun = Instant::now();
    let template = Box::pin(Template::new(stage)).await;
    let (mut found, mut looks) = (Vec::new(), 0);
    for scenario in &wanted {
        let fake = on_fakes(scenario).unwrap_or_else(|e| panic!("on the fake: {e}"));
        let real = Box::pin(template.run(scenario)).await;
        found.extend(differences(scenario, "the fake", &fake));
        found.extend(differences(scenario, &on, &real));
        looks += real.len();
        eprintln!("{on}: {}", scenario.name);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let took = begun.elapsed().as_millis();
    eprintln!("{on}: {} scenarios, {looks} looks, as on the fake servers ({took} ms)", wanted.len());
}
