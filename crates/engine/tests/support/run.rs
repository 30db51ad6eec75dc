//! How a test with real servers runs: as the system user `dauphin`, in a process of its own, waiting for conditions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Folders of the engines that are there, for the process that may not look into the checkout.
const ENGINES: &str = "DAUPHIN_TEST_ENGINES";

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Runs the test body as the system user `dauphin`, in a process of its own when the tests run as root: servers refuse to
/// run as root.
pub fn as_dauphin(test: &str, body: impl Future<Output = ()>) {
    let root = is_root();
    if !root {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body);
    }
    let known = Command::new("id").arg("dauphin").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    if !known.success() {
        let args =
            ["--system", "--user-group", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "dauphin"];
        Command::new("useradd").args(args).status().unwrap();
    }
    // the checkout may be readable by root alone
    let copy = tempfile::Builder::new().prefix("dauphin-test").tempdir_in("/tmp").unwrap();
    let program = copy.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    open_to_all(copy.path());
    open_to_all(&program);
    let status = Command::new("setpriv")
        .args(["--reuid=dauphin", "--regid=dauphin", "--clear-groups", "--"])
        .arg(&program)
        .args(["--exact", test, "--nocapture"])
        .env("DAUPHIN_TEST_BIN", std::env::var_os("DAUPHIN_TEST_BIN").unwrap_or_default())
        .env(ENGINES, std::env::join_paths(engines()).unwrap())
        .current_dir("/tmp")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed as user dauphin");
}

/// Where `.engines` of the checkout has this engine; what it has not is said by `scripts/engines.sh`, in a file beside it.
pub fn engine(name: &str) -> Option<PathBuf> {
    let found = match std::env::var_os(ENGINES) {
        Some(list) => std::env::split_paths(&list).collect(),
        None => engines(),
    };
    let named = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.trim_end_matches(LEFT_OUT) == name)
    };
    let found = found.into_iter().find(named);
    let found = found.unwrap_or_else(|| panic!("{name} is always tested: run scripts/engines.sh all"));
    if found.to_string_lossy().ends_with(LEFT_OUT) {
        eprintln!("skipped: no {name} here (scripts/engines.sh left it out and said why)");
        return None;
    }
    Some(found)
}

/// What `scripts/engines.sh` leaves where an engine is not to be had.
const LEFT_OUT: &str = ".left-out";

fn engines() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.engines");
    std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| e.path().canonicalize().ok()).collect()
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|l| l.starts_with("Uid:\t0\t"))
}

pub fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits for a condition, with a deadline.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < LIMIT, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Says how long something took, for the report.
pub fn took(what: &str, begun: Instant) {
    eprintln!("measured: {what}: {} ms", begun.elapsed().as_micros() as f64 / 1000.0);
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
