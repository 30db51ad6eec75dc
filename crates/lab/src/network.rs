//! The hosts of a lab made with `--hosts`: a network namespace with an address of its own for each member, on a bridge
//! that this machine's own clients, the proxy and the command line reach them through. `up` makes it, `down` removes it.

use crate::disks::installed;
use crate::error::LabError;
use crate::state::LabMember;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the one interface in a namespace.
pub(crate) const INSIDE: &str = "eth0";
/// Number of the rule that finds local addresses: the kernel has it at 0, where nothing can come before it.
pub(crate) const LOCAL_RULE: u32 = 1_000;

/// The network of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabNetwork {
    /// Name of the bridge; namespaces and interfaces are named after it.
    pub bridge: String,
    /// The first three numbers of every address.
    pub prefix: String,
}

/// One member's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespace(String);

/// Which way packets go through a member's link: its two ends are narrowed one by one.
#[derive(Debug, Clone, Copy)]
enum Way {
    In,
    Out,
}

/// Whether this machine can make networks and cut them: root, `ip`, `ss`.
#[must_use]
pub fn can_have_hosts() -> bool {
    rustix::process::geteuid().is_root() && installed("ip") && installed("ss")
}

impl Way {
    const BOTH: [Self; 2] = [Self::In, Self::Out];
}

impl LabNetwork {
    /// The network of a lab with this base port: no two labs that run at once share one.
    pub(crate) fn of(base_port: u16) -> Self {
        let [high, low] = base_port.to_be_bytes();
        Self { bridge: format!("dph{base_port}"), prefix: format!("10.{high}.{low}") }
    }

    /// The address of the member of this number, from 1.
    pub(crate) fn address(&self, number: u16) -> String {
        format!("{}.{number}", self.prefix)
    }

    /// The address of whatever is no member.
    pub(crate) fn outside(&self) -> String {
        format!("{}.254", self.prefix)
    }

    /// All of its addresses.
    pub(crate) fn subnet(&self) -> String {
        format!("{}.0/24", self.prefix)
    }

    pub(crate) fn namespace(&self, member: &LabMember) -> Namespace {
        Namespace(format!("{}{}", self.bridge, member.name))
    }

    /// Refuses what this machine cannot make.
    pub(crate) fn check(&self) -> Result<(), LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::Usage("--hosts makes network namespaces, which only root may do".to_owned()));
        }
        if Path::new("/sys/class/net").join(&self.bridge).exists() {
            return Err(LabError::Usage(format!(
                "there is a network {} already: end the lab that it belongs to, move this one with --base-port, or, if \
                 its lab is gone, `ip link del {}` and `ip netns del` for each {}m… in `ip netns`",
                self.bridge, self.bridge, self.bridge
            )));
        }
        let routes = run("ip", &["route", "show"], "")?;
        if let Some(taken) = routes.lines().find(|line| line.starts_with(&format!("{}.", self.prefix))) {
            let subnet = self.subnet();
            return Err(LabError::Usage(format!(
                "the addresses {subnet} are in use here ({taken}): move the lab with --base-port"
            )));
        }
        Ok(())
    }

    /// Makes bridge and namespaces.
    pub(crate) fn make(&self, members: &[LabMember]) -> Result<(), LabError> {
        let (bridge, outside) = (&self.bridge, self.outside());
        batch(
            None,
            &[
                format!("link add {bridge} type bridge"),
                format!("addr add {outside}/24 dev {bridge}"),
                format!("link set {bridge} up"),
            ],
        )?;
        for member in members {
            let namespace = self.namespace(member);
            let name = &namespace.0;
            batch(
                None,
                &[
                    format!("netns add {name}"),
                    format!("link add {name} type veth peer name {INSIDE} netns {name}"),
                    format!("link set {name} master {bridge} up"),
                ],
            )?;
            namespace.batch(&[
                format!("addr add {}/24 dev {INSIDE}", member.host),
                format!("link set {INSIDE} up"),
                "link set lo up".to_owned(),
                // so that faults can come before it
                format!("rule add pref {LOCAL_RULE} lookup local"),
                "rule del pref 0".to_owned(),
            ])?;
        }
        Ok(())
    }

    /// Removes it, as far as it is there. Processes in it must be gone.
    pub(crate) fn remove(&self, members: &[LabMember]) {
        for member in members {
            let name = self.namespace(member).0;
            // a namespace lives on while a connection in it waits for its end, and its interface with it
            let _ = batch(None, &[format!("link del {name}")]);
            let _ = batch(None, &[format!("link del {name}p")]);
            let _ = batch(None, &[format!("netns del {name}")]);
        }
        let _ = batch(None, &[format!("link del {}", self.bridge)]);
    }
}

