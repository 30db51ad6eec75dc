//! What agent and guard say to each other: JSON, each message behind its length in four bytes, big-endian.
//! Both ends use it; it never touches a socket. An old guard meets a new agent after an upgrade, so messages only grow.

use dauphin_model::Mono;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Version of the protocol. A guard refuses an agent of another one: the agent then fences the server and starts anew.
pub const VERSION: u32 = 1;

/// Longest message, in bytes: the longest is a start with its environment.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// What becomes of the server when the agent's connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAgentDeath {
    /// Kill it at once: a leader whose agent is gone must not go on.
    KillNow,
    /// Let it run until a new agent adopts it (or the deadline passes): a replica harms nobody.
    Keep,
}

/// A signal that the agent may have sent to the server's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerSignal {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM: PostgreSQL's smart shutdown.
    Terminate,
    /// SIGINT: PostgreSQL's fast shutdown.
    Interrupt,
    /// SIGQUIT: PostgreSQL's immediate shutdown.
    Quit,
}

/// What the kernel sends the server's first process when the guard dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardDeath {
    /// SIGQUIT: PostgreSQL's first process then ends its backends with it, where SIGKILL would leave them behind.
    #[default]
    Quit,
    /// SIGKILL: for a server of one process. MySQL takes SIGQUIT for an orderly stop, in which it tells clients whose commits
    /// wait for replicas that they are done.
    Kill,
}

/// How to start the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartServer {
    /// The program, as an absolute path. It must stay in the foreground.
    pub program: PathBuf,
    /// Its arguments. Never a secret.
    pub args: Vec<String>,
    /// Its whole environment. Never a secret.
    pub env: Vec<(String, String)>,
    /// The folder it starts in.
    pub cwd: PathBuf,
    /// Where its output goes, both streams; appended to.
    pub stderr_path: PathBuf,
    /// What becomes of it when the guard dies.
    #[serde(default)]
    pub on_guard_death: GuardDeath,
}

/// What the agent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum Request {
    /// Takes the guard over. Anything but `Ping` and `Status` is refused before it.
    Hello {
        /// The agent's [`VERSION`].
        version: u32,
        /// The agent's process, for people.
        agent_pid: u32,
    },
    /// Starts the server.
    Start(StartServer),
    /// Sends a signal to the server's first process.
    Signal {
        /// Which.
        signal: ServerSignal,
    },
    /// Kills the server's whole process tree and answers when nothing of it is left.
    Kill,
    /// The server must be dead by `deadline`, unless it is moved. Holds until replaced.
    Deadline {
        /// On the boot-time clock; `None`: no lease to guard.
        deadline: Option<Mono>,
        /// What becomes of the server when this connection ends.
        on_agent_death: OnAgentDeath,
    },
    /// Are you there?
    Ping {
        /// Comes back.
        n: u64,
    },
    /// What runs?
    Status,
    /// Ends the guard. Refused while a server runs.
    Shutdown,
}

/// A request with the number under which it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Chosen by the agent; comes back with the answer. 0: no answer is wanted.
    pub id: u64,
    /// What is asked.
    pub request: Request,
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its first process.
    pub pid: u32,
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it, when one did.
    pub signal: Option<i32>,
    /// When the guard saw it.
    pub at: Mono,
    /// How many processes it left behind, killed by the guard before it told anybody.
    pub left_behind: u32,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "process {} ended with code {code}", self.pid)?,
            (None, Some(signal)) => write!(f, "process {} was ended by signal {signal}", self.pid)?,
            (None, None) => write!(f, "process {} ended", self.pid)?,
        }
        if self.left_behind > 0 {
            write!(f, "; {} processes that it left were killed", self.left_behind)?;
        }
        Ok(())
    }
}

/// What a kill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Killed {
    /// Processes that were sent SIGKILL.
    pub processes: u32,
    /// Processes that had not ended when the guard stopped waiting: stuck in the kernel, they run no more code.
    pub stuck: u32,
    /// From the first signal to the last that reached a process not yet killed, in microseconds: from then on nothing
    /// of the server runs code, whatever time the kernel takes to clear it away.
    #[serde(default)]
    pub signalled_us: u64,
    /// From the first signal to the proof that none is left, in microseconds.
    pub took_us: u64,
}

