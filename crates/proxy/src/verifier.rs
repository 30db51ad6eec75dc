//! Reads roles' SCRAM verifiers from the cluster, so that the proxy can check clients' proofs itself. One task and one
//! connection serve all logins. What was read is used again only while no server can be asked.

use crate::hub::Hub;
use crate::server::{self, OpenError, Server};
use crate::table::View;
use dauphin_model::{Target, Term};
use dauphin_wire::postgres::message;
use dauphin_wire::postgres::scram::{Secret, Verifier};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Most logins asked about at once.
const BATCH_MAX: usize = 256;

/// Most roles remembered.
const CACHE_MAX: usize = 10_000;

/// How long a server may take to answer about one batch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The same when all is remembered: the server itself judges what the proxy logs in with, so an old verifier lets nobody
/// in, and a frozen server must not keep everybody waiting.
const KNOWN_TIMEOUT: Duration = Duration::from_millis(300);

/// Longest role name asked about, in bytes. PostgreSQL cuts names at 63.
const ROLE_BYTES_MAX: usize = 256;

/// The search path is empty so that nobody's function is called instead.
const LOOKUP: &str = "SELECT dauphin.scram_verifier($1)";

/// Why there is no verifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LookupError {
    /// No server can be asked, and nothing is remembered. Worth another try.
    #[error("no server can be asked for the password verifier: {0}")]
    NoServer(String),
    /// A server was asked and said no.
    #[error("the proxy cannot read password verifiers: {0}")]
    Refused(String),
}

type Answer = Result<Option<Verifier>, LookupError>;

/// One question.
struct Question {
    role: String,
    answer: oneshot::Sender<Answer>,
}

/// Asks the lookup task.
#[derive(Clone)]
pub(crate) struct Verifiers(mpsc::Sender<Question>);

impl Verifiers {
    /// Starts the task. It ends when nobody can ask any more.
    pub(crate) fn start(hub: Arc<Hub>, database: &str, password: String) -> Self {
        let (sender, receiver) = mpsc::channel(BATCH_MAX);
        let lookup = Lookup {
            hub,
            startup: server::own_startup(database),
            secret: Secret::Password(password),
            connection: None,
            cache: BTreeMap::new(),
        };
        tokio::spawn(lookup.run(receiver));
        Self(sender)
    }

    /// The verifier of a role; none when there is no such role, or no SCRAM password.
    pub(crate) async fn find(&self, role: &str) -> Answer {
        if role.len() > ROLE_BYTES_MAX {
            return Ok(None);
        }
        let (answer, receiver) = oneshot::channel();
        let stopped = || LookupError::NoServer("the proxy is stopping".into());
        self.0.send(Question { role: role.to_owned(), answer }).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())?
    }
}

struct Lookup {
    hub: Arc<Hub>,
    startup: Vec<u8>,
    secret: Secret,
    connection: Option<(Server, Target, Term)>,
    cache: BTreeMap<String, Option<Verifier>>,
}

