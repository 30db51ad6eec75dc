//! A replica that stopped receiving a new timeline before it came to where that begins.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use dauphin_engine::postgres::{Access, StopMode, history};
use dauphin_model::Timeline;
use support::{LIMIT, Lab, Member, as_dauphin, look, pair, until};

/// What a replica leaves that stops receiving a new timeline before it comes to where that begins: here 8 KiB of it.
async fn begins_to_receive_a_timeline(member: &Member) {
    let end = look(member).await;
    let wal = member.pg.instance.data_dir.join("pg_wal");
    let name = |timeline: u32| wal.join(format!("{timeline:08X}00000000{:08X}", end.lsn.0 >> 24));
    let mut begun = std::fs::read(name(end.timeline.0)).unwrap();
    begun[8192..].fill(0);
    std::fs::write(name(end.timeline.0 + 1), begun).unwrap();
    let history = std::fs::read_to_string(history::path(&member.pg.instance.data_dir, end.timeline)).unwrap();
    let history = format!("{history}{}\t{}\tno recovery target specified\n", end.timeline.0, end.lsn);
    std::fs::write(history::path(&member.pg.instance.data_dir, Timeline(end.timeline.0 + 1)), history).unwrap();
}

#[test]
fn a_timeline_that_was_begun_to_be_received_takes_nothing_away() {
    as_dauphin("a_timeline_that_was_begun_to_be_received_takes_nothing_away", async {
        let lab = Lab::new().await;
        let (one, mut two) = pair(&lab).await;
        one.psql("app", "INSERT INTO t SELECT generate_series(1, 1000)").await.unwrap();
        let end = look(&one).await;
        until("the log", async || look(&two).await.holds(&end)).await;
        let frozen = two.pg.freeze(LIMIT).await.unwrap();
        begins_to_receive_a_timeline(&two).await;
        // killed, it finds what it had
        two.stop(StopMode::Kill).await;
        lab.start(&mut two, false).await;
        let again = two.pg.freeze(LIMIT).await.unwrap();
        assert!(again.position.holds(&frozen.position), "{again:?} {frozen:?}");
        // running, it is promoted with what it had; recovery has seen the file by then
        begins_to_receive_a_timeline(&two).await;
        assert!(two.pg.freeze(LIMIT).await.unwrap().position.holds(&frozen.position));
        two.pg.promote(Timeline(5), LIMIT).await.unwrap();
        two.pg.set_access(Access::Open, &lab.networks).await.unwrap();
        assert_eq!(two.psql("app", "SELECT count(*) FROM t").await.unwrap(), "1000");
    });
}
