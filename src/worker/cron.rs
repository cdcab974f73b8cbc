//! Cron of the home shards and of the connections, in slices within a time budget.
//!
//! Design: as Redis's cron, `hz` times a second; each tick spends at most [`BUDGET_US`] and remembers where it stopped. A home
//! shard is touched under its lease like any other, and skipped if another worker holds it right now. A round over the home
//! shards begins only when there may be something to do: a worker has run commands of shards since the last one began, the
//! earliest deadline seen in it has come, or another chunk of the pool is to be emptied. Connections likewise are only looked at
//! after something arrived for one of them, or when time itself may end one. Once all this has been quiet for a while, ticks come
//! once a second (`dynamic-hz`); the first event brings them back.
//!
//! Invariants: what other workers write to home shards is noticed by the next tick, at most [`QUIET_PERIOD_MS`] later.
//!
//! Costs: a tick of a quiet server reads two words per worker and one line of /proc.
//!
//! Not here: growth of tables, which happens where the insert happens (`store`).

use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::command::{Bracket, Shared, hand_over, invalidate, listen, notify};
use crate::io::Io;
use crate::net::connection::BlockReason;
use crate::observe::RATE_SAMPLES;
use crate::store::pool::POOL;
use crate::store::{Deletion, Expired, ShardId};

/// Most that one tick takes, in us: short against the latency of a request over a network.
const BUDGET_US: u64 = 500;
/// Time between ticks while there is more to do than one tick may take, in ms.
const PAUSE_MS: u64 = 2;
/// Entries that one shard may expire before the clock is looked at again.
const EXPIRE_ENTRIES_MAX: usize = 128;
/// Connections looked at in one tick.
const CONNECTIONS_PER_TICK: u32 = 512;
/// Ticks without anything to do before they come more slowly. The first worker's: longer than the rates of INFO look back,
/// which it measures.
const QUIET_TICKS_MIN_FIRST: u32 = 20;
/// The other workers': until a window without load has shown that they have none.
const QUIET_TICKS_MIN: u32 = 3;
/// Time between ticks then, in ms.
const QUIET_PERIOD_MS: u64 = 1000;
/// Time from one look for ends of connections that were not reported to the next, in ms: each end is to be seen within a second.
const LOOK_PERIOD_MS: u64 = 250;
/// Most ticks a second with many clients, as in Redis.
const HZ_MAX: u64 = 500;

const _: () = assert!(QUIET_TICKS_MIN_FIRST as usize > RATE_SAMPLES);

/// Where the cron stands.
pub(super) struct Cron {
    next_ms: u64,
    /// Home shards still to be visited in this round.
    shards_left: usize,
    /// Whether a shard of this round has more to do than it was given time for.
    pending: bool,
    /// What was seen when this round, or the last one, began; none before the first.
    seen: Option<Activity>,
    /// The earliest deadline that this round, or the last one, has left in the home shards.
    due_ms: u64,
    /// Connections below this have been looked at in this pass.
    slot: u32,
    /// The last turn with an event, and the one in which this pass over the connections, or the last one, began.
    events_turn: u64,
    pass_turn: u64,
    /// Whether the pass has seen a connection that time may end.
    waits: bool,
    /// When ends of connections were last looked for, and the turn.
    looked_ms: u64,
    looked_turn: u64,
    /// Ticks in a row without anything to do, and after how many the worker is quiet.
    quiet_ticks: u32,
    quiet_ticks_min: u32,
}

/// What changes whenever the home shards may need a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Activity {
    busy_turns: u64,
    evacuation: u64,
}

impl Activity {
    fn now(shared: &Shared) -> Self {
        let busy_turns = shared.stats.all().iter().map(|worker| worker.busy_turns.read()).sum();
        Self { busy_turns, evacuation: POOL.evacuation_number() }
    }
}

impl Cron {
    pub(super) fn new(worker: usize, now_ms: u64) -> Self {
        Self {
            next_ms: now_ms,
            shards_left: 0,
            pending: false,
            seen: None,
            due_ms: 0,
            slot: 0,
            events_turn: 0,
            pass_turn: 0,
            waits: false,
            looked_ms: 0,
            looked_turn: 0,
            quiet_ticks: 0,
            quiet_ticks_min: if worker == 0 { QUIET_TICKS_MIN_FIRST } else { QUIET_TICKS_MIN },
        }
    }

    /// How long until there is cron to do.
    pub(super) fn due_in_ms(&self, now_ms: u64) -> u64 {
        self.next_ms.saturating_sub(now_ms)
    }

    /// Makes the next tick come at once, and do everything.
    pub(super) fn hurry(&mut self) {
        self.next_ms = 0;
        self.seen = None;
        self.quiet_ticks = 0;
    }

    /// There is something to look at by then.
    pub(super) fn come_by(&mut self, at_ms: u64) {
        self.next_ms = self.next_ms.min(at_ms);
    }

    /// Something has arrived in this turn.
    pub(super) fn note_events(&mut self, turn: u64) {
        self.events_turn = turn;
    }