impl Lookup {
    async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        let mut batch = Vec::new();
        while questions.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut roles: Vec<&str> = batch.iter().map(|question| question.role.as_str()).collect();
            roles.sort_unstable();
            roles.dedup();
            let roles: Vec<String> = roles.into_iter().map(str::to_owned).collect();
            let asked = self.ask(&roles).await;
            if let Ok(found) = &asked {
                for (role, verifier) in roles.iter().zip(found) {
                    if self.cache.len() < CACHE_MAX || self.cache.contains_key(role) {
                        self.cache.insert(role.clone(), verifier.clone());
                    }
                }
            }
            for Question { role, answer } in batch.drain(..) {
                let found = match &asked {
                    Ok(found) => {
                        let at = roles.binary_search(&role).ok();
                        Ok(at.and_then(|at| found.get(at)).cloned().flatten())
                    }
                    Err(LookupError::NoServer(why)) => match self.cache.get(&role) {
                        Some(Some(known)) => Ok(Some(known.clone())),
                        // A role that did not exist then may exist now.
                        Some(None) | None => Err(LookupError::NoServer(why.clone())),
                    },
                    Err(refused) => Err(refused.clone()),
                };
                // A client that gave up needs no answer.
                let _ = answer.send(found);
            }
        }
    }

    /// Asks about all roles at once, on a new connection if the one at hand has died meanwhile.
    async fn ask(&mut self, roles: &[String]) -> Result<Vec<Option<Verifier>>, LookupError> {
        let mut views = self.hub.subscribe();
        let view = Arc::clone(&views.borrow_and_update());
        let target = place(&view).ok_or_else(|| LookupError::NoServer("no leader is open".into()))?;
        if !matches!(&self.connection, Some((_, at, term)) if at == target && *term == view.term) {
            self.connection = None;
        }
        let known = roles.iter().all(|role| matches!(self.cache.get(role), Some(Some(_))));
        let limit = if known { KNOWN_TIMEOUT } else { ANSWER_TIMEOUT };
        let moved = async {
            while views.changed().await.is_ok() {
                let now = views.borrow_and_update();
                if now.term != view.term || place(&now) != Some(target) {
                    break;
                }
            }
        };
        tokio::select! {
            answer = self.ask_twice(target, view.term, roles) => answer,
            () = moved => Err(LookupError::NoServer("the leader is changing".into())),
            () = tokio::time::sleep(limit) => Err(LookupError::NoServer(format!("{} does not answer", target.member))),
        }
    }

    async fn ask_twice(
        &mut self,
        target: &Target,
        term: Term,
        roles: &[String],
    ) -> Result<Vec<Option<Verifier>>, LookupError> {
        let mut last = String::new();
        for _ in 0..2 {
            match self.ask_once(target, term, roles).await {
                Ok(found) => return Ok(found),
                Err(error @ (OpenError::Refused(_) | OpenError::Broken(_) | OpenError::NotRestored(_))) => {
                    tracing::warn!(%error, member = %target.member, "password verifiers cannot be read");
                    return Err(LookupError::Refused(error.to_string()));
                }
                Err(error @ (OpenError::NotYet(_) | OpenError::KeptOut(_))) => last = error.to_string(),
            }
        }
        Err(LookupError::NoServer(last))
    }

    async fn ask_once(
        &mut self,
        target: &Target,
        term: Term,
        roles: &[String],
    ) -> Result<Vec<Option<Verifier>>, OpenError> {
        // Taken out: a connection that is left in the middle of an answer is never used again.
        let mut server = match self.connection.take() {
            Some((server, ..)) => server,
            None => Server::open(&self.hub.dial, target, &self.startup, &self.secret).await?,
        };
        let mut batch = Vec::new();
        for role in roles {
            put_question(&mut batch, role);
        }
        server.send(&batch).await?;
        let mut found = Vec::with_capacity(roles.len());
        for _ in roles {
            found.push(server.answer().await?.and_then(|text| Verifier::parse(&text).ok()));
        }
        self.connection = Some((server, target.clone(), term));
        Ok(found)
    }
}

/// Any server of the cluster knows the roles; the leader knows the newest.
fn place(view: &View) -> Option<&Target> {
    view.open_leader().or_else(|| view.usable_replicas().next())
}

fn put_question(out: &mut Vec<u8>, role: &str) {
    let mut parse = b"\0".to_vec();
    parse.extend_from_slice(LOOKUP.as_bytes());
    // No types of parameters: the function's own are taken.
    parse.extend_from_slice(&[0, 0, 0]);
    message::put(out, b'P', &parse);
    let mut bind = b"\0\0\0\0\0\x01".to_vec();
    bind.extend_from_slice(&u32::try_from(role.len()).unwrap_or(0).to_be_bytes());
    bind.extend_from_slice(role.as_bytes());
    bind.extend_from_slice(&[0, 0]);
    message::put(out, b'B', &bind);
    message::put(out, b'E', &[0, 0, 0, 0, 0]);
    message::put(out, b'S', &[]);
}
