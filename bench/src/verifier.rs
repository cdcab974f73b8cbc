//! Looks at replies: whether values are those of their keys.
//!
//! Costs: replies are kept until they are whole, and every byte is compared. Nobody pays who did not ask for it.

use std::collections::VecDeque;

use crate::Fatal;
use crate::operation::Plan;
use crate::reply::{Reply, parse};
use crate::template::Check;

/// How much of a wrong reply is told, in bytes.
const SHOWN_BYTES: usize = 60;

/// What one connection's replies are compared with.
#[derive(Debug, Default)]
pub struct Verifier {
    /// What replies under way must be, and of which key.
    pub checks: VecDeque<(Check, u64)>,
    /// Replies to come that answer nothing of the load.
    skipped: u64,
    pending: Vec<u8>,
    /// How many replies were right.
    pub right: u64,
    /// How many were wrong.
    pub wrong: u64,
    /// What the first of these was.
    pub first_wrong: Option<String>,
}

impl Verifier {
    /// Passes over so many replies.
    pub fn skip(&mut self, replies: u64) {
        self.skipped += replies;
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8], plan: &Plan) -> Result<(), Fatal> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((reply, length)) = parse(&pending[at..])? {
            if pending[at] != b'>' {
                self.reply(&reply, plan);
            }
            at += length;
        }
        pending.drain(..at);
        self.pending = pending;
        Ok(())
    }

    fn reply(&mut self, reply: &Reply<'_>, plan: &Plan) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        let Some((check, key)) = self.checks.pop_front() else { return };
        if is_right(check, key, reply, plan) {
            self.right += 1;
            return;
        }
        self.wrong += 1;
        if self.first_wrong.is_none() {
            let mut shown = format!("{reply:?}");
            if let Reply::Bulk(bytes) | Reply::Error(bytes) | Reply::Line(bytes) = reply {
                shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii().to_string();
            }
            shown = shown.chars().take(2 * SHOWN_BYTES).collect();
            self.first_wrong = Some(format!("{shown} for key {key}, where {check:?} was expected"));
        }
    }
}

fn is_right(check: Check, key: u64, reply: &Reply<'_>, plan: &Plan) -> bool {
    let bytes = plan.value_bytes(key);
    let is_value =
        |reply: &Reply<'_>| matches!(reply, Reply::Bulk(value) if crate::values::is_value(value, key, bytes));
    match (check, reply) {
        (_, Reply::Error(_)) => false,
        (Check::NoError, _) | (_, Reply::Null) => true,
        (Check::Ok, reply) => *reply == Reply::Line(b"OK"),
        (Check::Value, reply) => is_value(reply),
        (Check::Values, Reply::Array(values)) => values.iter().all(is_value),
        (Check::Fields, Reply::Array(pairs)) => pairs.iter().skip(1).step_by(2).all(is_value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Data, Operation};
    use crate::values::{Sizes, write_value};

    #[test]
    fn wrong_values_are_found_in_pieces_of_any_size() {
        let data =
            Data { keys: 100, distribution: None, sizes: Sizes::Fixed(20), ttl: None, is_verified: true };
        let plan = Plan::new(&Operation::Get, &data).expect("it is valid");
        let value = |key| {
            let mut value = Vec::new();
            write_value(&mut value, key, 20);
            String::from_utf8(value).expect("it is text")
        };
        let bulk = |key| format!("$20\r\n{}\r\n", value(key));
        let replies = [
            (Check::Value, 1, bulk(1), true),
            (Check::Value, 1, bulk(2), false),
            (Check::Value, 1, "$-1\r\n".into(), true),
            (Check::Value, 1, "+OK\r\n".into(), false),
            (Check::Ok, 1, "+OK\r\n".into(), true),
            (Check::Ok, 1, "+QUEUED\r\n".into(), false),
            (Check::NoError, 1, ":5\r\n".into(), true),
            (Check::NoError, 1, "-ERR no\r\n".into(), false),
            (Check::Values, 7, format!("*2\r\n{}{}", bulk(7), bulk(7)), true),
            (Check::Values, 7, format!("*2\r\n{}{}", bulk(7), bulk(8)), false),
            (Check::Fields, 7, format!("%1\r\n$1\r\na\r\n{}", bulk(7)), true),
            (Check::Fields, 7, format!("*2\r\n{}$1\r\na\r\n", bulk(7)), false),
        ];
        let all: String = replies.iter().map(|(_, _, text, _)| text.as_str()).collect();
        for piece in [1, 7, 1000] {
            let mut verifier = Verifier::default();
            verifier.skip(1);
            verifier.checks.extend(replies.iter().map(|(check, key, ..)| (*check, *key)));
            let bytes = [b"%0\r\n", all.as_bytes()].concat();
            bytes.chunks(piece).for_each(|bytes| verifier.feed(bytes, &plan).expect("it is RESP"));
            assert_eq!((verifier.right, verifier.wrong), (6, 6), "{:?}", verifier.first_wrong);
            assert!(verifier.first_wrong.is_some_and(|words| words.contains("for key 1, where Value")));
        }
    }
}
