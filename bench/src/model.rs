//! A model of workers that lease shards: what each rule is worth on more processors than there are.
//!
//! Design: a discrete-event simulation. A worker parses a turn's commands, then forms groups of them until none is left; what
//! a command costs under its lease and outside of it, what a group costs beyond its commands, and what taking a lease costs
//! are parameters, measured on one processor. Everything else follows from who holds what when. Left out: caches that
//! share their bandwidth, and workers that lose their processor while they hold leases.
//!
//! Invariants: a shard has one exclusive holder, or any number of shared ones; a connection's commands run in their order.
//!
//! Not here: the rules themselves (`exec` and `store::lease` of the server), measurements (`scaling`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use crate::keys::{KeyPicker, Random};

/// Most commands that a worker parses in one turn.
const TURN_COMMANDS_MAX: usize = 400;
/// Fewest, so that a turn of many workers has a whole group.
const TURN_COMMANDS_MIN: usize = 32;
/// Commands refused after which a group takes no more.
const REFUSALS_MAX: usize = 128;
/// Time until commands that were all refused are tried again.
const RETRY_NS: u64 = 30;
/// As in the server: sizes of groups, and how they follow from what is refused.
const GROUP_MAX: usize = 32;
const GROUP_MIN: usize = 8;
const TRIES_PER_JUDGEMENT: usize = 256;
const REFUSED_MANY: usize = 4;
const REFUSED_FEW: usize = 16;

/// What things cost, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// A command, under its lease.
    pub run_ns: u64,
    /// A group, besides its commands.
    pub group_ns: u64,
    /// A command, outside: parsing, reply, its part of the socket's cost.
    pub outside_ns: u64,
    /// Taking a lease, or failing to.
    pub lease_ns: u64,
}

/// What is modelled.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// Numbers of workers, a column each.
    pub workers: Vec<usize>,
    /// Shards; as the server chooses them if there is none.
    pub shards: Option<usize>,
    /// Percentage of commands that only read.
    pub reads_percent: u32,
    /// Number of keys.
    pub keys: u64,
    /// Exponent of the keys' Zipf distribution; uniform if there is none.
    pub zipf: Option<f64>,
    /// Commands sent at once on a connection.
    pub depth: usize,
    /// Commands under way on all connections.
    pub under_way: usize,
    /// Simulated time, in ms.
    pub ms: u64,
    /// What things cost.
    pub costs: Costs,
}

impl Default for ModelOptions {
    fn default() -> ModelOptions {
        ModelOptions {
            workers: vec![1, 2, 4, 8, 16],
            shards: None,
            reads_percent: 90,
            keys: 100_000,
            zipf: Some(0.99),
            depth: 16,
            under_way: 800,
            ms: 5,
            costs: Costs { run_ns: 100, group_ns: 250, outside_ns: 250, lease_ns: 20 },
        }
    }
}

/// How leases are taken and given back.
#[derive(Clone, Copy, Debug)]
struct Rules {
    name: &'static str,
    /// A refused command holds back its own connection only, not all that come behind.
    passes_over: bool,
    /// A lease goes back behind the last command that needs it.
    returns_early: bool,
    /// Commands that only read share leases.
    shares: bool,
    /// The size of groups; none if it follows from what is refused.
    group: Option<usize>,
}

const RULES: &[Rules] = &[
    Rules {
        name: "group ends at the first refusal",
        passes_over: false,
        returns_early: false,
        shares: false,
        group: Some(32),
    },
    Rules {
        name: "refused connection passed over",
        passes_over: true,
        returns_early: false,
        shares: false,
        group: Some(32),
    },
    Rules {
        name: "and leases back at last use",
        passes_over: true,
        returns_early: true,
        shares: false,
        group: Some(32),
    },
    Rules {
        name: "and groups of 8 to 32",
        passes_over: true,
        returns_early: true,
        shares: false,
        group: None,
    },
    Rules {
        name: "and shared leases, 32",
        passes_over: true,
        returns_early: true,
        shares: true,
        group: Some(32),
    },
    Rules {
        name: "and shared leases, 16",
        passes_over: true,
        returns_early: true,
        shares: true,
        group: Some(16),
    },
    Rules {
        name: "and shared leases, 8",
        passes_over: true,
        returns_early: true,
        shares: true,
        group: Some(8),
    },
    Rules {
        name: "and shared leases, 8 to 32",
        passes_over: true,
        returns_early: true,
        shares: true,
        group: None,
    },
];

