//! One worker's interpreter: scripts compiled, run, suspended.
//!
//! Design: made when the worker's first script comes. Everything that scripts do happens on one stack of its own, which outlives
//! them: it waits for the next one to begin. Between two [`Engine::resume`] the worker does what the script asks for.
//!
//! Not here: libraries (`functions`), what a script may do (`worker::script`), the functions that it calls (`api`, `base`).

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ahash::RandomState;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};

use super::base::{World, make_world};
use super::cache::{NewScript, Script, ScriptCache, Sha, sha_text};
use super::functions::Functions;
use super::host::{Answer, Host, Request, Words};
use super::library::Library;
use super::lua::{Interpreter, Lua, LuaType, Ref};
use super::reply::{c_string, error_line, write_value};
use super::script_state;
use super::shebang::{self, ScriptFlags};
use crate::resp::{Output, Reply};

/// Memory that a worker's interpreter may have.
pub const MEMORY_BYTES_MAX: usize = 512 << 20;
/// The stack that scripts run on. Lua nests calls of C 200 deep at most, the largest of which takes 9 KiB (`gsub` with a function).
const STACK_BYTES: usize = 4 << 20;
/// Compiled scripts that are gone elsewhere, before they are looked for.
const GONE_MAX: usize = 128;
/// Compiled scripts that a worker keeps.
const COMPILED_MAX: usize = 4096;
/// Memory from which on what cannot be reached is freed at once when scripts were forgotten.
const COLLECT_BYTES_MIN: usize = 1 << 20;

type ScriptStack = Coroutine<Answer, Request, (), DefaultStack>;

/// What can be run.
#[derive(Clone)]
pub enum Code {
    /// A script.
    Script(Arc<Script>),
    /// A function: its library, and which it is of that.
    Function(Arc<Library>, usize),
}

/// Code that this interpreter has compiled.
#[derive(Clone)]
pub struct Compiled {
    /// Of what.
    pub code: Code,
    pub(super) function: Ref,
}

/// A worker's interpreter.
pub struct Engine {
    pub(super) interpreter: Rc<Interpreter>,
    pub(super) world: World,
    stack: Option<ScriptStack>,
    by_sha: HashMap<Sha, Known>,
    by_text: HashMap<Arc<[u8]>, Known, RandomState>,
    /// How often the scripts had been forgotten when these were compiled.
    flushes: u64,
    /// What it knows of libraries.
    pub(super) functions: Functions,
    /// Whether the globals have the keys of a script, which no function sees.
    has_keys: bool,
    /// A script is suspended, or has ended and its result is there.
    pub(super) is_running: bool,
}

/// How a script has ended.
pub enum End {
    /// It has replied.
    Replied,
    /// It failed: the error is written; whether it is to be counted, which that of a command is not again.
    Failed {
        /// Whether it is.
        counts: bool,
    },
}

impl Code {
    /// Its name in errors: a script's SHA1, a function's own.
    pub fn name(&self) -> String {
        match self {
            Code::Script(script) => sha_text(&script.sha),
            Code::Function(library, index) => library.functions[*index].name.clone(),
        }
    }

    /// What it says of itself.
    pub fn flags(&self) -> ScriptFlags {
        match self {
            Code::Script(script) => script.flags,
            Code::Function(library, index) => library.functions[*index].flags,
        }
    }

    /// With which settings it runs.
    pub fn kind(&self) -> script_state::CodeKind {
        match self {
            Code::Script(_) => script_state::CodeKind::Script,
            Code::Function(..) => script_state::CodeKind::Function,
        }
    }
}

/// A script that this worker has compiled.
#[derive(Clone)]
struct Known {
    script: Arc<Script>,
    function: Ref,
}

impl Known {
    fn compiled(&self) -> Compiled {
        Compiled { code: Code::Script(Arc::clone(&self.script)), function: self.function }
    }
}

impl Engine {
    /// For a worker's first script.
    pub fn new() -> std::io::Result<Self> {
        let stack = DefaultStack::new(STACK_BYTES)?;
        let interpreter = Rc::new(Interpreter::new(Host::new(MEMORY_BYTES_MAX)));
        let world = make_world(&interpreter);
        let on_stack = Rc::clone(&interpreter);
        let stack = ScriptStack::with_stack(stack, move |yielder, first| {
            on_stack.host().side.begin(yielder);
            let mut answer = first;
            while answer != Answer::Leave {
                let host = on_stack.host();
                host.has_failed.set(!on_stack.call(host.argument_count.get()));
                answer = host.side.suspend(Request::End);
            }
        });
        Ok(Self {
            interpreter,
            world,
            stack: Some(stack),
            by_sha: HashMap::new(),
            by_text: HashMap::default(),
            flushes: 0,
            functions: Functions::default(),
            has_keys: false,
            is_running: false,
        })
    }

    /// What is shared with the script.
    pub fn host(&self) -> &Host {
        self.interpreter.host()
    }

