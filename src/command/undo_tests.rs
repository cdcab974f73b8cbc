//! What a script leaves that is taken back, and in which order what stays is released.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::super::{
    Bracket, DebugSwitches, Facts, Pause, Queue, Rng, Scripting, Session, Shared, Shutdown, TrackingOptions,
    make_users, table,
};
use super::*;
use crate::config::Config;
use crate::config::live::Live;
use crate::observe::{ClientInfo, ClientPlace, Registry, RegistrySlot, SlowLog, Stats};
use crate::persist::journal::Writer;
use crate::pubsub::{Invalidation, PubSub};
use crate::replicate::Replication;
use crate::resp::{Output, Protocol, Reply, Span};
use crate::store::snapshot::{OnFlush, Snapshot};
use crate::store::{AccessClock, Changes, DbIndex, Keyspace, KeyspaceOptions, Leases, WatchFlag};

const NOW_MS: u64 = 1_800_000_000_000;
const WORKERS: usize = 2;

fn share() -> Arc<Shared> {
    let keyspace = KeyspaceOptions { shards: 16, databases: 16, workers: WORKERS, hash_seed: 1 };
    Arc::new(Shared {
        keyspace: Arc::new(Keyspace::new(keyspace)),
        clients: Registry::new(WORKERS),
        stats: Stats::new(WORKERS, table().rows().len()),
        slowlog: SlowLog::default(),
        pause: Pause::default(),
        shutdown: Shutdown::default(),
        active_workers: AtomicUsize::new(WORKERS),
        monitoring: Default::default(),
        pubsub: PubSub::new(WORKERS),
        attack_warned_ms: Default::default(),
        facts: Facts {
            run_id: String::new(),
            started_ms: NOW_MS,
            workers: WORKERS,
            io_backend: "sim",
            tcp_port: 0,
            tls_port: 0,
        },
        tls: Default::default(),
        link: Default::default(),
        migrations: crate::command::Migrations::default(),
        scripts: Default::default(),
        script_state: Default::default(),
        busy: Default::default(),
        background: Arc::default(),
        backups: Arc::default(),
        last_save: Arc::default(),
        loading: Default::default(),
        journal: Default::default(),
        append_only: Arc::default(),
        replay: Default::default(),
        replication: Arc::new(Replication::new(1)),
        debug: DebugSwitches::default(),
        users: make_users(&Config::default()).expect("no users are declared"),
        config_file: None,
        config: Live::new(Config::default()),
    })
}

/// A worker that runs a script, and the leases of another one.
struct Scene {
    shared: Arc<Shared>,
    config: Arc<Config>,
    session: Session,
    me: Leases,
    other: Leases,
    rng: Rng,
    effects: Vec<Effect>,
    queues: Vec<Queue>,
    changes: Changes,
    scripting: Scripting,
    undo: Undo,
    journal: Writer,
}

impl Scene {
    fn new() -> Scene {
        let shared = share();
        let place = ClientPlace { worker: 0, slot: 1, generation: 1 };
        let registry_slot = RegistrySlot { worker: 0, number: 0 };
        let client = ClientInfo::new(1, registry_slot, place, String::new(), String::new(), 3, 0);
        let mut session = Session::superuser(Arc::new(client));
        session.denies_blocking = true;
        let [me, other] = [0, 1].map(|worker| Leases::new(&shared.keyspace, worker, false));
        let mut changes = Changes::default();
        changes.listen(true);
        Scene {
            config: shared.config.load(),
            shared,
            session,
            me,
            other,
            rng: Rng::new(1),
            effects: Vec::new(),
            queues: Vec::new(),
            changes,
            scripting: Scripting::default(),
            undo: Undo::default(),
            journal: Writer::default(),
        }
    }

