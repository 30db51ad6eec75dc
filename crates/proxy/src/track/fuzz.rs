//! What must hold for a session's messages of any kind: the tracker never panics, and makes the same of them however they
//! are cut. The fuzz target in `fuzz/` calls it, and a test with the seeds that are kept there. In no program that ships.

use super::{Known, Loss, Registry, Taken, Track, Upstream, Verdict};
use dauphin_wire::postgres::frame::{BadFrame, HEADER_BYTES};
use std::fmt::Write as _;

/// What is said when a server is lost.
const LOSS: Loss = Loss { code: "40001", message: "lost", detail: None, hint: "again" };

/// One thing that happens to a session.
enum Turn<'a> {
    /// The client sends this.
    Client(&'a [u8]),
    /// The server sends this.
    Server(&'a [u8]),
    /// The session goes on with a server that knows nothing, if it is at rest; else its server is lost.
    Another,
}

/// A script: a byte for the kind of each turn, two for its length, and that many bytes.
fn turns(mut data: &[u8]) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    while let [kind, high, low, rest @ ..] = data {
        let (bytes, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        turns.push(match kind % 4 {
            0 | 2 => Turn::Client(bytes),
            1 => Turn::Server(bytes),
            _ => Turn::Another,
        });
        data = after;
    }
    turns
}

/// Writes a script.
#[cfg(test)]
fn put_turn(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u16::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend_from_slice(bytes);
}

/// How a session comes to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Client(BadFrame),
    Server(BadFrame),
    CancelledWait,
    Fatal(Vec<u8>),
    /// It cannot go on without its server.
    Lost,
    Goodbye,
}

/// A session, driven as the relay drives it.
#[derive(Default)]
struct Play {
    track: Track,
    known: Known,
    registry: Registry,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    end: Option<End>,
}

impl Play {
    fn client(&mut self) {
        while self.end.is_none() && !self.from_client.is_empty() {
            if self.track.is_aborted() {
                match self.track.client_aborted(&self.from_client, &mut self.to_client) {
                    Ok(Some(taken)) => drop(self.from_client.drain(..taken)),
                    Ok(None) => return,
                    Err(bad) => self.end = Some(End::Client(bad)),
                }
            } else {
                let mut instead = Vec::new();
                let mut up = Upstream { known: &mut self.known, registry: &self.registry };
                match self.track.client(&self.from_client, &mut up, &mut instead) {
                    Ok(Taken::More | Taken::Full) => return,
                    Ok(Taken::Pass(len)) => self.to_server.extend(self.from_client.drain(..len)),
                    Ok(Taken::Instead(len)) => {
                        self.to_server.append(&mut instead);
                        self.from_client.drain(..len);
                    }
                    Err(bad) => self.end = Some(End::Client(bad)),
                }
            }
            if self.end.is_none() && self.track.is_terminated() {
                self.end = Some(End::Goodbye);
            }
        }
    }

    fn server(&mut self) {
        while self.end.is_none() && !self.from_server.is_empty() {
            let (len, verdict) = match self.track.server(&self.from_server, &mut self.known) {
                Ok((0, _)) => return,
                Ok(taken) => taken,
                Err(bad) => {
                    self.end = Some(End::Server(bad));
                    return;
                }
            };
            let bytes: Vec<u8> = self.from_server.drain(..len).collect();
            match verdict {
                Verdict::Pass | Verdict::Acknowledges => self.to_client.extend(bytes),
                Verdict::Drop => {}
                Verdict::Parsed => self.to_client.extend(b"1\0\0\0\x04"),
                Verdict::Told => self.to_client.extend(self.track.take_told()),
                Verdict::CancelledWait => self.end = Some(End::CancelledWait),
                Verdict::Fatal => self.end = Some(End::Fatal(bytes.get(HEADER_BYTES..).unwrap_or_default().to_vec())),
            }
        }
    }

    fn another(&mut self) {
        if !self.track.is_at_rest() {
            match self.track.abort(LOSS) {
                Some(told) => self.to_client.extend(told),
                None => self.end = Some(End::Lost),
            }
        } else if !self.track.memory().pins().let_go() {
            self.end = Some(End::Lost);
        }
        self.track.detached();
        self.from_server.clear();
        self.known = Known::default();
    }

