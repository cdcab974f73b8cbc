//! Runs in which the power goes: the workers' journal writes to a disk that forgets what was not synced, and a new server goes on
//! with what it has kept.
//!
//! Design: all workers share a journal under `appendfsync always`, whose thread is a step of the simulation like any other
//! (`Driver`), so that a seed decides what was written and synced when the power goes, and what of the rest the disk is left with:
//! torn, with sectors missing. Where a sync fails the process ends, and that is such a moment too. The file is then mended as
//! an operator would (`torc --check-aof --fix`: zeros in the middle are no end that is cut off silently), and loaded by the
//! code that loads it at any start. Clients come back and go on with the same histories, which are checked as one: what
//! anybody was told must still be so, and no transaction may be half there.
//!
//! Not here: files that take the place of others (`persist::aof::store` has tests for each step), rewrites and snapshots, whose
//! threads are the system's; `tests/crashes` kills servers in the middle of those. `everysec`: `persist::journal::power_tests`.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use torc::config::Config;
use torc::io::Waker;
use torc::persist::aof::AofFile;
use torc::persist::aof::check::Check;
use torc::persist::aof::powered::PoweredDisk;
use torc::persist::journal::{Driver, Hooks, Journal, Order};
use torc::worker::Recovery;

use super::histories::{ClientSlot, Kind, LIVES_MAX};
use super::plan::{Fault, Plan};
use super::series::Series;
use super::workloads::Shared;
use super::world::{EPOCH_MS, Summary, World, faults, share_with};
use crate::harness::TempDir;

const POWER: Series =
    Series { tests: "simulation::power::seeds", usual: 0..100, draw: Plan::power, check_happened };
/// Servers of a run whose power goes; one more follows.
const CUTS: u64 = 3;
/// Steps until it goes, at most.
const STEPS_MAX: u64 = 800;
/// Of so many syncs one fails.
const SYNCS_OF_FAILURE: usize = 100;
/// Seeds among which a disk that lies must be found.
const LYING_SEEDS: std::ops::Range<u64> = 0..20;

const DIRECTORY: &str = "appendonlydir";
const FILE: &str = "appendonly.aof.1.incr.aof";
const MANIFEST: &str = "appendonly.aof.manifest";

/// The journal's thread and its disk.
pub struct Power {
    driver: RefCell<Driver>,
    disk: PoweredDisk,
    /// A sync has failed, which ends the process.
    has_failed: Arc<AtomicBool>,
    is_cut: Cell<bool>,
    /// The journal of the process, and how many groups of writes were lost with the power.
    journal: Arc<Journal>,
    groups_lost: Cell<u64>,
}

impl Power {
    /// Of a world whose data is loaded; `kept` is what the file has.
    fn new(world: &World, path: &Path, kept: &[u8]) -> Power {
        let journal = &world.shared.journal;
        let (wakers, has_failed) = (world.wakers().to_vec(), Arc::new(AtomicBool::new(false)));
        let disk = PoweredDisk::new(world.plan.seed, kept.to_vec());
        let (failed, failing) = (Arc::clone(&has_failed), disk.clone());
        let woken = move |workers: u64| {
            let is_waiting = |number: &usize| workers >> number & 1 == 1;
            (0..wakers.len()).filter(is_waiting).for_each(|number| Waker::wake(&wakers[number]));
        };
        let hooks = Hooks {
            wake: Box::new(woken),
            is_saving: Box::new(|| false),
            fail: Box::new(move |_| {
                failed.store(true, Relaxed);
                failing.cut_off();
            }),
            // Under `always` nothing depends on it.
            now: Box::new(Instant::now),
        };
        let driver = Driver::new(Arc::clone(journal), hooks).expect("each world has one");
        let file = AofFile::new(disk.clone(), path, kept.len() as u64);
        journal.order(Order::Open { sink: Box::new(file), after: journal.drawn() });
        Power {
            driver: RefCell::new(driver),
            disk,
            has_failed,
            is_cut: Cell::new(false),
            journal: Arc::clone(journal),
            groups_lost: Cell::new(0),
        }
    }

