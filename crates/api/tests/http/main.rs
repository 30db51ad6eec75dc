//! The HTTP interface over a real loopback socket, with a fake agent behind it.

mod browser;
mod fake;
mod schema;

use dauphin_api::dto::{self, Done, Journal, SwitchoverRequest};
use dauphin_api::{Access, Client, ClientError, HealthView, Kind, Token, serve};
use fake::Fake;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const TOKEN: &str = "open-sesame";

/// A served fake agent; it ends with the test.
struct Served {
    address: SocketAddr,
    fake: Arc<Fake>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

fn served(fake: Fake, access: Access) -> Served {
    let fake = Arc::new(fake);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("for tokio");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let operations = Arc::clone(&fake);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let shutdown = async {
                let _ = stopped.await;
            };
            serve(listener, operations, access, shutdown).await;
        });
    });
    Served { address, fake, _stop: stop }
}

fn open() -> Served {
    served(Fake::default(), Access { token: Token::new(TOKEN), ..Access::default() })
}

impl Served {
    /// Sends these bytes; status, head and body of the answer.
    fn raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, head.to_owned(), body.to_owned())
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let (status, _, body) = self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ));
        (status, body)
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.send("POST", path, &format!("Authorization: Bearer {TOKEN}\r\n"), body)
    }

    fn client(&self, token: &str) -> Client {
        Client::new(vec![self.address.to_string()], Token::new(token))
    }
}

fn error(body: &str) -> dauphin_api::ApiError {
    serde_json::from_str::<dauphin_api::error::ErrorBody>(body).expect("an error body").error
}

