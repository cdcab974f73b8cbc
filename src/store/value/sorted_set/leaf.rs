//! A leaf of the tree: some members in order, each in one word with a hint of its score.
//!
//! ```text
//! word   63 ....... 48 | 47 .......... 0
//!        hint          | address of the member
//! ```
//!
//! Design: a hint is the score's key, less the leaf's base, shifted by the leaf's shift, and cut off at both ends. So hints are
//! never against the order, whatever base and shift are, and a search looks at a member itself only where hints are equal: about
//! once. Base and shift are chosen anew when the leaf has got many members.
//!
//! Invariants: words are in the order of (score, bytes); hints are those that base and shift give.
//!
//! Costs: eight bytes a member; a leaf is 512 bytes.

use std::cmp::Ordering;

use super::member::Member;

/// Members of a full leaf.
pub(super) const LEAF_MAX: usize = 62;
const HINT_SHIFT: u32 = 48;
const HINT_BITS: u32 = 16;
const HINT_MAX: u64 = (1 << HINT_BITS) - 1;

const _: () = assert!(size_of::<Leaf>() == 512);

#[derive(Clone)]
pub(super) struct Leaf {
    base: u64,
    shift: u8,
    len: u8,
    words: [u64; LEAF_MAX],
}

impl Leaf {
    pub fn new() -> Box<Leaf> {
        Box::new(Leaf { base: 0, shift: 0, len: 0, words: [0; LEAF_MAX] })
    }

    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    fn words(&self) -> &[u64] {
        &self.words[..self.len()]
    }

    #[inline]
    pub fn member(&self, index: usize) -> Member {
        Member::of_word(self.words()[index])
    }

    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.words().iter().map(|word| Member::of_word(*word))
    }

    /// Brings a member close to the processor, if there is one at this place.
    #[inline]
    pub fn fetch(&self, index: usize) {
        if let Some(word) = self.words().get(index) {
            Member::of_word(*word).fetch();
        }
    }

    #[inline]
    fn hint(&self, key: u64) -> u64 {
        (key.saturating_sub(self.base) >> self.shift).min(HINT_MAX)
    }

    /// How many members come before those that a hint cannot tell from this key, and how many behind them begin.
    #[inline]
    fn alike(&self, key: u64) -> (usize, usize) {
        let (words, hint) = (self.words(), self.hint(key));
        let from = words.partition_point(|word| word >> HINT_SHIFT < hint);
        let count = words[from..].partition_point(|word| word >> HINT_SHIFT == hint);
        (from, from + count)
    }

    /// How many members come before this one, which need not be here.
    #[inline]
    pub fn position(&self, key: u64, bytes: &[u8]) -> usize {
        let (from, to) = self.alike(key);
        let before = |word: &u64| Member::of_word(*word).compare(key, bytes) == Ordering::Less;
        from + self.words()[from..to].partition_point(before)
    }

    /// How many members have a score below this one's key, or up to it.
    #[inline]
    pub fn count_below(&self, key: u64, or_equal: bool) -> usize {
        let (from, to) = self.alike(key);
        let before = |word: &u64| {
            let own = Member::of_word(*word).key();
            own < key || or_equal && own == key
        };
        from + self.words()[from..to].partition_point(before)
    }

    /// How many members this holds for; it holds for the first ones.
    pub fn count_while(&self, before: impl Fn(Member) -> bool) -> usize {
        self.words().partition_point(|word| before(Member::of_word(*word)))
    }

    /// Puts a member in at its place; there is room.
    pub fn insert(&mut self, member: Member) {
        let key = member.key();
        let at = self.position(key, member.bytes());
        let len = self.len();
        self.words.copy_within(at..len, at + 1);
        self.words[at] = member.word() | self.hint(key) << HINT_SHIFT;
        self.len += 1;
        if self.len.is_power_of_two() {
            self.choose_hints();
        }
    }

    /// Adds members at the end, where they belong.
    pub fn extend(&mut self, members: impl Iterator<Item = Member>) {
        for member in members {
            self.words[usize::from(self.len)] = member.word();
            self.len += 1;
        }
        self.choose_hints();
    }

    /// Takes out the members from `from` to `to`; they are still the caller's.
    pub fn remove(&mut self, from: usize, to: usize) {
        let len = self.len();
        self.words.copy_within(to..len, from);
        self.len -= (to - from) as u8;
    }

    /// Moves the first `count` members to the end of the leaf before this one.
    pub fn give_first(&mut self, before: &mut Leaf, count: usize) {
        before.extend(self.words[..count].iter().map(|word| Member::of_word(*word)));
        self.remove(0, count);
        self.choose_hints();
    }

    /// Moves the last `count` members to the beginning of the leaf behind this one.
    pub fn give_last(&mut self, behind: &mut Leaf, count: usize) {
        let (len, behind_len) = (self.len(), behind.len());
        behind.words.copy_within(..behind_len, count);
        behind.words[..count].copy_from_slice(&self.words[len - count..len]);
        behind.len += count as u8;
        self.len -= count as u8;
        self.choose_hints();
        behind.choose_hints();
    }

    /// Chooses base and shift so that the members' scores fill half of what hints can tell apart.
    fn choose_hints(&mut self) {
        let len = self.len();
        if len == 0 {
            return;
        }
        self.base = self.member(0).key();
        let range = self.member(len - 1).key() - self.base;
        let bits = u64::BITS - range.leading_zeros();
        self.shift = (bits + 1).saturating_sub(HINT_BITS) as u8;
        for index in 0..len {
            let member = self.member(index);
            self.words[index] = member.word() | self.hint(member.key()) << HINT_SHIFT;
        }
    }

    #[cfg(test)]
    pub fn check_invariants(&self) {
        assert!(self.len() <= LEAF_MAX);
        for (index, word) in self.words().iter().enumerate() {
            let member = Member::of_word(*word);
            assert_eq!(word >> HINT_SHIFT, self.hint(member.key()));
            if index > 0 {
                let before = self.member(index - 1);
                assert_eq!(before.compare(member.key(), member.bytes()), Ordering::Less);
            }
        }
    }
}
