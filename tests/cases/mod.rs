//! Command cases: data, run under every configuration of the server, in RESP2 and RESP3.
//!
//! A case is a name and steps; a step is a request and the reply it must get. Cases stand in one file per family, as
//! `pub const CASES: &[Case]`, and every row of the command table is named by at least one of them (a test checks that).
//! A case begins with an empty dataset (FLUSHALL) and new connections. It puts back what else it changes (CONFIG SET).
//!
//! **Requests** are words as typed at redis-cli: `SET "key \x00" 'it is' ""`. Before the words may stand, in this order:
//!
//! | prefix | meaning |
//! |---|---|
//! | `b> ` | on connection `b` (any lower-case letter, opened at first use; `a` where none is given) |
//! | `until ` | repeat the request until the reply is the expected one, for what happens in time (expiry), and for SCAN, which a lease that another worker holds may end early |
//! | `raw ` | send the one quoted word that follows as bytes, not as a command |
//!
//! No words (`""`, `"b> "`): send nothing, only read. `$name` as a whole word is what `-> name` kept earlier.
//!
//! **Replies** are written for RESP3; what RESP2 must say follows from that:
//!
//! | written | RESP3 | RESP2 |
//! |---|---|---|
//! | `OK`, `+"with blanks"` | simple string | the same |
//! | `"text\r\n\x00"` | bulk string | the same |
//! | `"text"*`, `has"text"` | bulk that begins with, contains the text (`has` also for verbatim) | the same |
//! | `3`, `-1`, `~100`, `1..9` | integer: exact, near (5 or a tenth off), within | the same |
//! | `!ERR text`, `!ERR begins*`, in lists `!"ERR text"` | error | the same |
//! | `nil` / `nil[]` | null | null bulk / null array |
//! | `[a b c]`, `[a b ...]` | array of exactly, beginning with | the same |
//! | `any[a b]`, `any[a ...]` | array or set in any order, containing | array |
//! | `set[a b]`, `push[a b]` | set (any order), push | array |
//! | `{name value name value}`, `{name value ...}` | map in this order, containing | array |
//! | `,1.5` `(123` `#t` `#f` `="text"` | double, big number, boolean, verbatim | bulk, bulk, 1 or 0, bulk |
//! | `*`, `<int>` `<bulk>` `<number>` `<simple>` `<error>` `<array>` `<map>` `<set>` `<double>` `<verbatim>` | any of that kind (`<number>`: a bulk that is one) | as above |
//! | `X \| Y`, `@2 X @3 Y` | either; X in RESP2 and Y in RESP3 | |
//!
//! A whole expectation may also be: several replies, `X ;; Y`; none at all, `""` (the next reply is the next step's); one that
//! is kept, `X -> name`; the end of the connection, `<closed>` (also after replies: `X ;; <closed>`).
//!
//! A case whose name begins with `torc:` does not hold on the oracle, Redis 8.2: it concerns what is Torc's own, or newer. One whose
//! name begins with `valkey:` is run against Valkey 9.1 instead. All others are run against Redis too, so that an expectation is a
//! fact.
//!
//! `TORC_CASES=text` runs only the cases whose names contain the text.

mod acl;
mod bitmap;
mod blocking;
mod command;
mod connection;
mod expect;
mod function;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod newer;
mod pubsub;
mod run;
mod scripting;
mod server;
mod set;
mod sorted_set;
mod stream;
mod string;
mod tracking;
mod transactions;

pub use run::named_commands;

/// One case.
pub struct Case {
    /// What it shows, in a few words; unique in its family.
    pub name: &'static str,
    /// Requests and the replies they must get.
    pub steps: &'static [(&'static str, &'static str)],
}

/// Cases that no family holds: how requests arrive.
const BASICS: &[Case] = &[
    Case {
        name: "binary keys and values",
        steps: &[
            (r#"SET "\x00\r\n\xff" "\r\n$-1\r\n""#, "OK"),
            (r#"GET "\x00\r\n\xff""#, r#""\r\n$-1\r\n""#),
            (r#"SET "" """#, "OK"),
            (r#"GET """#, r#""""#),
            ("GET missing", "nil"),
        ],
    },
    Case {
        name: "inline and pipelined",
        steps: &[
            (r#"raw "PING\r\nPING\n\r\nSET k 'a b'\r\nGET k\r\n""#, r#"PONG ;; PONG ;; OK ;; "a b""#),
            (r#"raw "*1\r\n$4\r\nPI""#, ""),
            (r#"raw "NG\r\n""#, "PONG"),
            (r#"b> GET k"#, r#""a b""#),
        ],
    },
    Case {
        name: "errors name the command",
        steps: &[
            ("nosuch a b", "!ERR unknown command 'nosuch', with args beginning with: 'a' 'b' "),
            ("GET", "!ERR wrong number of arguments for 'get' command"),
            ("GET a b", "!ERR wrong number of arguments for 'get' command"),
            (r#"raw "*1\r\n$a\r\n""#, "!ERR Protocol error: invalid bulk length ;; <closed>"),
        ],
    },
];

/// Every family.
pub const FAMILIES: &[(&str, &[Case])] = &[
    ("basics", BASICS),
    ("acl", acl::CASES),
    ("bitmap", bitmap::CASES),
    ("blocking", blocking::CASES),
    ("command", command::CASES),
    ("connection", connection::CASES),
    ("function", function::CASES),
    ("generic", generic::CASES),
    ("geo", geo::CASES),
    ("hash", hash::CASES),
    ("hyperloglog", hyperloglog::CASES),
    ("list", list::CASES),
    ("newer", newer::CASES),
    ("pubsub", pubsub::CASES),
    ("scripting", scripting::CASES),
    ("server", server::CASES),
    ("set", set::CASES),
    ("stream", stream::CASES),
    ("sorted_set", sorted_set::CASES),
    ("string", string::CASES),
    ("tracking", tracking::CASES),
    ("transactions", transactions::CASES),
];