impl Namespace {
    /// A command that runs another one inside.
    pub(crate) fn enter(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]);
        command
    }

    /// Runs these lines of `ip` inside, until one fails.
    pub(crate) fn batch(&self, lines: &[String]) -> Result<(), LabError> {
        batch(Some(self), lines)
    }

    /// Makes the link narrow, both ways: a token bucket with a queue, as not every kernel has netem.
    pub(crate) fn slow_down(&self) -> Result<(), LabError> {
        self.speed_up()?;
        for way in Way::BOTH {
            self.qdisc(way, "add", &["root", "tbf", "rate", "512kbit", "burst", "3000", "latency", "400ms"])?;
        }
        Ok(())
    }

    /// Resets every connection with other hosts: both ends learn of it.
    pub(crate) fn reset(&self) -> Result<(), LabError> {
        let here = ["netns", "exec", &self.0, "ss", "--kill", "--tcp", "--no-header", "state", "established"];
        run("ip", &[&here[..], &["not", "dst", "127.0.0.0/8"]].concat(), "").map(drop)
    }

    /// Leads the link through two tap devices, which it returns: frames go on only if somebody carries them.
    pub(crate) fn detour(&self, bridge: &str) -> Result<[PathBuf; 2], LabError> {
        self.straighten(bridge)?;
        let name = &self.0;
        // the link's end outside, and a pair of interfaces of which one is on the bridge in its place
        batch(
            None,
            &[
                format!("link set {name} nomaster"),
                format!("link add {name}p type veth peer name {name}q"),
                format!("link set {name}q master {bridge} up"),
                format!("link set {name}p up"),
                format!("link add link {name} name {name}a type macvtap mode passthru"),
                format!("link add link {name}p name {name}b type macvtap mode passthru"),
                format!("link set {name}a up"),
                format!("link set {name}b up"),
            ],
        )?;
        let device = |end: &str| {
            let path = format!("/sys/class/net/{name}{end}/ifindex");
            let number = std::fs::read_to_string(&path).map_err(LabError::io("cannot read", Path::new(&path)))?;
            Ok(PathBuf::from(format!("/dev/tap{}", number.trim())))
        };
        Ok([device("a")?, device("b")?])
    }

    /// Ends that. Says whether it was so.
    pub(crate) fn straighten(&self, bridge: &str) -> Result<bool, LabError> {
        let name = &self.0;
        let there: Vec<String> = ["a", "p"]
            .into_iter()
            .filter(|end| Path::new(&format!("/sys/class/net/{name}{end}")).exists())
            .map(|end| format!("link del {name}{end}"))
            .collect();
        batch(None, &there)?;
        batch(None, &[format!("link set {name} master {bridge}")])?;
        Ok(!there.is_empty())
    }

    /// Ends that. Says whether it was so.
    pub(crate) fn speed_up(&self) -> Result<bool, LabError> {
        let mut was = false;
        for way in Way::BOTH {
            if self.qdisc(way, "show", &[])?.contains("tbf") {
                self.qdisc(way, "del", &["root"])?;
                was = true;
            }
        }
        Ok(was)
    }

    fn qdisc(&self, way: Way, verb: &str, more: &[&str]) -> Result<String, LabError> {
        let at = match way {
            Way::Out => vec!["-n", &self.0, "qdisc", verb, "dev", INSIDE],
            Way::In => vec!["qdisc", verb, "dev", &self.0],
        };
        run("tc", &[&at, more].concat(), "")
    }

    /// Removes the routing rules with these numbers. Says whether there were any.
    pub(crate) fn remove_rules(&self, which: impl Fn(u32) -> bool) -> Result<bool, LabError> {
        let list = run("ip", &["-n", &self.0, "rule", "show"], "")?;
        let numbers = list.lines().filter_map(|line| line.split(':').next()?.trim().parse().ok());
        let lines: Vec<String> = numbers.filter(|n| which(*n)).map(|n| format!("rule del pref {n}")).collect();
        self.batch(&lines)?;
        Ok(!lines.is_empty())
    }
}

fn batch(inside: Option<&Namespace>, lines: &[String]) -> Result<(), LabError> {
    if lines.is_empty() {
        return Ok(());
    }
    let arguments: Vec<&str> = match inside {
        Some(namespace) => vec!["-n", &namespace.0, "-batch", "-"],
        None => vec!["-batch", "-"],
    };
    run("ip", &arguments, &(lines.join("\n") + "\n")).map(drop)
}

/// Runs `ip` or `tc` and returns what it prints.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, LabError> {
    let missing = |error| {
        LabError::Usage(format!("--hosts needs `{program}`, which does not run ({error}): apt-get install iproute2"))
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(missing)?;
    // one that ends before it has read everything says why itself
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().map_err(missing)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(LabError::Failed(format!("the lab's network: `{program} {}` failed: {why}", arguments.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labs_at_different_ports_have_different_networks() {
        let (a, b) = (LabNetwork::of(15_000), LabNetwork::of(15_300));
        assert_eq!((a.bridge.as_str(), a.subnet().as_str()), ("dph15000", "10.58.152.0/24"));
        assert!(a != b && a.prefix != b.prefix);
        assert_eq!(a.address(3), "10.58.152.3");
        // interface names have 15 bytes at most
        assert!(LabNetwork::of(65_000).bridge.len() + "m7".len() <= 15);
    }
}
