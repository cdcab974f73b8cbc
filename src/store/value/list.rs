//! A list as a command sees it: a pack in its entry, or a deque of nodes.
//!
//! Design: one view over both, so that commands that read need not know which it is; they walk packed memory in
//! place. The limits are those of `list-max-listpack-size`: up to them a list is packed, and so long is a node.
//!
//! Not here: changes (`list_mut`).

use bytes::Bytes;

use super::deque::Deque;
use super::node::{Listpack, Node};
use super::rings::Place;
use super::view::{Elements, Typed, Value};
use super::{Digest, External, Item, Limits, NewItem, packed};
use crate::store::entry::{Entry, Type};

/// Bytes of a pack before its body: the number of elements.
pub(super) const PACK_HEADER_BYTES: usize = 2;
/// Nodes of a list whose elements are counted, not weighed, are no longer than this.
const COUNTED_BYTES_MAX: usize = 8192;
/// The sizes that negative limits mean, from -1 on.
const SIZES: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

// The longest pack fits the length field of an entry, and its count the header.
const _: () = assert!(SIZES[4] - packed::LISTPACK_FRAME_BYTES + PACK_HEADER_BYTES <= u16::MAX as usize);

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its head, where index 0 is.
    Left,
    /// Its tail.
    Right,
}

/// Where an element goes beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the head.
    Before,
    /// Towards the tail.
    After,
}

/// How much lies in one packed piece. Sizes are those of listpacks, frame included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    directive: i32,
    bytes_max: usize,
    items_max: usize,
}

impl ListLimits {
    /// What `list-max-listpack-size` says: a number of elements, or -1 to -5 for 4 to 64 KiB.
    pub fn new(directive: i32) -> ListLimits {
        match usize::try_from(directive) {
            Ok(items) => ListLimits { directive, bytes_max: COUNTED_BYTES_MAX, items_max: items.max(1) },
            Err(_) => {
                let step = (directive.unsigned_abs() as usize - 1).min(SIZES.len() - 1);
                ListLimits { directive, bytes_max: SIZES[step], items_max: usize::MAX }
            }
        }
    }

    /// Whether a listpack of so many bytes and elements is too large.
    #[inline]
    pub(super) fn exceeds(self, bytes: usize, items: usize) -> bool {
        bytes > self.bytes_max || items > self.items_max
    }

    /// Whether a large list that shrank to one listpack of this size becomes a pack: half as large as the limit, so that
    /// it does not change back and forth.
    pub(super) fn packs(self, bytes: usize, items: usize) -> bool {
        let counted = self.items_max != usize::MAX;
        let bytes_max = if counted { self.bytes_max } else { self.bytes_max / 2 };
        bytes <= bytes_max && items <= self.items_max / 2
    }

    /// Whether an element of so many bytes lies alone.
    #[inline]
    pub(super) fn is_long(self, text_len: usize) -> bool {
        text_len > self.bytes_max
    }

    /// The longest body in bytes.
    #[inline]
    pub(super) fn body_bytes_max(self) -> usize {
        self.bytes_max
    }
}

