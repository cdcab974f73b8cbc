//! A command's arguments: slices of the buffer they arrived in, resolved on access.
//!
//! Design: the parser leaves spans relative to one buffer (a receive buffer or the connection's query buffer); a bulk that was
//! received straight into memory of its own is a span that names its place in `large`. Nothing is copied or allocated.

use std::ops::Index;

use bytes::Bytes;

use crate::resp::Span;
use crate::store::{NewItem, NewString};

/// The arguments of one command, the command's name included as number 0.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buffer: &'a [u8],
    spans: &'a [Span],
    large: &'a [Bytes],
    hashes: &'a [u64],
}

/// What a word is as a string of C, which a zero byte ends: Redis's errors repeat words so, and some options are read so.
pub fn c_string(word: &[u8]) -> &[u8] {
    memchr::memchr(0, word).map_or(word, |end| &word[..end])
}

impl<'a> Args<'a> {
    /// `spans` lie in `buffer`, or name one of `large`.
    #[inline]
    pub fn new(buffer: &'a [u8], spans: &'a [Span], large: &'a [Bytes]) -> Self {
        Self { buffer, spans, large, hashes: &[] }
    }

    /// The same with the hashes of its keys, in the order of the key arguments.
    #[inline]
    pub fn of(buffer: &'a [u8], spans: &'a [Span], large: &'a [Bytes], hashes: &'a [u64]) -> Self {
        Self { buffer, spans, large, hashes }
    }

    /// With the hashes of its keys, in the order of the key arguments.
    #[inline]
    pub fn hashed(self, hashes: &'a [u64]) -> Self {
        Self { hashes, ..self }
    }

    /// The hashes of its keys, in the order of the key arguments, as the gathering computed them.
    #[inline]
    pub fn hashes(&self) -> &'a [u64] {
        self.hashes
    }

    /// How many there are, the name included.
    #[expect(clippy::len_without_is_empty, reason = "a command has at least its name")]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Argument `index`, living as long as the buffer.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        match span.large_index() {
            None => &self.buffer[span.start as usize..span.start as usize + span.len as usize],
            Some(large) => &self.large[large],
        }
    }

    /// Argument `index` as an error repeats it.
    pub fn c_string(&self, index: usize) -> &'a [u8] {
        c_string(self.at(index))
    }

    /// Argument `index`, or `None` past the end.
    pub fn find(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.spans.len()).then(|| self.at(index))
    }

    /// Argument `index` as a value to store: a large bulk is shared, anything else is to be copied.
    #[inline]
    pub fn new_string(&self, index: usize) -> NewString<'a> {
        match self.spans[index].large_index() {
            None => NewString::Bytes(self.at(index)),
            Some(large) => NewString::Blob(self.large[large].clone()),
        }
    }

    /// Appends a copy of the command's bytes, with its spans moved along and its own large bulks shared; false, with nothing
    /// appended, where `bytes` would become longer than `bytes_max`.
    pub fn copy_into(
        &self,
        bytes: &mut Vec<u8>,
        spans: &mut Vec<Span>,
        large: &mut Vec<Bytes>,
        bytes_max: usize,
    ) -> bool {
        let here = || self.spans.iter().filter(|span| span.large_index().is_none());
        let start = here().next().map_or(0, |span| span.start as usize);
        let end = here().next_back().map_or(0, |span| (span.start + span.len) as usize);
        if bytes.len() + (end - start) > bytes_max {
            return false;
        }
        let bytes_before = bytes.len();
        bytes.extend_from_slice(&self.buffer[start..end]);
        spans.extend(self.spans.iter().map(|span| match span.large_index() {
            None => Span { start: (span.start as usize - start + bytes_before) as u32, len: span.len },
            Some(index) => {
                // The others are of a command before this one.
                large.push(self.large[index].clone());
                Span { start: (large.len() - 1) as u32, len: span.len }
            }
        }));
        true
    }

    /// Argument `index` as an element to store: a large bulk is shared, anything else is to be copied.
    #[inline]
    pub fn new_item(&self, index: usize) -> NewItem<'a> {
        match self.spans[index].large_index() {
            None => NewItem::Bytes(self.at(index)),
            Some(large) => NewItem::Blob(self.large[large].clone()),
        }
    }

    /// All arguments from `first` on as elements to store.
    #[inline]
    pub fn new_items(&self, first: usize) -> impl Iterator<Item = NewItem<'a>> + Clone {
        (first..self.len()).map(move |index| self.new_item(index))
    }

    /// The arguments from `first` on as a command of their own, as `COMMAND GETKEYS` has one among its arguments.
    pub fn tail(&self, first: usize) -> Args<'a> {
        Self { spans: &self.spans[first..], hashes: &[], ..*self }
    }

    /// Bytes of the request, as clients send it.
    pub fn request_bytes(&self) -> usize {
        let header = |number: usize| number.checked_ilog10().unwrap_or(0) as usize + b"$0\r\n".len();
        let bulk = |arg: &[u8]| header(arg.len()) + arg.len() + b"\r\n".len();
        header(self.len()) + self.from(0).map(bulk).sum::<usize>()
    }

    /// All arguments from `first` on.
    pub fn from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> + '_ {
        (first..self.len()).map(|index| self.at(index))
    }

    /// Whether argument `index` is `word` (upper case ASCII) in any case; options are compared so.
    #[inline]
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.at(index).eq_ignore_ascii_case(word.as_bytes())
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;

    #[test]
    fn requests_have_the_bytes_that_were_sent() {
        let words = [&b"SET"[..], b"", b"0123456789"];
        let (mut buffer, mut spans, mut sent) = (Vec::new(), Vec::new(), b"*3\r\n".to_vec());
        for word in words {
            spans.push(Span { start: buffer.len() as u32, len: word.len() as u32 });
            buffer.extend_from_slice(word);
            sent.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            sent.extend_from_slice(word);
            sent.extend_from_slice(b"\r\n");
        }
        assert_eq!(Args::new(&buffer, &spans, &[]).request_bytes(), sent.len());
    }
}
