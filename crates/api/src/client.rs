//! A small blocking client for the command line and the lab: it asks the agents of a cluster, any of which may be
//! dead or frozen. It decides nothing; of several views it takes the one of the latest leader.

mod http;

use crate::access::Token;
use crate::dto::{Cluster, Line};
use crate::error::{ApiError, ErrorBody};
use http::{Answered, Call};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::Reverse;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for one agent's answer to a question. A frozen agent accepts and never answers.
const ANSWER_WAIT_MAX: Duration = Duration::from_millis(1_500);
/// How long others may take, once one that leads has answered, to tell of a later term.
const LATER_TERM_WAIT_MAX: Duration = Duration::from_millis(150);
/// Longest wait for an agent to answer a question that needs the store.
const STORE_ANSWER_WAIT_MAX: Duration = Duration::from_secs(6);
/// Longest silence of a command under way; clones report progress more often than this.
const COMMAND_SILENCE_MAX: Duration = Duration::from_secs(3_600);

/// Why a cluster could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent gave an answer.
    #[error("no agent answers: {}", .tried.iter().map(|(at, why)| format!("{at}: {why}")).collect::<Vec<_>>().join("; "))]
    NoneAnswered {
        /// Who was tried, and what came of it.
        tried: Vec<(String, String)>,
    },
    /// An agent said no.
    #[error("{0}")]
    Said(#[from] ApiError),
    /// The connection broke in the middle of a command: what became of it is unknown.
    #[error("the connection to {endpoint} broke while the command ran ({why}): its outcome is unknown")]
    Broken {
        /// Whom it was given to.
        endpoint: String,
        /// What happened.
        why: String,
    },
}

/// The agents of one cluster.
#[derive(Debug, Clone)]
pub struct Client {
    endpoints: Vec<String>,
    token: Option<Token>,
}

impl Client {
    /// A client of the agents at these addresses (`host:port`), tried in this order.
    #[must_use]
    pub fn new(endpoints: Vec<String>, token: Option<Token>) -> Self {
        Self { endpoints, token }
    }

