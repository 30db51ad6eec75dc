//! A stand-in for an agent: every path has a canned answer; what was asked is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

pub(crate) struct Agent {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

/// Starts one. Answers: path, status, body. It ends with the test program.
pub(crate) fn agent(answers: Vec<(&'static str, u16, String)>) -> Agent {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|n| n > 0) {}
            let header = |name: &str| head.lines().find_map(|l| l.to_lowercase().strip_prefix(name).map(str::to_owned));
            let length: usize = header("content-length: ").and_then(|l| l.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let token = header("authorization: bearer ").unwrap_or_default();
            noted.lock().expect("no panic").push(format!("{path} {token} {}", String::from_utf8_lossy(&body)));
            let (status, text) = answers
                .iter()
                .find(|(known, _, _)| *known == path)
                .map_or((404, "{}"), |(_, status, text)| (*status, text.as_str()));
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            let _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    Agent { port, asked }
}