    /// The script with this text, compiled; or the error that says why it cannot be.
    #[inline]
    pub fn compile(&mut self, text: &[u8], cache: &ScriptCache) -> Result<Compiled, String> {
        self.follow(cache);
        if let Some(known) = self.by_text.get(text)
            && !known.script.is_gone()
        {
            cache.note_use(&known.script);
            return Ok(known.compiled());
        }
        self.compile_new(text, cache, false)
    }

    /// The script with this SHA1, compiled, if there is one.
    #[inline]
    pub fn find(&mut self, sha: &Sha, cache: &ScriptCache) -> Option<Compiled> {
        self.follow(cache);
        if let Some(known) = self.by_sha.get(sha)
            && !known.script.is_gone()
        {
            cache.note_use(&known.script);
            return Some(known.compiled());
        }
        let script = cache.find(sha)?;
        cache.note_use(&script);
        let function = self.compile_code(&script.text[script.code..]).ok()?;
        Some(self.keep(script, function))
    }

    /// Compiles a script that this worker does not know, and adds it to all scripts; `stays`: for good.
    #[cold]
    pub fn compile_new(&mut self, text: &[u8], cache: &ScriptCache, stays: bool) -> Result<Compiled, String> {
        let sha = sha1_smol::Sha1::from(text).digest().bytes();
        if let Some(script) = cache.find(&sha) {
            if stays {
                cache.keep(&sha);
            }
            cache.note_use(&script);
            let function = self.compile_code(&script.text[script.code..])?;
            return Ok(self.keep(script, function));
        }
        let (flags, code) = shebang::parse(text)?;
        let function = self.compile_code(&text[code..])?;
        let script = cache.add(&NewScript { sha, text, flags, code, stays });
        Ok(self.keep(script, function))
    }

    fn compile_code(&mut self, code: &[u8]) -> Result<Ref, String> {
        self.interpreter
            .compile(code, c"@user_script")
            .map_err(|why| format!("ERR Error compiling script (new function): {why}"))?;
        let function = self.interpreter.lua().keep();
        self.interpreter.leave();
        Ok(function)
    }

    fn keep(&mut self, script: Arc<Script>, function: Ref) -> Compiled {
        if self.by_sha.len() >= GONE_MAX {
            self.forget_gone();
        }
        if self.by_sha.len() >= COMPILED_MAX {
            self.forget_compiled();
        }
        let known = Known { script, function };
        let script = &known.script;
        if let Some(before) = self.by_sha.insert(script.sha, known.clone()) {
            self.interpreter.lua().forget(before.function);
            self.interpreter.leave();
        }
        let compiled = known.compiled();
        self.by_text.insert(script.text[..].into(), known);
        compiled
    }

    /// Forgets what is gone elsewhere, if that is worth looking for.
    fn forget_gone(&mut self) {
        let gone: Vec<Sha> =
            self.by_sha.iter().filter(|(_, all)| all.script.is_gone()).map(|(sha, _)| *sha).collect();
        if gone.len() < GONE_MAX.min(self.by_sha.len() / 2) {
            return;
        }
        for sha in gone {
            let Some(compiled) = self.by_sha.remove(&sha) else { continue };
            self.by_text.remove(&compiled.script.text[..]);
            self.interpreter.lua().forget(compiled.function);
        }
        self.interpreter.leave();
    }

    /// Forgets everything where all scripts were forgotten.
    #[inline]
    fn follow(&mut self, cache: &ScriptCache) {
        if self.flushes != cache.flushes() {
            self.forget_all(cache);
        }
    }

    /// Gives back what scripts take that were forgotten. To be called now and then: whoever forgets them is one worker only.
    #[cold]
    pub fn forget_all(&mut self, cache: &ScriptCache) {
        if self.flushes == cache.flushes() || self.is_running {
            return;
        }
        self.flushes = cache.flushes();
        self.forget_compiled();
        self.collect_if_large();
    }

    /// Whatever was compiled is compiled again when it is used.
    fn forget_compiled(&mut self) {
        for known in std::mem::take(&mut self.by_sha).into_values() {
            self.interpreter.lua().forget(known.function);
        }
        self.by_text = HashMap::default();
        self.interpreter.leave();
    }

    /// Frees what cannot be reached any more, if that may be much.
    pub(super) fn collect_if_large(&self) {
        if self.host().used() >= COLLECT_BYTES_MIN {
            self.interpreter.collect();
        }
    }

