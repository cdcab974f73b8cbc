//! Finding and inserting in the keyspace of a worker that is alone, one key at a time and as a group does: all buckets
//! prefetched, then all entries, then the work.

use std::hint::black_box;
use std::sync::Arc;

use bench::keys::Random;
use criterion::{BatchSize, Criterion, Throughput};
use torc::store::{DbIndex, Deadline, Keyspace, KeyspaceOptions, Leases, NewString, Str, Touch};

const DB: DbIndex = DbIndex(0);
/// As many shards as a server has by default.
const SHARDS: usize = 256;
/// Bytes of a value.
const VALUE: [u8; 64] = [b'x'; 64];
/// Any time.
const NOW_MS: u64 = 1_800_000_000_000;

/// A keyspace that is much larger than the caches, and the keys that one iteration looks for.
struct Setup {
    leases: Leases,
    keyspace: Arc<Keyspace>,
    keys: u64,
    random: Random,
    batch: Vec<Vec<u8>>,
}

impl Setup {
    fn new(keys: usize, batch: usize) -> Setup {
        let options = KeyspaceOptions { shards: SHARDS, databases: 1, workers: 1, hash_seed: 7 };
        let keyspace = Arc::new(Keyspace::new(options));
        let leases = Leases::new(&keyspace, 0, true);
        let (keys, random) = (keys as u64, Random::new(1));
        let mut setup = Setup { leases, keyspace, keys, random, batch: vec![Vec::new(); batch] };
        (0..keys).for_each(|number| setup.insert(&key(number)));
        setup
    }

    /// Draws the keys of the next iteration.
    fn draw(&mut self) -> Vec<Vec<u8>> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.iter_mut().for_each(|drawn| *drawn = key(self.random.below(self.keys)));
        batch
    }

    fn insert(&mut self, key: &[u8]) {
        let hash = self.keyspace.hash(key);
        let shard = self.leases.shard(self.keyspace.shard_of(hash));
        shard.write(DB, hash, key, NOW_MS).set_string(NewString::Bytes(&VALUE), Deadline::None);
    }

    fn find(&mut self, hash: u64, key: &[u8]) -> usize {
        let shard = self.leases.shard(self.keyspace.shard_of(hash));
        match shard.read(DB, hash, key, NOW_MS, Touch::None, || false).expect("every key is there").string() {
            Str::Int(_) => 0,
            Str::Bytes(bytes) => usize::from(bytes[0]) + bytes.len(),
        }
    }

    fn prefetch(&self, hashes: &[u64]) {
        self.leases.fetch(hashes.iter().map(|hash| (DB, *hash)));
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

/// Finding, overwriting and inserting.
pub fn benches(criterion: &mut Criterion) {
    let batch = crate::sized(32, 4);
    let mut setup = Setup::new(crate::sized(1_000_000, 500), batch);
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(batch as u64));
    let mut bench = |name: &str, work: &mut dyn FnMut(&mut Setup, &[Vec<u8>])| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..iterations {
                    let keys = setup.draw();
                    let start = std::time::Instant::now();
                    work(&mut setup, &keys);
                    spent += start.elapsed();
                    setup.batch = keys;
                }
                spent
            });
        });
    };
    bench("find, one at a time", &mut |setup, keys| {
        for key in keys {
            let hash = setup.keyspace.hash(key);
            black_box(setup.find(hash, key));
        }
    });
    let mut hashes = Vec::new();
    bench("find, prefetched", &mut |setup, keys| {
        hash_all(setup, keys, &mut hashes);
        setup.prefetch(&hashes);
        for (hash, key) in hashes.iter().zip(keys) {
            black_box(setup.find(*hash, key));
        }
    });
    bench("overwrite, one at a time", &mut |setup, keys| {
        keys.iter().for_each(|key| setup.insert(key));
    });
    bench("overwrite, prefetched", &mut |setup, keys| {
        hash_all(setup, keys, &mut hashes);
        setup.prefetch(&hashes);
        keys.iter().for_each(|key| setup.insert(key));
    });
    group.finish();
    insert(criterion);
}

/// Growing from nothing.
fn insert(criterion: &mut Criterion) {
    let keys: Vec<Vec<u8>> = (0..crate::sized(100_000, 50) as u64).map(key).collect();
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(keys.len() as u64)).sample_size(10);
    group.bench_function("insert into an empty keyspace", |bencher| {
        let empty = || Setup::new(0, 0);
        let fill = |mut setup: Setup| {
            keys.iter().for_each(|key| setup.insert(key));
            setup
        };
        bencher.iter_batched(empty, fill, BatchSize::PerIteration);
    });
    group.finish();
}

fn hash_all(setup: &Setup, keys: &[Vec<u8>], hashes: &mut Vec<u64>) {
    hashes.clear();
    hashes.extend(keys.iter().map(|key| setup.keyspace.hash(key)));
}
