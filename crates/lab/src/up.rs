//! `lab up`: checks, files, processes, and the wait until every member is healthy. What fails is stopped again, and its
//! files stay for a look.

use crate::binaries::{self, Binaries};
use crate::bundle::{self, Secrets};
use crate::error::LabError;
use crate::network::LabNetwork;
use crate::options::Options;
use crate::state::{Lab, LabMember, LabProxy, LabUser, Login};
use crate::{clocks, disks, down, files, spawn, user};
use dauphin_api::Client;
use dauphin_api::dto::{Cluster, Member};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the proxy listens, and members that have no hosts of their own.
const HOST: &str = "127.0.0.1";
/// Longest time until every member is healthy.
const HEALTHY_WAIT_MAX: Duration = Duration::from_secs(180);
/// How often the members are asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Lines of a log shown when a process died.
const LOG_LINES: usize = 8;

/// Makes and starts the cluster; `say` hears what is being done. Returns when every member is healthy.
///
/// # Errors
/// Wrong usage, or what failed, with the log of the process that did.
pub fn up(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Lab, LabError> {
    options.check()?;
    let made_dir = empty_dir(&options.dir)?;
    let dir = fs::canonicalize(&options.dir).map_err(LabError::io("cannot find", &options.dir))?;
    let options = Options { dir: dir.clone(), ..options.clone() };
    let lab = (|| {
        let engine = binaries::find(options.engine, options.bin.as_deref())?;
        let lab = plan(&options, &engine, made_dir)?;
        files::check(&lab, &options)?;
        free(&lab)?;
        Ok((lab, engine))
    })();
    let (mut lab, engine) = lab.inspect_err(|_| leave(&dir, made_dir))?;
    say(&format!("{} {} from {}", options.engine.name(), lab.version, engine.dir.display()));
    prepare(&mut lab, &options, &engine)?;
    let started = start(&lab).and_then(|mut ours| unless_interrupted(|stop| wait(&lab, &mut ours, stop, say)));
    if let Err(error) = started {
        let _ = down::stop(&lab);
        let dir = lab.dir.display();
        return Err(LabError::Failed(format!(
            "{error}\neverything is stopped; the logs are in {dir}/*/log; `dauphin lab down --dir {dir}` removes it all"
        )));
    }
    Ok(lab)
}

/// Makes sure that the folder is there and nobody's. Says whether it was made.
fn empty_dir(dir: &Path) -> Result<bool, LabError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if Lab::is_in(dir) {
                let text =
                    format!("there is a lab in {0} already: `dauphin lab down --dir {0}` removes it", dir.display());
                return Err(LabError::Usage(text));
            }
            if entries.next().is_some() {
                return Err(LabError::Usage(format!("{} is not empty: name another folder", dir.display())));
            }
            Ok(false)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(dir).map_err(LabError::io("cannot make", dir))?;
            Ok(true)
        }
        Err(e) => Err(LabError::io("cannot read", dir)(e)),
    }
}

/// Takes an empty folder away again.
fn leave(dir: &Path, made: bool) {
    if made {
        let _ = fs::remove_dir(dir);
    }
}

/// What the lab will be; nothing is made yet.
fn plan(options: &Options, engine: &Binaries, made_dir: bool) -> Result<Lab, LabError> {
    let base = options.base_port;
    let network = options.hosts.then(|| LabNetwork::of(base));
    let members: Vec<LabMember> = (1..=options.members)
        .map(|n| {
            let witness = options.witness && n == options.members;
            LabMember {
                name: format!("m{n}"),
                host: network.as_ref().map_or_else(|| HOST.into(), |network| network.address(n)),
                sql_port: if witness { 0 } else { base + n },
                api_port: base + 100 + n,
                link_port: base + 200 + n,
                witness,
            }
        })
        .collect();
    let proxy = LabProxy { host: HOST.into(), write_port: base, read_port: base + 10 };
    let mut made: Vec<String> = members.iter().map(|m| m.name.clone()).collect();
    made.extend(["ca", "proxy", "bin", files::PASSFILE, files::CLIENT_FILE].map(String::from));
    made.extend(options.disks.then(|| disks::FOLDER.to_owned()));
    made.extend(options.clocks.then(|| clocks::FOLDER.to_owned()));
    let user = user::for_members()?;
    let closed_parent = closed_parent(&options.dir, user.as_ref())?;
    Ok(Lab {
        cluster: "lab".into(),
        engine: options.engine.word().into(),
        version: engine.version.clone(),
        durability: options.durability.to_string(),
        profile: options.profile.to_string(),
        dir: options.dir.clone(),
        members,
        proxy: (!options.no_proxy).then_some(proxy),
        token: bundle::random_word()?,
        app: Login { user: "app".into(), password: String::new() },
        admin: Login { user: "admin".into(), password: String::new() },
        program: options.program.clone(),
        engine_home: engine_home(&engine.dir, user.as_ref(), closed_parent.as_deref())?,
        user,
        closed_parent,
        network,
        disks: options.disks,
        clocks: options.clocks,
        made_dir,
        made,
    })
}

