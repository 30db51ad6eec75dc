//! Starting agents and the proxy: in a session of their own, as the members' user, their output in log files.
//! When the lab lies behind a folder that this user cannot pass, they get a view of the file system where it can.

use crate::clocks;
use crate::error::LabError;
use crate::network::Namespace;
use crate::state::{Lab, LabMember};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where programs are looked for; nothing else of the caller's environment is handed on.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the agent of a member.
pub(crate) fn agent(lab: &Lab, member: &LabMember) -> Result<Child, LabError> {
    let log = lab.member_dir(member).join("log/agent.log");
    service(lab, lab.namespace(member), "agent", &lab.config(member), &log, clocks::environment(lab, member))
}

/// Starts the proxy.
pub(crate) fn proxy(lab: &Lab) -> Result<Child, LabError> {
    let dir = lab.proxy_dir();
    service(lab, None, "proxy", &dir.join("dauphin.toml"), &dir.join("log/proxy.log"), Vec::new())
}

fn service(
    lab: &Lab,
    host: Option<Namespace>,
    verb: &str,
    config: &Path,
    log: &Path,
    environment: Vec<(&str, PathBuf)>,
) -> Result<Child, LabError> {
    let mut command = match (&lab.closed_parent, &host) {
        (None, None) => as_user(Command::new("env"), lab),
        (Some(parent), None) => with_arguments(Command::new("unshare"), own_view(lab, parent)),
        (None, Some(host)) => with_arguments(host.enter(), plain(lab)),
        (Some(parent), Some(host)) => {
            let mut command = host.enter();
            command.arg("unshare");
            with_arguments(command, own_view(lab, parent))
        }
    };
    // for the program alone: what leads to it runs as somebody else
    for (name, value) in environment {
        let mut word = OsString::from(name);
        word.push("=");
        word.push(value);
        command.arg(word);
    }
    command.arg(&lab.program).arg(verb).arg("--config").arg(config).arg("--own-session");
    command.env_clear().env("PATH", SEARCH_PATH).env("LANG", "C.UTF-8").current_dir("/");
    let (out, err) = log_file(lab, log)?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().map_err(LabError::io("cannot start", &lab.program))
}

fn log_file(lab: &Lab, path: &Path) -> Result<(File, File), LabError> {
    let open = || {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if let Some(user) = &lab.user {
            std::os::unix::fs::fchown(&file, Some(user.uid), Some(user.gid))?;
        }
        Ok((file.try_clone()?, file))
    };
    open().map_err(LabError::io("cannot write", path))
}

/// A command that first replaces the closed folder by an empty one, in a view of the file system that only it and its
/// children have, shows the lab in it at its own path, and then becomes the program as the members' user. Nothing
/// outside changes, and every path stays true.
const ENTER: &str = r#"set -eu
parent=$1 lab=$2 engine=$3 uid=$4 gid=$5
shift 5
exec 8<"$lab"
[ -z "$engine" ] || exec 9<"$engine"
mount -t tmpfs -o mode=0755,size=1m dauphin-lab "$parent"
mkdir -p "$lab"
mount --no-canonicalize --bind /proc/self/fd/8 "$lab"
exec 8<&-
if [ -n "$engine" ]; then mkdir -p "$engine"; mount --no-canonicalize --bind /proc/self/fd/9 "$engine"; exec 9<&-; fi
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups -- "$@"
"#;

/// What `unshare` is given, up to the program and its environment.
fn own_view(lab: &Lab, parent: &Path) -> Vec<OsString> {
    let (uid, gid) = lab.user.as_ref().map_or((0, 0), |u| (u.uid, u.gid));
    let words = ["--mount", "--propagation", "private", "--", "sh", "-c", ENTER, "dauphin-lab"];
    let mut arguments: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    arguments.extend([parent.into(), lab.dir.clone().into(), lab.engine_home.clone().unwrap_or_default().into()]);
    arguments.extend([uid.to_string().into(), gid.to_string().into(), "env".into()]);
    arguments
}

/// `env` as the members' user, for a command that must be root itself until it enters a namespace.
fn plain(lab: &Lab) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(user) = &lab.user {
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        let words = ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--"];
        arguments.extend(words.into_iter().map(OsString::from));
    }
    arguments.push("env".into());
    arguments
}

fn with_arguments(mut command: Command, arguments: Vec<OsString>) -> Command {
    command.args(arguments);
    command
}

fn as_user(mut command: Command, lab: &Lab) -> Command {
    if let Some(user) = &lab.user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Whether processes may have a view of the file system of their own here.
pub(crate) fn own_view_works() -> bool {
    let tried = Command::new("unshare").args(["--mount", "--propagation", "private", "--", "true"]).output();
    tried.is_ok_and(|output| output.status.success()) && fs::metadata("/usr/bin/setpriv").is_ok()
}

/// The last lines of a log, for an error message.
pub(crate) fn log_tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