/// Throughput of each rule and number of workers, over so many times that of one worker; commands in a group in brackets.
pub fn run(options: &ModelOptions) -> String {
    let mut table = String::new();
    let keys = options.zipf.map_or("uniform keys".to_owned(), |zipf| format!("Zipf {zipf}"));
    let ModelOptions { reads_percent, depth, under_way, .. } = options;
    let _ = writeln!(
        table,
        "{keys} of {}, {reads_percent} % reads, depth {depth}, {under_way} commands under way",
        options.keys
    );
    let _ = write!(table, "{:33}", "");
    for workers in &options.workers {
        let _ = write!(table, "{:>6} ({:>4}) ", workers, options.shard_count(*workers));
    }
    table.push('\n');
    let one = Model::new(options, RULES[1], 1).run().per_us;
    for rules in RULES {
        let _ = write!(table, "{:33}", rules.name);
        for workers in &options.workers {
            let result = Model::new(options, *rules, *workers).run();
            let each = result.per_us / one / *workers as f64;
            let _ = write!(table, "{each:>6.2} ({:>4.1}) ", result.in_group);
        }
        table.push('\n');
    }
    table
}

impl ModelOptions {
    fn shard_count(&self, workers: usize) -> usize {
        self.shards.unwrap_or_else(|| (workers * 256).next_power_of_two().min(4096))
    }
}

/// A command that has not run.
#[derive(Clone, Copy, Debug)]
struct Command {
    connection: usize,
    shard: usize,
    writes: bool,
}

/// Who holds a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Free,
    Exclusive,
    Shared(usize),
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker gives a lease back.
    GiveBack { shard: usize },
    /// A worker forms its next group.
    Form { worker: usize },
}

#[derive(Default)]
struct Worker {
    pending: Vec<Command>,
    /// Shards that its group holds; whether exclusively, and the last member that needs each.
    held: Vec<(usize, bool, usize)>,
    group: usize,
    was_in_vain: bool,
    tried: usize,
    refused: usize,
}

struct Outcome {
    per_us: f64,
    in_group: f64,
}

struct Model<'a> {
    options: &'a ModelOptions,
    rules: Rules,
    shards: Vec<Held>,
    workers: Vec<Worker>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    picker: KeyPicker,
    random: Random,
    groups: u64,
    done: u64,
}

impl<'a> Model<'a> {
    fn new(options: &'a ModelOptions, rules: Rules, workers: usize) -> Model<'a> {
        let group = rules.group.unwrap_or(GROUP_MAX);
        let mut model = Model {
            options,
            rules,
            shards: vec![Held::Free; options.shard_count(workers)],
            workers: (0..workers).map(|_| Worker { group, ..Worker::default() }).collect(),
            events: BinaryHeap::new(),
            sequence: 0,
            picker: KeyPicker::new(options.keys, options.zipf),
            random: Random::new(1),
            groups: 0,
            done: 0,
        };
        for worker in 0..workers {
            let start_ns = model.random.below(1000);
            model.at(start_ns, Event::Form { worker });
        }
        model
    }

    fn at(&mut self, ns: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((ns, self.sequence, event)));
    }

    fn run(mut self) -> Outcome {
        let end_ns = self.options.ms * 1_000_000;
        while let Some(Reverse((ns, _, event))) = self.events.pop() {
            if ns > end_ns {
                break;
            }
            match event {
                Event::GiveBack { shard } => self.give_back(shard),
                Event::Form { worker } => self.form(worker, ns),
            }
        }
        Outcome {
            per_us: self.done as f64 * 1000.0 / end_ns as f64,
            in_group: self.done as f64 / self.groups.max(1) as f64,
        }
    }

    fn give_back(&mut self, shard: usize) {
        self.shards[shard] = match self.shards[shard] {
            Held::Free => unreachable!("it was held"),
            Held::Exclusive | Held::Shared(1) => Held::Free,
            Held::Shared(holders) => Held::Shared(holders - 1),
        };
    }

    /// A turn's commands.
    fn parse(&mut self, worker: usize) -> usize {
        let ModelOptions { under_way, depth, reads_percent, .. } = *self.options;
        let count = (under_way / self.workers.len()).clamp(TURN_COMMANDS_MIN, TURN_COMMANDS_MAX);
        let shard_count = self.shards.len();
        let commands = (0..count).map(|number| {
            // Keys are scattered over the shards by their hash.
            let shard = Random::new(self.picker.pick(&mut self.random)).below(shard_count as u64) as usize;
            let writes = self.random.below(100) >= u64::from(reads_percent);
            Command { connection: number / depth, shard, writes }
        });
        self.workers[worker].pending = commands.collect();
        count
    }

    /// Takes the lease that a command needs, if it is free; what that cost.
    fn take(&mut self, worker: usize, command: Command, member: usize) -> (bool, u64) {
        let lease_ns = self.options.costs.lease_ns;
        let exclusive = command.writes || !self.rules.shares;
        let mine = self.workers[worker].held.iter().position(|(shard, ..)| *shard == command.shard);
        let state = &mut self.shards[command.shard];
        if let Some(place) = mine {
            let (_, is_exclusive, last) = &mut self.workers[worker].held[place];
            if exclusive && !*is_exclusive {
                if *state != Held::Shared(1) {
                    return (false, lease_ns);
                }
                (*state, *is_exclusive) = (Held::Exclusive, true);
            }
            *last = member;
            return (true, 0);
        }
        let (taken, cost_ns) = match (*state, exclusive) {
            (Held::Free, true) => (Held::Exclusive, lease_ns),
            (Held::Free, false) => (Held::Shared(1), lease_ns),
            // Its line comes from another processor.
            (Held::Shared(holders), false) => (Held::Shared(holders + 1), 2 * lease_ns),
            _ => return (false, lease_ns),
        };
        *state = taken;
        self.workers[worker].held.push((command.shard, exclusive, member));
        (true, cost_ns)
    }