    fn ctx(&mut self) -> Context<'_> {
        Context {
            session: &mut self.session,
            shared: &self.shared,
            config: &self.config,
            stats: self.shared.stats.of(0),
            worker: 0,
            now_ms: NOW_MS,
            now_us: NOW_MS * 1000,
            access_clock: AccessClock::new(NOW_MS, false),
            rng: &mut self.rng,
            effects: &mut self.effects,
            queues: &mut self.queues,
            leases: &mut self.me,
            changes: &mut self.changes,
            scripting: &mut self.scripting,
            undo: &mut self.undo,
            journal: &mut self.journal,
            key_places: (0, 0),
        }
    }

    fn hash(&self, key: &str) -> u64 {
        self.shared.keyspace.hash(key.as_bytes())
    }

    fn begin(&mut self, keys: &[&str]) {
        let hashes: Vec<u64> = keys.iter().map(|key| self.hash(key)).collect();
        for hash in &hashes {
            assert!(self.me.try_take(self.shared.keyspace.shard_of(*hash)));
        }
        self.ctx().begin_undoable(&hashes);
    }

    /// Runs a command of the script, and counts it; its reply.
    fn call(&mut self, command: &str) -> String {
        let words = || command.split(' ');
        let (bytes, mut spans) = (words().collect::<String>(), Vec::new());
        for word in words() {
            let start = spans.last().map_or(0, |span: &Span| span.start + span.len);
            spans.push(Span { start, len: word.len() as u32 });
        }
        let args = Args::new(bytes.as_bytes(), &spans, &[]);
        let row = table().find(args.at(0)).expect("there is such a command");
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        let mut ctx = self.ctx();
        let outcome = (row.command.handler)(&mut ctx, &args, &mut reply);
        if let Err(error) = outcome {
            ctx.count_error(error.text());
        }
        ctx.count_call(row.id, 1000, outcome.is_err());
        ctx.end_command(row, &args);
        String::from_utf8_lossy(&output.to_vec()).trim_end().to_owned()
    }

    /// What statistics show.
    fn counts(&self) -> (Vec<u64>, Vec<(String, u64)>, u64) {
        let stats = self.shared.stats.of(0);
        let counters = &stats.counters;
        let calls: u64 =
            stats.commands.iter().map(|command| command.calls.read() + command.failed.read()).sum();
        let counts = [
            &counters.keyspace_hits,
            &counters.keyspace_misses,
            &counters.expired_keys,
            &counters.commands_processed,
            &counters.error_replies,
        ];
        let counts = counts.map(|counter| counter.read()).into_iter().chain([calls]).collect();
        let errors = stats.errors().map(|(word, count)| (word.to_owned(), count)).collect();
        let dirty = self.shared.keyspace.shards().filter(|shard| self.me.holds(*shard));
        (counts, errors, dirty.map(|shard| self.me.shard_ref(shard).dirty()).sum())
    }

    fn listen_everywhere(&mut self) {
        let pubsub = &self.shared.pubsub;
        pubsub.add(SubscriptionKind::Channel, self.hash("news"), b"news", 1);
        pubsub.tracking.note(1, true, true);
    }

    /// What others are told, in this order.
    fn told(&self) -> Vec<String> {
        let told = self.effects.iter().map(|effect| match effect {
            Effect::Publish { .. } => "news".to_owned(),
            Effect::Invalidate { what: Invalidation::Broadcast { key, .. }, .. } => {
                format!("changed {}", key.escape_ascii())
            }
            Effect::Invalidate { what: Invalidation::Read { key, .. }, .. } => {
                format!("to who has read {}", key.escape_ascii())
            }
            other => format!("{other:?}"),
        });
        told.collect()
    }
}

#[test]
fn script_that_is_refused_a_lease_has_not_been() {
    let mut scene = Scene::new();
    scene.listen_everywhere();
    scene.begin(&["a", "news"]);
    assert_eq!(scene.call("SET a 1"), "+OK");
    scene.ctx().commit();
    scene.ctx().end_unit(Bracket::Several);
    scene.effects.clear();
    let (before, flag) = (scene.counts(), Arc::new(WatchFlag::default()));
    let (hash, other_hash) = (scene.hash("a"), scene.hash("b"));
    let shard = scene.shared.keyspace.shard_of(hash);
    scene.me.shard(shard).watch(DbIndex(0), hash, b"a", &flag);

    assert!(scene.other.try_take(scene.shared.keyspace.shard_of(other_hash)));
    scene.begin(&["a", "news"]);
    assert_eq!(scene.call("APPEND a 23"), ":3");
    assert_eq!(scene.call("GET a"), "$3\r\n123");
    assert_eq!(scene.call("LPUSH a x"), "");
    assert_eq!(scene.call("PUBLISH news hello"), ":1");
    assert_eq!(scene.ctx().try_key(other_hash), Tried::Refused);
    assert!(scene.changes.effect_counts().0 > 0 && scene.told().is_empty() && !flag.is_touched());
    scene.ctx().take_back();
    assert_eq!(scene.counts(), before);
    assert_eq!((scene.changes.effect_counts().0, scene.changes.event_count()), (0, 0));
    assert!(scene.told().is_empty() && !flag.is_touched() && !scene.undo.is_on());

    // Run again, it is through.
    let _nobody = scene.other.release_all();
    scene.begin(&["a", "news"]);
    assert_eq!(scene.call("APPEND a 23"), ":3");
    assert_eq!(scene.ctx().try_key(other_hash), Tried::Held);
    assert_eq!(scene.call("SET b 1"), "+OK");
    scene.ctx().commit();
    assert!(flag.is_touched());
    assert_eq!(scene.told(), ["changed a", "changed b"]);
    assert_eq!(scene.changes.effect_counts().0, 2);
}

