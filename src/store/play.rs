//! A shard that is written to at random, in every way that commands and cron may, for property tests of what goes on beside that.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::store::hash::KeyHasher;
use crate::store::stream::{Group, IidLimits, Removal, Stream, Trim, TrimTo};
use crate::store::{
    BLOB_BYTES_MIN, DbIndex, Deadline, Digest, End, Entry, Item, KeyMut, Limits, List, ListLimits, NewItem,
    NewString, NodeLimits, PackLimits, Shard, Side, Touch, Type, Typed, scaled,
};

/// A time later than the beginning of coarse time.
pub const START_MS: u64 = 1_800_000_000_000;
const DBS: u64 = 3;

/// What keys hold, by database and key.
pub type Picture = BTreeMap<(u32, Vec<u8>), (Type, Option<u64>, Digest)>;

/// Random numbers.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// What a key holds.
pub fn described(entry: Entry<'_>) -> (Type, Option<u64>, Digest) {
    let mut digest = Digest::default();
    digest.mix_value(entry);
    match entry.ty() {
        Type::Stream => {
            let stream = <&Stream>::of(entry);
            digest.mix(format!("{:?}", stream.history()).as_bytes());
            for (pid, producer) in stream.idempotency().iter().flat_map(|known| known.producers()) {
                digest.mix(pid);
                digest.mix(format!("{:?}", producer.iter().collect::<Vec<_>>()).as_bytes());
            }
            let counts = stream.idempotency().map(|known| (known.limits(), known.added, known.duplicates));
            digest.mix(format!("{counts:?}").as_bytes());
            for group in stream.groups() {
                digest.mix(&group.name);
                let pending: Vec<_> = group.pending().iter().collect();
                digest.mix(format!("{:?} {:?} {pending:?}", group.last, group.read_count).as_bytes());
                for (slot, consumer) in group.consumers() {
                    let pending: Vec<_> = consumer.pending().iter().collect();
                    digest.mix(format!("{slot:?} {:?} {pending:?}", consumer.seen_ms).as_bytes());
                }
            }
        }
        // How they are cut into nodes shows where it is dumped.
        Type::List => List::of(entry).nodes().for_each(|node| digest.mix(format!("{node:?}").as_bytes())),
        _ => {}
    }
    (entry.ty(), entry.deadline(), digest)
}

/// What all keys hold.
pub fn picture(shard: &Shard) -> Picture {
    let mut picture = Picture::new();
    for db in shard.used_dbs() {
        shard.for_each(db, |entry| {
            picture.insert((db.0, entry.key().to_vec()), described(entry));
        });
    }
    picture
}

/// Small limits, so that values are large ones soon.
pub fn limits() -> Limits {
    let pack = PackLimits { entries_max: 4, value_bytes_max: 20 };
    let stream = NodeLimits { bytes_max: 4096, entries_max: 3 };
    Limits { list: ListLimits::new(4), hash: pack, set: pack, sorted_set: pack, stream, ..Limits::default() }
}

/// A shard and how it is written to.
pub struct Play {
    pub shard: Shard,
    pub hasher: KeyHasher,
    pub random: Random,
    pub now_ms: u64,
    pub keys: u64,
}

impl Play {
    pub fn new(seed: u64) -> Play {
        let hasher = KeyHasher::new(u128::from(seed));
        let mut play = Play {
            shard: Shard::new(hasher.clone()),
            hasher,
            random: Random(seed),
            now_ms: START_MS,
            keys: 0,
        };
        play.keys = [30, 400, scaled(3000)][play.random.below(3) as usize];
        play
    }

    pub fn db(&mut self) -> DbIndex {
        DbIndex([0, 0, 1, 1, 7][self.random.below(DBS + 2) as usize])
    }

