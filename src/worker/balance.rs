//! How many workers serve, and who of the clients moves to whom.
//!
//! Design: a worker that serves many clients a turn is cheap; one that is woken for each command is not. So connections are
//! on the first `active` workers only, as few as carry the load, and move when that number changes. Time is cut into
//! windows. In each, a worker measures its load (how long its thread ran or waited for a processor) and counts the clients
//! that had commands run. The first worker decides:
//!
//! ```text
//!   the active workers' load is high               -> twice as many, on trial
//!   they wait for processors that others use too   -> half as many, on trial
//!       a trial ran fewer commands than before     -> back, and the next trial comes later
//!   fewer would do, for some windows               -> as many as are needed
//!   a slow command was seen in the last minute     -> all: it holds up the clients of one of them only
//! ```
//!
//! So another worker is not kept where it does not help, as on a machine whose processors the clients use too. Each worker
//! itself then sends away the clients that it has too many, of those that are not idle: an idle connection costs nothing
//! where it is.
//!
//! Invariants: at least `active-workers-min` are active, and at most `active-workers-max`, whatever their load.
//!
//! Costs: a turn compares two words; a connection's turn compares one; the rest is done once a window.
//!
//! Not here: how a connection moves (`moving`).

use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use super::processor::Sums;
use crate::config::Config;
use crate::io::Io;
use crate::observe::{Counters, WorkerStats};

/// Shortest window, in ms: long against a turn, short against what a user notices.
const WINDOW_MS: u64 = 100;
/// Load of a worker, in thousandths of a processor, above which the active are doubled.
const LOAD_HIGH: u64 = 850;
/// Load that workers shall have when there are fewer of them: well below, so that their number does not swing.
const LOAD_FEWER: u64 = 500;
/// Share of the load that is waiting for a processor, in percent, above which half of the active are tried.
const WAITED_PERCENT_HIGH: u64 = 10;
/// Time that each of those shall have run, in thousandths of a processor: somewhat more than there is, as fewer need less.
const RAN_MAX: u64 = 1100;
/// Windows in a row for which the load must be high, the first of which it may have begun in.
const HIGH_WINDOWS: u32 = 2;
/// Windows in a row for which fewer must do.
const FEWER_WINDOWS: u32 = 5;
/// Share of the commands before a trial that it must reach, in percent.
const TRIAL_PERCENT_MIN: u64 = 95;
/// Windows after the beginning of a trial that do not count: connections are moving.
const TRIAL_WINDOWS_SKIPPED: u32 = 1;
/// Time from a trial to the next one in ms, if the last was in vain: the first, and, doubled with each, the longest.
const TRIAL_PAUSE_MS: (u64, u64) = (1000, 64_000);

/// A command that runs for longer than this holds up the other clients of its worker, in us. Longer than what the host of a
/// virtual machine takes away at a time, which looks the same.
const SLOW_COMMAND_US: u64 = 20_000;
/// How long all workers stay active after one, in ms.
const SLOW_COMMAND_MS: u64 = 60_000;

/// What the first worker knows of a window.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// When it ended, Unix time in ms.
    now_ms: u64,
    /// How long all workers together ran, in thousandths of a processor.
    ran: u64,
    /// How long they waited for one. Their load is both together: each is true of some instant, however the other is read.
    waited: u64,
    /// Commands of all workers, per second.
    rate: u64,
}

/// Decides how many workers are active.
#[derive(Debug, Default)]
struct Planner {
    trial: Option<Trial>,
    /// No trial before then, Unix time in ms.
    next_trial_ms: u64,
    /// The last pause between trials; 0 after one that helped.
    pause_ms: u64,
    /// Windows in a row that gave a reason for more, for a trial with half of them, for fewer.
    reasons: [u32; 3],
}

/// More workers than before, or fewer, to see whether that helps.
#[derive(Debug)]
struct Trial {
    /// So many were active before.
    before: usize,
    /// Commands per second then.
    rate: u64,
    windows: u32,
}

impl Planner {
    /// How many are to be active, of which there are `active` now and may be `bounds`.
    fn plan(&mut self, window: Window, active: usize, bounds: (usize, usize)) -> usize {
        let (min, max) = bounds;
        if let Some(trial) = &mut self.trial {
            trial.windows += 1;
            if trial.windows <= TRIAL_WINDOWS_SKIPPED {
                return active.clamp(min, max);
            }
            let (before, helped) = (trial.before, window.rate * 100 >= trial.rate * TRIAL_PERCENT_MIN);
            self.trial = None;
            // Fewer that do as well are soon loaded so much that more seem to be needed.
            if !helped || active < before {
                self.pause(window.now_ms);
            }
            if !helped {
                return before.clamp(min, max);
            }
            if active > before {
                self.pause_ms = 0;
                // If the load is high still, the next trial begins at once.
                self.reasons[0] = HIGH_WINDOWS - 1;
            }
        }
        self.decide(window, active, bounds).clamp(min, max)
    }

