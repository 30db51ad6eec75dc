//! Links over real sockets: calls, streams, lost peers, foreign certificates, rotation.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use dauphin_model::{ClusterName, MemberName};
use dauphin_net::ca::{CA_FILE, Ca};
use dauphin_net::{
    BoxFuture, CallError, Down, Handler, Identity, Link, LinkState, Peer, PeerKind, PeerName, Refusal,
    SUBSCRIPTION_QUEUE_MAX, serve,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(5);
const ECHO: u8 = 1;
const SLOW: u8 = 2;
const REFUSE: u8 = 3;
const COUNT: u8 = 4;
const WHO: u8 = 5;

fn cluster() -> ClusterName {
    ClusterName::new("lab").unwrap()
}

fn member(name: &str) -> Peer {
    Peer::member(&MemberName::new(name).unwrap())
}

#[derive(Default)]
struct Recorder {
    notes: Mutex<Vec<Bytes>>,
    subscribers: AtomicUsize,
}

impl Handler for Arc2 {
    fn call(&self, peer: Peer, channel: u8, body: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async move {
            match channel {
                ECHO => Ok(body),
                SLOW => {
                    tokio::time::sleep(PATIENCE * 4).await;
                    Ok(body)
                }
                WHO => Ok(Bytes::from(peer.to_string())),
                _ => Err(Refusal("not today".to_owned())),
            }
        })
    }

    fn note(&self, _peer: Peer, _channel: u8, body: Bytes) {
        self.0.notes.lock().unwrap().push(body);
    }

    fn subscribe(&self, _peer: Peer, channel: u8, body: Bytes) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        if channel != COUNT {
            return Err(Refusal("nothing to follow".to_owned()));
        }
        let upto: u32 = String::from_utf8_lossy(&body).parse().map_err(|_| Refusal("no number".to_owned()))?;
        let (tx, rx) = mpsc::channel(8);
        let recorder = self.0.clone();
        recorder.subscribers.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            for n in 0..upto {
                if tx.send(Bytes::from(n.to_string())).await.is_err() {
                    break;
                }
            }
            if upto == u32::MAX {
                tx.closed().await;
            }
            recorder.subscribers.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(rx)
    }
}

/// A handler must own itself; this one shares its record.
struct Arc2(Arc<Recorder>);

struct Rig {
    ca: Ca,
    dir: tempfile::TempDir,
}

struct Server {
    addr: String,
    recorder: Arc<Recorder>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    identity: Arc<Identity>,
}

