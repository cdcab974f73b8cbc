//! Streams: writes the newest form, reads all.
//!
//! ```text
//! types 15 (5.0), 19 (7.0), 21 (7.2), 26 (8.6), 27 (8.8)
//!   count of nodes, then each: its ID (16 bytes, as a string), its listpack as a string
//!   length; last ID;   from 19 on: first ID; highest ID deleted; entries ever added
//!   count of groups, then each:
//!     name; last ID;   from 19 on: entries read
//!     count of pending entries, then each: ID (16 bytes), when delivered (8 bytes, ms), how often
//!     count of consumers, then each: name; when seen (8 bytes);   from 21 on: when active (8 bytes)
//!       count of its pending entries, then each: ID (16 bytes)
//!     27: count of entries that were released, then each: ID (16 bytes)
//!   from 26 on: seconds for which iids are kept; how many of a producer
//!     count of producers, then each: name; count of its iids, then each, oldest first: iid; ID
//!     iids ever added; messages that came again
//! an ID that is not 16 bytes: two lengths
//! ```
//!
//! A stream is written as 26 only where something is known of producers, so that older servers read all others. 27 is read.
//!
//! Invariants: what is read has valid nodes in ascending order, and each pending entry of a group belongs to one consumer, or to
//! none if it was delivered at no time: that is one that was released.

use super::decode::{Malformed, Reader, Text};
use super::encode::{self, Sink};
use crate::store::NewStream;
use crate::store::stream::{Group, History, IidLimits, Stream, StreamId};

pub const TYPE_STREAM: u8 = 15;
pub const TYPE_STREAM_2: u8 = 19;
pub const TYPE_STREAM_3: u8 = 21;
pub const TYPE_STREAM_4: u8 = 26;
pub const TYPE_STREAM_5: u8 = 27;

/// In the place of the number of entries read: it is not known.
const READ_COUNT_UNKNOWN: u64 = u64::MAX;
/// In the place of a time: never.
const NEVER_MS: i64 = -1;

/// The value of a stream, in the form of `TYPE_STREAM_2`, `TYPE_STREAM_3` or `TYPE_STREAM_4`.
pub fn write(out: &mut Vec<u8>, stream: &Stream, value_type: u8, compress: bool, sink: &mut dyn Sink) {
    encode::length(out, stream.node_count() as u64);
    for (first, listpack) in stream.nodes() {
        encode::string(out, &first.to_bytes(), false);
        encode::string(out, listpack, compress);
        encode::hand_on(out, sink);
    }
    let History { length, first, last, max_deleted, added } = *stream.history();
    encode::length(out, length);
    [last, first, max_deleted].into_iter().for_each(|id| write_id(out, id));
    encode::length(out, added);
    encode::length(out, stream.groups().len() as u64);
    for group in stream.groups() {
        encode::string(out, &group.name, compress);
        write_id(out, group.last);
        encode::length(out, group.read_count.unwrap_or(READ_COUNT_UNKNOWN));
        encode::length(out, group.pending().len() as u64);
        for pending in group.pending().iter() {
            out.extend_from_slice(&pending.id.to_bytes());
            out.extend_from_slice(&pending.delivered_ms.to_le_bytes());
            encode::length(out, pending.deliveries);
            encode::hand_on(out, sink);
        }
        encode::length(out, group.consumers().len() as u64);
        for (_, consumer) in group.consumers() {
            encode::string(out, &consumer.name, compress);
            out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            if value_type != TYPE_STREAM_2 {
                out.extend_from_slice(&consumer.active_ms.unwrap_or(NEVER_MS).to_le_bytes());
            }
            encode::length(out, consumer.pending().len() as u64);
            for id in consumer.pending().iter() {
                out.extend_from_slice(&id.to_bytes());
                encode::hand_on(out, sink);
            }
        }
    }
    if value_type == TYPE_STREAM_4 {
        write_producers(out, stream, compress, sink);
    }
}

/// What is known of producers.
fn write_producers(out: &mut Vec<u8>, stream: &Stream, compress: bool, sink: &mut dyn Sink) {
    let Some(known) = stream.idempotency() else { unreachable!("the form is for streams with producers") };
    encode::length(out, known.limits().duration_s.into());
    encode::length(out, known.limits().count_max.into());
    encode::length(out, known.producers().len() as u64);
    for (pid, producer) in known.producers() {
        encode::string(out, pid, compress);
        encode::length(out, producer.iter().len() as u64);
        for (iid, id) in producer.iter() {
            encode::string(out, iid, compress);
            write_id(out, id);
            encode::hand_on(out, sink);
        }
    }
    encode::length(out, known.added);
    encode::length(out, known.duplicates);
}

fn write_id(out: &mut Vec<u8>, id: StreamId) {
    encode::length(out, id.ms);
    encode::length(out, id.seq);
}

