//! Chromium, driven over its debugging pipe: no driver, no port. It does what a hand does: moves a pointer, presses keys,
//! looks. The console's test uses it; it knows no cluster.

// what the page complained of is shown when a test fails
#![allow(clippy::print_stderr)]

use crate::stage::{LOOK_EVERY, WAIT_MAX};
use base64::Engine;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

/// What Debian and others call the program.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Where it is, if it is there.
pub(crate) fn program() -> Option<&'static str> {
    let there = |name: &&str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
    };
    NAMES.into_iter().find(there)
}

/// One page in a browser of its own.
pub(crate) struct Page {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the browser told without being asked.
    pub(crate) events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Page {
    pub(crate) fn open(program: &str, width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // 3 and 4 are the pipe's ends; the browser's own chatter goes nowhere
        let script = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", program])
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-gpu",
                "--disable-extensions",
            ])
            // its sandbox refuses root, and the page under test is ours
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync"])
            .args([
                "--disable-component-update",
                "--no-proxy-server",
                "--force-color-profile=srgb",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--window-size={width},{height}"))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let to = child.stdin.take().expect("piped");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let (said, from) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while out.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
                bytes.pop();
                if said.send(serde_json::from_slice(&bytes).unwrap_or_default()).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        let mut page = Self { child, to, from, session: None, last: 0, events: Vec::new(), _profile: profile };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = page.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.size(width, height, false);
        page
    }

    /// How large the page is shown, and whether fingers touch it.
    pub(crate) fn size(&mut self, width: u32, height: u32, phone: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What the system prefers, `light` or `dark`.
    pub(crate) fn prefers(&mut self, scheme: &str) {
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Asks the browser for something; panics when it refuses.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser lives");
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            match self.from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(mut said) if said["id"] == id => {
                    assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                    return said["result"].take();
                }
                Ok(said) if said["id"].is_null() => self.events.push(said),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer within {WAIT_MAX:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser is gone"),
            }
        }
    }

    /// Loads this address.
    #[track_caller]
    pub(crate) fn go(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({"url": url}));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.until("loaded", "document.readyState === 'complete'");
    }

    /// What this expression is in the page.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until this expression is true.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + WAIT_MAX;
        // a page that is just being left has nothing to say
        while self.eval(&format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"))
            != true
        {
            if Instant::now() > deadline {
                let seen = self.eval("document.body.innerText.slice(0, 3000)");
                panic!("{what} did not happen: {expression}\n{}", seen.as_str().unwrap_or_default());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until what `selector` shows holds these words.
    #[track_caller]
    pub(crate) fn until_shown(&mut self, selector: &str, words: &str) {
        let expression = format!(
            "[...document.querySelectorAll({})].some((e) => e.innerText.replace(/\\s+/g, ' ').includes({}))",
            json!(selector),
            json!(words)
        );
        self.until(&format!("{words:?} in {selector}"), &expression);
    }

    /// The middle of an element, brought into view; nothing else may lie on it.
    #[track_caller]
    fn middle(&mut self, selector: &str) -> (f64, f64) {
        self.until(&format!("{selector} is there"), &format!("document.querySelector({})", json!(selector)));
        let script = format!(
            "(() => {{ const e = document.querySelector({0}); e.scrollIntoView({{block: 'center', behavior: 'instant'}});
             const b = e.getBoundingClientRect(), x = b.x + b.width / 2, y = b.y + b.height / 2;
             const top = document.elementFromPoint(x, y);
             return [x, y, e.contains(top) || top?.contains(e), top?.outerHTML.slice(0, 200)]; }})()",
            json!(selector)
        );
        let at = self.eval(&script);
        assert_eq!(at[2], true, "{selector} is covered by {}", at[3]);
        (at[0].as_f64().expect("a number"), at[1].as_f64().expect("a number"))
    }

    fn mouse(&mut self, kind: &str, (x, y): (f64, f64)) {
        let pressed = i32::from(kind != "mouseReleased");
        let event = json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": pressed, "clickCount": 1});
        self.call("Input.dispatchMouseEvent", event);
    }

    /// Presses the pointer's button on an element.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        let at = self.middle(selector);
        self.mouse("mousePressed", at);
        self.mouse("mouseReleased", at);
    }

    /// Takes one element, carries it over another one and lets go there.
    #[track_caller]
    pub(crate) fn drag(&mut self, from: &str, to: &str) {
        let start = self.middle(from);
        let place = format!(
            "(() => {{ const b = document.querySelector({}).getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()",
            json!(to)
        );
        let place = self.eval(&place);
        let end = (place[0].as_f64().expect("a number"), place[1].as_f64().expect("a number"));
        self.mouse("mousePressed", start);
        for step in 1..=8 {
            let part = f64::from(step) / 8.0;
            self.mouse("mouseMoved", (start.0 + (end.0 - start.0) * part, start.1 + (end.1 - start.1) * part));
        }
        self.mouse("mouseReleased", end);
    }

    /// Presses a key.
    pub(crate) fn key(&mut self, name: &str, code: u32) {
        let text = if name == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types into what has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// A picture of what is in view, or of the whole page's upper part.
    #[track_caller]
    pub(crate) fn picture(&mut self, path: &Path) -> usize {
        let taken = self.call("Page.captureScreenshot", json!({"format": "png", "optimizeForSpeed": false}));
        let text = taken["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
        std::fs::write(path, &bytes).expect("written");
        bytes.len()
    }

    /// What the page or its policy complained of, connections that broke aside.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let bad = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => {
                let entry = &event["params"]["entry"];
                entry["level"] == "error" && entry["source"] != "network"
            }
            _ => false,
        };
        self.events.iter().filter(bad).map(|event| event["params"].to_string()).collect()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the page complained: {:#?}", self.complaints());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
