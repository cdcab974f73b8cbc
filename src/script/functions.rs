//! Functions of libraries in one worker's interpreter: loaded when the first of them is called, called, forgotten.
//!
//! Design: a library is run with another set of globals, in which there is hardly more than `redis.register_function`; what it
//! registers is kept. Workers follow the set of libraries in force by its version.
//!
//! Not here: which libraries there are (`script_state`), what their functions keep (`library_state`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::bytecode;
use super::engine::{Code, Compiled, Engine};
use super::host::{Answer, Request};
use super::library::{Function, Library, LibrarySet};
use super::library_state::LibraryState;
use super::lua::{LuaType, Ref};
use super::register::Registered;
use super::script_state::{self, RELOAD_TIME_MAX, ScriptState, State};

/// What an interpreter knows of libraries.
#[derive(Default)]
pub(super) struct Functions {
    version: u64,
    pub(super) state: State,
    /// By the library's number.
    loaded: HashMap<u64, Loaded, RandomState>,
}

/// A library that was run here.
struct Loaded {
    /// What to call for each of its functions; none where it has not registered it this time.
    callbacks: Vec<Option<Ref>>,
    state: LibraryState,
}

/// What a library leaves that was run.
struct Evaluated {
    registered: Vec<Registered>,
    /// Whether its code assigns to variables of functions around.
    assigns: bool,
}

impl Engine {
    /// The version of what outlives scripts that this interpreter runs by.
    #[inline]
    pub fn script_state_version(&self) -> u64 {
        self.functions.version
    }

    /// Takes up what has changed of what outlives scripts.
    #[inline]
    pub fn follow_script_state(&mut self, script_state: &ScriptState) {
        if self.functions.version != script_state.version() && !self.is_running {
            self.take_up(script_state);
        }
    }

    #[cold]
    fn take_up(&mut self, script_state: &ScriptState) {
        let (version, state) = script_state.current();
        self.functions.version = version;
        self.functions.state = state;
        let libraries = Arc::clone(&self.functions.state.libraries);
        let stays = |number: &u64| libraries.iter().any(|library| library.number == *number);
        let gone: Vec<u64> = self.functions.loaded.keys().copied().filter(|number| !stays(number)).collect();
        for number in &gone {
            self.unload(*number);
        }
        if !gone.is_empty() {
            self.collect_if_large();
        }
    }

    /// The libraries as this interpreter knows them.
    pub fn libraries(&self) -> &LibrarySet {
        &self.functions.state.libraries
    }

    /// The function of this name.
    #[inline]
    pub fn find_function(
        &mut self,
        name: &[u8],
        script_state: &ScriptState,
    ) -> Option<(Arc<Library>, usize)> {
        self.follow_script_state(script_state);
        self.functions.state.libraries.find(name).cloned()
    }

    /// A function that was found, ready to be called; its library is run if it has not been here.
    #[inline]
    pub fn load_function(&mut self, library: Arc<Library>, index: usize) -> Result<Compiled, String> {
        if !self.functions.loaded.contains_key(&library.number) {
            self.load(&library)?;
        }
        let loaded = self.functions.loaded.get(&library.number);
        let callback = loaded.and_then(|loaded| loaded.callbacks.get(index).copied().flatten());
        let function = callback.ok_or("Function not found")?;
        Ok(Compiled { code: Code::Function(library, index), function })
    }

    #[cold]
    fn load(&mut self, library: &Library) -> Result<(), String> {
        let run = self.run_library(&library.text[library.code..], RELOAD_TIME_MAX)?;
        // It has said this before.
        self.host().log_lines.take();
        let find = |function: &Function| {
            let mut all = run.registered.iter();
            all.find(|registered| registered.function.name == function.name).map(|found| found.callback)
        };
        let callbacks: Vec<Option<Ref>> = library.functions.iter().map(find).collect();
        let all: Vec<Ref> = run.registered.iter().map(|registered| registered.callback).collect();
        let state = LibraryState::of(&self.interpreter, &self.world, &all, run.assigns);
        self.functions.loaded.insert(library.number, Loaded { callbacks, state });
        Ok(())
    }

