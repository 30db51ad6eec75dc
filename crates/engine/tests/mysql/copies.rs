//! Copies of members: whole, servers of their own, begun again after a break, refused where they cannot be.

use crate::run::{LIMIT, until};
use crate::stage::{COPY_PASSWORD, Member, Stage};
use crate::stories::{Certificates, reveals_nothing};
use dauphin_engine::host::process::all_in;
use dauphin_engine::host::{Progress, Secret};
use dauphin_engine::mysql::offer::Plugin;
use dauphin_engine::mysql::{
    CloneSource, Copied, Error, Flavour, Offer, Refusal, SemiSync, Settings, StopMode, Version, Writes, check_copy,
};
use dauphin_model::{Held, MemberName};
use mysql_async::prelude::Queryable;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long nothing may come.
const QUIET: Duration = Duration::from_secs(20);
/// The same where nothing shall come.
const SHORT: Duration = Duration::from_secs(2);
/// How much comes through before a link breaks.
const BROKEN_AFTER: u64 = 3 << 20;

/// What becomes of a link after [`BROKEN_AFTER`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Good,
    Closed,
    Silent,
}

/// Copies `source` onto `taker`, as two agents do.
async fn copy(
    source: &Member,
    taker: &Member,
    link: Link,
    quiet: Duration,
    progress: &Progress,
) -> Result<Copied, Error> {
    let offer = source.sql.offer().await?;
    match source.sql.dialect().flavour() {
        Flavour::Mysql => {
            let (port, forwards) = forward(source.sql.instance.port, link).await;
            let from = clone_source(port, None);
            let cloned = Box::pin(clone_from(taker, &from, &offer, progress, quiet)).await;
            forwards.abort();
            cloned
        }
        Flavour::Mariadb => {
            let (near, far) = tokio::io::duplex(64 << 10);
            let name = taker.sql.instance.member.clone();
            let sent = Progress::default();
            let give = Box::pin(source.sql.give_copy(&name, far, &sent, quiet));
            let take = Box::pin(async {
                match link {
                    Link::Good => taker.sql.take_copy(&offer, near, progress, quiet).await,
                    Link::Closed => taker.sql.take_copy(&offer, near.take(BROKEN_AFTER), progress, quiet).await,
                    Link::Silent => {
                        let mut near = near;
                        let mut begun = vec![0; usize::try_from(BROKEN_AFTER).unwrap()];
                        near.read_exact(&mut begun).await.unwrap();
                        let (end, mut begin) = tokio::io::duplex(4 << 20);
                        begin.write_all(&begun).await.unwrap();
                        let taken = taker.sql.take_copy(&offer, end, progress, quiet).await;
                        drop((near, begin));
                        taken
                    }
                }
            });
            let (given, taken) = tokio::join!(give, take);
            assert_eq!(given.is_ok(), taken.is_ok(), "{given:?} {taken:?}");
            if let Ok(bytes) = given {
                assert_eq!((sent.done(), progress.done()), (bytes, bytes));
            }
            taken
        }
    }
}

async fn clone_from(
    taker: &Member,
    from: &CloneSource,
    offer: &Offer,
    progress: &Progress,
    quiet: Duration,
) -> Result<Copied, Error> {
    Box::pin(taker.sql.clone_from(from, offer, &Stage::credentials(), progress, quiet)).await
}

fn clone_source(port: u16, ca: Option<&Path>) -> CloneSource {
    let password = Secret::new(COPY_PASSWORD.to_owned());
    CloneSource { host: "127.0.0.1".to_owned(), port, password, ca: ca.map(Path::to_owned) }
}

/// A port that leads to another one, as long as the link is good; then to nobody. MySQL's plugin goes on after a link that
/// comes back.
async fn forward(to: u16, link: Link) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let forwards = tokio::spawn(async move {
        let broken = Arc::new(tokio::sync::Notify::new());
        let accept = async || {
            tokio::select! {
                accepted = listener.accept() => accepted.ok(),
                () = broken.notified() => None,
            }
        };
        while let Some((near, _)) = accept().await {
            let broken = broken.clone();
            tokio::spawn(async move {
                let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let ((mut near_in, mut near_out), (far_in, mut far_out)) = (near.into_split(), far.into_split());
                let most = if link == Link::Good { u64::MAX } else { BROKEN_AFTER };
                let back = async {
                    let sent = tokio::io::copy(&mut far_in.take(most), &mut near_out).await;
                    if sent.is_ok_and(|bytes| bytes == most) {
                        broken.notify_one();
                    }
                    if link == Link::Silent {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy(&mut near_in, &mut far_out) => {}
                    () = back => {}
                }
            });
        }
    });
    (port, forwards)
}

