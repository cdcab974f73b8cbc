//! One run: threads with connections, each a closed loop, measured over one window.
//!
//! Design: one thread per CPU given, each with its own poll, its own connections and its own counts, so that threads
//! share nothing but a fill's next key. Closed loop: a connection sends its next batch when the one before is answered,
//! so latency is that of a server under exactly this load, and a slow server is asked less often.
//! The first part of the time is warm-up and counts for nothing; a fill has none. When the time is up, no batch is
//! begun, and those under way are awaited.
//!
//! Not here: what is sent (`operation`), a connection's state (`connection`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::address::{Address, Stream};
use crate::connection::{Connection, Progress};
use crate::keys::{KeyPicker, Random};
use crate::operation::{Operation, Plan};
use crate::process::{self, CpuTime};
use crate::report::{Latencies, LoadReport};
use crate::tls::TlsOptions;
use crate::{Fatal, fatal};

/// The share of the time that is warm-up.
const WARM_UP_SHARE: f64 = 0.2;
/// How long no reply at all may come.
const STALL: Duration = Duration::from_secs(10);
/// Bytes received at once.
const SCRATCH_BYTES: usize = 256 << 10;
/// Events taken at once.
const EVENTS_MAX: usize = 256;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Servers; connections are dealt out among them.
    pub addresses: Vec<Address>,
    /// Their processes; if there are none, the servers are asked.
    pub pids: Vec<u32>,
    /// What is done.
    pub operation: Operation,
    /// Connections of all threads together.
    pub connections: usize,
    /// Units sent at once on a connection.
    pub depth: usize,
    /// How long, warm-up included.
    pub duration: Duration,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Number of keys.
    pub keys: u64,
    /// Exponent of the keys' Zipf distribution; uniform if there is none.
    pub zipf: Option<f64>,
    /// One thread is pinned to each; one thread, not pinned, if there are none.
    pub cpus: Vec<usize>,
    /// How connections are encrypted; not at all, if there is nothing.
    pub tls: Option<TlsOptions>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            addresses: Vec::new(),
            pids: Vec::new(),
            operation: Operation::Get,
            connections: 50,
            depth: 1,
            duration: Duration::from_secs(5),
            value_bytes: 64,
            keys: 1_000_000,
            zipf: None,
            cpus: Vec::new(),
            tls: None,
        }
    }
}

/// What all threads of a run share.
struct Run<'a> {
    options: &'a LoadOptions,
    plan: Plan,
    pids: Vec<u32>,
    begin: Instant,
    failed: AtomicBool,
}

/// What a thread did in its window.
struct Part {
    from: Instant,
    to: Instant,
    ops: u64,
    cpu: Duration,
    latencies: Latencies,
    errors: u64,
    first_error: Option<String>,
    /// What the servers had used when the window began; only the first thread looks.
    servers_before: Vec<CpuTime>,
}

/// Runs a load and says what it found.
///
/// # Errors
/// No connection, a connection lost, no reply for a while, or, for a known operation, an error reply or a missing key.
pub fn run(options: &LoadOptions) -> Result<LoadReport, Fatal> {
    let LoadOptions { addresses, connections, cpus, keys, .. } = options;
    assert!(!addresses.is_empty());
    assert!(*connections > 0 && options.depth > 0);
    let threads = cpus.len().clamp(1, *connections);
    let tls = options.tls.as_ref().map(TlsOptions::load).transpose()?;
    let mut streams: Vec<Vec<Stream>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, address) in addresses.iter().cycle().take(*connections).enumerate() {
        let stream = address.connect(tls.as_ref());
        let stream = stream.map_err(|error| Fatal(format!("cannot connect to {address}: {error}")))?;
        streams[index % threads].push(stream);
    }
    let run = Run {
        options,
        plan: Plan::new(&options.operation, options.value_bytes, KeyPicker::new(*keys, options.zipf))?,
        pids: if options.pids.is_empty() { find_pids(addresses, tls.as_ref()) } else { options.pids.clone() },
        begin: Instant::now(),
        failed: AtomicBool::new(false),
    };
    let parts: Vec<Result<Part, Fatal>> = std::thread::scope(|scope| {
        let run = &run;
        let start = |(index, streams)| scope.spawn(move || thread(run, index, streams));
        let handles: Vec<_> = streams.into_iter().enumerate().map(start).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().expect("no thread panics");
        handles.into_iter().map(join).collect()
    });
    let servers_after = cpu_times(&run.pids);
    report(options, parts.into_iter().collect::<Result<_, _>>()?, &servers_after?)
}

/// Joins what the threads did.
fn report(options: &LoadOptions, parts: Vec<Part>, servers_after: &[CpuTime]) -> Result<LoadReport, Fatal> {
    let from = parts.iter().map(|part| part.from).min().expect("there is a thread");
    let to = parts.iter().map(|part| part.to).max().expect("there is a thread");
    let servers_before = &parts[0].servers_before;
    let used = servers_after.iter().zip(servers_before).map(|(after, before)| after.since(before));
    let mut report = LoadReport {
        operation: options.operation.to_string(),
        connections: options.connections,
        depth: options.depth,
        threads: parts.len(),
        elapsed: to - from,
        ops: 0,
        server_cpu: (!servers_after.is_empty()).then(|| used.sum()),
        load_cpu: Duration::ZERO,
        latencies: Latencies::default(),
        errors: 0,
        first_error: None,
    };
    for part in parts {
        report.ops += part.ops;
        report.load_cpu += part.cpu;
        report.errors += part.errors;
        report.latencies.add(&part.latencies);
        report.first_error = report.first_error.or(part.first_error);
    }
    if report.ops == 0 {
        return fatal("no batch was answered within the time: measure longer, or with less depth");
    }
    Ok(report)
}