impl Server {
    /// As a kill: the kernel closes the sockets.
    async fn kill(self) -> String {
        self.task.abort();
        let _ = self.task.await;
        self.addr
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

impl Rig {
    fn new() -> Self {
        Self { ca: Ca::create(&cluster()).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    fn folder(&self, peer: &Peer) -> PathBuf {
        self.dir.path().join(peer.name.as_str())
    }

    fn identity(&self, peer: &Peer) -> Arc<Identity> {
        let dir = self.folder(peer);
        self.ca.issue_to(&dir, peer, &["127.0.0.1".to_owned()]).unwrap();
        Arc::new(Identity::load(&dir).unwrap())
    }

    async fn serve(&self, peer: &Peer) -> Server {
        serve_at("127.0.0.1:0", self.identity(peer)).await
    }

    fn link(&self, from: &Peer, to: &Peer, addr: &str) -> Link {
        Link::new(to.clone(), addr.to_owned(), self.identity(from))
    }
}

async fn serve_at(addr: &str, identity: Arc<Identity>) -> Server {
    let listener = TcpListener::bind(addr).await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let recorder = Arc::new(Recorder::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = Arc::new(Arc2(recorder.clone()));
    let ours = identity.clone();
    let task = tokio::spawn(serve(listener, ours, handler, async move {
        let _ = stopped.await;
    }));
    Server { addr, recorder, stop: Some(stop), task, identity }
}

async fn echo(link: &Link, text: &str) -> Result<Bytes, CallError> {
    link.call(ECHO, Bytes::from(text.to_owned()), PATIENCE).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn calls_notes_and_refusals() {
    let rig = Rig::new();
    let server = rig.serve(&member("m1")).await;
    let link = rig.link(&member("m2"), &member("m1"), &server.addr);
    assert_eq!(*link.state().borrow(), LinkState::Connecting);
    assert_eq!(echo(&link, "hello").await.unwrap(), "hello");
    assert!(matches!(*link.state().borrow(), LinkState::Up { .. }));
    assert_eq!(link.call(WHO, Bytes::new(), PATIENCE).await.unwrap(), "member m2");

    let large = Bytes::from(vec![7; 3 * 1024 * 1024]);
    assert_eq!(link.call(ECHO, large.clone(), PATIENCE).await.unwrap(), large);
    let too_large = Bytes::from(vec![7; dauphin_net::FRAME_BYTES_MAX]);
    assert!(matches!(link.call(ECHO, too_large, PATIENCE).await, Err(CallError::TooMuch(_))));

    let refused = link.call(REFUSE, Bytes::new(), PATIENCE).await;
    assert_eq!(refused, Err(CallError::Refusal("not today".to_owned())));
    let slow = link.call(SLOW, Bytes::new(), Duration::from_millis(30)).await;
    assert_eq!(slow, Err(CallError::TimedOut));

    assert!(link.note(0, Bytes::from("seen")));
    until("the note", || *server.recorder.notes.lock().unwrap() == [Bytes::from("seen")]).await;

    let calls = (0..200).map(|n| {
        let link = link.clone();
        tokio::spawn(async move { echo(&link, &n.to_string()).await.unwrap() == n.to_string() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_dead_process_is_known_within_milliseconds_and_found_again() {
    let rig = Rig::new();
    let server = rig.serve(&member("m1")).await;
    let identity = server.identity.clone();
    let link = rig.link(&member("m2"), &member("m1"), &server.addr);
    echo(&link, "up").await.unwrap();
    let pending = tokio::spawn({
        let link = link.clone();
        async move { link.call(SLOW, Bytes::new(), PATIENCE).await }
    });
    tokio::task::yield_now().await;
    until("the call is under way", || link.state().borrow().clone() != LinkState::Connecting).await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    let mut state = link.state();
    let killed = Instant::now();
    let addr = server.kill().await;
    let refused = state.wait_for(|s| matches!(s, LinkState::Down { why: Down::Refused, .. }));
    tokio::time::timeout(PATIENCE, refused).await.unwrap().unwrap();
    assert!(killed.elapsed() < Duration::from_millis(100), "took {:?}", killed.elapsed());
    // what was under way may have been done; what comes now certainly is not
    assert_eq!(pending.await.unwrap(), Err(CallError::Closed));
    assert_eq!(echo(&link, "down").await, Err(CallError::Refused));

    let server = serve_at(&addr, identity).await;
    let up = state.wait_for(|s| matches!(s, LinkState::Up { .. }));
    tokio::time::timeout(PATIENCE, up).await.unwrap().unwrap();
    assert_eq!(echo(&link, "again").await.unwrap(), "again");
    server.stop().await;
}

#[tokio::test]
async fn streams_end_with_their_source_their_reader_or_the_link() {
    let rig = Rig::new();
    let server = rig.serve(&member("m1")).await;
    let link =
        rig.link(&Peer { kind: PeerKind::Proxy, name: PeerName::new("p1").unwrap() }, &member("m1"), &server.addr);
    let mut events = link.subscribe(COUNT, Bytes::from("100"), PATIENCE).await.unwrap();
    for n in 0..100 {
        assert_eq!(events.recv().await.unwrap(), n.to_string());
    }
    assert_eq!(events.recv().await, None, "the source ended");
    let refused = link.subscribe(ECHO, Bytes::new(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, CallError::Refusal("nothing to follow".to_owned()));

    // a reader that does not read loses the stream, and the source learns it
    let mut events = link.subscribe(COUNT, Bytes::from("100000"), PATIENCE).await.unwrap();
    until("the source is told", || server.recorder.subscribers.load(Ordering::SeqCst) == 0).await;
    let mut read = 0;
    while events.recv().await.is_some() {
        read += 1;
    }
    assert!(read <= SUBSCRIPTION_QUEUE_MAX, "{read}");

    // so does one that goes
    let events = link.subscribe(COUNT, Bytes::from(u32::MAX.to_string()), PATIENCE).await.unwrap();
    drop(events);
    until("the source is told", || server.recorder.subscribers.load(Ordering::SeqCst) == 0).await;

    let mut events = link.subscribe(COUNT, Bytes::from("1"), PATIENCE).await.unwrap();
    assert_eq!(events.recv().await.unwrap(), "0");
    server.kill().await;
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn only_members_of_the_cluster_and_only_the_one_expected() {
    let rig = Rig::new();
    let server = rig.serve(&member("m1")).await;

    // another CA, the same names
    let foreign = Rig::new();
    let link = foreign.link(&member("m2"), &member("m1"), &server.addr);
    let refused = echo(&link, "x").await;
    assert!(matches!(refused, Err(CallError::Down(Down::Tls(_)))), "{refused:?}");

    // the right CA, another member than expected
    let link = rig.link(&member("m2"), &member("m3"), &server.addr);
    let refused = echo(&link, "x").await;
    assert!(matches!(refused, Err(CallError::Down(Down::Tls(_)))), "{refused:?}");

    // our CA trusted by a client whose certificate is another CA's
    let dir = foreign.folder(&member("m4"));
    foreign.ca.issue(&member("m4"), &[]).unwrap().save(&dir, rig.ca.cert_pem()).unwrap();
    let link = Link::new(member("m1"), server.addr.clone(), Arc::new(Identity::load(&dir).unwrap()));
    let refused = echo(&link, "x").await;
    assert!(matches!(refused, Err(CallError::Down(Down::Tls(_)))), "{refused:?}");

    // another cluster under the same CA
    let other = ClusterName::new("other").unwrap();
    rig.ca.save(rig.dir.path()).unwrap();
    let ca = Ca::load(rig.dir.path(), &other).unwrap();
    let dir = rig.folder(&member("m5"));
    ca.issue_to(&dir, &member("m5"), &[]).unwrap();
    let link = Link::new(member("m1"), server.addr.clone(), Arc::new(Identity::load(&dir).unwrap()));
    assert!(echo(&link, "x").await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn certificates_and_the_ca_change_while_links_stay_up() {
    let rig = Rig::new();
    let (m1, m2) = (member("m1"), member("m2"));
    let server = rig.serve(&m1).await;
    let client = rig.identity(&m2);
    let link = Link::new(m1.clone(), server.addr.clone(), client.clone());
    echo(&link, "old").await.unwrap();
    let LinkState::Up { since } = *link.state().borrow() else { panic!("not up") };

    let next = Ca::create(&cluster()).unwrap();
    let both = format!("{}{}", rig.ca.cert_pem(), next.cert_pem());
    let folders = [(rig.folder(&m1), &m1, &server.identity), (rig.folder(&m2), &m2, &client)];
    let fresh = |n: usize| {
        let link = Link::new(m1.clone(), server.addr.clone(), client.clone());
        async move { assert_eq!(echo(&link, "new link").await.unwrap(), "new link", "step {n}") }
    };
    // first everybody trusts both, then gets a certificate of the new one, then trusts only that
    for (dir, _, identity) in &folders {
        std::fs::write(dir.join(CA_FILE), &both).unwrap();
        identity.reload().unwrap();
        fresh(1).await;
    }
    for (dir, peer, identity) in &folders {
        next.issue(peer, &["127.0.0.1".to_owned()]).unwrap().save(dir, &both).unwrap();
        identity.reload().unwrap();
        fresh(2).await;
    }
    for (dir, _, identity) in &folders {
        std::fs::write(dir.join(CA_FILE), next.cert_pem()).unwrap();
        identity.reload().unwrap();
        fresh(3).await;
    }
    // the old link never noticed
    assert_eq!(echo(&link, "still").await.unwrap(), "still");
    assert_eq!(*link.state().borrow(), LinkState::Up { since });
    // a certificate of the old CA is worth nothing now
    let late = Link::new(m1.clone(), server.addr.clone(), rig.identity(&member("m3")));
    assert!(echo(&late, "x").await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn a_reload_that_does_not_fit_changes_nothing() {
    let rig = Rig::new();
    let identity = rig.identity(&member("m1"));
    let dir = rig.folder(&member("m1"));
    let reload = |what: &str| {
        let error = identity.reload().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    rig.ca.issue_to(&dir, &member("m2"), &[]).unwrap();
    reload("is now member m2 of lab's");
    std::fs::write(Path::new(&dir).join("key.pem"), "nonsense").unwrap();
    reload("key.pem");
    rig.ca.issue(&member("m1"), &[]).unwrap().save(&dir, rig.ca.cert_pem()).unwrap();
    let key = std::fs::read(dir.join("key.pem")).unwrap();
    rig.ca.issue_to(&dir, &member("m1"), &[]).unwrap();
    std::fs::write(dir.join("key.pem"), key).unwrap();
    reload("do not fit together");
}

#[tokio::test]
async fn a_peer_that_never_answers_costs_a_timeout_and_no_more() {
    let rig = Rig::new();
    // accepts and says nothing, like a frozen process
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = rig.link(&member("m2"), &member("m1"), &silent.local_addr().unwrap().to_string());
    let asked = Instant::now();
    let answer = link.call(ECHO, Bytes::new(), Duration::from_millis(100)).await;
    assert_eq!(answer, Err(CallError::Down(Down::TimedOut)));
    assert!(asked.elapsed() < Duration::from_secs(1));
    let mut state = link.state();
    let down = state.wait_for(|s| matches!(s, LinkState::Down { why: Down::TimedOut, .. }));
    tokio::time::timeout(PATIENCE, down).await.unwrap().unwrap();
}
