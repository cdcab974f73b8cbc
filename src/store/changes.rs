//! What commands changed, for whoever wants to know: journal, replicas, notifications, tracking.
//!
//! Design: each worker has one [`Changes`]. Commands tell it what happened through the guard over a key (`key_mut`) and their
//! context: *events*, named and classed as keyspace notifications are, and *effects*, the commands that repeat what was
//! done. A command that changed something is repeated as it came unless it says otherwise. All that belongs together, one command
//! or one transaction, is a unit; the listener takes it over at its end, while the leases are still held, so that no list outlives one
//! unit.
//!
//! Invariants:
//! - nothing is kept unless somebody listens;
//! - events and effects stand in the order in which they happened; a deletion because of a deadline stands before the command
//!   that found it.
//!
//! Costs: nobody listening, one predictable branch per event, effect and command. Else bytes back to back in one buffer.
//!
//! Not here: clients that wait for a key (`waiters`), WATCH (`watchers`), who listens (`command::recorder`).

use std::ops::Range;

use super::{DbIndex, Expired, Type};

/// What happened to a key, for those who watch it or wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its value was created, replaced or modified.
    Set,
    /// Something was taken out of its value, which nobody waits for.
    Lessened,
    /// Something beside what the value is changed: who has read it. Redis tells neither those who watch nor those who wait.
    Aside,
    /// It was removed by a command.
    Removed,
    /// It was removed by a command that took its last element.
    Emptied,
    /// It was removed because its deadline had come.
    Expired,
    /// It was removed because memory was short.
    Evicted,
    /// Only its deadline changed.
    Deadline,
}

/// The class of an event: a letter of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Of no type in particular: DEL, EXPIRE, RENAME.
    Generic,
    /// Strings, bitmaps and HyperLogLogs among them.
    String,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Hashes.
    Hash,
    /// Sorted sets, geographic ones among them.
    SortedSet,
    /// Streams.
    Stream,
    /// Types of modules.
    Module,
    /// A deadline had come.
    Expired,
    /// Memory was short.
    Evicted,
    /// A key that was read does not exist.
    KeyMiss,
    /// A key was created.
    New,
    /// A value was replaced as a whole.
    Overwritten,
    /// A value was replaced by one of another type.
    TypeChanged,
}

impl Class {
    /// As `notify-keyspace-events` names it.
    pub fn letter(self) -> char {
        match self {
            Class::Generic => 'g',
            Class::String => '$',
            Class::List => 'l',
            Class::Set => 's',
            Class::Hash => 'h',
            Class::SortedSet => 'z',
            Class::Stream => 't',
            Class::Module => 'd',
            Class::Expired => 'x',
            Class::Evicted => 'e',
            Class::KeyMiss => 'm',
            Class::New => 'n',
            Class::Overwritten => 'o',
            Class::TypeChanged => 'c',
        }
    }
}

/// An event, as keyspace notifications name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its class.
    pub class: Class,
    /// Its name.
    pub name: &'static str,
}

impl Event {
    /// A key was removed, by a command or with its last element.
    pub const DEL: Event = Event::new(Class::Generic, "del");
    /// A deadline was set.
    pub const EXPIRE: Event = Event::new(Class::Generic, "expire");
    /// A deadline was taken away.
    pub const PERSIST: Event = Event::new(Class::Generic, "persist");
    /// A deadline had come.
    pub const EXPIRED: Event = Event::new(Class::Expired, "expired");
    /// The deadlines of fields had come.
    pub const HEXPIRED: Event = Event::new(Class::Hash, "hexpired");
    /// Memory was short.
    pub const EVICTED: Event = Event::new(Class::Evicted, "evicted");
    /// A key that was read does not exist.
    pub const KEY_MISS: Event = Event::new(Class::KeyMiss, "keymiss");
    /// A key was created.
    pub const NEW: Event = Event::new(Class::New, "new");
    /// A value was replaced as a whole.
    pub const OVERWRITTEN: Event = Event::new(Class::Overwritten, "overwritten");
    /// It was replaced by one of another type.
    pub const TYPE_CHANGED: Event = Event::new(Class::TypeChanged, "type_changed");

    /// An event of this class and name.
    pub const fn new(class: Class, name: &'static str) -> Event {
        Event { class, name }
    }
}

/// How a key is deleted where the command is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// By DEL.
    Del,
    /// By UNLINK: the configuration asks for lazy freeing of what this command removes.
    Unlink,
}

impl Deletion {
    /// DEL, or UNLINK if the configuration asks for lazy freeing here.
    pub fn by(is_lazy: bool) -> Deletion {
        if is_lazy { Deletion::Unlink } else { Deletion::Del }
    }

    /// The command's name.
    pub fn name(self) -> &'static str {
        match self {
            Deletion::Del => "DEL",
            Deletion::Unlink => "UNLINK",
        }
    }
}

