//! A client's own state, as its commands see and change it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Blocking, Fieldsets, OnTimeout, Queue, Scan, Settled, TrackingOptions, Watch};
use crate::observe::{ClientInfo, flag};
use crate::pubsub::{SubscriptionKind, Subscriptions};
use crate::replicate::Replication;
use crate::replicate::primary::{About, Replica};
use crate::replicate::replica::{Applied, Link};
use crate::resp::Protocol;
use crate::security::{User, UserTable};
use crate::store::DbIndex;

/// What one connection has selected, negotiated and switched on.
pub struct Session {
    /// Selected database.
    pub db: DbIndex,
    /// Negotiated by HELLO.
    pub protocol: Protocol,
    /// What CLIENT REPLY asked for.
    pub replies: Replies,
    /// Whether it has said who it is, or needed not when it came.
    pub authenticated: bool,
    /// Who it is, as of `users_version`.
    pub user: Arc<User>,
    /// The version of the users that `user` was taken from.
    pub users_version: u64,
    /// Whether anything about the client itself may forbid a command: one look for all that hardly any client is.
    pub restricted: bool,
    /// CLIENT NO-TOUCH: reads leave the access clocks alone.
    pub no_touch: bool,
    /// Receives the MONITOR feed.
    pub monitor: bool,
    /// Closes once the replies so far are written (QUIT, protocol errors, CLIENT KILL of itself).
    pub close_after_reply: bool,
    /// No command may wait now: in a transaction.
    pub denies_blocking: bool,
    /// What the command waits for that has just run, until the worker takes it.
    pub blocking: Option<(Blocking, Settled)>,
    /// Its next command, which could share its shards, needs them to itself: it has found an expired key.
    pub needs_exclusive: bool,
    /// What its next command needs, a script that runs again because it was refused a lease.
    pub script_retry: Option<ScriptRetry>,
    /// How far a SCAN has come that goes on in the next turn.
    pub scan: Option<Box<Scan>>,
    /// Row of the last command; `u16::MAX` before the first.
    pub last_row: u16,
    /// Commands that have run.
    pub commands_run: u64,
    /// The reply to a command that has run and changes how others' commands run, until all leases have been held once.
    pub withheld_reply: Option<Vec<u8>>,
    /// The transaction that MULTI has begun.
    pub multi: Option<Box<Queue>>,
    /// What WATCH watches.
    pub watch: Option<Box<Watch>>,
    /// What it has subscribed to; none if that is nothing.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// The names of fields that it has prepared for HIMPORT; none if there are none.
    pub fieldsets: Option<Box<Fieldsets>>,
    /// What it has asked for that keeps copies of keys.
    pub tracking: Option<Box<TrackingOptions>>,
    /// Whether it speaks RESP2 and has subscribed, so that it may run few commands.
    pub only_listens: bool,
    /// Up to where its worker's inbox is to be read before a command of it runs that subscribes, if that had to wait; and which
    /// worker's that is, as the connection may move meanwhile.
    pub awaited_place: Option<(usize, u64)>,
    /// What it has said of itself that is about to become a replica.
    pub about: Option<Box<About>>,
    /// It is a replica.
    pub replica: Option<Arc<Replica>>,
    /// The last ticket under which it has changed something; 0 for none.
    pub written_ticket: u64,
    /// What its command has waited for, which runs again.
    pub waited_for: OnTimeout,
    /// Its commands repeat what a primary or an append-only file says has been done.
    pub repeats: bool,
    /// What it has applied, if it is the connection to this server's primary.
    pub upstream: Option<Box<Applied>>,
    /// What other workers may know.
    pub client_info: Arc<ClientInfo>,
}

/// Which replies a client wants (CLIENT REPLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None, until switched on again.
    Off,
    /// Not the next command's.
    SkipNext,
    /// Not this command's.
    SkipThis,
}

/// What a script needs that runs again, besides the leases of the keys that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptRetry {
    /// Those of the keys that it has met, by their hashes.
    Met(Vec<u64>),
    /// All leases.
    All,
}

impl Session {
    /// A new connection's state: it is the default user, who may have to say so.
    pub fn new(client_info: Arc<ClientInfo>, users: &UserTable) -> Self {
        let user = Arc::clone(users.default_user());
        let authenticated = user.is_open();
        client_info.authenticated.store(authenticated, Relaxed);
        client_info.user.store(Arc::clone(&user));
        Self { users_version: users.version(), ..Self::of(client_info, user, authenticated) }
    }

    /// The state of the server's own client, who may do everything.
    pub fn superuser(client_info: Arc<ClientInfo>) -> Self {
        Self { users_version: u64::MAX, ..Self::of(client_info, User::superuser(), true) }
    }

    fn of(client_info: Arc<ClientInfo>, user: Arc<User>, authenticated: bool) -> Self {
        Self {
            restricted: !authenticated || !user.is_unrestricted(),
            user,
            users_version: 0,
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            replies: Replies::On,
            authenticated,
            no_touch: false,
            monitor: false,
            close_after_reply: false,
            denies_blocking: false,
            blocking: None,
            needs_exclusive: false,
            script_retry: None,
            scan: None,
            last_row: u16::MAX,
            commands_run: 0,
            withheld_reply: None,
            multi: None,
            watch: None,
            subscriptions: None,
            fieldsets: None,
            tracking: None,
            only_listens: false,
            awaited_place: None,
            about: None,
            replica: None,
            written_ticket: 0,
            waited_for: OnTimeout::NullArray,
            repeats: false,
            upstream: None,
            client_info,
        }
    }

