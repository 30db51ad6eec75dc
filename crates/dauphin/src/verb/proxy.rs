//! `dauphin proxy`: runs a proxy until it is asked to end, or another process has taken over and its clients have left; SIGHUP has its
//! file read again. Where the engine's protocol is not read, sessions go by port. Its certificates are in `identity`, the
//! password of its role in `password`, both beside its configuration file.

use crate::cli::{ProxyRun, Target};
use crate::failure::{DONE, Failure, Outcome};
use crate::target;
use crate::verb::service;
use dauphin_model::{ClientCertificates, ClusterFile, ProxyFile};
use dauphin_net::ca::{CA_FILE, CERT_FILE, KEY_FILE};
use dauphin_proxy::{
    AgentLink, ByPort, Certificates, ClientTls, Config, Demand, Handle, Limits, Operators, Proxy, ProxyError, Reads,
    Rules, ServerTls,
};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// The database in which the proxy asks for verifiers: every cluster has it.
const AUTH_DATABASE: &str = "postgres";

pub(crate) fn run(target: &Target, options: &ProxyRun) -> Outcome {
    let path = target::config_path(target)?.to_owned();
    let file = target::load(&path)?;
    let (config, engine) = (of_file(&file, &path)?, file.spec.engine);
    if !engine.is_read_by_proxy() {
        if options.takeover {
            let text =
                format!("sessions of {} are given out by port, and no process takes over from another", engine.name());
            return Err(Failure::usage(text, "stop the proxy and start it again: its clients connect anew"));
        }
        service::run(&options.service, |stop| async move { serve_by_port(&config, stop.asked()).await })?;
        return Ok(DONE);
    }
    if options.takeover && config.run_dir.is_none() {
        let text = format!("{} has no run_dir in [proxy]: nobody can be met there to take over from", path.display());
        return Err(Failure::usage(text, "add run_dir to [proxy], and restart the proxy once without --takeover"));
    }
    let takeover = options.takeover;
    service::run(&options.service, |stop| async move { serve(config, &path, takeover, stop.asked()).await })?;
    Ok(DONE)
}

/// Sessions by port, until it is asked to end.
async fn serve_by_port(config: &Config, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    let mut hangups = signal(SignalKind::hangup()).map_err(|error| Failure::failed(error.to_string(), ""))?;
    let proxy = ByPort::open(config).map_err(not_started)?;
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // it must not end everybody's sessions
            _ = hangups.recv() => tracing::info!("a proxy by port reads its file and certificates only when it starts"),
        }
    }
    proxy.stop().await;
    Ok(())
}

/// The proxy's configuration, from the cluster's file.
fn read(path: &Path) -> Result<Config, Failure> {
    of_file(&target::load(path)?, path)
}

fn of_file(file: &ClusterFile, path: &Path) -> Result<Config, Failure> {
    let Some(proxy) = &file.proxy else {
        let text = format!("{} has no [proxy]: it does not say where to listen", path.display());
        return Err(Failure::usage(text, "add [proxy] with listen_write to it"));
    };
    Ok(config(file, proxy, &target::folder_of(path)))
}

async fn serve(config: Config, path: &Path, takeover: bool, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(error.to_string(), "");
    let again = path.to_owned();
    let reader = Arc::new(move || read(&again).map_err(|failure| failure.message));
    let mut hangups = signal(SignalKind::hangup()).map_err(|error| failed(&error))?;
    tokio::pin!(stop);
    let mut proxy = if takeover {
        tokio::select! {
            started = Proxy::take_over(&config, None, Some(reader)) => started.map_err(not_started)?,
            () = &mut stop => return Ok(()),
        }
    } else {
        Proxy::open(&config, reader).map_err(not_started)?
    };
    let handle = proxy.handle();
    // Another process answers for metrics once this is dropped.
    let (answers, answers_no_more) = oneshot::channel::<()>();
    if let Some(listener) = proxy.metrics_listener() {
        let handle = handle.clone();
        let text = move || {
            let handle = handle.clone();
            async move { handle.metrics().await }
        };
        let shutdown = async { drop(answers_no_more.await) };
        tokio::spawn(dauphin_api::serve_metrics(listener, text, shutdown));
    }
    let is_over = loop {
        tokio::select! {
            () = &mut stop => break false,
            () = proxy.taken_over() => break true,
            _ = hangups.recv() => reload(&handle).await,
        }
    };
    drop(answers);
    if is_over {
        let drained = proxy.drain();
        tokio::pin!(drained);
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = &mut drained => break,
                _ = hangups.recv() => reload(&handle).await,
            }
        }
    }
    proxy.stop().await;
    Ok(())
}

