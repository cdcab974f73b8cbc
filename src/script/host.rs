//! What an interpreter and its worker share: memory used, the command that a script asks for, the reply to it.
//!
//! Design: the script's stack and the worker's take turns, so cells do; no cell is borrowed while the other side runs.

use std::cell::{Cell, RefCell};

use super::lua::Side;
use crate::resp::{Output, Protocol, Span};

/// What the worker may answer when it resumes a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Begin with what is prepared.
    Begin,
    /// Go on.
    Go,
    /// End with an error: the script was killed.
    Die,
    /// The engine is dropped: leave the stack.
    Leave,
}

/// What a script may want of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run the command in `words`, and leave its reply in `reply`.
    Call,
    /// Say whether the client may run the command in `words`: `verdict`.
    CheckAcl,
    /// Say whether it may change what outlives it: it dies otherwise.
    Keep,
    /// Nothing: many instructions have passed.
    Tick,
    /// It has ended.
    End,
}

/// A command's words.
#[derive(Default)]
pub struct Words {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Words of a command together, as spans have 32 bits.
pub const WORDS_BYTES_MAX: usize = u32::MAX as usize;
/// Room that is kept from command to command.
const WORDS_BYTES_KEPT: usize = 64 << 10;

impl Words {
    /// Begins with none.
    #[inline]
    pub fn clear(&mut self) {
        if self.bytes.capacity() > WORDS_BYTES_KEPT {
            *self = Self::default();
        }
        self.bytes.clear();
        self.spans.clear();
    }

    /// Adds one; false where there is no room for it.
    #[inline]
    pub fn push(&mut self, word: &[u8]) -> bool {
        if self.bytes.len() + word.len() > WORDS_BYTES_MAX {
            return false;
        }
        self.spans.push(Span { start: self.bytes.len() as u32, len: word.len() as u32 });
        self.bytes.extend_from_slice(word);
        true
    }

    /// The bytes of all words, and where each lies.
    #[inline]
    pub fn parts(&self) -> (&[u8], &[Span]) {
        (&self.bytes, &self.spans)
    }
}

/// To whom a script's effects go (`redis.set_repl`).
pub const REPL_AOF: u8 = 1;
/// See [`REPL_AOF`].
pub const REPL_REPLICA: u8 = 2;
/// See [`REPL_AOF`].
pub const REPL_ALL: u8 = REPL_AOF | REPL_REPLICA;

/// A line for the log, with its level as Redis numbers them.
pub type LogLine = (u8, String);

/// What is shared.
pub struct Host {
    /// Bytes allocated by Lua, and how many it may have.
    used: Cell<usize>,
    limit: usize,
    /// Whether ours runs, in which allocations do not fail.
    pub(super) shelter: Cell<bool>,
    /// The script's stack.
    pub(super) side: Side,
    /// The script is to end: it has been killed.
    dies: Cell<bool>,
    /// The command that is asked for.
    pub words: RefCell<Words>,
    /// The reply to it.
    pub reply: RefCell<Output>,
    /// How many arguments the script's function gets, and whether it has failed.
    pub(super) argument_count: Cell<usize>,
    pub(super) has_failed: Cell<bool>,
    /// Whether the client may run the command.
    pub verdict: Cell<Option<bool>>,
    /// The protocol in which the script sees replies, and which it replies in.
    pub protocol: Cell<Protocol>,
    /// To whom its effects go.
    pub repl: Cell<u8>,
    /// What `math.random` gives next.
    pub random: Cell<u64>,
    /// Lines for the log, once the script has ended.
    pub log_lines: RefCell<Vec<LogLine>>,
    /// What `cjson` was told.
    pub json: Cell<super::cjson::Settings>,
    /// Functions that the library has registered which is being loaded.
    pub registered: RefCell<Vec<super::register::Registered>>,
}

impl Host {
    /// With a memory limit in bytes.
    pub fn new(limit: usize) -> Box<Self> {
        Box::new(Self {
            used: Cell::new(0),
            limit,
            shelter: Cell::new(false),
            side: Side::default(),
            dies: Cell::new(false),
            words: RefCell::default(),
            reply: RefCell::default(),
            argument_count: Cell::new(0),
            has_failed: Cell::new(false),
            verdict: Cell::new(None),
            protocol: Cell::new(Protocol::Resp2),
            repl: Cell::new(REPL_ALL),
            random: Cell::new(super::random::INITIAL),
            log_lines: RefCell::default(),
            json: Cell::default(),
            registered: RefCell::default(),
        })
    }

    /// Whether so many bytes more are within the limit.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.limit.saturating_sub(self.used.get())
    }

    /// Bytes allocated by Lua.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    pub(super) fn note_freed(&self, bytes: usize) {
        self.used.set(self.used.get() - bytes);
    }

    pub(super) fn note_resized(&self, before: usize, after: usize) {
        self.used.set(self.used.get() - before + after);
    }

    /// A script begins.
    pub fn begin(&self) {
        self.dies.set(false);
        self.protocol.set(Protocol::Resp2);
        self.repl.set(REPL_ALL);
    }

    /// Whether the script was killed.
    pub fn is_killed(&self) -> bool {
        self.dies.get()
    }

    /// Asks the worker for something. Called on the script's stack.
    pub(super) fn ask(&self, request: Request) -> Answer {
        // The worker may look at the interpreter meanwhile, and says so itself.
        let shelter = self.shelter.replace(false);
        let answer = self.side.suspend(request);
        self.shelter.set(shelter);
        if answer == Answer::Die {
            self.dies.set(true);
        }
        answer
    }

    /// What `cjson` is told outlives the script: whether it may be told that now; the script dies otherwise.
    pub fn tell_json(&self, settings: super::cjson::Settings) -> bool {
        if settings != self.json.get() && self.ask(Request::Keep) == Answer::Die {
            return false;
        }
        self.json.set(settings);
        true
    }

    /// Many instructions have passed: whether the script is to die.
    pub(super) fn tick(&self) -> bool {
        if !self.dies.get() {
            self.ask(Request::Tick);
        }
        self.dies.get()
    }
}

/// What a killed script fails with.
pub(super) const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
