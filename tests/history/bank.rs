//! Money moved between accounts by WATCH, MULTI and EXEC, while others add up all accounts again and again.
//!
//! The sum never changes; as large a share of the attempts commits as with Redis; no client starves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use crate::harness::{Client, Rng, Server, Value, command, pause_ms};

const ACCOUNTS: usize = 100;
const CLIENTS: u64 = 20;
const READERS: u64 = 2;
/// Rounds are played with both servers in turn, so that what else runs on the machine disturbs both.
const ROUNDS: usize = 4;
const ROUND_ATTEMPTS: usize = 40;
const ATTEMPTS: usize = ROUNDS * ROUND_ATTEMPTS;
const BALANCE: i64 = 1000;
const AMOUNT_MAX: usize = 50;
const THINK_MS: u64 = 1;
/// Of Redis's share of committed attempts, what Torc must reach: what two runs of Redis differ by is allowed, and to a build
/// without optimisation that it is slower, so that more attempts meet.
const SHARE_MIN: f64 = if cfg!(debug_assertions) { 0.75 } else { 0.95 };
/// Of the mean of all clients, what the least lucky one must commit.
const LEAST_MIN: f64 = 0.6;

/// When a client pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thinking {
    /// Before each attempt.
    Before,
    /// Between what it reads and what it writes, so that clients get into each other's way all the time.
    Within,
}

/// What all rounds came to.
#[derive(Debug, Default)]
struct Outcome {
    /// Committed attempts of each client.
    committed: Vec<usize>,
    /// How often the sum was read.
    sums: usize,
}

impl Outcome {
    fn share(&self) -> f64 {
        self.committed.iter().sum::<usize>() as f64 / (CLIENTS as usize * ATTEMPTS) as f64
    }

    fn least(&self) -> f64 {
        let least = self.committed.iter().min().expect("there are clients");
        *least as f64 / (self.share() * ATTEMPTS as f64)
    }
}

fn account(number: usize) -> String {
    format!("account:{number}")
}

fn sum(client: &mut Client) -> i64 {
    let words: Vec<String> = std::iter::once("MGET".to_owned()).chain((0..ACCOUNTS).map(account)).collect();
    client.call(&words).elements().iter().map(|value| value.int().expect("a balance")).sum()
}

/// Tries once to move an amount between two random accounts; whether it was moved.
fn attempt(client: &mut Client, rng: &mut Rng, thinking: Thinking) -> bool {
    if thinking == Thinking::Before {
        pause_ms(THINK_MS);
    }
    let source = rng.below(ACCOUNTS);
    let target = (source + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
    let (source, target) = (account(source), account(target));
    assert_eq!(client.call(&["WATCH", &source, &target]).string(), "OK");
    let balances = if rng.once_in(2) {
        vec![client.call(&["GET", &source]), client.call(&["GET", &target])]
    } else {
        client.call(&["MGET", &source, &target]).elements()
    };
    let balances: Vec<i64> = balances.iter().map(|value| value.int().expect("a balance")).collect();
    if thinking == Thinking::Within {
        pause_ms(THINK_MS);
    }
    let amount = rng.below(AMOUNT_MAX) as i64;
    let transaction = [
        command(&["MULTI"]),
        command(&["SET", &source, &(balances[0] - amount).to_string()]),
        command(&["SET", &target, &(balances[1] + amount).to_string()]),
        command(&["EXEC"]),
    ];
    client.send_raw(&transaction.concat()).expect("the server reads");
    let replies: Vec<Value> = (0..4).map(|_| client.read().expect("a reply")).collect();
    assert!(!replies[3].is_error(), "{}", replies[3]);
    !replies[3].is_null()
}

fn open(server: &Server) {
    let mut client = server.client();
    for number in 0..ACCOUNTS {
        client.call(&["SET", &account(number), &BALANCE.to_string()]);
    }
}

/// A round, added to the outcome.
fn play(server: &Server, thinking: Thinking, round: usize, outcome: &mut Outcome) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let done = &done;
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut sums = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(sum(&mut client), ACCOUNTS as i64 * BALANCE, "after {sums} reads");
                        sums += 1;
                        pause_ms(THINK_MS);
                    }
                    sums
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                scope.spawn(move || {
                    let (mut client, mut rng) = (server.client(), Rng(seed << 8 | round as u64));
                    (0..ROUND_ATTEMPTS).filter(|_| attempt(&mut client, &mut rng, thinking)).count()
                })
            })
            .collect();
        let committed: Result<Vec<usize>, _> = clients.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            outcome.sums += reader.join().expect("the sum is always the same");
        }
        let committed = committed.expect("every attempt has replies");
        outcome.committed.resize(CLIENTS as usize, 0);
        outcome.committed.iter_mut().zip(committed).for_each(|(sum, more)| *sum += more);
    });
}

fn check(thinking: Thinking) {
    let servers = [Server::redis(&[]), Server::start(&["--workers", "8"])];
    servers.iter().for_each(open);
    let mut outcomes = [Outcome::default(), Outcome::default()];
    for round in 0..ROUNDS {
        for (server, outcome) in servers.iter().zip(&mut outcomes) {
            play(server, thinking, round, outcome);
        }
    }
    let [redis, torc] = outcomes;
    let figures = format!(
        "{thinking:?}, committed: {:.3} of the attempts, with Redis {:.3}; least lucky client {:.2} and {:.2} of the mean; sums {} and {}",
        torc.share(),
        redis.share(),
        torc.least(),
        redis.least(),
        torc.sums,
        redis.sums
    );
    println!("{figures}");
    assert!(torc.share() >= redis.share() * SHARE_MIN, "{figures}");
    assert!(torc.least() >= LEAST_MIN, "{figures}: {torc:?}");
    assert!(torc.sums > ACCOUNTS, "{figures}");
}

#[test]
fn money_is_neither_made_nor_lost() {
    check(Thinking::Before);
}

#[test]
fn money_is_neither_made_nor_lost_where_most_attempts_meet() {
    check(Thinking::Within);
}
