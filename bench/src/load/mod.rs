//! One run: threads with connections, measured over one window.
//!
//! Design: each thread has its own poll, its own connections and its own counts, so that threads share nothing but a fill's next
//! key and, some ten times a second, the timeline. In a closed loop a connection sends its next batch when the one before is
//! answered, so latency is that of a server under exactly this load, and a slow server is asked less often. In an open loop
//! requests are due at times of their own (`schedule`).
//! The first part of the time is warm-up and counts for nothing; a fill has none. When the time is up, no batch is begun, and
//! those under way are awaited.
//!
//! Not here: what is sent (`operation`), a connection's state (`connection`).

mod recorder;
mod schedule;
mod subscribers;
mod timeline;
mod timer;
mod worker;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::address::{Address, Stream};
use crate::greeting::{Greeting, GreetingOptions};
use crate::keys::Distribution;
use crate::operation::{Data, Operation, Plan};
use crate::output::{Document, Output, Outputs, Section};
use crate::process::CpuTime;
use crate::progress::{Progress, ProgressLine};
use crate::report::{LoadReport, PartReport};
use crate::tls::TlsOptions;
use crate::values::{Sizes, Ttl};
use crate::{Fatal, fatal};

use recorder::{Part, lock};
pub use schedule::Arrivals;
use subscribers::Subscribers;
pub use timeline::{BUCKETS, Slot, Timeline, bucket, bucket_ns};

/// The share of the time that is warm-up.
const WARM_UP_SHARE: f64 = 0.2;
/// Units sent at once when data is made.
const FILL_DEPTH: usize = 16;
/// How often somebody who watches is told.
const WATCH_EVERY: Duration = Duration::from_millis(100);

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
    /// How keys are distributed; if it is not said, by `zipf` or as the operation has it.
    pub distribution: Option<Distribution>,
    /// How long values are, if not all `value_bytes`.
    pub sizes: Option<Sizes>,
    /// How long keys live that are set.
    pub ttl: Option<Ttl>,
    /// Whether values that come back are looked at.
    pub is_verified: bool,
    /// Whether the data that the operation needs is made first.
    pub fills: bool,
    /// After so many batches a connection is closed and made anew.
    pub churn: Option<u64>,
    /// Connections that subscribe to the channels of `publish`.
    pub subscribers: usize,
    /// What is said first on a connection.
    pub greeting: GreetingOptions,
    /// Threads; if it is not said, one for each of `cpus`, at least one.
    pub threads: Option<usize>,
    /// Threads are pinned to these in turn; to none in particular if there are none.
    pub cpus: Vec<usize>,
    /// Requests per second of all connections together, whatever the server does; if it is not said, a connection sends its next
    /// batch when the one before is answered.
    pub rate: Option<f64>,
    /// How they are spaced.
    pub arrivals: Arrivals,
    /// Files to write.
    pub outputs: Vec<Output>,
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
            distribution: None,
            sizes: None,
            ttl: None,
            is_verified: false,
            fills: false,
            churn: None,
            subscribers: 0,
            greeting: GreetingOptions::default(),
            threads: None,
            cpus: Vec::new(),
            rate: None,
            arrivals: Arrivals::Constant,
            outputs: Vec::new(),
            tls: None,
        }
    }
}

impl LoadOptions {
    /// The data of it.
    pub fn data(&self) -> Data {
        Data {
            keys: self.keys,
            distribution: self.distribution.or(self.zipf.map(Distribution::Zipf)),
            sizes: self.sizes.clone().unwrap_or(Sizes::Fixed(self.value_bytes)),
            ttl: self.ttl,
            is_verified: self.is_verified,
        }
    }
}

/// What all threads of a run share.
struct Run<'a> {
    options: &'a LoadOptions,
    greeting: Greeting,
    tls: Option<Arc<ClientConfig>>,
    plan: Plan,
    pids: Vec<u32>,
    threads: usize,
    begin: Instant,
    /// When the warm-up ends and the timeline begins.
    warm: Instant,
    end: Instant,
    timeline: Mutex<Timeline>,
    width: Duration,
    failed: AtomicBool,
}

