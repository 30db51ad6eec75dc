//! What the agent orders, and what it is told. A part of the supervisor; it never reads a socket.

use super::{KILL_LEAD, Supervisor, told};
use crate::boottime;
use crate::protocol::{Reply, Request, ServerSignal, StartServer, Status, VERSION};
use crate::server::Server;
use crate::tree;

impl Supervisor {
    /// Does what is asked.
    pub(super) fn answer(&mut self, connection: u64, request: Request) -> Reply {
        match request {
            Request::Ping { n } => Reply::Pong { n },
            Request::Status => Reply::Status(self.status()),
            Request::Hello { version, agent_pid } => self.hello(connection, version, agent_pid),
            _ if self.agent != Some(connection) => refused("say hello first: only the agent gives orders"),
            Request::Start(start) => self.start(&start),
            Request::Signal { signal } => self.signal(signal),
            Request::Kill => {
                let killed = self.kill();
                self.log.line(&format!("killed as asked ({})", told(&killed)));
                Reply::Killed(killed)
            }
            Request::Deadline { deadline, on_agent_death } => {
                self.deadline = deadline;
                self.on_agent_death = on_agent_death;
                Reply::Done
            }
            Request::Shutdown if self.server.is_some() => refused("a server runs: stop or kill it first"),
            Request::Shutdown => {
                self.shutdown = true;
                Reply::Done
            }
        }
    }

    fn hello(&mut self, connection: u64, version: u32, agent_pid: u32) -> Reply {
        if version != VERSION {
            return refused(&format!(
                "this guard speaks version {VERSION}, the agent {version}: fence the server and start again"
            ));
        }
        if let Some(other) = self.agent.filter(|agent| *agent != connection) {
            let pid = self.connections.iter().find(|c| c.id == other).map_or(0, |c| c.peer_pid);
            return refused(&format!("another agent is connected: process {pid}"));
        }
        self.agent = Some(connection);
        let server = self.server.as_ref().map_or_else(|| "no server".to_owned(), |s| format!("server {}", s.pid));
        self.log.line(&format!("agent {agent_pid} is here; {server}"));
        Reply::Status(self.status())
    }

    fn status(&self) -> Status {
        let agent = self.connections.iter().find(|connection| Some(connection.id) == self.agent);
        Status {
            version: VERSION,
            guard_pid: std::process::id(),
            agent_pid: agent.map(|connection| connection.peer_pid),
            server_pid: self.server.as_ref().and_then(|server| u32::try_from(server.pid).ok()),
            deadline: self.deadline,
            on_agent_death: self.on_agent_death,
            last_exit: self.last_exit.clone(),
            watchdog: self.watchdog.is_some(),
        }
    }

    fn start(&mut self, start: &StartServer) -> Reply {
        if let Some(server) = &self.server {
            return refused(&format!("a server runs already: process {}", server.pid));
        }
        if self.stuck {
            return refused(
                "processes of the last server are stuck in the kernel; see to its disk, or restart the machine",
            );
        }
        if self.deadline.is_some_and(|deadline| deadline - KILL_LEAD <= boottime()) {
            return refused("the deadline has passed: set another, or none, first");
        }
        if self.stopping.is_some() {
            return refused("the guard is ending");
        }
        match Server::start(&self.options.verb, start) {
            Ok(server) => {
                let pid = u32::try_from(server.pid).unwrap_or(0);
                self.log.line(&format!("started {} as process {pid}", start.program.display()));
                self.server = Some(server);
                self.last_exit = None;
                Reply::Started { pid }
            }
            Err(why) => {
                // A child that could not be taken in hand must not run on unsupervised.
                tree::kill(None, &mut Vec::new());
                self.log.line(&why);
                refused(&why)
            }
        }
    }

    /// Sends a signal to the server's first process.
    pub(super) fn signal(&mut self, signal: ServerSignal) -> Reply {
        match &self.server {
            None => refused("no server runs"),
            Some(server) => match server.signal(signal) {
                Ok(()) => {
                    self.log.line(&format!("sent {signal:?} to process {}", server.pid));
                    Reply::Done
                }
                Err(why) => refused(&why),
            },
        }
    }
}

fn refused(why: &str) -> Reply {
    Reply::Refused { why: why.to_owned() }
}
