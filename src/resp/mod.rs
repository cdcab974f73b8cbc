//! RESP2, RESP3 and inline commands: pure bytes in, bytes out.
//!
//! | file | what |
//! |---|---|
//! | `parse` | requests: the resumable in-place parser, its limits and protocol errors |
//! | `inline` | splitting of inline commands and configuration lines; encoding of commands |
//! | `reply` | replies: the typed writer |
//! | `output` | what a connection will send: flat bytes with large values in between |
//! | `number` | the exact conversions between text and numbers |
//! | `grisu` | the digits of a float |
//! | `long_double` | the 80-bit arithmetic of INCRBYFLOAT and HINCRBYFLOAT |
//!
//! Nothing here does I/O, reads a clock or knows a command.

mod grisu;
pub mod inline;
pub mod long_double;
pub mod number;
pub mod output;
pub mod parse;
pub mod reply;

pub use long_double::LongDouble;
pub use output::{ErrorWord, Mark, Output, Taken};
pub use parse::{Limits, ParseOutcome, Parser, Prefix, ProtocolError, Span, fuzz_parse};
pub use reply::{Deferred, Protocol, Reply};