impl Run<'_> {
    /// The server of a connection.
    fn address(&self, connection: usize) -> &Address {
        &self.options.addresses[connection % self.options.addresses.len()]
    }

    /// Nothing is due at the end.
    fn last_due(&self) -> Instant {
        self.end - Duration::from_nanos(1)
    }

    /// The slot of the timeline at a time after the warm-up.
    fn slot(&self, now: Instant) -> usize {
        ((now - self.warm).as_nanos() / self.width.as_nanos()) as usize
    }
}

/// Runs a load, writes its files, and says what it found.
///
/// # Errors
/// As `run`, or a file that cannot be written.
pub fn run_with_files(options: &LoadOptions) -> Result<LoadReport, Fatal> {
    let outputs = Outputs::open(&options.outputs)?;
    if options.fills {
        fill(options)?;
    }
    let report = run(options)?;
    let title = format!("{} on {}", options.operation, options.addresses[0]);
    let runs = vec![(options.addresses[0].to_string(), report.clone())];
    let section = Section { title: options.operation.to_string(), runs };
    outputs.write(&Document::new(title, vec![section]))?;
    Ok(report)
}

/// Makes the data that an operation needs.
///
/// # Errors
/// As `run`, or an error reply.
pub fn fill(options: &LoadOptions) -> Result<(), Fatal> {
    let Some(operation) = options.operation.fill() else { return Ok(()) };
    let options = LoadOptions {
        operation,
        depth: options.depth.max(FILL_DEPTH),
        rate: None,
        churn: None,
        is_verified: false,
        ..options.clone()
    };
    let report = run(&options)?;
    match report.first_error {
        Some(error) => fatal(format!("{}: the server replied with an error: {error}", options.operation)),
        None => Ok(()),
    }
}

/// Runs a load and says what it found; a line of progress goes to standard error if that is a terminal.
///
/// # Errors
/// No connection, a connection lost, no reply for a while, or, for a known operation, an error reply or a missing key.
pub fn run(options: &LoadOptions) -> Result<LoadReport, Fatal> {
    let mut line = std::io::stderr().is_terminal().then(ProgressLine::default);
    run_watched(options, &mut |progress| {
        if let Some(line) = &mut line {
            line.show(&options.operation.to_string(), progress);
        }
    })
}

/// Runs a load, tells `watch` some ten times a second how it goes, and says what it found.
///
/// # Errors
/// As `run`.
pub fn run_watched(options: &LoadOptions, watch: &mut dyn FnMut(&Progress)) -> Result<LoadReport, Fatal> {
    let LoadOptions { addresses, connections, .. } = options;
    assert!(!addresses.is_empty());
    assert!(*connections > 0 && options.depth > 0);
    let threads = options.threads.unwrap_or(options.cpus.len()).clamp(1, *connections);
    let tls = options.tls.as_ref().map(TlsOptions::load).transpose()?;
    let greeting = Greeting::new(&options.greeting);
    addresses.iter().try_for_each(|address| greeting.check(address, tls.as_ref()))?;
    let mut streams: Vec<Vec<Stream>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, address) in addresses.iter().cycle().take(*connections).enumerate() {
        let stream = address.connect(tls.as_ref());
        let stream = stream.map_err(|error| Fatal(format!("cannot connect to {address}: {error}")))?;
        streams[index % threads].push(stream);
    }
    let mut plan = Plan::new(&options.operation, &options.data())?;
    plan.under_way = (connections * options.depth) as u64;
    let pids = match options.pids.is_empty() {
        true => find_pids(addresses, &greeting, tls.as_ref()),
        false => options.pids.clone(),
    };
    let subscribers = (options.subscribers > 0 && !plan.is_fill())
        .then(|| Subscribers::connect(options.subscribers, options.keys, addresses, &greeting, tls.as_ref()))
        .transpose()?;
    let timeline = Timeline::new(options.duration);
    let begin = Instant::now();
    let warm_up = if plan.is_fill() { Duration::ZERO } else { options.duration.mul_f64(WARM_UP_SHARE) };
    let run = Run {
        options,
        greeting,
        tls,
        plan,
        pids,
        threads,
        begin,
        warm: begin + warm_up,
        end: begin + options.duration,
        width: timeline.width,
        timeline: Mutex::new(timeline),
        failed: AtomicBool::new(false),
    };
    let stop = AtomicBool::new(false);
    let (parts, delivered): (Vec<Result<Part, Fatal>>, _) = std::thread::scope(|scope| {
        let (run, stop, (done, all_done)) = (&run, &stop, channel::<()>());
        let listening = subscribers.map(|subscribers| scope.spawn(move || subscribers.run(run.warm, stop)));
        let start = |(index, streams)| {
            let done = done.clone();
            scope.spawn(move || {
                let part = worker::thread(run, index, streams);
                drop(done);
                part
            })
        };
        let handles: Vec<_> = streams.into_iter().enumerate().map(start).collect();
        drop(done);
        while all_done.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
            let progress = Progress::new(begin.elapsed(), &lock(&run.timeline));
            watch(&progress);
        }
        let join = |handle: std::thread::ScopedJoinHandle<'_, _>| handle.join().expect("no thread panics");
        let parts = handles.into_iter().map(join).collect();
        stop.store(true, Ordering::Release);
        (parts, listening.map(|thread| thread.join().expect("no thread panics")))
    });
    let servers_after = cpu_times(&run.pids);
    let mut report = report(run, parts.into_iter().collect::<Result<_, _>>()?, &servers_after?)?;
    report.delivered = delivered.transpose()?;
    Ok(report)
}

