//! One thread of a run: its connections, from its pinning to its last reply.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::Fatal;
use crate::address::Stream;
use crate::connection::{Connection, Progress};
use crate::operation::Source;
use crate::process;

use super::Run;
use super::recorder::{Part, Recorder};
use super::schedule::Schedule;
use super::timer::Timer;

/// How long no reply at all may come.
const STALL: Duration = Duration::from_secs(10);
/// How long an open loop goes on after its end with what was due before.
const DRAIN: Duration = Duration::from_secs(1);
/// Bytes received at once.
const SCRATCH_BYTES: usize = 256 << 10;
/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// The timer's token; connections have those from 0 on.
const TIMER: Token = Token(usize::MAX - 1);

/// Runs a thread with these connections.
pub fn thread(run: &Run<'_>, index: usize, streams: Vec<Stream>) -> Result<Part, Fatal> {
    let cpus = &run.options.cpus;
    let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
    let done = process::pin(cpu.as_slice())
        .map_err(|error| Fatal(error.to_string()))
        .and_then(|()| Worker::new(run, index, streams)?.run());
    if done.is_err() {
        run.failed.store(true, Ordering::Relaxed);
    }
    done
}

struct Worker<'a> {
    run: &'a Run<'a>,
    index: usize,
    poll: Poll,
    connections: Vec<Connection>,
    /// Batches under way.
    live: usize,
    source: Source,
    recorder: Recorder<'a>,
    open: Option<OpenLoop>,
    scratch: Vec<u8>,
    /// When the last reply came, or, if none was awaited then, the first batch was begun.
    waits_since: Instant,
}

/// What a thread of an open loop has besides.
struct OpenLoop {
    schedule: Schedule,
    timer: Timer,
    /// Connections without a batch. The one that has waited longest is next.
    idle: VecDeque<usize>,
}

fn io_failed(error: impl std::fmt::Display) -> Fatal {
    Fatal(format!("cannot wait for connections: {error}"))
}

