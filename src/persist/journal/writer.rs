//! A worker's part of the journal: the effects of its current group.
//!
//! Design: effects are encoded once, as the commands that repeat them, each behind a header with its database and length. The
//! thread that merges copies them, with a SELECT where the database changes. Format of an effect: database (4 bytes), length
//! (8 bytes), both little-endian, then the command as an array of bulks.
//!
//! Invariants: there are effects only with a ticket.
//! Not here: the counter of tickets, and where effects go (`super`).

use super::Journal;
use crate::resp::inline::encode_words;
use crate::store::{Changes, DbIndex};

/// Bytes before an effect.
pub(super) const HEADER_BYTES: usize = 12;

/// Room for effects that a group begins with.
const EFFECT_BYTES_USUAL: usize = 192;

/// What the current group of a worker has changed.
#[derive(Default)]
pub struct Writer {
    ticket: Option<u64>,
    effects: Vec<u8>,
}

impl Writer {
    /// Takes the effects of a unit, within MULTI and EXEC if `brackets` says so and there are several. The leases are held of all
    /// that the group has changed so far.
    pub fn record(&mut self, journal: &Journal, unit: &Changes, brackets: bool) {
        let count = unit.effect_count();
        if count == 0 {
            return;
        }
        self.ticket.get_or_insert_with(|| journal.draw());
        let brackets = brackets && count > 1;
        let mut last = None;
        for (db, words) in unit.effects() {
            if brackets && last.is_none() {
                self.add(db, std::iter::once(&b"MULTI"[..]));
            }
            self.add(db, words);
            last = Some(db);
        }
        if let Some(db) = last.filter(|_| brackets) {
            self.add(db, std::iter::once(&b"EXEC"[..]));
        }
    }

    /// Hands over what was recorded, if anything was; before the last lease of the group goes back.
    #[inline]
    pub fn publish(&mut self, journal: &Journal) {
        if let Some(ticket) = self.ticket.take() {
            let effects = std::mem::replace(&mut self.effects, Vec::with_capacity(EFFECT_BYTES_USUAL));
            journal.publish(ticket, effects);
        }
    }

    /// Whether everything that was recorded is published.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.ticket.is_none()
    }

    /// The ticket of the current group.
    #[cfg(test)]
    pub(super) fn ticket(&self) -> Option<u64> {
        self.ticket
    }

    fn add<'a>(&mut self, db: DbIndex, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.effects.extend_from_slice(&db.0.to_le_bytes());
        let length_at = self.effects.len();
        self.effects.extend_from_slice(&[0; 8]);
        encode_words(&mut self.effects, words);
        let length = (self.effects.len() - length_at - 8) as u64;
        self.effects[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
    }
}