    /// Begins a script or function with these keys and arguments, up to what it asks for first.
    pub fn begin<'a>(
        &mut self,
        compiled: &Compiled,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Request {
        self.host().begin();
        let kind = compiled.code.kind();
        self.host().json.set(self.functions.state.json[kind as usize]);
        let mut lua = self.interpreter.lua();
        assert!(lua.top() == 0, "nothing is left of the script before");
        lua.push_kept(self.world.error_handler);
        lua.push_kept(compiled.function);
        let argument_count = match kind {
            script_state::CodeKind::Script => {
                lua.push_kept(self.world.globals);
                push_words(&mut lua, keys);
                lua.set_field(3, "KEYS");
                push_words(&mut lua, args);
                lua.set_field(3, "ARGV");
                lua.pop(1);
                self.has_keys = true;
                0
            }
            script_state::CodeKind::Function => {
                if std::mem::take(&mut self.has_keys) {
                    self.world.clear_globals(&mut lua, &["KEYS", "ARGV"]);
                }
                push_words(&mut lua, keys);
                push_words(&mut lua, args);
                2
            }
        };
        self.interpreter.leave();
        self.host().argument_count.set(argument_count);
        self.resume(Answer::Begin)
    }

    /// Lets the script go on, up to what it asks for next.
    #[inline]
    pub fn resume(&mut self, answer: Answer) -> Request {
        self.is_running = true;
        let stack = self.stack.as_mut().expect("it is there until the engine goes");
        match stack.resume(answer) {
            CoroutineResult::Yield(request) => request,
            CoroutineResult::Return(()) => unreachable!("it leaves only when it is told to"),
        }
    }

    /// The command that the script asks for, and where the reply goes.
    pub fn take_words(&mut self) -> Words {
        self.host().words.take()
    }

    /// Gives back what was taken, and the reply.
    pub fn answer(&mut self, words: Words, output: Output) {
        *self.host().words.borrow_mut() = words;
        *self.host().reply.borrow_mut() = output;
    }

    /// The script has ended: writes what it returns, or its error.
    pub fn end(&mut self, name: &dyn Fn() -> String, reply: &mut Reply<'_>) -> End {
        let (speaks, has_failed) = (self.host().protocol.get(), self.host().has_failed.get());
        if self.host().is_killed() {
            self.interpreter.calm();
        }
        let mut lua = self.interpreter.lua();
        let end = if has_failed {
            write_failure(&mut lua, &name(), reply)
        } else {
            let errors = reply.output().error_count();
            write_value(&mut lua, speaks, reply);
            match reply.output().error_count() - errors {
                0 => End::Replied,
                _ => End::Failed { counts: true },
            }
        };
        lua.pop(lua.top());
        self.interpreter.leave();
        self.is_running = false;
        end
    }

    /// The script has ended, and is to be as if it had not been.
    pub fn abandon(&mut self) {
        self.interpreter.calm();
        let mut lua = self.interpreter.lua();
        lua.pop(lua.top());
        self.interpreter.leave();
        self.host().log_lines.take();
        self.is_running = false;
    }

    /// Writes to the log what the script has left for it.
    pub fn tell_log_lines(&self) {
        for (level, line) in self.host().log_lines.take() {
            let level = match level {
                0 => log::Level::Trace,
                1 => log::Level::Debug,
                2 => log::Level::Info,
                _ => log::Level::Warn,
            };
            log::log!(target: "script", level, "{line}");
        }
    }

    /// Bytes that scripts have in the interpreter, and how many are compiled.
    pub fn bytes(&self) -> (usize, usize) {
        (self.host().used(), self.by_sha.len())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(mut stack) = self.stack.take() else { return };
        if self.is_running {
            // The process ends in the middle of a script, whose stack nobody unwinds.
            std::mem::forget(stack);
            std::mem::forget(Rc::clone(&self.interpreter));
        } else if let CoroutineResult::Yield(_) = stack.resume(Answer::Leave) {
            unreachable!("it was told to leave");
        }
    }
}

fn push_words<'a>(lua: &mut Lua, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    lua.push_table(words.len(), 0);
    let table = lua.top();
    for (index, word) in words.enumerate() {
        lua.push_string(word);
        lua.set_element(table, index + 1);
    }
}

/// Writes the error that is on top.
fn write_failure(lua: &mut Lua, name: &str, reply: &mut Reply<'_>) -> End {
    let error = lua.top();
    if lua.kind(error) != LuaType::Table {
        let text = lua.text(error).unwrap_or_else(|| b"execution failure".to_vec());
        let text = &text[..text.len().min(100)];
        reply.error_bytes(&[format!("ERR Error running script {name}, ").as_bytes(), text].concat());
        return End::Failed { counts: true };
    }
    lua.push_field(error, "err");
    let mut text = lua.text(error + 1).unwrap_or_else(|| b"ERR unknown error".to_vec());
    text.truncate(c_string(&text).len());
    lua.push_field(error, "source");
    lua.push_field(error, "line");
    if let (Some(source), Some(line)) = (lua.text(error + 2), lua.number(error + 3)) {
        text.extend_from_slice(format!(" script: {name}, on ").as_bytes());
        text.extend_from_slice(&source);
        text.extend_from_slice(format!(":{line}.").as_bytes());
    }
    lua.push_field(error, "ignore_error_stats_update");
    let counts = !lua.boolean(error + 4);
    reply.error_bytes(error_line(&text));
    End::Failed { counts }
}
