//! Servers of two versions and of both families: who may follow, copy and lead is decided before anything is changed, on what this
//! machine has. Other versions are in the unit tests of `follow.rs` and `offer.rs`, as texts.

use crate::leaderships::{begin, enforced};
use crate::run::{LIMIT, until};
use crate::stage::{Member, Stage};
use dauphin_engine::mysql::{
    Access, Acknowledges, Binaries, Error, Flavour, Refusal, StopMode, Version, check_copy, check_promotion,
};
use dauphin_model::MemberName;

/// It refuses to follow, and is as it was.
async fn refuses(member: &Member, source: &Member) {
    let before = member.look().await;
    let refused = member.sql.follow(&source.source(None), Acknowledges::Yes, LIMIT).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::SourceVersion { .. }))), "{refused:?}");
    assert_eq!(member.look().await, before, "nothing was changed");
    let offer = source.sql.offer().await.unwrap();
    let copied = check_copy(member.sql.version(), &offer).expect_err("another series").to_string();
    assert!(copied.contains("Nothing was changed"), "{copied}");
}

fn named(name: &str, member: &Member) -> (MemberName, Version) {
    (MemberName::new(name).unwrap(), member.sql.version().clone())
}

pub async fn mixes_are_checked_before_anything_is_changed() {
    let Some(older) = Stage::new("mariadb-10.11").await else { return };
    let Some(newer) = Stage::new("mariadb-11").await else { return };
    let (mut one, mut two) = (older.member("m1").await, newer.member("m2").await);
    begin(&one, &[&one, &two]).await;
    one.sql.set_sync(&enforced(&[&two], 0)).await.unwrap();
    one.sql.set_access(Access::Open).await.unwrap();
    one.insert(1).await.unwrap();

    // a newer one follows an older one, and may not lead it; copies go within a series only
    two.follow_as(&one, false).await;
    until("the leader's log", async || two.position().await == one.position().await).await;
    assert_eq!(two.rows().await, 1);
    refuses(&one, &two).await;
    let offer = one.sql.offer().await.unwrap();
    assert!(matches!(check_copy(two.sql.version(), &offer), Err(Refusal::Copy { .. })));
    let led = check_promotion(two.sql.version(), &[named("m1", &one)]);
    assert!(matches!(&led, Err(Refusal::Promotion { member, .. }) if member == "m1"), "{led:?}");
    check_promotion(one.sql.version(), &[named("m2", &two)]).unwrap();

    // the other family
    if let Some(mysql) = Stage::new("mysql-9").await {
        let three = mysql.member("m3").await;
        refuses(&three, &one).await;
        refuses(&two, &three).await;
        let led = check_promotion(three.sql.version(), &[named("m1", &one)]);
        assert!(matches!(led, Err(Refusal::Promotion { .. })), "{led:?}");
        for (flavour, prefix) in [(Flavour::Mysql, &older.bin.prefix), (Flavour::Mariadb, &mysql.bin.prefix)] {
            let found = Binaries::open(flavour, prefix).await;
            assert!(matches!(&found, Err(Error::NoBinaries { .. } | Error::Version { .. })), "{found:?}");
        }
        starts_nothing_of_others(&older, &one, &mysql, three).await;
    }

    // a server that is older than its data is not started: it would not be read, or worse, half of it would
    two.stop(StopMode::Orderly).await;
    two.sql.instance.bin = older.bin.clone();
    let started = two.sql.prepare_start().await;
    assert!(matches!(started, Err(Error::Refused(Refusal::Data { .. }))), "{started:?}");
    // the way up is open: the older one's data under newer programs, then as a replica is upgraded
    one.stop(StopMode::Orderly).await;
    one.sql.instance.bin = newer.bin.clone();
    one.start().await;
    assert_eq!(one.rows().await, 1);
}

/// Data of one family under programs of the other.
async fn starts_nothing_of_others(older: &Stage, one: &Member, mysql: &Stage, mut three: Member) {
    three.stop(StopMode::Orderly).await;
    let data = three.sql.instance.data_dir.clone();
    three.sql.instance.bin = older.bin.clone();
    let started = three.sql.prepare_start().await;
    assert!(matches!(started, Err(Error::Refused(Refusal::Data { .. }))), "{started:?}");
    three.sql.instance.bin = mysql.bin.clone();
    three.sql.instance.data_dir.clone_from(&one.sql.instance.data_dir);
    let running = three.sql.prepare_start().await;
    assert!(matches!(running, Err(Error::Running { .. })), "{running:?}");
    three.sql.instance.data_dir = data;
    three.start().await;
    assert_eq!(three.look().await.version.flavour, Flavour::Mysql);
}
