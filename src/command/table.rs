//! The table of all commands: rows numbered once at start, found by name in a few nanoseconds.
//!
//! Design: open addressing over a power of two of slots. A name's first and last eight bytes, folded to lower case eight at a
//! time, are its hash's input and, for names of up to sixteen bytes, the whole comparison: a slot holds them.
//! Subcommands have rows (and numbers, for statistics) of their own, found by a walk over their container's few.
//!
//! Invariants: names are unique; a row's `id` is its place in `rows`; `rename-command` changes the index, never a row.

use std::sync::OnceLock;

use super::Args;
use super::row::{Begin, Command, Find, Flags, KeyFinder, KeySpec, Scope};

/// Slots of the index: at least four times the top-level commands, so that probes stay short.
const SLOTS: usize = 2048;

/// A command with what is derived from its row.
pub struct Row {
    /// The row itself.
    pub command: Command,
    /// Place in the table; statistics are kept by it.
    pub id: u16,
    /// `get`, or `client|list` for a subcommand: the name in errors, statistics and MONITOR.
    pub full_name: String,
    /// Where the keys are, reduced to what the gathering needs.
    pub shape: KeyShape,
    /// Argument of the first key, and the distance between keys: where the hash of a key stands among those gathered.
    pub key_places: (usize, usize),
    /// The rows of the subcommands.
    pub subrows: Vec<u16>,
    /// The container's row.
    pub parent: Option<u16>,
    /// What it does in a transaction.
    pub role: Role,
    /// Up to how many arguments it takes hardly longer than reading the time does, whatever its one key holds.
    pub quick_args_max: usize,
    /// Why it may have to be looked at before it runs: its flags, [`Flags::ANY`], and [`Flags::NOT_PLAIN`] unless all it touches is the
    /// keys whose shards are held, so that it leaves its client as it was.
    pub gates: Flags,
}

/// What a command does between MULTI and EXEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is queued.
    Queued,
    /// It runs at once (WATCH, QUIT).
    AtOnce,
    /// It begins the transaction.
    Begin,
    /// It ends it without running it (DISCARD, RESET).
    End,
    /// It runs it.
    Exec,
}

impl Role {
    fn of(full_name: &str) -> Role {
        match full_name {
            "multi" => Role::Begin,
            "exec" => Role::Exec,
            "discard" | "reset" => Role::End,
            "watch" | "quit" => Role::AtOnce,
            _ => Role::Queued,
        }
    }
}

impl Row {
    /// Whether so many arguments, names included, fit the arity.
    #[inline]
    pub fn accepts(&self, argc: usize) -> bool {
        let arity = self.command.arity;
        if arity >= 0 { argc == arity as usize } else { argc >= arity.unsigned_abs() as usize }
    }

    /// Which shards it needs with these arguments.
    #[inline]
    pub fn scope(&self, args: &Args<'_>) -> Scope {
        match self.shape {
            KeyShape::Found(find) => find(args, &mut |_, _| ()),
            _ => self.command.scope,
        }
    }
}

/// The key specifications of a row, reduced to the cases worth telling apart before every command.
#[derive(Clone, Copy, Debug)]
pub enum KeyShape {
    /// No keys, or every shard is held anyway.
    None,
    /// One key, argument 1.
    First,
    /// Keys from `first` to `last` (negative: from the end), every `step`th.
    Range {
        /// First key's argument.
        first: u16,
        /// Last key's argument; negative counts from the end.
        last: i16,
        /// Distance between keys.
        step: u16,
    },
    /// Anything else: walk the specifications.
    General,
    /// The options decide; this finds them, and the scope.
    Found(KeyFinder),
}

impl KeyShape {
    fn of(command: &Command) -> Self {
        if !matches!(command.scope, Scope::Keys | Scope::Script) {
            return Self::None;
        }
        if let Some(find) = command.finder {
            return Self::Found(find);
        }
        match command.keys {
            [] => Self::None,
            [KeySpec { begin: Begin::Index(first), find: Find::Range { last, step, limit: 0 }, .. }] => {
                match (first, last) {
                    (1, 0) => Self::First,
                    (_, last) if *last >= 0 => {
                        Self::Range { first: *first, last: *first as i16 + last, step: *step }
                    }
                    _ => Self::Range { first: *first, last: *last, step: *step },
                }
            }
            _ => Self::General,
        }
    }
}

