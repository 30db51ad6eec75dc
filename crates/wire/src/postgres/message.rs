//! Messages that are read or written whole: login, errors and notices, status, prepared statements.
//! The proxy builds its own answers with it and reads the few messages that matter for safety.

use super::startup;
use std::ffi::CStr;

/// SQLSTATE of a lost connection: nothing in flight can have committed.
pub const CONNECTION_FAILURE: &str = "08006";
/// SQLSTATE of an outcome that nobody can tell: the statement may have committed, or not, or be lost later.
pub const OUTCOME_UNKNOWN: &str = "08007";
/// SQLSTATE of a transaction that did not happen and may be repeated.
pub const NOT_COMMITTED: &str = "40001";
/// SQLSTATE of a statement in a transaction that has failed.
pub const IN_FAILED_TRANSACTION: &str = "25P02";
/// SQLSTATE of a server, or a leader, that is not there yet.
pub const CANNOT_CONNECT_NOW: &str = "57P03";
/// SQLSTATE of a wrong password or an unknown user.
pub const INVALID_PASSWORD: &str = "28P01";
/// SQLSTATE of bytes that break the protocol.
pub const PROTOCOL_VIOLATION: &str = "08P01";
/// SQLSTATE of too many clients.
pub const TOO_MANY_CONNECTIONS: &str = "53300";

/// Transaction status that a server reports when it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Outside a transaction.
    #[default]
    Idle,
    /// In a transaction.
    InTransaction,
    /// In a failed transaction.
    Failed,
}

