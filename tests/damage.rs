//! Damaged files through the loader: RDB files and append-only files with flipped, lost, doubled and exchanged bytes.
//!
//! Design: Redis and Torc write small files of random data. Mutations of them, with lengths and opcodes of their formats among what
//! is put in, are loaded into a keyspace as at the start, without looking at the checksum, which would refuse nearly all of
//! them. What was accepted is then written as DUMP does and read again, which must work: nothing that was let in may be
//! unsound. Commands are read, looked up and hashed as at the start; and a running server loads them in the place of its
//! append-only file (DEBUG LOADAOF), runs them, and once in a while saves and loads what they made (DEBUG RELOAD).
//!
//! Nothing may panic or hang, and no file may have more memory asked for than its size explains. What a thread may ask of the
//! system at once is visible in the process's peak of address space.
//!
//! `TORC_DAMAGED=N` loads N files of each kind instead of a few hundred.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use torc::command::{Args, Queue, table};
use torc::exec::resolve;
use torc::persist::aof::{AofReader, Next};
use torc::persist::load::insert;
use torc::persist::rdb::file::split::Splitter;
use torc::persist::rdb::{self, file::FileError};
use torc::resp::Span;
use torc::store::{AccessClock, DbIndex, Keyspace, KeyspaceOptions, Leases, Limits, View};

use crate::differential::commands;
use crate::harness::{Rng, Server};

/// Files of each kind, unless `TORC_DAMAGED` says otherwise.
const FILES: u64 = 800;
/// Sound files that mutation starts from.
const SOUND: u64 = 24;
const DATABASES: usize = 16;
/// Files that are loaded into the same keyspace, one over the other.
const FILES_OF_KEYSPACE: u64 = 50;
/// Address space that may come on top between two looks: what allocators ask for at a time.
const SPACE_BYTES: u64 = 80 << 20;
/// For each byte of a file: a compressed string may become so much longer.
const SPACE_FACTOR: u64 = 200;
/// What one file may take: far more than a busy machine needs.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Lengths, opcodes and types of the RDB format, and the ends of packed values.
const RDB_TOKENS: &[&[u8]] = &[
    b"\xff",
    b"\xfe\x00",
    b"\xfb\x01\x00",
    b"\xfc\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\xfd\x00\x00\x00\x00",
    b"\xf8\x20",
    b"\xf9\x10",
    b"\xfa\x01a\x01b",
    b"\xf7\x81",
    b"\xf5",
    b"\xc0\x7f",
    b"\xc1\xff\x7f",
    b"\xc2\xff\xff\xff\x7f",
    b"\xc3\x04\x40\x64",
    b"\x80\x7f\xff\xff\xff",
    b"\x80\xff\xff\xff\xff",
    b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00",
    b"\x7f\xff",
    b"\xf0\xff\xff\xff",
    b"\xf4\xff\xff\xff\xff\xff\xff\xff\xff",
];
/// Of the append-only file.
const AOF_TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"*1\r\n",
    b"$-1\r\n",
    b"*4294967297\r\n",
    b"$18446744073709551615\r\n",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"#TS:1\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n",
    b"REDIS0011",
];

fn files() -> u64 {
    let given = std::env::var("TORC_DAMAGED").ok();
    given.map_or(FILES, |text| text.parse().expect("TORC_DAMAGED is a number of files"))
}

/// Small files of random data: RDB, and of commands.
fn sound() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let tiny = ["hash-max-listpack-entries", "set-max-intset-entries", "zset-max-listpack-entries"];
    let own = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no"];
    let args = [&own[..], &["--workers", "1"]].concat();
    let (mut all_rdb, mut all_aof) = (Vec::new(), Vec::new());
    for number in 0..SOUND {
        let server = if number % 2 == 0 { Server::start(&args) } else { Server::redis(&own) };
        let mut client = server.client();
        while client.ask("PING").string() != "PONG" {}
        if number % 4 > 1 {
            tiny.iter().for_each(|name| drop(client.ask(&format!("CONFIG SET {name} 2"))));
            client.ask("CONFIG SET list-max-listpack-size 2");
        }
        for words in commands(100 + number, 60) {
            client.call(&words);
        }
        client.ask("RESET");
        client.ask(&format!("SET compressed {}", "ab".repeat(100)));
        for command in ["XADD stream 1-1 field value", "XGROUP CREATE stream group 0", "SADD set 1 2 3 x"] {
            client.ask(command);
        }
        assert_eq!(client.ask("SAVE").string(), "OK", "{}", server.log());
        all_rdb.push(std::fs::read(server.dir().join("dump.rdb")).expect("it was saved"));
        let dir = std::fs::read_dir(server.dir().join("appendonlydir")).expect("it is there");
        let paths = dir.map(|file| file.expect("it can be read").path());
        let last = paths.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max();
        all_aof.push(std::fs::read(last.expect("there is one")).expect("it can be read"));
    }
    (all_rdb, all_aof)
}

