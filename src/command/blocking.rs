//! What a command says that has to wait: which of its keys for, how long, and what it replies when its time is up.
//!
//! Design: a handler that finds nothing returns `ctx.block(...)`, having written and changed nothing. Its client is put on
//! hold; when one of the keys it waits for comes to hold what it wants, the same handler runs again, with the same arguments,
//! under the leases of all its keys. So a family's code knows nothing of waiting but when to do so. Where a command must not
//! wait (in a transaction, in a script) the handler replies at once what `Context::may_block` tells it to decide on.
//!
//! Not here: queues of waiters (`store`), serving them (`exec::blocking`), time (`worker`).

use super::{CommandError, Context, Outcome, Shared};
use crate::resp::Reply;
use crate::resp::long_double::LongDouble;
use crate::resp::number::{parse_f64, parse_i64};
use crate::store::Type;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// So many of the command's keys are waited for, from the first on, in the order of its key specifications. The others
    /// are written when it is served.
    pub awaited_count: usize,
    /// What a key has to hold to be worth running the command again; nothing for a command that waits for no key.
    pub wants: Option<Type>,
    /// It runs again also when a key is gone or holds something else.
    pub heeds_loss: bool,
    /// When it gives up, Unix time in ms; 0 for never.
    pub until_ms: u64,
    /// When it runs again though no key has changed, because of what the time makes of them, likewise.
    pub retry_ms: u64,
    /// What it replies then.
    pub on_timeout: OnTimeout,
}

impl Blocking {
    /// A client waits for something else than keys: its command runs again at `retry_ms`, and gives up at `until_ms`, 0 for never.
    pub fn without_keys(until_ms: u64, retry_ms: u64, on_timeout: OnTimeout) -> Self {
        Self { awaited_count: 0, wants: None, heeds_loss: false, until_ms, retry_ms, on_timeout }
    }
}

/// Arguments that another word takes the place of when the command runs again, because they mean something else by then.
pub type Settled = Vec<(usize, Vec<u8>)>;

/// What a command replies whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// A null array.
    NullArray,
    /// WAIT: how many replicas have what the client has written up to this ticket.
    Applied(u64),
    /// WAITAOF: how many logs, of this server and of replicas, have it.
    Synced(u64),
    /// MIGRATE: the exchange of this number is not over.
    Migration(u64),
    /// SHUTDOWN: replicas have not all that was written, since the end was asked for so often.
    End(u64),
}

impl OnTimeout {
    /// Writes it.
    pub fn reply(self, shared: &Shared, reply: &mut Reply<'_>) {
        match self {
            Self::NullArray => reply.null_array(),
            Self::Applied(ticket) => reply.integer(shared.applied_count(ticket) as i64),
            Self::Synced(ticket) => {
                let (own, replicas) = shared.synced_counts(ticket);
                reply.array(2);
                reply.integer(own as i64);
                reply.integer(replicas as i64);
            }
            Self::Migration(_) => reply.error("IOERR error or timeout reading to target instance"),
            Self::End(_) => reply.error("ERR Errors trying to SHUTDOWN. Check logs."),
        }
    }

    /// Whether it waits for what replicas say: the last ticket that matters.
    pub fn awaited_ticket(self) -> Option<u64> {
        match self {
            Self::NullArray | Self::Migration(_) | Self::End(_) => None,
            Self::Applied(ticket) | Self::Synced(ticket) => Some(ticket),
        }
    }
}