/// See [`Row::gates`].
fn gates(command: &Command, role: Role) -> Flags {
    let is_plain = command.scope == Scope::Keys && command.finder.is_none() && role == Role::Queued;
    let flags = command.flags.with(Flags::ANY);
    if is_plain { flags } else { flags.with(Flags::NOT_PLAIN) }
}

/// Up to how many arguments a command is quick: always where its documentation says so. One that has the flag may take the
/// longer the more elements it is given or asked for, so only with the fewest arguments.
fn quick_args_max(command: &Command, shape: KeyShape) -> usize {
    match shape {
        KeyShape::First if command.complexity == "O(1)" => usize::MAX,
        KeyShape::First if command.flags.has(Flags::FAST) => command.arity.unsigned_abs().into(),
        _ => 0,
    }
}

/// No argument stands here, nor has this distance from another.
const NOWHERE: usize = usize::MAX / 2;

/// The first key and the distance between keys, of specifications that are no plain range: a counted run of keys, or single
/// keys next to each other. For any others a place where no key is, so that the hashes that were gathered are not taken for
/// those of other keys.
fn general_places(specs: &[KeySpec]) -> (usize, usize) {
    if let [KeySpec { begin: Begin::Index(begin), find: Find::Count { first, step, .. }, .. }] = specs {
        return ((begin + first) as usize, *step as usize);
    }
    let at = |spec: &KeySpec| match (spec.begin, spec.find) {
        (Begin::Index(index), Find::Range { last: 0, .. }) => Some(index as usize),
        _ => None,
    };
    let first = specs.first().and_then(at).unwrap_or(NOWHERE);
    let is_row = specs.iter().enumerate().all(|(place, spec)| at(spec) == Some(first + place));
    if is_row { (first, 1) } else { (NOWHERE, 1) }
}

/// All rows and the index over their names.
pub struct Table {
    rows: Vec<Row>,
    index: Box<[Slot]>,
    names: Vec<String>,
}

/// Why a name leads to no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// No command of that name.
    UnknownCommand,
    /// The container (its row's number is given) has no such subcommand.
    UnknownSubcommand(u16),
    /// Too few or too many arguments for the row of this number.
    Arity(u16),
}

static TABLE: OnceLock<Table> = OnceLock::new();

/// The process's table; made on first use, without renames.
pub fn table() -> &'static Table {
    TABLE.get_or_init(|| Table::new(super::FAMILIES, &[]).expect("no renames, no errors"))
}

/// Makes the process's table with `rename-command` pairs applied (an empty new name removes the command).
/// Commands that are not there are passed over. Fails with the offending name when it is taken, or when the table exists
/// already.
pub fn install(renames: &[(String, String)]) -> Result<(), String> {
    let table = Table::new(super::FAMILIES, renames)?;
    TABLE.set(table).map_err(|_| "the command table is in use already".to_owned())
}

impl Table {
    /// Numbers the rows of all families and indexes their names.
    pub fn new(families: &[&[Command]], renames: &[(String, String)]) -> Result<Self, String> {
        let mut table = Self { rows: Vec::new(), index: vec![Slot::EMPTY; SLOTS].into(), names: Vec::new() };
        for command in families.iter().copied().flatten() {
            let id = table.push(command, None);
            for subcommand in command.subcommands {
                let sub = table.push(subcommand, Some(id));
                table.rows[id as usize].subrows.push(sub);
            }
        }
        assert!(table.rows.len() < SLOTS / 4);
        table.names = table.rows.iter().map(|row| row.full_name.clone()).collect();
        for (old, new) in renames {
            table.rename(&old.to_ascii_lowercase(), &new.to_ascii_lowercase())?;
        }
        for id in 0..table.rows.len() {
            if table.rows[id].parent.is_none() && !table.names[id].is_empty() {
                table.insert(id as u16)?;
            }
        }
        Ok(table)
    }

    fn push(&mut self, command: &Command, parent: Option<u16>) -> u16 {
        let id = u16::try_from(self.rows.len()).expect("fewer than 65536 commands");
        let full_name = match parent {
            None => command.name.to_owned(),
            Some(parent) => format!("{}|{}", self.rows[parent as usize].full_name, command.name),
        };
        let shape = KeyShape::of(command);
        let key_places = match shape {
            KeyShape::Range { first, step, .. } => (first as usize, step as usize),
            KeyShape::General => general_places(command.keys),
            KeyShape::Found(_) => (1, NOWHERE),
            _ => (1, 1),
        };
        let role = Role::of(&full_name);
        self.rows.push(Row {
            command: *command,
            id,
            gates: gates(command, role),
            role,
            quick_args_max: quick_args_max(command, shape),
            full_name,
            shape,
            key_places,
            subrows: Vec::new(),
            parent,
        });
        id
    }

