//! Tests of forming groups.

use std::sync::Arc;

use super::super::blocking::tests::{two_workers, wait};
use super::super::{Origin, Source};
use super::*;
use crate::command::{Args, Queue, Rng, ScriptRetry};
use crate::observe::{ClientInfo, ClientPlace, RegistrySlot};
use crate::resp::{Limits, ParseOutcome, Parser, Span};
use crate::store::snapshot::{OnFlush, Snapshot, Taken};
use crate::store::{DbIndex, Deadline, KeyspaceOptions, NewString};

/// A batch of commands, each by another client.
fn gathered(commands: &[&[&str]], keyspace: &Keyspace) -> Batch {
    gathered_of(&(0..).zip(commands.iter().copied()).collect::<Vec<_>>(), keyspace)
}

/// A batch of commands, with their clients' slots.
fn gathered_of(commands: &[(u32, &[&str])], keyspace: &Keyspace) -> Batch {
    let mut batch = Batch::default();
    for (slot, words) in commands.iter().copied() {
        let mut bytes = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        let (mut parser, from) = (Parser::new(), batch.spans.len());
        let step = parser.next(bytes.as_bytes(), 0, &mut batch.spans, &Limits::default());
        assert!(matches!(step, ParseOutcome::Command { .. }));
        let (source, db_hint) = (Source::QueryBuffer, DbIndex(0));
        let origin = Origin { slot, source, buffer: bytes.as_bytes(), large: &[], db_hint, queueing: false };
        batch.push(origin, 0, from, None, table(), keyspace);
    }
    batch
}

fn session() -> Session {
    let place = ClientPlace { worker: 0, slot: 1, generation: 1 };
    let registry_slot = RegistrySlot { worker: 0, number: 0 };
    Session::superuser(Arc::new(ClientInfo::new(1, registry_slot, place, "a".into(), "b".into(), 3, 0)))
}

/// A client that has queued a SET of this key.
fn session_in_transaction(key: &str, keyspace: &Keyspace) -> Session {
    let (mut session, mut queue) = (session(), Box::new(Queue::default()));
    let words = ["SET", key, "value"];
    let (buffer, mut spans) = (words.concat(), Vec::new());
    for word in words {
        let start = spans.last().map_or(0, |span: &Span| span.start + span.len);
        spans.push(Span { start, len: word.len() as u32 });
    }
    let hashes = [keyspace.hash(key.as_bytes())];
    let args = Args::new(buffer.as_bytes(), &spans, &[]).hashed(&hashes);
    let set = table().find(b"SET").expect("a command");
    queue.push(set, &args).expect("is short");
    session.multi = Some(queue);
    session
}

/// Workers over a keyspace, and what the first of them has to run.
struct Scene {
    keyspace: Arc<Keyspace>,
    me: Leases,
    other: Leases,
    group: Group,
    pending: Pending,
    batch: Batch,
}

impl Scene {
    fn new(commands: &[(u32, &[&str])]) -> Scene {
        let options = KeyspaceOptions { shards: 256, databases: 1, workers: 2, hash_seed: 1 };
        let keyspace = Arc::new(Keyspace::new(options));
        let [me, other] = [0, 1].map(|worker| Leases::new(&keyspace, worker, false));
        let batch = gathered_of(commands, &keyspace);
        Scene { keyspace, me, other, group: Group::default(), pending: Pending::default(), batch }
    }

    fn other_takes(&mut self, key: &str) {
        assert!(self.other.try_take(self.keyspace.shard_of(self.keyspace.hash(key.as_bytes()))));
    }

    /// Forms a group; the keys whose leases are held behind each of its members.
    fn held_behind<'s>(
        &mut self,
        session: impl Fn(u32) -> Option<&'s Session>,
        keys: &[&str],
    ) -> Vec<String> {
        let (batch, leases, keyspace) = (&self.batch, &mut self.me, &*self.keyspace);
        let ground = Ground { batch, leases, keyspace, session, yield_point: || () };
        self.group.appetite.is_contended = true;
        assert_eq!(self.group.form(&mut self.pending, ground), Formed::Ready);
        let held_behind = (0..self.group.members().len() as u32).map(|member| {
            self.me.return_behind(member);
            let is_held =
                |key: &&&str| self.me.holds(self.keyspace.shard_of(self.keyspace.hash(key.as_bytes())));
            keys.iter().filter(is_held).copied().collect()
        });
        let held_behind = held_behind.collect();
        let _nobody = self.me.release_all();
        held_behind
    }

    /// Forms a group and gives its leases back.
    fn form<'s>(&mut self, session: impl Fn(u32) -> Option<&'s Session>) -> (Formed, Vec<u32>) {
        let (batch, leases, keyspace) = (&self.batch, &mut self.me, &*self.keyspace);
        let ground = Ground { batch, leases, keyspace, session, yield_point: || () };
        let formed = self.group.form(&mut self.pending, ground);
        let _nobody = self.group.take_wanted();
        let _nobody = self.me.release_all();
        (formed, self.group.members().to_vec())
    }
}

