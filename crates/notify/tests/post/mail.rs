//! Mail against an SMTP server of the test's own: what is said on the wire, TLS of both kinds, logins, and that nothing is lost
//! or said twice while the server puts mail off, refuses it, or is not there.

use crate::place::free_port;
use crate::{WAIT_MAX, file, letter, start, target, until};
use dauphin_model::{EmailSpec, MailTls, TargetKind, TargetSpec};
use dauphin_notify::{SendError, send};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One mail as the server got it.
#[derive(Debug, Clone, Default)]
struct Mail {
    from: String,
    to: Vec<String>,
    /// The lines of its data, without the dots that the wire adds.
    data: Vec<String>,
    /// The login's proof, decoded.
    login: Option<String>,
    secure: bool,
}

/// What the server answers to a mail's data, one after the other; the last goes on.
type Script = Arc<Mutex<Vec<&'static str>>>;

struct Server {
    got: Arc<Mutex<Vec<Mail>>>,
    /// Commands that came before TLS, without their arguments.
    clear: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn open(port: u16, script: &[&'static str], tls: Option<(TlsAcceptor, MailTls)>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let (got, clear) = (Arc::<Mutex<Vec<Mail>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (taken, seen, script) = (Arc::clone(&got), Arc::clone(&clear), Arc::new(Mutex::new(script.to_vec())));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (got, clear, script, tls) =
                    (Arc::clone(&taken), Arc::clone(&seen), Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some((acceptor, MailTls::Implicit)) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let _ = talk(stream, true, false, &got, &clear, &script).await;
                        }
                        Some((acceptor, _)) => {
                            let Some(stream) = talk(stream, false, true, &got, &clear, &script).await else { return };
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let _ = talk(stream, true, false, &got, &clear, &script).await;
                        }
                        None => drop(talk(stream, false, false, &got, &clear, &script).await),
                    }
                });
            }
        });
        Self { got, clear, task }
    }

    fn mails(&self) -> Vec<Mail> {
        self.got.lock().expect("no panic").clone()
    }

    /// The numbers of the notices that it took.
    fn ids(&self) -> Vec<String> {
        let id =
            |mail: &Mail| mail.data.iter().find_map(|line| line.strip_prefix("Dauphin-Notice: ")).map(str::to_owned);
        self.mails().iter().filter_map(id).collect()
    }

    fn close(self) {
        self.task.abort();
    }
}

