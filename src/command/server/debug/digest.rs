//! DEBUG DIGEST: one number for all data, equal on two servers that hold the same, whatever the order of their tables.
//!
//! Design: as Redis computes it, so that Torc's data can be compared with a Redis server's: what is unordered is combined
//! by XOR of hashes, what is ordered by hashing again after each part (SHA-1).

use sha1_smol::Sha1;

use super::{Args, Context, Outcome, Reply};
use crate::store::{DbIndex, Entry, Str, Type};

#[derive(Clone, Copy, Default)]
struct Digest([u8; 20]);

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        Self(Sha1::from(bytes).digest().bytes())
    }

    /// Adds a part of something unordered.
    fn add(&mut self, part: &[u8]) {
        let part = Self::of(part);
        self.0.iter_mut().zip(part.0).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds the next part of something ordered.
    fn mix(&mut self, part: &[u8]) {
        self.add(part);
        *self = Self::of(&self.0);
    }

    /// Adds an entry's value and deadline.
    fn mix_value(&mut self, entry: &Entry) {
        self.mix(&type_number(entry.ty()).to_be_bytes());
        match entry.ty() {
            Type::String => match entry.string() {
                Str::Bytes(bytes) => self.mix(bytes),
                Str::Int(number) => self.mix(itoa::Buffer::new().format(number).as_bytes()),
            },
            Type::List => {
                entry.list().iter().for_each(|item| self.mix(item.bytes(&mut itoa::Buffer::new())));
            }
            // A type whose values this file does not know counts by its type alone.
            _ => {}
        }
        if entry.deadline().is_some() {
            self.add(b"!!expire!!");
        }
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Redis's numbers of types.
fn type_number(ty: Type) -> u32 {
    match ty {
        Type::String => 0,
        Type::List => 1,
        Type::Set => 2,
        Type::SortedSet => 3,
        Type::Hash => 4,
        Type::Stream => 6,
    }
}

pub fn all(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut total = Digest::default();
    for db in 0..ctx.shared.keyspace.databases() {
        let index = DbIndex(db as u16);
        let (mut keys, mut used) = (Digest::default(), false);
        ctx.each_shard(|shard| {
            shard.for_each(index, |entry| {
                let mut digest = Digest::default();
                digest.mix(entry.key());
                digest.mix_value(entry);
                keys.add(&digest.0);
                used = true;
            });
        });
        if used {
            total.mix(&(db as u32).to_be_bytes());
            total.0.iter_mut().zip(keys.0).for_each(|(byte, other)| *byte ^= other);
        }
    }
    reply.simple(&total.hex());
    Ok(())
}

pub fn values(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 2);
    for index in 2..args.len() {
        let mut digest = Digest::default();
        if let Some(entry) = ctx.look(args, index) {
            digest.mix_value(entry);
        }
        reply.simple(&digest.hex());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Deadline, Keyspace, KeyspaceOptions, Leases, NewString};

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
        total.add(&digest.0);
        total.hex()
    }

    #[test]
    fn digests_are_those_of_redis() {
        // Recorded from Redis 7.0: SET k v; then EXPIRE k 100.
        assert_eq!(digest_of(b"k", b"v", None), "264ccf65edec66bccfa7cc659414ccca432057d2");
        assert_eq!(digest_of(b"k", b"v", Some(1)), "bf83f210388eea94f06fb90d517490e16a08d7dd");
    }
}