/// The batch went no further than to the first command that was refused.
#[test]
fn refused_command_holds_back_its_connection_only() {
    let (a, b, c) = (0, 1, 2);
    let commands: [(u32, &[&str]); 6] = [
        (a, &["GET", "mine"]),
        (a, &["GET", "taken"]),
        (a, &["GET", "behind"]),
        (b, &["GET", "b"]),
        (c, &["SET", "taken", "x"]),
        (c, &["GET", "c"]),
    ];
    let (mut scene, session) = (Scene::new(&commands), session());
    scene.other_takes("taken");
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![0, 3]));
    assert_eq!(scene.group.refusals(), (2, 2));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Refused, vec![]));
    assert_eq!(scene.group.refusals(), (2, 0));
    let _nobody = scene.other.release_all();
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![1, 2, 4, 5]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Done, vec![]));
}

#[test]
fn lease_goes_back_behind_the_last_member_that_needs_it() {
    let commands: [(u32, &[&str]); 5] = [
        (0, &["GET", "a"]),
        (0, &["MGET", "b", "c"]),
        (1, &["SET", "a", "1"]),
        (2, &["EXEC"]),
        (3, &["GET", "c"]),
    ];
    let mut scene = Scene::new(&commands);
    let sessions = ["q", "q", "b", "q"].map(|key| session_in_transaction(key, &scene.keyspace));
    let session = |slot: u32| Some(&sessions[slot as usize]);
    // The transaction, which runs last, needs b.
    assert_eq!(scene.held_behind(session, &["a", "b", "c"]), ["abc", "abc", "bc", "b", "b"]);
}

/// A push served a client that waited for two keys, of which the other one's lease had gone back.
#[test]
fn leases_of_waiter_keys_stay_to_the_end() {
    let (keyspace, mut leases, _) = two_workers();
    let shard_of = |key: &String| keyspace.shard_of(keyspace.hash(key.as_bytes()));
    let keys: Vec<String> = (0..100).map(|n| format!("key:{n}")).collect();
    let place = |shard| keys.iter().position(|key| shard_of(key) == ShardId(shard)).expect("one of many");
    let [a, b, c] = [1, 2, 3].map(|shard| keys[place(shard)].clone());
    wait(&[keyspace.hash(a.as_bytes()), keyspace.hash(b.as_bytes())], 1, &keyspace, &mut leases);
    let commands: [&[&str]; 4] = [&["GET", &b], &["GET", &c], &["LPUSH", &a, "x"], &["GET", &c]];
    let batch = gathered(&commands, &keyspace);
    let (mut group, mut pending, session) = (Group::default(), Pending::default(), session());
    group.appetite.is_contended = true;
    let (batch, leases, keyspace) = (&batch, &mut leases, &*keyspace);
    let ground = Ground { batch, leases, keyspace, session: |_| Some(&session), yield_point: || () };
    assert_eq!(group.form(&mut pending, ground), Formed::Ready);
    assert!(!leases.has_returns_behind(u32::MAX));
    assert!([1, 2, 3].into_iter().all(|shard| leases.holds(ShardId(shard))));
    let _nobody = leases.release_all();
}

/// Sharing is what keeps leases from being refused, so it goes on for a while when none is any more.
#[test]
fn leases_are_shared_once_many_were_refused() {
    let mut appetite = Appetite::default();
    let mut after = |groups: usize, joined: usize, refused: u32| {
        (0..groups).for_each(|_| appetite.note(joined, refused));
        appetite.sharing_left
    };
    assert_eq!(after(0, 0, 0), SHARING_JUDGEMENTS);
    assert_eq!(after(64 * 8, 32, 0), 0);
    assert_eq!(after(100, 30, 2), SHARING_JUDGEMENTS);
    assert!(after(10 * 8, 32, 0) > SHARING_JUDGEMENTS / 2);
    assert_eq!(after(100 * 8, 32, 0), 0);
}

