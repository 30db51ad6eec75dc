//! Sessions by port: whose bytes go where, who is held, who is cut. The servers are small programs of this test that greet, and
//! answer each line with their name.

use dauphin_model::{ClusterName, MemberName, ReplicaTarget, Route, RouteState, Target, Term};
use dauphin_proxy::{ByPort, Config, Heard, Limits, Rules, Totals};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

/// A server: greets with its name, and answers lines with it.
async fn server(its: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(format!("{its} greets\n").as_bytes()).await.ok()?;
                while let Ok(Some(line)) = lines.next_line().await {
                    write.write_all(format!("{its}: {line}\n").as_bytes()).await.ok()?;
                }
                Some(())
            });
        }
    });
    port
}

struct Stage {
    proxy: ByPort,
    heard: mpsc::Sender<Heard>,
    route: Route,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config = Config {
            cluster: ClusterName::new("shop").expect("a name"),
            listen_write: vec![any],
            listen_read: vec![any],
            listen_metrics: None,
            agents: Vec::new(),
            identity: "/nonexistent".into(),
            password_file: "/nonexistent".into(),
            auth_database: String::new(),
            tls: None,
            server_tls: None,
            run_dir: None,
            shards: 1,
            rules: Rules { limits, ..Rules::default() },
        };
        let (heard, receiver) = mpsc::channel(8);
        let proxy = ByPort::start(&config, receiver).expect("it starts");
        let route = Route {
            cluster: config.cluster,
            from: name("m1"),
            term: Term(0),
            state: RouteState::Closed,
            leader: None,
            replicas: Vec::new(),
            draining: false,
            fences: Vec::new(),
            generation: 0,
        };
        Self { proxy, heard, route }
    }

    /// An agent says something else from now on.
    async fn say(&mut self, change: impl FnOnce(&mut Route)) {
        change(&mut self.route);
        self.route.generation += 1;
        self.heard.send(Heard::Route(Box::new(self.route.clone()))).await.expect("it listens");
    }

    async fn leads(&mut self, member: &str, port: u16) {
        let leader = target(member, port);
        self.say(|route| {
            route.term = Term(route.term.0 + 1);
            (route.leader, route.state) = (Some(leader), RouteState::Open);
        })
        .await;
    }

    fn write(&self) -> SocketAddr {
        self.proxy.write_addresses()[0]
    }

    fn read(&self) -> SocketAddr {
        self.proxy.read_addresses()[0]
    }

    async fn until(&self, what: &str, holds: impl Fn(Totals) -> bool) {
        let begun = Instant::now();
        while !holds(self.proxy.totals()) {
            assert!(begun.elapsed() < DEADLINE, "{what}: {:?}", self.proxy.totals());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn target(member: &str, port: u16) -> Target {
    Target { member: name(member), host: "127.0.0.1".into(), port, zone: None }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(at: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(at).await.expect("the proxy listens")))
    }

    /// What is said next; an error or nothing: the connection has ended.
    async fn hears(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(DEADLINE, self.0.read_line(&mut line)).await.expect("something comes");
        read.ok().filter(|length| *length > 0).map(|_| line.trim_end().to_owned())
    }

    async fn says(&mut self, text: &str) -> Option<String> {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).await.ok()?;
        self.hears().await
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_is_waited_for_no_more() {
    let stage = Stage::new(Limits { wait: Duration::from_secs(3_600), ..Limits::default() });
    let client = Client::connect(stage.write()).await;
    stage.until("it is there", |totals| totals.clients == 1).await;
    drop(client);
    stage.until("it has left", |totals| totals.clients == 0).await;
    assert_eq!(stage.proxy.totals().refused, 0);
}

#[tokio::test]
async fn writers_reach_the_leader_and_are_cut_when_another_term_begins() {
    let (one, two) = (server("m1").await, server("m2").await);
    let mut stage = Stage::new(Limits::default());
    stage.leads("m1", one).await;
    let mut client = Client::connect(stage.write()).await;
    assert_eq!(client.hears().await.as_deref(), Some("m1 greets"));
    assert_eq!(client.says("a").await.as_deref(), Some("m1: a"));
    // a switchover that is about to happen: who is there goes on, who comes waits
    stage.say(|route| route.draining = true).await;
    let mut late = Client::connect(stage.write()).await;
    stage.until("both are there", |totals| totals.clients == 2).await;
    assert_eq!(client.says("b").await.as_deref(), Some("m1: b"));
    assert_eq!(stage.proxy.totals().served, 1, "nobody new is let in");
    // elected, and not open: the old leader is not believed any more
    stage.say(|route| (route.term, route.state, route.draining) = (Term(2), RouteState::Closed, false)).await;
    assert_eq!(client.hears().await, None, "its connection is reset");
    stage.until("it is cut", |totals| totals.cut == 1).await;
    let leader = target("m2", two);
    stage.say(|route| (route.leader, route.state) = (Some(leader), RouteState::Open)).await;
    assert_eq!(late.hears().await.as_deref(), Some("m2 greets"), "who waited is let in");
    stage.proxy.stop().await;
}

#[tokio::test]
async fn readers_are_spread_over_replicas_and_leave_one_that_falls_behind() {
    let (one, two, three) = (server("m1").await, server("m2").await, server("m3").await);
    let mut stage = Stage::new(Limits::default());
    let replica = |member: &str, port: u16, usable: bool| ReplicaTarget {
        target: target(member, port),
        lag_bytes: Some(0),
        usable,
        reporting: false,
    };
    let both = vec![replica("m2", two, true), replica("m3", three, true)];
    stage.say(|route| route.replicas = both).await;
    stage.leads("m1", one).await;
    let (mut first, mut second) = (Client::connect(stage.read()).await, Client::connect(stage.read()).await);
    let mut greeted = [first.hears().await, second.hears().await];
    greeted.sort();
    assert_eq!(greeted.map(|g| g.expect("greeted")), ["m2 greets", "m3 greets"]);
    let one_left = vec![replica("m2", two, false), replica("m3", three, true)];
    stage.say(|route| route.replicas = one_left).await;
    stage.until("the reader of m2 is cut", |totals| totals.cut == 1).await;
    let mut again = Client::connect(stage.read()).await;
    assert_eq!(again.hears().await.as_deref(), Some("m3 greets"));
    // none left: the leader serves reads
    stage.say(|route| route.replicas.clear()).await;
    stage.until("all readers of replicas are cut", |totals| totals.cut == 3).await;
    let mut last = Client::connect(stage.read()).await;
    assert_eq!(last.hears().await.as_deref(), Some("m1 greets"));
    stage.proxy.stop().await;
}

#[tokio::test]
async fn who_is_not_served_in_time_or_is_one_too_many_is_told_why() {
    let limits = Limits { wait: Duration::from_secs(2), clients: 1, ..Limits::default() };
    let stage = Stage::new(limits);
    let mut waits = Client::connect(stage.write()).await;
    stage.until("it is there", |totals| totals.clients == 1).await;
    for (mut client, words) in [
        (Client::connect(stage.write()).await, "too many clients"),
        (std::mem::replace(&mut waits, Client::connect(stage.write()).await), "no leader takes clients"),
    ] {
        let mut packet = Vec::new();
        let read = tokio::time::timeout(DEADLINE, client.0.read_to_end(&mut packet)).await.expect("it ends");
        read.expect("in order");
        assert_eq!(packet.get(3..7), Some(&[0, 0xFF, 0x10, 0x04][..]), "an ERR packet, the first of the connection");
        assert!(String::from_utf8_lossy(&packet).contains(words), "{packet:?}");
    }
    stage.until("all are counted", |totals| totals.refused == 3 && totals.clients == 0).await;
    stage.proxy.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_take_connections_is_tried_again() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let mut stage = Stage::new(Limits::default());
    stage.leads("m1", closed).await;
    let mut client = Client::connect(stage.write()).await;
    stage.until("it is there", |totals| totals.clients == 1).await;
    let two = server("m2").await;
    stage.leads("m2", two).await;
    assert_eq!(client.hears().await.as_deref(), Some("m2 greets"));
    stage.proxy.stop().await;
}
