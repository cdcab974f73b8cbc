//! A worker's part of the journal: the effects of its current group.
//!
//! Design: effects are encoded once, as the commands that repeat them, each behind a header with its database and length. The
//! thread that merges copies them, with a SELECT where the database changes. Format of an effect: database (4 bytes), length
//! (7 bytes), whom it is for (1 byte), numbers little-endian; then the command as an array of bulks.
//!
//! Invariants: there are effects only with a ticket.
//! Not here: the counter of tickets, and where effects go (`super`).

use super::{Audience, FILE, Journal, REPLICAS};
use crate::resp::inline::encode_words;
use crate::store::{Changes, DbIndex};

/// Bytes before an effect.
pub(super) const HEADER_BYTES: usize = 12;

/// Bits of a length; whom the effect is for stands above.
pub(super) const LENGTH_BITS: u32 = 56;

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
        let listeners = journal.listeners();
        let (mut for_file, mut for_replicas) = unit.effect_counts();
        for_file *= usize::from(listeners & FILE != 0);
        for_replicas *= usize::from(listeners & REPLICAS != 0);
        let Some(whose) = audience(for_file > 0, for_replicas > 0) else { return };
        self.ticket.get_or_insert_with(|| journal.draw());
        let bracketed = audience(for_file > 1, for_replicas > 1).filter(|_| brackets);
        let mut last = None;
        for (db, whom, words) in unit.effects() {
            let (file, replicas) = (whose.contains(FILE), whose.contains(REPLICAS));
            let Some(audience) = audience(whom.file && file, whom.replicas && replicas) else { continue };
            if let Some(bracketed) = bracketed.filter(|_| last.is_none()) {
                self.add(db, bracketed, std::iter::once(&b"MULTI"[..]));
            }
            self.add(db, audience, words);
            last = Some(db);
        }
        if let (Some(db), Some(bracketed)) = (last, bracketed) {
            self.add(db, bracketed, std::iter::once(&b"EXEC"[..]));
        }
    }

    /// The ticket of the current group, if it has drawn one.
    #[inline]
    pub fn ticket(&self) -> Option<u64> {
        self.ticket
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

    fn add<'a>(&mut self, db: DbIndex, audience: Audience, words: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.effects.extend_from_slice(&db.0.to_le_bytes());
        let length_at = self.effects.len();
        self.effects.extend_from_slice(&[0; 8]);
        encode_words(&mut self.effects, words);
        let length = (self.effects.len() - length_at - 8) as u64;
        assert!(length >> LENGTH_BITS == 0, "an effect fits into memory");
        let length = length | u64::from(audience as u8) << LENGTH_BITS;
        self.effects[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
    }
}

fn audience(file: bool, replicas: bool) -> Option<Audience> {
    match (file, replicas) {
        (true, true) => Some(Audience::Both),
        (true, false) => Some(Audience::File),
        (false, true) => Some(Audience::Replicas),
        (false, false) => None,
    }
}
