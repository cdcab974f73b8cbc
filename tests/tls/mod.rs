//! TLS over both backends: what is served, to whom, what ends it, and what hostile clients do.
//!
//! Not here: records and their pieces in the simulation (`src/io/tls/tests.rs`), all command cases over TLS (`cases`), client
//! programs (`clients`).

mod certificates;
mod endings;
mod hostile;
mod reload;
mod serving;

use crate::harness::Server;

/// Both backends.
const BACKENDS: [&str; 2] = ["io_uring", "epoll"];

/// A field of INFO, as a number.
fn info(server: &Server, section: &str, field: &str) -> u64 {
    let text = server.client().ask(&format!("INFO {section}")).string();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{field} is not in {text}"))
}
