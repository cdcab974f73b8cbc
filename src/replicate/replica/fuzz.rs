//! For fuzzing: any bytes as what a primary says, and as what a file says of its place.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::handshake::{Introduction, Offer, continue_behind, introduce, introduce_channel};
use super::payload::{self, End};
use super::wire::Wire;
use crate::replicate::ReplicationId;

/// A primary that has said all beforehand, and is heard in pieces.
struct Said<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl Read for Said<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.min(into.len()).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        into[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

impl Write for Said<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The replica's side of the introduction and of the snapshot's way: whatever the primary says, it is understood or refused, alike
/// however it is cut, and no byte behind the snapshot is lost.
///
/// # Panics
/// That is not so.
pub fn fuzz(data: &[u8]) {
    let Some((choices, bytes)) = data.split_first() else { return };
    let id = ReplicationId::parse(&[b'a'; 40]).expect("a name");
    let about = Introduction {
        credentials: (choices & 1 != 0).then(|| (Some(b"me".to_vec()), b"word".to_vec())),
        port: 1,
        address: (choices & 2 != 0).then(|| b"here".to_vec()),
        takes_channel: choices & 16 != 0,
        version: "8.2.3",
        position: (choices & 4 != 0).then_some((id, 7)),
        hands_over: choices & 8 != 0,
    };
    let whole = follow(bytes, usize::MAX, &about);
    for piece in [1, 7, 41] {
        assert!(follow(bytes, piece, &about) == whole, "it depends on how the bytes are cut");
    }
    if let Some((Offer::Snapshot(..), Some((end, snapshot, behind)))) = whole {
        match end {
            End::Length(length) => assert_eq!(length, snapshot.len() as u64),
            End::Mark(mark) => assert!(memchr::memmem::find(&snapshot, &mark).is_none()),
        }
        assert!(bytes.ends_with(&behind));
    }
}

type Followed = (Offer, Option<(End, Vec<u8>, Vec<u8>)>);

fn follow(bytes: &[u8], piece: usize, about: &Introduction) -> Option<Followed> {
    let mut wire = Wire::new(Said { bytes, piece }, Duration::from_secs(3600));
    let offer = introduce(&mut wire, about).ok()?;
    let of = match &offer {
        Offer::Channel(client) => Some(Some(client.clone())),
        Offer::ChannelOfValkey => Some(None),
        Offer::Snapshot(..) | Offer::Stream(_) | Offer::Refusal(_) => None,
    };
    if let Some(of) = of {
        let place = introduce_channel(&mut wire, about, of.as_deref());
        // The stream may as well be asked for where the channel is.
        let outcome = place.and_then(|place| continue_behind(&mut wire, &place));
        return Some((offer, None)).filter(|_| outcome.is_ok());
    }
    if !matches!(offer, Offer::Snapshot(..)) {
        assert!(about.position.is_some() || matches!(offer, Offer::Refusal(_)), "nothing was asked for");
        return Some((offer, None));
    }
    let Some(end) = wire.line().ok().and_then(|line| payload::end(&line).ok()) else {
        return Some((offer, None));
    };
    let mut snapshot = Vec::new();
    if payload::receive(&mut wire, &end, &mut snapshot, |_| {}).is_err() {
        return Some((offer, None));
    }
    let (said, mut behind) = wire.into_parts();
    behind.extend_from_slice(said.bytes);
    Some((offer, Some((end, snapshot, behind))))
}
