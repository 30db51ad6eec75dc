//! Brings an agent up from its file: identity, notes, links, store, guard, engine, loop, HTTP. And down again.

use crate::alerts::Alerts;
use crate::care::Care;
use crate::desk::Desk;
use crate::durable::Notes;
use crate::engine::Engine;
use crate::error::AgentError;
use crate::journal::Journal;
use crate::links::{Links, StoreLinks};
use crate::mind::{self, Hands, Inbox};
use crate::operations::Agent;
use crate::picture::Picture;
use crate::server::{Parts, Server};
use crate::vigil::Vigil;
use crate::{keys, looks, pulse, shared, store_leader};
use dauphin_guard::client::{Event as GuardEvent, Guard};
use dauphin_guard::protocol::OnAgentDeath;
use dauphin_ha::{Core, Event};
use dauphin_model::file::{ClusterFile, Local};
use dauphin_model::{MemberKind, MemberName, MemberSpec, Profile, Route, Run, ServerView, Spec};
use dauphin_net::Identity;
use dauphin_store::{Open, Standing, Start, Store, Timings};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// Ranges that were cut off and wait to be told to the cluster.
const CUTS_MAX: usize = 16;
/// From when on waiting for the store to count this member in is worth a warning.
const WAITING_IS_LONG: Duration = Duration::from_secs(5);
/// How a guard is started.
#[derive(Debug, Clone)]
pub(crate) struct GuardStart {
    run_dir: PathBuf,
    watchdog: Option<PathBuf>,
}

impl GuardStart {
    /// Adopts the guard that is there, or starts one.
    pub(crate) async fn connect(&self) -> Result<(Guard, mpsc::Receiver<GuardEvent>), AgentError> {
        let program = std::env::current_exe().map_err(AgentError::file("find", Path::new("this program")))?;
        let mut command = std::process::Command::new(program);
        command.arg("guard").arg("--dir").arg(&self.run_dir);
        if let Some(device) = &self.watchdog {
            command.arg("--watchdog").arg(device);
        }
        Ok(Guard::connect_or_spawn(&self.run_dir, command).await?)
    }
}

