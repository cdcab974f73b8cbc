//! What becomes of the keys of a piece: stored under the leases of their shards, one at a time.
//!
//! Design: whoever loads holds no lease while it takes one, so that it may spin for it: whoever has it is another loader, or has
//! it for a moment. Where all leases are held already (DEBUG RELOAD, a single worker) nothing is taken.
//!
//! Invariants: a key that is there already is an error, unless the caller merges; what has expired is not stored.

use crate::persist::rdb::file::records::{self, Record};
use crate::persist::rdb::file::split::Piece;
use crate::persist::rdb::file::{FileError, Use};
use crate::store::eviction::{FREQUENCY_NEW, frequency_clock, minutes};
use crate::store::{AccessClock, CLOCK_MAX, Deadline, Leases, Limits, WantedMask};

/// How keys are stored.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// Unix time in ms: what has a deadline before it is passed over.
    pub now_ms: u64,
    /// This moment for access clocks.
    pub access_clock: AccessClock,
    /// Up to which size values are packed.
    pub limits: &'a Limits,
    /// Whether keys replace those that are there.
    pub merges: bool,
}

/// Keys of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the keyspace.
    pub loaded: u64,
    /// Passed over: they had expired.
    pub expired: u64,
}

/// Stores the keys of a piece; who waits for leases that were given back, to be woken.
///
/// # Errors
/// A value is damaged, or a key is there twice.
pub fn piece(
    piece: &Piece,
    leases: &mut Leases,
    policy: Policy<'_>,
) -> (Result<Counts, FileError>, WantedMask) {
    let (mut counts, mut wanted) = (Counts::default(), WantedMask::NONE);
    let keyspace = leases.keyspace().clone();
    let outcome = records::each(piece, policy.limits, keyspace.hasher(), |record| {
        let now_ms = i64::try_from(policy.now_ms).unwrap_or(i64::MAX);
        if record.deadline_ms.is_some_and(|ms| ms < now_ms) {
            counts.expired += 1;
            return Ok(());
        }
        let hash = keyspace.hash(record.key);
        let (shard, mark) = (keyspace.shard_of(hash), leases.mark());
        while !leases.try_take(shard) {
            std::thread::yield_now();
        }
        let outcome = store(record, hash, leases, policy);
        wanted.add(leases.release_back_to(mark));
        counts.loaded += u64::from(outcome.is_ok());
        outcome
    });
    (outcome.map(|()| counts), wanted)
}

fn store(record: Record<'_, '_>, hash: u64, leases: &mut Leases, policy: Policy<'_>) -> Result<(), String> {
    let shard = leases.keyspace().shard_of(hash);
    let Record { db, key, deadline_ms, used, value, .. } = record;
    let mut place = leases.shard(shard).write(db, hash, key, policy.now_ms);
    if place.entry().is_some() {
        if !policy.merges {
            return Err(format!("RDB has duplicated key '{}' in DB {}", key.escape_ascii(), db.0));
        }
        place.remove();
    }
    let deadline = deadline_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(Deadline::None, Deadline::At);
    place.set_new(value, deadline);
    place.set_clock(clock(used, policy));
    place.count_as(0);
    Ok(())
}

/// The access clock of a key that is loaded. What the policy in force does not keep is not taken over.
fn clock(used: Option<Use>, policy: Policy<'_>) -> u32 {
    let Policy { access_clock, now_ms, .. } = policy;
    match used {
        Some(Use::Frequency(count)) if access_clock.counts_frequency() => {
            frequency_clock(minutes(now_ms), count)
        }
        _ if access_clock.counts_frequency() => frequency_clock(minutes(now_ms), FREQUENCY_NEW),
        Some(Use::Idle(seconds)) => {
            // Older than the clock can tell: as old as it can.
            let idle = seconds.min(u64::from(CLOCK_MAX)) as u32;
            access_clock.seconds().wrapping_sub(idle) & CLOCK_MAX
        }
        _ => access_clock.seconds(),
    }
}
