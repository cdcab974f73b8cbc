//! The family `scripting`: EVAL, FCALL and their kin. SCRIPT: `script`. FUNCTION: `function`.
//!
//! Design: the handlers of commands that run a script say so ([`CommandError::Script`]): the worker runs it, which has what
//! running commands needs.
//!
//! Not here: the interpreter (`crate::script`), running a script's commands (`worker::script`).

pub mod busy;
mod function;
pub mod script;

use super::row::{BASE, Begin, Find, KeyAccess, KeySpec};
use super::{Args, Command, CommandError, Context, Flags, Group, Outcome, Scope};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::script::Engine;

/// By what a script is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalledBy {
    /// A script, by its text.
    Text,
    /// A script, by its SHA1.
    Sha,
    /// A function, by its name.
    Function,
}

/// What runs a script, and whether it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// By what.
    pub by: CalledBy,
    /// It may not write.
    pub reads_only: bool,
}

const fn keys(access: KeyAccess) -> KeySpec {
    KeySpec {
        access,
        begin: Begin::Index(2),
        find: Find::Count { count: 0, first: 1, step: 1 },
        is_incomplete: false,
    }
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
        handler: |_, args, _| run(args, ScriptCall { by: CalledBy::Text, reads_only: false }),
        ..RUN
    },
    Command {
        name: "evalsha",
        summary: "Runs a script that is known by its SHA1.",
        syntax: "sha1 numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by: CalledBy::Sha, reads_only: false }),
        ..RUN
    },
    Command {
        name: "evalsha_ro",
        summary: "Runs a script that is known by its SHA1 and writes nothing.",
        syntax: "sha1 numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by: CalledBy::Sha, reads_only: true }),
        ..READ
    },
    Command {
        name: "eval_ro",
        summary: "Runs a script that writes nothing.",
        syntax: "script numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by: CalledBy::Text, reads_only: true }),
        ..READ
    },
    Command {
        name: "fcall",
        since: "7.0.0",
        summary: "Calls a function of a library.",
        syntax: "function numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by: CalledBy::Function, reads_only: false }),
        ..RUN
    },
    Command {
        name: "fcall_ro",
        summary: "Calls a function of a library that writes nothing.",
        syntax: "function numkeys [key...] [arg...]",
        handler: |_, args, _| run(args, ScriptCall { by: CalledBy::Function, reads_only: true }),
        ..READ
    },
    function::ROW,
    script::ROW,
];

fn run(_: &Args<'_>, call: ScriptCall) -> Outcome {
    Err(CommandError::Script(call))
}

/// How many of the arguments behind `args[2]` are keys; what is wrong where that is no number.
pub fn key_count(args: &Args<'_>, no_number: CommandError) -> Result<usize, CommandError> {
    let count = parse_i64(args.at(2)).ok_or(no_number)?;
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
            *slot = Some(new_engine()?);
        }
        Ok(slot.as_mut().expect("just made"))
    }
}

/// An interpreter that has run nothing.
pub fn new_engine() -> Result<Box<Engine>, CommandError> {
    let engine = Engine::new();
    engine.map(Box::new).map_err(|_| CommandError::Text("ERR there is no memory for an interpreter"))
}