/// What the guard has under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The guard's [`VERSION`].
    pub version: u32,
    /// The guard's own process.
    pub guard_pid: u32,
    /// The agent connected now.
    pub agent_pid: Option<u32>,
    /// The server's first process; `None`: no server runs.
    pub server_pid: Option<u32>,
    /// By when the server must be dead.
    pub deadline: Option<Mono>,
    /// What becomes of the server when the agent's connection ends.
    pub on_agent_death: OnAgentDeath,
    /// How the last server ended, when no server runs.
    pub last_exit: Option<Exit>,
    /// A hardware watchdog is open and fed.
    pub watchdog: bool,
}

/// What the guard says: answers carry the request's number, events carry 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum Reply {
    /// The server was started.
    Started {
        /// Its first process.
        pid: u32,
    },
    /// Done: a signal was sent, a deadline is in force, the guard ends.
    Done,
    /// Not done.
    Refused {
        /// Why, and what to do.
        why: String,
    },
    /// The tree was killed.
    Killed(Killed),
    /// Here.
    Pong {
        /// As sent.
        n: u64,
    },
    /// What runs. Also the answer to a hello.
    Status(Status),
    /// Event: the server ended.
    Exited(Exit),
    /// Event: the deadline came; the server was killed before it.
    DeadlinePassed {
        /// The deadline.
        deadline: Mono,
        /// What the kill did.
        killed: Killed,
        /// When nothing of the server was left.
        at: Mono,
    },
}

/// A reply with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedReply {
    /// The request's number; 0 for an event.
    pub id: u64,
    /// What is said.
    pub reply: Reply,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// Longer than both ends allow.
    #[error("a message of {bytes} bytes; at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not the JSON expected.
    #[error("not a message of version {VERSION}: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Appends a message to `out`, length first.
///
/// # Errors
/// [`BadMessage::TooLong`] when the other end would refuse it.
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), BadMessage> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(BadMessage::TooLong { bytes: body.len() });
    }
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// Takes the first whole message off `buffer`; `None`: more bytes are needed.
///
/// # Errors
/// When the bytes are no message; the connection is of no further use then.
pub fn decode<T: for<'de> Deserialize<'de>>(buffer: &mut Vec<u8>) -> Result<Option<T>, BadMessage> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let bytes = u32::from_be_bytes(*head) as usize;
    if bytes > MESSAGE_BYTES_MAX {
        return Err(BadMessage::TooLong { bytes });
    }
    let Some(body) = rest.get(..bytes) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..4 + bytes);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut() {
        let first = Numbered {
            id: 7,
            request: Request::Deadline { deadline: Some(Mono(12)), on_agent_death: OnAgentDeath::KillNow },
        };
        let second = Numbered { id: 8, request: Request::Ping { n: 3 } };
        let mut bytes = Vec::new();
        encode(&first, &mut bytes).expect("fits");
        encode(&second, &mut bytes).expect("fits");
        for cut in 0..bytes.len() {
            let mut buffer = bytes[..cut].to_vec();
            let mut seen: Vec<Numbered> = Vec::new();
            while let Some(message) = decode(&mut buffer).expect("well formed") {
                seen.push(message);
            }
            buffer.extend_from_slice(&bytes[cut..]);
            while let Some(message) = decode(&mut buffer).expect("well formed") {
                seen.push(message);
            }
            assert_eq!(seen, [first.clone(), second.clone()], "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_message_and_nonsense_are_refused() {
        assert!(matches!(decode::<Numbered>(&mut vec![0xFF; 8]), Err(BadMessage::TooLong { .. })));
        let mut nonsense = vec![0, 0, 0, 2];
        nonsense.extend_from_slice(b"{}");
        assert!(matches!(decode::<Numbered>(&mut nonsense), Err(BadMessage::Malformed(_))));
    }
}
