//! What servers that replicate each other owe: to be what their primary was at their offset, and to keep what was promised.
//!
//! Design: whenever a primary has got further, what it holds there is noted, under the name of its history and the offset; a replica
//! that comes by at such a place has to hold the same. So its stream may be cut anywhere, and a snapshot or a continuation be the
//! way by which it came there.
//!
//! A promise is a key that was set and for which WAIT has then counted replicas. Each loss of a replica's data may be that of one of
//! those; while one is left, the replica that has got furthest has the key.

use std::collections::HashMap;

use torc::command::Shared;
use torc::store::DbIndex;

use super::journaled::{Contents, contents};
use super::server::Server;
use super::workers::all_leases;

#[derive(Default)]
pub struct Ledger {
    held: HashMap<(String, u64), Contents>,
    promises: Vec<Promise>,
    /// How often a replica was compared, and at how many places of a primary that could have been.
    pub compared: u64,
}

/// A key that replicas are known to have.
#[derive(Clone, Debug)]
struct Promise {
    key: Vec<u8>,
    holders: u64,
}

impl Ledger {
    /// Notes what a primary holds, whose stream has all that was written.
    ///
    /// # Errors
    /// It held something else there.
    pub fn note(&mut self, primary: &Server) -> Result<(), String> {
        let position = primary.position();
        let Some(held) = contents(&primary.shared) else { return Ok(()) };
        let before = self.held.entry(position.clone()).or_insert_with(|| held.clone());
        if *before != held {
            return Err(format!(
                "a primary at {position:?} held {before:?}, and holds {held:?} without a word"
            ));
        }
        Ok(())
    }

    /// Compares a replica, if its place is known.
    ///
    /// # Errors
    /// It holds something else than its primary did.
    pub fn compare(&mut self, number: usize, replica: &Server) -> Result<(), String> {
        let history = replica.shared.replication.history();
        let (id, offset) = replica.position();
        let before =
            history.until.filter(|until| offset < *until).map(|_| history.id_before.as_str().to_owned());
        let places = std::iter::once(id).chain(before).map(|id| (id, offset));
        let Some((place, held)) =
            places.filter_map(|place| Some((place.clone(), self.held.get(&place)?))).next()
        else {
            return Ok(());
        };
        let Some(holds) = contents(&replica.shared) else { return Ok(()) };
        if *held != holds {
            return Err(format!(
                "replica {number} at {place:?} holds {holds:?}, and its primary held {held:?}"
            ));
        }
        self.compared += 1;
        Ok(())
    }

    /// So many replicas have this key.
    pub fn promise(&mut self, key: &[u8], holders: u64) {
        self.promises.push(Promise { key: key.to_vec(), holders });
    }

    /// The data of a replica is lost, or may be.
    pub fn lose_one(&mut self) {
        self.promises.iter_mut().for_each(|promise| promise.holders = promise.holders.saturating_sub(1));
        self.promises.retain(|promise| promise.holders > 0);
    }

    /// The data of those who could have kept them is lost.
    pub fn lose_all(&mut self) {
        self.promises.clear();
    }

    /// What is promised by now.
    pub fn promised(&self) -> Vec<Vec<u8>> {
        self.promises.iter().map(|promise| promise.key.clone()).collect()
    }
}

/// Which of these keys are in no database; none are known where a worker has reserved something.
pub fn missing<'a>(shared: &Shared, keys: &'a [Vec<u8>]) -> Option<Vec<&'a [u8]>> {
    let leases = all_leases(shared)?;
    let mut found = std::collections::HashSet::new();
    for db in 0..shared.keyspace.databases() as u32 {
        for id in shared.keyspace.shards() {
            leases.shard_ref(id).for_each(DbIndex(db), |entry| {
                found.insert(entry.key().to_vec());
            });
        }
    }
    Some(keys.iter().filter(|key| !found.contains(*key)).map(Vec::as_slice).collect())
}