    fn rename(&mut self, old: &str, new: &str) -> Result<(), String> {
        let called = |wanted: &str| {
            let mut ids = 0..self.rows.len();
            ids.find(|id| self.rows[*id].parent.is_none() && self.names[*id] == wanted)
        };
        // The configuration lets only commands of Redis through: this one is not there yet.
        let Some(id) = called(old) else { return Ok(()) };
        if new != old && !new.is_empty() && called(new).is_some() {
            return Err(format!("Target command name already exists: '{new}'"));
        }
        new.clone_into(&mut self.names[id]);
        Ok(())
    }

    fn insert(&mut self, id: u16) -> Result<(), String> {
        let name = &self.names[id as usize];
        if self.find(name.as_bytes()).is_some() {
            return Err(format!("two commands are called '{name}'"));
        }
        let key = NameKey::of(name.as_bytes());
        let mut place = key.place();
        while self.index[place].id != Slot::EMPTY.id {
            place = (place + 1) % SLOTS;
        }
        self.index[place] = Slot { key, id };
        Ok(())
    }

    /// Every row, subcommands after their container.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The top-level commands that can be called; those that `rename-command` removed are left out.
    pub fn commands(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.parent.is_none() && !self.names[row.id as usize].is_empty())
    }

    /// The row with this number.
    #[inline]
    pub fn row(&self, id: u16) -> &Row {
        &self.rows[id as usize]
    }

    /// The row with this number, if there is one.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Row> {
        self.rows.get(id as usize)
    }

    /// The top-level command of this name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let key = NameKey::of(name);
        let mut place = key.place();
        loop {
            let slot = self.index[place];
            if slot.key == key && (name.len() <= 16 || self.is_called(slot.id, name)) {
                return self.rows.get(slot.id as usize);
            }
            if slot.id == Slot::EMPTY.id {
                return None;
            }
            place = (place + 1) % SLOTS;
        }
    }

    #[cold]
    fn is_called(&self, id: u16, name: &[u8]) -> bool {
        self.names.get(id as usize).is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The row that `argc` arguments beginning with `name` (and `sub`, where there is a second) mean, arity checked.
    #[inline]
    pub fn resolve<'a>(
        &self,
        name: &[u8],
        sub: impl FnOnce() -> Option<&'a [u8]>,
        argc: usize,
    ) -> Result<&Row, LookupError> {
        let mut row = self.find(name).ok_or(LookupError::UnknownCommand)?;
        if !row.subrows.is_empty()
            && let Some(sub) = sub()
        {
            row = self.subcommand(row, sub).ok_or(LookupError::UnknownSubcommand(row.id))?;
        }
        if row.accepts(argc) { Ok(row) } else { Err(LookupError::Arity(row.id)) }
    }

    /// The subcommand `name` of a container.
    pub fn subcommand(&self, container: &Row, name: &[u8]) -> Option<&Row> {
        let mut rows = container.subrows.iter().map(|id| self.row(*id));
        rows.find(|row| row.command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The row called `client|list` or `get`.
    pub fn find_full(&self, name: &[u8]) -> Option<&Row> {
        let mut parts = name.splitn(2, |byte| *byte == b'|');
        let row = self.find(parts.next()?)?;
        match parts.next() {
            None => Some(row),
            Some(sub) => self.subcommand(row, sub),
        }
    }
}

/// A place of the index.
#[derive(Clone, Copy)]
struct Slot {
    key: NameKey,
    id: u16,
}

impl Slot {
    const EMPTY: Self = Self { key: NameKey { first: 0, last: 0, len: 0 }, id: u16::MAX };
}

/// A name's length and its first and last eight bytes in lower case (overlapping, or padded with zeros).
#[derive(Clone, Copy, PartialEq, Eq)]
struct NameKey {
    first: u64,
    last: u64,
    len: u32,
}

impl NameKey {
    #[inline]
    fn of(name: &[u8]) -> Self {
        let len = name.len() as u32;
        match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
                Self { first: lower_case(first), last: lower_case(last), len }
            }
            _ => Self { first: lower_case(short_word(name)), last: 0, len },
        }
    }

    #[inline]
    fn place(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        ((mixed ^ u64::from(self.len) << 40) >> 40) as usize % SLOTS
    }
}

