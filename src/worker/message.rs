//! What workers tell each other: messages, and the inbox of each.
//!
//! Bounds: a message is never dropped, and who sends one never waits. What an inbox has no room for waits at its sender, and there
//! may be as much of it as there are clients, of which each has one message at most that concerns itself (it moves, is ended,
//! has its reply). What commands can leave without end, published messages and lines of the MONITOR feed, is bounded before they run:
//! while an inbox [is full](Inbox::is_full) no group is formed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::blocking::Served;
use super::message_ring::{Receiver, Sender, Sleep, inbox};
use super::moving::MovingConnection;
use crate::command::Unblocking;
use crate::config::WORKERS_MAX;
use crate::io::{Socket, Token, Waker};
use crate::observe::{ClientPlace, WaitId};
use crate::pubsub::{Invalidation, PubSub, PublishedMessage, RightsLost};
use crate::store::{HOLDERS_MAX, WantedMask};

/// A message from one worker to another.
pub enum Message {
    /// A new connection that is to live on the receiving worker.
    Connection(Socket),
    /// A connection that comes from another worker.
    Moving(Box<MovingConnection>),
    /// The client info of a client that has left this worker's registry slot: the slot's number.
    RegistrySlot(u32),
    /// End this client; its client info is marked.
    Kill {
        /// The connection's slot.
        slot: u32,
        /// The slot's generation.
        generation: u32,
    },
    /// The reply to a command of a client that waited.
    Served(Box<Served>),
    /// A client's wait was ended from elsewhere: it is to be told.
    Unblock {
        /// The connection.
        token: Token,
        /// Which of its waits.
        wait_id: WaitId,
        /// What became of it.
        how: Unblocking,
    },
    /// Lines for the clients that receive the MONITOR feed.
    Monitor(Arc<[u8]>),
    /// A published message, for the clients that listen.
    Published(Arc<PublishedMessage>),
    /// A key has changed that clients may have copies of.
    Invalidate(Invalidation),
    /// Encoded keys that have changed, told to this client in the place of another.
    Redirected(ClientPlace, Arc<[u8]>),
    /// A user may not listen to some channels any more: clients that do are ended.
    RightsLost(Arc<RightsLost>),
    /// A replica has said how far it is: clients may wait for that.
    Acknowledged,
    /// Something shared has changed (configuration, pause, shutdown): look at it.
    Look,
    /// Give back what memory is free.
    Purge,
}

/// Messages that may wait at their sender before its commands wait too.
const WAITING_MAX: usize = 1024;
/// Bytes of the MONITOR feed and of published messages that may be under way between all workers before their commands wait.
const FEED_BYTES_MAX: usize = 8 << 20;
/// Shorter messages are not counted: there are only so many at a time.
const MESSAGE_BYTES_COUNTED_MIN: usize = 1024;

impl Message {
    /// What it counts for in the bytes under way.
    fn feed_bytes(&self) -> usize {
        let bytes = match self {
            Message::Monitor(lines) => lines.len(),
            Message::Published(message) => message.bytes(),
            _ => 0,
        };
        if bytes < MESSAGE_BYTES_COUNTED_MIN { 0 } else { bytes }
    }
}

/// One worker's inbox, and its ways to the others'.
pub struct Inbox {
    me: usize,
    /// To all workers, itself included.
    outgoing: Vec<Sender<Message>>,
    incoming: Receiver<Message>,
    /// What did not fit into an inbox, with its place there, by receiver.
    waiting: Vec<VecDeque<(u64, Message)>>,
    waiting_count: usize,
    /// Bytes under way between all workers, of what is counted.
    feed_bytes: Arc<AtomicUsize>,
    sleeps: Arc<[Sleep]>,
    wakers: Vec<Waker>,
    /// Receivers of messages sent in this turn, to be woken if they sleep.
    sent_to: u64,
    /// Messages sent, wake-ups sent.
    pub counts: (u64, u64),
}

const _: () = assert!(WORKERS_MAX <= HOLDERS_MAX);

