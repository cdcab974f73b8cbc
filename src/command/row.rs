//! A command is one row: everything that is known of it, beside its handler.
//!
//! Design: lookup, arity check, leases, memory gate, COMMAND INFO / DOCS / GETKEYS, statistics, the fuzz dictionary and the
//! README's table are derived from rows and from nothing else. A family file holds a `const ROWS: &[Command]` made with the
//! functional-update syntax over a family default: `Command { name: "get", arity: 2, ..STRING }`.

use super::{Args, Categories, Context, Outcome};
use crate::resp::Reply;
use crate::security::KeyNeed;
use crate::store::PrefetchHint;

/// Runs a command: plain sequential code over the keys whose leases are held.
pub type Handler = fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> Outcome;

/// Finds the keys of a command where its options decide: calls back with the argument of each key and what is done to it, and
/// says which shards are needed.
pub type KeyFinder = fn(&Args<'_>, &mut dyn FnMut(usize, KeyAccess)) -> Scope;

/// Calls back with the place of each argument that no log may show.
pub type SecretFinder = fn(&Args<'_>, &mut dyn FnMut(usize));

/// One command or subcommand.
#[derive(Clone, Copy)]
pub struct Command {
    /// Lower case; a subcommand's own word only (`list` of `client list`).
    pub name: &'static str,
    /// Number of arguments with the name (and the container's name) included; negative: at least that many.
    pub arity: i16,
    /// What it does to the data and where it is allowed.
    pub flags: Flags,
    /// Where its keys stand; empty for none.
    pub keys: &'static [KeySpec],
    /// Its channels, where it has any.
    pub channels: Channels,
    /// Which shards must be held while it runs.
    pub scope: Scope,
    /// It changes how other clients' commands run. It has its reply only when all leases have been held once since it ran, so
    /// that no command which did not see the change is still under way. Such a row has [`Scope::Alone`].
    pub changes_others: bool,
    /// Stands in for `keys` and `scope` where these cannot tell.
    pub finder: Option<KeyFinder>,
    /// Finds its passwords, where it may have any.
    pub secrets: Option<SecretFinder>,
    /// What it uses of its keys' values, to be fetched before.
    pub prefetch_hint: PrefetchHint,
    /// It only reads its keys, through [`Context::read`] and its like: it can run while other workers read the same shards. Whoever
    /// finds that it has to change something, an expired key, runs again with the shards to itself.
    pub shares: bool,
    /// It may take so long that nobody should wait for shards other than its own meanwhile: it runs behind all others of its
    /// group.
    pub may_take_long: bool,
    /// The family, as Redis's documentation groups them.
    pub group: Group,
    /// The version of Redis that introduced it.
    pub since: &'static str,
    /// `O(1)`, or `O(N), N keys`: what it depends on, in a few words.
    pub complexity: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The arguments in the notation of redis.io: `key value [NX | XX] [GET]`; empty for none.
    pub syntax: &'static str,
    /// Containers (CLIENT, CONFIG, ...) list their subcommands here.
    pub subcommands: &'static [Command],
    /// ACL categories beyond those that the flags and the group imply; one that names a family stands in for the group's.
    pub categories: Categories,
    /// Hints for clients and proxies, as `COMMAND INFO` lists them: `nondeterministic_output`, `request_policy:all_shards`.
    pub tips: &'static [&'static str],
    /// Since when it is deprecated, and what replaces it.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// It is for servers and test suites rather than for applications.
    pub internal: bool,
    /// The code. A container's own handler is never run.
    pub handler: Handler,
}

/// What the row defaults to; families override it.
pub const BASE: Command = Command {
    name: "",
    arity: 0,
    flags: Flags::NONE,
    keys: &[],
    channels: Channels::None,
    scope: Scope::None,
    changes_others: false,
    finder: None,
    secrets: None,
    prefetch_hint: PrefetchHint::Entry,
    shares: false,
    may_take_long: false,
    group: Group::Generic,
    since: "1.0.0",
    complexity: "O(1)",
    summary: "",
    syntax: "",
    subcommands: &[],
    categories: Categories::NONE,
    tips: &[],
    deprecated: None,
    internal: false,
    handler: container,
};

/// The handler of a container: unreachable, because lookup resolves the subcommand or fails.
pub fn container(_: &mut Context<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    unreachable!("a container command is resolved to one of its subcommands")
}

impl Command {
    /// Its arguments as SLOWLOG and MONITOR show them.
    pub fn shown<'a>(&self, args: &Args<'a>) -> Vec<&'a [u8]> {
        let mut words: Vec<&[u8]> = args.from(0).collect();
        if let Some(find) = self.secrets {
            find(args, &mut |index| words[index] = b"(redacted)");
        }
        words
    }
}

