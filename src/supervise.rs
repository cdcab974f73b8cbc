//! What the service manager is told, where it started this process: systemd's protocol of `$NOTIFY_SOCKET`.
//!
//! Design: each state is one datagram, sent by whoever brings it about. One thread, which exists only where somebody
//! listens, says the rest: how far loading is, and that all workers are alive. For that it looks at each worker's signs
//! of life (`WorkerStats::alive_ms`), and then wakes it, so that a worker with nothing to do has one for the next look. A
//! worker in the middle of what takes long by its nature (a script, SAVE, loading) gives signs from within. One that
//! gave none between two looks hangs, and the service manager hears nothing until it goes on: it will end the process
//! and start another.
//!
//! Invariants: nothing is said of readiness before the data is loaded, whatever a reload does meanwhile.
//! Costs: four wake-ups of each worker in the time that the service manager allows; without one, nothing.
//! Not here: the sockets that it hands over (`net::listener`), what a reload does (`command::server::reload`).

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::park_timeout;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use torc::command::Shared;
use torc::io::Waker;

/// Looks in the time after which the service manager takes silence for a hang: one may be late, and another lost.
const LOOKS: u32 = 4;
/// Time between two reports of how far loading is.
const LOADING_STEP: Duration = Duration::from_secs(1);
/// How much longer the start may take from each of these reports on, and the end from each look that finds all workers alive.
const EXTENSION: Duration = Duration::from_secs(60);

static IS_READY: AtomicBool = AtomicBool::new(false);

/// Says something to the service manager, if there is one.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&path, state) {
        log::warn!("Cannot notify the supervisor: {error}");
    }
}

fn send(path: &OsString, state: &str) -> std::io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// Clients are served: what the log says of it becomes the state of the service.
pub fn notify_ready(what: &str) {
    IS_READY.store(true, Release);
    notify(&format!("READY=1\nSTATUS={what}"));
}

/// A reload is under way while `work` runs; what it returns becomes the state of the service.
pub fn notify_reload(work: impl FnOnce() -> String) {
    let now = clock_gettime(ClockId::Monotonic);
    let now_us = now.tv_sec as i128 * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    // Whoever is not ready yet cannot be ready again.
    let is_ready = IS_READY.load(Acquire);
    if is_ready {
        notify(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }
    let status = work();
    if is_ready {
        notify(&format!("READY=1\nSTATUS={status}"));
    }
}

/// Starts the thread that says how loading goes and that all workers are alive, where somebody listens.
///
/// # Errors
/// There is no thread to be had.
pub fn watch(shared: &Arc<Shared>, wakers: Vec<Waker>) -> Result<(), String> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Ok(());
    }
    let period = watchdog_period();
    if period.is_none() && !shared.loading.is_on() {
        return Ok(());
    }
    let shared = Arc::clone(shared);
    let body = move || run(&shared, &wakers, period);
    let started = std::thread::Builder::new().name("torc-supervise".to_owned()).spawn(body);
    started.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// After what time the service manager takes this process for hung, if it watches it.
fn watchdog_period() -> Option<Duration> {
    let is_mine =
        std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse::<u32>().ok() == Some(std::process::id()));
    let period_us: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (is_mine && period_us > 0).then(|| Duration::from_micros(period_us))
}

fn run(shared: &Shared, wakers: &[Waker], period: Option<Duration>) {
    let pause = period.map_or(LOADING_STEP, |period| period / LOOKS);
    let mut watch = Watch::new(wakers.len());
    let mut since_report = LOADING_STEP;
    loop {
        let is_ready = IS_READY.load(Acquire);
        if !is_ready && shared.loading.is_on() && since_report >= LOADING_STEP {
            since_report = Duration::ZERO;
            report_loading(shared);
        }
        if let Some(period) = period {
            if watch.look(shared.stats.all().iter().map(|worker| worker.alive_ms.read()), period / LOOKS) {
                notify("WATCHDOG=1");
                let ends = shared.shutdown.asked().is_some() || shared.shutdown.requested();
                if ends {
                    // The last save takes as long as it takes.
                    notify(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.max(period * 2).as_micros()));
                }
            }
            wakers.iter().for_each(|waker| waker.wake());
        } else if is_ready {
            return;
        }
        park_timeout(pause);
        since_report += pause;
    }
}

fn report_loading(shared: &Shared) {
    let (total, read) = shared.loading.bytes();
    let percent = read.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
    let (keys, mib) = (shared.loading.keys().loaded, total >> 20);
    let extension_us = EXTENSION.as_micros();
    notify(&format!(
        "STATUS=Loading: {percent} % of {mib} MiB, {keys} keys\nEXTEND_TIMEOUT_USEC={extension_us}"
    ));
}

/// What was last seen of each worker.
struct Watch {
    alive_ms: Vec<u64>,
    hangs: Vec<bool>,
}

impl Watch {
    fn new(workers: usize) -> Watch {
        // No sign was given then: the first look finds all alive.
        Watch { alive_ms: vec![u64::MAX; workers], hangs: vec![false; workers] }
    }

    /// Whether every worker has given a sign of life since the last look, so long ago. The log says which has not.
    fn look(&mut self, alive_ms: impl Iterator<Item = u64>, pause: Duration) -> bool {
        for (number, now) in alive_ms.enumerate() {
            let hangs = self.alive_ms[number] == now;
            let hung = std::mem::replace(&mut self.hangs[number], hangs);
            self.alive_ms[number] = now;
            match (hung, hangs) {
                (false, true) => {
                    let ms = pause.as_millis();
                    log::warn!(
                        "worker {number} has given no sign of life for {ms} ms: the service manager is not told that all is well"
                    );
                }
                (true, false) => log::warn!("worker {number} goes on"),
                _ => {}
            }
        }
        !self.hangs.contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_without_sign_of_life_hangs_until_it_has_one() {
        let mut watch = Watch::new(2);
        let mut look = |alive_ms: [u64; 2]| watch.look(alive_ms.into_iter(), Duration::from_secs(1));
        assert!(look([0, 0]), "nothing is known yet");
        assert!(look([1, 1]));
        assert!(!look([2, 1]));
        assert!(!look([3, 1]));
        assert!(look([4, 2]));
    }
}
