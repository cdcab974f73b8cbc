//! Who listens to what commands change: the journal, and a recorder that DEBUG CHANGES starts, for tests.
//!
//! Design: workers ask whether somebody listens once they have leases (`Recorder::is_on`), and hand their unit over before they
//! give them back. It is started and stopped under all leases, so that every unit is recorded whole or not at all, and units
//! that touch the same shard are in the order of their leases. [`hand_over`] decides who gets which part of a unit.
//!
//! Not here: what a unit holds (`store::Changes`), the order of effects (`persist::journal`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Shared;
use crate::persist::journal::Writer;
use crate::store::{Changes, DbIndex, Event};

/// A command that was recorded, with its database.
pub type RecordedEffect = (DbIndex, Vec<Vec<u8>>);

/// What was recorded since it was taken last.
#[derive(Default)]
pub struct Recorded {
    /// What repeats it all, MULTI and EXEC included.
    pub effects: Vec<RecordedEffect>,
    /// What happened to which keys.
    pub events: Vec<(DbIndex, Event, Vec<u8>)>,
}

impl Recorded {
    /// MULTI and EXEC are no matter of databases: they are recorded in that of the command before.
    fn push_bracket(&mut self, name: &str) {
        let db = self.effects.last().map_or(DbIndex(0), |(db, _)| *db);
        self.effects.push((db, vec![name.as_bytes().to_vec()]));
    }
}

/// Whether the effects of a unit are bracketed by MULTI and EXEC if there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bracket {
    /// They are.
    Several,
    /// Each stands by itself: keys that expired or were evicted, of which no command asked for any.
    None,
}

/// Whether anybody listens; asked for under a lease.
#[inline]
pub fn is_listened(shared: &Shared) -> bool {
    shared.journal.is_on() | shared.debug.changes.is_on()
}

/// A unit has ended, whose leases are held: each who listens gets its part.
#[cold]
pub fn hand_over(unit: &mut Changes, shared: &Shared, writer: &mut Writer, bracket: Bracket) {
    if shared.journal.is_on() {
        writer.record(&shared.journal, unit, bracket == Bracket::Several);
    }
    if shared.debug.changes.is_on() {
        shared.debug.changes.take_over(unit, bracket);
    } else {
        unit.clear();
    }
}

/// Records units of all workers.
#[derive(Default)]
pub struct Recorder {
    is_on: AtomicBool,
    recorded: Mutex<Recorded>,
}

impl Recorder {
    /// Whether units are recorded; asked for under a lease.
    #[inline]
    pub fn is_on(&self) -> bool {
        // Whoever changed it held all leases, and this one was taken since.
        self.is_on.load(Ordering::Relaxed)
    }

    /// Begins with nothing, or ends; all leases are held.
    pub fn switch(&self, on: bool) {
        self.is_on.store(on, Ordering::Relaxed);
        self.take();
    }

    /// Hands out what was recorded, and forgets it.
    pub fn take(&self) -> Recorded {
        std::mem::take(&mut *self.lock())
    }

    /// Takes a unit over.
    fn take_over(&self, unit: &mut Changes, bracket: Bracket) {
        let brackets = bracket == Bracket::Several && unit.effect_counts().0 > 1;
        let mut recorded = self.lock();
        if brackets {
            recorded.push_bracket("MULTI");
        }
        let effects = unit.effects().filter(|(_, whom, _)| whom.file);
        let effects = effects.map(|(db, _, words)| (db, words.map(<[u8]>::to_vec).collect()));
        recorded.effects.extend(effects);
        if brackets {
            recorded.push_bracket("EXEC");
        }
        recorded.events.extend(unit.events().map(|(event, db, key)| (db, event, key.to_vec())));
        drop(recorded);
        unit.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
