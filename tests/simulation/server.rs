//! One of several simulated servers: its workers, its journal, and the threads beside them, which take turns like everybody else.
//!
//! Not here: who goes next (`fleet`).

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use torc::command::Shared;
use torc::config::Config;
use torc::io::Waker;
use torc::io::sim::{SimNet, SimThreads};
use torc::persist::journal::{Driver, Hooks};
use torc::threads::{self, Simulation};
use torc::worker::{Clock, Kept, follow, take_role};

use super::plan::Plan;
use super::workers::Workers;
use super::world::share_at;

/// Where simulated servers run.
pub struct Host {
    pub net: SimNet,
    pub clock: Clock,
    pub simulation: Arc<Simulation>,
    pub threads: SimThreads,
}

pub struct Server {
    pub shared: Arc<Shared>,
    pub workers: Workers,
    driver: RefCell<Driver>,
    /// The offset and the last ticket when it was last looked at.
    pub looked: Cell<(u64, u64)>,
}

impl Server {
    /// The `number`th server begins another life with what its directory has.
    ///
    /// # Errors
    /// Its files are not as they should be.
    pub fn start(
        host: &Host,
        plan: &Plan,
        config: &Config,
        (number, life): (usize, u64),
        port: u16,
    ) -> Result<Server, String> {
        let kept = Kept::open(config, config.dir.as_path().join(config.dbfilename.as_path()))
            .map_err(|error| format!("server {number} in life {life}: {error}"))?;
        let names = plan.seed ^ (number as u64) << 48 ^ life << 32;
        let now_ms = host.simulation.unix_ms();
        let shared = share_at(plan, config.clone(), port, names, now_ms);
        if let Some(bytes) = kept.bytes() {
            shared.loading.begin(bytes, now_ms);
        }
        let primary = take_role(config, &shared);
        let workers = Workers::new(&host.net, &host.clock, &plan.io, &shared, port, names);
        let wakers = workers.wakers.clone();
        shared.link.set_hooks(move || wakers.iter().for_each(Waker::wake), || {});
        let wake = |wakers: Vec<Waker>| {
            move |workers: u64| {
                let is_waiting = |number: &usize| workers >> number & 1 == 1;
                (0..wakers.len()).filter(is_waiting).for_each(|number| wakers[number].wake());
            }
        };
        shared.replication.wake_by(wake(workers.wakers.clone()));
        let hooks = Hooks {
            wake: Box::new(wake(workers.wakers.clone())),
            is_saving: Box::new(|| false),
            fail: Box::new(|reason| panic!("the journal has failed: {reason}")),
            now: Box::new(threads::now),
        };
        let driver = Driver::new(Arc::clone(&shared.journal), hooks).map_err(|error| error.to_string())?;
        let before = host.simulation.set_owner(number);
        let (loads, wakers) = (Arc::clone(&shared), workers.wakers.clone());
        let started = threads::spawn("torc-load", move || {
            kept.load(&loads, &wakers).unwrap_or_else(|reason| panic!("it cannot be loaded: {reason}"));
            follow(&loads, primary);
        });
        host.simulation.set_owner(before);
        started.map_err(|error| error.to_string())?;
        Ok(Server { shared, workers, driver: RefCell::new(driver), looked: Cell::default() })
    }

    /// The journal does what there is to be done; whether there was anything.
    pub fn step_journal(&self) -> bool {
        self.driver.try_borrow_mut().is_ok_and(|mut driver| driver.step())
    }

    /// Whether it serves what it has: it is not loading, and no snapshot has taken the place of its data in part.
    pub fn is_whole(&self) -> bool {
        !self.shared.loading.is_on() && !self.shared.link.is_torn()
    }

    /// The name of its history, and how far it is in it.
    pub fn position(&self) -> (String, u64) {
        let replication = &self.shared.replication;
        (replication.history().id.as_str().to_owned(), replication.offset())
    }
}