    /// The address in an URL: `http://host:port`, with or without scheme and final slash.
    ///
    /// # Errors
    /// A sentence saying what an address looks like.
    pub fn endpoint_of(url: &str) -> Result<String, String> {
        let wrong = |why: &str| Err(format!("{url:?} is not an address of an agent: {why}; write http://HOST:PORT"));
        if url.starts_with("https://") {
            return wrong("agents speak plain HTTP on loopback; use an SSH tunnel or a proxy for TLS");
        }
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
                Ok(address.to_owned())
            }
            _ => wrong("it needs a host and a port"),
        }
    }

    /// The addresses asked.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The cluster, as the agent sees it whose view is the latest: all are asked at once. After a leader's own word
    /// only those are waited for that answer right after it.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub fn cluster(&self) -> Result<Cluster, ClientError> {
        let (sender, receiver) = mpsc::channel();
        for endpoint in &self.endpoints {
            let (sender, endpoint, token) = (sender.clone(), endpoint.clone(), self.token.clone());
            std::thread::spawn(move || {
                let got = get_from::<Cluster>(&endpoint, "/v1/cluster", token.as_ref(), ANSWER_WAIT_MAX);
                let _ = sender.send((endpoint, got));
            });
        }
        drop(sender);
        let mut deadline = Instant::now() + ANSWER_WAIT_MAX;
        let mut best: Option<Cluster> = None;
        let mut tried = Vec::new();
        while let Ok((endpoint, got)) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            match got {
                Ok(view) => {
                    // a leader that was cut off may say so of itself still, for as long as its lease lasts
                    if view.open && view.leader.is_some() && view.leader == view.reporter {
                        deadline = deadline.min(Instant::now() + LATER_TERM_WAIT_MAX);
                    }
                    if best.as_ref().is_none_or(|b| (b.term, b.open) < (view.term, view.open)) {
                        best = Some(view);
                    }
                }
                Err(error) => add(&mut tried, endpoint, error),
            }
        }
        for endpoint in &self.endpoints {
            if !tried.iter().any(|(at, _)| at == endpoint) {
                tried.push((endpoint.clone(), format!("no answer in {} ms", ANSWER_WAIT_MAX.as_millis())));
            }
        }
        tried.sort_by_key(|(at, _)| self.endpoints.iter().position(|endpoint| endpoint == at));
        best.ok_or(ClientError::NoneAnswered { tried })
    }

    /// The cluster as this one agent sees it.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn cluster_at(endpoint: &str) -> Result<Cluster, ClientError> {
        get_from(endpoint, "/v1/cluster", None, ANSWER_WAIT_MAX)
    }

    /// Asks one agent after the other until one answers.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let mut tried = Vec::new();
        for endpoint in self.living() {
            match get_from(&endpoint, path, self.token.as_ref(), STORE_ANSWER_WAIT_MAX) {
                Ok(document) => return Ok(document),
                Err(ClientError::Said(error)) if error.kind != crate::Kind::Unavailable => return Err(error.into()),
                Err(error) => add(&mut tried, endpoint, error),
            }
        }
        Err(ClientError::NoneAnswered { tried })
    }

    /// Gives a command to the first agent that answers; `progress` hears what is being done meanwhile.
    /// It is never given twice: once sent, a broken connection leaves the outcome unknown.
    ///
    /// # Errors
    /// When nobody answers, the command is refused or fails, or the connection breaks.
    pub fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        progress: &mut dyn FnMut(&str),
    ) -> Result<T, ClientError> {
        let body = serde_json::to_string(body).map_err(|e| ApiError::usage("bad_body", e.to_string(), ""))?;
        let mut tried = Vec::new();
        for endpoint in self.living() {
            let call = Call { method: "POST", path, token: self.token.as_ref(), body: Some(&body), lines: true };
            let answered = match http::send(&endpoint, &call, COMMAND_SILENCE_MAX) {
                Ok(answered) => answered,
                Err(http::Failure::NotSent(why)) => {
                    tried.push((endpoint, why));
                    continue;
                }
                Err(http::Failure::Broken(why)) => return Err(ClientError::Broken { endpoint, why }),
            };
            return outcome(&endpoint, answered, progress);
        }
        Err(ClientError::NoneAnswered { tried })
    }

    /// The agents that answer now, those that know of the latest term first, else in order; all of them when none does, so that errors
    /// name each. One that is cut off answers with what it knew.
    fn living(&self) -> Vec<String> {
        if self.endpoints.len() < 2 {
            return self.endpoints.clone();
        }
        let asked: Vec<_> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                let (endpoint, token) = (endpoint.clone(), self.token.clone());
                std::thread::spawn(move || {
                    match get_from::<Cluster>(&endpoint, "/v1/cluster", token.as_ref(), ANSWER_WAIT_MAX) {
                        Ok(view) => Some(((view.term, view.open), endpoint)),
                        Err(ClientError::Said(_)) => Some(((None, false), endpoint)),
                        Err(_) => None,
                    }
                })
            })
            .collect();
        let mut living: Vec<_> = asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect();
        living.sort_by_key(|(knows, _)| Reverse(*knows));
        if living.is_empty() {
            return self.endpoints.clone();
        }
        living.into_iter().map(|(_, endpoint)| endpoint).collect()
    }
}

/// Notes what came of asking one agent.
fn add(tried: &mut Vec<(String, String)>, endpoint: String, error: ClientError) {
    match error {
        ClientError::NoneAnswered { tried: inner } => tried.extend(inner),
        ClientError::Said(said) => tried.push((endpoint, said.message)),
        ClientError::Broken { why, .. } => tried.push((endpoint, why)),
    }
}