    /// Forms a group and says when it will be over.
    fn form(&mut self, worker: usize, now_ns: u64) {
        let costs = self.options.costs;
        if self.workers[worker].pending.is_empty() {
            let count = self.parse(worker);
            return self.at(now_ns + count as u64 * costs.outside_ns, Event::Form { worker });
        }
        let pending = std::mem::take(&mut self.workers[worker].pending);
        self.workers[worker].held.clear();
        let (group_max, mut rest, mut passed_over) = (self.workers[worker].group, Vec::new(), Vec::new());
        let (mut members, mut lease_ns, mut next) = (0, 0, 0);
        while next < pending.len() && members < group_max && rest.len() <= REFUSALS_MAX {
            let command = pending[next];
            let mut joins = false;
            if !passed_over.contains(&command.connection) {
                let cost_ns;
                (joins, cost_ns) = self.take(worker, command, members);
                lease_ns += cost_ns;
            }
            if joins {
                members += 1;
            } else if self.rules.passes_over {
                rest.push(command);
                if !passed_over.contains(&command.connection) {
                    passed_over.push(command.connection);
                }
            } else {
                break;
            }
            next += 1;
        }
        rest.extend_from_slice(&pending[next..]);
        self.workers[worker].pending = rest;
        // Trying in vain again and again counts once.
        let was_in_vain = std::mem::replace(&mut self.workers[worker].was_in_vain, members == 0);
        if members > 0 || !was_in_vain {
            self.judge(worker, members, passed_over.len());
        }
        if members == 0 {
            return self.at(now_ns + RETRY_NS + lease_ns, Event::Form { worker });
        }
        self.groups += 1;
        self.done += members as u64;
        let ran_ns = |count: usize| now_ns + costs.group_ns + lease_ns + count as u64 * costs.run_ns;
        let end_ns = ran_ns(members);
        for (shard, _, last) in std::mem::take(&mut self.workers[worker].held) {
            let back_ns = if self.rules.returns_early { ran_ns(last + 1) } else { end_ns };
            self.at(back_ns, Event::GiveBack { shard });
        }
        self.at(end_ns, Event::Form { worker });
    }

    /// Where the size of groups follows from what is refused, finds it.
    fn judge(&mut self, worker: usize, joined: usize, refused: usize) {
        let worker = &mut self.workers[worker];
        worker.tried += joined + refused;
        worker.refused += refused;
        if self.rules.group.is_some() || worker.tried < TRIES_PER_JUDGEMENT {
            return;
        }
        if worker.refused * REFUSED_MANY > worker.tried {
            worker.group = (worker.group / 2).max(GROUP_MIN);
        } else if worker.refused * REFUSED_FEW < worker.tried {
            worker.group = (worker.group * 2).min(GROUP_MAX);
        }
        (worker.tried, worker.refused) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(rules: usize, workers: usize, change: impl FnOnce(&mut ModelOptions)) -> f64 {
        let mut options = ModelOptions { ms: 1, ..ModelOptions::default() };
        change(&mut options);
        let one = Model::new(&options, RULES[1], 1).run().per_us;
        Model::new(&options, RULES[rules], workers).run().per_us / one / workers as f64
    }

    #[test]
    fn one_worker_is_what_the_others_are_compared_with() {
        assert!((each(0, 1, |_| ()) - 1.0).abs() < 0.01);
    }

    #[test]
    fn each_rule_is_worth_something_under_skewed_keys() {
        let fixed = |options: &mut ModelOptions| options.shards = Some(1024);
        let [end, pass, early, shared] = [0, 1, 2, 4].map(|rules| each(rules, 16, fixed));
        assert!(end < 0.4, "{end}");
        assert!(end < pass && pass < early && early < shared, "{end} {pass} {early} {shared}");
    }

    #[test]
    fn more_shards_help_where_keys_are_drawn_evenly() {
        let with = |shards| each(1, 16, |options| (options.zipf, options.shards) = (None, Some(shards)));
        assert!(with(4096) > with(256) + 0.1);
    }

    #[test]
    fn table_has_a_row_for_each_rule_and_a_column_for_each_number_of_workers() {
        let table = run(&ModelOptions { workers: vec![1, 3], ms: 1, ..ModelOptions::default() });
        assert_eq!(table.lines().count(), 2 + RULES.len());
        assert!(table.lines().skip(2).all(|line| line.matches('(').count() == 2), "{table}");
    }
}
