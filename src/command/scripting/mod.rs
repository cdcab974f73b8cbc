//! The family `scripting`: EVAL and its kin. SCRIPT: `script`.
//!
//! Design: the handlers of commands that run a script say so ([`CommandError::Script`]): the worker runs it, which has what
//! running commands needs.
//!
//! Not here: the interpreter (`crate::script`), running a script's commands (`worker::script`).

pub mod busy;
pub mod script;

use super::row::{BASE, Begin, Find, KeyAccess, KeySpec};
use super::{Args, Command, CommandError, Context, Flags, Group, Outcome, Scope};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::script::Engine;

/// What runs a script, and whether it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// By its SHA1 rather than by its text.
    pub by_sha: bool,
    /// It may not write.
    pub reads_only: bool,
}

const fn keys(access: KeyAccess) -> KeySpec {
    KeySpec { access, begin: Begin::Index(2), find: Find::Count { count: 0, first: 1, step: 1 } }
}

const SCRIPTING: Command = Command { group: Group::Scripting, since: "2.6.0", ..BASE };

const RUN: Command = Command {
    arity: -3,
    flags: Flags::NOSCRIPT
        .with(Flags::STALE)
        .with(Flags::SKIP_MONITOR)
        .with(Flags::MAY_REPLICATE)
        .with(Flags::NO_MANDATORY_KEYS),
    keys: &[keys(KeyAccess::ReadUpdate)],
    scope: Scope::Script,
    may_take_long: true,
    complexity: "that of the script",
    ..SCRIPTING
};

const READ: Command = Command {
    flags: Flags::NOSCRIPT
        .with(Flags::STALE)
        .with(Flags::SKIP_MONITOR)
        .with(Flags::READONLY)
        .with(Flags::NO_MANDATORY_KEYS),
    keys: &[keys(KeyAccess::Read)],
    since: "7.0.0",
    ..RUN
};

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "eval",
        summary: "Runs a script.",
        syntax: "script numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by_sha: false, reads_only: false }),
        ..RUN
    },
    Command {
        name: "evalsha",
        summary: "Runs a script that is known by its SHA1.",
        syntax: "sha1 numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by_sha: true, reads_only: false }),
        ..RUN
    },
    Command {
        name: "evalsha_ro",
        summary: "Runs a script that is known by its SHA1 and writes nothing.",
        syntax: "sha1 numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by_sha: true, reads_only: true }),
        ..READ
    },
    Command {
        name: "eval_ro",
        summary: "Runs a script that writes nothing.",
        syntax: "script numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by_sha: false, reads_only: true }),
        ..READ
    },
    script::ROW,
];

fn run(_: &Args<'_>, call: ScriptCall) -> Outcome {
    Err(CommandError::Script(call))
}

/// How many of the arguments behind `args[2]` are keys.
pub fn key_count(args: &Args<'_>) -> Result<usize, CommandError> {
    let count = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    if count > args.len() as i64 - 3 {
        return Err(CommandError::Text("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_| CommandError::Text("ERR Number of keys can't be negative"))
}

/// What a worker runs scripts with.
#[derive(Default)]
pub struct Scripting {
    /// Its interpreter, once a script has come.
    pub engine: Option<Box<Engine>>,
    /// Whether memory was over its limit, with nothing to evict, when the current script began.
    pub is_oom: bool,
    /// Hashes of the keys of a script's command.
    pub hashes: Vec<u64>,
}

impl Context<'_> {
    /// The worker's interpreter, made now if this is its first script.
    pub fn engine(&mut self) -> Result<&mut Engine, CommandError> {
        let slot = &mut self.scripting.engine;
        if slot.is_none() {
            let engine = Engine::new(&self.shared.scripts)
                .map_err(|_| CommandError::Text("ERR there is no memory for an interpreter"))?;
            *slot = Some(Box::new(engine));
        }
        Ok(slot.as_mut().expect("just made"))
    }
}
