//! The worker threads: one pinned thread per worker, started together, joined at the end.
//!
//! Design: an io_uring instance belongs to the thread that made it, so each thread opens its own backend, says how it can
//! be woken, and then waits for its setup (what it shares with the others), which needs all wakers.
//!
//! A worker that fails leaves clients that nobody serves, and perhaps leases that nobody gives back, so the process must end
//! with it. Each thread therefore says how it ended the moment it does, and whoever joins them hears of the first that
//! failed, whatever the others do.

use std::io::Error;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{Clock, Inbox, Worker, WorkerSetup, inboxes};
use crate::command::Shared;
use crate::config::{self, Config};
use crate::io::tls::Tls;
use crate::io::{self, Backend, Io, Listener, Waker};

/// The running workers.
pub struct WorkerThreads {
    threads: Vec<JoinHandle<()>>,
    wakers: Vec<Waker>,
    ends: Receiver<End>,
}

/// That a worker has ended: its number, and what failed.
type End = (usize, std::io::Result<()>);

/// Says how its thread ended when it is dropped, which a panic does too.
struct EndReport {
    number: usize,
    ends: mpsc::Sender<End>,
    outcome: std::io::Result<()>,
}

impl EndReport {
    fn new(number: usize, ends: mpsc::Sender<End>) -> Self {
        Self { number, ends, outcome: Err(Error::other("it panicked")) }
    }

    /// It has not panicked, but ends so.
    fn tell(mut self, outcome: std::io::Result<()>) {
        self.outcome = outcome;
    }
}

impl Drop for EndReport {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        // Nobody listens if the start was given up, or another one failed.
        self.ends.send((self.number, outcome)).unwrap_or_default();
    }
}

/// A thread that has its I/O and waits for its setup.
struct StartedThread {
    waker: Waker,
    backend: &'static str,
    setup: SyncSender<(WorkerSetup, Vec<Listener>)>,
    thread: JoinHandle<()>,
}

/// Threads whose I/O is open, before they know what to serve.
pub struct StartedThreads {
    threads: Vec<StartedThread>,
    ends: Receiver<End>,
}

impl StartedThreads {
    /// Starts and pins the threads and opens their I/O.
    pub fn start(config: &Config) -> Result<Self, String> {
        let cpus = config::worker_cpus(config);
        assert!(!cpus.is_empty(), "a process runs on some CPU");
        let (told, ends) = channel();
        let start = |(number, cpu): (usize, &usize)| {
            StartedThread::start(number, *cpu, config, EndReport::new(number, told.clone()))
        };
        let threads = cpus.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Self { threads, ends })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// The name of the backend in use.
    pub fn backend(&self) -> &'static str {
        self.threads[0].backend
    }

    /// Sets them up: from here on they serve. `clones` makes each worker its own handles of the listeners.
    pub fn setup(
        self,
        shared: &Arc<Shared>,
        seed: u64,
        listeners: impl Fn() -> std::io::Result<Vec<Listener>>,
    ) -> Result<WorkerThreads, String> {
        let wakers: Vec<Waker> = self.threads.iter().map(|thread| thread.waker.clone()).collect();
        let mut threads = Vec::new();
        for (number, (thread, inbox)) in
            self.threads.into_iter().zip(inboxes(&wakers, &shared.pubsub)).enumerate()
        {
            let listeners =
                listeners().map_err(|error| format!("cannot share a listening socket: {error}"))?;
            let setup = setup(number, shared, inbox, seed);
            thread.setup.send((setup, listeners)).map_err(|_| "a worker ended before it began".to_owned())?;
            threads.push(thread.thread);
        }
        Ok(WorkerThreads { threads, wakers, ends: self.ends })
    }
}

fn setup(number: usize, shared: &Arc<Shared>, inbox: Inbox, seed: u64) -> WorkerSetup {
    let seed = seed.wrapping_add(number as u64);
    WorkerSetup { number, shared: Arc::clone(shared), inbox, clock: Clock::system(), seed }
}

