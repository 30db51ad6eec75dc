//! A host for tests: a network namespace, and a link to it that can be cut so that neither side hears another word.

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// A namespace with one interface; gone when dropped.
pub(crate) struct Host {
    name: String,
    /// Its address.
    pub(crate) inside: Ipv4Addr,
    /// This machine's address, as it sees it.
    pub(crate) outside: Ipv4Addr,
}

/// Runs lines of `ip`, in a namespace or out of it.
fn ip(namespace: Option<&str>, lines: &[String]) -> bool {
    let mut command = Command::new("ip");
    command.args(namespace.into_iter().flat_map(|name| ["-n", name])).args(["-batch", "-"]);
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    let text = lines.join("\n") + "\n";
    let said = child.stdin.take().is_some_and(|mut stdin| stdin.write_all(text.as_bytes()).is_ok());
    said && child.wait().is_ok_and(|status| status.success())
}

impl Host {
    /// Makes one; none where that is not possible, which is said: only root may, and `ip` must be installed.
    pub(crate) fn make(number: u8) -> Option<Self> {
        if !geteuid().is_root() || !ip(None, &["link show lo".to_owned()]) {
            eprintln!("not run: it makes a network namespace, which needs root and `ip`");
            return None;
        }
        // A network of four addresses, of those that are for tests, for each process and number.
        let process = std::process::id();
        let place = (process % 0x1000) * 8 + u32::from(number % 8);
        let network = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + place * 4;
        let (inside, outside) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
        let name = format!("dpt{process}-{number}");
        let host = Self { name: name.clone(), inside, outside };
        let made = ip(
            None,
            &[
                format!("netns add {name}"),
                format!("link add {name} type veth peer name eth0 netns {name}"),
                format!("addr add {outside}/30 dev {name}"),
                format!("link set {name} up"),
            ],
        );
        let inner = [format!("addr add {inside}/30 dev eth0"), "link set eth0 up".into(), "link set lo up".into()];
        assert!(made && ip(Some(&name), &inner), "the namespace {name} cannot be made");
        Some(host)
    }

    /// Does something on the host: sockets and processes made by it are the host's.
    pub(crate) fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("made");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
                what()
            });
            inside.join().expect("no panic")
        })
    }

    /// From now on nothing that either side sends arrives, and nobody is told.
    pub(crate) fn vanish(&self) {
        assert!(ip(Some(&self.name), &["link set eth0 down".to_owned()]), "the link cannot be cut");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A namespace lives on while a connection in it waits for its end, and its interface with it.
        ip(None, &[format!("link del {}", self.name)]);
        ip(None, &[format!("netns del {}", self.name)]);
    }
}