#[test]
fn groups_shrink_while_many_are_refused_and_grow_while_few_are() {
    let mut appetite = Appetite::default();
    let mut after = |groups: usize, joined: usize, refused: u32| {
        (0..groups).for_each(|_| appetite.note(joined, refused));
        appetite.weight_max
    };
    assert_eq!(after(100, 32, 1), 32);
    assert_eq!(after(12, 32, 8), 16);
    assert_eq!(after(100, 16, 4), 8);
    // Between the two nothing changes, nor while all are refused again and again.
    assert_eq!(after(1000, 0, 9), 8);
    assert_eq!(after(1000, 15, 1), 8);
    assert_eq!(after(48, 8, 0), 16);
    assert_eq!(after(1000, 8, 0), 32);
}

/// Who reads shares a shard with others who read, but not with one that writes. The other way round, one that writes stays behind.
#[test]
fn commands_that_read_share_shards() {
    let commands: [(u32, &[&str]); 4] =
        [(0, &["GET", "a"]), (1, &["SET", "a", "1"]), (2, &["MGET", "a", "b"]), (3, &["STRLEN", "b"])];
    let (mut scene, session) = (Scene::new(&commands), session());
    scene.group.appetite.sharing_left = 9;
    assert!(scene.other.try_share(scene.keyspace.shard_of(scene.keyspace.hash(b"a"))));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![0, 2, 3]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Refused, vec![]));
    let _nobody = scene.other.release_all();
    scene.other_takes("b");
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![1]));
}

/// A client whose command found an expired key while others may have been reading has its shards to itself next.
#[test]
fn command_that_has_to_change_something_needs_its_shards_to_itself() {
    let commands: [(u32, &[&str]); 3] = [(0, &["GET", "a"]), (0, &["GET", "b"]), (1, &["GET", "a"])];
    let mut scene = Scene::new(&commands);
    scene.group.appetite.sharing_left = 9;
    let sessions = [session(), session()].map(|session| Session { needs_exclusive: true, ..session });
    let session = |slot: u32| Some(&sessions[slot as usize]);
    let [a, b] = [b"a", b"b"].map(|key| scene.keyspace.shard_of(scene.keyspace.hash(key)));
    assert!(scene.other.try_share(a) && scene.other.try_share(b));
    assert_eq!(scene.form(session), (Formed::Refused, vec![]));
    let _nobody = scene.other.release_all();
    assert!(scene.other.try_share(b));
    // What comes behind it shares again.
    assert_eq!(scene.form(session), (Formed::Ready, vec![0, 1, 2]));
}

#[test]
fn connection_that_ends_while_its_commands_are_left_behind_is_forgotten() {
    let commands: [(u32, &[&str]); 3] = [(0, &["GET", "taken"]), (0, &["GET", "behind"]), (1, &["GET", "b"])];
    let (mut scene, session) = (Scene::new(&commands), session());
    scene.other_takes("taken");
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![2]));
    assert_eq!(scene.form(|slot| (slot != 0).then_some(&session)), (Formed::Done, vec![]));
}

#[test]
fn exec_is_last_and_waits_for_earlier_commands_of_its_connection() {
    let commands: [(u32, &[&str]); 5] =
        [(0, &["GET", "x"]), (0, &["EXEC"]), (1, &["EXEC"]), (1, &["GET", "y"]), (2, &["GET", "z"])];
    let mut scene = Scene::new(&commands);
    let sessions = ["q0", "q1", "q2"].map(|key| session_in_transaction(key, &scene.keyspace));
    let session = |slot: u32| Some(&sessions[slot as usize]);
    assert_eq!(scene.form(session), (Formed::Ready, vec![0, 4, 2]));
    assert_eq!(scene.form(session), (Formed::Ready, vec![3, 1]));
    assert_eq!(scene.form(session), (Formed::Done, vec![]));
}

#[test]
fn command_that_may_take_long_is_last_and_the_only_one() {
    let commands: [(u32, &[&str]); 5] = [
        (0, &["LCS", "a", "b"]),
        (0, &["GET", "x"]),
        (1, &["SET", "y", "1"]),
        (1, &["LCS", "c", "d"]),
        (2, &["GET", "z"]),
    ];
    let (mut scene, session) = (Scene::new(&commands), session());
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![2, 4, 0]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![1, 3]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Done, vec![]));
}