    /// It goes, perhaps in the middle of a step of the journal: behind its write, and before its sync.
    fn go_off(&self, in_step: bool) {
        self.is_cut.set(true);
        self.disk.cut_off();
        self.groups_lost.set(self.journal.drawn() - self.journal.kept());
        if in_step {
            self.driver.borrow_mut().step();
        }
    }

    /// Whether effects were drawn that are not kept.
    fn has_unkept(&self) -> bool {
        self.journal.drawn() > self.journal.kept()
    }

    /// Whether it is gone.
    pub fn is_off(&self) -> bool {
        self.is_cut.get() || self.has_failed.load(Relaxed)
    }

    /// The journal does what there is to be done; whether there was anything.
    pub fn step(&self) -> bool {
        !self.is_off() && self.driver.borrow_mut().step()
    }
}

/// What one server leaves to the next, beside its disk.
#[derive(Default)]
pub struct Past {
    elapsed: Duration,
    stamp: u64,
    connections: u32,
}

/// Runs a plan.
///
/// # Errors
/// What was not as it must be.
pub fn run(plan: &Plan) -> Result<Summary, String> {
    let (dir, histories) = (TempDir::new(), Shared::default());
    let (mut past, mut sum) = (Past::default(), Summary::default());
    for life in 0..=CUTS {
        let plan = Plan { seed: plan.seed ^ life << 32, ..plan.clone() };
        let (is_last, before) = (life == CUTS, past.connections);
        let world = begin(&plan, dir.path(), &past, is_last)?;
        world.deschedule(|| world.play_until_power_goes(&histories, is_last))?;
        let mut summary = world.summary();
        past = Past {
            elapsed: world.net.now(),
            stamp: world.stamp.get(),
            connections: before + world.clients.borrow().len() as u32 + 2,
        };
        if !is_last {
            let power = world.power.get().expect("it has one");
            let (written, _) = power.disk.sizes();
            let image = power.disk.cut();
            summary.cuts = 1;
            summary.failed_syncs = power.has_failed.load(Relaxed).into();
            summary.groups_lost = power.groups_lost.get();
            summary.bytes_lost = (written - image.len()) as u64;
            write_file(dir.path(), &image);
            mend(dir.path())?;
        }
        sum.add(&summary);
    }
    sum.noted = histories.borrow().noted();
    histories.borrow().check()?;
    Ok(sum)
}

/// The append-only file is this.
pub fn write_file(dir: &Path, bytes: &[u8]) {
    std::fs::write(dir.join(DIRECTORY).join(FILE), bytes).expect("there is room");
}

/// What an operator does behind a power cut.
fn mend(dir: &Path) -> Result<(), String> {
    let check =
        &mut Check { fixes: true, until_s: None, now_ms: EPOCH_MS, say: &mut |_| {}, ask: &mut |_| true };
    check.run(&dir.join(DIRECTORY).join(MANIFEST)).map_err(|error| error.to_string())
}

