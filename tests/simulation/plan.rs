//! What a seed stands for.

use std::time::Duration;

use torc::io::Options;
use torc::io::sim::{Faults, Rng};

/// A bug put in on purpose, which the checks must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A reply is expected that the server does not give.
    WrongReply,
    /// Two commands of one connection are swapped on their way.
    Reordered,
    /// A write to several keys is done in two parts.
    TornWrite,
    /// An increment is acknowledged that nobody counted.
    LostIncrement,
    /// Workers that sleep are not woken.
    LostWakes,
    /// The commands of transactions are sent as single ones.
    TornTransaction,
    /// The disk says that it has kept what it has not.
    LyingDisk,
    /// Effects stand in another order than what they did.
    Shuffled,
    /// An effect reaches a replica as another one.
    ChangedEffect,
    /// A replica says that it has more than it has.
    EarlyAcknowledgement,
}

/// Everything about a run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub workers: usize,
    pub shards: usize,
    pub clients: usize,
    pub commands_per_client: u64,
    /// Databases are swapped and flushed, which leaves less to be checked exactly.
    pub wild: bool,
    /// Values that are received straight into their memory.
    pub large_values: bool,
    /// A client that reads nothing until all others are done.
    pub slow_reader: bool,
    /// Clients make the histories that the running server's tests make, and nothing else.
    pub histories: bool,
    /// Clients do nothing but end.
    pub ends: bool,
    /// Clients publish and listen, and nothing else.
    pub talkers: bool,
    /// Clients make histories, and the power goes in the middle of them.
    pub power: bool,
    /// What the journal holds at the end is loaded and compared with what there is.
    pub journaled: bool,
    /// Several servers replicate each other.
    pub replicated: bool,
    /// How often, between the steps of others, the journal writes and syncs what there is.
    pub journal_percent: u32,
    pub faults: Faults,
    pub io: Options,
    /// How often, instead of its turn, a worker that could go gets a rest.
    pub rest_percent: u32,
    pub rest_max: Duration,
    /// How often a worker that holds leases, or is about to sleep, is descheduled.
    pub yield_point_percent: u32,
    /// How often, before a worker's turn, another number of workers becomes active, so that connections move.
    pub moves_percent: u32,
    /// Longest virtual time that one turn takes.
    pub turn_max: Duration,
    pub fault: Option<Fault>,
}

impl Plan {
    /// A plan of a seed without any faults, and with one receive buffer per worker.
    pub fn calm(seed: u64) -> Plan {
        let io = Options { buffer_count: 1, ..Options::default() };
        let (faults, rest_percent, wild) = (Faults::default(), 0, false);
        Plan {
            faults,
            io,
            rest_percent,
            wild,
            yield_point_percent: 0,
            moves_percent: 0,
            slow_reader: false,
            ..Plan::draw(seed)
        }
    }

