//! Runs of every kind of script whose workers share a journal: what it holds at the end is what there is.
//!
//! Design: the file is loaded into a new server by the code that loads it at any start, and both have the same keys, values and
//! deadlines. So whatever workers did to the same shards stands in the order in which they did it, early returns of leases, clients
//! served by others, expired keys, swapped and flushed databases among it (PROTOCOL 9): an effect too many, too few, or in
//! another order would leave something else.
//!
//! Not here: what is left when the power goes (`power`).

use std::path::Path;

use torc::command::Shared;
use torc::store::{DbIndex, Digest};

use super::plan::{Fault, Plan};
use super::power::{self, Past};
use super::series::Series;
use super::workers::all_leases;
use super::world::Summary;
use crate::harness::TempDir;

const JOURNALED: Series = Series {
    tests: "simulation::journaled::seeds",
    usual: 0..150,
    draw: |seed| Plan { journaled: true, journal_percent: 20, ..Plan::draw(seed ^ 0x6A6F_7572) },
    check_happened,
};
/// Seeds among which effects in a wrong order must be found.
const SHUFFLED_SEEDS: std::ops::Range<u64> = 0..40;

/// Runs a plan.
///
/// # Errors
/// What was not as it must be.
pub fn run(plan: &Plan) -> Result<Summary, String> {
    let dir = TempDir::new();
    let world = power::begin(plan, dir.path(), &Past::default(), true)?;
    world.deschedule(|| world.play())?;
    let (bytes, live) = (world.kept_by_disk(), contents(&world.shared));
    let kept = if plan.fault == Some(Fault::Shuffled) { shuffled(&bytes) } else { bytes };
    power::write_file(dir.path(), &kept);
    let again = power::begin(plan, dir.path(), &Past::default(), true)?;
    // Its clock stands at the beginning: nothing expires by that.
    again.end()?;
    let loaded = contents(&again.shared);
    if live != loaded {
        return Err(format!("the file of {} bytes holds something else: {live:?}, {loaded:?}", kept.len()));
    }
    Ok(Summary { journal_bytes: kept.len() as u64, ..world.summary() })
}

/// Of each database that has keys: its number, how many they are, and a digest of them.
pub(super) type Contents = Vec<(u32, usize, String)>;

/// Every database's digest, with the exact deadlines, and its number of keys; none if a worker has reserved something.
pub(super) fn contents(shared: &Shared) -> Option<Contents> {
    let leases = all_leases(shared)?;
    let databases = 0..shared.keyspace.databases() as u32;
    let of_database = |db: u32| {
        let (mut total, mut count) = (Digest::default(), 0);
        for id in shared.keyspace.shards() {
            leases.shard_ref(id).for_each(DbIndex(db), |entry| {
                let mut digest = Digest::default();
                digest.mix(entry.key());
                digest.mix_value(entry);
                digest.mix(&entry.deadline().unwrap_or(0).to_be_bytes());
                total.add_digest(digest);
                count += 1;
            });
        }
        (db, count, total.hex())
    };
    Some(databases.map(of_database).filter(|(_, count, _)| *count > 0).collect())
}

/// The same commands, two of which have changed places: what an effect under a wrong ticket would do.
fn shuffled(bytes: &[u8]) -> Vec<u8> {
    let mut reader = torc::persist::aof::AofReader::new(bytes, Path::new("a"), 0, bytes.len() as u64);
    let mut commands = Vec::new();
    while let Ok(torc::persist::aof::Next::Command(command)) = reader.next() {
        commands.push(bytes[command.offset as usize..command.end as usize].to_vec());
    }
    commands.reverse();
    commands.concat()
}

fn check_happened(sum: &Summary) {
    assert!(sum.journal_bytes > 100_000, "hardly anything was written: {sum:?}");
    assert!(sum.commands > 3_000 && sum.refused > 50 && sum.served > 50, "too little happened: {sum:?}");
}

#[test]
fn seeds_even() {
    JOURNALED.run_part(0);
}

#[test]
fn seeds_odd() {
    JOURNALED.run_part(1);
}

#[test]
fn effects_in_another_order_are_found() {
    let failures: Vec<String> = JOURNALED.failures(SHUFFLED_SEEDS, Some(Fault::Shuffled)).collect();
    assert!(failures.len() > 10, "only {} runs found it", failures.len());
}