/// A member that holds nothing yet.
fn blank(stage: &Stage, name: &str) -> Member {
    stage.blank(name, Stage::settings(name, &[]))
}

pub async fn copied(source: &Member, taker: &Member) -> Copied {
    copy(source, taker, Link::Good, QUIET, &Progress::default()).await.unwrap()
}

pub async fn a_copy_is_whole_and_a_server_of_its_own(stage: &Stage) {
    let mut one = stage.leader("m1").await;
    for n in 0..50 {
        one.insert(n).await.unwrap();
    }
    // written on while it is copied
    let done = AtomicBool::new(false);
    let progress = Progress::default();
    let mut two = blank(stage, "m2");
    let write = async {
        let mut n = 50;
        while !done.load(Ordering::Relaxed) {
            one.insert(n).await.unwrap();
            n += 1;
            tokio::task::yield_now().await;
        }
        n
    };
    let copied_two = async {
        let copied = copy(&one, &two, Link::Good, QUIET, &progress).await;
        done.store(true, Ordering::Relaxed);
        copied.unwrap()
    };
    let (rows, copied_two) = tokio::join!(write, copied_two);
    assert!(rows > 60, "{rows}: it was written while it was copied");
    assert!(progress.done() > 1 << 20 && progress.total() > 1 << 20, "{progress:?}");
    eprintln!("measured: {} bytes of {} copied under load", progress.done(), progress.total());
    assert!(one.look().await.executed.holds(&copied_two.reached));
    two.start().await;
    let (view, source) = (two.look().await, one.look().await);
    assert_ne!(view.writes, Writes::Open);
    assert_eq!((&view.executed, view.channels.len()), (&copied_two.reached, 0));
    assert!(view.server_id != source.server_id && (view.uuid.is_none() || view.uuid != source.uuid));
    assert_eq!(view.uuid, copied_two.uuid);
    if let (Some(ours), Some(theirs)) = (&view.state, &source.state) {
        assert!(ours.errant(theirs, source.server_id).is_empty(), "{ours} {theirs}");
    }
    two.follow(&one).await;
    two.executes(&one.look().await.executed).await;
    assert_eq!(two.rows().await, i64::from(rows));
    for path in [one.sql.instance.log_path(), two.sql.instance.log_path(), two.sql.instance.config_path()] {
        reveals_nothing(&path);
    }
    assert!(!two.sql.instance.staging_dir().exists());

    // it leads, though it has not the source's logs; the others follow it, one that was copied from it too
    let end = one.sql.demote(LIMIT).await.unwrap();
    two.executes(&end).await;
    assert_eq!(two.sql.promote(LIMIT).await.unwrap(), end);
    two.sql.open_writes().await.unwrap();
    two.insert(-1).await.unwrap();
    assert!(two.look().await.executed.holds(&end), "its numbers go on from the source's");
    one.follow(&two).await;
    let mut three = blank(stage, "m3");
    copied(&two, &three).await;
    three.start().await;
    three.follow(&two).await;
    two.insert(-2).await.unwrap();
    for member in [&one, &three] {
        member.executes(&two.look().await.executed).await;
        assert_eq!(member.rows().await, i64::from(rows) + 2);
    }
    // a member that was made apart needs what the copied leader's log has not, and is told so
    let four = stage.member("m4").await;
    four.follow(&two).await;
    until("a refusal", async || four.look().await.channels[0].receiver_fault.is_some()).await;
    let number = four.look().await.channels[0].receiver_fault.clone().unwrap().number;
    assert!([1236, 13_114].contains(&number), "{number}: MariaDB's, and MySQL's number for the same");
    one.stop(StopMode::Kill).await;
}