    /// What others see of it.
    fn seen(&self) -> String {
        let (track, mut seen) = (&self.track, String::new());
        let memory = track.memory();
        let settings: Vec<_> = memory.settings().map(<[u8]>::escape_ascii).map(|text| text.to_string()).collect();
        let held = (self.from_client.escape_ascii().to_string(), self.from_server.escape_ascii().to_string());
        let _ = writeln!(seen, "to the client {}, ends {:?}", self.to_client.escape_ascii(), self.end);
        if self.end == Some(End::Goodbye) {
            // What follows a goodbye goes nowhere, its own rest included.
            return seen;
        }
        let _ = writeln!(seen, "to the server {}, holds {held:?}", self.to_server.escape_ascii());
        if self.end.is_none() {
            let states = (track.is_at_rest(), track.is_in_flight(), track.is_full(), track.is_aborted());
            let _ = writeln!(seen, "{states:?} {:?} {}", track.status, track.may_have_committed());
            let _ = writeln!(seen, "{} {settings:?} {}", memory.pins().text(), memory.names.len());
            let _ = writeln!(seen, "{:?}", memory.reported().iter().collect::<Vec<_>>());
        }
        seen
    }
}

fn play(turns: &[Turn<'_>], cut: fn(usize) -> usize) -> String {
    let mut play = Play { track: Track::new(false), ..Play::default() };
    for turn in turns {
        let (bytes, client) = match turn {
            Turn::Client(bytes) => (bytes, true),
            Turn::Server(bytes) => (bytes, false),
            Turn::Another => {
                play.another();
                play.client();
                continue;
            }
        };
        let (mut rest, mut number) = (*bytes, 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut(number).clamp(1, rest.len()));
            (rest, number) = (after, number + 1);
            if client {
                play.from_client.extend_from_slice(piece);
                play.client();
            } else {
                play.from_server.extend_from_slice(piece);
                play.server();
            }
        }
        // What had to wait for the server.
        play.client();
    }
    play.seen()
}

/// Plays a script as it is, and cut in several ways.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "the fuzz targets call it"))]
pub fn track(data: &[u8]) {
    let turns = turns(data);
    let whole = play(&turns, |_| usize::MAX);
    let cuts: [fn(usize) -> usize; 3] = [|_| 1, |_| 6, |number| 1 + (number.wrapping_mul(2_654_435_761) >> 7) % 13];
    for cut in cuts {
        assert_eq!(play(&turns, cut), whole, "cut otherwise (left)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauphin_wire::postgres::message::put;
    use std::path::Path;

    #[test]
    fn what_was_found_by_fuzzing_stays_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/track");
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).expect("the seeds are kept").flatten() {
            track(&std::fs::read(entry.path()).expect("readable"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", folder.display());
    }

    /// The question before a COMMIT failed, and the client was told so in the COMMIT's place: all of what follows is not for
    /// it, in however many pieces it comes.
    #[test]
    fn what_is_not_for_the_client_is_dropped_to_its_end() {
        let mut script = Vec::new();
        let mut say = |kind, words: &[(u8, &[u8])]| {
            let mut bytes = Vec::new();
            words.iter().for_each(|(tag, body)| put(&mut bytes, *tag, body));
            put_turn(&mut script, kind, &bytes);
        };
        say(0, &[(b'Q', b"begin\0")]);
        say(1, &[(b'C', b"BEGIN\0"), (b'Z', b"T")]);
        say(0, &[(b'Q', b"commit\0")]);
        say(1, &[(b'E', b"SERROR\0VERROR\0C57014\0Mcancelled\0\0"), (b'Z', b"E")]);
        say(
            1,
            &[
                (b'T', b"\0\0 of a row that nobody asked for"),
                (b'D', b"\0\x01\0\0\0\x05a row"),
                (b'C', b"ROLLBACK\0"),
                (b'Z', b"I"),
            ],
        );
        track(&script);
    }
}
