//! Two clients insert keys, a third reads some at a time: on the leader any two reads must agree on an order of the inserts.

use super::{Into, Line, Shared, WITHIN, note, numbers};
use std::time::Duration;

/// Keys of one group, which a read looks at together.
const GROUP: u64 = 4;
const THINK: Duration = Duration::from_millis(40);

/// The first two write, the others read.
pub(super) async fn client(shared: Shared, number: u32, into: Into) {
    let writes = number < 2;
    let (mut line, dialect) = (Line::new(&shared), shared.dialect());
    let mut key = u64::from(number);
    while let Some(session) = line.session().await {
        let done = if writes {
            key += 2;
            session.rows(&dialect.insert_key(key), WITHIN).await.map(drop)
        } else {
            // the newest group that anybody may have begun
            let sql = "SELECT max(k) FROM chaos_fork";
            match session.rows(sql, WITHIN).await {
                Err(broken) => Err(broken),
                Ok(rows) => {
                    let group = numbers(&rows).first().copied().unwrap_or_default() / GROUP * GROUP;
                    let sql = format!("SELECT k FROM chaos_fork WHERE k >= {group} AND k < {}", group + GROUP);
                    session.rows(&sql, WITHIN).await.map(|rows| {
                        let there = numbers(&rows);
                        let seen = (group..group + GROUP).map(|k| (k, there.contains(&k))).collect();
                        note(&into, |all| all.seen.push(seen));
                    })
                }
            }
        };
        if let Err(broken) = done {
            line.failed(&broken).await;
        }
        tokio::time::sleep(if writes { THINK * 2 } else { THINK }).await;
    }
}