pub async fn a_replica_gives_copies_too(stage: &Stage) {
    // of a shape that must be given when data is made: the copies have it too
    let shape = [("innodb_page_size", "8192"), ("lower_case_table_names", "1")];
    let (one, two) = (stage.leader_with("m1", &shape).await, stage.member_with("m2", &shape).await);
    two.follow(&one).await;
    one.insert(1).await.unwrap();
    let reached = one.look().await.executed;
    two.executes(&reached).await;
    let mut three = stage.blank("m3", Stage::settings("m3", &shape));
    assert_eq!(copied(&two, &three).await.reached, reached);
    three.start().await;
    let view = three.look().await;
    assert!(view.channels.is_empty(), "its source's source is not its own: {view:?}");
    three.follow(&one).await;
    one.insert(2).await.unwrap();
    three.executes(&one.look().await.executed).await;
    assert_eq!(three.rows().await, 2);
    let shape: Option<(u64, u64)> =
        three.root().await.query_first("SELECT @@innodb_page_size, @@lower_case_table_names").await.unwrap();
    assert_eq!(shape, Some((8192, 1)));
    // the source noticed nothing
    two.executes(&one.look().await.executed).await;
}

pub async fn a_copy_that_broke_off_is_no_data_and_is_begun_again(stage: &Stage) {
    let mut one = stage.leader("m1").await;
    one.insert(1).await.unwrap();
    let mut two = blank(stage, "m2");
    let nothing_runs = |member: &Member| {
        let staging = member.sql.instance.staging_dir();
        let dirs = ["copier/data", "copy/data"].map(|dir| staging.join(dir));
        dirs.iter().flat_map(|dir| all_in(dir)).collect::<Vec<_>>().is_empty()
    };
    for link in [Link::Closed, Link::Silent] {
        let broken = copy(&one, &two, link, SHORT, &Progress::default()).await;
        let said = broken.expect_err("it broke").to_string();
        eprintln!("{link:?}: {said}");
        assert!(two.sql.instance.staging_dir().exists(), "half a copy lies where no data is");
        assert!(!two.sql.instance.has_data());
        let start = two.sql.prepare_start().await;
        assert!(matches!(start, Err(Error::Refused(Refusal::NoData { .. }))), "{start:?}");
        until("the end of what was started for it", async || nothing_runs(&two)).await;
    }
    // given up by whoever asked for it
    let given_up = tokio::time::timeout(SHORT, copy(&one, &two, Link::Silent, QUIET, &Progress::default())).await;
    assert!(given_up.is_err());
    until("the end of what was started for it", async || nothing_runs(&two)).await;
    // an agent that was killed leaves its server there
    let left = two.sql.instance.staging_dir().join("copy/data");
    std::fs::create_dir_all(&left).unwrap();
    let mut orphan = std::process::Command::new("sleep").arg("600").current_dir(&left).spawn().unwrap();
    // the source dies
    one.stop(StopMode::Kill).await;
    if stage.flavour() == Flavour::Mysql {
        let version = stage.bin.version.clone();
        let offer = Offer { version, uuid: None, bytes: 0, plugins: vec![], left_out: vec![], waiting: 0 };
        let from = clone_source(one.sql.instance.port, None);
        let dead = clone_from(&two, &from, &offer, &Progress::default(), QUIET).await;
        eprintln!("dead: {}", dead.expect_err("nobody is there"));
    } else {
        let (name, progress) = (MemberName::new("m2").unwrap(), Progress::default());
        let given = one.sql.give_copy(&name, tokio::io::sink(), &progress, QUIET).await;
        eprintln!("dead: {}", given.expect_err("nobody is there"));
    }
    one.start().await;
    copied(&one, &two).await;
    assert!(orphan.try_wait().unwrap().is_some(), "what worked there was ended first");
    two.start().await;
    assert_eq!(two.rows().await, 1);
    assert!(!one.sql.instance.member_dir.join("giving-m2").exists());
}