    /// Whether nothing has happened for a while.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet_ticks >= self.quiet_ticks_min
    }
}

impl<I: Io> Worker<I> {
    /// A tick, if one is due.
    pub(super) fn cron(&mut self) {
        let now_ms = self.clock.now_ms();
        if now_ms < self.cron.next_ms {
            if !self.loads && self.memory.is_behind() && self.cron_memory() {
                self.cron.next_ms = self.cron.next_ms.min(now_ms + PAUSE_MS);
            }
            if self.cron.is_quiet() && self.cron.events_turn == self.turn {
                self.cron.quiet_ticks = 0;
                self.cron.next_ms = self.cron.next_ms.min(now_ms + self.period_ms());
            }
            return;
        }
        let start = self.clock.ticks();
        let activity = Activity::now(&self.shared);
        let quiet = !self.shards_need(activity, now_ms) && !self.connections_need();
        // Nothing expires and nothing is evicted before all is loaded.
        let pending = !self.loads && (self.cron_shards(start, activity) | self.cron_memory());
        self.shared.stats.gauges.share(self.stats());
        self.watch_big_keys();
        self.cron_connections(now_ms);
        self.cron_scripts();
        if self.number == 0 {
            self.shared.stats.gauges.tick(&self.shared.stats, now_ms);
            self.end_tracking_keys(now_ms);
            self.shared.migrations.tend();
        }
        self.save_when_due(now_ms);
        self.rewrite_when_due(now_ms);
        self.back_up_when_due(now_ms);
        self.cron_replicas(now_ms);
        self.cron_syncing(now_ms);
        self.judge_waste(now_ms);
        let rests = quiet && !pending && !self.defrag.is_busy();
        self.reclaim(now_ms, rests);
        self.cron.quiet_ticks = if rests { self.cron.quiet_ticks.saturating_add(1) } else { 0 };
        self.cron.next_ms = now_ms + if pending { PAUSE_MS } else { self.rest_ms(now_ms) };
        self.tend_upstream(now_ms);
        self.tend_failover(now_ms);
        self.tend_end(now_ms);
        let sums = self.processor.mark();
        self.end_window(sums);
        self.stats().counters.cron_ns.add(self.clock.ns_between(start, self.clock.ticks()));
    }

    /// Frees what the interpreter has of scripts and libraries that are gone: whoever removed them was one worker.
    fn cron_scripts(&mut self) {
        let (scripts, script_state) = (&self.shared.scripts, &self.shared.script_state);
        if let Some(engine) = &mut self.execution.scripting.engine {
            engine.forget_all(scripts);
            engine.follow_script_state(script_state);
            self.shared.stats.all()[self.number].interpreter_bytes.set(engine.bytes().0 as u64);
        }
        if self.number == 0 {
            script_state.tidy_shared_engine();
        }
    }

    /// Whether the home shards may have something to do.
    fn shards_need(&self, activity: Activity, now_ms: u64) -> bool {
        let cron = &self.cron;
        cron.shards_left > 0 || cron.pending || cron.seen != Some(activity) || now_ms >= cron.due_ms
    }

    /// Whether connections are to be looked at.
    fn connections_need(&self) -> bool {
        let cron = &self.cron;
        let timed = self.config.config().timeout > 0 && !self.connections.is_empty();
        timed
            || cron.waits
            || self.stopping
            || !self.paused.is_empty()
            || cron.slot < self.connections.bound()
            || cron.events_turn >= cron.pass_turn.min(cron.looked_turn)
    }

    /// Time from one tick to the next while there is something to do, in ms.
    fn period_ms(&self) -> u64 {
        let config = self.config.config();
        let mut hz = u64::from(config.hz.max(1));
        // So that each connection is looked at about once a second.
        while config.dynamic_hz
            && hz < HZ_MAX
            && self.connections.len() as u64 > hz * u64::from(CONNECTIONS_PER_TICK)
        {
            hz *= 2;
        }
        1000 / hz.min(HZ_MAX)
    }

    /// Time to the next tick when this one has done all it was to do, in ms.
    fn rest_ms(&self, now_ms: u64) -> u64 {
        let period_ms = self.period_ms();
        if !self.cron.is_quiet() || !self.reclaim.is_done() || !self.config.config().dynamic_hz {
            return period_ms;
        }
        self.cron.due_ms.saturating_sub(now_ms).clamp(period_ms, QUIET_PERIOD_MS.max(period_ms))
    }

    /// Visits home shards until the round or the budget ends; whether something is left to do.
    fn cron_shards(&mut self, start: u64, activity: Activity) -> bool {
        if !self.shards_need(activity, self.clock.now_ms()) {
            return false;
        }
        if self.cron.shards_left == 0 {
            self.cron.shards_left = self.shared.keyspace.home_count(self.number);
            self.cron.pending = false;
            self.cron.seen = Some(activity);
            self.cron.due_ms = u64::MAX;
        }
        while self.cron.shards_left > 0 {
            self.cron.shards_left -= 1;
            let shard = self.shared.keyspace.home_shard(self.number, self.cron.shards_left);
            let more = if self.execution.leases.try_take(shard) { self.cron_shard(shard) } else { true };
            self.cron.pending |= more;
            if self.clock.ns_between(start, self.clock.ticks()) > BUDGET_US * 1000 {
                self.stats().counters.expired_time_cap_reached.add(u64::from(more));
                break;
            }
        }
        self.cron.pending || self.cron.shards_left > 0
    }