    fn decide(&mut self, window: Window, active: usize, (min, max): (usize, usize)) -> usize {
        let Window { now_ms, ran, waited, rate } = window;
        let load = ran + waited;
        let enough = load.div_ceil(LOAD_FEWER).max(1) as usize;
        let is_high = load > LOAD_HIGH * active as u64 && active < max;
        let half = active.div_ceil(2);
        let half_might_do = ran <= RAN_MAX * half as u64;
        let waits = waited * 100 > load * WAITED_PERCENT_HIGH && load > LOAD_FEWER && active > min;
        let waits = waits && half_might_do;
        for (count, reason) in self.reasons.iter_mut().zip([is_high, waits, enough < active]) {
            *count = if reason { *count + 1 } else { 0 };
        }
        let [high, waiting, fewer] = self.reasons;
        let may_try = now_ms >= self.next_trial_ms;
        let planned = match () {
            () if fewer >= FEWER_WINDOWS => enough,
            () if may_try && waiting >= HIGH_WINDOWS => half,
            () if may_try && high >= HIGH_WINDOWS => active * 2,
            () => return active,
        };
        if fewer < FEWER_WINDOWS {
            self.trial = Some(Trial { before: active, rate, windows: 0 });
        }
        self.reasons = [0; 3];
        planned
    }

    /// The next trial comes later than the last one did.
    fn pause(&mut self, now_ms: u64) {
        let (first_ms, last_ms) = TRIAL_PAUSE_MS;
        self.pause_ms = (self.pause_ms * 2).clamp(first_ms, last_ms);
        self.next_trial_ms = now_ms + self.pause_ms;
    }
}

/// One worker's part.
pub(super) struct Balance {
    planner: Planner,
    /// When this window began, Unix time in ms, and the sums of then.
    began_ms: u64,
    sums: Option<Sums>,
    /// Commands of all workers then.
    commands: u64,
    /// This window's number: what a connection was last seen in.
    window: u32,
    /// Connections that had commands run in this window.
    clients: u64,
    /// Connections that came or went in this window.
    moves: u32,
    /// Connections to be sent away; all, while this worker is not active.
    pub(super) surplus: u64,
    /// Clients of each worker, by which a connection that leaves chooses where to go.
    counts: Vec<u64>,
}

impl Balance {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            planner: Planner::default(),
            began_ms: now_ms,
            sums: None,
            commands: 0,
            window: 1,
            clients: 0,
            moves: 0,
            surplus: 0,
            counts: Vec::new(),
        }
    }

    /// The clock was set back: windows and pauses are counted from now.
    pub(super) fn begin_anew(&mut self, now_ms: u64) {
        (self.planner, self.began_ms, self.sums) = (Planner::default(), now_ms, None);
    }

    /// A connection had input; `seen` is the window in which it last had.
    #[inline]
    pub(super) fn note_client(&mut self, seen: &mut u32) {
        if *seen != self.window {
            *seen = self.window;
            self.clients += 1;
        }
    }

    /// A connection leaves; `seen` is the window in which it last had input.
    pub(super) fn note_left(&mut self, seen: u32) {
        self.clients -= u64::from(seen == self.window);
        self.surplus = self.surplus.saturating_sub(1);
        self.moves += 1;
    }

    /// A connection has come.
    pub(super) fn note_arrived(&mut self) {
        self.moves += 1;
    }

    /// The active worker other than `me` with the fewest clients.
    pub(super) fn target(&mut self, me: usize, active: usize) -> Option<usize> {
        let others = self.counts.iter_mut().enumerate().take(active).filter(|(worker, _)| *worker != me);
        let (worker, count) = others.min_by_key(|(_, count)| **count)?;
        *count += 1;
        Some(worker)
    }
}

/// Clients that one of the first `active` workers has too many; a few more than its share are none.
fn surplus(mine: u64, all: u64, active: usize) -> u64 {
    let share = all.div_ceil(active as u64);
    let tolerated = share + share / 8;
    if mine > tolerated { mine - share } else { 0 }
}

/// How many workers are active at the start.
pub fn active_at_start(config: &Config, workers: usize) -> usize {
    bounds(config, workers, !super::processor::is_known()).0
}

