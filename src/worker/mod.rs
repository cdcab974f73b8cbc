//! The turn: one pinned thread, one loop.
