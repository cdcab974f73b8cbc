//! Power cuts under the journal: workers that write, the thread, a file, and a disk that forgets.
//!
//! Design: the disk remembers what was written and how much of that was synced. When the power goes, what was synced stays; of what
//! follows, the file's length is anything up to what was written, and each sector is there or is zeros, in whatever order. A
//! sync may fail, and has then kept nothing. Whatever the journal said was kept is to be read back behind that, whole and in
//! order, before the reader meets the end or damage.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::thread::{Hooks, start};
use super::{Journal, Order, Settings, SyncPolicy, Writer};
use crate::persist::aof::file::Disk;
use crate::persist::aof::{AofFile, AofReader, Next};
use crate::store::{Changes, DbIndex};

const SECTOR_BYTES: usize = 512;
const WORKERS: u64 = 3;
const GROUPS_OF_WORKER: u64 = 400;
const SEEDS: u64 = 60;

/// Random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// What is on the way to a disk.
struct Platter {
    written: Vec<u8>,
    synced: usize,
    random: Random,
    /// The power is gone: what comes now is in vain.
    is_off: bool,
}

#[derive(Clone)]
struct PoweredDisk(Arc<Mutex<Platter>>);

impl PoweredDisk {
    fn new(seed: u64) -> Self {
        let (written, random) = (Vec::new(), Random(seed));
        Self(Arc::new(Mutex::new(Platter { written, synced: 0, random, is_off: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power; what is found when it is back.
    fn cut(&self) -> Vec<u8> {
        let platter = &mut *self.lock();
        platter.is_off = true;
        let (synced, written) = (platter.synced, platter.written.len());
        let mut image = platter.written[..synced + platter.random.below(written - synced + 1)].to_vec();
        let first = synced - synced % SECTOR_BYTES;
        for start in (first..image.len()).step_by(SECTOR_BYTES) {
            if platter.random.below(2) == 0 {
                let end = (start + SECTOR_BYTES).min(image.len());
                image[start.max(synced)..end].fill(0);
            }
        }
        image
    }
}

impl Disk for PoweredDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let platter = &mut *self.lock();
        let count =
            if platter.random.below(3) == 0 { 1 + platter.random.below(bytes.len()) } else { bytes.len() };
        match platter.random.below(40) {
            0 if !platter.is_off => Err(io::ErrorKind::Interrupted.into()),
            _ => {
                platter.written.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.lock().written.truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let upto = self.lock().written.len();
        // The power may go in the middle of it, as others run meanwhile.
        std::thread::yield_now();
        let platter = &mut *self.lock();
        if !platter.is_off {
            if platter.random.below(50) == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            platter.synced = upto;
        }
        Ok(())
    }
}

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
        let (told, disk) = (Arc::clone(&has_failed), PoweredDisk::new(seed));
        let power = disk.clone();
        let hooks = Hooks {
            wake: Box::new(|_| {}),
            is_saving: Box::new(|| false),
            // Where the process ends nothing is written any more.
            fail: Box::new(move |_| {
                told.store(true, Relaxed);
                power.lock().is_off = true;
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