/// The fewest and the most of `workers` that may be active: as many as may be, if for some reason `all` are to be, if their
/// processors poll, which looks like load.
fn bounds(config: &Config, workers: usize, all: bool) -> (usize, usize) {
    let max = config.active_workers_max.min(workers);
    let polls = config.sqpoll || config.busy_poll_us > 0;
    (if all || polls { max } else { config.active_workers_min.min(max) }, max)
}

impl<I: Io> Worker<I> {
    /// So many workers, from the first on, have connections placed on them.
    #[inline]
    pub(super) fn active(&self) -> usize {
        self.shared.active_workers.load(Relaxed)
    }

    /// Ends the window, if it is long enough, and begins the next.
    pub(super) fn end_window(&mut self, sums: Option<Sums>) {
        let now_ms = self.clock.now_ms();
        let past_ms = now_ms.saturating_sub(self.balance.began_ms);
        if past_ms < WINDOW_MS {
            return;
        }
        let sums_then = self.balance.sums.zip(sums);
        let stats = self.stats();
        stats.clients.set(self.balance.clients);
        if let Some((then, now)) = sums_then {
            // ns per ms are millionths.
            let share = |now: u64, then: u64| now.saturating_sub(then) / past_ms / 1000;
            let (ran, waited) = (share(now.ran, then.ran), share(now.waited, then.waited));
            stats.load_ran.set(ran);
            stats.load_waited.set(waited);
        }
        if self.number == 0 && !self.processor.is_simulated() {
            self.plan(now_ms, past_ms, sums.is_some());
        }
        self.share();
        let balance = &mut self.balance;
        (balance.began_ms, balance.sums, balance.clients, balance.moves) = (now_ms, sums, 0, 0);
        balance.window = balance.window.wrapping_add(1);
    }

    /// Decides how many workers are active from here on, by their load if it `is_known`.
    fn plan(&mut self, now_ms: u64, past_ms: u64, is_known: bool) {
        let all = self.shared.stats.all();
        // Commands that are refused take their time too.
        let counted = |c: &Counters| c.commands_processed.read() + c.error_replies.read();
        let commands = all.iter().map(|worker| counted(&worker.counters)).sum();
        let rate = u64::saturating_sub(commands, self.balance.commands) * 1000 / past_ms;
        self.balance.commands = commands;
        let ran: u64 = all.iter().map(|worker| worker.load_ran.read()).sum();
        let waited = all.iter().map(|worker| worker.load_waited.read()).sum();
        let active = self.active();
        let slow_ms = all.iter().map(|worker| worker.slow_command_ms.read()).max().unwrap_or(0);
        let is_slow = slow_ms + SLOW_COMMAND_MS > now_ms;
        let bounds = bounds(self.config.config(), all.len(), is_slow || !is_known);
        let planned = self.balance.planner.plan(Window { now_ms, ran, waited, rate }, active, bounds);
        if planned != active {
            log::debug!(
                "{planned} of {} workers are active, {active} were: they ran {ran}/1000 and waited {waited}/1000, {rate} commands/s",
                all.len()
            );
            self.shared.active_workers.store(planned, Relaxed);
        }
    }

    /// The slowest command of a turn has run; a preemption is not its fault.
    #[inline]
    pub(super) fn note_slowest(&self, ns: u64) {
        if ns > SLOW_COMMAND_US * 1000 {
            let waited_us = self.processor.waited_us_since_mark().unwrap_or(0);
            if ns / 1000 > SLOW_COMMAND_US + waited_us {
                log::debug!(
                    "worker {}: a command took {} us, {waited_us} us of it waiting",
                    self.number,
                    ns / 1000
                );
                self.stats().slow_command_ms.set(self.clock.now_ms());
            }
        }
    }