/// Runs the member that the file names until `shutdown` ends: then it hands leadership over, stops its server, returns.
///
/// # Errors
/// [`AgentError`]: what has to be put right before it can run.
pub async fn run(config: &Path, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), AgentError> {
    let file = load(config)?;
    let Some(local) = file.local.clone() else {
        let text = format!("{} has no [local]: it does not say which member this machine is", config.display());
        return Err(AgentError::Configuration(text));
    };
    let spec = file.spec;
    let Some(member) = spec.member(&local.member).cloned() else {
        let text = format!("{}: [local] names {}, which no [[member]] is", config.display(), local.member);
        return Err(AgentError::Configuration(text));
    };
    if member.kind == MemberKind::Data && rustix::process::geteuid().is_root() {
        let text = "database servers refuse to run as root: start the agent as a user of its own, as in \
                    `setpriv --reuid dauphin --regid dauphin --clear-groups dauphin agent ...` (docs/getting-started.md)";
        return Err(AgentError::Configuration(text.to_owned()));
    }
    for dir in [&local.state_dir, &local.run_dir] {
        make_private(dir)?;
    }
    crate::failpoint::arm(&local.run_dir);
    let identity = Arc::new(Identity::load(&local.identity)?);
    tokio::spawn(reload_identity(Arc::clone(&identity)));
    let notes = Notes::in_dir(&local.state_dir);
    let durable = notes.load()?;
    let (inbox, events) = Inbox::new();
    let links = Links::new(&member.name, &spec, &identity);
    let journal = Journal::new(member.name.clone(), spec.engine, local.state_dir.join("journal.jsonl"));

    let listen = local.listen.clone().unwrap_or_else(|| member.host.clone());
    let link_listener = bind(&listen, member.link_port).await?;
    let api_listener = bind(&listen, member.api_port).await?;

    let store_cell: Arc<OnceLock<Store>> = Arc::default();
    let (route, _) = watch::channel(None::<Route>);
    let (stop, stopped) = watch::channel(false);
    let desk = Arc::new(Desk {
        store: Arc::clone(&store_cell),
        inbox: inbox.clone(),
        route: route.clone(),
        proxies: Arc::default(),
        agent: OnceLock::new(),
    });
    let mut ending = stopped.clone();
    let serving = tokio::spawn(dauphin_net::serve(link_listener, Arc::clone(&identity), desk.clone(), async move {
        let _ = ending.wait_for(|s| *s).await;
    }));
    let store = open_store(&local, &spec, &member, &links).await?;
    let _ = store_cell.set(store.clone());
    links.watch(&spec, &inbox, &store_cell);
    tokio::spawn(Arc::clone(&journal).share(store.clone()));

    let (system, _) = watch::channel(None::<u64>);
    let (cuts, cut) = mpsc::channel(CUTS_MAX);
    let blank =
        Core::new(member.name.clone(), spec.clone(), durable.clone(), false, ServerView::default(), mind::now());
    let (picture, _) = watch::channel(Arc::new(Picture::of(&member.name, &blank)));
    let mut view = ServerView::default();
    let mut has_data = false;
    let server = if member.kind == MemberKind::Data {
        let parts = Parts {
            engine: Arc::new(Engine::of(&local, &spec, &member, &listen).await?),
            inbox: inbox.clone(),
            links: Arc::clone(&links),
            picture: picture.subscribe(),
            system: system.clone(),
            proxies: Arc::clone(&desk.proxies),
            cuts,
            guard_start: GuardStart { run_dir: local.run_dir.clone(), watchdog: local.watchdog.clone() },
        };
        let (server, seen) = adopt(parts, &store, durable.incarnation.0 > 0).await?;
        view = seen;
        has_data = server.engine.has_data() || !is_empty(server.engine.data_dir());
        Some(server)
    } else {
        None
    };
    tokio::spawn(shared::keep_system(store.clone(), member.name.clone(), system.clone()));
    tokio::spawn(shared::keep_spec(store.clone(), spec.clone()));
    tokio::spawn(shared::keep_cuts(store.clone(), cut));

    let turned = Arc::new(AtomicU64::new(0));
    let hands = Hands {
        me: member.name.clone(),
        inbox: inbox.clone(),
        runtime: tokio::runtime::Handle::current(),
        store: store.clone(),
        links: Arc::clone(&links),
        server: server.clone(),
        notes,
        journal: Arc::clone(&journal),
        picture: picture.clone(),
        route,
        fences: std::sync::Mutex::default(),
        exit: stop.clone(),
        turned: Arc::clone(&turned),
    };
    let core = Core::new(member.name.clone(), spec.clone(), durable, has_data, view, mind::now());
    let thread = std::thread::Builder::new().name("mind".to_owned()).spawn({
        let pulse = pulse::start();
        move || mind::run(core, &events, &hands, pulse)
    });
    thread.map_err(AgentError::file("start a thread for", config))?;
    tokio::spawn(mind::watch_store(store.clone(), inbox.clone()));
    tokio::spawn(tell_of_waiting(store.clone(), member.name.clone()));
    if let Some(server) = &server {
        tokio::spawn(looks::run(Arc::clone(server), Arc::clone(&identity)));
        tokio::spawn(Arc::clone(server).watch_guard());
        tokio::spawn(store_leader::keep_apart(Arc::clone(server), store.clone()));
        tokio::spawn(crate::change::keep_settings(Arc::clone(server)));
        tokio::spawn(reload_server(Arc::clone(server)));
    }
    let version = server.as_ref().map(|s| s.engine.version());
    let post = dauphin_notify::Post::open(&local.state_dir.join("outbox"));
    let (state_dir, watched) = (local.state_dir.clone(), picture.subscribe());
    let vigil = Vigil::new(member.name.clone(), server.clone(), state_dir, identity, Arc::clone(&links), watched);
    tokio::spawn(Arc::clone(&vigil).run());
    let (cared, proxies) = (Arc::clone(&vigil), Arc::clone(&desk.proxies));
    let alerts = Alerts::new(member.name.clone(), store.clone(), picture.subscribe(), post, cared, proxies);
    let (told, watched) = (Arc::clone(&alerts), picture.subscribe());
    let care = Care::new(server.clone(), watched, Arc::clone(&vigil), told, Arc::clone(&journal));
    tokio::spawn(Arc::clone(&care).run());
    tokio::spawn(Arc::clone(&journal).tell_state(picture.subscribe(), Arc::clone(&care), version));
    tokio::spawn(Arc::clone(&alerts).run());
    tokio::spawn(Arc::clone(&alerts).send());
    let agent = Arc::new(Agent {
        me: member.name.clone(),
        store: store.clone(),
        links,
        inbox: inbox.clone(),
        journal,
        picture: picture.subscribe(),
        server: server.clone(),
        turned,
        alerts,
        vigil,
        care,
        simulates: Arc::new(tokio::sync::Semaphore::new(1)),
        proxies: Arc::clone(&desk.proxies),
    });
    let _ = desk.agent.set(Arc::clone(&agent));
    let http = tokio::spawn(serve_http(api_listener, agent, access(&local)?, stopped.clone()));
    tracing::info!(member = %member.name, cluster = %spec.cluster, "the agent runs");

    let asking = inbox.clone();
    tokio::spawn(async move {
        shutdown.await;
        asking.tell(Event::Shutdown);
    });
    let mut ended = stopped;
    let _ = ended.wait_for(|s| *s).await;
    if let Some(server) = &server
        && let Err(error) = server.guard().kill().await
    {
        tracing::debug!(%error, "nothing was left to stop");
    }
    if let Some(server) = &server {
        server.end_guard().await;
    }
    let _ = tokio::join!(serving, http);
    store.shutdown().await;
    tracing::info!("the agent has ended");
    Ok(())
}

