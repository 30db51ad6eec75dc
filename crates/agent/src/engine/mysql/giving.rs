//! A copy of a MariaDB member on its way between two agents, over the link that they have anyway. Whoever takes it asks for one
//! part after the other, so that nothing is sent that nobody can take, and a copy that nobody asks for any more is given up.

use super::MysqlHands;
use super::copies::QUIET;
use crate::links::Links;
use crate::server::lock;
use bytes::Bytes;
use dauphin_engine::host::Progress;
use dauphin_model::MemberName;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

/// Most bytes of a part.
const PART_BYTES_MAX: usize = 256 << 10;
/// Parts that wait at either end.
const PARTS_WAIT: usize = 4;

/// Asks for the next part of a copy; the first one begins it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Which copy: whoever takes it chose the number.
    copy: u64,
    /// Which part of it, counted from 0.
    number: u64,
}

/// A copy that is given to somebody.
#[derive(Debug)]
pub(super) struct Giving {
    copy: u64,
    /// The next part to hand out, and where it comes from.
    stream: tokio::sync::Mutex<(u64, DuplexStream)>,
    backup: JoinHandle<()>,
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.backup.abort();
    }
}

impl MysqlHands {
    /// The next part of the copy that `taker` asks for; an empty one is the end.
    pub(crate) async fn give(&self, taker: &MemberName, part: Part) -> Result<Bytes, String> {
        let giving = {
            let mut all = lock(&self.giving);
            match all.get(taker).filter(|giving| giving.copy == part.copy) {
                Some(giving) => Arc::clone(giving),
                None if part.number == 0 => {
                    let giving = Arc::new(self.begin_giving(taker, part.copy));
                    // one that it asked for before is given up with this
                    all.insert(taker.clone(), Arc::clone(&giving));
                    giving
                }
                None => return Err("this copy is not under way any more: begin another".to_owned()),
            }
        };
        let mut stream = giving.stream.lock().await;
        let (next, from) = &mut *stream;
        if *next != part.number {
            return Err(format!("part {} was asked for where {next} is the next one", part.number));
        }
        let mut bytes = vec![0; PART_BYTES_MAX];
        let read = tokio::time::timeout(QUIET, from.read(&mut bytes)).await;
        let length = read.map_err(|_| "nothing more of it comes".to_owned())?.map_err(|e| e.to_string())?;
        *next += 1;
        if length == 0 {
            lock(&self.giving).retain(|_, other| !Arc::ptr_eq(other, &giving));
        }
        bytes.truncate(length);
        Ok(Bytes::from(bytes))
    }

    fn begin_giving(&self, taker: &MemberName, copy: u64) -> Giving {
        let (into, from) = tokio::io::duplex(PARTS_WAIT * PART_BYTES_MAX);
        let (mysql, name) = (Arc::clone(&self.server), taker.clone());
        let backup = tokio::spawn(async move {
            let progress = Progress::default();
            match mysql.give_copy(&name, into, &progress, QUIET).await {
                Ok(bytes) => tracing::info!(%name, bytes, "a copy was given"),
                Err(error) => tracing::warn!(%error, %name, "a copy could not be given"),
            }
        });
        Giving { copy, stream: tokio::sync::Mutex::new((0, from)), backup }
    }
}

/// What that member gives, as a stream. Broken off, it ends without the end of a copy.
pub(super) fn taken_from(links: &Arc<Links>, from: &MemberName) -> DuplexStream {
    let (mut into, taken) = tokio::io::duplex(PARTS_WAIT * PART_BYTES_MAX);
    let (links, from) = (Arc::clone(links), from.clone());
    // told apart from a copy that this member asked for before
    let copy = dauphin_guard::boottime().0;
    tokio::spawn(async move {
        for number in 0.. {
            let body = serde_json::to_vec(&Part { copy, number }).unwrap_or_default();
            match links.ask_part(&from, Bytes::from(body), QUIET).await {
                Ok(part) if part.is_empty() => return,
                Ok(part) => {
                    // whoever took it is gone
                    if into.write_all(&part).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, %from, "the copy breaks off");
                    return;
                }
            }
        }
    });
    taken
}