/// The words of an effect, one after the other.
#[derive(Default)]
pub struct Words {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// What may be a word of a command.
pub trait Word: Copy {
    /// Appends its text.
    fn write_to(&self, text: &mut Vec<u8>);
}

impl Word for &str {
    fn write_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.as_bytes());
    }
}

impl Word for &[u8] {
    fn write_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self);
    }
}

impl Word for i64 {
    fn write_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
    }
}

impl Word for u64 {
    fn write_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
    }
}

impl Words {
    /// Adds one.
    pub fn add(&mut self, word: impl Word) -> &mut Self {
        word.write_to(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self
    }

    /// Adds several.
    pub fn add_all(&mut self, words: impl IntoIterator<Item = impl Word>) -> &mut Self {
        for word in words {
            self.add(word);
        }
        self
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn at(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    fn clear(&mut self) {
        self.truncate(0);
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

/// Whom an effect is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whom {
    /// The append-only file.
    pub file: bool,
    /// Replicas.
    pub replicas: bool,
}

impl Whom {
    /// Everybody.
    pub const ALL: Self = Self { file: true, replicas: true };
}

impl Default for Whom {
    fn default() -> Self {
        Self::ALL
    }
}

/// A command that repeats something.
struct Effect {
    /// None: the database that the command runs in, until it has run.
    db: Option<DbIndex>,
    whom: Whom,
    words: Range<usize>,
}

/// Something that happened to a key.
struct Raised {
    event: Event,
    db: DbIndex,
    /// Its place in the words.
    key: usize,
}

/// How much a unit had at some time.
#[derive(Clone, Copy, Default)]
pub struct ChangesMark {
    words: usize,
    effects: usize,
    events: usize,
}

/// What the current unit of one worker has changed.
#[derive(Default)]
pub struct Changes {
    is_listened: bool,
    /// Whether who listens wants to know of events only.
    drops_effects: bool,
    /// So many events were told already.
    told: usize,
    /// By how much the current command has raised the dirty counter.
    dirty: u64,
    /// Whether the current command is not to be repeated as it came.
    is_replaced: bool,
    /// Who is to repeat the current command.
    whom: Whom,
    words: Words,
    effects: Vec<Effect>,
    events: Vec<Raised>,
}

impl Changes {
    /// Whether somebody listens.
    #[inline]
    pub fn is_listened(&self) -> bool {
        self.is_listened
    }

    /// Somebody listens from now on, or nobody does any more. Within a unit nobody gets the part that has run.
    #[inline]
    pub fn listen(&mut self, on: bool) {
        if self.is_listened != on {
            *self = Changes { is_listened: on, ..Changes::default() };
        }
    }

    /// Whether effects are kept too, or events only.
    #[inline]
    pub fn keep_effects(&mut self, on: bool) {
        self.drops_effects = !on;
    }

    /// This, if somebody listens.
    #[inline]
    pub fn listener(&mut self) -> Option<&mut Changes> {
        self.is_listened.then_some(self)
    }

    /// Something has happened to a key.
    #[cold]
    pub fn raise(&mut self, event: Event, db: DbIndex, key: &[u8]) {
        self.events.push(Raised { event, db, key: self.words.len() });
        self.words.add(key);
    }

    /// A value of one type, if there was any, was replaced as a whole by one of another.
    #[cold]
    pub fn replaced(&mut self, before: Option<Type>, after: Type, db: DbIndex, key: &[u8]) {
        let Some(before) = before else { return };
        self.raise(Event::OVERWRITTEN, db, key);
        if before != after {
            self.raise(Event::TYPE_CHANGED, db, key);
        }
    }

    /// The dirty counter was raised.
    #[inline]
    pub fn count(&mut self, dirty: u64) {
        self.dirty += dirty;
    }

    /// The current command is repeated by this one; if this is called again, by all of them.
    #[cold]
    pub fn repeat_as(&mut self, build: impl FnOnce(&mut Words)) {
        self.is_replaced = true;
        self.push_effect(None, build);
    }

    /// Before the current command this one is repeated: what the command found and removed, like a field whose time has come.
    #[cold]
    pub fn repeat_before(&mut self, build: impl FnOnce(&mut Words)) {
        self.push_effect(None, build);
    }

    /// Replicas are to repeat this beside what the current command has changed: it concerns no data.
    #[cold]
    pub fn repeat_for_replicas(&mut self, build: impl FnOnce(&mut Words)) {
        let count = self.effects.len();
        self.push_effect(None, build);
        self.effects[count..].iter_mut().for_each(|effect| effect.whom.file = false);
    }

    /// The current command is not repeated.
    pub fn repeat_nothing(&mut self) {
        self.is_replaced = true;
    }

    /// The current command is repeated by these only.
    pub fn repeat_by(&mut self, whom: Whom) {
        self.whom = whom;
    }

    /// A key was removed because its deadline had come.
    #[cold]
    pub fn expired(&mut self, db: DbIndex, key: &[u8], deletion: Deletion) {
        self.raise(Event::EXPIRED, db, key);
        self.push_effect(Some(db), |words| {
            words.add(deletion.name()).add(key);
        });
    }

    /// Active expiry has found something: a key, or parts of its value.
    #[cold]
    pub fn expired_actively(&mut self, db: DbIndex, key: &[u8], what: Expired<'_>, deletion: Deletion) {
        match what {
            Expired::Key => self.expired(db, key, deletion),
            Expired::Subkey(name) => self.push_effect(Some(db), |words| {
                words.add("HDEL").add(key).add(name);
            }),
            Expired::Inside { is_emptied } => {
                self.raise(Event::HEXPIRED, db, key);
                if is_emptied {
                    self.raise(Event::DEL, db, key);
                }
            }
        }
    }

    /// A key was removed because memory was short.
    pub fn evicted(&mut self, db: DbIndex, key: &[u8], deletion: Deletion) {
        self.raise(Event::EVICTED, db, key);
        self.push_effect(Some(db), |words| {
            words.add(deletion.name()).add(key);
        });
    }

    /// A command has run in this database: unless it has said otherwise it is repeated as it came, if it has changed anything.
    pub fn end_command(&mut self, db: DbIndex, as_it_came: impl FnOnce(&mut Words)) {
        let (dirty, is_replaced) = (std::mem::take(&mut self.dirty), std::mem::take(&mut self.is_replaced));
        if dirty > 0 && !is_replaced {
            self.push_effect(None, as_it_came);
        }
        let whom = std::mem::replace(&mut self.whom, Whom::ALL);
        for effect in &mut self.effects {
            // What has a database was no doing of the command: a key whose time had come.
            if effect.db.is_none() {
                effect.db = Some(db);
                effect.whom.file &= whom.file;
                effect.whom.replicas &= whom.replicas;
            }
        }
    }

    /// How many effects the unit has for the file, and for replicas.
    pub fn effect_counts(&self) -> (usize, usize) {
        let count = |is_for: fn(&Effect) -> bool| self.effects.iter().filter(|effect| is_for(effect)).count();
        (count(|effect| effect.whom.file), count(|effect| effect.whom.replicas))
    }

    /// The unit's effects, in their order, with their databases, and whom they are for.
    pub fn effects(&self) -> impl Iterator<Item = (DbIndex, Whom, impl ExactSizeIterator<Item = &[u8]>)> {
        self.effects.iter().map(|effect| {
            let db = effect.db.expect("the command has ended");
            (db, effect.whom, effect.words.clone().map(|word| self.words.at(word)))
        })
    }

    /// The unit's events, in their order, with their keys.
    pub fn events(&self) -> impl Iterator<Item = (Event, DbIndex, &[u8])> {
        self.events.iter().map(|raised| (raised.event, raised.db, self.words.at(raised.key)))
    }

    /// How many events the unit has.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// The events since [`Self::told`] up to the unit's first `until` ones, in their order, with their keys.
    pub fn untold_events(&self, until: usize) -> impl Iterator<Item = (Event, DbIndex, &[u8])> {
        self.events().take(until).skip(self.told)
    }

    /// The unit's first `until` events, as far as there are, were told to whoever is told behind each command.
    pub fn told(&mut self, until: usize) {
        self.told = until.min(self.events.len());
    }

    /// What the unit has so far, between two commands.
    pub fn mark(&self) -> ChangesMark {
        ChangesMark { words: self.words.len(), effects: self.effects.len(), events: self.events.len() }
    }

    /// What came since has not happened.
    pub fn truncate(&mut self, mark: ChangesMark) {
        (self.dirty, self.is_replaced, self.whom) = (0, false, Whom::ALL);
        self.words.truncate(mark.words);
        self.effects.truncate(mark.effects);
        self.events.truncate(mark.events);
        self.told = self.told.min(mark.events);
    }

    /// The unit has ended and was taken over.
    pub fn clear(&mut self) {
        assert!(self.dirty == 0 && !self.is_replaced, "a unit ends with its last command");
        self.effects.clear();
        self.events.clear();
        self.told = 0;
        self.words.clear();
    }

    fn push_effect(&mut self, db: Option<DbIndex>, build: impl FnOnce(&mut Words)) {
        if self.drops_effects {
            return;
        }
        let start = self.words.len();
        build(&mut self.words);
        assert!(self.words.len() > start, "an effect has at least a name");
        self.effects.push(Effect { db, whom: Whom::ALL, words: start..self.words.len() });
    }
}
