//! How far a send has come; shared by the backends.
//!
//! Invariants:
//! - While `sent < total`, the piece at the cursor is not empty, so that a send always moves.

use super::Outgoing;

/// A send that is not finished.
pub(super) struct Sending {
    pub(super) outgoing: Outgoing,
    pub(super) total: usize,
    pub(super) sent: usize,
    /// Of a gathered send: the first piece not wholly sent, and how much of it was.
    pub(super) piece_index: usize,
    pub(super) piece_sent: usize,
}

impl Sending {
    /// # Panics
    /// If there is nothing to send.
    pub(super) fn new(outgoing: Outgoing) -> Sending {
        let mut sending =
            Sending { total: outgoing.byte_count(), outgoing, sent: 0, piece_index: 0, piece_sent: 0 };
        assert!(sending.total > 0, "there is something to send");
        sending.skip_finished();
        sending
    }

    /// `count` more bytes were sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.total);
        self.piece_sent += count;
        self.skip_finished();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.sent == self.total
    }

    fn skip_finished(&mut self) {
        let Outgoing::Gather(pieces) = &self.outgoing else {
            return;
        };
        while let Some(piece) = pieces.get(self.piece_index)
            && self.piece_sent >= piece.len()
        {
            self.piece_sent -= piece.len();
            self.piece_index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn cursor_skips_empty_and_finished_pieces() {
        let pieces = ["", "ab", "", "cde", "", "f"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let expected = [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2), (5, 0), (6, 0)];
        for (first, place) in expected.into_iter().enumerate() {
            let mut sending = Sending::new(Outgoing::Gather(pieces.to_vec()));
            assert_eq!(sending.total, 6);
            sending.advance(first);
            let found = (sending.piece_index, sending.piece_sent);
            assert_eq!(found, place, "after {first} bytes");
        }
    }
}
