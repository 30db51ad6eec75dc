//! MariaDB: what it takes as a position and as a state, what it prints, how far it says it is, what its strict mode refuses.

use crate::bare::Bare;
use crate::run::as_dauphin;
use crate::some;
use dauphin_model::{BinlogState, Held, MariaGtid, MariaPosition};
use proptest::collection::vec;
use proptest::prelude::*;

const NAMES: [&str; 2] = ["mariadb-10.11", "mariadb-11"];

/// Could not parse GTID list.
const MALFORMED: u16 = 1941;
/// Two GTIDs of one domain.
const DUPLICATE_DOMAIN: u16 = 1943;
/// Out of order, in strict mode.
const OUT_OF_ORDER: u16 = 1950;

fn gtid() -> impl Strategy<Value = String> {
    let small = prop_oneof![6 => 0..5_u32, 1 => Just(u32::MAX)];
    let sequence = prop_oneof![6 => 0..30_u64, 1 => Just(u64::MAX)];
    let blank = prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("+"), 1 => Just("00")];
    (small.clone(), small, sequence, blank.clone(), blank)
        .prop_map(|(domain, server, sequence, a, b)| format!("{a}{domain}-{b}{server}-{sequence}"))
}

fn lists() -> impl Strategy<Value = String> {
    vec(gtid(), 0..5).prop_map(|gtids| gtids.join(","))
}

fn damaged() -> impl Strategy<Value = String> {
    (lists(), any::<prop::sample::Index>(), "[-,0-9x +\t]{0,2}").prop_map(|(text, at, put)| {
        let at = at.index(text.len() + 1);
        format!("{}{put}{}", &text[..at], &text[at..])
    })
}

#[test]
fn positions_are_taken_and_printed_as_the_server_does() {
    as_dauphin("mariadb::positions_are_taken_and_printed_as_the_server_does", async {
        for name in NAMES {
            let Some(mut server) = Bare::mariadb(name).await else { continue };
            let (mut taken, mut refused) = (0, 0);
            for text in some(700, prop_oneof![lists(), damaged()]) {
                let said = server.try_ask(&format!("SET GLOBAL gtid_slave_pos = '{text}'")).await;
                match (said, text.parse::<MariaPosition>()) {
                    (Ok(_), Ok(ours)) => {
                        assert_eq!(
                            server.ask("SELECT @@GLOBAL.gtid_slave_pos").await,
                            [ours.to_string()],
                            "{name} {text:?}"
                        );
                        taken += 1;
                    }
                    (Err((MALFORMED | DUPLICATE_DOMAIN, _)), Err(_)) => refused += 1,
                    (said, ours) => panic!("{name} {text:?}: the server says {said:?}, we {ours:?}"),
                }
            }
            assert!(taken > 150 && refused > 150, "{taken} taken, {refused} refused: both must be tried");
        }
    });
}

#[test]
fn states_are_taken_and_end_where_the_server_says() {
    as_dauphin("mariadb::states_are_taken_and_end_where_the_server_says", async {
        for name in NAMES {
            let Some(mut server) = Bare::mariadb(name).await else { continue };
            for text in some(100, lists()) {
                server.ask("RESET MASTER").await;
                let said = server.try_ask(&format!("SET GLOBAL gtid_binlog_state = '{text}'")).await;
                match (said, text.parse::<BinlogState>()) {
                    (Ok(_), Ok(ours)) => {
                        let now = server.ask("SELECT @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_binlog_pos").await;
                        assert_eq!(now[0].parse(), Ok(ours.clone()), "{name} {text:?}");
                        assert_eq!(now[1], ours.position().to_string(), "{name} {text:?}");
                    }
                    (Err((MALFORMED | DUPLICATE_DOMAIN, _)), Err(_)) => {}
                    (said, ours) => panic!("{name} {text:?}: the server says {said:?}, we {ours:?}"),
                }
            }
        }
    });
}

#[test]
fn who_reaches_a_position_is_who_holds_it() {
    as_dauphin("mariadb::who_reaches_a_position_is_who_holds_it", async {
        let position = vec((0..3_u32, 1..4_u32, 1..8_u64), 0..4).prop_map(|list| {
            let mut position = MariaPosition::default();
            list.into_iter()
                .for_each(|(domain, server, sequence)| position.set(MariaGtid { domain, server, sequence }));
            position
        });
        for name in NAMES {
            let Some(mut server) = Bare::mariadb(name).await else { continue };
            for (own, wanted) in some(300, (position.clone(), position.clone())) {
                server.ask(&format!("SET GLOBAL gtid_slave_pos = '{own}'")).await;
                let said = server.ask(&format!("SELECT MASTER_GTID_WAIT('{wanted}', 0)")).await;
                // the server looks at sequences alone; the same one of another server is another transaction
                let other = |gtid: &MariaGtid| {
                    wanted.of(gtid.domain).is_some_and(|w| w.sequence == gtid.sequence && w.server != gtid.server)
                };
                let clash = own.gtids().any(|gtid| other(&gtid));
                if clash {
                    assert!(!own.holds(&wanted), "{own} {wanted}");
                } else {
                    assert_eq!(said == ["0"], own.holds(&wanted), "{name}: {own} waits for {wanted}: {said:?}");
                }
            }
        }
    });
}

#[test]
fn strict_mode_refuses_what_would_not_come_after() {
    as_dauphin("mariadb::strict_mode_refuses_what_would_not_come_after", async {
        for name in NAMES {
            let Some(mut server) = Bare::mariadb(name).await else { continue };
            server.ask("CREATE DATABASE d").await;
            server.ask("CREATE TABLE d.t (n int) ENGINE=InnoDB").await;
            server.ask("SET GLOBAL gtid_strict_mode = 1").await;
            server.ask("RESET MASTER").await;
            let mut ours = BinlogState::default();
            let mut refused = 0;
            for (domain, id, step) in some(150, (0..2_u32, 1..4_u32, 0..3_u64)) {
                let last = ours.position().of(domain).map_or(0, |gtid| gtid.sequence);
                let gtid = MariaGtid { domain, server: id, sequence: (last + step).max(1) };
                server.ask(&format!("SET SESSION server_id = {id}, gtid_domain_id = {domain}")).await;
                let set = format!("SET SESSION gtid_seq_no = {}", gtid.sequence);
                // strict mode refuses the number when it is set, and when it is logged
                let said = match server.try_ask(&set).await {
                    Ok(_) => server.try_ask("INSERT INTO d.t VALUES (1)").await,
                    Err(error) => Err(error),
                };
                match said {
                    Ok(_) => {
                        assert!(gtid.sequence > last, "{name}: {gtid} after {ours}");
                        ours.log(gtid);
                    }
                    Err((OUT_OF_ORDER, _)) => {
                        assert!(gtid.sequence <= last, "{name}: {gtid} after {ours}");
                        refused += 1;
                    }
                    Err(other) => panic!("{name}: {gtid} after {ours}: {other:?}"),
                }
                assert_eq!(
                    server.ask("SELECT @@GLOBAL.gtid_binlog_state").await[0].parse(),
                    Ok(ours.clone()),
                    "{name}"
                );
            }
            assert!(refused > 20, "{refused} refused");
        }
    });
}
