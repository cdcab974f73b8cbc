//! Whether a history of reads and writes is that of one register: linearizable.
//!
//! Design: every write has a value of its own, which makes the question easy (Gibbons and Korach, "Testing shared memories",
//! 1997): a write and the reads that saw it form a cluster; the zone of a cluster lies between its first response and its
//! last invocation. The history is linearizable exactly if no two forward zones overlap, no backward zone lies within a
//! forward one, and no read ends before its write begins.

use std::collections::BTreeMap;

/// One operation; times are stamps that only grow.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub writes: bool,
    /// Written or read; 0 is the value at the beginning.
    pub value: u64,
    pub invoked: u64,
    /// `u64::MAX` while it is not known whether and when it ended.
    pub responded: u64,
}

struct Cluster {
    value: u64,
    write_invoked: Option<u64>,
    response_min: u64,
    invocation_max: u64,
    read: bool,
}

/// # Errors
/// What is wrong with the history.
pub fn check(history: &[Op]) -> Result<(), String> {
    let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::new();
    let beginning = Op { writes: true, value: 0, invoked: 0, responded: 0 };
    for op in history.iter().chain([&beginning]) {
        let cluster = clusters.entry(op.value).or_insert(Cluster {
            value: op.value,
            write_invoked: None,
            response_min: u64::MAX,
            invocation_max: 0,
            read: false,
        });
        cluster.response_min = cluster.response_min.min(op.responded);
        cluster.invocation_max = cluster.invocation_max.max(op.invoked);
        if op.writes {
            assert!(cluster.write_invoked.is_none(), "every write has a value of its own");
            cluster.write_invoked = Some(op.invoked);
        }
        cluster.read |= !op.writes;
    }
    for read in history.iter().filter(|op| !op.writes) {
        match clusters[&read.value].write_invoked {
            None => return Err(format!("{read:?} saw what nobody wrote")),
            Some(invoked) if read.responded < invoked => {
                return Err(format!("{read:?} saw what was written later"));
            }
            Some(_) => {}
        }
    }
    // A write of unknown outcome that nobody saw may never have happened.
    let clusters: Vec<&Cluster> = clusters.values().filter(|c| c.read || c.response_min < u64::MAX).collect();
    for a in &clusters {
        let (start, end) = (a.response_min, a.invocation_max);
        if start >= end {
            continue;
        }
        for b in clusters.iter().filter(|b| b.value != a.value) {
            let within =
                start < b.invocation_max.min(b.response_min) && b.invocation_max.max(b.response_min) < end;
            let forward = b.response_min < b.invocation_max;
            let overlaps = forward && start < b.invocation_max && b.response_min < end;
            if within || overlaps {
                let (a, b) = (a.value, b.value);
                return Err(format!("the values {a} and {b} were seen in no possible order"));
            }
        }
    }
    Ok(())
}

#[test]
fn histories_are_judged() {
    let write = |value, invoked, responded| Op { writes: true, value, invoked, responded };
    let read = |value, invoked, responded| Op { writes: false, value, invoked, responded };
    let good: [&[Op]; 5] = [
        &[],
        &[read(0, 1, 2), write(1, 3, 4), read(1, 5, 6)],
        &[write(1, 1, 10), read(0, 2, 3), read(1, 4, 5)],
        &[write(1, 1, 10), write(2, 1, 10), read(2, 11, 12), read(2, 13, 14)],
        &[write(1, 1, u64::MAX), write(2, 2, u64::MAX), read(1, 8, 9), read(0, 3, 7)],
    ];
    for history in good {
        assert_eq!(check(history), Ok(()), "{history:?}");
    }
    let bad: [&[Op]; 6] = [
        &[read(7, 1, 2)],
        &[read(1, 1, 2), write(1, 3, 4)],
        &[write(1, 1, 2), read(0, 3, 4)],
        &[write(1, 1, 10), read(1, 2, 3), read(0, 4, 5)],
        &[write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)],
        &[write(1, 1, 9), write(2, 1, 9), read(1, 10, 11), read(2, 12, 13), read(1, 14, 15)],
    ];
    for history in bad {
        assert!(check(history).is_err(), "{history:?}");
    }
}