impl Status {
    /// From the body of ReadyForQuery.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        match body {
            b"I" => Some(Self::Idle),
            b"T" => Some(Self::InTransaction),
            b"E" => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Appends one message.
pub fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

/// Appends a message whose body this writes.
pub fn put_parts(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a message whose body is these texts, each ended by a zero byte.
pub fn put_texts(out: &mut Vec<u8>, tag: u8, texts: &[&str]) {
    let mut body = Vec::new();
    for text in texts {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    put(out, tag, &body);
}

/// Appends a simple Query.
pub fn put_query(out: &mut Vec<u8>, sql: &str) {
    put_texts(out, b'Q', &[sql]);
}

/// Appends AuthenticationOk.
pub fn put_authentication_ok(out: &mut Vec<u8>) {
    put(out, b'R', &0_u32.to_be_bytes());
}

/// Appends an authentication message of a SASL exchange: `code` 10 names mechanisms, 11 continues, 12 ends.
pub fn put_sasl(out: &mut Vec<u8>, code: u32, data: &[u8]) {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(data);
    put(out, b'R', &body);
}

/// Appends the authentication message that offers these mechanisms, the best first.
pub fn put_sasl_mechanisms<'a>(out: &mut Vec<u8>, mechanisms: impl Iterator<Item = &'a str>) {
    let mut names: Vec<u8> = mechanisms.flat_map(|name| name.bytes().chain([0])).collect();
    names.push(0);
    put_sasl(out, 10, &names);
}

/// Appends the answer to a client that asked for another minor version than is spoken to it, or for protocol options.
pub fn put_negotiate(out: &mut Vec<u8>, minor: u16, options: &[String]) {
    let mut body = startup::version(minor).to_be_bytes().to_vec();
    body.extend_from_slice(&u32::try_from(options.len()).unwrap_or(0).to_be_bytes());
    for option in options {
        body.extend_from_slice(option.as_bytes());
        body.push(0);
    }
    put(out, b'v', &body);
}

/// Appends an error that ends the connection.
pub fn put_fatal(out: &mut Vec<u8>, code: &str, message: &str, detail: Option<&str>, hint: Option<&str>) {
    put_report(out, "FATAL", code, message, detail, hint);
}

/// Appends an error that ends a statement.
pub fn put_error(out: &mut Vec<u8>, code: &str, message: &str, detail: Option<&str>, hint: Option<&str>) {
    put_report(out, "ERROR", code, message, detail, hint);
}

/// Appends a warning, which ends nothing.
pub fn put_warning(out: &mut Vec<u8>, message: &str, hint: &str) {
    put_report(out, "WARNING", "01000", message, None, Some(hint));
}

/// Appends a notice, which is for people only.
pub fn put_notice(out: &mut Vec<u8>, message: &str, detail: &str) {
    put_report(out, "NOTICE", "00000", message, Some(detail), None);
}

fn put_report(out: &mut Vec<u8>, severity: &str, code: &str, message: &str, detail: Option<&str>, hint: Option<&str>) {
    let mut body = Vec::new();
    let fields = [
        (b'S', Some(severity)),
        (b'V', Some(severity)),
        (b'C', Some(code)),
        (b'M', Some(message)),
        (b'D', detail),
        (b'H', hint),
    ];
    for (field, text) in fields {
        if let Some(text) = text {
            body.push(field);
            body.extend(text.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
    }
    body.push(0);
    put(out, if matches!(severity, "WARNING" | "NOTICE") { b'N' } else { b'E' }, &body);
}

/// The fields of an error or notice that decide something. Missing ones are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report<'a> {
    /// Severity, never translated.
    pub severity: &'a [u8],
    /// SQLSTATE.
    pub code: &'a [u8],
    /// The message, in the server's language.
    pub message: &'a [u8],
    /// Name of the server's function that reports.
    pub routine: &'a [u8],
}

impl<'a> Report<'a> {
    /// From the body of ErrorResponse or NoticeResponse. Unknown fields are skipped; a broken body gives what could
    /// be read.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Self {
        let mut report = Self::default();
        let mut rest = body;
        while let Some((field, after)) = rest.split_first() {
            let Some(end) = after.iter().position(|byte| *byte == 0) else { break };
            let text = &after[..end];
            rest = &after[end + 1..];
            match field {
                0 => break,
                b'V' => report.severity = text,
                b'S' if report.severity.is_empty() => report.severity = text,
                b'C' => report.code = text,
                b'M' => report.message = text,
                b'R' => report.routine = text,
                _ => {}
            }
        }
        report
    }

    /// Whether the connection ends with it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }

    /// Whether the server gave up waiting for its replicas: the transaction is committed there and may be lost later.
    /// The routine's name is not translated, the message may be.
    #[must_use]
    pub fn is_cancelled_wait(&self) -> bool {
        let text = b"synchronous replication";
        self.routine == b"SyncRepWaitForLSN" || self.message.windows(text.len()).any(|window| window == text)
    }

    /// The message for people.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.message).into_owned()
    }

    /// The SQLSTATE for people; `XX000` when the server sent none.
    #[must_use]
    pub fn sqlstate(&self) -> String {
        if self.code.is_empty() { "XX000".to_owned() } else { String::from_utf8_lossy(self.code).into_owned() }
    }
}

/// The first text of a body and what follows its zero byte.
#[must_use]
pub fn split_text(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = CStr::from_bytes_until_nul(body).ok()?.to_bytes();
    Some((text, &body[text.len() + 1..]))
}

/// Name and value of a ParameterStatus.
#[must_use]
pub fn parameter_status(body: &[u8]) -> Option<(&str, &str)> {
    let (name, rest) = split_text(body)?;
    let (value, _) = split_text(rest)?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

/// The tag of a CommandComplete.
#[must_use]
pub fn command_tag(body: &[u8]) -> &[u8] {
    split_text(body).map_or(body, |(tag, _)| tag)
}

/// The first column of a DataRow, in text format; `None` for NULL.
#[must_use]
pub fn first_column(body: &[u8]) -> Option<&str> {
    let (head, rest) = body.split_at_checked(6)?;
    let length = i32::from_be_bytes(head[2..].try_into().ok()?);
    std::str::from_utf8(rest.get(..usize::try_from(length).ok()?)?).ok()
}

/// What a server asks for at login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Done.
    Ok,
    /// SASL; the names of mechanisms, each ended by a zero byte.
    Sasl(&'a [u8]),
    /// SASL, the server's first message.
    SaslContinue(&'a [u8]),
    /// SASL, the server's last message.
    SaslFinal(&'a [u8]),
    /// Something that is not supported (clear-text password, MD5, GSS…), by its code.
    Other(u32),
}

impl<'a> Authentication<'a> {
    /// From the body of an authentication message.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (code, data) = body.split_at_checked(4)?;
        Some(match u32::from_be_bytes(code.try_into().ok()?) {
            0 => Self::Ok,
            10 => Self::Sasl(data),
            11 => Self::SaslContinue(data),
            12 => Self::SaslFinal(data),
            other => Self::Other(other),
        })
    }

    /// Whether a list of mechanisms names this one.
    #[must_use]
    pub fn offers(mechanisms: &[u8], name: &str) -> bool {
        mechanisms.split(|byte| *byte == 0).any(|mechanism| mechanism == name.as_bytes())
    }
}

/// The client's first SASL message: mechanism and data.
#[must_use]
pub fn sasl_initial(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mechanism, rest) = split_text(body)?;
    let (length, data) = rest.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    (length == data.len()).then_some((mechanism, data))
}

/// Appends the client's first SASL message.
pub fn put_sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    let mut body = mechanism.as_bytes().to_vec();
    body.push(0);
    body.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(data);
    put(out, b'p', &body);
}

/// Name and text of a Parse.
#[must_use]
pub fn parse_statement(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = split_text(body)?;
    let (sql, _) = split_text(rest)?;
    Some((name, sql))
}

/// The beginning of a Bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Everything else.
    pub rest: &'a [u8],
}