/// Joins what the threads did.
fn report(run: Run<'_>, parts: Vec<Part>, servers_after: &[CpuTime]) -> Result<LoadReport, Fatal> {
    let from = parts.iter().map(|part| part.from).min().expect("there is a thread");
    let to = parts.iter().map(|part| part.to).max().expect("there is a thread");
    let servers_before = &parts[0].servers_before;
    let used = servers_after.iter().zip(servers_before).map(|(after, before)| after.since(before));
    let options = run.options;
    let mut report = LoadReport {
        operation: options.operation.to_string(),
        connections: options.connections,
        depth: options.depth,
        threads: parts.len(),
        rate: options.rate,
        elapsed: to - from,
        server_cpu: (!servers_after.is_empty()).then(|| used.sum()),
        parts: run
            .plan
            .names()
            .iter()
            .map(|name| PartReport::new(name))
            .filter(|_| run.plan.names().len() > 1)
            .collect(),
        is_verified: run.plan.is_verified(),
        timeline: run.timeline.into_inner().expect("no thread panics"),
        ..LoadReport::empty(options.duration)
    };
    for part in parts {
        report.ops += part.ops;
        report.load_cpu += part.cpu;
        report.errors += part.errors;
        report.unsent += part.unsent;
        report.latencies.add(&part.latencies);
        report.lags.add(&part.lags);
        report.nulls += part.nulls;
        report.right += part.right;
        report.wrong += part.wrong;
        report.first_wrong = report.first_wrong.or(part.first_wrong);
        report.reconnects += part.reconnects;
        for (own, (ops, latencies)) in report.parts.iter_mut().zip(&part.parts) {
            own.ops += ops;
            own.latencies.add(latencies);
        }
        report.first_error = report.first_error.or(part.first_error);
    }
    if report.ops == 0 {
        return fatal("no batch was answered within the time: measure longer, or with less depth");
    }
    Ok(report)
}

/// The processes of servers on this machine that say which they are.
fn find_pids(addresses: &[Address], greeting: &Greeting, tls: Option<&Arc<ClientConfig>>) -> Vec<u32> {
    let local = addresses.iter().filter(|address| address.is_local());
    let found = local.filter_map(|address| ask_pid(address, greeting, tls));
    let found: BTreeSet<u32> = found.filter(|pid| CpuTime::of(*pid).is_ok()).collect();
    found.into_iter().collect()
}

fn ask_pid(address: &Address, greeting: &Greeting, tls: Option<&Arc<ClientConfig>>) -> Option<u32> {
    let request = [&greeting.request, &b"INFO server\r\n"[..]].concat();
    let info = address.ask_all(&request, greeting.replies + 1, tls).ok()?;
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
