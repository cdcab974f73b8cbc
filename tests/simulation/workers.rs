//! The workers of one simulated server, and whose turn it may be.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use torc::command::Shared;
use torc::io::sim::{SimIo, SimNet};
use torc::io::{Io as _, Options, Wait, Waker};
use torc::store::Leases;
use torc::worker::{Clock, Worker, WorkerSetup, inboxes};

pub struct Workers {
    net: SimNet,
    /// The number of its first worker in the network.
    first: usize,
    workers: Vec<RefCell<Option<Worker<SimIo>>>>,
    pub wakers: Vec<Waker>,
    waits: Vec<Cell<Wait>>,
    rests: Vec<Cell<Duration>>,
}

impl Workers {
    /// Workers of what is shared, who listen on `port`.
    pub fn new(
        net: &SimNet,
        clock: &Clock,
        options: &Options,
        shared: &Arc<Shared>,
        port: u16,
        seed: u64,
    ) -> Workers {
        let count = shared.facts.workers;
        let ios: Vec<SimIo> = (0..count).map(|_| SimIo::new(net, options)).collect();
        let (first, wakers) = (ios[0].index(), ios.iter().map(SimIo::waker).collect::<Vec<Waker>>());
        let setups = inboxes(&wakers, &shared.pubsub).into_iter().zip(ios).enumerate();
        let workers = setups.map(|(number, (inbox, io))| {
            let seed = seed.wrapping_add(number as u64);
            let setup = WorkerSetup { number, shared: Arc::clone(shared), inbox, clock: clock.clone(), seed };
            let mut worker = Worker::new(io, setup);
            worker.io_mut().accept(0, net.listen(port)).expect("the simulation accepts");
            RefCell::new(Some(worker))
        });
        Workers {
            net: net.clone(),
            first,
            workers: workers.collect(),
            wakers,
            waits: (0..count).map(|_| Cell::new(Wait::Poll)).collect(),
            rests: (0..count).map(|_| Cell::new(Duration::ZERO)).collect(),
        }
    }

    /// Their numbers in the network.
    pub fn indices(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.workers.len()
    }

    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Those that may take a turn.
    pub fn ready(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|number| self.may_go(*number)).collect()
    }

    fn may_go(&self, number: usize) -> bool {
        self.rests[number].get() <= self.net.now()
            && self.workers[number].try_borrow().is_ok_and(|worker| worker.is_some())
            && self.net.is_ready(self.first + number)
    }

    /// A turn of one that may go; `then` is called before it begins to wait.
    pub fn turn(&self, number: usize, then: impl FnOnce()) {
        let mut worker = self.workers[number].borrow_mut();
        let worker = worker.as_mut().expect("it may go");
        worker.turn(self.waits[number].get()).expect("simulated turns do not fail");
        then();
        let wait = worker.wait();
        self.waits[number].set(wait);
        self.net.begin_wait(self.first + number, wait);
    }

    /// A turn of the first by which no time passes.
    pub fn turn_in_no_time(&self) {
        let mut worker = self.workers[0].borrow_mut();
        worker.as_mut().expect("it has begun").turn(Wait::Poll).expect("simulated turns do not fail");
    }

    /// It takes no turn until then.
    pub fn rest(&self, number: usize, until: Duration) {
        self.rests[number].set(until);
    }

    /// When those go on that could but for their rest.
    pub fn rests(&self) -> impl Iterator<Item = Duration> {
        let now = self.net.now();
        let could = (0..self.workers.len()).filter(|number| self.net.is_ready(self.first + number));
        could.map(|number| self.rests[number].get()).filter(move |until| *until > now)
    }

    /// How each waits.
    pub fn waits(&self) -> Vec<Wait> {
        self.waits.iter().map(Cell::get).collect()
    }

    /// Connections that any of them has.
    pub fn attached_count(&self) -> usize {
        self.indices().map(|index| self.net.attached_count(index)).sum()
    }

    /// Receive buffers that one has not given back.
    pub fn lent_buffers(&self, number: usize) -> usize {
        self.workers[number].borrow_mut().as_mut().map_or(0, |worker| worker.io_mut().lent_buffers())
    }

    /// Whether all have ended that were told to.
    pub fn is_done(&self) -> bool {
        self.workers.iter().all(|worker| worker.borrow().as_ref().is_none_or(Worker::is_done))
    }

    /// They are no more.
    pub fn dismiss(&self) {
        self.workers.iter().for_each(|worker| drop(worker.borrow_mut().take()));
    }
}

/// All leases of a server none of whose workers is within its turn; none where one has reserved some.
pub fn all_leases(shared: &Shared) -> Option<Leases> {
    let mut leases = Leases::new(&shared.keyspace, 0, false);
    leases.take_all().then_some(leases)
}
