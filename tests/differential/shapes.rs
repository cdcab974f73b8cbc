//! What random commands look like: one line for each form of a command.
//!
//! A shape is words: literals as they stand, and letters for what is drawn.
//!
//! | letter | drawn |
//! |---|---|
//! | `K` | a key of the small pool, binary and empty ones among them |
//! | `L` | a key of a smaller pool of keys that mostly hold lists |
//! | `W` | a key of the few that clients wait for (`waiting`) |
//! | `T` | how long to wait: never so short that it ends during the run |
//! | `N`, `Y` | a connection's id; what DUMP says of a list: `waiting` puts in each server's own |
//! | `E` | a value, most often one of a few, so that lists have equal elements |
//! | `V` | a value: empty, short, long, binary, numbers and what nearly is one |
//! | `I`, `F` | an integer near the limits of its type; a float |
//! | `R` | an index: small, negative, far out |
//! | `S`, `M`, `A`, `B` | a time to live in seconds, ms; a point in time in seconds, ms: never one that comes during the run |
//! | `P`, `Q` | a point in the future: a key set with a past one is counted until it is looked at |
//! | `D` | a database's number |
//! | `J` | a pattern of SORT: of keys that exist, of others, of no key |
//! | `G` | a glob-style pattern |
//! | `K+`, `KV+`, `E+`, `W+` | one to four of them |
//! | `@name`, `@a@b+` | a word of a family's list (`families`); one to four pairs of words of two lists |
//! | `(a\|b,S\|)` | one alternative, its words separated by commas; it may be empty |

use super::families;
use crate::harness::Rng;

/// How the replies of the two servers are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// Byte by byte.
    Exact,
    /// Integers may differ by this much: they depend on the time.
    Near(i64),
    /// The elements may come in any order.
    Sorted,
    /// Ours may have more names with their values.
    Names,
    /// Only the kind of reply is the same.
    Kind,
}

/// One form of a command.
pub struct Shape {
    /// In the notation above.
    pub words: &'static str,
    /// How its replies are compared.
    pub compare: Compare,
    /// Drawn as often as others, or a tenth as often.
    pub rare: bool,
}

/// A shape whose replies are the same byte by byte.
pub const fn exact(words: &'static str) -> Shape {
    Shape { words, compare: Compare::Exact, rare: false }
}

/// A shape whose replies are the same byte by byte and that is drawn less often.
pub const fn rare(words: &'static str) -> Shape {
    Shape { words, compare: Compare::Exact, rare: true }
}

/// A shape whose replies are compared in another way.
pub const fn like(words: &'static str, compare: Compare) -> Shape {
    Shape { words, compare, rare: false }
}

pub const SECONDS_OFF: i64 = 2;
pub const MS_OFF: i64 = 2000;

/// Those of no family (`families`).
pub const SHAPES: &[Shape] = &[
    // connection
    exact("PING (V|)"),
    exact("ECHO V"),
    exact("SELECT D"),
    // server
    exact("DBSIZE"),
    rare("SWAPDB D D"),
    rare("FLUSHDB (ASYNC|SYNC|)"),
    rare("FLUSHALL (ASYNC|SYNC|)"),
    like("MEMORY USAGE K (SAMPLES,R|)", Compare::Kind),
    exact("COMMAND GETKEYS SET K V"),
    exact("COMMAND GETKEYS MSET KV+"),
];

/// Databases that commands use.
pub const DATABASES: usize = 4;
const REPEATED_MAX: usize = 4;
/// A time to live that is not past is at least this long, in seconds: nothing expires during a run.
const TTL_SECONDS_MIN: u64 = 1000;
/// Two times to live differ by more than a run takes.
const TTL_STEP_SECONDS: u64 = 1000;
const TTL_STEPS: usize = 1 << 24;

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"key:1",
    b"key:2",
    b"{tag}1",
    b"{tag}2",
    b"",
    b"\0",
    b"\r\n",
    b"\xff\xfe*?[",
    b"0",
    b"a somewhat longer key that does not fit into a small inline field of any kind",
];
/// Few, so that connections meet; some are of one shard in any configuration.
pub const WAITED_KEYS: &[&[u8]] = &[b"x", b"y", b"z", b"{t}1", b"{t}2"];
const TIMEOUTS: &[&[u8]] = &[b"0", b"0", b"0", b"0", b"0.0", b"1000", b"1e4", b"-1", b"abc"];
/// Connections that `N` names.
pub const NAMED_CONNECTIONS: usize = 5;
/// What a word that stands for a connection's id begins with.
pub const ID: &str = "ID:";
/// What a word that stands for what DUMP said begins with; the first is that of a string, the others are lists'.
pub const PAYLOAD: &str = "PAYLOAD:";
/// How many payloads there are.
pub const PAYLOADS: usize = 4;
const LIST_KEYS: &[&[u8]] = &[b"list:1", b"list:2", b"list:3", b"{tag}list"];
const ELEMENTS: &[&[u8]] =
    &[b"a", b"b", b"1", b"-300", b"70000", b"a longer element, though not a very long one"];