/// One mutation: bytes changed, inserted, removed, doubled, moved, or taken from another file.
fn mutate(file: &mut Vec<u8>, others: &[Vec<u8>], tokens: &[&[u8]], rng: &mut Rng) {
    let at = rng.below(file.len() + 1);
    let end = (at + 1 + rng.below(24)).min(file.len());
    match rng.below(9) {
        0 | 1 if at < file.len() => file[at] ^= 1 << rng.below(8),
        2 if at < file.len() => file[at] = rng.next() as u8,
        3 => drop(file.drain(at.min(end)..end)),
        4 => {
            let piece = file[at.min(end)..end].to_vec();
            let to = rng.below(file.len() + 1);
            file.splice(to..to, piece);
        }
        5 if rng.once_in(4) => file.truncate(at),
        6 => {
            let other = rng.pick(others);
            let from = rng.below(other.len());
            let piece = &other[from..(from + rng.below(64)).min(other.len())];
            file.splice(at..end.max(at), piece.iter().copied());
        }
        7 => {
            let token = *rng.pick(tokens);
            let end = (at + token.len()).min(file.len());
            file.splice(at..end, token.iter().copied());
        }
        _ => drop(file.splice(at..at, rng.pick(tokens).iter().copied())),
    }
}

/// The most address space that this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Mutated files, one after the other, to `load`, which says how many it accepted something of.
fn run(sound: &[Vec<u8>], tokens: &[&[u8]], mut load: impl FnMut(u64, &[u8])) {
    let mut peak = 0;
    for seed in 0..files() {
        let mut rng = Rng(seed);
        let mut file = rng.pick(sound).clone();
        (0..1 + rng.below(6)).for_each(|_| mutate(&mut file, sound, tokens, &mut rng));
        let start = Instant::now();
        let loaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| load(seed, &file)));
        assert!(loaded.is_ok(), "seed {seed}");
        assert!(start.elapsed() < TIME_MAX, "seed {seed}: {:?}", start.elapsed());
        let now = peak_bytes();
        // What the first files take is what any take.
        let limit = if seed < 100 { now } else { peak + SPACE_BYTES + SPACE_FACTOR * file.len() as u64 };
        assert!(now <= limit, "seed {seed}: {} MiB more for {} bytes", (now - peak) >> 20, file.len());
        peak = now;
    }
}

/// An empty keyspace, all of whose leases are held.
fn keyspace(seed: u64) -> Leases {
    let options =
        KeyspaceOptions { shards: 4, databases: DATABASES, workers: 1, hash_seed: u128::from(seed) };
    Leases::new(&Arc::new(Keyspace::new(options)), 0, true)
}

/// Loads a file as the start does; how many of its keys came to be.
fn load_rdb(file: &[u8], leases: &mut Leases, merges: bool) -> Result<u64, FileError> {
    let limits = Limits::default();
    let mut splitter = Splitter::new(Cursor::new(file), Some(file.len() as u64), DATABASES, false)?;
    let (mut spare, mut count) = (Vec::new(), 0);
    while let Some(piece) = splitter.next_piece(std::mem::take(&mut spare))? {
        let access_clock = AccessClock::new(0, false);
        let policy = insert::Policy { now_ms: 0, access_clock, limits: &limits, merges };
        let (outcome, _) = insert::piece(&piece, leases, policy);
        count += outcome?.loaded;
        spare = piece.bytes;
    }
    Ok(count)
}

