//! The post against real HTTP servers, TLS and programs: nothing is lost while a place is down, over a restart included;
//! order is kept; secrets stay secret.

mod mail;
mod place;

use dauphin_alerts::{Change, Item, Kind, Notice};
use dauphin_model::{Level, TargetKind, TargetSpec};
use dauphin_notify::{Letter, Post, SendError, send};
use place::{Place, free_port};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Longest wait for anything to happen.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(crate) fn letter(number: u64) -> Letter {
    let item = Item {
        id: number,
        change: Change::Raised,
        kind: Kind::NoLeader,
        member: None,
        level: Level::Emergency,
        before: None,
        text: "no leader takes writes".into(),
        next: "dauphin explain".into(),
        raised_unix: 1_790_000_000,
    };
    let notice = Notice { number, at_unix: 1_790_000_000, items: vec![item] };
    Letter { cluster: "shop".into(), reporter: "m1".into(), notice, test: false }
}

pub(crate) fn target(name: &str, url: String) -> TargetSpec {
    TargetSpec {
        name: name.into(),
        kind: TargetKind::Webhook,
        url: Some(url),
        url_file: None,
        secret_file: None,
        token_file: None,
        ca_file: None,
        command: None,
        email: None,
        level: Level::Warning,
    }
}

pub(crate) fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    path
}

pub(crate) fn start(dir: &Path, targets: &[TargetSpec]) -> (Arc<Post>, JoinHandle<()>) {
    let post = Post::open(dir);
    let targets = targets.to_vec();
    let task = tokio::spawn(Arc::clone(&post).run(move || targets.clone()));
    (post, task)
}

pub(crate) async fn until(what: &str, wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !wanted() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_place_that_is_down_loses_nothing_over_a_restart_and_gets_all_once_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let (down, up) = (free_port(), free_port());
    let targets =
        [target("down", format!("http://127.0.0.1:{down}/x")), target("up", format!("http://127.0.0.1:{up}/y"))];
    let well = Place::open(up, &[200], None).await;
    let (post, task) = start(dir.path(), &targets);
    for number in 1..=3 {
        post.take(&targets, &letter(number)).expect("on the disk");
    }
    until("the place that is well has them", || well.count() == 3).await;
    assert_eq!(well.ids(), ["shop/1", "shop/2", "shop/3"], "the other place holds nothing up");
    until("the other one fails", || post.standings()["down"].failing.is_some()).await;
    assert!(post.standings()["down"].failing.as_ref().is_some_and(|why| why.contains("cannot be reached")));
    assert_eq!(post.standings()["down"].waiting, 3);

    // the agent dies and starts again
    task.abort();
    drop(post);
    let (post, task) = start(dir.path(), &targets);
    post.take(&targets, &letter(4)).expect("on the disk");
    // it comes up, and is not well at first
    let late = Place::open(down, &[503, 429, 200], None).await;
    until("all is delivered", || post.standings().values().all(|s| s.waiting == 0)).await;
    assert_eq!(
        late.ids(),
        ["shop/1", "shop/1", "shop/1", "shop/2", "shop/3", "shop/4"],
        "refused twice, then each once"
    );
    assert_eq!(well.ids(), ["shop/1", "shop/2", "shop/3", "shop/4"]);
    assert!(post.standings()["down"].failing.is_none());
    assert_eq!(post.standings()["down"].sent, 4);
    task.abort();
}

#[tokio::test]
async fn a_notice_that_is_refused_for_good_does_not_stop_the_next() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let place = Place::open(port, &[400, 400, 400, 400, 400, 200], None).await;
    let targets = [target("ops", format!("http://127.0.0.1:{port}/x"))];
    let (post, task) = start(dir.path(), &targets);
    post.take(&targets, &letter(1)).expect("on the disk");
    post.take(&targets, &letter(2)).expect("on the disk");
    until("the second is delivered", || post.standings()["ops"].sent == 1).await;
    assert_eq!(place.ids().last().map(String::as_str), Some("shop/2"));
    assert_eq!(post.standings()["ops"].dropped, 1, "and that is counted");
    task.abort();
}

#[tokio::test]
async fn a_place_that_is_taken_out_and_one_that_wants_less() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut one = target("ops", format!("http://127.0.0.1:{port}/x"));
    let mut quiet = letter(1);
    quiet.notice.items[0].level = Level::Warning;
    one.level = Level::Critical;
    let post = Post::open(dir.path());
    post.take(&[one.clone()], &quiet).expect("nothing to write");
    assert!(post.standings().is_empty(), "a warning does not concern it");
    post.take(&[one], &letter(2)).expect("on the disk");
    assert_eq!(post.standings()["ops"].waiting, 1);
    let task = tokio::spawn(Arc::clone(&post).run(Vec::new));
    until("what waits for nobody goes", || post.standings().is_empty()).await;
    task.abort();
}