const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"abc",
    b"hello world",
    b"\0\x01\xff\r\n",
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"12345678901234567890",
    b" 1",
    b"1 ",
    b"+1",
    b"007",
    b"3.0",
    b"1.5e3",
    b"3.0e-20",
    b"inf",
    b"nan",
    b"0x10",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"ohmytext",
    b"mynewtext",
    b"10",
    b"99999",
    b"1e400",
    b"exactly forty-four bytes long, embstr's limit.",
    b"0.1",
    b"123456789.123456789",
];
const INTEGERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"10",
    b"-10",
    b"100",
    b"9999",
    b"10000",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775806",
    b"-9223372036854775807",
    b"9223372036854775808",
    b"1.5",
    b"abc",
    b"",
    b" 1",
    b"4611686018427387904",
    b"-4611686018427387905",
];
const FLOATS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"0.1",
    b"-0.3",
    b"1.5",
    b"3.14159265358979323846",
    b"1e10",
    b"5.0e3",
    b"1e-10",
    b"1e17",
    b"123456789012345678",
    b"inf",
    b"-inf",
    b"nan",
    b"abc",
    b"",
    b" 1",
    b"1 ",
    b"0x1p3",
    b"1e308",
    b"1e5000",
    b"0.00000000000000001",
    b"200000.0",
];
const INDEXES: &[&[u8]] = &[
    b"0",
    b"1",
    b"2",
    b"3",
    b"5",
    b"-1",
    b"-2",
    b"-5",
    b"10",
    b"40",
    b"100",
    b"-100",
    b"2147483648",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"abc",
    b"600000000",
];
const PATTERNS: &[&[u8]] = &[
    b"*", b"*", b"key:*", b"{tag}*", b"*->f", b"*->", b"nosuch*", b"a*", b"#", b"", b"\0*", b"b", b"list:*",
];
const DATABASE_NUMBERS: &[&[u8]] = &[b"0", b"1", b"2", b"3", b"0", b"1", b"2", b"3", b"16", b"-1", b"abc"];
const GLOBS: &[&[u8]] =
    &[b"*", b"a*", b"key:?", b"[a-c]", b"[^a]", b"\\*", b"", b"?", b"*e*", b"{tag}*", b"nosuch"];
const GARBAGE: &[&[u8]] = &[
    b"",
    b"abc",
    b"-1",
    b"99999999999999999999",
    b"NX",
    b"XX",
    b"GET",
    b"EX",
    b"PX",
    b"\0",
    b"1e400",
    b"*",
    b"LEN",
];

/// Commands that pick at random, or reply a part only, or billions of picks, unless they are given as their shapes say; and
/// CONFIG, whose directives have tests of their own.
const NEVER_SPOILT: &[&str] =
    &["SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER", "HSCAN", "SSCAN", "ZSCAN", "CONFIG"];

