//! All keys into a file, while everybody waits: the SAVE of Redis.
//!
//! Design: the shards are walked under all leases, so what is written is one instant. It is the same target as that of a snapshot
//! beside a running server.
//!
//! Not here: that snapshot (`background`), the file (`rdb_target`).

use super::background::{Sizes, Target as _};
use super::rdb_target::{RdbOptions, RdbTarget};
use crate::store::Leases;

/// Writes all keys into a file, which then takes the place of the one before. All leases are held. `step` is called again and
/// again meanwhile.
///
/// # Errors
/// What failed; the file that was there is as it was.
pub fn write_all(leases: &Leases, options: RdbOptions, step: impl Fn()) -> Result<(), String> {
    let shards = || leases.keyspace().shards().map(|shard| leases.shard_ref(shard));
    let mut sizes = Sizes::new();
    for shard in shards() {
        for db in shard.used_dbs() {
            let (keys, expires) = sizes.entry(db).or_default();
            *keys += shard.len(db);
            *expires += shard.expires(db);
        }
    }
    let mut target = RdbTarget::new(options);
    target.begin(&sizes)?;
    for db in sizes.into_keys() {
        for shard in shards() {
            if target.has_failed() {
                break;
            }
            shard.for_each(db, |entry| target.entry(db, entry));
            step();
        }
    }
    target.finish()
}