#[tokio::test]
async fn a_webhook_is_signed_and_carries_its_token_and_number() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let place = Place::open(port, &[200], None).await;
    let mut one = target("ops", format!("http://127.0.0.1:{port}/hook?a=b"));
    one.secret_file = Some(file(dir.path(), "key", "Jefe\n", 0o600));
    one.token_file = Some(file(dir.path(), "token", "s3cret\n", 0o600));
    assert_eq!(send(&one, &letter(7)).await.expect("taken"), "200 OK note");
    let got = place.got.lock().expect("no panic").first().cloned().expect("one");
    assert!(got.head.starts_with("post /hook?a=b http/1.1"), "{}", got.head);
    for header in ["dauphin-notice: shop/7", "authorization: bearer s3cret", "content-type: application/json"] {
        assert!(got.head.contains(header), "{header}: {}", got.head);
    }
    // as a receiver does it, with the tool at hand
    let body = file(dir.path(), "body", &String::from_utf8_lossy(&got.raw), 0o600);
    let digest = std::process::Command::new("openssl").args(["dgst", "-sha256", "-hmac", "Jefe"]).arg(body).output();
    let digest = String::from_utf8_lossy(&digest.expect("openssl").stdout).trim().to_owned();
    let hex = digest.rsplit(' ').next().expect("a digest");
    assert!(got.head.contains(&format!("dauphin-signature: sha256={hex}")), "{hex}: {}", got.head);
}

#[tokio::test]
async fn secrets_must_be_private_and_are_in_no_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut one = target("chat", String::new());
    one.kind = TargetKind::Slack;
    one.url = None;
    one.url_file = Some(file(dir.path(), "open", "http://127.0.0.1:1/services/T0/B0/hush", 0o644));
    let error = send(&one, &letter(1)).await.expect_err("others may read it").to_string();
    assert!(error.contains("chmod 600") && !error.contains("hush"), "{error}");
    one.url_file = Some(file(dir.path(), "closed", "http://127.0.0.1:1/services/T0/B0/hush", 0o600));
    let error = send(&one, &letter(1)).await.expect_err("nobody listens").to_string();
    assert!(error.contains("cannot be reached") && !error.contains("hush"), "{error}");
    one.url_file = Some(file(dir.path(), "bad", "http://exa mple/hush", 0o600));
    let error = send(&one, &letter(1)).await.expect_err("no address").to_string();
    assert!(!error.contains("hush"), "{error}");
    // Slack's document, where it is meant to go
    let port = free_port();
    let place = Place::open(port, &[200], None).await;
    one.url_file = Some(file(dir.path(), "good", &format!("http://127.0.0.1:{port}/services/x\n"), 0o600));
    send(&one, &letter(1)).await.expect("taken");
    let got = place.got.lock().expect("no panic").first().cloned().expect("one");
    assert_eq!(got.body["text"], "*shop*\nEMERGENCY no leader takes writes\n    → dauphin explain");
}

#[tokio::test]
async fn a_place_over_tls_is_checked() {
    let dir = tempfile::tempdir().expect("a folder");
    let (acceptor, ca) = mail::certified(dir.path());
    let port = free_port();
    let place = Place::open(port, &[200], Some(acceptor)).await;
    let mut one = target("ops", format!("https://127.0.0.1:{port}/x"));
    one.ca_file = Some(ca);
    send(&one, &letter(1)).await.expect("its CA is known");
    assert_eq!(place.ids(), ["shop/1"]);
    let other = rcgen::KeyPair::generate().expect("a key");
    let other = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").self_signed(&other);
    one.ca_file = Some(file(dir.path(), "other.pem", &other.expect("a certificate").pem(), 0o644));
    let error = send(&one, &letter(2)).await.expect_err("a stranger");
    assert!(matches!(error, SendError::Tls(_)), "{error}");
    assert_eq!(place.count(), 1, "nothing was told to it");
}

#[tokio::test]
async fn alertmanager_is_told_by_its_own_path() {
    let port = free_port();
    let place = Place::open(port, &[200], None).await;
    let mut one = target("prom", format!("http://127.0.0.1:{port}/alertmanager/"));
    one.kind = TargetKind::Alertmanager;
    send(&one, &letter(1)).await.expect("taken");
    let got = place.got.lock().expect("no panic").first().cloned().expect("one");
    assert!(got.head.starts_with("post /alertmanager/api/v2/alerts http/1.1"), "{}", got.head);
    assert_eq!(got.body[0]["labels"]["alertname"], "dauphin_no_leader");
}

#[tokio::test]
async fn a_program_gets_the_document_and_nothing_of_the_environment() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let script = format!("#!/bin/sh\ncat > {0}\nenv >> {0}\n", out.display());
    let mut one = target("pager", String::new());
    (one.kind, one.url) = (TargetKind::Command, None);
    one.command = Some(file(dir.path(), "page", &script, 0o700));
    send(&one, &letter(5)).await.expect("it ended well");
    let said = std::fs::read_to_string(&out).expect("written");
    assert!(said.contains("\"id\":\"shop/5\"") && !said.contains("HOME=") && !said.contains("CARGO"), "{said}");
    one.command = Some(file(dir.path(), "fails", "#!/bin/sh\necho no line >&2\nexit 3\n", 0o700));
    let error = send(&one, &letter(5)).await.expect_err("it ended with 3").to_string();
    assert!(error.contains("3") && error.contains("no line"), "{error}");
    one.command = Some(file(dir.path(), "anybody", "#!/bin/sh\n", 0o777));
    let error = send(&one, &letter(5)).await.expect_err("anybody may have written it").to_string();
    assert!(error.contains("nobody else may write"), "{error}");
}