/// A list, wherever it lies.
#[derive(Clone, Copy)]
pub enum List<'a> {
    /// Elements in one body, and their number.
    Packed(&'a [u8], usize),
    /// A deque of nodes.
    Deque(&'a Deque),
}

/// A piece of a list as it is saved.
#[derive(Clone, Copy, Debug)]
pub enum ListNode<'a> {
    /// A body and the number of its elements.
    Listpack(&'a [u8], usize),
    /// One long element.
    Long(&'a Bytes),
}

impl<'a> List<'a> {
    /// The number of elements.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "there are no empty lists")]
    pub fn len(&self) -> usize {
        match self {
            List::Packed(_, count) => *count,
            List::Deque(deque) => deque.len(),
        }
    }

    /// Element `index`.
    pub fn get(&self, index: usize) -> Option<Item<'a>> {
        if index >= self.len() {
            return None;
        }
        Some(match self {
            List::Packed(body, count) => packed::item(body, packed::offset_of(body, *count, index)).0,
            List::Deque(deque) => deque.item(deque.position(index)),
        })
    }

    /// Up to `count` elements, from element `index` on in the direction away from `end`. `index` counts from the head in
    /// either case.
    pub fn items(&self, end: End, index: usize, count: usize) -> Items<'a> {
        let len = self.len();
        let none = Items { rest: Rest::Listpack(&[], 0), left: 0, end, deque: None };
        if index >= len {
            return none;
        }
        let left = count.min(if end == End::Left { len - index } else { index + 1 });
        // Backwards, an element is found at its end.
        let skipped = |index| if end == End::Left { index } else { index + 1 };
        match self {
            List::Packed(body, total) => {
                let at = packed::offset_of(body, *total, skipped(index));
                Items { rest: Rest::Listpack(body, at), left, ..none }
            }
            List::Deque(deque) => {
                let at = deque.position(index);
                let rest = match deque.nodes().at(at.node) {
                    Node::Long(bytes) => Rest::Long(bytes),
                    Node::Listpack(body) => Rest::Listpack(body.bytes(), body.offset_of(skipped(at.index))),
                };
                Items { rest, left, deque: Some((deque, at.node)), ..none }
            }
        }
    }

    /// All elements.
    pub fn iter(&self) -> Items<'a> {
        self.items(End::Left, 0, usize::MAX)
    }

    /// The pieces that are saved.
    pub fn nodes(&self) -> impl Iterator<Item = ListNode<'a>> + use<'a> {
        let (packed, nodes) = match self {
            List::Packed(body, count) => (Some(ListNode::Listpack(body, *count)), None),
            List::Deque(deque) => (None, Some(deque.nodes().iter())),
        };
        packed.into_iter().chain(nodes.into_iter().flatten().map(|node| match node {
            Node::Listpack(body) => ListNode::Listpack(body.bytes(), body.count()),
            Node::Long(bytes) => ListNode::Long(bytes),
        }))
    }

    /// The number of pieces.
    pub fn node_count(&self) -> usize {
        match self {
            List::Packed(..) => 1,
            List::Deque(deque) => deque.nodes().len(),
        }
    }
}

impl<'a> Typed<'a> for List<'a> {
    const TYPE: Type = Type::List;

    #[inline]
    fn of(entry: Entry<'a>) -> List<'a> {
        assert!(entry.ty() == Type::List, "commands check the type first");
        if let Some(External::List(deque)) = entry.external() {
            return List::Deque(deque);
        }
        let pack = entry.inline_value();
        let (count, body) = pack.split_first_chunk::<PACK_HEADER_BYTES>().expect("packs begin with a count");
        List::Packed(body, usize::from(u16::from_ne_bytes(*count)))
    }
}

impl Value for List<'_> {
    fn digest(&self, digest: &mut Digest) {
        self.iter().for_each(|item| digest.mix(item.bytes(&mut itoa::Buffer::new())));
    }

    fn as_elements(&self) -> Option<&dyn Elements> {
        Some(self)
    }

    fn report(&self, limits: &Limits) -> String {
        let List::Deque(deque) = self else { return String::new() };
        let size = |node| match node {
            ListNode::Listpack(body, _) => body.len() + packed::LISTPACK_FRAME_BYTES,
            ListNode::Long(bytes) => bytes.len(),
        };
        let (bytes, nodes) = (self.nodes().map(size).sum::<usize>(), deque.nodes().len());
        let average = self.len() as f64 / nodes as f64;
        format!(
            " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{} ql_compressed:0 ql_uncompressed_size:{bytes}",
            limits.list.directive
        )
    }
}

impl Elements for List<'_> {
    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, backwards: bool, skipped: usize, count: usize, visit: &mut dyn FnMut(Item<'_>)) {
        match self.len().checked_sub(skipped + 1) {
            Some(last) if backwards => self.items(End::Right, last, count).for_each(visit),
            Some(_) => self.items(End::Left, skipped, count).for_each(visit),
            None => {}
        }
    }

    fn is_ordered(&self) -> bool {
        true
    }
}