    pub fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(self.keys);
        let mut key = format!("key:{number}").into_bytes();
        if number.is_multiple_of(50) {
            key.resize(300, b'.');
        }
        key
    }

    fn text(&mut self) -> Vec<u8> {
        let len = match self.random.below(60) {
            0 => 900 + self.random.below(300),
            1 => BLOB_BYTES_MIN as u64 - 50 + self.random.below(100),
            2 => 40_000,
            3..8 => return self.random.next().to_string().into_bytes(),
            _ => self.random.below(120),
        };
        let byte = self.random.next() as u8;
        (0..len).map(|i| byte.wrapping_add(i as u8)).collect()
    }

    /// Something that a command may do that needs not all leases.
    pub fn command(&mut self) {
        match self.random.below(24) {
            0..4 => self.set(),
            4..18 => self.edit(),
            18..20 => self.relocate(),
            20 => self.now_ms += self.random.below(300),
            21 => self.read(Touch::None),
            _ => self.remove(),
        }
    }

    /// Something that commands, cron or eviction may do.
    pub fn step(&mut self, growing: bool) {
        let pick = if growing { self.random.below(22) } else { 4 + self.random.below(40) };
        match pick {
            0..4 => self.set(),
            4..16 => self.edit(),
            16..18 => self.relocate(),
            18 => _ = self.shard.defrag(50, self.random.below(2) == 0),
            19 => self.now_ms += self.random.below(300),
            20 => _ = self.shard.cron(100),
            21..24 => {
                let (budget, now_ms) = (self.random.below(200) as usize, self.now_ms);
                self.shard.expire_due(now_ms, budget, &mut |_, _, _| ());
            }
            24..27 => self.read(Touch::Lru(5)),
            27 => {
                let (db, key) = (self.db(), self.key());
                self.shard.write(db, self.hasher.hash(&key), &key, self.now_ms).evict();
            }
            _ => self.remove(),
        }
        match self.random.below(1000) {
            0 => {
                let (a, b) = (self.db(), self.db());
                self.shard.swap_dbs(a, b);
            }
            1 if self.random.below(4) == 0 => {
                let db = self.db();
                self.shard.flush(db);
            }
            2 if self.random.below(20) == 0 => _ = self.shard.flush_all(),
            _ => {}
        }
    }

    fn read(&mut self, touch: Touch) {
        let (db, key) = (self.db(), self.key());
        self.shard.read(db, self.hasher.hash(&key), &key, self.now_ms, touch, || false);
    }

    fn remove(&mut self) {
        let (db, key) = (self.db(), self.key());
        self.shard.write(db, self.hasher.hash(&key), &key, self.now_ms).remove();
    }

    fn set(&mut self) {
        let (db, key, text) = (self.db(), self.key(), self.text());
        let deadline = match self.random.below(4) {
            0 => Deadline::At(self.now_ms + self.random.below(5000)),
            1 => Deadline::Keep,
            _ => Deadline::None,
        };
        let new = match self.random.below(4) {
            0 => NewString::Blob(Bytes::from(text.clone())),
            _ => NewString::Bytes(&text),
        };
        self.shard.write(db, self.hasher.hash(&key), &key, self.now_ms).set_string(new, deadline);
    }

    /// Something that a command of a type does.
    fn edit(&mut self) {
        let (db, key, text, draw) = (self.db(), self.key(), self.text(), self.random.next());
        let (hash, now_ms, at_ms) =
            (self.hasher.hash(&key), self.now_ms, self.now_ms + self.random.below(5000));
        let mut guard = self.shard.write(db, hash, &key, now_ms);
        if draw >> 20 & 15 == 0 {
            return guard.set_deadline((draw >> 24 & 1 == 0).then_some(at_ms));
        }
        // A key that exists keeps its type; a new one gets any.
        let types = [Type::String, Type::List, Type::Hash, Type::Set, Type::SortedSet, Type::Stream];
        let is_new = guard.entry().is_none();
        let ty = guard.entry().map_or(types[(draw % 6) as usize], |entry| entry.ty());
        let edit = Edit { text: &text, draw, now_ms, at_ms, limits: limits() };
        match ty {
            Type::String => edit.string(&mut guard),
            Type::List if is_new || draw >> 40 & 1 == 0 => edit.push(&mut guard),
            Type::List => edit.list(&mut guard),
            Type::Hash if is_new || draw >> 40 & 1 == 0 => edit.set_field(&mut guard),
            Type::Hash => edit.hash(&mut guard),
            Type::Set => edit.set(&mut guard),
            Type::SortedSet => edit.sorted_set(&mut guard),
            Type::Stream if is_new || draw >> 40 & 1 == 0 => edit.append(&mut guard),
            Type::Stream => edit.stream(&mut guard),
        }
    }

    /// RENAME, MOVE or COPY.
    fn relocate(&mut self) {
        let (db, key, to_db, to_key) = (self.db(), self.key(), self.db(), self.key());
        let mut guard = self.shard.write(db, self.hasher.hash(&key), &key, self.now_ms);
        let owned = if self.random.below(2) == 0 { guard.take() } else { guard.copy() };
        drop(guard);
        if let Some(owned) = owned {
            self.shard.write(to_db, self.hasher.hash(&to_key), &to_key, self.now_ms).put(owned);
        }
    }
}

