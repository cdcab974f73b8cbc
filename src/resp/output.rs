//! What a connection will send: replies in order, small bytes in one flat buffer, large values where they lie.
//!
//! Design: `Output` is filled by `Reply` and emptied by `take`, which hands the bytes over to the I/O, which
//! owns until the last byte is sent, while the next replies go into a fresh (or recycled) buffer:
//!
//! ```text
//!   flat    +OK $5 hello ... $100000 | CR LF :1 ...
//!   large                            ^ (offset in flat, Bytes)
//! ```
//!
//! Invariants: the offsets in `large` ascend and lie inside the used part of `flat`; `large_bytes` is the sum of the large pieces.
//! Costs: one amortised buffer; a second vector only while large values are pending.
//! Not here: the protocol (`reply`), limits on what a client may leave unread (`net`).

use std::fmt;

use bytes::Bytes;

/// Longest first word of an error that is kept, in bytes.
const ERROR_WORD_BYTES_MAX: usize = 31;

/// The first buffer of an output, bytes.
const FLAT_BYTES_MIN: usize = 256;
/// Room that is initialised beyond what is asked for, bytes.
const FLAT_BYTES_STEP: usize = 1024;

/// Replies waiting to be sent, in order.
#[derive(Default, Debug)]
pub struct Output {
    /// Initialised room; bytes from `used` on mean nothing.
    flat: Vec<u8>,
    used: usize,
    large: Vec<(usize, Bytes)>,
    large_bytes: usize,
    error_count: u64,
    error_word: ErrorWord,
}

/// The first word of an error reply (`ERR`, `WRONGTYPE`), cut at 31 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorWord {
    bytes: [u8; ERROR_WORD_BYTES_MAX],
    len: u8,
}

/// A place in an `Output`, to come back to with `truncate` or to measure from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    flat_bytes: usize,
    large_count: usize,
    error_count: u64,
}

/// What an `Output` hands over to be sent, in order.
#[derive(Debug)]
pub enum Taken {
    /// Bytes in one buffer.
    Flat(Vec<u8>),
    /// Pieces, among them large values where they lie.
    Pieces(Vec<Bytes>),
}

impl ErrorWord {
    pub(super) fn new(text: &[u8]) -> ErrorWord {
        let end = text.iter().take(ERROR_WORD_BYTES_MAX).position(|&byte| byte == b' ');
        let len = end.unwrap_or(text.len().min(ERROR_WORD_BYTES_MAX));
        let mut word = ErrorWord { len: len as u8, ..ErrorWord::default() };
        word.bytes[..len].copy_from_slice(&text[..len]);
        word
    }

    /// The word's bytes; empty if there was no error yet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ErrorWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl Output {
    /// An empty output that holds no memory.
    pub fn new() -> Output {
        Output::default()
    }

    /// Bytes waiting, large values included.
    #[inline]
    pub fn len(&self) -> usize {
        self.used + self.large_bytes
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.used == 0 && self.large.is_empty()
    }

    /// Bytes allocated by this output itself; large values, which are shared, are not counted.
    pub fn allocated_bytes(&self) -> usize {
        self.flat.capacity() + self.large.capacity() * size_of::<(usize, Bytes)>()
    }

    /// Bytes of large values waiting.
    #[inline]
    pub fn large_bytes(&self) -> usize {
        self.large_bytes
    }

    /// Error replies written since the output was made, less those cut away by `truncate`.
    #[inline]
    pub fn error_count(&self) -> u64 {
        self.error_count
    }

    /// The first word of the last error reply.
    pub fn error_word(&self) -> ErrorWord {
        self.error_word
    }