/// Elements of a list, one after the other.
#[derive(Clone)]
pub struct Items<'a> {
    rest: Rest<'a>,
    left: usize,
    end: End,
    /// The deque, and the place of the piece at hand.
    deque: Option<(&'a Deque, Place)>,
}

/// What is left of the piece at hand.
#[derive(Clone, Copy)]
enum Rest<'a> {
    /// A body, and how far it was walked.
    Listpack(&'a [u8], usize),
    Long(&'a Bytes),
}

impl<'a> Items<'a> {
    /// Goes to the next node, which exists as long as elements are left.
    #[cold]
    fn turn(&mut self) {
        let (deque, place) = self.deque.expect("a pack has all its elements in one body");
        let next = match self.end {
            End::Left => deque.nodes().behind(place),
            End::Right => deque.nodes().before(place),
        };
        let next = next.expect("the counts of the chunks add up to the list's length");
        self.deque = Some((deque, next));
        self.rest = match deque.nodes().at(next) {
            Node::Long(bytes) => Rest::Long(bytes),
            Node::Listpack(body) => {
                Rest::Listpack(body.bytes(), if self.end == End::Left { 0 } else { body.len() })
            }
        };
    }

    /// Whether the next element is this one, and goes beyond it; none at the end. Cheaper than looking at elements.
    pub fn next_is(&mut self, wanted: &packed::Encoded<'_>, text: &[u8]) -> Option<bool> {
        if let (Rest::Listpack(body, at), true) = (self.rest, self.left > 0) {
            if self.end == End::Left && at < body.len() {
                self.left -= 1;
                self.rest = Rest::Listpack(body, packed::next(body, at));
                return Some(packed::is(body, at, wanted));
            } else if self.end == End::Right && at > 0 {
                self.left -= 1;
                let at = packed::previous(body, at);
                self.rest = Rest::Listpack(body, at);
                return Some(packed::is(body, at, wanted));
            }
        }
        let mut digits = itoa::Buffer::new();
        self.next().map(|item| item.bytes(&mut digits) == text)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        loop {
            match (self.rest, self.end) {
                (Rest::Listpack(body, at), End::Left) if at < body.len() => {
                    let (item, next) = packed::item(body, at);
                    self.rest = Rest::Listpack(body, next);
                    return Some(item);
                }
                (Rest::Listpack(body, at), End::Right) if at > 0 => {
                    let at = packed::previous(body, at);
                    self.rest = Rest::Listpack(body, at);
                    return Some(packed::item(body, at).0);
                }
                (Rest::Listpack(..), _) => self.turn(),
                (Rest::Long(bytes), _) => {
                    self.rest = Rest::Listpack(&[], 0);
                    return Some(Item::Blob(bytes));
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// A piece of a list that is loaded.
pub enum NewNode<'a> {
    /// A valid body, and the number of its elements.
    Listpack(&'a [u8], usize),
    /// One long element.
    Long(Bytes),
    /// Any element, to be added to the piece before it if it fits there.
    Item(NewItem<'a>),
}

/// A list that is being loaded, piece by piece; outside of any shard.
pub struct NewList {
    pub(super) deque: Deque,
    pub(super) limits: ListLimits,
}

impl NewList {
    /// A list without elements, which cannot be stored.
    pub fn new(limits: ListLimits) -> NewList {
        NewList { deque: Deque::new(limits), limits }
    }

    /// Adds a piece at the end.
    pub fn add(&mut self, node: NewNode<'_>) {
        match node {
            NewNode::Listpack(body, count) => {
                self.deque.append(Node::Listpack(Listpack::from_bytes(body, count)));
            }
            NewNode::Long(bytes) => self.deque.append(Node::Long(bytes)),
            NewNode::Item(item) => self.deque.push(End::Right, &item),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.deque.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
