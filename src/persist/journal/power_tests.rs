//! Power cuts under the journal: workers that write, the thread, a file, and a disk that forgets.
//!
//! Design: whatever the journal said was kept is to be read back from what the disk is left with, whole and in order, before the
//! reader meets the end or damage; under `everysec`, all that was published two seconds before.
//!
//! Not here: the disk (`aof::powered`); the same under the workers of a whole server (`tests/simulation/power.rs`).

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::thread::{Driver, Hooks, start};
use super::{Journal, Order, Settings, SyncPolicy, Writer};
use crate::persist::aof::powered::{PoweredDisk, Random};
use crate::persist::aof::{AofFile, AofReader, Next};
use crate::store::{Changes, DbIndex};

const WORKERS: u64 = 3;
const GROUPS_OF_WORKER: u64 = 400;
const SEEDS: u64 = 60;

/// A group's effects: one command, or a transaction of two.
fn unit(worker: u64, number: u64) -> Changes {
    let mut changes = Changes::default();
    changes.listen(true);
    for part in 0..1 + number % 3 % 2 {
        changes.count(1);
        let filler = "x".repeat((number * 37 % 900) as usize);
        changes.end_command(DbIndex((worker % 2) as u32), |words| {
            words.add("RPUSH").add(worker).add(number).add(part).add(filler.as_str());
        });
    }
    changes
}

/// Writes all groups of a worker; the ticket of each.
fn write(journal: &Journal, worker: u64) -> Vec<u64> {
    let mut writer = Writer::default();
    let publish = |number| {
        writer.record(journal, &unit(worker, number), true);
        let ticket = writer.ticket().expect("it has effects");
        if number % 5 == 0 {
            std::thread::yield_now();
        }
        writer.publish(journal);
        ticket
    };
    (0..GROUPS_OF_WORKER).map(publish).collect()
}

/// Whole groups of each worker that are read back, in their order.
fn read_back(image: &[u8]) -> Vec<u64> {
    let mut reader = AofReader::new(image, Path::new("image"), 0, image.len() as u64);
    let mut whole = vec![0; WORKERS as usize];
    let (mut open, mut is_bracketed) = (None::<(usize, u64)>, false);
    while let Next::Command(command) = reader.next().expect("memory can be read") {
        let number = |index| {
            let text = command.word(index).and_then(|word| std::str::from_utf8(word).ok());
            text.and_then(|text| text.parse::<u64>().ok()).expect("a number")
        };
        if command.is_named("SELECT") {
            continue;
        } else if command.is_named("MULTI") {
            assert!(!is_bracketed);
            is_bracketed = true;
            continue;
        } else if command.is_named("EXEC") {
            let (worker, group) = open.take().expect("a transaction has commands");
            assert!(is_bracketed && whole[worker] == group);
            (is_bracketed, whole[worker]) = (false, group + 1);
            continue;
        }
        let (worker, group) = (number(1) as usize, number(2));
        assert_eq!(group, whole[worker], "worker {worker}: in the order in which it wrote");
        if is_bracketed {
            assert!(open.is_none_or(|before| before == (worker, group)), "nothing comes between");
            open = Some((worker, group));
        } else {
            whole[worker] = group + 1;
        }
    }
    whole
}

