//! What may be done to a key that holds a stream, or is to hold one.
//!
//! Design: a stream is always a structure of its own, so that changing one is a method of that (`stream`); here is what brings
//! it into its key, counts its memory, and lets cron free what is too much to be freed at once.
//!
//! Invariants: the encoding is `Stream`. A stream stays when it is empty.

use super::external::External;
use super::stream::{Group, Idempotency, IidLimits, Removal, Stream, StreamId, Trim};
use super::view::Typed;
use super::{NewItem, NodeLimits};
use crate::store::KeyMut;
use crate::store::changes::ChangeKind;
use crate::store::entry::{Encoding, Type, Value};
use crate::store::hash::KeyHasher;
use crate::store::undo::Inverses;

impl KeyMut<'_> {
    /// The stream that the key holds, if it exists.
    #[inline]
    pub fn stream(&self) -> Option<&Stream> {
        self.entry().map(<&Stream>::of)
    }

    /// Makes the key an empty stream if it does not exist.
    #[inline]
    pub fn make_stream(&mut self) {
        if self.entry().is_none() {
            self.set_stream(Box::default());
        }
    }

    /// Adds an entry to the stream that the key holds, which whoever waits for it hears of; see [`Stream::append`].
    #[inline]
    pub fn stream_append<'i>(
        &mut self,
        id: StreamId,
        bytes: u64,
        pairs: impl ExactSizeIterator<Item = (NewItem<'i>, NewItem<'i>)> + Clone,
        limits: NodeLimits,
    ) {
        self.edit_undoable(ChangeKind::Set, |external, inverses| {
            let stream = stream_of(external);
            if let Some(inverses) = inverses {
                let end = stream.end();
                inverses.add(|external, _| stream_of(external).cut_back(end));
            }
            stream.append(id, bytes, pairs, limits);
        });
    }

    /// A producer's message has become an entry; what is known of producers begins with these limits.
    pub fn stream_record(
        &mut self,
        (pid, iid): (&[u8], &[u8]),
        id: StreamId,
        limits: IidLimits,
        now_ms: u64,
    ) {
        self.edit_undoable(ChangeKind::Aside, |external, inverses| {
            let stream = stream_of(external);
            if let Some(inverses) = inverses {
                let before = stream.idempotency().map(|known| known.before(pid));
                inverses.add(move |external, _| stream_of(external).put_back_producers(before));
            }
            let idempotency = stream.idempotency_mut(limits);
            idempotency.record(pid, iid, id, now_ms);
            idempotency.expire_next(now_ms);
        });
    }

    /// A producer's message came that had been added. That is counted, and is no change.
    pub fn stream_count_duplicate(&mut self) {
        self.edit_undoable_if(|external, inverses| {
            let Some(idempotency) = stream_of(external).idempotency_known_mut() else { return false };
            if let Some(inverses) = inverses {
                let before = Some(idempotency.before(&[]));
                inverses.add(move |external, _| stream_of(external).put_back_producers(before));
            }
            idempotency.duplicates += 1;
            false
        });
    }

    /// Sets what is kept of the producers of the stream.
    pub fn stream_set_iid_limits(&mut self, limits: IidLimits) {
        self.keep();
        let removed =
            self.edit_undoable(ChangeKind::Aside, |external, _| stream_of(external).set_iid_limits(limits));
        removed.into_iter().for_each(|removed| self.discard(External::Stream(removed)));
    }

    /// Takes entries out of the stream: how many `edit` says. None is no change.
    pub fn stream_take(&mut self, edit: impl FnOnce(&mut Stream) -> usize) -> usize {
        self.keep();
        self.count_edit(ChangeKind::Lessened, |stream, _| edit(stream))
    }

    /// Takes entries out of what is pending in a group, likewise.
    pub fn group_take(&mut self, place: usize, edit: impl FnOnce(&mut Group) -> usize) -> usize {
        self.count_edit(ChangeKind::Aside, |stream, inverses| {
            if let Some(inverses) = inverses {
                inverses.add(unread(stream, place));
            }
            stream.edit_group(place, edit)
        })
    }

    /// Changes who has read the stream and up to where, not the stream itself.
    #[inline]
    pub fn stream_account<R>(&mut self, edit: impl FnOnce(&mut Stream) -> R) -> R {
        self.edit_undoable(ChangeKind::Aside, |external, inverses| {
            let stream = stream_of(external);
            if let Some(inverses) = inverses {
                let readers = stream.readers();
                inverses.add(|external, _| stream_of(external).set_readers(readers));
            }
            edit(stream)
        })
    }

    /// The same of one group.
    #[inline]
    pub fn group_account<R>(&mut self, place: usize, edit: impl FnOnce(&mut Group) -> R) -> R {
        self.edit_undoable(ChangeKind::Aside, |external, inverses| {
            let stream = stream_of(external);
            if let Some(inverses) = inverses {
                inverses.add(unread(stream, place));
            }
            stream.edit_group(place, edit)
        })
    }

    /// Makes entries of a group anybody's to claim, which whoever waits for the stream hears of.
    pub fn group_release<R>(&mut self, place: usize, edit: impl FnOnce(&mut Group) -> R) -> R {
        self.wake_waiters();
        self.group_account(place, edit)
    }

    fn count_edit(
        &mut self,
        kind: ChangeKind,
        edit: impl FnOnce(&mut Stream, Option<&mut Inverses>) -> usize,
    ) -> usize {
        let mut count = 0;
        self.recode(|key| {
            count = key.edit_undoable(kind, |external, inverses| edit(stream_of(external), inverses));
        });
        if count > 0 {
            self.edit_undoable(kind, |_, _| ());
            self.count_as(count);
        }
        count
    }

    /// Deletes the oldest entries of the stream: how many.
    pub fn stream_trim(&mut self, trim: &Trim) -> usize {
        let mut removed = None;
        if trim.removal != Removal::KeepPending {
            self.keep();
        }
        let deleted = self.count_edit(ChangeKind::Lessened, |stream, inverses| {
            let (history, is_undoable, mut cut) = (*stream.history(), inverses.is_some(), None);
            let (deleted, trimmed) = stream.trim(trim, |node| cut = is_undoable.then(|| node.clone()));
            match inverses {
                None => removed = trimmed.if_large(),
                Some(inverses) => inverses.add(move |external, _| {
                    stream_of(external).put_back(trimmed, cut, history);
                }),
            }
            deleted as usize
        });
        removed.into_iter().for_each(|removed| self.discard(External::Stream(removed)));
        deleted
    }

    /// Removes a group of the stream; whoever waits for it hears of that.
    pub fn stream_remove_group(&mut self, place: usize) {
        self.wake_waiters();
        let removed = self.stream_account(|stream| stream.remove_group(place));
        removed.into_iter().for_each(|removed| self.discard(External::Stream(removed)));
    }

    /// Stores a stream in the place of whatever the key held.
    pub fn set_stream(&mut self, stream: Box<Stream>) {
        self.tell_overwritten(Type::Stream);
        self.set_value(Type::Stream, Encoding::Stream, Value::External(External::Stream(stream)));
    }
}

