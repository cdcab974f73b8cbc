//! What the keyspace costs: time per key, memory per key, the longest pause. Not a test; run it with
//!
//!     cargo test --release --lib -- --ignored --nocapture store::measure
//!
//! `TORC_MEASURE_KEYS` and `TORC_MEASURE_SHARDS` change the 10 M keys and the 256 shards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{DbIndex, Deadline, Keyspace, KeyspaceOptions, Leases, NewString, Str};

const DB: DbIndex = DbIndex(0);
const BATCH: usize = 32;

fn parameter(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: usize =
        statm.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("the second is a number");
    pages * 4096
}

#[expect(unsafe_code, reason = "reads a clock that the standard library does not")]
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and writes the struct.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn key(number: usize) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

fn ns_each(elapsed: Duration, count: usize) -> f64 {
    elapsed.as_nanos() as f64 / count as f64
}

/// Runs `rounds` batches of random keys below `bound`, prefetched as a group would; returns ns per key.
fn batches(
    leases: &mut Leases,
    rounds: usize,
    bound: usize,
    mut each: impl FnMut(&mut Leases, u64, &[u8]),
) -> f64 {
    let keyspace = leases.keyspace().clone();
    let mut random = Random(42);
    let start = Instant::now();
    for _ in 0..rounds {
        let keys: [[u8; 16]; BATCH] = std::array::from_fn(|_| key(random.below(bound)));
        let hashes = keys.map(|key| keyspace.hash(&key));
        for hash in hashes {
            leases.prefetch(keyspace.shard_of(hash));
        }
        leases.fetch(hashes.into_iter().map(|hash| (DB, hash)));
        for (key, hash) in keys.iter().zip(hashes) {
            each(leases, hash, key);
        }
    }
    ns_each(start.elapsed(), rounds * BATCH)
}

/// What the other figures contain that is not the keyspace's.
fn nothing(keyspace: &Keyspace, rounds: usize, bound: usize) -> f64 {
    let mut random = Random(42);
    let mut sum = 0;
    let start = Instant::now();
    for _ in 0..rounds {
        let keys: [[u8; 16]; BATCH] = std::array::from_fn(|_| key(random.below(bound)));
        keys.map(|key| keyspace.hash(&key)).iter().for_each(|hash| sum ^= hash);
    }
    std::hint::black_box(sum);
    ns_each(start.elapsed(), rounds * BATCH)
}

fn get(leases: &mut Leases, hash: u64, key: &[u8], sum: &mut usize) {
    let shard = leases.keyspace().shard_of(hash);
    if let Some(entry) = leases.shard(shard).read(DB, hash, key, 1, crate::store::Touch::None, || false)
        && let Str::Bytes(bytes) = entry.string()
    {
        *sum += bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    }
}

fn set(leases: &mut Leases, hash: u64, key: &[u8], value: &[u8], deadline: Deadline) {
    let shard = leases.keyspace().shard_of(hash);
    leases.shard(shard).write(DB, hash, key, 1).set_string(NewString::Bytes(value), deadline);
}

#[test]
#[ignore = "a measurement"]
fn fill_and_read() {
    let keys = parameter("TORC_MEASURE_KEYS", 10_000_000);
    let shards = parameter("TORC_MEASURE_SHARDS", 256);
    for deadline in [Deadline::None, Deadline::At(u64::MAX / 2)] {
        run(keys, shards, deadline);
    }
}

fn run(keys: usize, shards: usize, deadline: Deadline) {
    let before = resident_bytes();
    let keyspace =
        Arc::new(Keyspace::new(KeyspaceOptions { shards, databases: 16, workers: 1, hash_seed: 12345 }));
    let mut leases = Leases::new(&keyspace, 0, true);
    println!("{keys} keys, {shards} shards, {deadline:?}; empty: {} bytes", resident_bytes() - before);
    let (mut worst, mut above_100_us, mut last) = (Duration::ZERO, 0, Instant::now());
    let start = last;
    let mut cpu_last = thread_cpu();
    let (mut cpu_worst, cpu_start) = (Duration::ZERO, cpu_last);
    for number in 0..keys {
        if number.is_multiple_of(BATCH) {
            let now = thread_cpu();
            cpu_worst = cpu_worst.max(now - cpu_last);
            cpu_last = now;
            // As a worker would: a little cron work each turn.
            for turn in 0..4 {
                let shard = keyspace.shard_of((number / BATCH * 4 + turn) as u64);
                if leases.shard(shard).cron_due() {
                    leases.shard(shard).cron(128);
                }
            }
        }
        let key = key(number);
        set(&mut leases, keyspace.hash(&key), &key, &[b'v'; 64], deadline);
        let now = Instant::now();
        worst = worst.max(now - last);
        above_100_us += usize::from(now - last > Duration::from_micros(100));
        last = now;
    }
    println!(
        "insert, one by one, timed: {:.1} ns; worst {worst:?}; {above_100_us} above 100 us",
        ns_each(start.elapsed(), keys)
    );
    let cpu = ns_each(thread_cpu() - cpu_start, keys);
    println!("  CPU {cpu:.1} ns each; the worst {BATCH} in a row {cpu_worst:?}");
    let resident = resident_bytes() - before;
    println!("resident: {:.2} bytes per key", resident as f64 / keys as f64);
    let (mut entries, mut table, mut slack, mut segments, mut slots) = (0, 0, 0, 0, 0);
    for shard in keyspace.shards() {
        let memory = leases.shard(shard).memory();
        entries += memory.entries_bytes;
        table += memory.table_bytes;
        slack += memory.slab_overhead_bytes;
        let capacity = leases.shard(shard).table_capacity(DB);
        segments += capacity.0;
        slots += capacity.1;
    }
    let each = |bytes: u64| bytes as f64 / keys as f64;
    let load = keys as f64 / slots as f64;
    println!(
        "  entries {:.2}, table {:.2} ({segments} segments, {load:.3} full), slab slack {:.2}",
        each(entries),
        each(table),
        each(slack)
    );
    println!("  pool: {:?}", super::pool::POOL.usage());
    let rounds = 200_000;
    let mut sum = 0;
    println!("making {BATCH} random keys and hashing them: {:.1} ns each", nothing(&keyspace, rounds, keys));
    let hit = batches(&mut leases, rounds, keys, |leases, hash, key| get(leases, hash, key, &mut sum));
    let none = keys * 10;
    let miss = batches(&mut leases, rounds, none, |leases, hash, key| get(leases, hash, key, &mut sum));
    let write =
        batches(&mut leases, rounds, keys, |leases, hash, key| set(leases, hash, key, &[b'w'; 64], deadline));
    let churn = batches(&mut leases, rounds, keys, |leases, hash, key| {
        let shard = leases.keyspace().shard_of(hash);
        let mut guard = leases.shard(shard).write(DB, hash, key, 1);
        if !guard.remove() {
            guard.set_string(NewString::Bytes(&[b'x'; 64]), deadline);
        }
    });
    println!(
        "prefetched by {BATCH}: get {hit:.1} ns, get with 90 % misses {miss:.1} ns, overwrite {write:.1} ns, remove or insert {churn:.1} ns ({sum})"
    );
    let start = Instant::now();
    drop(leases);
    drop(keyspace);
    println!("drop: {:?}; pool: {:?}\n", start.elapsed(), super::pool::POOL.usage());
}
