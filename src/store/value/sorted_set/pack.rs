//! A small sorted set: members and scores alternately in one body, in order.
//!
//! Design: as Redis has it in a listpack, so that DUMP copies it. A score that is an integer of up to 62 bits is an integer
//! element, any other is the text that Redis shows.
//!
//! Costs: everything walks the body from its beginning, as there are few members.

use crate::resp::number::{F64Buffer, parse_f64};
use crate::store::value::packed::{self, Encoded};
use crate::store::value::{Item, NewItem};

/// Scores of a magnitude up to this may be integer elements.
const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;

/// A member and its score as they lie in a body.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub member: Item<'a>,
    pub score: f64,
    /// Where the member begins.
    pub at: usize,
    /// Where the next one begins.
    pub end: usize,
}

/// The pair that begins at an offset.
pub(super) fn pair(body: &[u8], at: usize) -> Pair<'_> {
    let (member, score_at) = packed::item(body, at);
    let (score, end) = packed::item(body, score_at);
    Pair { member, score: score_of(score), at, end }
}

/// All pairs.
pub(super) fn pairs(body: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < body.len()).then(|| {
            let pair = pair(body, at);
            at = pair.end;
            pair
        })
    })
}

/// The pair before an offset.
pub(super) fn pair_before(body: &[u8], end: usize) -> Pair<'_> {
    let at = packed::previous(body, packed::previous(body, end));
    pair(body, at)
}

/// The offset of pair `index` of `count`, or the body's end.
pub(super) fn offset_of(body: &[u8], count: usize, index: usize) -> usize {
    packed::offset_of(body, 2 * count, 2 * index)
}

/// The pair of a member, and how many come before it.
pub(super) fn find<'a>(body: &'a [u8], member: &Encoded<'_>) -> Option<(Pair<'a>, usize)> {
    let (mut at, mut index) = (0, 0);
    while at < body.len() {
        if packed::is(body, at, member) {
            return Some((pair(body, at), index));
        }
        at = packed::next(body, packed::next(body, at));
        index += 1;
    }
    None
}

/// Where a member that is not here belongs.
pub(super) fn place_for(body: &[u8], member: &[u8], score: f64) -> usize {
    let mut digits = itoa::Buffer::new();
    let mut is_behind = |pair: &Pair<'_>| {
        pair.score > score || pair.score == score && pair.member.bytes(&mut digits) > member
    };
    pairs(body).find(|pair| is_behind(pair)).map_or(body.len(), |pair| pair.at)
}

fn score_of(item: Item<'_>) -> f64 {
    match item {
        Item::Int(value) => value as f64,
        Item::Bytes(text) => read_score(text),
        Item::Blob(_) => unreachable!("a body has no blobs"),
    }
}

/// A score's text, which was written here: whatever is loaded is written anew.
fn read_score(text: &[u8]) -> f64 {
    parse_f64(text).expect("scores are numbers")
}

/// A score as an element; `text` holds one that is no integer.
pub(super) fn score_item(score: f64, text: &mut F64Buffer) -> NewItem<'_> {
    if (-INTEGER_MAX..=INTEGER_MAX).contains(&score) && score.trunc() == score {
        NewItem::Int(score as i64)
    } else {
        NewItem::Bytes(text.format(score))
    }
}