#[test]
fn what_was_kept_is_there_after_a_power_cut() {
    let (mut cut_short, mut failed, mut kept_sum) = (0, 0, 0);
    for seed in 0..SEEDS {
        // Under another policy nothing is promised so soon.
        let policy = if seed % 8 == 7 { SyncPolicy::EverySecond } else { SyncPolicy::Always };
        let journal = Arc::new(Journal::default());
        journal.record_for_file(true);
        journal.follow(Settings { policy, limit_bytes: 1 << 20, ..Settings::default() });
        let has_failed = Arc::new(AtomicBool::new(false));
        let (told, disk) = (Arc::clone(&has_failed), PoweredDisk::new(seed, Vec::new()));
        let power = disk.clone();
        let hooks = Hooks {
            wake: Box::new(|_| {}),
            is_saving: Box::new(|| false),
            now: Box::new(Instant::now),
            // Where the process ends nothing is written any more.
            fail: Box::new(move |_| {
                told.store(true, Relaxed);
                power.cut_off();
            }),
        };
        let thread = start(Arc::clone(&journal), hooks).expect("there are threads");
        journal
            .order(Order::Open { sink: Box::new(AofFile::new(disk.clone(), Path::new("a"), 0)), after: 0 });
        let mut random = Random(seed << 32);
        let (tickets, kept, image) = std::thread::scope(|scope| {
            let journal = &journal;
            let workers: Vec<_> =
                (0..WORKERS).map(|worker| scope.spawn(move || write(journal, worker))).collect();
            let cut_at = random.below((WORKERS * GROUPS_OF_WORKER) as usize) as u64;
            while journal.drawn() < cut_at {
                std::thread::yield_now();
            }
            (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
            // In this order: what is kept later is in vain.
            let kept = journal.kept();
            let image = disk.cut();
            let tickets: Vec<_> = workers.into_iter().map(|w| w.join().expect("it writes")).collect();
            (tickets, kept, image)
        });
        journal.order(Order::Finish);
        thread.join().expect("it ends");
        let whole = read_back(&image);
        for (worker, tickets) in tickets.iter().enumerate() {
            let promised = tickets.partition_point(|ticket| *ticket <= kept) as u64;
            let found = whole[worker];
            assert!(
                found >= promised,
                "seed {seed}, {policy:?}: worker {worker} has {found}, not {promised}"
            );
        }
        kept_sum += kept;
        cut_short += u32::from(kept < WORKERS * GROUPS_OF_WORKER && kept > 0);
        failed += u32::from(has_failed.load(Relaxed));
    }
    assert!(cut_short > 2 && kept_sum > 100, "{cut_short} cuts in the middle, {kept_sum} groups kept");
    println!(
        "{cut_short} cuts in the middle, {failed} failed syncs that end a server, {kept_sum} groups kept"
    );
}

/// What `everysec` may lose at most.
const LOST_MAX: Duration = Duration::from_secs(2);
const STEPS: usize = 300;

/// One thread plays the workers, the journal's thread and the time, so that a seed decides all: `everysec` keeps what was published
/// two seconds before the power went, no transaction is half there, and the order is the order of tickets.
#[test]
fn everysec_keeps_what_is_two_seconds_old() {
    let (mut lost, mut failed) = (0, 0);
    for seed in 0..4 * SEEDS {
        let mut random = Random(seed);
        let journal = Arc::new(Journal::default());
        journal.record_for_file(true);
        journal.follow(Settings { policy: SyncPolicy::EverySecond, ..Settings::default() });
        let (begin, time) = (Instant::now(), Arc::new(Mutex::new(Duration::ZERO)));
        let (clock, elapsed) = (Arc::clone(&time), || *time.lock().expect("nobody panics under it"));
        let hooks = Hooks {
            wake: Box::new(|_| {}),
            is_saving: Box::new(|| false),
            fail: Box::new(|why| panic!("only `always` ends the process: {why}")),
            now: Box::new(move || begin + *clock.lock().expect("nobody panics under it")),
        };
        let mut driver = Driver::new(Arc::clone(&journal), hooks).expect("it has no thread");
        let disk = PoweredDisk::new(seed, Vec::new());
        journal
            .order(Order::Open { sink: Box::new(AofFile::new(disk.clone(), Path::new("a"), 0)), after: 0 });
        let mut writers: Vec<Writer> = (0..WORKERS).map(|_| Writer::default()).collect();
        // When each group was published, by worker, and whether that was before the first failure.
        let mut published: Vec<Vec<Duration>> = vec![Vec::new(); WORKERS as usize];
        let mut failed_at = None;
        for _ in 0..random.below(STEPS) {
            match random.below(4) {
                0 => {
                    driver.step();
                }
                1 => {
                    let ms = [1, 10, 300][random.below(3)];
                    *time.lock().expect("nobody panics under it") += Duration::from_millis(ms);
                    // The thread looks each ms; a disk may keep it for longer, but no processor for seconds.
                    driver.step();
                }
                _ => {
                    let worker = random.below(WORKERS as usize);
                    let number = published[worker].len() as u64;
                    writers[worker].record(&journal, &unit(worker as u64, number), true);
                    writers[worker].publish(&journal);
                    published[worker].push(elapsed());
                }
            }
            failed_at = failed_at.or_else(|| journal.failure().map(|_| elapsed()));
        }
        let whole = read_back(&disk.cut());
        // From a failure on, commands that write are refused, and nothing is promised that came later.
        let promised_until = failed_at.unwrap_or_else(elapsed).saturating_sub(LOST_MAX);
        for (worker, times) in published.iter().enumerate() {
            let promised = times.partition_point(|at| *at < promised_until) as u64;
            let found = whole[worker];
            assert!(found >= promised, "seed {seed}: worker {worker} has {found}, not {promised}");
            lost += times.len() as u64 - found;
        }
        failed += u32::from(failed_at.is_some());
    }
    assert!(lost > 100 && failed > 5, "{lost} groups lost, {failed} runs with a failure");
}
