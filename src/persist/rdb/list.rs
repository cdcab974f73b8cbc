//! Lists: writes the newest form, reads all.
//!
//! ```text
//! type 18   count of nodes, then each: 1 and a string (one long element), or 2 and a listpack as a string
//! type 14   count of nodes, then each: a ziplist as a string
//! type 10   a ziplist as a string
//! type 1    count of elements, then each: a string
//! ```
//!
//! Invariants: what is read has at least one element, and every packed node is valid throughout.

use std::borrow::Cow;

use super::decode::{Malformed, Reader, Text};
use super::encode::Sink;
use super::{encode, ziplist};
use crate::store::{Item, List, ListLimits, ListNode, NewItem, NewList, NewNode, packed};

pub const TYPE_LIST: u8 = 1;
pub const TYPE_LIST_ZIPLIST: u8 = 10;
pub const TYPE_LIST_QUICKLIST: u8 = 14;
pub const TYPE_LIST_QUICKLIST_2: u8 = 18;

const NODE_LONG: u64 = 1;
const NODE_PACKED: u64 = 2;

/// The value of a list, in the form of `TYPE_LIST_QUICKLIST_2`.
pub fn write(out: &mut Vec<u8>, list: &List<'_>, compress: bool, sink: &mut dyn Sink) {
    encode::length(out, list.node_count() as u64);
    let mut listpack = Vec::new();
    for node in list.nodes() {
        match node {
            ListNode::Long(bytes) => {
                encode::length(out, NODE_LONG);
                encode::string(out, bytes, compress);
            }
            ListNode::Listpack(body, count) => {
                encode::length(out, NODE_PACKED);
                listpack.clear();
                packed::write_listpack(&mut listpack, body, count);
                encode::string(out, &listpack, compress);
            }
        }
        encode::hand_on(out, sink);
    }
}

/// A list of one of the types above.
pub fn read(value_type: u8, reader: &mut Reader<'_>, limits: ListLimits) -> Result<NewList, Malformed> {
    let mut list = NewList::new(limits);
    match value_type {
        TYPE_LIST => {
            for _ in 0..reader.length()? {
                let item = match reader.string()? {
                    Text::Int(value) => NewItem::Int(value),
                    Text::Plain(bytes) => NewItem::Bytes(bytes),
                    Text::Unpacked(bytes) => NewItem::Blob(bytes.into()),
                };
                list.add(NewNode::Item(item));
            }
        }
        TYPE_LIST_ZIPLIST => add_ziplist(&mut list, reader)?,
        TYPE_LIST_QUICKLIST => {
            for _ in 0..reader.length()? {
                add_ziplist(&mut list, reader)?;
            }
        }
        TYPE_LIST_QUICKLIST_2 => {
            for _ in 0..reader.length()? {
                match reader.length()? {
                    NODE_LONG => {
                        let element = bytes(reader.string()?);
                        // Whoever wrote this would have put an empty element into a listpack.
                        if element.is_empty() {
                            return Err(Malformed);
                        }
                        list.add(NewNode::Long(element.into_owned().into()));
                    }
                    NODE_PACKED => add_listpack(&mut list, &bytes(reader.string()?))?,
                    _ => return Err(Malformed),
                }
            }
        }
        _ => return Err(Malformed),
    }
    if list.is_empty() { Err(Malformed) } else { Ok(list) }
}

pub(super) fn bytes(text: Text<'_>) -> Cow<'_, [u8]> {
    match text {
        Text::Plain(bytes) => bytes.into(),
        Text::Unpacked(bytes) => bytes.into(),
        Text::Int(value) => value.to_string().into_bytes().into(),
    }
}

fn add_ziplist(list: &mut NewList, reader: &mut Reader<'_>) -> Result<(), Malformed> {
    let bytes = bytes(reader.string()?);
    ziplist::each(&bytes, |item| list.add(NewNode::Item(item)))?;
    Ok(())
}

/// Adds a node as it is, or element by element where one is not in its shortest form.
fn add_listpack(list: &mut NewList, listpack: &[u8]) -> Result<(), Malformed> {
    let (body, count) = packed::validated(listpack).ok_or(Malformed)?;
    if packed::is_canonical(body) {
        list.add(NewNode::Listpack(body, count));
        return Ok(());
    }
    let mut at = 0;
    while at < body.len() {
        let (item, next) = packed::item(body, at);
        list.add(NewNode::Item(match item {
            Item::Int(value) => NewItem::Int(value),
            Item::Bytes(bytes) => NewItem::Bytes(bytes),
            Item::Blob(blob) => NewItem::Blob(blob.clone()),
        }));
        at = next;
    }
    Ok(())
}