impl<'a> Bind<'a> {
    /// From a body, or from as much of it as holds both names.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Self> {
        let (portal, rest) = split_text(body)?;
        let (statement, rest) = split_text(rest)?;
        Some(Self { portal, statement, rest })
    }
}

/// Kind (`S` a statement, `P` a portal) and name of a Close or Describe.
#[must_use]
pub fn close_target(body: &[u8]) -> Option<(u8, &[u8])> {
    let (kind, rest) = body.split_first()?;
    let (name, _) = split_text(rest)?;
    Some((*kind, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_back() {
        let mut out = Vec::new();
        put_fatal(&mut out, OUTCOME_UNKNOWN, "who knows", Some("detail"), None);
        let report = Report::parse(&out[5..]);
        assert_eq!((report.code, report.message, report.is_fatal()), (&b"08007"[..], &b"who knows"[..], true));
        assert_eq!(out.len(), u32::from_be_bytes(out[1..5].try_into().expect("four")) as usize + 1);
    }

    #[test]
    fn a_cancelled_wait_is_seen_in_any_language() {
        let spanish = b"SADVERTENCIA\0VWARNING\0C01000\0Mcancelando la espera\0RSyncRepWaitForLSN\0\0";
        assert!(Report::parse(spanish).is_cancelled_wait());
        let english = b"VWARNING\0C01000\0Mcanceling wait for synchronous replication due to user request\0\0";
        assert!(Report::parse(english).is_cancelled_wait());
        assert!(!Report::parse(b"VWARNING\0C01000\0Mthere is no transaction in progress\0\0").is_cancelled_wait());
    }

    #[test]
    fn broken_bodies_give_nothing_and_do_not_panic() {
        assert_eq!(Report::parse(b"Mno end"), Report::default());
        assert_eq!(parameter_status(b"name\0value"), None);
        assert_eq!((first_column(b"\0\x01\0\0\0\x02ab"), first_column(b"\0\x01\xff\xff\xff\xff")), (Some("ab"), None));
        assert_eq!(first_column(b"\0\x01\0\0\0\x09ab"), None);
        assert_eq!(sasl_initial(b"SCRAM-SHA-256\0\xff\xff\xff\xffx"), None);
        assert_eq!(Authentication::parse(&[0, 0]), None);
        assert_eq!(close_target(b""), None);
        assert_eq!(Status::parse(b"X"), None);
    }
}
