//! One e-mail by SMTP: a text for people, to all its readers in one conversation. The connection is made for it and ends with
//! it; a server that puts it off is asked again by the outbox, like any place.

use crate::error::SendError;
use crate::letter::{Letter, line};
use crate::{secret, tls};
use dauphin_alerts::Change;
use dauphin_model::{EmailSpec, MailTls};
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long one delivery may take, from the name's look-up to the server's last word.
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);
/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 200;
/// Most alerts that are told in one mail; the rest is counted.
const ALERTS_MAX: usize = 50;
/// What of a server's answer is shown, in characters.
const ANSWER_CHARS_SHOWN: usize = 120;

/// Sends it; what the server said when it took it.
pub(crate) async fn send(email: &EmailSpec, ca_file: Option<&Path>, letter: &Letter) -> Result<String, SendError> {
    let work = deliver(email, ca_file, letter);
    tokio::time::timeout(DELIVERED_WITHIN, work).await.unwrap_or(Err(SendError::Slow(DELIVERED_WITHIN.as_secs())))
}

async fn deliver(email: &EmailSpec, ca_file: Option<&Path>, letter: &Letter) -> Result<String, SendError> {
    let (envelope, message) = (envelope(email)?, message(email, letter)?);
    let security = match email.tls {
        MailTls::Off => Tls::None,
        // never in the clear because somebody on the way took the offer out
        MailTls::Starttls => Tls::Required(parameters(&email.host, ca_file).await?),
        MailTls::Implicit => Tls::Wrapper(parameters(&email.host, ca_file).await?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(email.host.as_str())
        .port(email.port)
        .tls(security)
        .timeout(Some(DELIVERED_WITHIN))
        .hello_name(own_name());
    if let (Some(user), Some(file)) = (&email.user, &email.password_file) {
        let path = file.clone();
        let interrupted = |_| SendError::File { file: file.clone(), what: "it was not read to its end".to_owned() };
        let password = tokio::task::spawn_blocking(move || secret::read(&path)).await.map_err(interrupted)??;
        let mechanisms = vec![Mechanism::Plain, Mechanism::Login];
        builder = builder.credentials(Credentials::new(user.clone(), password)).authentication(mechanisms);
    }
    let answer = builder.build().send_raw(&envelope, &message).await.map_err(refused)?;
    let said = answer.message().collect::<Vec<_>>().join(" ");
    Ok(format!("{} {}", answer.code(), shown(&said)).trim().to_owned())
}

/// What the conversation failed on. A password is in none of it: the library names the server's words alone.
fn refused(error: lettre::transport::smtp::Error) -> SendError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = deeper.source();
    }
    let text = shown(&text);
    match error.status() {
        Some(code) => SendError::Mail { code: u16::from(code), text },
        None if error.is_timeout() => SendError::Slow(DELIVERED_WITHIN.as_secs()),
        None if error.is_tls() => SendError::Tls(text),
        None => SendError::Unreachable(text),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS_SHOWN).collect()
}

/// How we call ourselves to the server: servers mistrust who has no name.
fn own_name() -> ClientId {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if fits { ClientId::Domain(name) } else { ClientId::default() }
}

async fn parameters(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, SendError> {
    let ca_file = ca_file.map(Path::to_owned);
    let interrupted = |_| SendError::Tls("the CAs were not read to their end".to_owned());
    let trusted =
        tokio::task::spawn_blocking(move || tls::trusted(ca_file.as_deref())).await.map_err(interrupted)??;
    let failed = |e: lettre::transport::smtp::Error| SendError::Tls(e.to_string());
    let mut builder = TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::None);
    for authority in trusted {
        builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec()).map_err(failed)?);
    }
    builder.build_rustls().map_err(failed)
}

fn address(text: &str) -> Result<Address, SendError> {
    text.parse().map_err(|error| SendError::Unreachable(format!("the address {text}: {error}")))
}

fn envelope(email: &EmailSpec) -> Result<Envelope, SendError> {
    let to: Result<Vec<Address>, SendError> = email.to.iter().map(|to| address(to)).collect();
    let nobody = |error: lettre::error::Error| SendError::Unreachable(format!("the addresses: {error}"));
    Envelope::new(Some(address(&email.from)?), to?).map_err(nobody)
}

/// The mail. The same notice, sent twice, has the same number: readers' programs show it once.
fn message(email: &EmailSpec, letter: &Letter) -> Result<Vec<u8>, SendError> {
    let id = letter.id().replace('/', ".");
    let domain = email.from.rsplit('@').next().unwrap_or("dauphin");
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(letter.notice.at_unix);
    let subject: String = letter.title().chars().take(SUBJECT_CHARS_MAX).collect();
    let mut builder = Message::builder()
        .from(Mailbox::new(Some("Dauphin".to_owned()), address(&email.from)?))
        .message_id(Some(format!("<{id}@{domain}>")))
        .date(at)
        .subject(subject)
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("Dauphin-Notice", &letter.id()));
    for to in &email.to {
        builder = builder.to(Mailbox::new(None, address(to)?));
    }
    let part = SinglePart::builder()
        .header(ContentType::TEXT_PLAIN)
        // whatever the text holds, lines stay short and bytes are ASCII
        .header(ContentTransferEncoding::QuotedPrintable)
        .body(text(letter));
    let whole = builder.singlepart(part);
    Ok(whole.map_err(|error| SendError::Unreachable(format!("the mail cannot be made: {error}")))?.formatted())
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// What people read.
fn text(letter: &Letter) -> String {
    if letter.test {
        return format!("{}\n", letter.title());
    }
    let mut lines = vec![format!("Cluster {}, as {} tells:", letter.cluster, letter.reporter), String::new()];
    for item in letter.notice.items.iter().take(ALERTS_MAX) {
        lines.push(format!("- {}", line(item)));
        if item.change != Change::Cleared {
            lines.push(format!("  what to do: {}", item.next));
        }
        lines.push(format!("  alert {}, since {}", item.id, crate::body::moment(item.raised_unix)));
    }
    let more = letter.notice.items.len().saturating_sub(ALERTS_MAX);
    if more > 0 {
        lines.push(format!("and {more} more: dauphin alerts"));
    }
    lines.push(String::new());
    lines.push("All that is raised: dauphin alerts. In hand: dauphin alerts ack NUMBER.".to_owned());
    lines.push(String::new());
    lines.join("\n")
}
