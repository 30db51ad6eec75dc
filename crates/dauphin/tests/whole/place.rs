//! A place that notices are sent to: an HTTP server of the test's own, which is down until it is told to come up.

use crate::stage::{LOOK_EVERY, WAIT_MAX};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub(crate) struct Place {
    pub(crate) port: u16,
    /// Whole documents, in the order in which they came.
    got: Arc<Mutex<Vec<Value>>>,
}

impl Place {
    /// A port that nobody listens on.
    pub(crate) fn down() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self { port: listener.local_addr().expect("an address").port(), got: Arc::default() }
    }

    /// Takes everything from now on, until the test's process ends.
    pub(crate) fn comes_up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("the port is free still");
        let got = Arc::clone(&self.got);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(document) = take(&stream) {
                    got.lock().expect("no panic").push(document);
                }
            }
        });
    }

    fn items(&self) -> Vec<(String, String, String)> {
        let word = |v: &Value| v.as_str().unwrap_or("-").to_owned();
        let got = self.got.lock().expect("no panic");
        let alerts = got.iter().flat_map(|d| d["alerts"].as_array().cloned().unwrap_or_default());
        alerts.map(|a| (word(&a["kind"]), word(&a["member"]), word(&a["change"]))).collect()
    }

    /// How much was told so far.
    pub(crate) fn marks(&self) -> usize {
        self.items().len()
    }

    #[track_caller]
    pub(crate) fn until_told(&self, wanted: &[(&str, &str, &str)]) {
        self.until_told_after(0, wanted);
    }

    /// Waits until all of these, kind, member and change, were told after that mark.
    #[track_caller]
    pub(crate) fn until_told_after(&self, mark: usize, wanted: &[(&str, &str, &str)]) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let all = self.items();
            let there = |w: &&(&str, &str, &str)| {
                let told = all.iter().skip(mark);
                told.map(|(kind, member, change)| (kind.as_str(), member.as_str(), change.as_str())).any(|t| t == **w)
            };
            if wanted.iter().all(|w| there(&w)) {
                return;
            }
            assert!(Instant::now() < deadline, "{wanted:?} was not told after {mark}: {all:#?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// No notice came twice, and no alert was raised or cleared twice.
    #[track_caller]
    pub(crate) fn nothing_came_twice(&self) {
        let got = self.got.lock().expect("no panic");
        let mut seen = BTreeSet::new();
        for document in got.iter() {
            assert!(seen.insert(document["id"].to_string()), "twice: {document}");
            for alert in document["alerts"].as_array().expect("a list") {
                let change = alert["change"].as_str().expect("a word");
                if ["raised", "cleared"].contains(&change) {
                    assert!(seen.insert(format!("{} {change}", alert["id"])), "twice {change}: {alert}");
                }
            }
        }
    }
}

/// Reads one request and says that it was taken.
fn take(mut stream: &TcpStream) -> Option<Value> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    serde_json::from_slice(&body).ok()
}
