//! A proxy in front of one server that never changes, for measuring what the proxy itself costs:
//! `fixed WRITE_PORT SERVER_PORT PASSWORD_FILE [AUTH_DATABASE [READ_LEVEL REPLICA_PORT [POOLING]]]`. It stops at the end of its input.

use dauphin_model::{ClusterName, MemberName, Pooling, ReadLevel, ReplicaTarget, Route, RouteState, Target, Term};
use dauphin_proxy::{Config, Heard, Proxy, Rules};
use std::error::Error;
use std::io::Read;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, server, password_file, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: fixed WRITE_PORT SERVER_PORT PASSWORD_FILE [AUTH_DATABASE [READ_LEVEL REPLICA_PORT [POOLING]]]"
                .into(),
        );
    };
    let level = rest.get(1).map(|level| level.parse::<ReadLevel>()).transpose()?;
    let mut rules = Rules::default();
    rules.reads.level = level.unwrap_or_default();
    if rest.get(3).is_some_and(|pooling| pooling == "session") {
        rules.pooling = Pooling::Session;
    }
    let server = server.parse()?;
    let config = Config {
        cluster: ClusterName::new("fixed")?,
        listen_write: vec![([127, 0, 0, 1], listen.parse()?).into()],
        listen_read: Vec::new(),
        listen_metrics: None,
        agents: Vec::new(),
        identity: "/nonexistent".into(),
        password_file: password_file.into(),
        auth_database: rest.first().cloned().unwrap_or_else(|| "postgres".to_owned()),
        tls: None,
        server_tls: None,
        run_dir: None,
        shards: 1,
        rules,
    };
    let member = MemberName::new("m1")?;
    let target = |member, port| Target { member, host: "127.0.0.1".into(), port, zone: None };
    let replica_port = rest.get(2).map(|port| port.parse()).transpose()?.unwrap_or(server);
    let replica = target(MemberName::new("m2")?, replica_port);
    let replica = ReplicaTarget { target: replica, lag_bytes: Some(0), usable: true, reporting: false };
    let route = Route {
        cluster: config.cluster.clone(),
        from: member.clone(),
        term: Term(1),
        state: RouteState::Open,
        leader: Some(target(member, server)),
        replicas: level.map(|_| replica).into_iter().collect(),
        draining: false,
        fences: Vec::new(),
        generation: 1,
    };
    let (heard, receiver) = tokio::sync::mpsc::channel(1);
    let proxy = Proxy::start(&config, receiver, None)?;
    heard.send(Heard::Route(Box::new(route))).await?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    proxy.stop().await;
    Ok(())
}
