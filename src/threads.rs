//! Threads beside the workers, which may wait: those of the system, or those of a simulation, of which one runs at a time.
//!
//! Design: whatever such a thread waits for goes through here: time, a change that others make under a lock, a peer. In a simulation
//! it hands its turn over then, and goes on when the simulation says so ([`Simulation`]): a seed decides who comes next, and a run can
//! be repeated. Elsewhere each of these functions is the one of `std`, behind a look at a thread-local variable.
//!
//! Invariants:
//! - of a simulation's threads and the one that it runs on, one is at work at a time;
//! - who waits holds no lock, but the one under which the awaited change is made.
//!
//! Not here: the order in which threads go on, and the network (`io::sim`).

mod simulation;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use simulation::{Answer, Ask, Entered, Simulation, Thread};

/// Where the calling thread is.
#[derive(Default)]
enum Place {
    #[default]
    System,
    /// A simulation runs on it.
    Simulation(Arc<Simulation>),
    /// It is one of a simulation's.
    Simulated(Arc<Simulation>, Arc<Thread>),
}

/// What lets others go on.
type Others = Rc<dyn Fn()>;

thread_local! {
    static OTHERS: RefCell<Option<Others>> = const { RefCell::new(None) };
    static PLACE: RefCell<Place> = const { RefCell::new(Place::System) };
}

/// Starts a thread.
///
/// # Errors
/// There is no thread left.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    match simulation() {
        None => builder.spawn(body),
        Some(simulation) => {
            let thread = simulation.add();
            builder.spawn(move || {
                PLACE.set(Place::Simulated(simulation, Arc::clone(&thread)));
                thread.live(body);
            })
        }
    }
}

/// The time, of which differences count.
pub fn now() -> Instant {
    simulation().map_or_else(Instant::now, |simulation| simulation.now())
}

/// Unix time in ms.
pub fn unix_ms() -> u64 {
    match simulation() {
        Some(simulation) => simulation.unix_ms(),
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
    }
}

/// Waits until the calling thread is unparked, for so long at most; it may also go on without any reason.
pub fn park_timeout(limit: Duration) {
    if ask(|now| Ask::Rest { until: now + limit }).is_none() {
        std::thread::park_timeout(limit);
    }
}

/// Waits for as long as what the lock guards says so, but no longer than `limit`; `changed` is notified of changes
/// ([`notify_all`]).
pub fn wait_while<'a, T>(
    changed: &Condvar,
    lock: &'a Mutex<T>,
    limit: Option<Duration>,
    mut waits: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    let guarded = || lock.lock().unwrap_or_else(PoisonError::into_inner);
    if !is_simulated() {
        return match limit {
            None => changed.wait_while(guarded(), waits).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = changed.wait_timeout_while(guarded(), limit, waits);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
    let end = limit.map(|limit| now() + limit);
    loop {
        let mut guard = guarded();
        if !waits(&mut guard) || end.is_some_and(|end| now() >= end) {
            return guard;
        }
        drop(guard);
        let left = end.map(|end| end.saturating_duration_since(now()));
        ask(|now| Ask::Change { until: left.map(|left| now + left) });
    }
}

/// Something has changed that others may wait for.
pub fn notify_all(changed: &Condvar) {
    changed.notify_all();
    if let Some(simulation) = simulation() {
        simulation.note_change();
    }
}

/// What comes, if it comes within `limit`. A simulation that has the calling thread lets others go on first, and nothing more.
pub fn receive<T>(receiver: &Receiver<T>, limit: Duration) -> Option<T> {
    match simulation() {
        None => receiver.recv_timeout(limit).ok(),
        Some(_) => {
            let others = OTHERS.with_borrow(Option::clone);
            others.iter().for_each(|others| others());
            receiver.try_recv().ok()
        }
    }
}

/// Whether the calling thread is one of a simulation's.
pub fn is_simulated() -> bool {
    PLACE.with_borrow(|place| matches!(place, Place::Simulated(..)))
}

/// The simulation that the calling thread belongs to.
pub fn simulation() -> Option<Arc<Simulation>> {
    PLACE.with_borrow(|place| match place {
        Place::System => None,
        Place::Simulation(simulation) | Place::Simulated(simulation, _) => Some(Arc::clone(simulation)),
    })
}

/// What a simulation answers its thread, which waits for it; none where the calling thread is not one. `question` is told the
/// time since the simulation has begun.
pub fn ask(question: impl FnOnce(Duration) -> Ask) -> Option<Answer> {
    let (simulation, thread) = PLACE.with_borrow(|place| match place {
        Place::Simulated(simulation, thread) => Some((Arc::clone(simulation), Arc::clone(thread))),
        Place::System | Place::Simulation(_) => None,
    })?;
    Some(thread.ask(question(simulation.elapsed())))
}
