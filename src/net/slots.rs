//! A worker's connections by slot: slots are reused, generations tell their users apart.

use super::connection::Connection;
use crate::io::Token;

/// The connections of one worker.
#[derive(Default)]
pub struct Slots {
    slots: Vec<(u32, Option<Box<Connection>>)>,
    free: Vec<u32>,
    count: usize,
}

impl Slots {
    /// A token for a new connection; its slot stays reserved until [`Self::put`] or [`Self::remove`].
    pub fn reserve(&mut self) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize].0 += 1;
        Token { slot, generation: self.slots[slot as usize].0 }
    }

    /// Puts a connection into the slot that its token reserved.
    pub fn put(&mut self, connection: Box<Connection>) {
        let slot = &mut self.slots[connection.token.slot as usize];
        assert!(slot.1.is_none());
        assert_eq!(slot.0, connection.token.generation);
        slot.1 = Some(connection);
        self.count += 1;
    }

    /// The connection in a slot, which must be in use.
    #[inline]
    pub fn at(&mut self, slot: u32) -> &mut Connection {
        self.slots[slot as usize].1.as_deref_mut().expect("the slot is in use")
    }

    /// The connection that a token names, unless it is gone.
    #[inline]
    pub fn find(&mut self, token: Token) -> Option<&mut Connection> {
        let (generation, connection) = self.slots.get_mut(token.slot as usize)?;
        if *generation != token.generation {
            return None;
        }
        connection.as_deref_mut()
    }

    /// The connection in a slot, if it is in use.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)?.1.as_deref()
    }

    /// The connection in a slot, if it is in use.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.1.as_deref_mut()
    }

    /// Frees a slot, and gives back its connection if it had one.
    pub fn free(&mut self, token: Token) -> Option<Box<Connection>> {
        let (generation, connection) = &mut self.slots[token.slot as usize];
        assert_eq!(*generation, token.generation, "a slot is freed once");
        let connection = connection.take();
        self.count -= usize::from(connection.is_some());
        self.free.push(token.slot);
        connection
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every slot number ever used is below this.
    pub fn bound(&self) -> u32 {
        self.slots.len() as u32
    }
}