/// Why there is no proxy, and what to do.
fn not_started(error: ProxyError) -> Failure {
    let next = match &error {
        ProxyError::Runs { .. } => "dauphin proxy --takeover takes over from it; or stop it first",
        ProxyError::NotReady { .. } => "dauphin status, and look whether the agents can be reached from here",
        _ => "",
    };
    Failure::failed(error.to_string(), next)
}

/// What comes of it the proxy logs itself.
async fn reload(handle: &Handle) {
    let _ = handle.reload().await;
}

/// As many as the file says, else half of the processors: a server may stand beside the proxy.
fn threads(proxy: &ProxyFile) -> usize {
    let half = || std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    proxy.threads.map_or_else(half, |threads| threads as usize)
}

fn certificates(proxy: &ProxyFile) -> Option<Certificates> {
    let demand = match proxy.client_certificates {
        ClientCertificates::Off => return None,
        ClientCertificates::Allow => Demand::Allowed,
        ClientCertificates::Require => Demand::Required,
        ClientCertificates::RequireUser => Demand::OfUser,
    };
    proxy.client_ca.clone().map(|ca| Certificates { ca, demand })
}

fn config(file: &ClusterFile, proxy: &ProxyFile, folder: &Path) -> Config {
    let agents = file.spec.members.iter().map(|member| AgentLink {
        member: member.name.clone(),
        host: member.host.clone(),
        port: member.link_port,
    });
    let limits = Limits {
        clients: proxy.clients_max as usize,
        clients_user: proxy.clients_max_user.map(|most| most as usize),
        clients_database: proxy.clients_max_database.map(|most| most as usize),
        notice: proxy.notice_after.duration(),
        pool: proxy.pool_size as usize,
        wait: proxy.wait_limit.duration(),
        client_keepalive: proxy.client_keepalive.duration(),
        drain: proxy.drain_limit.duration(),
        ..Limits::default()
    };
    let operators = Operators { admins: proxy.admin_users.clone(), watchers: proxy.stats_users.clone() };
    let slow = proxy.log_slow.map(|span| span.duration());
    let reads = Reads { level: proxy.read_level, wait: proxy.read_wait.duration() };
    let (identity, required) = (folder.join("identity"), file.spec.postgres.sql_tls);
    let clients = ClientTls {
        certificate: identity.join(CERT_FILE),
        key: identity.join(KEY_FILE),
        required,
        certificates: certificates(proxy),
    };
    let server_tls = required.then(|| ServerTls { ca: identity.join(CA_FILE) });
    Config {
        cluster: file.spec.cluster.clone(),
        listen_write: vec![proxy.listen_write],
        listen_read: proxy.listen_read.into_iter().collect(),
        listen_metrics: proxy.metrics_listen,
        agents: agents.collect(),
        identity,
        password_file: folder.join("password"),
        auth_database: AUTH_DATABASE.to_owned(),
        tls: Some(clients),
        server_tls,
        run_dir: proxy.run_dir.clone(),
        shards: threads(proxy),
        rules: Rules {
            limits,
            pooling: proxy.pool,
            read_from_leader: true,
            reads,
            zone: proxy.zone.clone(),
            operators,
            slow,
        },
    }
}
