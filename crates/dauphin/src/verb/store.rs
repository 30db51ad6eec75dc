//! `dauphin store`: who holds the cluster's own store, and changes of that.

use crate::cli::{Store, Target};
use crate::failure::{DONE, Outcome};
use crate::look::{Table, dash};
use crate::say::{self, Tone};
use crate::target;
use crate::verb::command::give;
use dauphin_api::dto::{NoArguments, StoreMemberRequest, StoreStatus};

pub(crate) fn run(target: &Target, verb: Store) -> Outcome {
    match verb {
        Store::Status => status(target),
        Store::Add(member) => give(target, "/v1/store/add", &StoreMemberRequest { member: member.member }),
        Store::Remove(member) => give(target, "/v1/store/remove", &StoreMemberRequest { member: member.member }),
        Store::Snapshot => give(target, "/v1/store/snapshot", &NoArguments {}),
    }
}

fn status(target: &Target) -> Outcome {
    let status: StoreStatus = target::client(target)?.get("/v1/store")?;
    if target.json {
        say::json(&status)?;
        return Ok(DONE);
    }
    let leader = status.leader.as_ref().map_or_else(|| "no leader".to_owned(), |l| format!("leader {l}"));
    say::line(&format!(
        "store {}: {leader}, term {}, applied {}, snapshot {}",
        status.kind,
        dash(status.term),
        dash(status.applied),
        dash(status.snapshot)
    ));
    let mut table = Table::new(&["MEMBER", "ROLE", "MATCHED", "ADDRESS"]);
    for member in &status.members {
        table.row(vec![
            (member.name.clone(), Tone::Plain),
            (member.role.clone(), if member.role == "leader" { Tone::Bold } else { Tone::Plain }),
            (dash(member.matched), Tone::Plain),
            (member.address.clone(), Tone::Plain),
        ]);
    }
    table.lines(say::colours_out()).iter().for_each(|line| say::line(line));
    Ok(DONE)
}
