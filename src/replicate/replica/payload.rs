//! A snapshot from the primary, as it is sent: of a length said before, or up to a mark said before.
//!
//! ```text
//! $<length>\r\n<bytes>
//! $EOF:<40 bytes>\r\n<bytes><the same 40 bytes>
//! ```
//!
//! Not here: what the bytes mean (`persist`), where they go (`follow`).

use std::io::{self, ErrorKind, Read, Write};

use super::wire::Wire;

const BLOCK_BYTES: usize = 64 << 10;
const MARK_BYTES: usize = 40;

/// Where a snapshot ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Behind so many bytes.
    Length(u64),
    /// Before these.
    Mark([u8; MARK_BYTES]),
}

/// What the line before a snapshot says.
///
/// # Errors
/// It says something else.
pub fn end(line: &str) -> Result<End, String> {
    let no = || format!("in the place of a snapshot the primary sends '{line}'");
    let said = line.strip_prefix('$').ok_or_else(no)?;
    if let Some(mark) = said.strip_prefix("EOF:") {
        return Ok(End::Mark(mark.as_bytes().try_into().map_err(|_| no())?));
    }
    said.parse().map(End::Length).map_err(|_| no())
}

/// Receives a snapshot: how many bytes it has. `progress` is told of each block.
///
/// # Errors
/// The socket ends before, or what is received cannot be written.
pub fn receive<S: Read + Write>(
    wire: &mut Wire<S>,
    end: &End,
    into: &mut impl Write,
    mut progress: impl FnMut(u64),
) -> io::Result<u64> {
    let (mut snapshot, mut block, mut received) = (Snapshot::new(wire, end), vec![0; BLOCK_BYTES], 0);
    loop {
        let count = snapshot.read(&mut block)?;
        if count == 0 {
            return Ok(received);
        }
        into.write_all(&block[..count])?;
        received += count as u64;
        progress(received);
    }
}

/// A snapshot as it comes: to be read up to its end, and not beyond.
pub struct Snapshot<'a, S> {
    wire: &'a mut Wire<S>,
    rest: Rest,
}

/// How its end is found.
enum Rest {
    /// Behind so many bytes.
    Bytes(u64),
    /// Before a mark. The last bytes that have come are kept back, as they may be the beginning of it.
    ToMark {
        mark: [u8; MARK_BYTES],
        block: Vec<u8>,
        /// What of the block may be read.
        ready: std::ops::Range<usize>,
        /// Up to where the block has bytes.
        filled: usize,
        is_found: bool,
    },
}

impl<'a, S: Read + Write> Snapshot<'a, S> {
    /// It begins here.
    pub fn new(wire: &'a mut Wire<S>, end: &End) -> Self {
        let rest = match end {
            End::Length(length) => Rest::Bytes(*length),
            End::Mark(mark) => Rest::ToMark {
                mark: *mark,
                block: vec![0; BLOCK_BYTES + MARK_BYTES],
                ready: 0..0,
                filled: 0,
                is_found: false,
            },
        };
        Self { wire, rest }
    }

    /// Reads up to the end, where nothing more is expected.
    ///
    /// # Errors
    /// There is more, or the socket ends before.
    pub fn finish(mut self) -> io::Result<()> {
        match self.read(&mut [0; 64])? {
            0 => Ok(()),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "the snapshot goes on behind its end")),
        }
    }
}

impl<S: Read + Write> Read for Snapshot<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.rest {
            Rest::Bytes(0) => Ok(0),
            Rest::Bytes(left) => {
                let count = some(self.wire, *left, into)?;
                *left -= count as u64;
                Ok(count)
            }
            Rest::ToMark { mark, block, ready, filled, is_found } => {
                while ready.start == ready.end && !*is_found {
                    block.copy_within(ready.end..*filled, 0);
                    *filled -= ready.end;
                    *filled += some(self.wire, BLOCK_BYTES as u64, &mut block[*filled..])?;
                    let found = memchr::memmem::find(&block[..*filled], mark);
                    *is_found = found.is_some();
                    *ready = 0..found.unwrap_or_else(|| filled.saturating_sub(MARK_BYTES - 1));
                    if let Some(at) = found {
                        self.wire.put_back(&block[at + MARK_BYTES..*filled]);
                    }
                }
                let count = ready.len().min(into.len());
                into[..count].copy_from_slice(&block[ready.start..ready.start + count]);
                ready.start += count;
                Ok(count)
            }
        }
    }
}

fn some<S: Read + Write>(wire: &mut Wire<S>, bytes_max: u64, into: &mut [u8]) -> io::Result<usize> {
    let count = wire.some(usize::try_from(bytes_max).unwrap_or(usize::MAX), into)?;
    if count == 0 && !into.is_empty() {
        return Err(io::Error::new(
            ErrorKind::UnexpectedEof,
            "the primary has ended in the middle of its snapshot",
        ));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A socket from which these come, so many bytes at a time.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn received(bytes: Vec<u8>, piece: usize, end: &End) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut wire, mut file) = (Wire::new(Pieces(bytes, piece), Duration::from_secs(60)), Vec::new());
        let length = receive(&mut wire, end, &mut file, |_| {})?;
        assert_eq!(length, file.len() as u64);
        let mut rest = vec![0; 1 << 10];
        let mut behind = Vec::new();
        loop {
            match wire.some(usize::MAX, &mut rest)? {
                0 => return Ok((file, behind)),
                count => behind.extend_from_slice(&rest[..count]),
            }
        }
    }

    proptest! {
        /// However it is cut, the snapshot ends where it ends, and what follows is still to be read.
        #[test]
        fn snapshot_ends_at_its_end(
            snapshot in proptest::collection::vec(0_u8..3, 0..400),
            behind in proptest::collection::vec(0_u8..3, 0..100),
            piece in 1_usize..200,
        ) {
            let length = End::Length(snapshot.len() as u64);
            let all = [&snapshot[..], &behind].concat();
            prop_assert_eq!(received(all, piece, &length).expect("it is whole"), (snapshot.clone(), behind.clone()));
            // A mark whose beginning is found elsewhere too.
            let mut mark = [1; MARK_BYTES];
            mark[MARK_BYTES - 1] = 7;
            let all = [&snapshot[..], &mark, &behind].concat();
            prop_assert_eq!(received(all, piece, &End::Mark(mark)).expect("it is whole"), (snapshot, behind));
        }
    }

    #[test]
    fn snapshot_that_is_cut_is_an_error() {
        assert!(received(vec![1; 10], 3, &End::Length(11)).is_err());
        assert!(received(vec![1; 100], 3, &End::Mark([1; 40].map(|_| 2))).is_err());
        assert_eq!(end("$12"), Ok(End::Length(12)));
        assert_eq!(end(&format!("$EOF:{}", "a".repeat(40))), Ok(End::Mark([b'a'; 40])));
        for line in ["", "$", "$-1", "$EOF:", "$EOF:short", "-ERR no", "+OK", "$1x"] {
            assert!(end(line).is_err(), "{line}");
        }
    }
}
