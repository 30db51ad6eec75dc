//! What killed servers leave in the system: PostgreSQL marks its data directory with a small System V memory segment,
//! which outlives a SIGKILL. The end of a lab removes those that `postmaster.pid` names and nobody uses.

use crate::state::Lab;
use std::fs;
use std::process::Command;

/// A segment, as `/proc/sysvipc/shm` lists it.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    key: i64,
    id: i64,
    creator: i64,
    attached: u64,
}

/// Removes the segments of the lab's dead servers. Never fails: a left segment of some bytes harms nobody.
pub(crate) fn remove(lab: &Lab) {
    let list = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let segments: Vec<Segment> = list.lines().skip(1).filter_map(parse).collect();
    for member in &lab.members {
        let text = fs::read_to_string(lab.data_dir(member).join("postmaster.pid")).unwrap_or_default();
        if let Some(segment) = named_by(&text, &segments) {
            let _ = Command::new("ipcrm").arg("--shmem-id").arg(segment.id.to_string()).output();
        }
    }
}

fn parse(line: &str) -> Option<Segment> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse().ok();
    // key shmid perms size cpid lpid nattch uid …
    Some(Segment { key: number(0)?, id: number(1)?, creator: number(4)?, attached: fields.get(6)?.parse().ok()? })
}

/// The segment that a `postmaster.pid` names, if it is that server's and nobody uses it.
fn named_by<'a>(pid_file: &str, segments: &'a [Segment]) -> Option<&'a Segment> {
    let mut lines = pid_file.lines();
    let pid: i64 = lines.next()?.trim().parse().ok()?;
    let mut words = lines.nth(5)?.split_ascii_whitespace().map(str::parse::<i64>);
    let (key, id) = (words.next()?.ok()?, words.next()?.ok()?);
    segments.iter().find(|s| (s.key, s.id, s.creator, s.attached) == (key, id, pid, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "  10223011     360448   600          56  412  413      0   999   995   999   995 1 2 3 4 5";

    #[test]
    fn only_a_dead_servers_own_segment_is_taken() {
        let segments = vec![parse(LIST).expect("a segment")];
        let file = |pid: &str, shm: &str| format!("{pid}\n/data\n1700000000\n15001\n/run\n127.0.0.1\n{shm}\nready\n");
        assert_eq!(named_by(&file("412", " 10223011    360448"), &segments), segments.first());
        assert_eq!(named_by(&file("411", " 10223011    360448"), &segments), None);
        assert_eq!(named_by(&file("412", " 10223011    360449"), &segments), None);
        assert_eq!(named_by("412\n/data\n", &segments), None);
        let used = vec![Segment { attached: 3, ..parse(LIST).expect("a segment") }];
        assert_eq!(named_by(&file("412", " 10223011    360448"), &used), None);
    }
}