    /// How many of this worker's clients shall go to others, by the counts of the last window.
    fn share(&mut self) {
        let (me, active) = (self.number, self.active());
        let balance = &mut self.balance;
        balance.counts.clear();
        balance
            .counts
            .extend(self.shared.stats.all().iter().map(|worker: &WorkerStats| worker.clients.read()));
        balance.surplus = match balance.counts.get(..active) {
            // The counts of a window in which connections moved are of both sides.
            Some(counts) if me < active && balance.moves == 0 => {
                surplus(counts[me], counts.iter().sum(), active)
            }
            _ => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (usize, usize) = (1, 16);

    /// Windows one after the other; each says the load, how much of it was waiting, the rate, and how many are active then.
    fn play(planner: &mut Planner, active: usize, windows: &[(u64, u64, u64, usize)]) {
        let mut active = active;
        for (number, (load, waited, rate, expected)) in windows.iter().enumerate() {
            let now_ms = 1_000_000 + number as u64 * WINDOW_MS;
            let window = Window { now_ms, ran: *load - *waited, waited: *waited, rate: *rate };
            active = planner.plan(window, active, BOUNDS);
            assert_eq!(active, *expected, "window {number}");
        }
    }

    #[test]
    fn workers_are_doubled_as_long_as_it_helps() {
        let two = [(900, 0, 90, 1), (950, 0, 100, 2), (1500, 0, 120, 2)];
        let four =
            [(1900, 0, 190, 4), (2000, 0, 300, 4), (3000, 0, 330, 4), (3000, 0, 330, 4), (3000, 0, 330, 4)];
        play(&mut Planner::default(), 1, &[&two[..], &four].concat());
    }

    #[test]
    fn a_trial_that_does_not_help_is_over_soon_and_the_next_comes_later() {
        let mut planner = Planner::default();
        let high = (990, 0, 100, 1);
        let vain = [(990, 0, 100, 2), (1200, 0, 70, 2), (1200, 0, 70, 1)];
        let rounds = [&[high][..], &vain, &[high; 9], &vain, &[high; 19], &vain[..1]];
        play(&mut planner, 1, &rounds.concat());
        assert_eq!(planner.pause_ms, 2000);
    }

    /// As on a machine with two processors, one of which the clients use.
    #[test]
    fn half_of_those_that_wait_for_processors_are_tried() {
        let mut planner = Planner::default();
        let waits = (1350, 370, 76, 2);
        let better = [(1350, 370, 76, 1), (970, 30, 90, 1), (970, 30, 119, 1)];
        play(&mut planner, 2, &[&[waits][..], &better, &[(970, 30, 119, 1); 9]].concat());
        let mut planner = Planner::default();
        let worse = [(1350, 370, 76, 1), (970, 30, 50, 1), (970, 30, 50, 2)];
        play(&mut planner, 2, &[&[waits][..], &worse, &[waits; 9]].concat());
        let busy = (1690, 200, 76, 2);
        play(&mut Planner::default(), 2, &[busy; 9]);
    }

    #[test]
    fn as_few_workers_as_will_do_after_a_while() {
        let mut planner = Planner::default();
        let moderate = (1800, 0, 200, 4);
        play(&mut planner, 4, &[moderate; 10]);
        play(&mut planner, 4, &[&[(700, 0, 70, 4); 4][..], &[(700, 0, 70, 2); 9]].concat());
        play(&mut planner, 2, &[&[(0, 0, 0, 2); 4][..], &[(0, 0, 0, 1); 9]].concat());
    }

    #[test]
    fn the_bounds_hold() {
        let busy = Window { now_ms: 5, ran: 7000, waited: 2000, rate: 1 };
        let plan = |windows, active, bounds| {
            let mut planner = Planner::default();
            (0..windows).fold(active, |active, _| planner.plan(busy, active, bounds))
        };
        assert_eq!((plan(1, 1, (3, 3)), plan(9, 3, (3, 3))), (3, 3));
        assert_eq!((plan(1, 4, (5, 16)), plan(3, 9, (5, 16))), (5, 16));
    }

    #[test]
    fn what_is_configured_bounds_how_many_are_active() {
        let config = |active_workers_min, active_workers_max, sqpoll| Config {
            active_workers_min,
            active_workers_max,
            sqpoll,
            ..Config::default()
        };
        assert_eq!(bounds(&Config::default(), 8, false), (1, 8));
        assert_eq!(bounds(&config(2, 3, false), 8, false), (2, 3));
        assert_eq!(bounds(&config(2, 3, false), 8, true), (3, 3));
        assert_eq!(bounds(&config(5, 3, false), 8, false), (3, 3), "the most counts");
        assert_eq!(bounds(&config(5, 6, false), 4, false), (4, 4));
        assert_eq!(bounds(&config(1, 6, true), 8, false), (6, 6));
    }

    #[test]
    fn who_has_too_many_clients_sends_the_rest_away() {
        assert_eq!(surplus(50, 50, 2), 25);
        assert_eq!(surplus(27, 50, 2), 0, "about as many as others");
        assert_eq!(surplus(2, 2, 2), 1);
        assert_eq!(surplus(1, 1, 4), 0);
        assert_eq!(surplus(3, 4, 2), 1);
        let mut balance = Balance { counts: vec![4, 2, 3, 0], surplus: 2, ..Balance::new(0) };
        let targets = [(); 4].map(|()| balance.target(0, 3));
        assert_eq!(targets, [Some(1), Some(1), Some(2), Some(1)]);
        assert_eq!(balance.target(0, 1), None);
        assert_eq!(balance.target(3, 1), Some(0));
    }
}
