//! Scripts: begun, their commands run, ended.
//!
//! Design: a script is like a transaction whose commands nobody knows before. It begins under the leases of the keys that
//! it names; where one of its commands needs another, that is tried for on the spot (`reach`). If it is refused the script
//! has not been: it runs again, first under the leases of all keys that it has met, then under all leases
//! (`Session::script_retry`). Its commands come through the same handlers as all others, with the session of whoever has
//! called it; what they change is one unit.
//!
//! Invariants: no lease that a script has tried for goes back before the end of its group; a script that runs again has
//! left nothing.
//! Not here: the interpreter (`crate::script`), scripts that run for too long (`busy`).

use super::admission::CUT_OFF;
use super::blocking::take_ready;
use super::busy::SuspendedScript;
use super::call::{Executor, reply_error};
use super::clock::Clock;
use crate::command::{
    Args, Bracket, CalledBy, CommandError, Denied, Flags, LookupError, Row, Scope, ScriptCall, ScriptRetry,
    Tried, key_count, may_run, new_engine, note_denied,
};
use crate::exec::hash_keys_of;
use crate::resp::{Output, Protocol, Reply};
use crate::script::{
    Answer, Code, Compiled, End, Engine, REPL_AOF, REPL_REPLICA, Request, ScriptFlags, parse_sha,
};
use crate::security;
use crate::store::{DbIndex, Whom};

/// Keys that a script has met and not named, beyond which it runs again under all leases at once.
const MET_KEYS_MAX: usize = 64;

/// A script under way.
pub(super) struct ScriptRun {
    /// It must not write.
    reads_only: bool,
    /// It may run although memory is over its limit.
    allows_oom: bool,
    /// A command of it that writes has run.
    pub(super) has_written: bool,
    /// What its client had before.
    pub(super) db: DbIndex,
    denied_blocking: bool,
    /// Whether it has needed leases that it has not named.
    has_tried: bool,
    /// When it began, and when the current slice of its time did: readings of the processor's counter.
    start: u64,
    slice_start: u64,
    slice_ns: u64,
    /// It runs for longer than scripts should.
    pub(super) is_busy: bool,
    /// It has begun under all leases.
    holds_all: bool,
    /// It runs in the interpreter of functions that keep something, as it has begun under all leases.
    in_shared_engine: bool,
}

impl ScriptRun {
    /// It goes on for so long, before others have their turn.
    pub(super) fn begin_slice(&mut self, clock: &Clock, ns: u64) {
        (self.slice_start, self.slice_ns) = (clock.ticks(), ns);
    }

    /// How long it has been under way, in ns.
    pub(super) fn ran_ns(&self, clock: &Clock) -> u64 {
        clock.ns_between(self.start, clock.ticks())
    }

    /// The same in ms.
    pub(super) fn ran_ms(&self, clock: &Clock) -> u64 {
        self.ran_ns(clock) / 1_000_000
    }

    fn is_slice_over(&self, clock: &Clock) -> bool {
        clock.ns_between(self.slice_start, clock.ticks()) >= self.slice_ns
    }
}

/// What became of a command of a script.
enum Called {
    /// There is a reply.
    Replied,
    /// The script has to run again: it was refused the lease of a key, or would need all leases.
    Refused { by_key: bool },
}

const NO_SCRIPT: CommandError = CommandError::Text("NOSCRIPT No matching script. Please use EVAL.");
const WRITES_REFUSED: CommandError =
    CommandError::Text("ERR Write commands are not allowed from read-only scripts.");

const BLOCKED_BY_SAVE: CommandError = CommandError::Text(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
);