/// Refused the lease of a key that it had not named, a script had everybody's shards to itself the next time.
#[test]
fn script_runs_again_under_the_leases_of_keys_that_it_has_met() {
    let commands: [(u32, &[&str]); 3] =
        [(0, &["SET", "met", "x"]), (0, &["SET", "other", "x"]), (1, &["EVAL", "return 1", "1", "named"])];
    let mut scene = Scene::new(&commands);
    let (plain, mut retrying) = (session(), session());
    retrying.script_retry = Some(ScriptRetry::Met(vec![scene.keyspace.hash(b"met")]));
    let all = ["met", "other", "named"];
    let held = scene.held_behind(|slot| Some(if slot == 0 { &plain } else { &retrying }), &all);
    let texts = [&["met", "other", "named"][..], &["met", "named"], &["met", "named"]].map(<[_]>::concat);
    assert_eq!(held, texts);

    // Somebody else has the key that it will meet again: it does not run in vain.
    let mut scene = Scene::new(&commands[2..]);
    retrying.script_retry = Some(ScriptRetry::Met(vec![scene.keyspace.hash(b"met")]));
    scene.other_takes("met");
    assert_eq!(scene.form(|_| Some(&retrying)), (Formed::Refused, vec![]));
    let _nobody = scene.other.release_all();
    assert_eq!(scene.form(|_| Some(&retrying)), (Formed::Ready, vec![0]));

    let mut scene = Scene::new(&commands[2..]);
    retrying.script_retry = Some(ScriptRetry::All);
    scene.other_takes("elsewhere");
    assert_eq!(scene.form(|_| Some(&retrying)), (Formed::Refused, vec![]));
}

#[test]
fn command_of_all_shards_has_its_group_to_itself() {
    let commands: [(u32, &[&str]); 5] = [
        (0, &["GET", "a"]),
        (1, &["KEYS", "*"]),
        (1, &["GET", "behind"]),
        (2, &["INFO"]),
        (3, &["GET", "b"]),
    ];
    let (mut scene, session) = (Scene::new(&commands), session());
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![0, 4]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![1]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![2]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Ready, vec![3]));
    assert_eq!(scene.form(|_| Some(&session)), (Formed::Done, vec![]));
}

/// A value for which a snapshot is waited for holds up who writes to it, and nobody else; a transaction too.
#[test]
fn write_to_what_a_snapshot_has_yet_to_save_is_passed_over() {
    let (a, b, c, d) = (0, 1, 2, 3);
    let commands: [(u32, &[&str]); 6] = [
        (a, &["SET", "large", "x"]),
        (a, &["GET", "behind"]),
        (b, &["GET", "large"]),
        (b, &["SET", "other", "x"]),
        (c, &["MSET", "free", "x", "large", "x"]),
        (d, &["EXEC"]),
    ];
    let (mut scene, session) = (Scene::new(&commands), session());
    let in_transaction = session_in_transaction("large", &scene.keyspace);
    let session_of = |slot| Some(if slot == d { &in_transaction } else { &session });
    let hash = scene.keyspace.hash(b"large");
    let shard = scene.keyspace.shard_of(hash);
    assert!(scene.other.take_all());
    let value = NewString::Blob(vec![b'v'; 100_000].into());
    scene.other.shard(shard).write(DbIndex(0), hash, b"large", 0).set_string(value, Deadline::None);
    let (snapshot, mut taker) = Snapshot::new(scene.keyspace.shard_count(), u64::MAX, OnFlush::Ends);
    for id in scene.keyspace.shards() {
        scene.other.shard(id).begin_snapshot(&snapshot);
    }
    scene.keyspace.set_snapshotted(true);
    let _nobody = scene.other.release_all();
    assert_eq!(scene.form(session_of), (Formed::Ready, vec![2, 3]));
    assert_eq!(scene.form(session_of), (Formed::Refused, vec![]));
    assert!(scene.group.is_only_unsaved());
    // It was handed over for that.
    let Taken::Block(block) = taker.take() else { panic!("somebody waits for it") };
    taker.done_with(block);
    assert_eq!(scene.form(session_of), (Formed::Ready, vec![0, 1, 4, 5]));
    assert_eq!(scene.form(session_of), (Formed::Done, vec![]));
}

