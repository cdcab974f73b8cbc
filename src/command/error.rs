//! A command's own failures: a `Copy` enum mapped to the exact texts of Redis, so that failing costs no allocation.
//!
//! Not here: connection errors (`net`), fatal errors (`main`), protocol errors (`resp`).

use super::ScriptCall;

/// Why a command failed. The text is what follows `-` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The key holds a value of another type.
    WrongType,
    /// Anything the grammar of the options does not allow.
    Syntax,
    /// An argument is not a canonical 64-bit integer, or out of range.
    NotInteger,
    /// An argument is not a finite or infinite float.
    NotFloat,
    /// `SELECT`, `MOVE`, `COPY`, `SWAPDB` beyond `databases`.
    DbIndexOutOfRange,
    /// The key must exist.
    NoSuchKey,
    /// An index beyond a value's bounds.
    IndexOutOfRange,
    /// The memory limit is reached and nothing could be evicted.
    OutOfMemory,
    /// The connection has to authenticate first.
    NoAuth,
    /// Any other error with a constant text, given in full (`ERR ...`).
    Text(&'static str),
    /// The handler has written its error reply itself (`Reply::error_fmt`).
    Replied,
    /// No error: the command has to wait (`Context::block`), and has replied nothing yet.
    Blocked,
    /// No error: the worker is to run a script, and has yet to look at its arguments.
    Script(ScriptCall),
    /// No error: the worker is to load the append-only file, all of whose leases are held.
    Reload,
    /// No error: the command has run for as long as one turn may take, has kept in its session how far it came, and has
    /// replied nothing yet. It is run again in its worker's next turn, which others may have leases before.
    Unfinished,
}

impl CommandError {
    /// The reply's text without the leading `-`; empty where the handler has replied itself or will do so.
    pub fn text(self) -> &'static str {
        match self {
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotInteger => "ERR value is not an integer or out of range",
            Self::NotFloat => "ERR value is not a valid float",
            Self::DbIndexOutOfRange => "ERR DB index is out of range",
            Self::NoSuchKey => "ERR no such key",
            Self::IndexOutOfRange => "ERR index out of range",
            Self::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Self::NoAuth => "NOAUTH Authentication required.",
            Self::Text(text) => text,
            Self::Replied | Self::Blocked | Self::Script(_) | Self::Reload | Self::Unfinished => "",
        }
    }
}

/// What a handler returns.
pub type Outcome = Result<(), CommandError>;
