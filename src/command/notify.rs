//! Keyspace notifications: events on keys, published to those who have subscribed to them.
//!
//! Design: one more listener to what commands change (`store::Changes`). Behind each command, while its leases are held, the events
//! that it has raised go to the channels `__keyspace@DB__:KEY` and `__keyevent@DB__:EVENT`, as Redis names them, the way PUBLISH
//! goes. So the notifications about a key are in the order of its changes, and one is never seen before its change.
//!
//! Costs: nobody asking for any, the branch that asks whether anybody listens to changes. Nobody subscribed to anything, two loads.
//! Not here: which events there are (`store::changes`), how messages are delivered (`crate::pubsub`).

use std::io::Write as _;

use super::recorder::is_listened;
use super::{Effect, Shared};
use crate::config::KeyspaceEvents;
use crate::pubsub::SubscriptionKind;
use crate::store::{Changes, Class};

/// Has changes kept for those who listen; asked for under a lease. `notified` are the events that are published.
#[inline]
pub fn listen(changes: &mut Changes, shared: &Shared, notified: KeyspaceEvents) {
    let is_recorded = is_listened(shared);
    changes.listen(is_recorded | notified.is_any() | shared.pubsub.tracking.is_on());
    changes.keep_effects(is_recorded);
}

/// Publishes the events that were raised since this was called last, up to the unit's first `until` ones. The leases of their keys
/// are held.
#[cold]
pub fn notify(
    changes: &mut Changes,
    shared: &Shared,
    notified: KeyspaceEvents,
    until: usize,
    effects: &mut Vec<Effect>,
) {
    if notified.is_any() && !shared.pubsub.is_silent() {
        let mut channel = Vec::new();
        let mut publish = |channel: &[u8], text: &[u8]| {
            let hash = shared.keyspace.hash(channel);
            shared.pubsub.publish(
                SubscriptionKind::Channel,
                hash,
                channel,
                text,
                |worker, place, message| {
                    effects.push(Effect::Publish { worker, place, message });
                },
            );
        };
        for (event, db, key) in changes.untold_events(until) {
            if !notified.contains(class(event.class)) {
                continue;
            }
            if notified.contains(KeyspaceEvents::KEYSPACE) {
                name(&mut channel, "keyspace", db.0, key);
                publish(&channel, event.name.as_bytes());
            }
            if notified.contains(KeyspaceEvents::KEYEVENT) {
                name(&mut channel, "keyevent", db.0, event.name.as_bytes());
                publish(&channel, key);
            }
        }
    }
    changes.told(until);
}

fn name(channel: &mut Vec<u8>, space: &str, db: u32, rest: &[u8]) {
    channel.clear();
    write!(channel, "__{space}@{db}__:").expect("writing to memory does not fail");
    channel.extend_from_slice(rest);
}

/// The flag of `notify-keyspace-events` that asks for a class.
fn class(class: Class) -> u32 {
    match class {
        Class::Generic => KeyspaceEvents::GENERIC,
        Class::String => KeyspaceEvents::STRING,
        Class::List => KeyspaceEvents::LIST,
        Class::Set => KeyspaceEvents::SET,
        Class::Hash => KeyspaceEvents::HASH,
        Class::SortedSet => KeyspaceEvents::ZSET,
        Class::Stream => KeyspaceEvents::STREAM,
        Class::Module => KeyspaceEvents::MODULE,
        Class::Expired => KeyspaceEvents::EXPIRED,
        Class::Evicted => KeyspaceEvents::EVICTED,
        Class::KeyMiss => KeyspaceEvents::KEY_MISS,
        Class::New => KeyspaceEvents::NEW,
        Class::Overwritten => KeyspaceEvents::OVERWRITTEN,
        Class::TypeChanged => KeyspaceEvents::TYPE_CHANGED,
    }
}