/// A parent of the lab that the members' user cannot pass.
fn closed_parent(dir: &Path, user: Option<&LabUser>) -> Result<Option<PathBuf>, LabError> {
    let Some(user) = user else { return Ok(None) };
    match user::closed_on_the_way(dir, user) {
        // the folder itself is opened to them
        Some(closed) if closed == dir => {
            open_to_pass(dir)?;
            Ok(None)
        }
        Some(closed) if spawn::own_view_works() => {
            open_to_pass(dir)?;
            Ok(Some(closed))
        }
        Some(closed) => Err(LabError::Usage(format!(
            "servers run as the user {}, who cannot pass {} on the way to {}, and this system gives processes no view \
             of their own: name a --dir outside of it, such as /var/tmp/lab",
            user.name,
            closed.display(),
            dir.display()
        ))),
        None => Ok(None),
    }
}

fn open_to_pass(dir: &Path) -> Result<(), LabError> {
    use std::os::unix::fs::PermissionsExt;
    let doing = "cannot open to the members' user";
    let mode = fs::metadata(dir).map_err(LabError::io(doing, dir))?.permissions().mode();
    fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o011)).map_err(LabError::io(doing, dir))
}

/// Where the engine lies, when members can only see it through their own view.
fn engine_home(bin: &Path, user: Option<&LabUser>, closed: Option<&Path>) -> Result<Option<PathBuf>, LabError> {
    let Some(user) = user else { return Ok(None) };
    let Some(blocked) = user::closed_on_the_way(bin, user) else { return Ok(None) };
    if closed == Some(blocked.as_path()) {
        return Ok(Some(home_of(bin).to_owned()));
    }
    Err(LabError::Usage(format!(
        "servers run as the user {}, who cannot pass {} on the way to {}: install the engine elsewhere, or put the lab's \
         --dir under the same folder",
        user.name,
        blocked.display(),
        bin.display()
    )))
}

/// The build's folder around its folder of programs; an unpacked package has its libraries beside its `usr`, too.
fn home_of(bin: &Path) -> &Path {
    let prefix = bin.parent().unwrap_or(bin);
    let whole = prefix.parent().filter(|root| prefix.ends_with("usr") && *root != Path::new("/"));
    whole.unwrap_or(prefix)
}

/// Makes sure that every port is free.
fn free(lab: &Lab) -> Result<(), LabError> {
    if let Some(network) = &lab.network {
        network.check()?;
    }
    if lab.disks {
        disks::check(lab)?;
    }
    if lab.clocks {
        clocks::check()?;
    }
    // on hosts of their own every port is free
    let shared = lab.members.iter().filter(|_| lab.network.is_none());
    let members = shared.flat_map(|m| [m.sql_port, m.api_port, m.link_port]);
    let proxy = lab.proxy.iter().flat_map(|p| [p.write_port, p.read_port]);
    for port in members.chain(proxy).filter(|port| *port != 0) {
        if let Err(error) = TcpListener::bind((HOST, port)) {
            return Err(LabError::Usage(format!(
                "port {port} is not free ({error}): end what listens there (another lab?), or move the lab with --base-port"
            )));
        }
    }
    Ok(())
}

/// Makes the files.
fn prepare(lab: &mut Lab, options: &Options, engine: &Binaries) -> Result<(), LabError> {
    let secrets = Secrets::random(options.engine)?.with_app()?;
    secrets.of("app").clone_into(&mut lab.app.password);
    secrets.of("admin").clone_into(&mut lab.admin.password);
    // first of all: from here on `lab down` finds what to remove
    lab.save()?;
    if lab.disks {
        disks::make(lab)?;
    }
    if let Some(user) = &lab.user
        && (lab.closed_parent.is_some() || !user::can_run(&lab.program, user))
    {
        lab.program = copy_program(&lab.program, &lab.dir)?;
        lab.save()?;
    }
    files::write(lab, options, &secrets, &engine.dir)?;
    if lab.clocks {
        clocks::make(lab)?;
    }
    Ok(())
}

