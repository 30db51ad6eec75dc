//! Looks at what a server sends to a session, and lets through what may pass: no acknowledgement of a server whose term has
//! ended, nothing that answers what the client never sent, and of a replica nothing that the leader may have to say instead.
//! Only `relay` calls it.

use super::reading::Reading;
use super::relay::Event;
use crate::hub::Hub;
use crate::pool::link::Right;
use crate::track::{Known, Track, Verdict};
use dauphin_wire::postgres::frame::HEADER_BYTES;

/// What a client takes for the answer to its Parse.
const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

/// Tag of the message with which a server is ready for more.
const READY: u8 = b'Z';

/// How far it came, and why not further.
pub(super) struct ServerScan {
    pub(super) rest: usize,
    pub(super) event: Option<Event>,
}

/// What of this the client may be shown by now.
fn sure<'a>(reading: &mut Option<&mut Reading>, bytes: &'a [u8]) -> &'a [u8] {
    match reading {
        Some(reading) => reading.keep(bytes),
        None => bytes,
    }
}

/// Looks at what the server sent and hands what may pass to `out`, in as few pieces as possible.
pub(super) fn scan_server(
    hub: &Hub,
    (right, strict): (&Right, bool),
    (track, mut reading): (&mut Track, Option<&mut Reading>),
    known: &mut Known,
    data: &[u8],
    out: &mut impl FnMut(&[u8]) -> bool,
) -> ServerScan {
    let (mut from, mut at, mut passed) = (0, 0, true);
    let event = loop {
        if at >= data.len() {
            break None;
        }
        // Before anything is noted: what an older term acknowledges has not happened.
        let (begins, tag) = (track.is_between_server_messages(), data[at]);
        if begins && matches!(tag, b'C' | b'Z') && matches!(right, Right::Leader(term) if hub.term() > *term) {
            break Some(Event::Superseded);
        }
        let (len, verdict) = match track.server(&data[at..], known) {
            Ok((0, _)) => break None,
            Ok(taken) => taken,
            Err(bad) => break Some(Event::BadServer(bad)),
        };
        if let Some(reading) = reading.as_mut().filter(|_| begins)
            && let Some(staged) = reading.judge(tag, &data[(at + HEADER_BYTES).min(at + len)..at + len])
        {
            hub.stats.reads.add();
            passed &= out(&staged);
        }
        if strict && tag == READY && track.is_idle() && matches!(verdict, Verdict::Pass | Verdict::Acknowledges) {
            // The client takes nothing of it for true before it has this.
            passed &= out(&data[from..at]);
            at += len;
            from = at;
            break Some(Event::Unconfirmed);
        }
        match verdict {
            Verdict::Pass | Verdict::Acknowledges => at += len,
            Verdict::Drop | Verdict::Parsed | Verdict::Told => {
                passed &= out(sure(&mut reading, &data[from..at]));
                match verdict {
                    Verdict::Parsed => passed &= out(sure(&mut reading, PARSE_COMPLETE)),
                    Verdict::Told => passed &= out(sure(&mut reading, &track.take_told())),
                    _ => {}
                }
                at += len;
                from = at;
            }
            Verdict::CancelledWait => break Some(Event::CancelledWait),
            Verdict::Fatal => {
                break Some(Event::ServerLost(Some(data[at + HEADER_BYTES..at + len].to_vec())));
            }
        }
    };
    passed &= out(sure(&mut reading, &data[from..at]));
    let event = if passed { event } else { Some(Event::ClientGone) };
    ServerScan { rest: at, event }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rules;
    use crate::dial::Dial;
    use crate::marks::Marks;
    use crate::table::View;
    use dauphin_model::Term;
    use dauphin_wire::postgres::message::{put, put_texts};

    #[test]
    fn nothing_of_an_older_term_is_acknowledged() {
        let hub = Hub::new(Rules::default(), Dial::plain(), Marks::new("postgres", String::new()));
        let right = Right::Leader(Term(1));
        let mut data = Vec::new();
        put(&mut data, b'D', b"row");
        let row = data.len();
        put_texts(&mut data, b'C', &["COMMIT"]);
        put(&mut data, b'Z', b"I");
        let passed = |hub: &Hub| {
            let mut passed = Vec::new();
            let mut track = Track::new(false);
            let scan =
                scan_server(hub, (&right, false), (&mut track, None), &mut Known::default(), &data, &mut |bytes| {
                    passed.extend_from_slice(bytes);
                    true
                });
            (passed.len(), scan.event)
        };
        hub.publish(View { term: Term(1), open: true, ..View::default() });
        assert!(matches!(passed(&hub), (len, None) if len == data.len()));
        // Elected, not even open: the old leader's word counts no more.
        hub.publish(View { term: Term(2), ..View::default() });
        assert!(matches!(passed(&hub), (len, Some(Event::Superseded)) if len == row));
    }
}
