//! Replies elements of values: those of lists, hashes, sets, sorted sets and streams alike.

use crate::resp::Reply;
use crate::store::Item;

/// Replies an element; a long one from where it lies.
#[inline]
pub fn reply_item(item: Item<'_>, reply: &mut Reply<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(value) => reply.bulk_integer(value),
        Item::Blob(blob) => reply.blob(blob),
    }
}