/// The inboxes of all workers; `wakers[i]` wakes worker `i`.
pub fn inboxes(wakers: &[Waker], pubsub: &PubSub) -> Vec<Inbox> {
    let count = wakers.len();
    assert!(count <= WORKERS_MAX, "the directive allows no more");
    let sleeps: Arc<[Sleep]> = (0..count).map(|_| Sleep::default()).collect();
    let feed_bytes = Arc::new(AtomicUsize::new(0));
    let inboxes = (0..count).map(|me| inbox(pubsub.inbox(me).places()));
    let (outgoing, incoming): (Vec<_>, Vec<_>) = inboxes.unzip();
    let inbox = |(me, incoming)| Inbox {
        me,
        outgoing: outgoing.clone(),
        incoming,
        waiting: (0..count).map(|_| VecDeque::new()).collect(),
        waiting_count: 0,
        feed_bytes: Arc::clone(&feed_bytes),
        sleeps: Arc::clone(&sleeps),
        wakers: wakers.to_vec(),
        sent_to: 0,
        counts: (0, 0),
    };
    incoming.into_iter().enumerate().map(inbox).collect()
}

impl Inbox {
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.sleeps.len()
    }

    /// Leaves a message for another worker. It is woken by [`Self::deliver`].
    pub fn send(&mut self, target: usize, message: Message) {
        assert!(target != self.me, "a worker sends itself nothing but messages that have a place");
        let place = self.outgoing[target].draw();
        self.put(target, place, message);
    }

    /// Leaves a message in a place of an inbox that was drawn for it.
    pub fn put(&mut self, target: usize, place: u64, message: Message) {
        self.counts.0 += 1;
        self.sent_to |= 1 << target;
        let bytes = message.feed_bytes();
        if bytes > 0 {
            self.feed_bytes.fetch_add(bytes, Relaxed);
        }
        if let Err(message) = self.outgoing[target].put(place, message) {
            self.waiting[target].push_back((place, message));
            self.waiting_count += 1;
        }
    }

    /// Whether it has left something in its own inbox in this turn.
    pub fn has_sent_itself(&self) -> bool {
        self.sent_to >> self.me & 1 == 1
    }

    /// Whether so much is under way that no further command may run that could add to it.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.waiting_count >= WAITING_MAX || self.feed_bytes.load(Relaxed) >= FEED_BYTES_MAX
    }

    /// Messages that wait for room in an inbox.
    pub fn waiting_count(&self) -> usize {
        self.waiting_count
    }

    /// Leaves a message for all other workers.
    pub fn send_all(&mut self, mut message: impl FnMut() -> Message) {
        let me = self.me;
        for target in (0..self.workers()).filter(|target| *target != me) {
            self.send(target, message());
        }
    }

    /// Sends what did not fit before and wakes the receivers that sleep.
    pub fn deliver(&mut self) {
        for (target, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some((place, message)) = waiting.pop_front() {
                if let Err(message) = self.outgoing[target].put(place, message) {
                    waiting.push_front((place, message));
                    break;
                }
                self.sent_to |= 1 << target;
                self.waiting_count -= 1;
            }
        }
        let mut targets = std::mem::take(&mut self.sent_to);
        while targets != 0 {
            self.wake(targets.trailing_zeros() as usize);
            targets &= targets - 1;
        }
    }

    /// Whether messages wait for room in an inbox.
    pub fn has_waiting(&self) -> bool {
        self.waiting_count > 0
    }

    /// Wakes a worker if it sleeps.
    pub fn wake(&mut self, target: usize) {
        if target != self.me && self.sleeps[target].must_wake() {
            self.counts.1 += 1;
            self.wakers[target].wake();
        }
    }

    /// Wakes the workers that want a lease that was given back.
    #[inline]
    pub fn wake_wanting(&mut self, mask: WantedMask) {
        if !mask.is_empty() {
            mask.workers(self.workers()).for_each(|worker| self.wake(worker));
        }
    }

    /// How far the inbox was read, and up to where places in it were drawn.
    pub fn progress(&self) -> (u64, u64) {
        (self.incoming.head(), self.incoming.drawn())
    }

    /// The next message.
    #[inline]
    pub fn receive(&mut self) -> Option<Message> {
        let message = self.incoming.receive()?;
        let bytes = message.feed_bytes();
        if bytes > 0 {
            self.feed_bytes.fetch_sub(bytes, Relaxed);
        }
        Some(message)
    }

    /// Announces that this worker parks; `false` when a message has come and it should not.
    pub fn park(&mut self) -> bool {
        let sleep = &self.sleeps[self.me];
        sleep.park();
        let empty = self.incoming.is_empty();
        if !empty {
            sleep.unpark();
        }
        empty
    }

    /// This worker is awake.
    pub fn unpark(&self) {
        self.sleeps[self.me].unpark();
    }
}