    fn unload(&mut self, number: u64) {
        let Some(mut loaded) = self.functions.loaded.remove(&number) else { return };
        let mut lua = self.interpreter.lua();
        loaded.state.forget(&mut lua);
        for callback in loaded.callbacks.into_iter().flatten() {
            lua.forget(callback);
        }
        self.interpreter.leave();
    }

    /// Runs a library that is not loaded here: what it has registered, and whether its functions are known to keep something.
    pub(super) fn read_library(
        &mut self,
        code: &[u8],
        time_max: Duration,
    ) -> Result<(Vec<Function>, bool), String> {
        let run = self.run_library(code, time_max)?;
        if run.registered.is_empty() {
            return Err("No functions registered".to_owned());
        }
        let all: Vec<Ref> = run.registered.iter().map(|registered| registered.callback).collect();
        let state = LibraryState::of(&self.interpreter, &self.world, &all, run.assigns);
        Ok((run.registered.into_iter().map(|registered| registered.function).collect(), state.is_unknown))
    }

    fn run_library(&mut self, code: &[u8], time_max: Duration) -> Result<Evaluated, String> {
        self.interpreter
            .compile(code, c"@user_function")
            .map_err(|why| format!("Error compiling function: {why}"))?;
        let mut lua = self.interpreter.lua();
        assert!(lua.top() == 1, "the library alone");
        let assigns = bytecode::assigns_outside(&lua.compiled());
        lua.push_kept(self.world.error_handler);
        lua.insert(1);
        self.world.set_loads(&mut lua, true);
        self.interpreter.leave();
        self.host().begin();
        self.host().argument_count.set(0);
        let took_too_long = self.run_to_end(time_max);
        let has_failed = self.host().has_failed.get();
        if self.host().is_killed() {
            self.interpreter.calm();
        }
        let mut lua = self.interpreter.lua();
        self.world.set_loads(&mut lua, false);
        let error = has_failed.then(|| {
            // Where memory is at its limit it is a text.
            let failed = lua.top();
            if lua.kind(failed) == LuaType::Table {
                lua.push_field(failed, "err");
            }
            lua.text(lua.top()).unwrap_or_else(|| b"ERR not enough memory".to_vec())
        });
        lua.pop(lua.top());
        let registered = self.host().registered.take();
        if error.is_some() {
            registered.iter().for_each(|registered| lua.forget(registered.callback));
        }
        self.interpreter.leave();
        self.is_running = false;
        match error {
            None => Ok(Evaluated { registered, assigns }),
            Some(_) if took_too_long => {
                Err("Error registering functions: ERR FUNCTION LOAD timeout".to_owned())
            }
            Some(error) => Err(format!("Error registering functions: {}", String::from_utf8_lossy(&error))),
        }
    }

    /// Runs what is prepared, which may ask for nothing; whether it was ended since it took too long.
    fn run_to_end(&mut self, time_max: Duration) -> bool {
        let start = Instant::now();
        let mut took_too_long = false;
        let mut request = self.resume(Answer::Begin);
        while request != Request::End {
            took_too_long |= request == Request::Tick && start.elapsed() > time_max;
            let goes_on = request == Request::Tick && !took_too_long;
            request = self.resume(if goes_on { Answer::Go } else { Answer::Die });
        }
        took_too_long
    }

    /// Whether the run of a function that has just ended has changed what its library keeps.
    #[inline]
    pub fn has_changed_state(&self, compiled: &Compiled) -> bool {
        let Code::Function(library, _) = &compiled.code else { return false };
        let loaded = self.functions.loaded.get(&library.number);
        loaded.is_some_and(|loaded| loaded.state.has_changed(&self.interpreter))
    }

    /// What a run has changed of its library's state is to be as if it had not been: the library is loaded again when it is next used.
    #[cold]
    pub fn forget_state(&mut self, compiled: &Compiled) {
        if let Code::Function(library, _) = &compiled.code {
            self.unload(library.number);
        }
    }

    /// What the run that has just ended has told `cjson`, if it is news.
    #[inline]
    pub fn told_json(&self, kind: script_state::CodeKind) -> Option<super::cjson::Settings> {
        let told = self.host().json.get();
        (told != self.functions.state.json[kind as usize]).then_some(told)
    }
}