    /// The place reached, for `truncate` and `bytes_since`.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { flat_bytes: self.used, large_count: self.large.len(), error_count: self.error_count }
    }

    /// Bytes written since `mark`.
    pub fn bytes_since(&self, mark: Mark) -> usize {
        let large: usize = self.large[mark.large_count..].iter().map(|(_, piece)| piece.len()).sum();
        self.used - mark.flat_bytes + large
    }

    /// Removes everything written since `mark` (CLIENT REPLY OFF, a reply that is rolled back). The mark must be of this
    /// output, with no `take` in between.
    pub fn truncate(&mut self, mark: Mark) {
        assert!(mark.flat_bytes <= self.used, "the mark is behind what was written");
        assert!(mark.large_count <= self.large.len(), "the mark is behind what was written");
        self.used = mark.flat_bytes;
        for (_, piece) in self.large.drain(mark.large_count..) {
            self.large_bytes -= piece.len();
        }
        self.error_count = mark.error_count;
    }

    /// Takes what was written since a mark, as an output of its own.
    pub fn split_off(&mut self, mark: Mark) -> Output {
        let mut tail = Output::new();
        tail.push_bytes(&self.flat[mark.flat_bytes..self.used]);
        for (at, piece) in &self.large[mark.large_count..] {
            tail.large_bytes += piece.len();
            tail.large.push((at - mark.flat_bytes, piece.clone()));
        }
        self.truncate(mark);
        tail
    }

    /// Removes what was written since `mark`, small as it is, and hands it over.
    pub fn take_since(&mut self, mark: Mark) -> Vec<u8> {
        assert!(self.large.len() == mark.large_count, "what is taken has no large pieces");
        let taken = self.flat[mark.flat_bytes..self.used].to_vec();
        self.truncate(mark);
        taken
    }

    /// Appends bytes that are already in wire format.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// Appends a piece that is sent from where it lies.
    pub fn push_large(&mut self, piece: Bytes) {
        self.large_bytes += piece.len();
        self.large.push((self.used, piece));
    }

    /// Appends everything of `other`, which is left empty; its errors are counted here.
    pub fn append(&mut self, other: &mut Output) {
        let base = self.used;
        self.push_bytes(&other.flat[..other.used]);
        other.used = 0;
        self.large.extend(other.large.drain(..).map(|(offset, piece)| (base + offset, piece)));
        self.large_bytes += std::mem::take(&mut other.large_bytes);
        if other.error_count > 0 {
            self.error_count += std::mem::take(&mut other.error_count);
            self.error_word = other.error_word;
        }
    }

    /// The pieces in the order in which they are to be sent.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        pieces(&self.flat[..self.used], &self.large, 0, 0)
    }

    /// All bytes, unless some lie elsewhere.
    #[inline]
    pub fn as_flat(&self) -> Option<&[u8]> {
        self.large.is_empty().then(|| &self.flat[..self.used])
    }

    /// All pieces joined, for tests and for replies that are kept.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().collect::<Vec<_>>().concat()
    }

    /// Removes what waits and keeps the buffer.
    #[inline]
    pub fn clear(&mut self) {
        self.used = 0;
        self.large.clear();
        self.large_bytes = 0;
    }

    /// Whether it has a buffer, be it empty.
    #[inline]
    pub fn has_buffer(&self) -> bool {
        self.flat.capacity() > 0
    }

    /// Gives it a buffer to begin with: one that was sent, say. What it holds means nothing and is written over; its length is
    /// initialised room.
    pub fn lend(&mut self, spare: Vec<u8>) {
        assert!(!self.has_buffer(), "it has one");
        self.flat = spare;
    }

    /// Takes its buffer, while nothing waits.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        assert!(self.is_empty(), "somebody waits for it");
        std::mem::take(&mut self.flat)
    }

    /// Hands over all that waits, with the buffer.
    pub fn take(&mut self) -> Taken {
        let mut flat = std::mem::take(&mut self.flat);
        flat.truncate(std::mem::take(&mut self.used));
        if self.large.is_empty() {
            return Taken::Flat(flat);
        }
        self.large_bytes = 0;
        let (flat, mut pieces, mut from) = (Bytes::from(flat), Vec::new(), 0);
        for (at, piece) in std::mem::take(&mut self.large) {
            pieces.push(flat.slice(from..at));
            pieces.push(piece);
            from = at;
        }
        pieces.push(flat.slice(from..));
        pieces.retain(|piece| !piece.is_empty());
        Taken::Pieces(pieces)
    }

    /// Room for at least `bytes` more, to be followed by `advance` over what was written. One check instead of one per
    /// part of a reply is what makes short replies cheap; that the room is initialised makes it safe.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.flat.len() - self.used < bytes {
            self.grow(bytes);
        }
        &mut self.flat[self.used..]
    }

    /// `bytes` of the room were written.
    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.used += bytes;
        debug_assert!(self.used <= self.flat.len(), "no more is written than there is room");
    }

    /// The bytes from `start` on, for corrections in place.
    pub(super) fn written_since(&mut self, start: usize) -> &mut [u8] {
        &mut self.flat[start..self.used]
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        let wanted = (self.used + bytes).max(FLAT_BYTES_MIN);
        self.flat.reserve(wanted - self.flat.len());
        // Little by little: a recycled buffer has room enough but for the end, and what is never used is not touched.
        self.flat.resize(self.flat.capacity().min(wanted + FLAT_BYTES_STEP), 0);
    }

    /// Offset in the flat bytes where the next ones go.
    pub(super) fn position(&self) -> usize {
        self.used
    }

    pub(super) fn count_error(&mut self, text: &[u8]) {
        self.error_count += 1;
        self.error_word = ErrorWord::new(text);
    }

    /// Puts `header` where `gap` bytes at `at` were reserved for it; what lies behind moves.
    pub(super) fn fill_gap(&mut self, at: usize, gap: usize, header: &[u8]) {
        debug_assert!(header.len() >= gap, "a gap is for the shortest header");
        let more = header.len() - gap;
        if more > 0 {
            self.room(more);
            self.flat.copy_within(at + gap..self.used, at + header.len());
            self.used += more;
        }
        self.flat[at..at + header.len()].copy_from_slice(header);
        for (offset, _) in self.large.iter_mut().rev().take_while(|(offset, _)| *offset > at) {
            *offset += more;
        }
    }

    /// Panics if an invariant of the module header is broken.
    pub fn check_invariants(&self) {
        assert!(self.large.is_sorted_by_key(|(offset, _)| *offset), "large pieces are in order");
        assert!(self.large.iter().all(|(offset, _)| *offset <= self.used), "large pieces lie inside");
        assert_eq!(self.large_bytes, self.large.iter().map(|(_, piece)| piece.len()).sum::<usize>());
    }
}