/// Reads and checks the file.
fn load(path: &Path) -> Result<ClusterFile, AgentError> {
    let text = std::fs::read_to_string(path).map_err(AgentError::file("read", path))?;
    let mut file = ClusterFile::parse(&path.display().to_string(), &text)
        .map_err(|faults| AgentError::Configuration(faults.to_string()))?;
    if let Some(folder) = path.parent() {
        file.resolve(folder);
    }
    Ok(file)
}

fn make_private(dir: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(AgentError::file("make folder", dir))
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

async fn bind(host: &str, port: u16) -> Result<TcpListener, AgentError> {
    let addr = format!("{host}:{port}");
    TcpListener::bind(&addr).await.map_err(|source| AgentError::Listen { addr, source })
}

async fn reload_identity(identity: Arc<Identity>) {
    let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        match identity.reload() {
            Ok(()) => tracing::info!("certificates were read again"),
            Err(error) => tracing::error!(%error, "certificates could not be read again; the ones before stay in use"),
        }
    }
}

/// A member that the store does not count in looks dead to the others: it says what it waits for, and what would help.
async fn tell_of_waiting(store: Store, me: MemberName) {
    let mut health = store.health();
    let mut told = None;
    loop {
        // a moment is ordinary: members come up one after the other
        tokio::time::sleep(WAITING_IS_LONG).await;
        match health.borrow_and_update().standing.clone() {
            Standing::Waiting { why } if told.as_ref() != Some(&why) => {
                tracing::warn!(
                    "the store waits for {why}; if this machine's disk was replaced: dauphin store add {me}"
                );
                told = Some(why);
            }
            Standing::Waiting { .. } => {}
            Standing::Learner | Standing::Voter | Standing::Removed => told = None,
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// The server shows the same certificate as the agent: it reads it again when the agent does.
async fn reload_server(server: Arc<Server>) {
    let Ok(mut hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        if let Err(error) = server.engine.reload().await {
            tracing::warn!(%error, "the server did not read its files again; it will at its next start");
        }
    }
}

fn timings(profile: Profile) -> Timings {
    let ms = Duration::from_millis;
    match profile {
        Profile::Fast => Timings { heartbeat: ms(100), lease: ms(400), apart: ms(100) },
        Profile::Standard => Timings { heartbeat: ms(150), lease: ms(600), apart: ms(150) },
        Profile::Wan => Timings { heartbeat: ms(700), lease: ms(2_500), apart: ms(700) },
    }
}

async fn open_store(local: &Local, spec: &Spec, member: &MemberSpec, links: &Arc<Links>) -> Result<Store, AgentError> {
    let members = spec.members.iter().map(|m| m.name.clone()).collect();
    let dir = local.state_dir.join("store");
    // an agent that knows its cluster and has lost its store must not found another one
    let known = local.state_dir.join("member.json").exists();
    let start = if !known {
        Some(Start::Bootstrap { members })
    } else if is_empty(&dir) {
        Some(Start::Join)
    } else {
        None
    };
    let transport = Arc::new(StoreLinks(Arc::clone(links)));
    let open = Open { dir, name: member.name.clone(), start, timings: timings(spec.profile), transport };
    Ok(Store::open(open).await?)
}

/// Takes over what is there: a guard and its server, or a server without one, which is fenced. `known`: this member had
/// data before; what a new member finds in its folder says nothing about the cluster.
async fn adopt(parts: Parts, store: &Store, known: bool) -> Result<(Arc<Server>, ServerView), AgentError> {
    let engine = Arc::clone(&parts.engine);
    let expected: Option<u64> = keys::get(&store.watch().borrow(), &keys::system());
    parts.system.send_replace(expected);
    if let Some(found) = engine.check_found(expected, known)?
        && known
    {
        parts.system.send_replace(Some(found));
    }
    let (guard, events) = parts.guard_start.connect().await?;
    let adopted = guard.adopted().server_pid.is_some();
    if !adopted && engine.has_data() {
        let (data_dir, program) = (engine.data_dir().to_owned(), engine.program());
        let fenced = tokio::task::spawn_blocking(move || dauphin_guard::orphan::fence(&data_dir, &program)).await;
        if let Ok(count) = fenced
            && count? > 0
        {
            tracing::warn!("a server without a guard was found and fenced");
        }
    }
    let server = Server::new(parts, guard, events);
    let mut view = ServerView { disk_ok: true, ..ServerView::default() };
    if adopted {
        view = engine.look(&server, Duration::from_secs(2)).await;
        if view.run == Run::Running && view.in_recovery == Some(true) {
            tracing::info!("a running replica was taken over");
        } else {
            // a leader may not go on without knowing its term, and one that does not answer is no use
            server.guard().kill().await?;
            view = ServerView { disk_ok: true, ..ServerView::default() };
        }
    }
    // whatever lease the agent before held is over
    server.guard().arm(None, OnAgentDeath::Keep).await?;
    Ok((server, view))
}

fn access(local: &Local) -> Result<dauphin_api::Access, AgentError> {
    let text = std::fs::read_to_string(&local.token_file).map_err(AgentError::file("read", &local.token_file))?;
    let token = dauphin_api::Token::new(text.trim());
    Ok(dauphin_api::Access { token, closed_reads: false, hosts: local.api_hosts.clone() })
}

async fn serve_http(
    listener: TcpListener,
    agent: Arc<Agent>,
    access: dauphin_api::Access,
    mut stopped: watch::Receiver<bool>,
) {
    let ended = async move {
        let _ = stopped.wait_for(|s| *s).await;
    };
    dauphin_api::serve(listener, agent, access, ended).await;
}
