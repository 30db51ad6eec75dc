//! The whole proxy, as the binary runs it: routes come over the members' mutual-TLS link.

mod common;

use bytes::Bytes;
use common::{PASSWORD, Server, connect, name, one, target};
use dauphin_model::route::ROUTE_CHANNEL;
use dauphin_model::{ClusterName, Route, RouteState, Term};
use dauphin_net::{BoxFuture, Handler, Identity, Peer, PeerKind, PeerName, Refusal, ca::Ca};
use dauphin_proxy::{AgentLink, Proxy};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// An agent that publishes one route to whoever asks.
struct Agent {
    route: Mutex<Vec<u8>>,
    followers: Mutex<Vec<mpsc::Sender<Bytes>>>,
}

impl Agent {
    fn say(&self, route: &Route) {
        let json = serde_json::to_vec(route).expect("a route");
        for follower in &*self.followers.lock().expect("no panic") {
            follower.try_send(json.clone().into()).expect("room");
        }
        *self.route.lock().expect("no panic") = json;
    }
}

impl Handler for Agent {
    fn call(&self, _: Peer, _: u8, _: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async { Err(Refusal("no calls here".into())) })
    }

    fn note(&self, _: Peer, _: u8, _: Bytes) {}

    fn subscribe(&self, peer: Peer, channel: u8, _: Bytes) -> Result<mpsc::Receiver<Bytes>, Refusal> {
        assert_eq!((peer.kind, channel), (PeerKind::Proxy, ROUTE_CHANNEL));
        let (follower, receiver) = mpsc::channel(16);
        follower.try_send(self.route.lock().expect("no panic").clone().into()).expect("room");
        self.followers.lock().expect("no panic").push(follower);
        Ok(receiver)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_say_where_clients_go() {
    let (one_server, two) = (Server::start(&[]), Server::start(&[]));
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = ClusterName::new("lab").expect("a name");
    let ca = Ca::create(&cluster).expect("a CA");
    let hosts = ["127.0.0.1".to_owned()];
    let proxy = Peer { kind: PeerKind::Proxy, name: PeerName::new("proxy").expect("a name") };
    let mut config = common::config(folder.path());
    ca.issue_to(&config.identity, &proxy, &hosts).expect("issued");
    let mut route = Route {
        cluster,
        from: name("m1"),
        term: Term(1),
        state: RouteState::Open,
        leader: Some(target("m1", one_server.port)),
        replicas: Vec::new(),
        draining: false,
        fences: Vec::new(),
        generation: 1,
    };
    let mut agents = Vec::new();
    for member in ["m1", "m2"] {
        let dir = folder.path().join(member);
        ca.issue_to(&dir, &Peer::member(&name(member)), &hosts).expect("issued");
        let identity = Arc::new(Identity::load(&dir).expect("issued"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        config.agents.push(AgentLink { member: name(member), host: "127.0.0.1".into(), port });
        route.from = name(member);
        let first = serde_json::to_vec(&route).expect("a route");
        let agent = Arc::new(Agent { route: Mutex::new(first), followers: Mutex::default() });
        tokio::spawn(dauphin_net::serve(listener, identity, agent.clone(), std::future::pending()));
        agents.push(agent);
    }
    let port = common::free_port();
    config.listen_write = vec![([127, 0, 0, 1], port).into()];
    let (stop, stopped) = oneshot::channel::<()>();
    let (read, hold) = (config.clone(), Arc::new(Mutex::new(config)));
    let file = Arc::clone(&hold);
    let proxy = Proxy::open(&read, Arc::new(move || Ok(file.lock().expect("no panic").clone()))).expect("it starts");
    let handle = proxy.handle();
    let running = tokio::spawn(async move {
        let _ = stopped.await;
        proxy.stop().await;
    });
    let by = Instant::now() + Duration::from_secs(10);
    let client = loop {
        match connect(port, "app", PASSWORD).await {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < by, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let place = "select inet_server_port()::text";
    assert_eq!(one(&client, place).await, one_server.port.to_string());

    route.from = name("m2");
    route.term = Term(2);
    route.leader = Some(target("m2", two.port));
    agents[1].say(&route);
    // At rest when the word comes: it simply goes on elsewhere.
    one_server.until("select count(*) from pg_stat_activity where usename = 'app'", "0");
    assert_eq!(one(&client, place).await, two.port.to_string());

    // The first agent is taken out of the file: from then on it is not listened to, whatever it says.
    hold.lock().expect("no panic").agents.retain(|agent| agent.member == name("m2"));
    let reloaded = handle.reload().await.expect("taken over");
    let keys = |changes: &[dauphin_proxy::Change]| changes.iter().map(|change| change.key).collect::<Vec<_>>();
    assert_eq!((keys(&reloaded.applied), keys(&reloaded.restart)), (vec!["member"], Vec::new()));
    let by = Instant::now() + Duration::from_secs(10);
    while !agents[0].followers.lock().expect("no panic").iter().all(mpsc::Sender::is_closed) {
        assert!(Instant::now() < by, "the link stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(one(&client, place).await, two.port.to_string());
    // Nor is a proxy without agents one, and nothing changes by asking for it.
    hold.lock().expect("no panic").agents.clear();
    assert!(handle.reload().await.expect_err("refused").contains("no agents"));
    stop.send(()).expect("running");
    running.await.expect("no panic");
    assert!(connect(port, "app", PASSWORD).await.is_err());
}