/// A stream of one of the types above.
pub fn read(value_type: u8, reader: &mut Reader<'_>) -> Result<NewStream, Malformed> {
    let mut new = NewStream::default();
    for _ in 0..reader.length()? {
        let first = <[u8; 16]>::try_from(&*reader.string()?.to_vec()).map_err(|_| Malformed)?;
        let added = match reader.string()? {
            Text::Plain(listpack) => new.add_node(StreamId::from_bytes(first), listpack),
            Text::Unpacked(listpack) => new.add_node(StreamId::from_bytes(first), &listpack),
            Text::Int(_) => None,
        };
        added.ok_or(Malformed)?;
    }
    if reader.length()? != new.stream().len() {
        return Err(Malformed);
    }
    let last = read_id(reader)?;
    let (mut max_deleted, mut added) = (StreamId::MIN, new.stream().len());
    if value_type != TYPE_STREAM {
        // The first entry is found among the nodes.
        read_id(reader)?;
        max_deleted = read_id(reader)?;
        added = reader.length()?;
    }
    new.set_history(last, max_deleted, added).ok_or(Malformed)?;
    for _ in 0..reader.length()? {
        let group = read_group(value_type, reader, new.stream())?;
        new.add_group(group).ok_or(Malformed)?;
    }
    if value_type >= TYPE_STREAM_4 {
        read_producers(reader, &mut new)?;
    }
    Ok(new)
}

/// What is known of producers. What is beyond limits is brought within.
fn read_producers(reader: &mut Reader<'_>, new: &mut NewStream) -> Result<(), Malformed> {
    let limits = IidLimits {
        duration_s: reader.length()?.clamp(1, IidLimits::DURATION_S_MAX.into()) as u32,
        count_max: reader.length()?.clamp(1, IidLimits::COUNT_MAX.into()) as u32,
    };
    let known = new.idempotency(limits);
    for _ in 0..reader.length()? {
        let pid = reader.string()?.to_vec();
        for _ in 0..reader.length()? {
            let (iid, id) = (reader.string()?.to_vec(), read_id(reader)?);
            if pid.is_empty() || iid.is_empty() {
                return Err(Malformed);
            }
            // By the time 0 nothing is too old.
            known.load(&pid, &iid, id, 0);
        }
    }
    (known.added, known.duplicates) = (reader.length()?, reader.length()?);
    Ok(())
}

fn read_id(reader: &mut Reader<'_>) -> Result<StreamId, Malformed> {
    Ok(StreamId { ms: reader.length()?, seq: reader.length()? })
}

fn read_raw_id(reader: &mut Reader<'_>) -> Result<StreamId, Malformed> {
    reader.take().map(StreamId::from_bytes)
}

fn read_ms(reader: &mut Reader<'_>) -> Result<i64, Malformed> {
    reader.take().map(i64::from_le_bytes)
}

fn read_group(value_type: u8, reader: &mut Reader<'_>, stream: &Stream) -> Result<Group, Malformed> {
    let (name, last) = (reader.string()?.to_vec(), read_id(reader)?);
    let read_count = match value_type {
        TYPE_STREAM => stream.history().position(last),
        _ => Some(reader.length()?).filter(|count| *count != READ_COUNT_UNKNOWN),
    };
    let mut group = Group::new(&name, last, read_count);
    let mut pending: Vec<(StreamId, i64, u64)> = Vec::new();
    for _ in 0..reader.length()? {
        pending.push((read_raw_id(reader)?, read_ms(reader)?, reader.length()?));
    }
    if !pending.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return Err(Malformed);
    }
    for _ in 0..reader.length()? {
        let (name, seen_ms) = (reader.string()?.to_vec(), read_ms(reader)?);
        let active_ms = if value_type >= TYPE_STREAM_3 { read_ms(reader)? } else { seen_ms };
        if group.find_consumer(&name).is_some() {
            return Err(Malformed);
        }
        let consumer = group.add_consumer(&name, seen_ms);
        group.consumer_mut(consumer).active_ms = Some(active_ms).filter(|active_ms| *active_ms != NEVER_MS);
        for _ in 0..reader.length()? {
            let id = read_raw_id(reader)?;
            let place = pending.binary_search_by_key(&id, |(id, ..)| *id).map_err(|_| Malformed)?;
            let (_, delivered_ms, deliveries) = pending[place];
            if group.pending().find(id).is_some() {
                return Err(Malformed);
            }
            group.deliver(id, consumer, delivered_ms, deliveries);
        }
    }
    if value_type >= TYPE_STREAM_5 {
        for _ in 0..reader.length()? {
            let id = read_raw_id(reader)?;
            let place = pending.binary_search_by_key(&id, |(id, ..)| *id).map_err(|_| Malformed)?;
            if group.pending().find(id).is_some() {
                return Err(Malformed);
            }
            group.release(id, pending[place].2);
        }
    }
    if group.pending().len() < pending.len() {
        for (id, delivered_ms, deliveries) in pending {
            match group.pending().find(id) {
                Some(_) => {}
                None if delivered_ms == 0 => group.release(id, deliveries),
                None => return Err(Malformed),
            }
        }
    }
    Ok(group)
}
