//! What a server does that has nothing to do.

use std::time::Instant;

use crate::harness::{Client, Server, pause_ms};

const WORKERS: usize = 4;
/// How long it is looked at, once it has come to rest, and how often in that time.
const LOOKS: u64 = 4;
/// Looks until a server that was just started rests: three seconds.
const LOOKS_BEFORE_REST: u64 = 3;
const LOOK_MS: u64 = 1000;
/// Redis's `hz 10`.
const REDIS_TICK_MS: u64 = 100;

/// The numbers behind `name` in INFO's `section`.
fn numbers(client: &mut Client, section: &str, name: &str) -> Vec<u64> {
    let text = client.ask(&format!("INFO {section}")).string();
    let values = text.split([',', '\r', '\n']).filter_map(|field| field.strip_prefix(name));
    values.map(|value| value.parse().expect("a number")).collect()
}

/// Each worker woke up ten times a second for two seconds after any command on any of them, an INFO of a monitoring system too:
/// a server of sixteen workers that was asked for nothing else woke up 160 times a second.
#[test]
fn an_idle_server_wakes_up_no_more_often_than_redis() {
    for backend in ["io_uring", "epoll"] {
        let workers = WORKERS.to_string();
        let args = ["--workers", &workers, "--active-workers-min", "1", "--io-backend", backend];
        let (torc, redis) = (Server::start(&args), Server::newest("redis-server", &[]));
        let (mut torc, mut redis) = (torc.client(), redis.client());
        let mut look = || {
            let turns = numbers(&mut torc, "workers", "turns=");
            let cycles = numbers(&mut redis, "stats", "eventloop_cycles:");
            pause_ms(LOOK_MS);
            (turns, cycles[0])
        };
        // A worker that serves nobody comes to rest after a few ticks, and once it has looked for memory to give back.
        (0..LOOKS_BEFORE_REST).for_each(|_| drop(look()));
        let begin = Instant::now();
        let (turns_before, cycles_before) = look();
        (1..LOOKS).for_each(|_| drop(look()));
        let (turns, cycles) = look();
        // The ticks of Redis slip where the machine is busy, those of Torc do not: what Redis does at rest is the measure then.
        let at_rest = begin.elapsed().as_millis() as u64 / REDIS_TICK_MS + LOOKS;
        let cycles = (cycles - cycles_before).max(at_rest);
        let turns: Vec<u64> = turns.iter().zip(&turns_before).map(|(after, before)| after - before).collect();
        // One tick a second and worker, and one that falls into these seconds besides.
        let resting_max = LOOKS * LOOK_MS / 1000 + 2;
        // A look may take two turns: one that receives and one that hears that the reply was sent.
        assert!(turns[0] <= cycles + LOOKS, "{backend}: {turns:?}, Redis {cycles}");
        assert!(turns[1..].iter().all(|turns| *turns <= resting_max), "{backend}: {turns:?}");
    }
}