    /// A plan of a seed in which clients make histories.
    pub fn histories(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x6869_7374);
        let workers = [2, 2, 3, 3, 5][rng.below(5) as usize];
        let shards = [2, 4, 16, 64][rng.below(4) as usize];
        let yield_point_percent = [3, 20, 50][rng.below(3) as usize];
        let commands_per_client = 20 + rng.below(60);
        // Most have all workers at work at the same time, which is when something may go wrong.
        let moves_percent = [0, 0, 0, 5][rng.below(4) as usize];
        let (histories, wild, slow_reader, large_values) = (true, false, false, false);
        Plan {
            workers,
            shards,
            yield_point_percent,
            commands_per_client,
            moves_percent,
            histories,
            wild,
            slow_reader,
            large_values,
            ..Plan::draw(seed)
        }
    }

    /// A plan of a seed in which clients end.
    pub fn ends(seed: u64) -> Plan {
        Plan {
            ends: true,
            wild: false,
            slow_reader: false,
            large_values: false,
            ..Plan::draw(seed ^ 0x656E_6473)
        }
    }

    /// A plan of a seed in which clients publish and listen.
    pub fn talkers(seed: u64) -> Plan {
        let drawn = Plan::draw(seed ^ 0x7461_6C6B);
        Plan {
            talkers: true,
            wild: false,
            slow_reader: false,
            large_values: false,
            // So that places in inboxes are drawn and filled apart, and listeners-to-be move in between.
            workers: drawn.workers.max(2),
            yield_point_percent: drawn.yield_point_percent.max(20),
            moves_percent: drawn.moves_percent.max(5),
            clients: drawn.clients + 1,
            commands_per_client: drawn.commands_per_client + 30,
            ..drawn
        }
    }

    /// A plan of a seed in which the power goes.
    pub fn power(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x706F_7765);
        let journal_percent = [2, 20, 60][rng.below(3) as usize];
        Plan { power: true, histories: false, journal_percent, ..Plan::histories(seed ^ 0x706F_7765) }
    }

    /// A plan of a seed with several servers.
    pub fn replicated(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x7265_706C);
        let drawn = Plan::draw(seed ^ 0x7265_706C);
        let journal_percent = [5, 20, 60][rng.below(3) as usize];
        Plan {
            replicated: true,
            wild: false,
            workers: drawn.workers.min(2),
            shards: drawn.shards.min(4),
            // Snapshots are long, and what cuts commands is tried elsewhere.
            faults: Faults {
                piece_bytes_max: drawn.faults.piece_bytes_max.max(512),
                socket_bytes: drawn.faults.socket_bytes.max(4096),
                ..drawn.faults.clone()
            },
            io: Options { buffer_bytes: drawn.io.buffer_bytes.max(256), ..drawn.io.clone() },
            clients: 2 + rng.below(3) as usize,
            journal_percent,
            moves_percent: drawn.moves_percent.min(5),
            ..drawn
        }
    }

    /// The plan of a seed.
    pub fn draw(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x746F_7263);
        let faults = draw_faults(&mut rng);
        let roomy = faults.piece_bytes_max >= 4096 && faults.socket_bytes >= 4096;
        let wild = rng.chance(25);
        Plan {
            seed,
            workers: [1, 2, 2, 3, 3, 4][rng.below(6) as usize],
            shards: [1, 2, 4, 16, 64][rng.below(5) as usize],
            clients: 2 + rng.below(7) as usize,
            commands_per_client: 5 + rng.below(60),
            wild,
            large_values: roomy && rng.chance(25),
            slow_reader: roomy && !wild && rng.chance(30),
            histories: false,
            ends: false,
            talkers: false,
            power: false,
            journaled: false,
            replicated: false,
            journal_percent: 0,
            io: draw_options(&mut rng),
            rest_percent: [0, 5, 30][rng.below(3) as usize],
            rest_max: Duration::from_micros(1 + rng.below(20_000)),
            yield_point_percent: [0, 3, 20, 50][rng.below(4) as usize],
            turn_max: Duration::from_micros(1 + rng.below(200)),
            moves_percent: [0, 1, 5, 30][rng.below(4) as usize],
            fault: None,
            faults,
        }
    }
}

fn draw_faults(rng: &mut Rng) -> Faults {
    let calm = Faults { delay_max: Duration::from_micros(rng.below(500)), ..Faults::default() };
    match rng.below(4) {
        0 => calm,
        1 => Faults { piece_bytes_max: 1 + rng.below(8) as usize, ..calm },
        2 => Faults::random(rng),
        _ => Faults { reset_per_million: rng.below(5000) as u32, ..Faults::random(rng) },
    }
}

/// Few and small buffers, so that they run out and commands are cut.
fn draw_options(rng: &mut Rng) -> Options {
    let buffer_count = 1 << rng.below(7);
    let buffer_bytes = 1 << (4 + rng.below(11));
    let held_buffers_max = 1 + rng.below(32) as u16;
    Options { buffer_count, buffer_bytes, held_buffers_max, ..Options::default() }
}