#[test]
fn what_stays_is_released_in_its_order() {
    let mut scene = Scene::new();
    scene.listen_everywhere();
    scene.begin(&["a", "b", "news"]);
    let before = scene.counts();
    assert_eq!(scene.call("SET a 1"), "+OK");
    assert_eq!(scene.call("PUBLISH news 1"), ":1");
    assert_eq!(scene.call("GET b"), "$-1");
    assert_eq!(scene.call("HGET a x"), "");
    assert_eq!(scene.call("SET b 1"), "+OK");
    assert_eq!(scene.call("PUBLISH news 2"), ":1");
    assert!(scene.told().is_empty());
    scene.ctx().commit();
    assert_eq!(scene.told(), ["changed a", "news", "changed b", "news"]);
    let (counts, errors, dirty) = scene.counts();
    assert_eq!(counts[3] - before.0[3], 6, "commands");
    assert_eq!(counts[5] - before.0[5], 7, "one of which has failed");
    assert_eq!((errors, dirty - before.2), (vec![("WRONGTYPE".to_owned(), 1)], 2));
}

/// What the client reads before the script changes it has changed; what it reads behind that has not.
#[test]
fn client_that_tracks_keys_is_told_of_what_changed_behind_its_reading() {
    let mut scene = Scene::new();
    scene.shared.pubsub.tracking.note(0, true, false);
    let place = scene.session.client_info.place().pack();
    let tracker = Some(scene.shared.pubsub.tracking.enter(place));
    scene.session.tracking = Some(Box::new(TrackingOptions { tracker, ..TrackingOptions::default() }));
    scene.begin(&["a", "b"]);
    for command in ["GET a", "SET a 1", "SET b 1", "GET b"] {
        scene.call(command);
    }
    scene.ctx().commit();
    assert_eq!(scene.told(), ["to who has read a"]);
    let hash = scene.hash("b");
    let shard = scene.shared.keyspace.shard_of(hash);
    assert_eq!(scene.me.shard(shard).trackers().take(hash).count(), 1);
}

/// The group had drawn a ticket for an earlier member, whose place in the order of writes is before that of another worker's write
/// to a key that the script then got the lease of.
#[test]
fn effects_under_a_lease_taken_later_have_their_own_ticket() {
    let mut scene = Scene::new();
    scene.shared.journal.record_for_file(true);
    let end = |scene: &mut Scene| {
        scene.ctx().commit();
        scene.ctx().end_unit(Bracket::Several);
        scene.shared.journal.drawn()
    };
    scene.begin(&["a"]);
    scene.call("SET a 1");
    assert_eq!(end(&mut scene), 1);
    scene.begin(&["a"]);
    scene.call("SET a 2");
    assert_eq!(end(&mut scene), 1, "the same group");
    scene.begin(&["a"]);
    let hash = scene.hash("b");
    assert_eq!(scene.ctx().try_key(hash), Tried::Held);
    scene.call("SET b 2");
    assert_eq!(end(&mut scene), 2);
}

#[test]
fn key_that_a_snapshot_has_yet_to_save_is_not_reached() {
    let mut scene = Scene::new();
    let hash = scene.hash("b");
    let shard = scene.shared.keyspace.shard_of(hash);
    scene.begin(&["b"]);
    scene.call(&format!("SET b {}", "x".repeat(100_000)));
    scene.ctx().commit();
    let (snapshot, _taker) = Snapshot::new(1, u64::MAX, OnFlush::Ends);
    scene.me.shard(shard).begin_snapshot(&snapshot);
    let _nobody = scene.me.release_all();
    scene.begin(&["a"]);
    assert_eq!(scene.ctx().try_key(hash), Tried::Unsaved);
    scene.ctx().take_back();
    snapshot.end();
    scene.begin(&["a"]);
    assert_eq!(scene.ctx().try_key(hash), Tried::Held);
    scene.ctx().take_back();
    while !scene.me.shard(shard).walk(10) {}
}