/// Which of a command's arguments are channels that a user needs the right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// None.
    None,
    /// The first.
    First,
    /// All.
    All,
    /// All, and they are patterns.
    Patterns,
}

/// Which shards a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// No key is touched.
    None,
    /// No key is touched, and no lease is held while it runs, not even for others: it talks to the system (files, `/proc`),
    /// which may take long, or it changes how others' commands run.
    Alone,
    /// The shards of the keys that the row's specifications find.
    Keys,
    /// Every shard: it may touch anything.
    All,
    /// What the commands that its client has queued need, and the shards of the keys that the client watches.
    Transaction,
    /// The shards of the keys that it names, and whatever else the script that it runs turns out to need.
    Script,
}

/// A family of commands, named as in `COMMAND DOCS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `generic`
    Generic,
    /// `string`
    String,
    /// `list`
    List,
    /// `set`
    Set,
    /// `sorted-set`
    SortedSet,
    /// `hash`
    Hash,
    /// `stream`
    Stream,
    /// `bitmap`
    Bitmap,
    /// `hyperloglog`
    HyperLogLog,
    /// `geo`
    Geo,
    /// `connection`
    Connection,
    /// `server`
    Server,
    /// `transactions`
    Transactions,
    /// `pubsub`
    PubSub,
    /// `scripting`
    Scripting,
}

impl Group {
    /// As `COMMAND DOCS` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Bitmap => "bitmap",
            Self::HyperLogLog => "hyperloglog",
            Self::Geo => "geo",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Transactions => "transactions",
            Self::PubSub => "pubsub",
            Self::Scripting => "scripting",
        }
    }
}

/// A set of command flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Flags {
            /// No flag.
            pub const NONE: Self = Self(0);
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*
            /// Every flag with the name that `COMMAND INFO` gives it, in that order.
            pub const NAMES: &'static [(Self, &'static str)] = &[$((Self::$name, $text)),*];
        }
    };
}

flags! {
    /// May change data.
    WRITE = 0, "write";
    /// Only reads data.
    READONLY = 1, "readonly";
    /// Refused when memory is over the limit.
    DENYOOM = 2, "denyoom";
    /// For administrators.
    ADMIN = 3, "admin";
    /// Concerns published messages.
    PUBSUB = 4, "pubsub";
    /// Not from scripts.
    NOSCRIPT = 5, "noscript";
    /// May block the client.
    BLOCKING = 6, "blocking";
    /// Allowed while a dataset is loaded.
    LOADING = 7, "loading";
    /// Allowed on a replica with stale data.
    STALE = 8, "stale";
    /// Never in the slow log.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Not shown to MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// In cluster mode, allowed for a slot being imported.
    ASKING = 11, "asking";
    /// Constant or logarithmic time.
    FAST = 12, "fast";
    /// Allowed before authentication.
    NO_AUTH = 13, "no_auth";
    /// May be replicated although it only reads.
    MAY_REPLICATE = 14, "may_replicate";
    /// Not inside MULTI.
    NO_MULTI = 15, "no_multi";
    /// Keys are not at fixed positions.
    MOVABLEKEYS = 16, "movablekeys";
    /// Allowed while a script runs too long.
    ALLOW_BUSY = 17, "allow_busy";
    /// Not while a dataset is loaded asynchronously.
    NO_ASYNC_LOADING = 18, "no_async_loading";
    /// Touches keys that no specification names.
    TOUCHES_ARBITRARY_KEYS = 19, "touches_arbitrary_keys";
    /// Needs `enable-debug-command` and its like.
    PROTECTED = 20, "protected";
    /// It may have keys, or none.
    NO_MANDATORY_KEYS = 22, "no_mandatory_keys";
    /// Clients do not see it in `COMMAND`; kept for old clients.
    SENTINEL = 21, "sentinel";
}

impl Flags {
    /// In the gates of every row, and no flag of a command (see [`super::Row::gates`]).
    pub const ANY: Self = Self(1 << 30);
    /// Of a row that is not [plain](super::Row::gates).
    pub const NOT_PLAIN: Self = Self(1 << 31);