fn get_from<T: DeserializeOwned>(
    endpoint: &str,
    path: &str,
    token: Option<&Token>,
    wait: Duration,
) -> Result<T, ClientError> {
    let none = |why: String| ClientError::NoneAnswered { tried: vec![(endpoint.to_owned(), why)] };
    let call = Call { method: "GET", path, token, body: None, lines: false };
    let mut answered = http::send(endpoint, &call, wait).map_err(|e| none(e.to_string()))?;
    let text = answered.text().map_err(|e| none(e.to_string()))?;
    if answered.status >= 300 {
        return Err(said(answered.status, &text).into());
    }
    serde_json::from_str(&text).map_err(|e| none(format!("its answer is not understood: {e}")))
}

/// The error in an answer, whatever its form.
fn said(status: u16, text: &str) -> ApiError {
    serde_json::from_str::<ErrorBody>(text).map_or_else(
        |_| ApiError::failed("http", format!("HTTP status {status}"), "is this the address of a Dauphin agent?"),
        |body| body.error,
    )
}

fn outcome<T: DeserializeOwned>(
    endpoint: &str,
    mut answered: Answered,
    progress: &mut dyn FnMut(&str),
) -> Result<T, ClientError> {
    let broken = |why: String| ClientError::Broken { endpoint: endpoint.to_owned(), why };
    if answered.status >= 300 {
        let text = answered.text().map_err(|e| broken(e.to_string()))?;
        return Err(said(answered.status, &text).into());
    }
    while let Some(line) = answered.line().map_err(|e| broken(e.to_string()))? {
        match serde_json::from_str::<Line>(&line).map_err(|e| broken(e.to_string()))? {
            Line::Progress(text) => progress(&text),
            Line::Done(value) => return serde_json::from_value(value).map_err(|e| broken(e.to_string())),
            Line::Error(error) => return Err(error.into()),
        }
    }
    Err(broken("it ended without a result".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// An agent that leads in its own eyes, and takes this long to say so.
    fn leads(name: &str, term: u64, after: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let name = Some(name.to_owned());
        let view = Cluster { term: Some(term), leader: name.clone(), reporter: name, open: true, ..Cluster::default() };
        let body = serde_json::to_string(&view).expect("JSON");
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.expect("a client");
                let _ = client.read(&mut [0; 4096]);
                std::thread::sleep(after);
                let _ = write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        address
    }

    /// Found by a lab on hosts of its own: a leader that came back from a partition was believed for a moment.
    #[test]
    fn a_leader_that_does_not_know_of_the_next_one_is_not_believed() {
        let endpoints = vec![leads("m1", 3, Duration::ZERO), leads("m2", 4, Duration::from_millis(30))];
        let view = Client::new(endpoints, None).cluster().expect("a view");
        assert_eq!((view.leader.as_deref(), view.term), (Some("m2"), Some(4)));
        // and one that never answers is not waited for
        let endpoints = vec![leads("m1", 3, Duration::ZERO), leads("m2", 4, Duration::from_secs(3_600))];
        let asked = Instant::now();
        assert_eq!(Client::new(endpoints, None).cluster().expect("a view").term, Some(3));
        assert!(asked.elapsed() < ANSWER_WAIT_MAX, "{:?}", asked.elapsed());
    }

    /// Found by a lab on hosts of its own: the agent of a member that nobody hears any more was asked for what happened since.
    #[test]
    fn who_knows_of_the_latest_term_is_asked_first() {
        let [old, new] = [("m1", 3), ("m2", 4)].map(|(name, term)| leads(name, term, Duration::ZERO));
        let asked = Client::new(vec![old, new], None).get::<Cluster>("/v1/cluster").expect("an answer");
        assert_eq!(asked.term, Some(4));
    }

    #[test]
    fn an_url_is_a_host_and_a_port() {
        assert_eq!(Client::endpoint_of("http://127.0.0.1:15101/"), Ok("127.0.0.1:15101".to_owned()));
        assert_eq!(Client::endpoint_of("db1:15101"), Ok("db1:15101".to_owned()));
        assert_eq!(Client::endpoint_of("http://[::1]:1"), Ok("[::1]:1".to_owned()));
        for wrong in ["https://db1:1", "db1", "db1:", ":5", "http://db1:99999", "db1/x:5", ""] {
            assert!(Client::endpoint_of(wrong).is_err(), "{wrong}");
        }
    }
}