impl StartedThread {
    fn start(number: usize, cpu: usize, config: &Config, end: EndReport) -> Result<Self, String> {
        let (setup, awaited) = sync_channel(1);
        let (ready, opened) = sync_channel(1);
        let (kind, options) = io_options(config);
        let body = move || {
            if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
                log::warn!("worker {number}: cannot be pinned to CPU {cpu}");
            }
            end.tell(match io::open(kind, &options) {
                Ok(Backend::Uring(io)) => serve(io, &ready, &awaited),
                Ok(Backend::Epoll(io)) => serve(io, &ready, &awaited),
                Err(error) => {
                    // The receiver waits for exactly one answer.
                    let remedy = match kind {
                        io::BackendKind::IoUring => {
                            "; with 'io-backend auto' the server does without io_uring"
                        }
                        io::BackendKind::Auto | io::BackendKind::Epoll => "",
                    };
                    ready.send(Err(format!("{error}{remedy}"))).unwrap_or_default();
                    Ok(())
                }
            });
        };
        let thread = Builder::new().name(format!("torc-worker-{number}")).spawn(body);
        let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        let (waker, backend) = opened.recv().map_err(|_| "a worker ended before it began".to_owned())??;
        Ok(Self { waker, backend, setup, thread })
    }
}

fn serve<I: Io>(
    io: I,
    ready: &SyncSender<Result<(Waker, &'static str), String>>,
    awaited: &Receiver<(WorkerSetup, Vec<Listener>)>,
) -> std::io::Result<()> {
    ready.send(Ok((io.waker(), io.name()))).unwrap_or_default();
    // Without a setup the start was given up elsewhere.
    let Ok((setup, listeners)) = awaited.recv() else { return Ok(()) };
    let served = Arc::clone(&setup.shared.tls.served);
    let mut worker = Worker::new(Tls::new(io, served), setup);
    for (number, listener) in listeners.into_iter().enumerate() {
        worker.io_mut().accept(number as u16, listener)?;
    }
    worker.run()
}

fn io_options(config: &Config) -> (io::BackendKind, io::Options) {
    let kind = match config.io_backend {
        config::IoBackend::Auto => io::BackendKind::Auto,
        config::IoBackend::IoUring => io::BackendKind::IoUring,
        config::IoBackend::Epoll => io::BackendKind::Epoll,
    };
    let sqpoll = config.sqpoll.then_some(io::SqPoll { idle_ms: 1000, cpu: None });
    let napi_busy_poll_us = (config.busy_poll_us > 0).then_some(config.busy_poll_us);
    let buffer_count = config.receive_buffers.next_power_of_two();
    let buffer_bytes = config.receive_buffer_bytes;
    let refusal = super::reap::TOO_MANY;
    (
        kind,
        io::Options {
            refusal,
            sqpoll,
            napi_busy_poll_us,
            buffer_count,
            buffer_bytes,
            ..io::Options::default()
        },
    )
}

impl WorkerThreads {
    /// Something that wakes all workers, so that they look at what is shared.
    pub fn wakers(&self) -> Vec<Waker> {
        self.wakers.clone()
    }

    /// Waits for all workers to end, or for the first that fails.
    ///
    /// # Errors
    /// Which worker has failed, and why. The others still run: the process is to end.
    pub fn join(self) -> Result<(), String> {
        await_ends(&self.ends, self.threads.len())?;
        for thread in self.threads {
            thread.join().map_err(|_| "a worker panicked".to_owned())?;
        }
        Ok(())
    }
}

/// Waits for so many workers to end, or for the first that fails.
fn await_ends(ends: &Receiver<End>, count: usize) -> Result<(), String> {
    for _ in 0..count {
        let (number, outcome) = ends.recv().map_err(|_| "the workers ended without a word".to_owned())?;
        outcome.map_err(|error| format!("worker {number} failed: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The others run on for as long as they like; they were waited for first, in the order of their numbers.
    #[test]
    fn first_failure_is_told_while_others_run() {
        let (told, ends) = channel();
        let report = |number| EndReport::new(number, told.clone());
        let running: Vec<EndReport> = vec![report(0), report(3)];
        report(1).tell(Ok(()));
        report(2).tell(Err(Error::other("no memory")));
        assert_eq!(await_ends(&ends, 4), Err("worker 2 failed: no memory".to_owned()));
        drop(running);
        assert_eq!(await_ends(&ends, 1), Err("worker 0 failed: it panicked".to_owned()));
    }
}
