//! An interpreter that goes from one thread to another.
//!
//! Design: functions that keep something from run to run do so in one interpreter. Whoever holds all leases has it, so there
//! is one thread at a time that does, and it goes through a mutex.
//!
//! Not here: where it waits (`script_state`).
#![expect(unsafe_code, reason = "an interpreter may go from thread to thread, which the compiler cannot see")]

use super::engine::Engine;

/// An interpreter on its way.
pub struct SharedEngine(Box<Engine>);

// SAFETY: an engine is all that refers to its interpreter and stack (it hands out numbers only, no references), so all of it goes
// along. Neither Lua nor the stack, which is suspended in our own code or runs nothing, knows which thread it is on; memory is
// allocated and freed by an allocator that is one for all threads.
unsafe impl Send for SharedEngine {}

impl SharedEngine {
    /// Takes it in.
    pub fn new(engine: Box<Engine>) -> Self {
        Self(engine)
    }

    /// Gives it out.
    pub fn into_engine(self) -> Box<Engine> {
        self.0
    }

    /// Bytes that its functions have.
    pub fn bytes(&self) -> usize {
        self.0.bytes().0
    }

    /// To look at it where it is.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.0
    }
}