impl Executor<'_> {
    /// Runs a script to its end, or as far as it comes: false if it has to run again.
    #[inline(never)]
    pub(super) fn finish_script(
        &mut self,
        call: ScriptCall,
        row: &Row,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> bool {
        if let Some(withheld) = self.ctx.session.withheld_reply.take() {
            // It was suspended, and has ended since.
            reply.output().push_bytes(&withheld);
            return true;
        }
        let retry = self.ctx.session.script_retry.take();
        self.show_script(row, args);
        let outcome = match self.prepare_script(call, args, reply) {
            Ok(Some((compiled, keys, run))) => self.run_script(&compiled, keys, run, args, reply),
            Ok(None) => Ran::Refused { by_key: false },
            Err(error) => {
                self.ctx.scripting.is_oom = false;
                reply_error(error, reply, self.ctx.stats);
                Ran::Failed
            }
        };
        match outcome {
            Ran::Done => {}
            Ran::Failed => self.ctx.stats.commands[row.id as usize].failed.add(1),
            Ran::Refused { by_key } => {
                let start = self.ticks;
                self.ticks = self.clock.ticks();
                let ns = self.clock.ns_between(start, self.ticks);
                self.ctx.stats.commands[row.id as usize].total_ns.add(ns);
                let met = self.ctx.undo.take_met();
                // A second refusal of a script whose keys depend on what it reads may be the first of many.
                let may_need_few = by_key && retry.is_none() && met.len() <= MET_KEYS_MAX;
                self.ctx.session.script_retry =
                    Some(if may_need_few { ScriptRetry::Met(met) } else { ScriptRetry::All });
                self.ctx.stats.counters.scripts_again.add(1);
                return false;
            }
            Ran::Suspended => return false,
        }
        self.time(row, args, 1);
        true
    }

    /// What is asked for, how many of its arguments are keys, and how it runs; none if it needs all leases for that.
    fn prepare_script(
        &mut self,
        call: ScriptCall,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Option<(Compiled, usize, ScriptRun)>, CommandError> {
        let sha = match call.by {
            CalledBy::Function => return self.prepare_function(call, args, reply),
            CalledBy::Sha => Some(parse_sha(args.at(1)).ok_or(NO_SCRIPT)?),
            CalledBy::Text => None,
        };
        let keys = key_count(args, CommandError::NotInteger)?;
        let shared = self.ctx.shared;
        let engine = self.ctx.engine()?;
        engine.follow_script_state(&shared.script_state);
        let compiled = match sha {
            Some(sha) => engine.find(&sha, &shared.scripts).ok_or(NO_SCRIPT)?,
            None => match engine.compile(args.at(1), &shared.scripts) {
                Ok(compiled) => compiled,
                Err(why) => {
                    reply.error(&why);
                    return Err(CommandError::Replied);
                }
            },
        };
        let run = self.admit_script(call.reads_only, compiled.code.flags())?;
        Ok(Some((compiled, keys, run)))
    }

    /// The same for a function. Where workers are several, functions that keep something from run to run do so in one interpreter.
    fn prepare_function(
        &mut self,
        call: ScriptCall,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Option<(Compiled, usize, ScriptRun)>, CommandError> {
        const NO_FUNCTION: CommandError = CommandError::Text("ERR Function not found");
        let script_state = &self.ctx.shared.script_state;
        let found = self.ctx.engine()?.find_function(args.at(1), script_state);
        let (library, index) = found.ok_or(NO_FUNCTION)?;
        let keys = key_count(args, CommandError::Text("ERR Bad number of keys provided"))?;
        let leases = &self.ctx.leases;
        let in_shared_engine = leases.holds_all() && !leases.is_solo();
        if library.keeps_state() && !leases.holds_all() {
            return Ok(None);
        }
        let mut engine = self.take_engine(in_shared_engine)?;
        engine.follow_script_state(script_state);
        let compiled = engine.load_function(library, index);
        self.put_engine(in_shared_engine, engine);
        let compiled = compiled.map_err(|why| {
            reply.error(&format!("ERR {why}"));
            CommandError::Replied
        })?;
        let mut run = self.admit_script(call.reads_only, compiled.code.flags())?;
        run.in_shared_engine = in_shared_engine;
        Ok(Some((compiled, keys, run)))
    }

    /// The interpreter that a script runs in; it is to be put back.
    fn take_engine(&mut self, in_shared_engine: bool) -> Result<Box<Engine>, CommandError> {
        if in_shared_engine {
            let shared_engine = self.ctx.shared.script_state.take_shared_engine();
            return shared_engine.map_or_else(new_engine, Ok);
        }
        self.ctx.engine()?;
        Ok(self.ctx.scripting.engine.take().expect("just seen"))
    }

    fn put_engine(&mut self, in_shared_engine: bool, engine: Box<Engine>) {
        if in_shared_engine {
            self.ctx.shared.script_state.put_shared_engine(engine);
        } else {
            self.ctx.scripting.engine = Some(engine);
        }
    }

    /// Whether a script may run that says this of itself.
    fn admit_script(&mut self, reads_only: bool, flags: ScriptFlags) -> Result<ScriptRun, CommandError> {
        if !flags.is_plain && !flags.no_writes && reads_only {
            return Err(CommandError::Text(
                "ERR Can not execute a script with write flag using *_ro command.",
            ));
        }
        let may_write = !flags.is_plain && !flags.no_writes;
        if may_write
            && self.constants.refused != Flags::NONE
            && let Some(refusal) = self.constants.write_refusal(Flags::WRITE)
        {
            return Err(if self.constants.obstacles.cannot_save { BLOCKED_BY_SAVE } else { refusal });
        }
        if self.constants.obstacles.is_cut_off && !flags.allow_stale {
            return Err(CUT_OFF);
        }
        if !flags.is_plain && !flags.allow_oom && self.ctx.scripting.is_oom {
            return Err(CommandError::OutOfMemory);
        }
        let session = &mut *self.ctx.session;
        let run = ScriptRun {
            reads_only: reads_only || flags.no_writes,
            allows_oom: !flags.is_plain && flags.allow_oom,
            has_written: false,
            db: session.db,
            denied_blocking: session.denies_blocking,
            has_tried: false,
            start: self.ticks,
            slice_start: self.ticks,
            slice_ns: match self.constants.config.busy_reply_threshold {
                0 => u64::MAX,
                ms => ms.saturating_mul(1_000_000),
            },
            is_busy: false,
            holds_all: self.ctx.leases.holds_all(),
            in_shared_engine: false,
        };
        session.denies_blocking = true;
        Ok(run)
    }

    fn run_script(
        &mut self,
        compiled: &Compiled,
        keys: usize,
        mut run: ScriptRun,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Ran {
        let mut engine = match self.take_engine(run.in_shared_engine) {
            Ok(engine) => engine,
            Err(error) => {
                self.end_run(&run);
                reply_error(error, reply, self.ctx.stats);
                return Ran::Failed;
            }
        };
        let words = |from: usize, to: usize| Words { args: *args, from, to };
        // Under all leases no other can be refused.
        if !self.ctx.leases.holds_all() {
            self.ctx.begin_undoable(args.hashes());
        }
        let request = engine.begin(compiled, words(3, 3 + keys), words(3 + keys, args.len()));
        let ran = self.drive_script(&mut engine, request, compiled, &mut run, reply);
        self.put_engine(run.in_shared_engine, engine);
        if matches!(ran, Ran::Suspended) {
            *self.suspended = Some(Box::new(SuspendedScript::new(compiled.clone(), run)));
        }
        ran
    }

    /// Lets a suspended script go on.
    pub(super) fn resume_script(
        &mut self,
        compiled: &Compiled,
        run: &mut ScriptRun,
        reply: &mut Reply<'_>,
    ) -> Ran {
        let Ok(mut engine) = self.take_engine(run.in_shared_engine) else {
            unreachable!("a script of it is suspended")
        };
        let request = engine.resume(self.after_tick(run));
        let ran = self.drive_script(&mut engine, request, compiled, run, reply);
        self.put_engine(run.in_shared_engine, engine);
        ran
    }

    /// What a script hears that has run for a while.
    fn after_tick(&self, run: &ScriptRun) -> Answer {
        self.ctx.stats.note_alive();
        let is_killed = run.is_busy && self.ctx.shared.busy.is_killed(self.ctx.worker);
        if is_killed { Answer::Die } else { Answer::Go }
    }

    /// Does what a script asks for until it has ended, or has run for so long that others have their turn.
    fn drive_script(
        &mut self,
        engine: &mut Engine,
        mut request: Request,
        compiled: &Compiled,
        run: &mut ScriptRun,
        reply: &mut Reply<'_>,
    ) -> Ran {
        let (mut is_refused, mut by_key) = (false, false);
        loop {
            let answer = match request {
                Request::End => break,
                _ if is_refused || engine.host().is_killed() => Answer::Die,
                Request::Call => match self.call_for_script(engine, run) {
                    Called::Replied => Answer::Go,
                    Called::Refused { by_key: key } => {
                        (is_refused, by_key) = (true, key);
                        Answer::Die
                    }
                },
                Request::CheckAcl => {
                    self.check_for_script(engine);
                    Answer::Go
                }
                Request::Keep if run.holds_all => Answer::Go,
                Request::Keep => {
                    is_refused = true;
                    Answer::Die
                }
                Request::Tick if run.is_slice_over(self.clock) => return Ran::Suspended,
                Request::Tick => self.after_tick(run),
            };
            request = engine.resume(answer);
        }
        self.end_run(run);
        is_refused |= !self.settle_script_state(engine, compiled, run, is_refused);
        if is_refused {
            engine.abandon();
            self.ctx.take_back();
            return Ran::Refused { by_key };
        }
        if self.ctx.undo.is_on() {
            self.commit_script();
        }
        self.end_script(engine, compiled, run, reply)
    }

    /// Sees to what outlives a run that has ended; false if it has to run again, as what it has seen of that may be old or is not
    /// to be changed here.
    #[inline]
    fn settle_script_state(
        &mut self,
        engine: &mut Engine,
        compiled: &Compiled,
        run: &ScriptRun,
        is_refused: bool,
    ) -> bool {
        let script_state = &self.ctx.shared.script_state;
        let is_alone = self.ctx.leases.is_solo();
        let changed = match &compiled.code {
            Code::Function(library, _) if !is_alone && engine.has_changed_state(compiled) => Some(library),
            _ => None,
        };
        if let Some(library) = changed {
            script_state.note_state(library);
            if !run.in_shared_engine {
                engine.forget_state(compiled);
                // One that was killed has written nothing, and does not come back.
                return engine.host().is_killed() && !is_refused;
            }
        }
        if !run.holds_all {
            return engine.script_state_version() == script_state.version();
        }
        if let Some(settings) = engine.told_json(compiled.code.kind()) {
            script_state.set_json(compiled.code.kind(), settings);
        }
        true
    }

    /// The client has its session back.
    fn end_run(&mut self, run: &ScriptRun) {
        let session = &mut *self.ctx.session;
        session.denies_blocking = run.denied_blocking;
        if session.db != run.db {
            session.select(run.db);
        }
    }

    /// A script has ended: its reply, and what it leaves.
    fn end_script(
        &mut self,
        engine: &mut Engine,
        compiled: &Compiled,
        run: &ScriptRun,
        reply: &mut Reply<'_>,
    ) -> Ran {
        let end = engine.end(&|| compiled.code.name(), reply);
        engine.tell_log_lines();
        if self.ctx.changes.is_listened() && !run.denied_blocking {
            self.ctx.end_unit(Bracket::Several);
        }
        if !run.denied_blocking {
            self.ctx.session.end_caching();
        }
        self.ctx.scripting.is_oom = false;
        self.ctx.stats.interpreter_bytes.set(engine.bytes().0 as u64);
        let counters = &self.ctx.stats.counters;
        if run.has_tried {
            counters.scripts_tried.add(1);
        } else {
            counters.scripts_declared.add(1);
        }
        match end {
            End::Replied => Ran::Done,
            End::Failed { counts } => {
                if counts {
                    let word = reply.output().error_word();
                    self.ctx.stats.count_error(&String::from_utf8_lossy(word.as_bytes()));
                }
                Ran::Failed
            }
        }
    }

    /// Runs the command that a script asks for.
    #[inline]
    fn call_for_script(&mut self, engine: &mut Engine, run: &mut ScriptRun) -> Called {
        let words = engine.take_words();
        let mut output = engine.host().reply.take();
        let (bytes, spans) = words.parts();
        let protocol = engine.host().protocol.get();
        let repl = engine.host().repl.get();
        let whom = Whom { file: repl & REPL_AOF != 0, replicas: repl & REPL_REPLICA != 0 };
        let args = Args::new(bytes, spans, &[]);
        let mut hashes = std::mem::take(&mut self.ctx.scripting.hashes);
        hashes.clear();
        let called = self.call_words(&args, &mut hashes, &mut output, (protocol, whom), run);
        self.ctx.scripting.hashes = hashes;
        engine.answer(words, output);
        called
    }

    #[inline]
    fn call_words(
        &mut self,
        args: &Args<'_>,
        hashes: &mut Vec<u64>,
        output: &mut Output,
        (protocol, whom): (Protocol, Whom),
        run: &mut ScriptRun,
    ) -> Called {
        let mut reply = Reply::new(output, protocol);
        let row = match self.admit_command(args, run, &mut reply) {
            Ok(row) => row,
            Err((error, row)) => {
                if let Some(row) = row {
                    self.ctx.stats.commands[row as usize].rejected.add(1);
                }
                self.reply_to_script(error, &mut reply);
                return Called::Replied;
            }
        };
        let scope = hash_keys_of(row, args, &self.ctx.shared.keyspace, hashes);
        let args = args.hashed(hashes);
        if !self.ctx.leases.is_solo() && !self.reach(scope, hashes, run) {
            return Called::Refused { by_key: scope == Scope::Keys };
        }
        if row.command.flags.has(Flags::WRITE) && !run.has_written {
            run.has_written = true;
            if run.is_busy {
                self.ctx.shared.busy.note_written(self.ctx.worker);
            }
        }
        let before = self.ctx.session.protocol;
        self.ctx.session.protocol = protocol;
        let start = self.clock.ticks();
        self.ctx.key_places = row.key_places;
        let outcome = (row.command.handler)(&mut self.ctx, &args, &mut reply);
        let ns = self.clock.ns_between(start, self.clock.ticks());
        self.ctx.session.protocol = before;
        self.ctx.count_call(row.id, ns, outcome.is_err());
        if let Err(error) = outcome {
            debug_assert!(
                !matches!(error, CommandError::Blocked | CommandError::Unfinished | CommandError::Script(_)),
                "no command waits in a script"
            );
            self.reply_to_script(error, &mut reply);
        }
        if self.ctx.changes.is_listened() {
            if whom != Whom::ALL {
                self.ctx.changes.repeat_by(whom);
            }
            self.ctx.end_command(row, &args);
        }
        self.show_for_script(row, &args);
        if !self.ctx.undo.is_on() {
            self.list_ready(row, args.hashes());
        }
        Called::Replied
    }

    /// Writes the error of a script's command, unless it has done so itself, and counts it.
    #[cold]
    fn reply_to_script(&mut self, error: CommandError, reply: &mut Reply<'_>) {
        if error == CommandError::Replied {
            let word = reply.output().error_word();
            self.ctx.count_error(&String::from_utf8_lossy(word.as_bytes()));
        } else {
            self.ctx.count_error(error.text());
            reply.error(error.text());
        }
    }

    /// What a script that could have been taken back has done stays: whoever waits for what it has made ready is served.
    fn commit_script(&mut self) {
        self.ctx.commit();
        if self.ctx.shared.keyspace.is_waited() {
            let shards = self.ctx.undo.shards().iter().copied();
            take_ready(shards, self.ctx.leases, self.became_ready);
        }
    }

    /// The row of the command that a script asks for, if it may run now; otherwise why not, and which it is.
    #[inline]
    fn admit_command(
        &mut self,
        args: &Args<'_>,
        run: &ScriptRun,
        reply: &mut Reply<'_>,
    ) -> Result<&'static Row, (CommandError, Option<u16>)> {
        let row =
            self.table.resolve(args.at(0), || args.find(1), args.len()).map_err(|error| match error {
                LookupError::Arity(row) => (
                    CommandError::Text("ERR Wrong number of args calling Redis command from script"),
                    Some(row),
                ),
                _ => (CommandError::Text("ERR Unknown Redis command called from script"), None),
            })?;
        let flags = row.command.flags;
        let refusal = if flags.has(Flags::NOSCRIPT) {
            CommandError::Text("ERR This Redis command is not allowed from script")
        } else if let Some(refusal) = self.denial(row, args, reply) {
            refusal
        } else if run.reads_only && flags.has(Flags::WRITE.with(Flags::MAY_REPLICATE)) {
            WRITES_REFUSED
        } else if flags.has(Flags::WRITE) && !run.has_written && self.constants.refused != Flags::NONE {
            match self.constants.write_refusal(flags) {
                Some(refusal) => refusal,
                None => return Ok(row),
            }
        } else if self.constants.obstacles.is_cut_off && !flags.has(Flags::STALE) {
            CommandError::Text("ERR Can not execute the command on a stale replica")
        } else if flags.has(Flags::DENYOOM)
            && self.ctx.scripting.is_oom
            && !run.has_written
            && !run.allows_oom
        {
            CommandError::OutOfMemory
        } else {
            return Ok(row);
        };
        Err((refusal, Some(row.id)))
    }

    /// Why the script's client may not run a command, if so.
    #[inline]
    fn denial(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> Option<CommandError> {
        if !self.ctx.session.restricted {
            return None;
        }
        let denied = may_run(&self.ctx.session.user, row, args).err()?;
        note_denied(&self.ctx, row, args, denied, security::Context::Lua);
        Some(match denied {
            Denied::Command => {
                let name = String::from_utf8_lossy(self.ctx.session.user.name());
                let command = &row.full_name;
                reply.error_fmt(format_args!(
                    "ERR ACL failure in script: User {name} has no permissions to run the '{command}' command"
                ));
                CommandError::Replied
            }
            Denied::Key(_) => CommandError::Text("ERR ACL failure in script: No permissions to access a key"),
            Denied::Channel(_) => {
                CommandError::Text("ERR ACL failure in script: No permissions to access a channel")
            }
        })
    }

    /// Sees to it that what a command of a script needs may be touched; false if it may not, and the script has to run again.
    fn reach(&mut self, scope: Scope, hashes: &[u64], run: &mut ScriptRun) -> bool {
        match scope {
            Scope::None | Scope::Alone => true,
            Scope::All | Scope::Transaction => self.ctx.leases.holds_all(),
            Scope::Keys | Scope::Script => hashes.iter().all(|hash| {
                let shard = self.ctx.shared.keyspace.shard_of(*hash);
                run.has_tried |= !self.ctx.leases.holds_exclusively(shard);
                self.ctx.try_key(*hash) == Tried::Held
            }),
        }
    }

    /// Whether the client may run the command that a script asks about.
    fn check_for_script(&mut self, engine: &mut Engine) {
        let words = engine.take_words();
        let (bytes, spans) = words.parts();
        let args = Args::new(bytes, spans, &[]);
        let row = self.table.resolve(args.at(0), || args.find(1), args.len());
        let row = match row {
            Ok(row) => Some(row),
            Err(LookupError::Arity(row)) => Some(self.table.row(row)),
            Err(_) => None,
        };
        let user = &self.ctx.session.user;
        engine.host().verdict.set(row.map(|row| may_run(user, row, &args).is_ok()));
        let output = engine.host().reply.take();
        engine.answer(words, output);
    }
}

/// How a script has run.
pub(super) enum Ran {
    Done,
    /// Its error is written.
    Failed,
    /// It has to run again: under all leases, unless it was refused nothing but a key's.
    Refused {
        by_key: bool,
    },
    /// It has run for long, and goes on later.
    Suspended,
}

/// Some of a command's arguments.
#[derive(Clone, Copy)]
struct Words<'a> {
    args: Args<'a>,
    from: usize,
    to: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.from == self.to {
            return None;
        }
        self.from += 1;
        Some(self.args.at(self.from - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.to - self.from, Some(self.to - self.from))
    }
}

impl ExactSizeIterator for Words<'_> {}