/// One conversation by RFC 5321. The stream, if it is to become TLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    secure: bool,
    offers_tls: bool,
    got: &Mutex<Vec<Mail>>,
    clear: &Mutex<Vec<String>>,
    script: &Script,
) -> Option<S> {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail { secure, ..Mail::default() };
    // after STARTTLS nobody greets again
    if !secure || !got_tls_by_command(clear) {
        stream.write_all(b"220 mail.test ESMTP\r\n").await.ok()?;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end_matches("\r\n").to_owned();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
        if !secure {
            clear.lock().expect("no panic").push(verb.clone());
        }
        let answer = match verb.as_str() {
            "EHLO" if offers_tls => "250-mail.test\r\n250-8BITMIME\r\n250 STARTTLS\r\n".to_owned(),
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
            "STARTTLS" if offers_tls => {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                let proof = line.rsplit(' ').next().unwrap_or_default();
                mail.login = decoded(proof);
                if mail.login.as_deref() == Some("\0dauphin\0s3cret") {
                    "235 welcome\r\n"
                } else {
                    "535 5.7.8 who?\r\n"
                }
                .to_owned()
            }
            "MAIL" => {
                mail.from = line;
                "250 fine\r\n".to_owned()
            }
            "RCPT" => {
                mail.to.push(line);
                "250 fine\r\n".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 speak\r\n").await.ok()?;
                mail.data.clear();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.ok()?;
                    assert!(line.ends_with("\r\n") && line.len() <= 1_000, "a line of the wire: {line:?}");
                    let line = line.trim_end_matches("\r\n");
                    if line == "." {
                        break;
                    }
                    mail.data.push(line.strip_prefix('.').unwrap_or(line).to_owned());
                }
                let mut script = script.lock().expect("no panic");
                let answer = if script.len() > 1 { script.remove(0) } else { script[0] };
                if answer.starts_with("250") {
                    got.lock().expect("no panic").push(mail.clone());
                }
                format!("{answer}\r\n")
            }
            "QUIT" => {
                let _ = stream.write_all(b"221 bye\r\n").await;
                return None;
            }
            "RSET" | "NOOP" => "250 fine\r\n".to_owned(),
            _ => "500 what?\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

fn got_tls_by_command(clear: &Mutex<Vec<String>>) -> bool {
    clear.lock().expect("no panic").iter().any(|verb| verb == "STARTTLS")
}

/// Base64, as the tool at hand reads it.
fn decoded(text: &str) -> Option<String> {
    let mut child = std::process::Command::new("openssl")
        .args(["base64", "-d", "-A"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .ok()?;
    std::io::Write::write_all(&mut child.stdin.take()?, text.as_bytes()).ok()?;
    String::from_utf8(child.wait_with_output().ok()?.stdout).ok()
}

fn mailbox(port: u16, tls: MailTls) -> TargetSpec {
    let email = EmailSpec {
        host: "127.0.0.1".into(),
        port,
        tls,
        from: "dauphin@example.org".into(),
        to: vec!["eva@example.org".into(), "ops@example.org".into()],
        user: None,
        password_file: None,
    };
    TargetSpec { kind: TargetKind::Email, url: None, email: Some(email), ..target("mail", String::new()) }
}

/// A server's certificate for 127.0.0.1, and the file that trusts it.
pub(crate) fn certified(dir: &Path) -> (TlsAcceptor, std::path::PathBuf) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").self_signed(&key);
    let certificate = certificate.expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private.into())
        .expect("they fit");
    (Arc::new(config).into(), file(dir, "ca.pem", &certificate.pem(), 0o644))
}

#[tokio::test]
async fn a_mail_says_who_what_and_what_to_do() {
    let port = free_port();
    let server = Server::open(port, &["250 queued as 17"], None).await;
    let mut said = letter(7);
    // what a wire could take for its own, and what is no ASCII
    said.notice.items[0].text = ".\r\nRCPT TO:<x@y>\n. größer".into();
    let answer = send(&mailbox(port, MailTls::Off), &said).await.expect("taken");
    assert_eq!(answer, "250 queued as 17");
    let mail = server.mails().pop().expect("one");
    assert!(mail.from.contains("<dauphin@example.org>"), "{mail:?}");
    assert_eq!(mail.to.len(), 2, "one conversation for all who read it");
    let whole = mail.data.join("\n");
    for part in [
        "Message-ID: <shop.7@example.org>",
        "Auto-Submitted: auto-generated",
        "To: eva@example.org, ops@example.org",
        "what to do: dauphin explain",
        "since 2026-09-21T14:13:20Z",
        "gr=C3=B6=C3=9Fer",
    ] {
        assert!(whole.contains(part), "{part:?} is not in {whole}");
    }
    let rehearsal = dauphin_notify::Letter::rehearsal("shop", "m1", 1_790_000_000);
    send(&mailbox(port, MailTls::Off), &rehearsal).await.expect("taken");
    assert!(server.mails()[1].data.iter().any(|line| line.starts_with("Subject: shop: a test message of Dauphin")));
    server.close();
}

#[tokio::test]
async fn a_password_goes_through_tls_alone_and_is_in_no_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let (acceptor, ca) = certified(dir.path());
    for tls in [MailTls::Starttls, MailTls::Implicit] {
        let port = free_port();
        let server = Server::open(port, &["250 ok"], Some((acceptor.clone(), tls))).await;
        let mut one = mailbox(port, tls);
        one.ca_file = Some(ca.clone());
        if let Some(email) = &mut one.email {
            email.user = Some("dauphin".into());
            email.password_file = Some(file(dir.path(), "password", "s3cret\n", 0o600));
        }
        send(&one, &letter(1)).await.unwrap_or_else(|error| panic!("{tls:?}: {error}"));
        let mail = server.mails().pop().expect("one");
        assert!(mail.secure && mail.login.is_some(), "{mail:?}");
        let clear = server.clear.lock().expect("no panic").clone();
        let allowed: &[&str] = if tls == MailTls::Starttls { &["EHLO", "STARTTLS"] } else { &[] };
        assert_eq!(clear, allowed, "nothing else is said in the clear");

        // a wrong password, and one that others may read
        if let Some(email) = &mut one.email {
            email.password_file = Some(file(dir.path(), "wrong", "hush-hush\n", 0o600));
        }
        let error = send(&one, &letter(2)).await.expect_err("a wrong password");
        assert!(matches!(error, SendError::Mail { code: 535, .. }) && !error.is_refusal(), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
        if let Some(email) = &mut one.email {
            email.password_file = Some(file(dir.path(), "open", "hush-hush\n", 0o644));
        }
        let error = send(&one, &letter(2)).await.expect_err("others may read it").to_string();
        assert!(error.contains("chmod 600") && !error.contains("hush"), "{error}");

        // a stranger's certificate
        let other = rcgen::KeyPair::generate().expect("a key");
        let other = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name").self_signed(&other);
        one.ca_file = Some(file(dir.path(), "other.pem", &other.expect("a certificate").pem(), 0o644));
        one.email.as_mut().expect("mail").password_file = Some(file(dir.path(), "password", "s3cret\n", 0o600));
        let error = send(&one, &letter(3)).await.expect_err("a stranger").to_string();
        assert!(error.contains("certificate"), "{error}");
        assert_eq!(server.mails().len(), 1, "nothing was told to it");
        server.close();
    }
    // a server, or somebody on the way, that offers no TLS
    let port = free_port();
    let server = Server::open(port, &["250 ok"], None).await;
    let mut one = mailbox(port, MailTls::Starttls);
    one.ca_file = Some(ca);
    send(&one, &letter(1)).await.expect_err("it must be TLS");
    assert!(server.mails().is_empty());
    server.close();
}

#[tokio::test]
async fn mail_that_is_put_off_or_refused_or_finds_nobody_waits_and_nothing_comes_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let targets = [mailbox(port, MailTls::Off)];
    let (post, task) = start(dir.path(), &targets);
    for number in 1..=3 {
        post.take(&targets, &letter(number)).expect("on the disk");
    }
    until("it is not there", || post.standings()["mail"].failing.is_some()).await;
    // greylisting: come again; then all is taken, each once and in order
    let server = Server::open(port, &["451 4.7.1 greylisted, come again", "450 busy", "250 ok"], None).await;
    until("all is delivered", || post.standings()["mail"].sent == 3).await;
    assert_eq!(server.ids(), ["shop/1", "shop/2", "shop/3"]);
    assert!(post.standings()["mail"].failing.is_none());
    server.close();

    // mail that is not wanted is given up after a few times, and counted; the next one goes
    let script = ["554 5.7.1 no", "554 no", "554 no", "554 no", "554 no", "250 ok"];
    let server = opened(port, &script).await;
    post.take(&targets, &letter(4)).expect("on the disk");
    post.take(&targets, &letter(5)).expect("on the disk");
    until("the next one is delivered", || post.standings()["mail"].sent == 4).await;
    assert_eq!((server.ids(), post.standings()["mail"].dropped), (vec!["shop/5".to_owned()], 1));
    server.close();

    // who may not send there yet waits for as long as it takes
    let server = opened(port, &["550 5.1.8 sender unknown"]).await;
    post.take(&targets, &letter(6)).expect("on the disk");
    let says = || post.standings()["mail"].failing.as_ref().is_some_and(|why| why.contains("answered 550"));
    until("it is refused", says).await;
    task.abort();
    server.close();
    drop(post);
    // over a restart of the agent
    let server = opened(port, &["250 ok"]).await;
    let (post, task) = start(dir.path(), &targets);
    until("it is delivered", || post.standings()["mail"].sent == 1).await;
    assert_eq!(server.ids(), ["shop/6"]);
    task.abort();
    server.close();
}

/// A server at a port that another one has just left.
async fn opened(port: u16, script: &[&'static str]) -> Server {
    let deadline = Instant::now() + WAIT_MAX;
    while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < deadline, "port {port} is not free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Server::open(port, script, None).await
}