    /// Both sets together, usable in constants.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all flags of `other` are in `self`.
    #[inline]
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any flag of `other` is in `self`.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

/// Where some of a command's keys stand among its arguments (Redis's key specifications).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What the command does with them.
    pub access: KeyAccess,
    /// Where the search begins.
    pub begin: Begin,
    /// How the keys lie from there.
    pub find: Find,
    /// Other arguments decide whether these are keys; the row's finder knows.
    pub is_incomplete: bool,
}

/// Where the keys of a specification begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(u16),
    /// After this word, searched from this argument (negative: from the end).
    Keyword(&'static str, i16),
    /// Nobody can say, and this is why; the row's finder knows of any keys.
    Unknown(&'static str),
}

/// How the keys of a specification lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// From the beginning to `last` (relative to it; negative: from the end of the arguments), every `step`th.
    Range { last: i16, step: u16, limit: u16 },
    /// The argument at `count` (relative to the beginning) says how many; the first is at `first`, every `step`th.
    Count { count: u16, first: u16, step: u16 },
    /// With [`Begin::Unknown`].
    Unknown,
}

/// What a command does with the keys of a specification; texts as in `COMMAND INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// `RO access`
    Read,
    /// `RO` alone: reads only metadata.
    Look,
    /// `RW access update`
    ReadUpdate,
    /// `RW update`
    Update,
    /// `RW access delete`
    ReadDelete,
    /// `RW delete`
    Remove,
    /// `RW delete update`
    RemoveUpdate,
    /// `RM delete`
    Delete,
    /// `OW update`
    Overwrite,
    /// `OW insert`
    Insert,
    /// `RW insert`
    Add,
    /// `RW access`: it may write down what it has found out
    ReadRecode,
    /// `RW access insert`
    ReadAdd,
    /// `RW access update variable_flags`
    Variable,
    /// The same of BITFIELD, which may only read.
    VariableBits,
    /// `RW delete variable_flags`
    RemoveVariable,
    /// `not_key`: a channel that a cluster keeps where keys of that name are.
    Channel,
}

impl KeyAccess {
    /// What permission it takes.
    pub const fn need(self) -> KeyNeed {
        let (reads, writes) = match self {
            Self::Read => (true, false),
            Self::ReadUpdate | Self::ReadDelete | Self::ReadAdd => (true, true),
            Self::Variable | Self::VariableBits => (true, true),
            Self::Update | Self::Remove | Self::RemoveUpdate | Self::Delete => (false, true),
            Self::Overwrite | Self::Insert | Self::Add | Self::RemoveVariable => (false, true),
            Self::ReadRecode => (true, false),
            Self::Look | Self::Channel => (false, false),
        };
        KeyNeed { reads, writes }
    }

    /// The flags that `COMMAND INFO` lists for it.
    pub fn flag_names(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["RO", "access"],
            Self::Look => &["RO"],
            Self::ReadUpdate => &["RW", "access", "update"],
            Self::Update => &["RW", "update"],
            Self::ReadDelete => &["RW", "access", "delete"],
            Self::Remove => &["RW", "delete"],
            Self::RemoveUpdate => &["RW", "delete", "update"],
            Self::Delete => &["RM", "delete"],
            Self::Overwrite => &["OW", "update"],
            Self::Insert => &["OW", "insert"],
            Self::Add => &["RW", "insert"],
            Self::ReadRecode => &["RW", "access"],
            Self::ReadAdd => &["RW", "access", "insert"],
            Self::Variable | Self::VariableBits => &["RW", "access", "update", "variable_flags"],
            Self::RemoveVariable => &["RW", "delete", "variable_flags"],
            Self::Channel => &["not_key"],
        }
    }
}

/// One key at argument `index`.
pub const fn key_at(index: u16, access: KeyAccess) -> KeySpec {
    KeySpec {
        access,
        begin: Begin::Index(index),
        find: Find::Range { last: 0, step: 1, limit: 0 },
        is_incomplete: false,
    }
}

/// Keys that no specification can find, and why.
pub const fn unknown_keys(access: KeyAccess, note: &'static str) -> KeySpec {
    KeySpec { access, begin: Begin::Unknown(note), find: Find::Unknown, is_incomplete: false }
}

/// Keys from argument `index` to `last` (as in `Find::Range`), every `step`th.
pub const fn keys_from(index: u16, last: i16, step: u16, access: KeyAccess) -> KeySpec {
    KeySpec {
        access,
        begin: Begin::Index(index),
        find: Find::Range { last, step, limit: 0 },
        is_incomplete: false,
    }
}