/// Every value that was let in can be written, and read again.
fn check_values(leases: &Leases) -> u64 {
    let limits = Limits::default();
    let keyspace = leases.keyspace();
    let mut count = 0;
    for shard in keyspace.shards() {
        let shard = leases.shard_ref(shard);
        shard.check_invariants();
        for db in 0..DATABASES {
            shard.for_each(DbIndex(db as u32), |entry| {
                let payload = rdb::payload(&View::of(entry), entry.bytes_allocated(), true);
                let value = rdb::checked(&payload).expect("its checksum is right");
                let again = rdb::value(value, &limits, keyspace.hasher());
                assert!(again.is_ok(), "{}: {:?}", entry.key().escape_ascii(), again.err());
                count += 1;
            });
        }
    }
    count
}

#[test]
fn damaged_rdb_files_are_refused_or_sound() {
    let (sound, _) = sound();
    for file in &sound {
        let loaded = load_rdb(file, &mut keyspace(0), false).expect("it is sound");
        assert!(loaded > 3, "{loaded}");
    }
    let (mut leases, mut whole, mut kept) = (keyspace(0), 0, 0);
    run(&sound, RDB_TOKENS, |seed, file| {
        if seed % FILES_OF_KEYSPACE == 0 {
            leases = keyspace(seed);
        }
        whole += u64::from(load_rdb(file, &mut leases, seed % 4 > 0).is_ok());
        if seed % 10 == 9 {
            kept += check_values(&leases);
        }
    });
    println!("{whole} of {} files were accepted as a whole; {kept} values looked at", files());
    assert!(whole > files() / 50 && whole < files() * 9 / 10 && kept > files() / 10, "{whole}, {kept}");
}

/// Reads a file as the start does, without running what it says.
fn read_aof(file: &[u8], keyspace: &Keyspace) -> u64 {
    let mut reader = AofReader::new(file, Path::new("damaged"), 0, file.len() as u64);
    let (mut queue, mut count) = (Queue::default(), 0);
    while let Next::Command(command) = reader.next().expect("memory can be read") {
        let span = |word: std::ops::Range<usize>| Span { start: word.start as u32, len: word.len() as u32 };
        let spans: Vec<Span> = command.ranges().map(span).collect();
        let args = Args::new(command.bytes, &spans, &[]);
        let mut hashes = Vec::new();
        let Some(row) = resolve(&args, table(), keyspace, &mut hashes) else { break };
        if queue.push(row, &args.hashed(&hashes)).is_err() {
            break;
        }
        count += 1;
    }
    assert_eq!(queue.commands().count() as u64, count);
    count
}

#[test]
fn damaged_commands_are_refused_or_whole() {
    let (_, sound) = sound();
    let leases = keyspace(0);
    let mut commands = 0;
    run(&sound, AOF_TOKENS, |_, file| {
        torc::persist::aof::fuzz(file);
        commands += read_aof(file, leases.keyspace());
    });
    println!("{commands} commands in {} files", files());
    assert!(commands > files(), "{commands}");
}

/// The loader of a running server runs what files say; whatever that is, it goes on, and what it has can be saved and loaded.
#[test]
fn damaged_commands_are_run_and_leave_what_can_be_saved() {
    let (_, sound) = sound();
    let args = ["--appendonly", "yes", "--appendfsync", "no", "--save", "", "--workers", "2"];
    let rare =
        ["--auto-aof-rewrite-percentage", "0", "--enable-debug-command", "yes", "--loglevel", "warning"];
    let mut server = Server::start(&[&args[..], &rare].concat());
    let mut client = server.client();
    while client.ask("PING").string() != "PONG" {}
    let path = server.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
    let (mut loaded, mut keys) = (0, 0);
    run(&sound, AOF_TOKENS, |seed, file| {
        std::fs::write(&path, file).expect("there is room");
        let reply = client.send(&["DEBUG", "LOADAOF"]).and_then(|()| client.read());
        let reply = reply.unwrap_or_else(|error| panic!("{error}: {}", server.log()));
        assert!(reply.string() == "OK" || reply.string().contains("AOF files"), "{reply}");
        loaded += u64::from(reply.string() == "OK");
        if seed % 10 == 9 {
            keys += client.ask("DBSIZE").int().expect("a number");
            let reply = client.ask("DEBUG RELOAD");
            assert_eq!(reply.string(), "OK", "seed {seed}: {}", server.log());
        }
    });
    println!("{loaded} of {} files were loaded as a whole; {keys} keys looked at", files());
    assert!(loaded > files() / 50 && loaded < files() && keys > 0, "{loaded}, {keys}");
    assert!(server.exit_status().is_none());
}