/// Whatever is refused when, each command runs once, after those before it on its connection.
#[test]
fn commands_of_a_connection_run_once_and_in_order() {
    let mut rng = Rng::new(1);
    let keys: Vec<String> = (0..40).map(|n| format!("key:{n}")).collect();
    for _ in 0..200 {
        let slots: Vec<u32> = (0..20).flat_map(|slot| (0..1 + rng.below(30)).map(move |_| slot)).collect();
        let mut key = || keys[rng.below(40) as usize].as_str();
        let words = slots.iter().map(|slot| {
            let words = match key() {
                "key:0" => vec!["KEYS", "*"],
                "key:1" => vec!["LCS", key(), key()],
                "key:2" | "key:3" => vec!["MGET", key(), key(), key()],
                "key:4" => vec!["PING"],
                other => vec!["GET", other],
            };
            (*slot, words)
        });
        let commands: Vec<(u32, Vec<&str>)> = words.collect();
        let commands: Vec<(u32, &[&str])> =
            commands.iter().map(|(slot, words)| (*slot, words.as_slice())).collect();
        let (mut scene, session) = (Scene::new(&commands), session());
        let mut ran = Vec::new();
        loop {
            if rng.below(10) < 7 {
                scene.other_takes(&keys[rng.below(40) as usize]);
            }
            let (formed, members) = scene.form(|_| Some(&session));
            ran.extend(members);
            if rng.below(10) < 3 {
                let _nobody = scene.other.release_all();
            }
            if formed == Formed::Done {
                break;
            }
        }
        for slot in 0..20 {
            let of_slot = |place: &u32| commands[*place as usize].0 == slot;
            let places: Vec<u32> = ran.iter().copied().filter(of_slot).collect();
            assert!(places.is_sorted(), "{places:?}");
        }
        ran.sort_unstable();
        assert!(ran.into_iter().eq(0..commands.len() as u32));
    }
}

/// A command behind others took one of its leases for a moment, was refused another, and gave the first back; the worker
/// that had asked to be woken for it in that moment slept until its next tick, since only a group that was refused at its
/// first command woke anybody.
#[test]
fn who_wants_a_lease_that_was_given_back_while_forming_is_to_be_woken() {
    let options = KeyspaceOptions { shards: 256, databases: 1, workers: 3, hash_seed: 1 };
    let keyspace = Arc::new(Keyspace::new(options));
    let shard = |key: &str| keyspace.shard_of(keyspace.hash(key.as_bytes()));
    let [mut me, mut sleeper, mut holder] = [0, 1, 2].map(|worker| Leases::new(&keyspace, worker, false));
    let batch = gathered(&[&["GET", "first"], &["MSET", "had", "1", "refused", "2"]], &keyspace);
    assert!(holder.try_take(shard("refused")));
    let (mut group, mut pending, session) = (Group::default(), Pending::default(), session());
    let asks = || assert!(sleeper.want(shard("had"), true), "it is held");
    let (batch, leases, keyspace) = (&batch, &mut me, &*keyspace);
    let ground = Ground { batch, leases, keyspace, session: |_| Some(&session), yield_point: asks };
    assert_eq!(group.form(&mut pending, ground), Formed::Ready);
    assert_eq!(group.members(), [0]);
    let wanted = group.take_wanted();
    assert!(wanted.has(1) && !wanted.has(2));
    let _nobody = me.release_all();
    let _nobody = holder.release_all();
}

/// What an earlier command took along was reserved for a later one that was refused at its own key.
#[test]
fn waiter_keys_are_those_of_the_refused_command() {
    let (keyspace, mut leases, mut other) = two_workers();
    let shard_of = |key: &String| keyspace.shard_of(keyspace.hash(key.as_bytes()));
    let keys: Vec<String> = (0..100).map(|n| format!("key:{n}")).collect();
    let place = |shard| keys.iter().position(|key| shard_of(key) == ShardId(shard)).expect("one of many");
    let [a, b, c] = [1, 2, 3].map(|shard| keys[place(shard)].clone());
    wait(&[keyspace.hash(a.as_bytes()), keyspace.hash(b.as_bytes())], 1, &keyspace, &mut leases);
    let batch = gathered(&[&["LPUSH", &a, "x"], &["LPUSH", &c, "x"]], &keyspace);
    let (mut group, mut pending, session) = (Group::default(), Pending::default(), session());
    assert!(other.try_take(ShardId(2)));
    assert!(other.try_take(ShardId(3)));
    let (batch, leases, keyspace) = (&batch, &mut leases, &*keyspace);
    let ground = Ground { batch, leases, keyspace, session: |_| Some(&session), yield_point: || () };
    assert_eq!(group.form(&mut pending, ground), Formed::Refused);
    let [first, second] = [(); 2].map(|()| pending.next_behind().expect("both were refused"));
    assert_eq!((first.next, first.refused), (0, Some(Refusal::Lease(ShardId(2)))));
    let waiter_keys = first.waiter_keys.expect("who waits for it is served at another key");
    assert_eq!(waiter_keys.iter().collect::<Vec<_>>(), [ShardId(1), ShardId(2)]);
    assert_eq!(
        (second.next, second.refused, second.waiter_keys.is_none()),
        (1, Some(Refusal::Lease(ShardId(3))), true)
    );
    assert_eq!(leases.mark(), 0);
}