fn stream_of(external: &mut External) -> &mut Stream {
    match external {
        External::Stream(stream) => stream,
        _ => unreachable!("the caller has looked at the type"),
    }
}

/// Undoes any change to a group, which stays.
fn unread(stream: &Stream, place: usize) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let before = stream.group_at(place).clone();
    move |external, _| stream_of(external).edit_group(place, |group| *group = before)
}

/// A stream that is being loaded, piece by piece; outside of any shard.
#[derive(Default)]
pub struct NewStream {
    pub(super) stream: Box<Stream>,
    end: StreamId,
}

impl NewStream {
    /// Adds a node; none if it is damaged or does not come behind the others.
    pub fn add_node(&mut self, first: StreamId, listpack: &[u8]) -> Option<()> {
        let valid = super::stream::validated_node(first, listpack)?;
        if valid.first <= self.end && self.end != StreamId::MIN {
            return None;
        }
        self.end = valid.last;
        self.stream.load_node(first, listpack);
        Some(())
    }

    /// The stream so far.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sets what else is known of it; none if there are entries behind what is said to be the last.
    pub fn set_history(&mut self, last: StreamId, max_deleted: StreamId, added: u64) -> Option<()> {
        self.stream.set_history(last, max_deleted, added);
        (self.end <= last).then_some(())
    }

    /// What is known of producers, which begins with these limits.
    pub fn idempotency(&mut self, limits: IidLimits) -> &mut Idempotency {
        self.stream.idempotency_mut(limits)
    }

    /// Adds a group; none if there is one of this name.
    pub fn add_group(&mut self, group: Group) -> Option<()> {
        self.stream.add_group(group).then_some(())
    }
}