pub async fn what_cannot_be_copied_is_refused_before_anything_is_done(stage: &Stage) {
    let (one, mut two) = (stage.leader("m1").await, stage.member("m2").await);
    let offer = one.sql.offer().await.unwrap();
    let json = serde_json::to_string(&offer).unwrap();
    assert_eq!(serde_json::from_str::<Offer>(&json).unwrap(), offer, "it goes between agents");
    assert!(offer.bytes > 1 << 20, "{offer:?}");
    // a member that runs, and one that has data
    let refused = copy(&one, &two, Link::Good, QUIET, &Progress::default()).await;
    assert!(matches!(refused, Err(Error::Running { .. })));
    two.stop(StopMode::Orderly).await;
    let refused = copy(&one, &two, Link::Good, QUIET, &Progress::default()).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::NotEmpty { .. }))));
    assert!(two.sql.instance.has_data());
    two.sql.instance.wipe().unwrap();
    assert!(!two.sql.instance.has_data() && !two.sql.instance.data_dir.exists(), "thrown away on purpose");
    // another series, another family
    let other = if stage.flavour() == Flavour::Mysql { "10.11.18-MariaDB" } else { "9.7.4" };
    let alien = Offer { version: Version::parse(other).unwrap(), ..offer.clone() };
    assert!(matches!(check_copy(&stage.bin.version, &alien), Err(Refusal::Copy { .. })));
    let three = blank(stage, "m3");
    let take = async |offer: &Offer| match stage.flavour() {
        Flavour::Mysql => {
            let from = clone_source(one.sql.instance.port, None);
            clone_from(&three, &from, offer, &Progress::default(), QUIET).await
        }
        Flavour::Mariadb => {
            let progress = Progress::default();
            Box::pin(three.sql.take_copy(offer, tokio::io::empty(), &progress, QUIET)).await
        }
    };
    let refused = take(&alien).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Copy { .. }))), "{refused:?}");
    let refused = take(&Offer { bytes: u64::MAX, ..offer.clone() }).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::Room { .. }))), "{refused:?}");
    assert!(!three.sql.instance.staging_dir().exists() && !three.sql.instance.has_data());
    // MariaDB's backups bring every table; MySQL's clones would leave the rows of some behind
    let mut root = one.root().await;
    root.query_drop("CREATE TABLE app.old (n int) ENGINE=MyISAM").await.unwrap();
    root.query_drop("INSERT INTO app.old VALUES (1)").await.unwrap();
    let taken = copy(&one, &three, Link::Good, QUIET, &Progress::default()).await;
    match stage.flavour() {
        Flavour::Mariadb => assert!(taken.is_ok(), "{taken:?}"),
        Flavour::Mysql => {
            let said = taken.expect_err("rows would be lost").to_string();
            assert!(said.contains("app.old (MyISAM)"), "{said}");
            root.query_drop("ALTER TABLE app.old ENGINE=InnoDB").await.unwrap();
            plugins_must_be_alike(&one, &three).await;
        }
    }
    let mut three = three;
    three.start().await;
    let count: Option<i64> = three.root().await.query_first("SELECT count(*) FROM app.old").await.unwrap();
    assert_eq!(count, Some(1));
}

/// A plugin that somebody installed on the source is loaded for the copy; one that is not there is named.
async fn plugins_must_be_alike(one: &Member, three: &Member) {
    let mut root = one.root().await;
    root.query_drop("INSTALL PLUGIN ddl_rewriter SONAME 'ddl_rewriter.so'").await.unwrap();
    let offer = one.sql.offer().await.unwrap();
    assert!(offer.plugins.iter().any(|plugin| plugin.library == "ddl_rewriter.so"), "{offer:?}");
    let missing = Plugin { name: "nobody_has".to_owned(), library: "nobody_has.so".to_owned() };
    let alien = Offer { plugins: vec![missing], ..offer };
    let from = clone_source(one.sql.instance.port, None);
    let refused = clone_from(three, &from, &alien, &Progress::default(), QUIET).await;
    assert!(
        matches!(&refused, Err(Error::Refused(Refusal::Plugin { name, .. })) if name == "nobody_has"),
        "{refused:?}"
    );
    copied(one, three).await;
}

