//! What a browser gets, and what it is kept from: the console's files with their headers, names that point here by
//! somebody else's will, pages of other members and pages of strangers.

use super::{Served, TOKEN, error, fake::Fake, open, served};
use dauphin_api::{Access, Token};

/// Lines of a head that must be there, in lower case.
const GUARDS: [&str; 4] = [
    "x-content-type-options: nosniff",
    "x-frame-options: deny",
    "referrer-policy: no-referrer",
    "cross-origin-resource-policy: same-origin",
];

fn ask(agent: &Served, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let (status, head, body) =
        agent.raw(&format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"));
    (status, head.to_lowercase(), body)
}

#[test]
fn every_answer_is_guarded() {
    let agent = open();
    for (method, path, expected) in [
        ("GET", "/", 200),
        ("GET", "/console/main.js", 200),
        ("GET", "/v1/cluster", 200),
        ("GET", "/metrics", 200),
        ("GET", "/replica", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/v1/pause", 401),
    ] {
        let (status, head, _) = ask(&agent, method, path, "Host: localhost\r\n");
        assert_eq!(status, expected, "{path}");
        for line in GUARDS {
            assert!(head.contains(line), "{path}: no {line} in {head}");
        }
        let policy = head.lines().find(|l| l.starts_with("content-security-policy: ")).expect("a policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(path == "/", policy.contains("script-src 'self'"), "{path}: {policy}");
        let kept = if path == "/" || path.starts_with("/console/") { "no-cache" } else { "no-store" };
        assert!(head.contains(&format!("cache-control: {kept}")), "{path}: {head}");
    }
    let (_, head, _) = ask(&agent, "GET", "/", "Host: localhost\r\n");
    // the fake's other member has no address
    assert!(head.contains("connect-src 'self' http://127.0.0.1:15101\r\n"), "{head}");
}

#[test]
fn the_consoles_files_have_types_and_are_asked_for_once() {
    let agent = open();
    for (path, kind) in [
        ("/", "text/html"),
        ("/console/main.js", "text/javascript"),
        ("/console/console.css", "text/css"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let (status, head, body) = ask(&agent, "GET", path, "Host: localhost\r\n");
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(!head.contains("content-encoding") && !body.is_empty(), "{path}: {head}");
        let tag = head.lines().find_map(|l| l.strip_prefix("etag: ")).expect("a tag").to_owned();
        let (status, _, body) = ask(&agent, "GET", path, &format!("Host: localhost\r\nIf-None-Match: {tag}\r\n"));
        assert_eq!((status, body.as_str()), (304, ""), "{path}");
        let (status, head, _) = ask(&agent, "HEAD", path, "Host: localhost\r\nAccept-Encoding: br, gzip\r\n");
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-encoding: gzip"), "{path}: {head}");
    }
    for path in ["/console/", "/console/secrets.toml", "/console/../openapi.json", "/console/%2e%2e/index.html"] {
        let (status, _, body) = ask(&agent, "GET", path, "Host: localhost\r\n");
        assert_eq!((status, error(&body).code.as_str()), (404, "no_such_path"), "{path}");
    }
    // who has no token yet must be able to load the page that asks for it
    let closed = served(Fake::default(), Access { token: Token::new(TOKEN), closed_reads: true, ..Access::default() });
    assert_eq!(ask(&closed, "GET", "/", "Host: localhost\r\n").0, 200);
    assert_eq!(ask(&closed, "GET", "/console/main.js", "Host: localhost\r\n").0, 200);
    assert_eq!(ask(&closed, "GET", "/v1/cluster", "Host: localhost\r\n").0, 401);
}

#[test]
fn a_name_that_is_not_ours_is_turned_away() {
    let agent = served(Fake::default(), Access { hosts: vec!["console.example".into()], ..Access::default() });
    for path in ["/", "/console/main.js", "/v1/cluster", "/v1/events", "/openapi.json"] {
        let (status, _, body) = ask(&agent, "GET", path, "Host: evil.example:15101\r\n");
        let error = error(&body);
        assert_eq!((status, error.code.as_str()), (403, "wrong_host"), "{path}");
        assert!(error.next.contains("api_hosts"), "{}", error.next);
    }
    let (status, _, body) =
        ask(&agent, "POST", "/v1/pause", &format!("Host: evil.example\r\nAuthorization: Bearer {TOKEN}\r\n"));
    assert_eq!((status, error(&body).code.as_str()), (403, "wrong_host"));
    for name in ["localhost:1", "127.0.0.1:15101", "[::1]:15101", "192.0.2.7", "console.example", "Console.Example:443"]
    {
        assert_eq!(ask(&agent, "GET", "/v1/cluster", &format!("Host: {name}\r\n")).0, 200, "{name}");
    }
    // load balancers and scrapers come by any name, or none
    for path in ["/metrics", "/replica", "/liveness"] {
        assert_eq!(ask(&agent, "GET", path, "Host: any.example\r\n").0, 200, "{path}");
    }
    let (status, ..) = agent.raw("GET /replica HTTP/1.0\r\n\r\n");
    assert_eq!(status, 200);
}

#[test]
fn pages_of_other_members_may_read_and_strangers_may_not() {
    let agent = open();
    let member = "Host: localhost\r\nOrigin: http://127.0.0.1:15101\r\n";
    let (status, head, _) = ask(&agent, "GET", "/v1/cluster", member);
    assert_eq!(status, 200);
    assert!(head.contains("access-control-allow-origin: http://127.0.0.1:15101"), "{head}");
    assert!(head.contains("vary: origin"), "{head}");
    assert!(!head.contains("allow-credentials"), "there are none: {head}");
    let wish = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type\r\n";
    let (status, head, _) = ask(&agent, "OPTIONS", "/v1/pause", &format!("{member}{wish}"));
    assert_eq!(status, 204);
    assert!(head.contains("access-control-allow-headers: authorization, content-type"), "{head}");
    // the token is wanted all the same, and the page can read why it was refused
    let (status, head, _) = ask(&agent, "POST", "/v1/pause", member);
    assert_eq!(status, 401);
    assert!(head.contains("access-control-allow-origin"), "{head}");
    for stranger in ["http://evil.example", "http://127.0.0.1:15102", "https://127.0.0.1:15101", "null"] {
        let (_, head, _) = ask(&agent, "GET", "/v1/cluster", &format!("Host: localhost\r\nOrigin: {stranger}\r\n"));
        assert!(!head.contains("access-control-"), "{stranger}: {head}");
        let (status, head, _) =
            ask(&agent, "OPTIONS", "/v1/pause", &format!("Host: localhost\r\nOrigin: {stranger}\r\n{wish}"));
        assert_eq!(status, 405, "{stranger}");
        assert!(!head.contains("access-control-"), "{stranger}: {head}");
    }
    assert!(agent.fake.asked.lock().expect("no panic").is_empty());
}
