//! The `torc` binary: arguments to configuration to one pinned thread per worker.

fn main() {}