/// What an edit draws from.
struct Edit<'a> {
    text: &'a [u8],
    draw: u64,
    now_ms: u64,
    at_ms: u64,
    limits: Limits,
}

impl Edit<'_> {
    /// A number below `bound`, from the bits at `shift`.
    fn pick(&self, shift: u32, bound: u64) -> usize {
        ((self.draw >> shift) % bound) as usize
    }

    fn name(&self) -> Vec<u8> {
        format!("member:{}", self.pick(8, 24)).into_bytes()
    }

    fn end(&self) -> End {
        if self.pick(12, 2) == 0 { End::Left } else { End::Right }
    }

    fn string(&self, guard: &mut KeyMut<'_>) {
        match self.pick(18, 5) {
            0..2 => _ = guard.append(self.text),
            2..4 => _ = guard.set_range(self.pick(30, 20_000), self.text),
            _ => {
                let place = self.pick(30, 100);
                guard.edit_string_if(place + 1, |bytes| {
                    bytes[place] ^= 1;
                    true
                });
            }
        }
    }

    fn push(&self, guard: &mut KeyMut<'_>) {
        let item = NewItem::Bytes(self.text);
        guard.list_push(self.end(), std::iter::repeat_n(item, 1 + self.pick(30, 4)), self.limits.list);
    }

    fn list(&self, guard: &mut KeyMut<'_>) {
        let (item, limits) = (NewItem::Bytes(self.text), self.limits.list);
        let len = guard.list().expect("it exists").len();
        let index = self.pick(30, len as u64);
        match self.pick(16, 9) {
            0..2 => guard.list_pop(self.end(), limits, |_| ()),
            2 => guard.list_remove(0, index, limits),
            3 => guard.list_keep(index, len - index, limits),
            4 => guard.list_keep(0, 1 + index, limits),
            5 => {
                let side = if self.pick(13, 2) == 0 { Side::Before } else { Side::After };
                guard.list_insert(index, side, &item, limits);
            }
            6 => guard.list_replace(index, &item, limits),
            7 => {
                let other = if self.pick(13, 2) == 0 { End::Left } else { End::Right };
                guard.list_rotate(self.end(), other, limits);
            }
            _ => {
                let first = guard.list().and_then(|list| list.get(index)).expect("it exists").to_owned();
                guard.list_remove_equal(self.end(), usize::MAX, &first.as_new(), limits);
            }
        }
    }

    fn set_field(&self, guard: &mut KeyMut<'_>) {
        let deadline = match self.pick(16, 4) {
            0 => Deadline::At(self.at_ms),
            1 => Deadline::Keep,
            _ => Deadline::None,
        };
        guard.hash_set(&self.name(), self.text, deadline, self.limits.hash);
        if let Deadline::At(at_ms) = deadline {
            guard.hash_note_deadline(Some(at_ms));
        }
    }

    fn hash(&self, guard: &mut KeyMut<'_>) {
        let name = self.name();
        match self.pick(16, 5) {
            0..2 => _ = guard.hash_remove(&name),
            2 => guard.hash_remove_expired(self.now_ms, &mut |_| ()),
            3 => guard.hash_hold_deadlines(),
            _ => {
                if guard.hash_remove(&name) && guard.entry().is_some() {
                    guard.hash_set(&name, self.text, Deadline::None, self.limits.hash);
                    guard.hash_set_deadline(&name, (self.pick(20, 2) == 0).then_some(self.at_ms));
                }
            }
        }
    }

    fn set(&self, guard: &mut KeyMut<'_>) {
        let names = [self.name(), self.text.to_vec(), self.pick(30, 9).to_string().into_bytes()];
        let members = names.iter().map(Vec::as_slice);
        match self.pick(16, 4) {
            0 => _ = guard.set_remove(Item::Bytes(&names[0])),
            1 => _ = guard.set_add(members, &self.limits),
            2 => _ = guard.set_add(members.skip(2), &self.limits),
            _ => _ = guard.set_add(members.take(1), &self.limits),
        }
    }

    fn sorted_set(&self, guard: &mut KeyMut<'_>) {
        let (limits, len) =
            (self.limits.sorted_set, guard.sorted_set().map_or(0, |sorted_set| sorted_set.len()));
        match self.pick(16, 6) {
            0 => _ = guard.sorted_set_remove(&self.name()),
            1 if len > 0 => {
                let from = self.pick(30, len as u64);
                guard.sorted_set_remove_range(from..len.min(from + 1 + self.pick(40, 5)));
            }
            2 if len > 0 => guard.sorted_set_expect(self.pick(30, 9), limits),
            _ => {
                let score = f64::from(self.draw as u32);
                guard.sorted_set_update(&self.name(), limits, |_| Some(score));
            }
        }
    }

    fn append(&self, guard: &mut KeyMut<'_>) {
        guard.make_stream();
        let last = guard.stream().expect("just made").last();
        let id = last.next().expect("there are further IDs");
        let pairs = [(NewItem::Bytes(b"field"), NewItem::Bytes(self.text))];
        guard.stream_append(id, 5 + self.text.len() as u64, pairs.into_iter(), self.limits.stream);
        if self.pick(50, 2) == 0 {
            guard.stream_record((b"producer", &self.name()), id, self.limits.iids, self.now_ms);
        }
    }

    fn stream(&self, guard: &mut KeyMut<'_>) {
        let stream = guard.stream().expect("it exists");
        let (first, last, len, groups) = (stream.first(), stream.last(), stream.len(), stream.groups().len());
        let now_ms = self.now_ms.cast_signed();
        let place = self.pick(30, groups.max(1) as u64);
        match self.pick(16, 10) {
            8 => guard.stream_count_duplicate(),
            9 => {
                let iids = IidLimits { count_max: 1 + self.pick(30, 3) as u32, ..self.limits.iids };
                guard.stream_set_iid_limits(iids);
            }
            0 => _ = guard.stream_take(|stream| usize::from(stream.delete(first))),
            1..3 => {
                let (to, is_approximate) = (TrimTo::Length(len / 2), self.pick(20, 2) == 0);
                let removal = [Removal::KeepPending, Removal::ForgetPending][self.pick(21, 5) / 4];
                guard.stream_trim(&Trim { to, is_approximate, limit: 0, removal });
            }
            3 => {
                let group = Group::new(&self.name(), first, None);
                guard.stream_account(|stream| stream.add_group(group));
            }
            _ if groups == 0 => guard.stream_account(|stream| stream.set_history(last, first, len)),
            4 => guard.stream_remove_group(place),
            5 => _ = guard.group_take(place, |group| usize::from(group.acknowledge(first))),
            _ => {
                let consumer = guard.group_account(place, |group| match group.find_consumer(b"consumer") {
                    Some(consumer) => consumer,
                    None => group.add_consumer(b"consumer", now_ms),
                });
                guard.stream_account(|stream| stream.deliver_new(place, consumer, 3, false, now_ms, |_| ()));
            }
        }
    }
}