fn config(dir: &Path) -> Config {
    let dir = dir.to_string_lossy().into_owned();
    let kept = ["--databases", "4", "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let words = [&kept[..], &["--auto-aof-rewrite-percentage", "0", "--dir", &dir]].concat();
    let startup = Config::from_args(words.iter().map(OsString::from), &mut std::io::empty());
    startup.unwrap_or_else(|fatal| panic!("{fatal}")).config
}

/// A server that has loaded what there is.
pub fn begin(plan: &Plan, dir: &Path, past: &Past, is_last: bool) -> Result<std::rc::Rc<World>, String> {
    let config = config(dir);
    let shared = share_with(plan, config.clone());
    let recovery = Recovery::open(&config).map_err(|error| error.to_string())?;
    // Workers look whether something is loaded when they begin.
    shared.loading.begin(recovery.bytes(), EPOCH_MS);
    let world = World::over(plan, shared);
    world.pass(past.elapsed);
    world.stamp.set(past.stamp);
    world.connections_before.set(past.connections);
    world.recover(recovery, &config)?;
    let path = dir.join(DIRECTORY).join(FILE);
    let kept = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let power = Power::new(&world, &path, &kept);
    power.disk.fail_one_in(if is_last { 0 } else { SYNCS_OF_FAILURE });
    if plan.fault == Some(Fault::LyingDisk) {
        power.disk.lie();
    }
    assert!(world.power.set(power).is_ok(), "it has one power");
    Ok(world)
}

impl World {
    /// All that the journal has written, once it has written all.
    pub fn kept_by_disk(&self) -> Vec<u8> {
        let power = self.power.get().expect("it has one");
        while power.step() {}
        let (written, synced) = power.disk.sizes();
        assert_eq!(written, synced, "it is synced");
        power.disk.cut()
    }

    /// Loads as at any start: a thread of the system's reads, and the first worker runs. How many turns it takes is chance that no
    /// seed decides, so nothing else may depend on it.
    fn recover(&self, recovery: Recovery, config: &Config) -> Result<(), String> {
        let shared = &*self.shared;
        let loaded = std::thread::scope(|scope| {
            let reader = scope.spawn(move || recovery.run(shared, config, &|| {}));
            while !reader.is_finished() {
                if shared.replay.has_waiting() || shared.loading.has_pieces() {
                    self.turn_in_no_time();
                } else {
                    std::thread::yield_now();
                }
            }
            reader.join().expect("it does not panic")
        });
        shared.loading.end();
        self.net.reseed(self.plan.seed);
        loaded.map(drop).map_err(|error| error.to_string())
    }

    /// Clients append to lists and wait at queues, until the power goes; in the last server's life, until they are done.
    fn play_until_power_goes(&self, histories: &Shared, is_last: bool) -> Result<(), String> {
        let mut slots = Vec::new();
        for (kind, most) in [(Kind::Appender, 4), (Kind::Queuer, 3)] {
            for _ in 0..1 + self.below(most) {
                let client = self.join_history(histories, kind);
                slots.push(ClientSlot { kind, lives_left: self.below(LIVES_MAX), client });
            }
        }
        let slots = RefCell::new(slots);
        self.net.set_faults(faults(&self.plan, self.plan.faults.reset_per_million));
        let power = self.power.get().expect("it has one");
        // Most often it goes while there is something to lose.
        let awaits_writes = self.below(4) > 0;
        let steps = Cell::new(if is_last { u64::MAX } else { 1 + self.below(STEPS_MAX) });
        self.until("clients wait for their replies", || {
            slots.borrow_mut().iter_mut().for_each(|slot| self.renew(histories, slot));
            steps.set(steps.get().saturating_sub(1));
            let is_time = steps.get() == 0 && (!awaits_writes || power.has_unkept());
            is_time || self.is_off() || self.clients_are_done()
        })?;
        if !is_last {
            power.go_off(self.below(2) == 0);
            return Ok(());
        }
        self.net.set_faults(faults(&self.plan, 0));
        self.audit(histories)?;
        self.end()
    }
}

fn check_happened(sum: &Summary) {
    assert!(sum.cuts >= 100 && sum.failed_syncs > 2, "the power hardly ever went: {sum:?}");
    assert!(sum.groups_lost > 50 && sum.bytes_lost > 500, "hardly anything was lost: {sum:?}");
    assert!(sum.noted.lists > 1_000 && sum.noted.served > 300, "too little was asked: {sum:?}");
}

#[test]
fn seeds_even() {
    POWER.run_part(0);
}

#[test]
fn seeds_odd() {
    POWER.run_part(1);
}

#[test]
fn a_seed_determines_what_is_kept() {
    POWER.check_determined(0..4);
}

#[test]
fn disk_that_lies_is_found() {
    let failures: Vec<String> = POWER.failures(LYING_SEEDS, Some(Fault::LyingDisk)).collect();
    println!("{} runs found it, the first as: {:?}", failures.len(), failures.first());
    assert!(failures.len() > 3, "only {} runs found it", failures.len());
}
