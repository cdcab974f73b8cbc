//! Where clients of the generators are when they end, and what they have said by then; over sockets and in the simulation.

use crate::harness::{Rng, command};

/// Where a client is when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// It has sent nothing.
    Fresh,
    /// It has the replies to all it asked.
    Idle,
    /// Within a command, or within its large value.
    MidCommand,
    MidBulk,
    /// Its command waits for a key, or does in a moment.
    Blocked,
    /// Likewise, with commands before it and behind it.
    InputQueued,
    /// Its command and all behind it are held back by a pause.
    Paused,
    /// In a transaction, and watching keys.
    Multi,
    /// It does not read what it asked for.
    OutputUnread,
    /// In the middle of many commands.
    Pipeline,
    /// It gets no replies.
    Silent,
    /// It gets the commands of others.
    Monitor,
}

/// The points of a calm server, and of one that is paused for writes. Those of which there shall be more stand twice.
pub const CALM: &[Point] = &[
    Point::Fresh,
    Point::Idle,
    Point::Idle,
    Point::MidCommand,
    Point::MidCommand,
    Point::MidBulk,
    Point::Blocked,
    Point::Blocked,
    Point::Blocked,
    Point::Blocked,
    Point::Blocked,
    Point::InputQueued,
    Point::Multi,
    Point::Multi,
    Point::Pipeline,
    Point::Silent,
    Point::Silent,
    Point::Monitor,
];
pub const PAUSED: &[Point] = &[
    Point::Fresh,
    Point::Idle,
    Point::MidCommand,
    Point::Blocked,
    Point::InputQueued,
    Point::Paused,
    Point::Paused,
];
/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// It closes the connection.
    Close,
    /// It breaks it; over a Unix socket, that is the same.
    Reset,
    /// It sends no more, but reads.
    HalfClose,
}

pub const GOINGS: [Going; 3] = [Going::Close, Going::Reset, Going::HalfClose];

/// How much is said.
pub struct Sizes {
    /// Commands that are sent at once.
    pub commands_max: usize,
    /// Bytes of a value that the server receives straight into its place.
    pub bulk_bytes: usize,
    /// Bytes of the value `big`, and how many of them fill all that lies between the server and a client that does not read.
    pub big_bytes: usize,
    pub big_count: usize,
}

/// What a client says, and what it is answered.
#[derive(Default)]
pub struct Said {
    pub bytes: Vec<u8>,
    pub replies: Vec<u8>,
    /// Whether that is all it gets, whatever others do.
    pub is_all: bool,
}

impl Point {
    /// The key that the client of this number waits for, if it does.
    pub fn awaited(self, number: u64) -> Option<String> {
        matches!(self, Point::Blocked | Point::InputQueued).then(|| format!("q:{number}"))
    }

    /// What brings the client of this number here. No key named `never:...` comes to be.
    pub fn say(self, number: u64, sizes: &Sizes, rng: &mut Rng) -> Said {
        let (some, others) = (rng.below(sizes.commands_max), rng.below(sizes.commands_max));
        let (ping, pong) = (command(&["PING"]), &b"+PONG\r\n"[..]);
        let never = command(&["SET", &format!("never:{number}"), "1"]);
        let (bytes, replies) = match self {
            Point::Fresh => (vec![], vec![]),
            Point::Idle => (ping, pong.to_vec()),
            Point::MidCommand if rng.once_in(3) => (b"SET never:inline 1".to_vec(), vec![]),
            Point::MidCommand => (never[..1 + rng.below(never.len() - 1)].to_vec(), vec![]),
            Point::MidBulk => {
                let whole = command(&["SET", "never:bulk", &"v".repeat(sizes.bulk_bytes)]);
                (whole[..whole.len() - 1 - rng.below(sizes.bulk_bytes)].to_vec(), vec![])
            }
            Point::Blocked => (waiting(number, rng), vec![]),
            Point::InputQueued => {
                let ahead = if rng.once_in(2) { some } else { 0 };
                let bytes = [ping.repeat(ahead), waiting(number, rng), never.repeat(others)].concat();
                (bytes, pong.repeat(ahead))
            }
            Point::Paused => (never.repeat(1 + if rng.once_in(2) { some } else { 0 }), vec![]),
            Point::Multi => {
                let begin = [command(&["WATCH", &format!("w:{number}")]), command(&["MULTI"])].concat();
                let queued = some.min(20);
                let replies = [&b"+OK\r\n+OK\r\n"[..], &b"+QUEUED\r\n".repeat(queued)].concat();
                ([begin, never.repeat(queued)].concat(), replies)
            }
            Point::OutputUnread => {
                let count = 1 + rng.below(sizes.big_count);
                let (begin, value) = (format!("${}\r\n", sizes.big_bytes), vec![b'b'; sizes.big_bytes]);
                let one = [begin.as_bytes(), &value, b"\r\n"].concat();
                (command(&["GET", "big"]).repeat(count), one.repeat(count))
            }
            Point::Pipeline => (ping.repeat(some), pong.repeat(some)),
            Point::Silent => {
                let off = command(&["CLIENT", "REPLY", "OFF"]);
                ([off, ping.repeat(some.min(20))].concat(), vec![])
            }
            Point::Monitor => (command(&["MONITOR"]), vec![]),
        };
        Said { bytes, replies, is_all: self != Point::Monitor }
    }
}

/// A command that waits for this client's own key, and perhaps for one that others wait for.
fn waiting(number: u64, rng: &mut Rng) -> Vec<u8> {
    let key = format!("q:{number}");
    match rng.below(4) {
        0 => command(&["BLPOP", &key, "q:all", "0"]),
        1 => command(&["BLMOVE", &key, "r:all", "LEFT", "RIGHT", "0"]),
        2 => command(&["BLMPOP", "0", "2", "q:all", &key, "LEFT"]),
        _ => command(&["BRPOP", &key, "0"]),
    }
}