#[test]
fn commands_need_the_token() {
    let agent = open();
    let (status, head, body) =
        agent.raw("POST /v1/pause HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((status, error(&body).code.as_str()), (401, "no_token"));
    assert!(head.to_lowercase().contains("www-authenticate: bearer"), "{head}");
    let (status, body) = agent.send("POST", "/v1/pause", "Authorization: Bearer wrong\r\n", "");
    assert_eq!((status, error(&body).code.as_str()), (403, "wrong_token"));
    let (status, body) = agent.send("POST", "/v1/pause", "Authorization: Basic abc\r\n", "");
    assert_eq!((status, error(&body).kind), (401, Kind::Unauthenticated));
    assert!(agent.fake.asked.lock().expect("no panic").is_empty());
    assert_eq!(agent.post("/v1/pause", "").0, 200);
}

#[test]
fn a_bad_body_is_400_and_names_its_field() {
    let agent = open();
    for (path, body, field) in [
        ("/v1/failover", "{}", "to"),
        ("/v1/failover", r#"{"to": 7}"#, "to"),
        ("/v1/switchover", r#"{"tp": "m2"}"#, "tp"),
        ("/v1/reinit", "", "member"),
        ("/v1/config", r#"{"dry_run": "yes"}"#, "dry_run"),
        ("/v1/pause", r#"{"why": 1}"#, "why"),
    ] {
        let (status, text) = agent.post(path, body);
        assert_eq!(status, 400, "{path} {body}: {text}");
        assert!(error(&text).message.contains(&format!("`{field}`")), "{path} {body}: {text}");
    }
    assert_eq!(agent.post("/v1/pause", "not json").0, 400);
    let (status, text) = agent.post("/v1/pause", &"x".repeat(300 * 1024));
    assert_eq!((status, error(&text).code.as_str()), (413, "unreadable_body"));
}

#[test]
fn what_is_not_there_says_so() {
    let agent = open();
    let (status, body) = agent.send("GET", "/v2/cluster", "", "");
    assert_eq!((status, error(&body).kind), (404, Kind::NotFound));
    let (status, body) = agent.post("/v1/cluster", "{}");
    assert_eq!((status, error(&body).code.as_str()), (405, "wrong_method"));
    assert_eq!(agent.send("GET", "/v1/journal?after=x", "", "").0, 400);
}

#[test]
fn refusals_carry_what_accepts_them() {
    let agent = open();
    let (status, body) = agent.post("/v1/failover", r#"{"to":"m2"}"#);
    assert_eq!(status, 409);
    assert_eq!(error(&body).kind.exit(), 3);
    assert!(error(&body).next.contains("--allow-data-loss"));
}

#[test]
fn load_balancers_get_their_status() {
    let agent = open();
    for (path, expected) in
        [("/primary", 503), ("/replica", 200), ("/sync", 200), ("/quorum", 200), ("/async", 503), ("/liveness", 200)]
    {
        assert_eq!(agent.send("GET", path, "", "").0, expected, "{path}");
        let (status, body) = agent.send("OPTIONS", path, "", "");
        assert_eq!((status, body.as_str()), (expected, ""), "{path}");
        let (status, body) = agent.send("HEAD", path, "", "");
        assert_eq!((status, body.as_str()), (expected, ""), "{path}");
    }
    assert_eq!(agent.send("GET", "/replica?lag=9", "", "").0, 503);
    assert_eq!(agent.send("GET", "/replica?lag=10kB", "", "").0, 200);
    assert_eq!(agent.send("GET", "/replica?lag=much", "", "").0, 400);
    // load balancers carry no token even where reading needs one
    let closed = served(Fake::default(), Access { token: Token::new(TOKEN), closed_reads: true, ..Access::default() });
    assert_eq!(closed.send("GET", "/replica", "", "").0, 200);
    assert_eq!(closed.send("GET", "/v1/cluster", "", "").0, 401);
    let fake =
        Fake { health: HealthView { role: "leader".into(), open: true, ..Fake::default().health }, ..Fake::default() };
    let leader = served(fake, Access::default());
    assert_eq!((leader.send("GET", "/primary", "", "").0, leader.send("GET", "/replica", "", "").0), (200, 503));
}

#[test]
fn metrics_and_pages_have_their_types() {
    let agent = open();
    let get = |path: &str| agent.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let (_, head, body) = get("/metrics");
    assert!(head.to_lowercase().contains("content-type: application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"));
    let (_, head, body) = get("/");
    assert!(head.to_lowercase().contains("text/html") && body.contains("console/main.js"), "{head}");
}

#[test]
fn events_begin_with_the_whole_and_go_on_with_changes() {
    let agent = open();
    let mut stream = TcpStream::connect(agent.address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let mut until = |text: &mut String, word: &str| {
        while !text.contains(word) {
            let read = stream.read(&mut buffer).expect("more");
            assert!(read > 0, "ended: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    until(&mut text, "event: cluster");
    until(&mut text, "\"reporter\":\"m1\"");
    agent.fake.events.send(dto::Event { kind: "journal".into(), data: Value::from(5) }).expect("heard");
    until(&mut text, "event: journal");
    // a change is told as the whole document, as `GET /v1/cluster` has it, whatever the teller knew
    agent.fake.events.send(dto::Event { kind: "cluster".into(), data: Value::from("half") }).expect("heard");
    let whole = format!("data: {}", serde_json::to_string(&fake::cluster()).expect("JSON"));
    text.clear();
    until(&mut text, "event: cluster");
    until(&mut text, &whole);
    // a silent stream says that it lives
    until(&mut text, "\n:");
}

#[test]
fn the_client_reads_facts_and_gives_commands() {
    let agent = open();
    let client = agent.client(TOKEN);
    assert_eq!(client.cluster().expect("an answer"), fake::cluster());
    let journal: Journal = client.get("/v1/journal?after=3&limit=5").expect("an answer");
    assert_eq!(journal.entries.len(), 1);
    let mut heard = Vec::new();
    let request = SwitchoverRequest { to: Some("m2".into()) };
    let done: Done = client.post("/v1/switchover", &request, &mut |t| heard.push(t.to_owned())).expect("done");
    assert_eq!(heard, ["holding new transactions", "promoting m2"]);
    assert_eq!((done.leader.as_deref(), done.gap_ms), (Some("m2"), Some(120)));
    assert_eq!(*agent.fake.asked.lock().expect("no panic"), ["journal Some(3) 5", "switchover Some(\"m2\")"]);
}

#[test]
fn the_client_tells_refusals_from_silence() {
    let agent = open();
    let said = |result: Result<Done, ClientError>| match result {
        Err(ClientError::Said(error)) => (error.kind, error.code),
        other => panic!("{other:?}"),
    };
    let to = |to: &str| SwitchoverRequest { to: Some(to.into()) };
    let unknown = agent.client(TOKEN).post("/v1/switchover", &to("m9"), &mut |_| {});
    assert_eq!(said(unknown), (Kind::Usage, "no_such_member".to_owned()));
    let wrong = agent.client("wrong").post("/v1/switchover", &to("m2"), &mut |_| {});
    assert_eq!(said(wrong), (Kind::Forbidden, "wrong_token".to_owned()));
    let missing = agent.client(TOKEN).get::<dto::Explanation>("/v1/explain?id=404");
    assert!(matches!(missing, Err(ClientError::Said(error)) if error.kind == Kind::NotFound));

    // one is dead, one never answers: the third one's word counts
    let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead_at = dead.local_addr().expect("an address").to_string();
    drop(dead);
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let frozen_at = frozen.local_addr().expect("an address").to_string();
    let all = Client::new(vec![dead_at.clone(), frozen_at.clone(), agent.address.to_string()], Token::new(TOKEN));
    assert!(all.cluster().is_ok());
    let done: Done = all.post("/v1/switchover", &to("m2"), &mut |_| {}).expect("given to the one that answers");
    assert_eq!(done.term, Some(8));
    match Client::new(vec![dead_at, frozen_at], None).cluster() {
        Err(ClientError::NoneAnswered { tried }) => assert_eq!(tried.len(), 2, "{tried:?}"),
        other => panic!("{other:?}"),
    }
}