pub async fn two_copies_of_one_member_wait_for_each_other(stage: &Stage) {
    let one = stage.leader("m1").await;
    one.insert(1).await.unwrap();
    let (two, three) = (blank(stage, "m2"), blank(stage, "m3"));
    let copies = (Box::pin(copied(&one, &two)), Box::pin(copied(&one, &three)));
    let (two, three) = tokio::join!(copies.0, copies.1);
    assert_eq!(two.reached, three.reached);
}

pub async fn a_leader_whose_commits_wait_is_copied_or_says_so(stage: &Stage) {
    let one = stage.leader("m1").await;
    one.insert(1).await.unwrap();
    one.sql.set_semi_sync(SemiSync::Wait { required: 1 }).await.unwrap();
    let waits = async |n: i32| {
        let mut client = one.app().await;
        let insert = format!("INSERT INTO app.t VALUES ({n}, 'x')");
        let commit = Some(tokio::spawn(async move { client.query_drop(insert).await }));
        until("a waiting commit", async || one.look().await.semi_sync.waiting > 0).await;
        commit
    };
    let commit = waits(2).await.unwrap();
    let mut two = blank(stage, "m2");
    let refused = copy(&one, &two, Link::Good, QUIET, &Progress::default()).await;
    assert!(matches!(&refused, Err(Error::Refused(Refusal::CopyWaits { sessions: 1 }))), "{refused:?}");
    // one that began to wait after the offer was made
    let offer = Offer { waiting: 0, ..one.sql.offer().await.unwrap() };
    match stage.flavour() {
        Flavour::Mysql => {
            let from = clone_source(one.sql.instance.port, None);
            let refused = clone_from(&two, &from, &offer, &Progress::default(), SHORT).await;
            assert!(matches!(refused, Err(Error::TimedOut { .. })), "{refused:?}");
        }
        Flavour::Mariadb => {
            let (name, progress) = (MemberName::new("m2").unwrap(), Progress::default());
            let refused = Box::pin(one.sql.give_copy(&name, tokio::io::sink(), &progress, QUIET)).await;
            assert!(matches!(refused, Err(Error::BackupWaits { sessions: 1 })), "{refused:?}");
        }
    }
    assert!(!commit.is_finished(), "nobody was told anything");
    one.sql.set_semi_sync(SemiSync::Off).await.unwrap();
    commit.await.unwrap().unwrap();
    // nothing that was given up holds the leader up
    one.insert(3).await.unwrap();
    copied(&one, &two).await;
    one.sql.set_semi_sync(SemiSync::Wait { required: 1 }).await.unwrap();
    let commit = waits(4).await.unwrap();
    // the copy is the replica that was missing
    two.start().await;
    two.follow(&one).await;
    tokio::time::timeout(LIMIT, commit).await.unwrap().unwrap().unwrap();
    two.executes(&one.look().await.executed).await;
    assert_eq!(two.rows().await, one.rows().await);
}

pub async fn a_clone_checks_whom_it_copies(stage: &Stage) {
    if stage.flavour() == Flavour::Mariadb {
        // there the stream goes through a link of ours
        return;
    }
    let files = Certificates::new(stage.dir.path());
    let mut one = stage.blank("m1", Settings { tls: Some(files.tls()), ..Stage::settings("m1", &[]) });
    one.sql.initialize(&Stage::credentials()).await.unwrap();
    one.start().await;
    let offer = one.sql.offer().await.unwrap();
    let two = blank(stage, "m2");
    let clone = async |ca: &Path| {
        let from = clone_source(one.sql.instance.port, Some(ca));
        clone_from(&two, &from, &offer, &Progress::default(), QUIET).await
    };
    let refused = clone(&files.other_ca).await;
    assert!(matches!(refused, Err(Error::Sql { .. })), "{refused:?}");
    assert!(!two.sql.instance.has_data());
    clone(&files.ca).await.unwrap();
    assert!(two.sql.instance.has_data());
    let wrong = CloneSource { password: Secret::new("wrong".to_owned()), ..clone_source(one.sql.instance.port, None) };
    two.sql.instance.wipe().unwrap();
    let refused = clone_from(&two, &wrong, &offer, &Progress::default(), QUIET).await;
    assert!(matches!(refused, Err(Error::Sql { .. })), "{refused:?}");
}
