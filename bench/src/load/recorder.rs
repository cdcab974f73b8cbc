//! What one thread counts: everything from the end of the warm-up on, in total and by slot of time.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Fatal;
use crate::process::{self, CpuTime};
use crate::report::Latencies;

use super::timeline::{Filling, Timeline};
use super::{Run, cpu_times};

/// What a thread did in its window.
#[derive(Debug)]
pub struct Part {
    pub from: Instant,
    pub to: Instant,
    pub ops: u64,
    pub cpu: Duration,
    pub latencies: Latencies,
    /// How late requests of an open loop were sent although a connection was free.
    pub lags: Latencies,
    /// Requests of an open loop that were due and never sent.
    pub unsent: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub nulls: u64,
    pub right: u64,
    pub wrong: u64,
    pub first_wrong: Option<String>,
    /// Connections made anew.
    pub reconnects: u64,
    /// Units done and their latencies, by part of the mix; nothing if it has one.
    pub parts: Vec<(u64, Latencies)>,
    /// What the servers had used when the window began; only the first thread looks.
    pub servers_before: Vec<CpuTime>,
}

/// A thread's counts.
pub struct Recorder<'a> {
    run: &'a Run<'a>,
    index: usize,
    window: Option<Part>,
    cpu_before: Duration,
    filling: Filling,
}

impl<'a> Recorder<'a> {
    /// Of this thread.
    pub fn new(run: &'a Run<'a>, index: usize) -> Recorder<'a> {
        Recorder { run, index, window: None, cpu_before: Duration::ZERO, filling: Filling::default() }
    }

    /// Opens the window when the warm-up is over, and hands out slots that are over.
    #[inline]
    pub fn advance(&mut self, now: Instant) -> Result<(), Fatal> {
        if now < self.run.warm {
            return Ok(());
        }
        if self.window.is_none() {
            self.open()?;
        }
        let index = self.run.slot(now);
        if index > self.filling.index {
            self.hand_out(index);
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Fatal> {
        let servers_before = if self.index == 0 { cpu_times(&self.run.pids)? } else { Vec::new() };
        let now = Instant::now();
        self.filling.index = self.run.slot(now);
        self.cpu_before = process::thread_cpu_time();
        self.window = Some(Part {
            from: now,
            to: now,
            ops: 0,
            cpu: Duration::ZERO,
            latencies: Latencies::default(),
            lags: Latencies::default(),
            unsent: 0,
            errors: 0,
            first_error: None,
            nulls: 0,
            right: 0,
            wrong: 0,
            first_wrong: None,
            reconnects: 0,
            parts: vec![
                (0, Latencies::default());
                Some(self.run.plan.names().len()).filter(|count| *count > 1).unwrap_or(0)
            ],
            servers_before,
        });
        Ok(())
    }

    fn hand_out(&mut self, next: usize) {
        let index = self.filling.index;
        let slot = self.filling.finish(next);
        lock(&self.run.timeline).add(index, &slot);
    }

    /// Counts so many operations that took so long.
    #[inline]
    pub fn record(&mut self, latency: Duration, ops: u64) {
        let Some(window) = &mut self.window else { return };
        window.ops += ops;
        window.latencies.record(latency);
        self.filling.record(latency.as_nanos() as u64, ops);
    }

    /// Counts a unit of this part of the mix.
    #[inline]
    pub fn part(&mut self, index: usize, latency: Duration) {
        let part = self.window.as_mut().and_then(|window| window.parts.get_mut(index));
        if let Some((ops, latencies)) = part {
            *ops += 1;
            latencies.record(latency);
        }
    }

    /// Counts a connection made anew.
    pub fn reconnect(&mut self) {
        if let Some(window) = &mut self.window {
            window.reconnects += 1;
        }
    }

    /// Counts how late a request was sent for which a connection was free.
    #[inline]
    pub fn lag(&mut self, lag: Duration) {
        if let Some(window) = &mut self.window {
            window.lags.record(lag);
        }
    }

    /// Counts a request that was due and never sent, and has waited for so long; it is no operation.
    pub fn unsent(&mut self, waited: Duration) {
        if let Some(window) = &mut self.window {
            window.unsent += 1;
            window.latencies.record(waited);
        }
    }

    /// What was counted.
    pub fn finish(mut self) -> Result<Part, Fatal> {
        if self.window.is_none() {
            self.open()?;
        }
        self.hand_out(usize::MAX);
        let mut part = self.window.expect("it was opened");
        part.to = Instant::now();
        part.cpu = process::thread_cpu_time() - self.cpu_before;
        Ok(part)
    }
}

/// The common timeline. A thread that panicked ends the program anyway.
pub fn lock(timeline: &Mutex<Timeline>) -> std::sync::MutexGuard<'_, Timeline> {
    timeline.lock().expect("no thread panics")
}