impl Context<'_> {
    /// Whether the command may wait; in a transaction none does.
    pub fn may_block(&self) -> bool {
        !self.session.denies_blocking
    }

    /// Waits until one of the command's first keys holds a value of a type; the reply is a null array where that is not allowed,
    /// and once its time is up.
    pub fn block_for(
        &mut self,
        wants: Type,
        awaited_count: usize,
        until_ms: u64,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let on_timeout = OnTimeout::NullArray;
        if !self.may_block() {
            on_timeout.reply(self.shared, reply);
            return Ok(());
        }
        let wants = Some(wants);
        self.block(Blocking { awaited_count, wants, heeds_loss: false, until_ms, retry_ms: 0, on_timeout })
    }

    /// The command has to wait. To be returned by its handler, which has written and changed nothing.
    pub fn block(&mut self, blocking: Blocking) -> Outcome {
        self.block_settled(blocking, Settled::new())
    }

    /// As `block`, with other words for some of the arguments.
    pub fn block_settled(&mut self, blocking: Blocking, settled: Settled) -> Outcome {
        assert!(self.may_block(), "the handler asks first");
        self.session.blocking = Some((blocking, settled));
        Err(CommandError::Blocked)
    }
}

const OUT_OF_RANGE: CommandError = CommandError::Text("ERR timeout is out of range");
const NEGATIVE: CommandError = CommandError::Text("ERR timeout is negative");

/// When a wait of so many seconds (a decimal) ends, Unix time in ms; 0 for never.
pub fn until_after_seconds(text: &[u8], now_ms: u64) -> Result<u64, CommandError> {
    const NOT_FLOAT: CommandError = CommandError::Text("ERR timeout is not a float or out of range");
    // Redis reads it with a range far beyond that of doubles.
    LongDouble::parse(text).ok_or(NOT_FLOAT)?;
    let negative = text.starts_with(b"-");
    let is_tiny = || memchr::memmem::find(&text.to_ascii_lowercase(), b"e-").is_some();
    let ms = match parse_f64(text) {
        Some(seconds) => (seconds * 1000.0).ceil(),
        None if is_tiny() => f64::from(u8::from(!negative)),
        None if negative => f64::NEG_INFINITY,
        None => f64::INFINITY,
    };
    if ms >= i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    until_after_ms(ms as i64, now_ms)
}

/// When a wait of so many ms (an integer) ends, Unix time in ms; 0 for never.
pub fn until_after_milliseconds(text: &[u8], now_ms: u64) -> Result<u64, CommandError> {
    let ms = parse_i64(text).ok_or(CommandError::Text("ERR timeout is not an integer or out of range"))?;
    until_after_ms(ms, now_ms)
}

fn until_after_ms(ms: i64, now_ms: u64) -> Result<u64, CommandError> {
    match u64::try_from(ms).map_err(|_| NEGATIVE)? {
        0 => Ok(0),
        ms if ms > i64::MAX as u64 - now_ms => Err(OUT_OF_RANGE),
        ms => Ok(now_ms + ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        let seconds = |text: &str| until_after_seconds(text.as_bytes(), 1000).map_err(CommandError::text);
        for (text, until_ms) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0001", 0),
            ("1", 2000),
            ("0.001", 1001),
            ("0.0001", 1001),
            ("1.5", 2500),
            ("0x10", 17_000),
            ("1e2", 101_000),
            ("1e-4000", 1001),
            ("9e15", 9_000_000_000_000_001_000),
        ] {
            assert_eq!(seconds(text), Ok(until_ms), "{text}");
        }
        for text in ["", "x", " 1", "1 ", "nan", "1e5000"] {
            assert_eq!(seconds(text), Err("ERR timeout is not a float or out of range"), "{text}");
        }
        for text in ["-1", "-0.5e300", "-1e400", "-inf"] {
            assert_eq!(seconds(text), Err("ERR timeout is negative"), "{text}");
        }
        for text in ["1e300", "1e400", "inf", "9223372036854776"] {
            assert_eq!(seconds(text), Err("ERR timeout is out of range"), "{text}");
        }
        let ms = |text: &str| until_after_milliseconds(text.as_bytes(), 1000).map_err(CommandError::text);
        assert_eq!((ms("0"), ms("5")), (Ok(0), Ok(1005)));
        assert_eq!(ms("-5"), Err("ERR timeout is negative"));
        assert_eq!(ms("1.5"), Err("ERR timeout is not an integer or out of range"));
        assert_eq!(ms("9223372036854775807"), Err("ERR timeout is out of range"));
    }
}
