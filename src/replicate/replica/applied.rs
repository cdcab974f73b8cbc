//! How far a connection to a primary has applied its stream, and what of the stream is passed on.
//!
//! Design: the stream's bytes are passed on when their commands have run, while these still have leases: whoever then holds all of
//! them sees data and offset that belong together. A transaction is passed on as a whole, once its EXEC has run; a link that ends
//! before asks for all of it again.
//!
//! Invariants: what was passed on is a prefix of what was received, and ends between commands, outside of a transaction.

use super::Link;
use crate::replicate::Stream;

/// The state of the connection that the stream comes from.
pub struct Applied {
    /// The role it belongs to.
    epoch: u64,
    /// Bytes of a transaction of which not all has come.
    pending: Vec<u8>,
    /// Up to where in the source of this turn commands have run.
    position: usize,
    /// Where a transaction has begun behind that.
    begin: Option<usize>,
    /// Whether the primary has asked how far this is.
    pub is_asked: bool,
}

impl Applied {
    /// Nothing has come yet in the role of this epoch.
    pub fn new(epoch: u64) -> Self {
        Self { epoch, pending: Vec::new(), position: 0, begin: None, is_asked: false }
    }

    /// The role it belongs to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether that is still the role in force; asked for under a lease.
    pub fn is_current(&self, link: &Link) -> bool {
        self.epoch == link.epoch()
    }

    /// Another source is parsed from its beginning on.
    pub fn begin_source(&mut self) {
        self.position = 0;
    }

    /// A transaction begins there in this source: what comes before has run.
    pub fn note_begin(&mut self, at: usize) {
        self.begin = Some(at);
    }

    /// All of this source up to `end` has run; `is_queueing`: a transaction has begun.
    pub fn advance(&mut self, source: &[u8], end: usize, is_queueing: bool, stream: &Stream) {
        let (from, begin) = (std::mem::replace(&mut self.position, end), self.begin.take());
        if is_queueing {
            let Some(begin) = begin else { return self.pending.extend_from_slice(&source[from..end]) };
            // What was pending has run too: its EXEC stood before this MULTI.
            stream.append(&std::mem::take(&mut self.pending));
            stream.append(&source[from..begin]);
            return self.pending.extend_from_slice(&source[begin..end]);
        }
        let bytes = &source[from..end];
        if !self.pending.is_empty() {
            stream.append(&std::mem::take(&mut self.pending));
        }
        stream.append(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_counts_when_it_is_whole() {
        let (stream, mut applied) = (Stream::default(), Applied::new(1));
        applied.advance(b"abcMULTI", 3, false, &stream);
        assert_eq!(stream.end(), 3);
        applied.advance(b"abcMULTI", 8, true, &stream);
        applied.begin_source();
        applied.advance(b"SETEXEC", 3, true, &stream);
        assert_eq!(stream.end(), 3);
        applied.advance(b"SETEXEC", 7, false, &stream);
        assert_eq!(stream.end(), 15);
        assert!(!applied.is_current(&Link::default()));
    }

    /// What had run before a MULTI in the same breath was asked for again when the link ended, and ran twice.
    #[test]
    fn what_runs_before_a_transaction_counts_at_once() {
        let (stream, mut applied) = (Stream::default(), Applied::new(1));
        let source = b"SETMULTISET";
        applied.note_begin(3);
        applied.advance(source, 8, true, &stream);
        assert_eq!(stream.end(), 3);
        applied.advance(source, 11, true, &stream);
        applied.begin_source();
        applied.advance(b"EXECMULTI", 4, false, &stream);
        assert_eq!(stream.end(), 15);
        applied.note_begin(4);
        applied.advance(b"EXECMULTI", 9, true, &stream);
        assert_eq!(stream.end(), 15);
        // The end of one transaction and the beginning of the next in one breath.
        applied.begin_source();
        applied.note_begin(4);
        applied.advance(b"EXECMULTI", 9, true, &stream);
        assert_eq!(stream.end(), 24);
    }
}