/// Iterates over the flat bytes from `flat_from` and the large pieces between them, the first one from `piece_from`.
fn pieces<'a>(
    flat: &'a [u8],
    large: &'a [(usize, Bytes)],
    flat_from: usize,
    piece_from: usize,
) -> impl Iterator<Item = &'a [u8]> {
    let mut position = flat_from;
    let mut piece_from = piece_from;
    let between = large.iter().flat_map(move |(offset, piece)| {
        let before = &flat[position..*offset];
        position = *offset;
        [before, &piece[std::mem::take(&mut piece_from)..]]
    });
    let last = large.last().map_or(flat_from, |(offset, _)| *offset);
    between.chain(std::iter::once(&flat[last..])).filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is handed over is what was written, in order.
        #[test]
        fn pieces_are_in_order(
            written in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..12),
        ) {
            let mut output = Output::new();
            for (is_large, bytes) in &written {
                if *is_large {
                    output.push_large(Bytes::from(bytes.clone()));
                } else {
                    output.push_bytes(bytes);
                }
            }
            output.check_invariants();
            let expected: Vec<u8> = written.into_iter().flat_map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(output.to_vec(), &expected[..]);
            let taken = match output.take() {
                Taken::Flat(flat) => flat,
                Taken::Pieces(pieces) => pieces.concat(),
            };
            prop_assert_eq!(taken, expected);
            prop_assert!(output.is_empty());
        }
    }

    #[test]
    fn outputs_are_joined() {
        let (mut first, mut second) = (Output::new(), Output::new());
        first.push_bytes(b"a");
        first.push_large(Bytes::from_static(b"B"));
        second.push_bytes(b"c");
        second.push_large(Bytes::from_static(b"D"));
        second.count_error(b"ERR x");
        first.append(&mut second);
        first.check_invariants();
        second.check_invariants();
        assert_eq!((first.to_vec(), first.error_count()), (b"aBcD".to_vec(), 1));
        assert!(second.is_empty());
    }

    #[test]
    fn long_error_words_are_cut() {
        assert_eq!(ErrorWord::new(&[b'E'; 100]).as_bytes(), [b'E'; ERROR_WORD_BYTES_MAX]);
        assert_eq!(ErrorWord::new(b"").as_bytes(), b"");
    }
}
