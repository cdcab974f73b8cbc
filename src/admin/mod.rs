//! The admin port: HTTP for people and programs that watch the server.
//!
//! | file | what |
//! |---|---|
//! | `listen` | the sockets |
//! | `server` | the thread: accepts, waits, closes who takes too long |
//! | `connection` | one connection: bytes in, bytes out, its deadline |
//! | `request` | a request out of bytes |
//! | `response` | bytes out of a response |
//! | `access` | who is answered |
//! | `site` | which path is answered by what |
//! | `health` | `/healthz`, `/readyz` |
//! | `metrics/` | `/metrics` |
//! | `state`, `page/` | the live page and what it shows |
//!
//! Design: one thread, woken by `mio`, which waits for nobody and keeps off the workers' processors where there are others. It reads
//! the counters that workers leave in `observe` and what INFO reads besides, takes no lease, and holds no lock that a worker waits
//! for. GET and HEAD only, no bodies, one request at a time. `httparse` reads requests: it is the parser of hyper, has no
//! dependencies and does nothing else. (`tiny_http` brings a pool of threads of its own, which has no bound, and its own idea of
//! timeouts.)
//!
//! Invariants: connections, bytes of a request and the time for each step have named limits ([`server`], [`request`], [`connection`]);
//! what a client sends is never an instruction to change anything.
//! Not here: what is counted (`observe`), INFO (`command`).

mod access;
mod connection;
mod health;
mod listen;
mod metrics;
mod request;
mod response;
mod server;
mod site;
mod state;

use std::io;
use std::sync::Arc;

use crate::command::Shared;

pub use listen::{Listeners, open};

/// Serves from a thread of its own for as long as the process lives; `settle` is what that thread does first.
///
/// # Errors
/// The thread or what it waits with cannot be made.
pub fn start(
    listeners: Listeners,
    shared: Arc<Shared>,
    settle: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let mut server = server::Server::new(listeners, site::Site::new(shared))?;
    std::thread::Builder::new().name("torc-admin".to_owned()).spawn(move || {
        settle();
        server.run();
    })?;
    Ok(())
}