/// A random command of one of `shapes`, and how its replies are compared.
pub fn draw(shapes: &[&'static Shape], rng: &mut Rng) -> (Vec<Vec<u8>>, Compare) {
    let shape = loop {
        let shape = rng.pick(shapes);
        if !shape.rare || rng.once_in(10) {
            break shape;
        }
    };
    let mut words = Vec::new();
    for token in shape.words.split(' ') {
        match token.strip_prefix('(').and_then(|token| token.strip_suffix(')')) {
            None => push(&mut words, token, rng),
            Some(choices) => {
                let choices: Vec<&str> = choices.split('|').collect();
                let choice = rng.pick(&choices);
                choice
                    .split(',')
                    .filter(|word| !word.is_empty())
                    .for_each(|word| push(&mut words, word, rng));
            }
        }
    }
    // Ranges by name are defined only where all scores are alike.
    let is_alike = words[0] == b"ZADD" && words.get(1).is_some_and(|key| key.starts_with(b"lex:"));
    let is_kept = is_alike || NEVER_SPOILT.iter().any(|name| words[0] == name.as_bytes());
    if rng.once_in(12) && !is_kept {
        spoil(&mut words, rng);
        if words[0] == b"XADD" {
            // IDs that the clock gives.
            words.retain(|word| word != b"*");
        }
    }
    (words, shape.compare)
}

/// Makes a command that is probably wrong out of one that is probably right.
fn spoil(words: &mut Vec<Vec<u8>>, rng: &mut Rng) {
    // The name stays, and so does a subcommand.
    let at = 1 + rng.below(words.len());
    match rng.below(3) {
        0 if at < words.len() => drop(words.remove(at)),
        1 if at < words.len() => words[at] = rng.pick(GARBAGE).to_vec(),
        _ => words.insert(at, rng.pick(GARBAGE).to_vec()),
    }
}

/// A time to live that practically never recurs: which of two is greater must not depend on the milliseconds between them.
fn seconds(rng: &mut Rng) -> u64 {
    TTL_SECONDS_MIN + rng.below(TTL_STEPS) as u64 * TTL_STEP_SECONDS
}

/// Words of lists of families: one of each, or so one to four times.
fn push_listed(words: &mut Vec<Vec<u8>>, token: &str, rng: &mut Rng) {
    let (names, repeats) = match token.strip_suffix('+') {
        None => (token, 0),
        Some(names) => (names, rng.below(REPEATED_MAX)),
    };
    for _ in 0..=repeats {
        for name in names.split('@').skip(1) {
            match name.len() {
                // A letter of the table above.
                1 => push(words, name, rng),
                _ => words.push(rng.pick(families::list(name)).to_vec()),
            }
        }
    }
}

fn push(words: &mut Vec<Vec<u8>>, token: &str, rng: &mut Rng) {
    if token.starts_with('@') {
        return push_listed(words, token, rng);
    }
    let one = |choices: &[&[u8]], rng: &mut Rng| rng.pick(choices).to_vec();
    let number = |number: u64| number.to_string().into_bytes();
    let word = match token {
        "K" if rng.once_in(10) => one(LIST_KEYS, rng),
        "K" => one(KEYS, rng),
        "L" if rng.once_in(10) => one(KEYS, rng),
        "L" => one(LIST_KEYS, rng),
        "W" => one(WAITED_KEYS, rng),
        "T" => one(TIMEOUTS, rng),
        "N" => format!("{ID}{}", rng.below(NAMED_CONNECTIONS)).into_bytes(),
        "Y" => format!("{PAYLOAD}{}", 1 + rng.below(PAYLOADS - 1)).into_bytes(),
        "E" if rng.once_in(3) => {
            push(words, "V", rng);
            return;
        }
        "E" => one(ELEMENTS, rng),
        "V" if rng.once_in(20) => vec![b'x'; rng.below(20_000)],
        "V" => one(VALUES, rng),
        "I" => one(INTEGERS, rng),
        "F" => one(FLOATS, rng),
        "R" => one(INDEXES, rng),
        "D" => one(DATABASE_NUMBERS, rng),
        "J" => one(PATTERNS, rng),
        "G" => one(GLOBS, rng),
        "S" | "M" | "A" | "B" if rng.once_in(8) => {
            one(&[b"0", b"-1", b"abc", b"9223372036854775807", b"-9223372036854775808", b"1.5"], rng)
        }
        "S" => number(seconds(rng)),
        "M" => number(seconds(rng) * 1000),
        // Far in the future and in the past.
        "A" => one(&[b"33177117420", b"33177117421", b"1000"], rng),
        "B" => one(&[b"33177117420000", b"33177117420001", b"1000"], rng),
        "P" => number(33_177_117_420 + rng.below(2) as u64),
        "Q" => number(33_177_117_420_000 + rng.below(2) as u64),
        "K+" => {
            (0..=rng.below(REPEATED_MAX)).for_each(|_| push(words, "K", rng));
            return;
        }
        "W+" => {
            (0..=rng.below(REPEATED_MAX)).for_each(|_| push(words, "W", rng));
            return;
        }
        "E+" => {
            (0..=rng.below(REPEATED_MAX)).for_each(|_| push(words, "E", rng));
            return;
        }
        "KV+" => {
            (0..=rng.below(REPEATED_MAX)).for_each(|_| {
                push(words, "K", rng);
                push(words, "V", rng);
            });
            return;
        }
        literal => literal.as_bytes().to_vec(),
    };
    words.push(word);
}
