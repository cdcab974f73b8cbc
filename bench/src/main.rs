//! Torc's load generator and side-by-side comparison.

fn main() {}