    /// What stands in for a client's state while another worker, perhaps, serves its waiting command.
    pub fn stand_in(client_info: Arc<ClientInfo>, db: DbIndex, protocol: Protocol) -> Self {
        let (authenticated, no_touch) =
            (client_info.authenticated.load(Relaxed), client_info.has(flag::NO_TOUCH));
        let user = client_info.user.load_full();
        Self { db, protocol, no_touch, ..Self::of(client_info, user, authenticated) }
    }

    /// The commands of a primary's stream have run up to `end` of this source.
    pub fn advance_upstream(&mut self, source: &[u8], end: usize, replication: &Replication, link: &Link) {
        let (is_queueing, db) = (self.multi.is_some(), self.db);
        if let Some(applied) = &mut self.upstream {
            applied.advance(source, end, is_queueing, &replication.stream);
            // This server's own replicas get it from there.
            replication.wake(replication.replicas.take_drained());
            link.select(db);
        }
    }

    /// Whether its next command is a script that runs again under all leases.
    pub fn needs_all_for_script(&self) -> bool {
        self.script_retry == Some(ScriptRetry::All)
    }

    /// The hashes of keys that its next command needs, a script that runs again, besides those that it names.
    pub fn met_by_script(&self) -> &[u64] {
        match &self.script_retry {
            Some(ScriptRetry::Met(hashes)) => hashes,
            _ => &[],
        }
    }

    /// SELECT.
    pub fn select(&mut self, db: DbIndex) {
        self.db = db;
        self.client_info.db.store(db.0, Relaxed);
    }

    /// HELLO's protocol version.
    pub fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.client_info.protocol.store(if protocol == Protocol::Resp3 { 3 } else { 2 }, Relaxed);
        self.only_listens = protocol == Protocol::Resp2 && self.is_subscriber();
        self.note_restrictions();
    }

    /// Whether it has subscribed to anything.
    #[inline]
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.is_some()
    }

    /// What it has subscribed to has changed: its client info says so.
    pub fn show_subscriptions(&mut self) {
        let counts = [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard]
            .map(|kind| self.subscriptions.as_ref().map_or(0, |all| all.len(kind) as u32));
        for (shown, count) in self.client_info.subscription_counts.iter().zip(counts) {
            shown.store(count, Relaxed);
        }
        self.client_info.set(flag::SUBSCRIBER, self.is_subscriber());
        self.only_listens = self.protocol == Protocol::Resp2 && self.is_subscriber();
        self.note_restrictions();
    }

    /// How it is told of changed keys has changed: its client info says so.
    pub fn show_tracking(&self) {
        let (tracking, client_info) = (self.tracking.as_ref(), &self.client_info);
        let redirect = tracking.map_or(-1, |all| all.redirect.as_ref().map_or(0, |to| to.id as i64));
        client_info.redirect.store(redirect, Relaxed);
        client_info.set(flag::TRACKING | flag::BROADCAST | flag::BROKEN_REDIRECT, false);
        client_info.set(flag::TRACKING, tracking.is_some());
        if tracking.is_some_and(|all| all.broadcast) {
            client_info.set(flag::BROADCAST, true);
        }
    }

    /// CLIENT CACHING concerns the next command only, or the transaction that it begins.
    pub fn end_caching(&mut self) {
        if let Some(tracking) = &mut self.tracking {
            tracking.caching = false;
        }
    }

    /// It is this user from now on, who has given a password where one was asked for, or (not `authenticated`) is yet to.
    pub fn be(&mut self, user: &Arc<User>, users_version: u64, authenticated: bool) {
        self.authenticated = authenticated;
        self.client_info.authenticated.store(authenticated, Relaxed);
        self.user = Arc::clone(user);
        self.users_version = users_version;
        self.client_info.user.store(Arc::clone(user));
        self.note_restrictions();
    }

    /// Takes up what has become of its user; `false` if that is gone.
    pub fn renew_user(&mut self, users: &UserTable) -> bool {
        // Whoever has looked later knows better.
        if self.users_version >= users.version() {
            return true;
        }
        let Some(user) = users.renewed(&self.user) else { return false };
        if Arc::ptr_eq(user, &self.user) {
            self.users_version = users.version();
        } else {
            self.be(user, users.version(), self.authenticated);
        }
        true
    }

    /// From now on it receives the MONITOR feed.
    pub fn monitor(&mut self) {
        self.monitor = true;
        self.note_restrictions();
    }

    /// It is a replica from now on.
    pub fn follow(&mut self, replica: Arc<Replica>) {
        self.replica = Some(replica);
        self.note_restrictions();
    }

    fn note_restrictions(&mut self) {
        let is_client = !self.monitor && self.replica.is_none() && !self.only_listens;
        self.restricted = !self.authenticated || !is_client || !self.user.is_unrestricted();
    }

    /// Ends the connection once the replies so far are written.
    pub fn close_after_reply(&mut self) {
        self.close_after_reply = true;
        self.client_info.set(flag::CLOSE_AFTER_REPLY, true);
    }

    /// Whether what a command of a transaction replies is left out. What a SKIP among them asks for begins after EXEC.
    #[inline]
    pub fn is_silent(&self) -> bool {
        matches!(self.replies, Replies::Off | Replies::SkipThis) || self.close_after_reply
    }

    /// RESET: as if newly connected, but for the name of the library. A SKIP before it concerns its own reply.
    pub fn reset(&mut self, users: &UserTable) {
        self.discard();
        self.monitor = false;
        self.select(DbIndex(0));
        self.speak(Protocol::Resp2);
        self.be(users.default_user(), users.version(), users.default_user().is_open());
        if self.replies == Replies::Off {
            self.replies = Replies::On;
        }
        self.no_touch = false;
        self.fieldsets = None;
        self.client_info.name.store(None);
        self.client_info.set(flag::MONITOR | flag::NO_EVICT | flag::NO_TOUCH, false);
    }
}
