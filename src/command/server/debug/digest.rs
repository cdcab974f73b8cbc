//! DEBUG DIGEST: one number for all data, equal on two servers that hold the same, whatever the order of their tables.
//!
//! Not here: how it is computed (`store::Digest`).

use std::collections::BTreeSet;

use super::{Args, Context, Outcome, Reply};
use crate::store::Digest;

pub fn all(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut total = Digest::default();
    let mut used = BTreeSet::new();
    ctx.each_shard(|shard| used.extend(shard.used_dbs()));
    for db in used {
        let mut keys = Digest::default();
        ctx.each_shard(|shard| {
            shard.for_each(db, |entry| {
                let mut digest = Digest::default();
                digest.mix(entry.key());
                digest.mix_value(entry);
                keys.add_digest(digest);
            });
        });
        total.mix(&db.0.to_be_bytes());
        total.join(keys);
    }
    reply.simple(&total.hex());
    Ok(())
}

pub fn values(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 2);
    for index in 2..args.len() {
        let mut digest = Digest::default();
        if let Some(entry) = ctx.look_quietly(args, index) {
            digest.mix_value(entry);
        }
        reply.simple(&digest.hex());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DbIndex, Deadline, Keyspace, KeyspaceOptions, Leases, NewString};

    /// The digest of one key of database 0, as `all` computes it.
    fn digest_of(key: &[u8], value: &[u8], deadline: Option<u64>) -> String {
        let options = KeyspaceOptions { shards: 1, databases: 1, workers: 1, hash_seed: 1 };
        let keyspace = std::sync::Arc::new(Keyspace::new(options));
        let mut leases = Leases::new(&keyspace, 0, true);
        let hash = keyspace.hash(key);
        let shard = leases.shard(keyspace.shard_of(hash));
        let mut place = shard.write(DbIndex(0), hash, key, 0);
        place.set_string(NewString::Bytes(value), Deadline::None);
        place.set_deadline(deadline);
        let mut digest = Digest::default();
        digest.mix(key);
        digest.mix_value(place.entry().expect("it was set"));
        let mut total = Digest::default();
        total.mix(&0u32.to_be_bytes());
        total.add_digest(digest);
        total.hex()
    }

    #[test]
    fn digests_are_those_of_redis() {
        // Recorded from Redis 7.0: SET k v; then EXPIRE k 100.
        assert_eq!(digest_of(b"k", b"v", None), "264ccf65edec66bccfa7cc659414ccca432057d2");
        assert_eq!(digest_of(b"k", b"v", Some(1)), "bf83f210388eea94f06fb90d517490e16a08d7dd");
    }
}
