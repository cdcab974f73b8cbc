//! The databases of a shard: those that have keys, or had some lately.
//!
//! Design: database 0 lies in the shard; another one is made when it is first written to and forgotten when cron finds it
//! empty. So it costs nothing how many there may be, and whoever goes through them meets only those that are used.
//!
//! Invariants: database 0 is never in the map.
//! Costs: database 0 one comparison; the others a lookup in a B-tree, whose first node has room for eleven.

use std::collections::BTreeMap;

use super::DbIndex;
use super::db::Db;

/// Bytes of a database besides its table, with its place in the map.
const DB_BYTES: usize = size_of::<Db>() + size_of::<(DbIndex, Box<Db>)>();

/// A shard's databases.
#[derive(Default)]
pub(super) struct Dbs {
    first: Db,
    others: BTreeMap<DbIndex, Box<Db>>,
}

impl Dbs {
    /// A database, unless it was never written to.
    #[inline]
    pub fn get(&self, db: DbIndex) -> Option<&Db> {
        if db.0 == 0 { Some(&self.first) } else { self.others.get(&db).map(|found| &**found) }
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, db: DbIndex) -> Option<&mut Db> {
        if db.0 == 0 { Some(&mut self.first) } else { self.others.get_mut(&db).map(|found| &mut **found) }
    }

    /// A database, to be written to.
    #[inline]
    pub fn make(&mut self, db: DbIndex) -> &mut Db {
        if db.0 == 0 { &mut self.first } else { self.others.entry(db).or_default() }
    }

    /// Takes all keys of a database away.
    pub fn take(&mut self, db: DbIndex) -> Db {
        if db.0 == 0 {
            return std::mem::take(&mut self.first);
        }
        self.others.remove(&db).map_or_else(Db::new, |taken| *taken)
    }

    /// Gives a database what another one had; it must be empty.
    pub fn put(&mut self, db: DbIndex, taken: Db) {
        if taken.table.len() > 0 {
            let place = self.make(db);
            assert!(place.table.len() == 0);
            *place = taken;
        }
    }

    /// Forgets those that have become empty.
    pub fn forget_empty(&mut self) {
        self.others.retain(|_, db| db.table.len() > 0);
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (DbIndex, &Db)> {
        let others = self.others.iter().map(|(number, db)| (*number, &**db));
        std::iter::once((DbIndex(0), &self.first)).chain(others)
    }

    /// All of them in the order of their numbers, to be changed.
    pub fn iter_numbered_mut(&mut self) -> impl Iterator<Item = (DbIndex, &mut Db)> {
        let others = self.others.iter_mut().map(|(number, db)| (*number, &mut **db));
        std::iter::once((DbIndex(0), &mut self.first)).chain(others)
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Db> {
        std::iter::once(&mut self.first).chain(self.others.values_mut().map(|db| &mut **db))
    }

    /// The first one whose number is not below this.
    pub fn next_from(&self, db: DbIndex) -> Option<DbIndex> {
        if db.0 == 0 { Some(db) } else { self.others.range(db..).next().map(|(number, _)| *number) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Bytes of tables, and of the databases beyond the first.
    pub fn bytes(&self) -> u64 {
        let tables: u64 = self.iter().map(|(_, db)| db.table.bytes()).sum();
        tables + (self.others.len() * DB_BYTES) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_used_databases_are_there() {
        let mut dbs = Dbs::default();
        assert!(dbs.get(DbIndex(0)).is_some());
        assert!(dbs.get(DbIndex(i32::MAX as u32 - 1)).is_none());
        assert_eq!(dbs.bytes(), 0);
        for number in [i32::MAX as u32 - 1, 7] {
            dbs.make(DbIndex(number));
        }
        let numbers: Vec<u32> = dbs.iter().map(|(number, _)| number.0).collect();
        assert_eq!(numbers, [0, 7, i32::MAX as u32 - 1]);
        assert_eq!(dbs.next_from(DbIndex(1)), Some(DbIndex(7)));
        assert_eq!(dbs.next_from(DbIndex(8)), Some(DbIndex(i32::MAX as u32 - 1)));
        assert_eq!(dbs.next_from(DbIndex(i32::MAX as u32)), None);
        dbs.forget_empty();
        assert_eq!((dbs.count(), dbs.bytes()), (1, 0));
        assert_eq!(dbs.take(DbIndex(9)).table.len(), 0);
        dbs.put(DbIndex(9), Db::new());
        assert_eq!(dbs.count(), 1);
    }
}