/// The processes of servers on this machine that say which they are.
fn find_pids(addresses: &[Address], tls: Option<&Arc<ClientConfig>>) -> Vec<u32> {
    let local = addresses.iter().filter(|address| address.is_local());
    let found = local.filter_map(|address| ask_pid(address, tls));
    let found: BTreeSet<u32> = found.filter(|pid| CpuTime::of(*pid).is_ok()).collect();
    found.into_iter().collect()
}

fn ask_pid(address: &Address, tls: Option<&Arc<ClientConfig>>) -> Option<u32> {
    let info = address.ask("INFO server", tls).ok()?;
    let info = String::from_utf8_lossy(&info);
    info.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
}

fn cpu_times(pids: &[u32]) -> Result<Vec<CpuTime>, Fatal> {
    let read = |pid: &u32| {
        CpuTime::of(*pid)
            .map_err(|error| Fatal(format!("cannot read the CPU time of process {pid}: {error}")))
    };
    pids.iter().map(read).collect()
}

/// One thread of a run, from its pinning to its last reply.
fn thread(run: &Run<'_>, index: usize, streams: Vec<Stream>) -> Result<Part, Fatal> {
    let cpu = run.options.cpus.get(index).copied();
    let done = process::pin(cpu.as_slice())
        .map_err(|error| Fatal(error.to_string()))
        .and_then(|()| closed_loop(run, index, streams));
    if done.is_err() {
        run.failed.store(true, Ordering::Relaxed);
    }
    done
}

fn closed_loop(run: &Run<'_>, index: usize, streams: Vec<Stream>) -> Result<Part, Fatal> {
    let Run { options, plan, begin, .. } = run;
    let io_failed = |error: io::Error| Fatal(format!("cannot wait for connections: {error}"));
    let mut poll = Poll::new().map_err(io_failed)?;
    let connect = |(token, stream)| Connection::new(stream, Token(token), poll.registry());
    let connections: io::Result<Vec<Connection>> = streams.into_iter().enumerate().map(connect).collect();
    let mut connections = connections.map_err(io_failed)?;
    let mut random = Random::new((index as u64) << 32 | begin.elapsed().subsec_nanos() as u64);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut events = Events::with_capacity(EVENTS_MAX);
    let (end, warm) = (*begin + options.duration, *begin + options.duration.mul_f64(WARM_UP_SHARE));
    let mut window = Some(Window::open(run, index)?).filter(|_| plan.is_fill());
    for connection in &mut connections {
        connection.start(plan, options.depth, &mut random, poll.registry())?;
    }
    let mut live = connections.len();
    loop {
        let now = Instant::now();
        if window.is_none() && now >= warm {
            window = Some(Window::open(run, index)?);
        }
        let is_over = if plan.is_fill() { plan.is_filled() } else { now >= end };
        let is_over = is_over || run.failed.load(Ordering::Relaxed);
        if is_over && live == 0 {
            break;
        }
        match poll.poll(&mut events, Some(STALL)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(io_failed)?,
        }
        if events.is_empty() {
            return Err(stalled(live, &connections));
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            if event.is_writable() {
                connection.send(poll.registry())?;
            }
            // What was closed or failed reads as such.
            if !(event.is_readable() || event.is_read_closed() || event.is_error()) {
                continue;
            }
            if connection.receive(plan, &mut scratch)? == Progress::Pending {
                continue;
            }
            if let Some(window) = &mut window {
                window.ops += options.depth as u64;
                window.latencies.record(connection.started.elapsed());
            }
            if is_over {
                live -= 1;
            } else {
                connection.start(plan, options.depth, &mut random, poll.registry())?;
            }
        }
    }
    let window = window.map_or_else(|| Window::open(run, index), Ok)?;
    Ok(window.close(&connections))
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

/// The time that counts.
struct Window {
    from: Instant,
    cpu_before: Duration,
    servers_before: Vec<CpuTime>,
    ops: u64,
    latencies: Latencies,
}

impl Window {
    fn open(run: &Run<'_>, index: usize) -> Result<Window, Fatal> {
        let servers_before = if index == 0 { cpu_times(&run.pids)? } else { Vec::new() };
        Ok(Window {
            servers_before,
            ops: 0,
            latencies: Latencies::default(),
            cpu_before: process::thread_cpu_time(),
            from: Instant::now(),
        })
    }

    fn close(self, connections: &[Connection]) -> Part {
        Part {
            from: self.from,
            to: Instant::now(),
            ops: self.ops,
            cpu: process::thread_cpu_time() - self.cpu_before,
            latencies: self.latencies,
            errors: connections.iter().map(Connection::errors).sum(),
            first_error: connections.iter().find_map(Connection::first_error).map(str::to_owned),
            servers_before: self.servers_before,
        }
    }
}