impl<'a> Worker<'a> {
    fn new(run: &'a Run<'a>, index: usize, streams: Vec<Stream>) -> Result<Worker<'a>, Fatal> {
        let poll = Poll::new().map_err(io_failed)?;
        let connect = |(token, stream)| Connection::new(stream, Token(token), &run.greeting, poll.registry());
        let connections: io::Result<Vec<_>> = streams.into_iter().enumerate().map(connect).collect();
        let connections = connections.map_err(io_failed)?;
        // A fill ends with its keys, not with a time: it is as fast as it can be.
        let rate = run.options.rate.filter(|_| !run.plan.is_fill());
        let open = rate.map(|rate| -> Result<OpenLoop, Fatal> {
            Ok(OpenLoop {
                schedule: Schedule::new(run.options.arrivals, rate, index, run.threads, run.begin),
                timer: Timer::new(TIMER, poll.registry()).map_err(io_failed)?,
                idle: (0..connections.len()).collect(),
            })
        });
        Ok(Worker {
            run,
            poll,
            connections,
            live: 0,
            source: Source::new((index as u64) << 32 | u64::from(run.begin.elapsed().subsec_nanos())),
            index,
            recorder: Recorder::new(run, index),
            open: open.transpose()?,
            scratch: vec![0; SCRATCH_BYTES],
            waits_since: Instant::now(),
        })
    }

    fn run(mut self) -> Result<Part, Fatal> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        if self.open.is_none() {
            for index in 0..self.connections.len() {
                self.start(index, self.run.options.depth)?;
            }
        }
        loop {
            let now = Instant::now();
            self.recorder.advance(now)?;
            let is_over = self.is_over(now);
            let wait = if is_over { STALL } else { self.start_due(now)? };
            if is_over && self.live == 0 {
                break;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(io_failed)?,
            }
            for event in &events {
                if event.token() == TIMER {
                    continue;
                }
                if event.is_writable() {
                    self.connections[event.token().0].send(self.poll.registry())?;
                }
                // What was closed or failed reads as such.
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.receive(event.token().0, is_over)?;
                }
            }
            if self.live > 0 && self.waits_since + STALL < now {
                return Err(stalled(self.live, &self.connections));
            }
        }
        self.finish()
    }

    fn is_over(&self, now: Instant) -> bool {
        let plan = &self.run.plan;
        let is_over = match &self.open {
            _ if plan.is_fill() => plan.is_filled(),
            Some(open) => {
                now >= self.run.end && (open.schedule.next() >= self.run.end || now >= self.run.end + DRAIN)
            }
            None => now >= self.run.end,
        };
        is_over || self.run.failed.load(Ordering::Relaxed)
    }

    /// Sends what is due in an open loop. How long may be waited: until the next is due, if a connection is free for it.
    fn start_due(&mut self, now: Instant) -> Result<Duration, Fatal> {
        while let Some(open) = &mut self.open {
            let Some(index) = open.idle.front().copied() else { break };
            let connection = &mut self.connections[index];
            connection.dues.clear();
            while connection.dues.len() < self.run.options.depth {
                let Some(due) = open.schedule.take(now.min(self.run.last_due()), &mut self.source.random)
                else {
                    break;
                };
                connection.dues.push(due);
            }
            let Some(due) = connection.dues.first() else {
                let wait = open.schedule.next().min(self.run.end).saturating_duration_since(now);
                open.timer.set(wait).map_err(io_failed)?;
                return Ok(STALL);
            };
            // What had to wait for a connection is the server's to answer for; what is late nevertheless is so by ourselves.
            if *due >= connection.free_since {
                self.recorder.lag(now - *due);
            }
            open.idle.pop_front();
            if self.live == 0 {
                self.waits_since = now;
            }
            let units = connection.dues.len();
            self.start(index, units)?;
        }
        Ok(STALL)
    }

    fn start(&mut self, index: usize, units: usize) -> Result<(), Fatal> {
        let connection = &mut self.connections[index];
        if self.run.options.churn.is_some_and(|batches| connection.batches >= batches) {
            let address = self.run.address(index * self.run.threads + self.index);
            let lost = |error: io::Error| {
                let hint = match error.kind() {
                    io::ErrorKind::AddrNotAvailable => {
                        "; this machine has run out of ports: use fewer connections a second"
                    }
                    _ => "",
                };
                Fatal(format!("cannot connect again to {address}: {error}{hint}"))
            };
            let stream = address.connect_at_once(self.run.tls.as_ref()).map_err(lost)?;
            connection.replace(stream, self.poll.registry()).map_err(lost)?;
            self.recorder.reconnect();
        }
        connection.start(&self.run.plan, units, &mut self.source, self.poll.registry())?;
        self.live += 1;
        Ok(())
    }

    /// Receives what came on a connection; goes on with it when its batch is answered.
    fn receive(&mut self, index: usize, is_over: bool) -> Result<(), Fatal> {
        let connection = &mut self.connections[index];
        if connection.receive(&self.run.plan, &mut self.scratch, &mut self.source, self.poll.registry())?
            == Progress::Pending
        {
            return Ok(());
        }
        let now = Instant::now();
        (self.live, self.waits_since, connection.free_since) = (self.live - 1, now, now);
        match &mut self.open {
            Some(open) => {
                for (due, unit) in connection.dues.iter().zip(&connection.units) {
                    if *due >= self.run.warm {
                        self.recorder.record(now - *due, 1);
                        self.recorder.part(unit.part, now - *due);
                    }
                }
                open.idle.push_back(index);
            }
            None => {
                let latency = now - connection.started;
                self.recorder.record(latency, self.run.options.depth as u64);
                if self.run.plan.names().len() > 1 {
                    connection.units.iter().for_each(|unit| self.recorder.part(unit.part, latency));
                }
                if !is_over {
                    self.start(index, self.run.options.depth)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Part, Fatal> {
        let now = Instant::now();
        if let Some(open) = &mut self.open {
            while let Some(due) = open.schedule.take(self.run.last_due(), &mut self.source.random) {
                if due >= self.run.warm {
                    self.recorder.unsent(now - due);
                }
            }
        }
        let mut part = self.recorder.finish()?;
        part.errors = self.connections.iter().map(Connection::errors).sum();
        part.nulls = self.connections.iter().map(Connection::nulls).sum();
        for verifier in self.connections.iter().map(Connection::verifier) {
            part.right += verifier.right;
            part.wrong += verifier.wrong;
            part.first_wrong = part.first_wrong.or_else(|| verifier.first_wrong.clone());
        }
        part.first_error = self.connections.iter().find_map(Connection::first_error).map(str::to_owned);
        Ok(part)
    }
}

fn stalled(live: usize, connections: &[Connection]) -> Fatal {
    let mut words = format!("{live} batches were not answered for {} s", STALL.as_secs());
    match connections.iter().find_map(Connection::first_error) {
        Some(error) => write!(words, "; an error that came before: {error}"),
        None => write!(words, "; were all keys filled, with values of this length?"),
    }
    .expect("writing to memory does not fail");
    Fatal(words)
}