/// Fewer than eight bytes as a number, without a loop: two overlapping halves, or up to three single bytes.
#[inline]
fn short_word(name: &[u8]) -> u64 {
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(low), Some(high)) => {
            let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
            u64::from(low) | u64::from(high) << (8 * (name.len() - 4))
        }
        _ => match name {
            [a, b, c] => u64::from(*a) | u64::from(*b) << 8 | u64::from(*c) << 16,
            [a, b] => u64::from(*a) | u64::from(*b) << 8,
            [a] => u64::from(*a),
            _ => 0,
        },
    }
}

/// Eight bytes with `A..=Z` in lower case, all others as they are (Mycroft's arithmetic on bytes).
#[inline]
fn lower_case(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let low_bits = word & (ONES * 0x7F);
    let from_a = low_bits + ONES * (0x80 - b'A' as u64);
    let above_z = low_bits + ONES * (0x7F - b'Z' as u64);
    let upper = (from_a ^ above_z) & !word & (ONES * 0x80);
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_in_any_case() {
        let table = table();
        for row in table.rows() {
            assert_eq!(table.find_full(row.full_name.as_bytes()).expect("found").id, row.id);
            let upper = row.full_name.to_ascii_uppercase();
            assert_eq!(table.find_full(upper.as_bytes()).expect("found").id, row.id);
        }
        assert!(table.find(b"nosuchcommand").is_none());
        assert!(table.find(b"").is_none());
    }

    #[test]
    fn lower_case_is_ascii_lower_case() {
        for byte in 0..=u8::MAX {
            for shift in 0..8 {
                let mut bytes = [0x41; 8];
                bytes[shift] = byte;
                assert_eq!(
                    lower_case(u64::from_le_bytes(bytes)).to_le_bytes(),
                    bytes.map(|b| b.to_ascii_lowercase())
                );
            }
        }
        for len in 0..8 {
            let mut padded = [0; 8];
            padded[..len].copy_from_slice(&b"abcdefgh"[..len]);
            assert_eq!(short_word(&b"abcdefgh"[..len]).to_le_bytes(), padded);
        }
    }

    #[test]
    fn rows_are_consistent() {
        use super::super::row::Flags;
        for row in table().rows() {
            let command = &row.command;
            assert!(
                !(command.flags.has(Flags::WRITE) && command.flags.has(Flags::READONLY)),
                "{}: both reads and writes",
                row.full_name
            );
            assert_eq!(command.name, command.name.to_ascii_lowercase());
            assert!(command.arity != 0, "{}: no arity", row.full_name);
            assert!(!command.summary.is_empty(), "{}: no summary", row.full_name);
            let least = command.arity.unsigned_abs();
            for spec in command.keys {
                if let Begin::Index(first) = spec.begin {
                    assert!(first < least || command.arity < 0, "{}: key beyond arity", row.full_name);
                }
            }
        }
    }

    /// What only reads its keys runs beside others who read, unless it cannot.
    #[test]
    fn rows_that_only_read_share() {
        use super::super::row::Flags;
        const ALONE: &[(&str, &str)] = &[("xread", "may wait"), ("pfcount", "keeps its estimate")];
        for row in table().rows().iter().filter(|row| row.subrows.is_empty()) {
            let command = &row.command;
            let only_reads = command.flags.has(Flags::READONLY) && command.scope == Scope::Keys;
            let is_alone = ALONE.iter().any(|(name, _)| *name == row.full_name);
            assert_eq!(command.shares, only_reads && !is_alone, "{}", row.full_name);
        }
    }

    #[test]
    fn renames_move_and_remove() {
        let renames = [("get".to_owned(), "fetch".to_owned()), ("SET".to_owned(), String::new())];
        let table = Table::new(super::super::FAMILIES, &renames).expect("fits");
        assert!(table.find(b"get").is_none());
        assert_eq!(table.find(b"FETCH").expect("renamed").full_name, "get");
        assert!(table.find(b"set").is_none());
        let taken = [("get".to_owned(), "set".to_owned())];
        assert!(Table::new(super::super::FAMILIES, &taken).is_err());
        let absent = [("nope".to_owned(), "x".to_owned()), ("get".to_owned(), "config|get".to_owned())];
        let table = Table::new(super::super::FAMILIES, &absent).expect("what is not there is passed over");
        assert!(table.find(b"x").is_none() && table.find(b"config|get").is_some());
        assert!(Table::new(super::super::FAMILIES, &[("get".to_owned(), "ping".to_owned())]).is_err());
    }
}
