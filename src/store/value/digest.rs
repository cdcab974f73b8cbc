//! One number for data, equal on two servers that hold the same, whatever the order of their tables.
//!
//! Design: as Redis's DEBUG DIGEST computes it, so that data can be compared with a Redis server's: what is unordered is
//! combined by XOR of hashes, what is ordered by hashing again after each part (SHA-1).

use sha1_smol::Sha1;

use super::view::View;
use crate::store::entry::{Entry, Type};

/// The digest of some data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    fn of(bytes: &[u8]) -> Digest {
        Digest(Sha1::from(bytes).digest().bytes())
    }

    /// Adds a part of something unordered.
    pub fn add(&mut self, part: &[u8]) {
        let part = Digest::of(part);
        self.0.iter_mut().zip(part.0).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds the digest of a part of something unordered.
    pub fn add_digest(&mut self, part: Digest) {
        self.add(&part.0);
    }

    /// Adds what is unordered, already digested part by part.
    pub fn join(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds the next part of something ordered.
    pub fn mix(&mut self, part: &[u8]) {
        self.add(part);
        *self = Digest::of(&self.0);
    }

    /// Adds an entry's value and deadline.
    pub fn mix_value(&mut self, entry: Entry<'_>) {
        self.mix(&type_number(entry.ty()).to_be_bytes());
        View::of(entry).as_value().digest(self);
        if entry.deadline().is_some() {
            self.add(b"!!expire!!");
        }
    }

    /// The digest in hexadecimal digits.
    pub fn hex(&self) -> String {
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
