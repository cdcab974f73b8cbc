//! The threads of a simulation: each waits until it is its turn.
//!
//! Design: they are threads of the system, so that what runs on them is the code that runs elsewhere; but each is stopped unless the
//! simulation resumes it, and that waits until it asks for something again or ends. One that belongs to a process that is to die is
//! ended by an unwinding, in the middle of what it waits for.

use std::any::Any;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{OTHERS, PLACE, Place};

/// What a thread waits for. Times are those since the simulation has begun.
#[derive(Debug)]
pub enum Ask {
    /// A time.
    Rest {
        /// When it comes.
        until: Duration,
    },
    /// A change that others make, or a time.
    Change {
        /// When it comes.
        until: Option<Duration>,
    },
    /// A connection.
    Connect {
        /// To whom.
        port: u16,
        /// When it is given up.
        until: Duration,
    },
    /// Bytes that have arrived; none at the end.
    Read {
        /// From where.
        socket: u64,
        /// How many at most.
        bytes_max: usize,
        /// When it is given up.
        until: Option<Duration>,
    },
    /// That these bytes are sent.
    Write {
        /// Through what.
        socket: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// What it gets.
#[derive(Debug)]
pub enum Answer {
    /// It goes on.
    Done,
    /// A socket.
    Socket(u64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// What it wanted cannot be.
    Failed(ErrorKind),
    /// Its process dies.
    Killed,
}

/// The payload of the unwinding by which a thread dies with its process.
struct Killed;

enum Turn {
    /// It is its turn, with this answer until it takes that.
    Its(Option<Answer>),
    /// It waits.
    Waits(Ask),
    /// It has ended; what it says of it if it panicked.
    Ended(Option<String>),
}

/// A thread.
pub struct Thread {
    /// Which process it belongs to.
    owner: usize,
    turn: Mutex<Turn>,
    changed: Condvar,
    /// The number of changes that were made when it began to wait.
    changes_seen: AtomicU64,
}

impl Thread {
    /// Which process it belongs to.
    pub fn owner(&self) -> usize {
        self.owner
    }

    /// What it waits for; none if it has ended.
    pub fn with_ask<R>(&self, look: impl FnOnce(&Ask) -> R) -> Option<R> {
        match &*self.lock() {
            Turn::Waits(ask) => Some(look(ask)),
            Turn::Its(_) | Turn::Ended(_) => None,
        }
    }

    /// How many changes there were when it began to wait.
    pub fn changes_seen(&self) -> u64 {
        self.changes_seen.load(Relaxed)
    }

    /// Lets it go on until it waits again or ends.
    ///
    /// # Errors
    /// It has panicked, so.
    pub fn resume(&self, answer: Answer) -> Result<(), String> {
        let mut turn = self.lock();
        if !matches!(*turn, Turn::Waits(_)) {
            return Ok(());
        }
        *turn = Turn::Its(Some(answer));
        self.changed.notify_all();
        let turn = self.changed.wait_while(turn, |turn| matches!(turn, Turn::Its(_)));
        match &*turn.unwrap_or_else(PoisonError::into_inner) {
            Turn::Ended(Some(panic)) => Err(panic.clone()),
            Turn::Its(_) | Turn::Waits(_) | Turn::Ended(None) => Ok(()),
        }
    }

    /// The thread asks for something and waits for the answer.
    pub(super) fn ask(&self, ask: Ask) -> Answer {
        if std::thread::panicking() {
            return Answer::Failed(ErrorKind::Other);
        }
        let mut turn = self.lock();
        *turn = Turn::Waits(ask);
        if let Some(simulation) = super::simulation() {
            self.changes_seen.store(simulation.changes(), Relaxed);
        }
        self.changed.notify_all();
        drop(turn);
        self.await_turn()
    }

    fn await_turn(&self) -> Answer {
        let waits = |turn: &mut Turn| !matches!(turn, Turn::Its(Some(_)));
        let turn = self.changed.wait_while(self.lock(), waits);
        let mut turn = turn.unwrap_or_else(PoisonError::into_inner);
        let answer = match &mut *turn {
            Turn::Its(answer) => answer.take().unwrap_or(Answer::Done),
            Turn::Waits(_) | Turn::Ended(_) => unreachable!("it is its turn"),
        };
        drop(turn);
        if matches!(answer, Answer::Killed) {
            resume_unwind(Box::new(Killed));
        }
        answer
    }

    /// The life of the thread.
    pub(super) fn live(&self, body: impl FnOnce()) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.await_turn();
            body();
        }));
        let panic = outcome.err().filter(|payload| !payload.is::<Killed>()).map(|payload| words(&*payload));
        *self.lock() = Turn::Ended(panic);
        self.changed.notify_all();
    }

    fn has_ended(&self) -> bool {
        matches!(*self.lock(), Turn::Ended(_))
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

/// A simulation: its time, its threads, and the process that is at work.
pub struct Simulation {
    begin: Instant,
    begin_ms: u64,
    elapsed_ns: AtomicU64,
    owner: AtomicUsize,
    changes: AtomicU64,
    threads: Mutex<Vec<Arc<Thread>>>,
    /// Sockets that are to be closed.
    closed: Mutex<Vec<u64>>,
}

/// As long as it lives the calling thread runs a simulation.
pub struct Entered(Arc<Simulation>);

impl Entered {
    /// Where something waits on the calling thread for others, this lets them go on.
    pub fn let_others(&self, others: Rc<dyn Fn()>) {
        OTHERS.set(Some(others));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.kill(|_| true);
        OTHERS.set(None);
        PLACE.set(Place::System);
    }
}

impl Simulation {
    /// It begins at this Unix time in ms.
    pub fn new(begin_ms: u64) -> Arc<Simulation> {
        Arc::new(Simulation {
            begin: Instant::now(),
            begin_ms,
            elapsed_ns: AtomicU64::new(0),
            owner: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            threads: Mutex::default(),
            closed: Mutex::default(),
        })
    }

    /// Runs on the calling thread; its threads end when what is returned is dropped.
    pub fn enter(self: &Arc<Self>) -> Entered {
        PLACE.set(Place::Simulation(Arc::clone(self)));
        Entered(Arc::clone(self))
    }

    /// So much time has passed since it has begun.
    pub fn set_elapsed(&self, elapsed: Duration) {
        self.elapsed_ns.store(elapsed.as_nanos() as u64, Relaxed);
    }

    /// How much time has passed.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns.load(Relaxed))
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.begin + self.elapsed()
    }

    /// Unix time in ms.
    pub fn unix_ms(&self) -> u64 {
        self.begin_ms + self.elapsed().as_millis() as u64
    }

    /// Threads that are started now belong to this process; to which they belonged before.
    pub fn set_owner(&self, owner: usize) -> usize {
        self.owner.swap(owner, Relaxed)
    }

    /// How many changes were made that somebody may wait for.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Relaxed);
    }

    /// A socket is to be closed.
    pub fn close(&self, socket: u64) {
        lock(&self.closed).push(socket);
    }

    /// Sockets that are to be closed now.
    pub fn take_closed(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.closed))
    }

    /// Threads that have not ended.
    pub fn threads(&self) -> Vec<Arc<Thread>> {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.has_ended());
        threads.clone()
    }

    /// Ends the threads of processes that die.
    pub fn kill(&self, dies: impl Fn(usize) -> bool) {
        for thread in self.threads().into_iter().filter(|thread| dies(thread.owner())) {
            // That it has panicked in its destructors shows in its output.
            thread.resume(Answer::Killed).unwrap_or_default();
        }
    }

    pub(super) fn add(self: &Arc<Self>) -> Arc<Thread> {
        let owner = super::PLACE.with_borrow(|place| match place {
            Place::Simulated(_, thread) => thread.owner(),
            Place::System | Place::Simulation(_) => self.owner.load(Relaxed),
        });
        let thread = Arc::new(Thread {
            owner,
            turn: Mutex::new(Turn::Waits(Ask::Rest { until: Duration::ZERO })),
            changed: Condvar::new(),
            changes_seen: AtomicU64::new(0),
        });
        lock(&self.threads).push(Arc::clone(&thread));
        thread
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
