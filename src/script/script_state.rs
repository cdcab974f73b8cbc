//! What outlives a script's run, one for all clients: the libraries, what their functions keep, what `cjson` was told.
//!
//! Design: all of it is changed under all leases, so in one order with everything else. Workers have copies, and one number says
//! whether these are still right: it grows with each change. Whoever runs a script looks at it before; and behind the run once more,
//! unless it holds all leases, since it may have held none when the change was made (`worker::script`).
//!
//! A library is accepted once it was run in an interpreter that is there for that only: of one that fails nothing is left. Workers
//! load it when the first of its functions is called there (`functions`).
//!
//! Functions that keep something run in one interpreter, the *shared engine*, which whoever holds all leases takes from here.
//!
//! Not here: the commands (`command::scripting::function`), what a library is (`library`).

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cjson::Settings;
use super::engine::Engine;
use super::library::{Library, LibrarySet, read_head};
use super::shared_engine::SharedEngine;

/// How long a library may run that FUNCTION LOAD brings.
pub const LOAD_TIME_MAX: Duration = Duration::from_millis(500);
/// The same for one that was accepted before, which it may have been on a faster machine.
pub const RELOAD_TIME_MAX: Duration = Duration::from_secs(10);

/// Who keeps settings of its own, as they have interpreters of their own in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// Scripts of EVAL.
    Script,
    /// Functions of libraries.
    Function,
}

/// What becomes of the libraries there are when others are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They go.
    Flush,
    /// They stay, and none may have the name of another.
    Append,
    /// They stay, but for those whose names the new ones have.
    Replace,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) libraries: Arc<LibrarySet>,
    /// What `cjson` was told, by [`CodeKind`].
    pub(super) json: [Settings; 2],
}

/// All of it.
#[derive(Default)]
pub struct ScriptState {
    version: AtomicU64,
    numbers: AtomicU64,
    state: Mutex<State>,
    shared_engine: Mutex<Option<SharedEngine>>,
}

impl ScriptState {
    /// How often it has changed.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// The libraries.
    pub fn libraries(&self) -> Arc<LibrarySet> {
        Arc::clone(&self.lock().libraries)
    }

    /// The texts of all libraries.
    pub fn texts(&self) -> Vec<Arc<[u8]>> {
        self.libraries().iter().map(|library| Arc::clone(&library.text)).collect()
    }

    /// All of it, and its version.
    pub(super) fn current(&self) -> (u64, State) {
        let state = self.lock();
        (self.version.load(Acquire), state.clone())
    }

    /// Runs a library, to see what it registers.
    fn read(&self, text: &[u8], time_max: Duration) -> Result<Library, String> {
        let head = read_head(text)?;
        let number = self.numbers.fetch_add(1, Relaxed) + 1;
        let mut engine = Engine::new().map_err(|_| "there is no memory for an interpreter".to_owned())?;
        let (functions, keeps_state) = engine.read_library(&text[head.code..], time_max)?;
        engine.tell_log_lines();
        Ok(Library::new(number, text, head, functions, keeps_state))
    }

    /// FUNCTION LOAD: the library's name.
    pub fn load(&self, text: &[u8], replaces: bool) -> Result<String, String> {
        let head = read_head(text)?;
        let mut libraries = LibrarySet::clone(&self.libraries());
        if !replaces && libraries.get(head.name.as_bytes()).is_some() {
            return Err(format!("Library '{}' already exists", head.name));
        }
        let library = self.read(text, LOAD_TIME_MAX)?;
        libraries.add(Arc::new(library))?;
        self.replace(libraries);
        Ok(head.name)
    }

    /// FUNCTION RESTORE, and what a file has: all of them, or none.
    pub fn restore<T: AsRef<[u8]>>(&self, texts: &[T], policy: Policy) -> Result<(), String> {
        let mut restored = LibrarySet::default();
        for text in texts {
            let head = read_head(text.as_ref())?;
            if restored.get(head.name.as_bytes()).is_some() {
                return Err(format!("Library '{}' already exists", head.name));
            }
            restored.add(Arc::new(self.read(text.as_ref(), RELOAD_TIME_MAX)?))?;
        }
        let libraries = match policy {
            Policy::Flush => restored,
            Policy::Append | Policy::Replace => {
                let mut libraries = LibrarySet::clone(&self.libraries());
                let known = |library: &&Arc<Library>| libraries.get(library.name.as_bytes()).is_some();
                if policy == Policy::Append
                    && let Some(library) = restored.iter().find(known)
                {
                    return Err(format!("Library {} already exists", library.name));
                }
                // Those that go make room for names of functions before any is added.
                for library in restored.iter() {
                    libraries.remove(library.name.as_bytes());
                }
                for library in restored.iter() {
                    libraries.add(Arc::clone(library))?;
                }
                libraries
            }
        };
        self.replace(libraries);
        Ok(())
    }

    /// FUNCTION DELETE: whether there was such a library.
    pub fn delete(&self, name: &[u8]) -> bool {
        let mut libraries = LibrarySet::clone(&self.libraries());
        let was_there = libraries.remove(name);
        if was_there {
            self.replace(libraries);
        }
        was_there
    }

    /// FUNCTION FLUSH.
    pub fn flush(&self) {
        self.replace(LibrarySet::default());
    }

    fn replace(&self, libraries: LibrarySet) {
        self.lock().libraries = Arc::new(libraries);
        self.version.fetch_add(1, Release);
    }

    /// `cjson` was told something. All leases are held.
    pub fn set_json(&self, kind: CodeKind, settings: Settings) {
        self.lock().json[kind as usize] = settings;
        self.version.fetch_add(1, Release);
    }

    /// A library's functions keep something, as was just seen.
    pub fn note_state(&self, library: &Library) {
        if library.note_state() {
            self.version.fetch_add(1, Release);
        }
    }

    /// The interpreter of functions that keep something, for whoever holds all leases; it is to come back.
    pub fn take_shared_engine(&self) -> Option<Box<Engine>> {
        self.shared_engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .map(SharedEngine::into_engine)
    }

    /// It comes back.
    pub fn put_shared_engine(&self, engine: Box<Engine>) {
        *self.shared_engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(SharedEngine::new(engine));
    }

    /// Bytes that the shared engine has, if it is not in use just now.
    pub fn shared_engine_bytes(&self) -> usize {
        let shared_engine = self.shared_engine.lock().unwrap_or_else(PoisonError::into_inner);
        shared_engine.as_ref().map_or(0, SharedEngine::bytes)
    }

    /// Frees what the shared engine has of libraries that are gone. Nobody runs anything in it meanwhile.
    pub fn tidy_shared_engine(&self) {
        let Ok(mut shared_engine) = self.shared_engine.try_lock() else { return };
        if let Some(engine) = shared_engine.as_mut() {
            engine.engine().follow_script_state(self);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