    /// Expires and frees in a shard whose lease is held, and gives it back; whether something is left to do there.
    fn cron_shard(&mut self, shard: ShardId) -> bool {
        self.io.yield_point();
        let keeps_expired = self.shared.keeps_expired(self.clock.now_ms());
        let active = !keeps_expired
            && !self.shared.journal.is_full()
            && !self.shared.debug.no_active_expire.load(Relaxed);
        let home = self.execution.leases.shard(shard);
        let before = home.stats;
        let mut more = !home.cron(EXPIRE_ENTRIES_MAX);
        if active {
            let (changes, journal, shared) =
                (&mut self.execution.changes, &mut self.execution.journal, &self.shared);
            let (notified, effects) =
                (self.config.config().notify_keyspace_events, &mut self.execution.effects);
            listen(changes, shared, notified);
            let deletion = Deletion::by(self.config.config().lazyfree_lazy_expire);
            let (tracks, mut gone) = (self.shared.pubsub.tracking.is_on(), Vec::new());
            let mut on_expired = |db, key: &[u8], what: Expired<'_>| {
                if let Some(changes) = changes.listener() {
                    if tracks && !matches!(what, Expired::Subkey(_)) {
                        gone.push(key.to_vec());
                    }
                    changes.expired_actively(db, key, what, deletion);
                    notify(changes, shared, notified, usize::MAX, effects);
                    hand_over(changes, shared, journal, Bracket::None);
                }
            };
            more |= !home.expire_due(self.clock.now_ms(), EXPIRE_ENTRIES_MAX, &mut on_expired).done;
            gone.iter().for_each(|key| {
                invalidate(&self.shared, &mut self.execution.leases, key, 0, &mut self.execution.effects);
            });
        }
        let home = self.execution.leases.shard(shard);
        if home.has_ready() {
            self.lost.push(shard);
        }
        self.cron.due_ms = self.cron.due_ms.min(home.expire_due_ms());
        let expired = home.stats.expired - before.expired;
        let expired_subkeys = home.stats.expired_subkeys - before.expired_subkeys;
        let stats = self.shared.stats.of(self.number);
        self.shared.stats.gauges.note(stats, shard, self.shared.keyspace.shard_count(), home);
        self.execution.journal.publish(&self.shared.journal);
        let wanted = self.execution.leases.release_all();
        self.inbox.wake_wanting(wanted);
        self.act();
        self.stats().counters.expired_keys.add(expired);
        self.stats().counters.expired_subkeys.add(expired_subkeys);
        more
    }

    /// Closes idle clients, lets paused ones go on, counts memory.
    fn cron_connections(&mut self, now_ms: u64) {
        if self.shared.pause.until_ms() <= now_ms && !self.paused.is_empty() {
            self.resume_paused();
        }
        if !self.connections_need() {
            return;
        }
        // The clock may have been set back.
        if now_ms.abs_diff(self.cron.looked_ms) >= LOOK_PERIOD_MS {
            (self.cron.looked_ms, self.cron.looked_turn) = (now_ms, self.turn);
            self.io.look_for_ends();
        }
        let timeout_ms = u64::from(self.config.config().timeout) * 1000;
        let bound = self.connections.bound();
        if self.cron.slot >= bound {
            self.cron.slot = 0;
            self.cron.waits = false;
            // What arrived in this turn may yet show when its replies leave.
            self.cron.pass_turn = self.turn;
            self.recount_clients();
            self.tell_client_bytes();
        }
        let end = bound.min(self.cron.slot + CONNECTIONS_PER_TICK);
        for slot in self.cron.slot..end {
            let Some(connection) = self.connections.get(slot) else { continue };
            let active_ms = connection.session.client_info.active_ms.load(Relaxed);
            let idle = timeout_ms > 0 && now_ms.saturating_sub(active_ms) > timeout_ms;
            let token = connection.token;
            // One that does not read its replies is idle too; one that waits for something is not.
            let may_close = matches!(connection.block_reason, BlockReason::None | BlockReason::Output);
            let session = &connection.session;
            let is_exempt = session.monitor || session.upstream.is_some() || session.replica.is_some();
            if idle && may_close && !is_exempt {
                let client_info = &connection.session.client_info;
                log::debug!("Closing idle client id={} addr={}", client_info.id, client_info.address);
                self.close(token);
            } else if connection.soft_limit_since_ms > 0 {
                self.cron.waits = true;
                self.make_dirty(slot);
            }
        }
        self.cron.slot = end;
    }
}
