//! A published message, encoded once for all its subscribers.
//!
//! Design: the two protocols differ in the first byte alone (`*` or `>`), which is written for each client; the rest is shared. A
//! message of a pattern begins with the pattern's own words and ends as that of the channel does. A long payload is sent from where it
//! lies, a short one is cheaper to copy than a further piece is to send.

use std::sync::Arc;

use bytes::Bytes;

use super::{Pattern, SubscriptionKind};
use crate::resp::reply::BLOB_LARGE_BYTES_MIN;
use crate::resp::{Output, Protocol};

/// A message on its way to the clients of one worker or several.
#[derive(Debug, PartialEq, Eq)]
pub struct PublishedMessage {
    /// To subscribers of channels of which kind.
    pub kind: SubscriptionKind,
    /// The channel's hash.
    pub hash: u64,
    /// The patterns that its name fits, which somebody has subscribed to.
    pub patterns: Vec<Arc<Pattern>>,
    /// Everything behind the first byte, but for a long payload and what comes after it.
    text: Box<[u8]>,
    /// Where the channel's name stands in there, and how long it is.
    name: (usize, usize),
    /// Where the words begin that messages of patterns have too.
    common: usize,
    /// A long payload.
    payload: Option<Bytes>,
}

impl PublishedMessage {
    /// A message on a channel.
    pub fn new(
        kind: SubscriptionKind,
        hash: u64,
        channel: &[u8],
        payload: &[u8],
        patterns: Vec<Arc<Pattern>>,
    ) -> PublishedMessage {
        let head: &[u8] = match kind {
            SubscriptionKind::Shard => b"3\r\n$8\r\nsmessage\r\n",
            SubscriptionKind::Channel | SubscriptionKind::Pattern => b"3\r\n$7\r\nmessage\r\n",
        };
        let is_long = payload.len() >= BLOB_LARGE_BYTES_MIN;
        let inline_bytes = if is_long { 0 } else { payload.len() };
        let mut text = Vec::with_capacity(head.len() + channel.len() + inline_bytes + 2 * HEADER_BYTES);
        text.extend_from_slice(head);
        push_bulk(&mut text, channel);
        let name = (text.len() - channel.len() - b"\r\n".len(), channel.len());
        push_header(&mut text, payload.len());
        if !is_long {
            text.extend_from_slice(payload);
            text.extend_from_slice(b"\r\n");
        }
        let payload = is_long.then(|| Bytes::copy_from_slice(payload));
        PublishedMessage { kind, hash, patterns, text: text.into(), name, common: head.len(), payload }
    }

    /// The channel.
    pub fn channel(&self) -> &[u8] {
        &self.text[self.name.0..self.name.0 + self.name.1]
    }

    /// Writes it for a subscriber of the channel.
    #[inline]
    pub fn write(&self, output: &mut Output, protocol: Protocol) {
        output.push_bytes(first(protocol));
        self.write_from(0, output);
    }

    /// Writes it for a subscriber of one of its patterns.
    pub fn write_for(&self, pattern: &Pattern, output: &mut Output, protocol: Protocol) {
        output.push_bytes(first(protocol));
        output.push_bytes(&pattern.head);
        self.write_from(self.common, output);
    }

    #[inline]
    fn write_from(&self, start: usize, output: &mut Output) {
        output.push_bytes(&self.text[start..]);
        if let Some(payload) = &self.payload {
            output.push_large(payload.clone());
            output.push_bytes(b"\r\n");
        }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.payload.as_ref().map_or(0, Bytes::len)
    }
}

/// More than a bulk's header and end.
const HEADER_BYTES: usize = 28;

#[inline]
fn first(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"*",
        Protocol::Resp3 => b">",
    }
}

fn push_header(text: &mut Vec<u8>, len: usize) {
    text.push(b'$');
    text.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    text.extend_from_slice(b"\r\n");
}

pub(super) fn push_bulk(text: &mut Vec<u8>, bytes: &[u8]) {
    push_header(text, bytes.len());
    text.extend_from_slice(bytes);
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::Patterns;

    fn written(message: &PublishedMessage, protocol: Protocol) -> Vec<u8> {
        let mut output = Output::new();
        message.write(&mut output, protocol);
        output.check_invariants();
        output.to_vec()
    }

    #[test]
    fn message_is_written_in_both_protocols() {
        let patterns = Patterns::default();
        patterns.add(5, b"c*", 0);
        let message =
            PublishedMessage::new(SubscriptionKind::Channel, 1, b"ch", b"hello", patterns.matching(b"ch"));
        let rest = "3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n";
        assert_eq!(written(&message, Protocol::Resp2), format!("*{rest}").into_bytes());
        assert_eq!(written(&message, Protocol::Resp3), format!(">{rest}").into_bytes());
        assert_eq!(message.channel(), b"ch");
        let mut output = Output::new();
        message.write_for(&message.patterns[0], &mut output, Protocol::Resp2);
        let expected = b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\nch\r\n$5\r\nhello\r\n";
        assert_eq!(output.to_vec(), expected);
    }

    #[test]
    fn long_payload_is_shared() {
        let payload = vec![b'x'; BLOB_LARGE_BYTES_MIN];
        let message = PublishedMessage::new(SubscriptionKind::Shard, 1, b"", &payload, Vec::new());
        let head = format!("*3\r\n$8\r\nsmessage\r\n$0\r\n\r\n${}\r\n", payload.len());
        let expected = [head.as_bytes(), &payload, b"\r\n"].concat();
        assert_eq!(written(&message, Protocol::Resp2), expected);
        let mut output = Output::new();
        message.write(&mut output, Protocol::Resp3);
        assert!(output.allocated_bytes() < payload.len());
    }
}
