//! The criterion benches: the parts of a command's life that can be measured alone.
//!
//! `cargo bench -p bench` measures; `cargo bench -p bench -- --test`, and `cargo test` without that wait, run everything once
//! with tiny inputs. One executable, because linking is what takes time.

mod micro {
    pub mod commands;
    pub mod parser;
    pub mod replies;
    pub mod store;
}

use criterion::{criterion_group, criterion_main};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `full`, or `tiny` when benches are only tested: cargo says `--bench` when they are to be measured.
pub fn sized(full: usize, tiny: usize) -> usize {
    let is = |option: &str| std::env::args().any(|arg| arg == option);
    if is("--bench") && !is("--test") { full } else { tiny }
}

criterion_group!(
    benches,
    micro::parser::benches,
    micro::replies::benches,
    micro::store::benches,
    micro::commands::benches
);
criterion_main!(benches);