/// A copy of this program that the members' user can run.
fn copy_program(program: &Path, dir: &Path) -> Result<PathBuf, LabError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = dir.join("bin");
    let copy = folder.join("dauphin");
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    fs::create_dir_all(&folder)
        .and_then(|()| open(&folder))
        .and_then(|()| fs::copy(program, &copy))
        .and_then(|_| open(&copy))
        .map_err(LabError::io("cannot copy this program to", &copy))?;
    Ok(copy)
}

/// A process that was started: what it is called, its log, and itself.
type Started = (String, PathBuf, Child);

fn start(lab: &Lab) -> Result<Vec<Started>, LabError> {
    if let Some(network) = &lab.network {
        network.make(&lab.members)?;
    }
    let mut started = Vec::new();
    for member in &lab.members {
        let log = lab.member_dir(member).join("log/agent.log");
        started.push((member.name.clone(), log, spawn::agent(lab, member)?));
    }
    if lab.proxy.is_some() {
        started.push(("the proxy".to_owned(), lab.proxy_dir().join("log/proxy.log"), spawn::proxy(lab)?));
    }
    Ok(started)
}

/// Runs `work`, which is told when somebody presses Ctrl-C: what was started would go on without this program.
fn unless_interrupted(work: impl FnOnce(&AtomicBool) -> Result<(), LabError>) -> Result<(), LabError> {
    let stop = Arc::new(AtomicBool::new(false));
    let heard: Vec<_> = [SIGINT, SIGTERM].iter().filter_map(|s| flag::register(*s, Arc::clone(&stop)).ok()).collect();
    let ended = work(&stop);
    for id in heard {
        signal_hook::low_level::unregister(id);
    }
    ended
}

/// Waits until every member is healthy and the proxy listens.
fn wait(lab: &Lab, started: &mut [Started], stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<(), LabError> {
    let client = Client::new(lab.endpoints(), None);
    let deadline = Instant::now() + HEALTHY_WAIT_MAX;
    loop {
        let view = client.cluster().ok();
        if view.as_ref().is_some_and(|v| healthy(lab, v)) && proxy_listens(lab) {
            return Ok(());
        }
        say(&in_words(lab, view.as_ref()));
        died(started)?;
        if stop.load(Ordering::Relaxed) {
            return Err(LabError::Failed("interrupted".to_owned()));
        }
        if Instant::now() > deadline {
            let text = in_words(lab, view.as_ref());
            let seconds = HEALTHY_WAIT_MAX.as_secs();
            return Err(LabError::Failed(format!("not every member is healthy after {seconds} s: {text}")));
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Every member runs, and every replica vouches for commits where the durability asks for that.
fn healthy(lab: &Lab, view: &Cluster) -> bool {
    let vouches = |m: &Member| m.role != "replica" || lab.durability == "async" || m.sync_state.is_some();
    let well = |member: &LabMember| {
        let said = view.members.iter().find(|m| m.name == member.name);
        said.is_some_and(|m| if member.witness { m.state != "unreachable" } else { m.state == "running" && vouches(m) })
    };
    view.open && view.health == "healthy" && lab.members.iter().all(well)
}

fn proxy_listens(lab: &Lab) -> bool {
    lab.proxy.as_ref().is_none_or(|p| TcpStream::connect((p.host.as_str(), p.write_port)).is_ok())
}

fn in_words(lab: &Lab, view: Option<&Cluster>) -> String {
    let Some(view) = view else { return "agents are starting".to_owned() };
    let state = |member: &LabMember| {
        let said = view.members.iter().find(|m| m.name == member.name);
        let text = said.map_or("unknown", |m| m.state.as_str());
        // that nothing is heard of one says `unreachable` already
        let detail = said.and_then(|m| m.detail.as_ref()).filter(|_| text != "unreachable");
        format!("{} {text}{}", member.name, detail.map(|d| format!(" ({d})")).unwrap_or_default())
    };
    let members: Vec<String> = lab.members.iter().map(state).collect();
    let leader = match (&view.leader, view.open) {
        (Some(leader), true) => format!("leader {leader}"),
        (Some(leader), false) => format!("leader {leader}, not open yet"),
        (None, _) => "no leader yet".to_owned(),
    };
    format!("{leader} · {}", members.join(" · "))
}

/// An agent or the proxy that ended by itself will not become healthy.
fn died(started: &mut [Started]) -> Result<(), LabError> {
    for (name, log, child) in started {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            let tail = spawn::log_tail(log, LOG_LINES);
            return Err(LabError::Failed(format!("{name} ended by itself; its log ends with:\n{tail}")));
        }
    }
    Ok(())
}
