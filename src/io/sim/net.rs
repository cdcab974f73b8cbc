//! The simulated network: connections with two pipes each, virtual time, and the clients' ends.
//!
//! Design: a pipe carries segments that arrive at a virtual time, in order; what has arrived waits to be
//! read. What a worker sends waits where the other end holds a bounded number of bytes, so a client that does not read
//! makes the server's sends wait. Clients themselves may send any amount at once. Both ends may be workers', of several servers.
//!
//! Invariants:
//! - Bytes of one direction arrive in the order sent; an end arrives after them, a reset at once. Nothing follows an end.
//! - Everything random comes from one generator, and every collection has a fixed order.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::super::{EndCause, Listener, Wait};
use super::rng::Rng;
use super::worker::WorkerState;

/// What goes wrong in a simulated network, and how often.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Longest piece that one receive or one step of a send moves; 1 cuts everything into bytes.
    pub piece_bytes_max: usize,
    /// Longest time that bytes travel.
    pub delay_max: Duration,
    /// How often a connection's completions are left to a later turn; below 100.
    pub late_percent: u32,
    /// Bytes that a client's end holds before the server's sends must wait.
    pub socket_bytes: usize,
    /// How often, in a million receives and sends, the connection is reset.
    pub reset_per_million: u32,
    /// No wake-up ever arrives: not a fault to be borne, but a bug to be found by who tests with it.
    pub wakes_lost: bool,
}

impl Default for Faults {
    /// A network without faults.
    fn default() -> Faults {
        Faults {
            piece_bytes_max: usize::MAX >> 1,
            delay_max: Duration::ZERO,
            late_percent: 0,
            socket_bytes: 1 << 20,
            reset_per_million: 0,
            wakes_lost: false,
        }
    }
}

impl Faults {
    fn check(&self) {
        assert!(self.late_percent < 100, "completions must come some day");
        assert!(self.piece_bytes_max > 0);
        assert!(self.socket_bytes > 0);
    }

    /// Everything goes wrong, in measures that `rng` draws.
    pub fn random(rng: &mut Rng) -> Faults {
        Faults {
            piece_bytes_max: rng.size(64 * 1024),
            delay_max: Duration::from_micros(rng.below(20_000)),
            late_percent: rng.below(60) as u32,
            socket_bytes: rng.size(256 * 1024),
            reset_per_million: 0,
            wakes_lost: false,
        }
    }
}

/// The network of one simulation; handles are shared by clients, backends and the scheduler.
#[derive(Clone)]
pub struct SimNet {
    pub(super) shared: Rc<RefCell<Net>>,
}

pub(super) struct Net {
    pub(super) now: Duration,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) links: Vec<Link>,
    pub(super) backlogs: BTreeMap<u64, VecDeque<u64>>,
    pub(super) workers: Vec<WorkerState>,
    pub(super) trace: u64,
    pub(super) yield_point: Option<YieldPoint>,
    pub(super) tamper: Option<Tamper>,
}

/// What runs while a worker is descheduled in the middle of its turn.
pub type YieldPoint = Rc<dyn Fn(usize)>;

/// What looks at the bytes on their way and may change them: it gets the connection, and whether they go to its server.
pub type Tamper = Rc<dyn Fn(u64, bool, &mut Vec<u8>)>;

/// The bit of a socket's number that says that it is the client's end of the connection that the other bits name.
const CLIENT_END: u64 = 1 << 40;

/// One connection.
#[derive(Default)]
pub(super) struct Link {
    to_server: Pipe,
    to_client: Pipe,
    /// The client closed its end: what the server sends is answered by a reset.
    client_gone: bool,
    server_gone: bool,
}

impl Link {
    /// What arrives at this end.
    pub(super) fn incoming(&mut self, socket: u64) -> &mut Pipe {
        if is_client_end(socket) { &mut self.to_client } else { &mut self.to_server }
    }

    /// What leaves it.
    pub(super) fn outgoing(&mut self, socket: u64) -> &mut Pipe {
        if is_client_end(socket) { &mut self.to_server } else { &mut self.to_client }
    }

    /// What arrives at this end, and what leaves it.
    pub(super) fn pipes(&self, socket: u64) -> (&Pipe, &Pipe) {
        match is_client_end(socket) {
            true => (&self.to_client, &self.to_server),
            false => (&self.to_server, &self.to_client),
        }
    }

    /// Whether what this end sends reaches nobody, and it can know that.
    pub(super) fn is_broken(&self, socket: u64) -> bool {
        match is_client_end(socket) {
            true => self.server_gone || self.to_server.end.is_some(),
            false => self.client_gone || self.to_client.end.is_some(),
        }
    }

    /// Whether the other end is closed.
    fn is_peer_gone(&self, socket: u64) -> bool {
        if is_client_end(socket) { self.server_gone } else { self.client_gone }
    }

    /// This end is closed.
    fn leave(&mut self, socket: u64, now: Duration, delay: Duration) {
        self.outgoing(socket).push_end(now, delay);
        *(if is_client_end(socket) { &mut self.client_gone } else { &mut self.server_gone }) = true;
    }

    /// Nothing that is sent arrives any more, and neither end hears of it.
    fn silence(&mut self) {
        self.to_server.silence();
        self.to_client.silence();
    }
}

fn is_client_end(socket: u64) -> bool {
    socket & CLIENT_END != 0
}

#[derive(Default)]
pub(super) struct Pipe {
    travelling: VecDeque<(Duration, Segment)>,
    travelling_bytes: usize,
    last_arrival: Duration,
    pub(super) arrived: VecDeque<u8>,
    pub(super) end: Option<EndCause>,
    /// Whatever is sent is lost.
    is_silent: bool,
}

enum Segment {
    Bytes(Vec<u8>),
    End(EndCause),
}

impl Pipe {
    pub(super) fn push(&mut self, now: Duration, delay: Duration, bytes: Vec<u8>) {
        if self.end.is_none() && !self.is_silent {
            self.travelling_bytes += bytes.len();
            self.push_segment(now + delay, Segment::Bytes(bytes));
            self.settle(now);
        }
    }

    pub(super) fn push_end(&mut self, now: Duration, delay: Duration) {
        if self.end.is_none() && !self.is_silent {
            self.push_segment(now + delay, Segment::End(EndCause::Eof));
            self.settle(now);
        }
    }

    fn silence(&mut self) {
        self.travelling.clear();
        self.travelling_bytes = 0;
        self.is_silent = true;
    }

    /// What travels is lost, what has arrived may still be read.
    pub(super) fn reset(&mut self) {
        self.travelling.clear();
        self.travelling_bytes = 0;
        if self.end.is_none() {
            self.end = Some(EndCause::Reset);
        }
    }

    fn push_segment(&mut self, arrival: Duration, segment: Segment) {
        self.last_arrival = self.last_arrival.max(arrival);
        self.travelling.push_back((self.last_arrival, segment));
    }

    /// Lets arrive what is due.
    pub(super) fn settle(&mut self, now: Duration) {
        while let Some((arrival, _)) = self.travelling.front()
            && *arrival <= now
        {
            match self.travelling.pop_front() {
                Some((_, Segment::Bytes(bytes))) => {
                    self.travelling_bytes -= bytes.len();
                    self.arrived.extend(bytes);
                }
                Some((_, Segment::End(cause))) => self.end = Some(cause),
                None => unreachable!("there was a front"),
            }
        }
    }

    /// Bytes on their way or waiting to be read.
    pub(super) fn byte_count(&self) -> usize {
        self.travelling_bytes + self.arrived.len()
    }

    /// Moves arrived bytes into `target`; says how many.
    pub(super) fn read(&mut self, target: &mut [u8]) -> usize {
        let count = target.len().min(self.arrived.len());
        for (slot, byte) in target.iter_mut().zip(self.arrived.drain(..count)) {
            *slot = byte;
        }
        count
    }

    fn next_arrival(&self) -> Option<Duration> {
        self.travelling.front().map(|(arrival, _)| *arrival)
    }
}

impl Net {
    pub(super) fn delay(&mut self) -> Duration {
        let micros = self.faults.delay_max.as_micros() as u64;
        Duration::from_micros(self.rng.below(micros + 1))
    }

    /// The connection that a socket is an end of.
    pub(super) fn link(&mut self, socket: u64) -> &mut Link {
        &mut self.links[(socket & !CLIENT_END) as usize]
    }

    pub(super) fn link_ref(&self, socket: u64) -> &Link {
        &self.links[(socket & !CLIENT_END) as usize]
    }

    /// An end sends bytes, unless the other one is closed.
    pub(super) fn send(&mut self, socket: u64, bytes: &[u8]) {
        let (delay, now) = (self.delay(), self.now);
        let mut bytes = bytes.to_vec();
        if let Some(tamper) = self.tamper.clone() {
            tamper(socket & !CLIENT_END, is_client_end(socket), &mut bytes);
        }
        let link = self.link(socket);
        if !link.is_peer_gone(socket) {
            link.outgoing(socket).push(now, delay, bytes);
        }
    }

    /// An end is closed.
    pub(super) fn leave(&mut self, socket: u64) {
        let (delay, now) = (self.delay(), self.now);
        self.link(socket).leave(socket, now, delay);
    }

    /// A connection to `port`: the client's end; none if nobody listens there.
    pub(super) fn connect(&mut self, port: u16) -> Option<u64> {
        let number = self.links.len() as u64;
        self.backlogs.get_mut(&u64::from(port))?.push_back(number);
        self.links.push(Link::default());
        Some(number | CLIENT_END)
    }

    pub(super) fn reset(&mut self, socket: u64) {
        let link = self.link(socket);
        link.to_server.reset();
        link.to_client.reset();
        link.client_gone = true;
    }

    fn settle(&mut self) {
        for link in &mut self.links {
            link.to_server.settle(self.now);
            link.to_client.settle(self.now);
        }
    }

    /// Makes `value` part of what `SimNet::trace` sums up.
    pub(super) fn note(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x0000_0100_0000_01B3);
        self.trace ^= self.trace >> 29;
    }
}

impl SimNet {
    /// A network whose every choice follows from `seed`.
    pub fn new(seed: u64, faults: Faults) -> SimNet {
        faults.check();
        let net = Net {
            now: Duration::ZERO,
            rng: Rng::new(seed),
            faults,
            links: Vec::new(),
            backlogs: BTreeMap::new(),
            workers: Vec::new(),
            trace: 0xCBF2_9CE4_8422_2325,
            yield_point: None,
            tamper: None,
        };
        SimNet { shared: Rc::new(RefCell::new(net)) }
    }

    /// A listener for `port`; several workers may accept from clones of it.
    pub fn listen(&self, port: u16) -> Listener {
        let mut net = self.shared.borrow_mut();
        net.backlogs.entry(u64::from(port)).or_default();
        Listener::simulated(u64::from(port))
    }

    /// Connects to `port`.
    ///
    /// # Panics
    /// If nobody listens there.
    pub fn connect(&self, port: u16) -> SimClient {
        self.try_connect(port).expect("somebody listens")
    }

    /// Connects to `port` if somebody listens there.
    pub fn try_connect(&self, port: u16) -> Option<SimClient> {
        let number = self.shared.borrow_mut().connect(port)?;
        Some(SimClient { net: self.clone(), number })
    }

    /// From now on nobody listens there; who has connected, and was not accepted, is refused.
    pub fn stop_listening(&self, port: u16) {
        let mut net = self.shared.borrow_mut();
        let waiting = net.backlogs.remove(&u64::from(port)).unwrap_or_default();
        waiting.into_iter().for_each(|number| net.reset(number));
    }

    /// Worker `index` is no more. Its connections are reset, or, where `is_silent` says so of their numbers, end without
    /// anybody's notice.
    pub fn retire(&self, index: usize, mut is_silent: impl FnMut(u64) -> bool) {
        let mut net = self.shared.borrow_mut();
        let mut retired = WorkerState::new(1);
        retired.begin_wait(Wait::Forever, net.now);
        let worker = std::mem::replace(&mut net.workers[index], retired);
        for connection in worker.connections.values() {
            match is_silent(connection.number) {
                true => net.link(connection.number).silence(),
                false => net.reset(connection.number),
            }
        }
    }

    /// Sockets of connections that worker `index` has, and that were made from there.
    pub fn connected_sockets(&self, index: usize) -> Vec<u64> {
        let net = self.shared.borrow();
        let sockets = net.workers[index].connections.values().map(|connection| connection.number);
        sockets.filter(|socket| is_client_end(*socket)).collect()
    }

    /// Breaks a socket's connection at once.
    pub fn reset(&self, socket: u64) {
        self.shared.borrow_mut().reset(socket);
    }

    /// Nothing that is sent through a socket's connection arrives any more, either way, and nobody is told.
    pub fn silence(&self, socket: u64) {
        self.shared.borrow_mut().link(socket).silence();
    }

    /// What looks at all bytes that are sent from now on.
    pub fn set_tamper(&self, tamper: Option<Tamper>) {
        self.shared.borrow_mut().tamper = tamper;
    }

    /// The virtual time.
    pub fn now(&self) -> Duration {
        self.shared.borrow().now
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let mut net = self.shared.borrow_mut();
        net.now += time;
        net.settle();
    }

    /// When, after now, the next bytes arrive or a worker's timed wait ends.
    pub fn next_deadline(&self) -> Option<Duration> {
        let net = self.shared.borrow();
        let links = net.links.iter();
        let arrivals = links.flat_map(|link| [&link.to_server, &link.to_client]);
        let arrivals = arrivals.filter_map(Pipe::next_arrival);
        let waits = net.workers.iter().filter_map(WorkerState::deadline);
        arrivals.chain(waits).filter(|&at| at > net.now).min()
    }

    /// When, after now, the next bytes arrive.
    pub fn next_arrival(&self) -> Option<Duration> {
        let net = self.shared.borrow();
        let arrivals = net.links.iter().flat_map(|link| [&link.to_server, &link.to_client]);
        arrivals.filter_map(Pipe::next_arrival).filter(|&at| at > net.now).min()
    }

    /// From now on chance is that of this seed, whatever happened before.
    pub fn reseed(&self, seed: u64) {
        self.shared.borrow_mut().rng = Rng::new(seed);
    }

    /// From now on this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        faults.check();
        self.shared.borrow_mut().faults = faults;
    }

    /// What runs when worker `index` loses its processor in the middle of a turn; it gets the index.
    pub fn set_yield_point(&self, run_others: Option<YieldPoint>) {
        self.shared.borrow_mut().yield_point = run_others;
    }

    /// Says from now on how long worker `index` means to wait in its next turn, for `is_ready`: the wait that it will give
    /// to [`turn`](super::super::Io::turn), told when it begins, since a simulated turn never blocks.
    pub fn begin_wait(&self, index: usize, wait: Wait) {
        let mut net = self.shared.borrow_mut();
        let now = net.now;
        net.workers[index].begin_wait(wait, now);
    }

    /// Connections that worker `index` has attached and that are not detached.
    pub fn attached_count(&self, index: usize) -> usize {
        self.shared.borrow().workers[index].connections.len()
    }

    /// Makes `value` part of the trace.
    pub fn note(&self, value: u64) {
        self.shared.borrow_mut().note(value);
    }

    /// Lets time pass until `next_deadline`; false where there is none.
    pub fn advance_to_next_deadline(&self) -> bool {
        let Some(deadline) = self.next_deadline() else {
            return false;
        };
        self.advance(deadline - self.now());
        true
    }

    /// Whether the wait of worker `index` (they are counted as their `SimIo`s are made) would be over.
    pub fn is_ready(&self, index: usize) -> bool {
        let net = self.shared.borrow();
        net.workers[index].is_ready(&net)
    }

    /// The workers whose wait would be over.
    pub fn ready_workers(&self) -> Vec<usize> {
        let count = self.shared.borrow().workers.len();
        (0..count).filter(|&index| self.is_ready(index)).collect()
    }

    /// A random choice of the simulation's, for the scheduler: below `limit`.
    pub fn choose(&self, limit: usize) -> usize {
        self.shared.borrow_mut().rng.below(limit as u64) as usize
    }

    /// A digest of all events delivered so far: equal seeds and equal programs give equal digests.
    pub fn trace(&self) -> u64 {
        self.shared.borrow().trace
    }
}

/// The client's end of a connection.
pub struct SimClient {
    net: SimNet,
    number: u64,
}

impl SimClient {
    /// The number that the server's `Socket` shows as its descriptor.
    pub fn number(&self) -> u64 {
        self.number & !CLIENT_END
    }

    /// Sends all of `bytes`.
    pub fn send(&self, bytes: &[u8]) {
        let mut net = self.net.shared.borrow_mut();
        if !net.link(self.number).client_gone {
            net.send(self.number, bytes);
        }
    }

    /// What has arrived and was not read before.
    pub fn read(&self) -> Vec<u8> {
        self.read_some(usize::MAX)
    }

    /// At most `max` bytes of what has arrived.
    pub fn read_some(&self, max: usize) -> Vec<u8> {
        let mut net = self.net.shared.borrow_mut();
        let pipe = net.link(self.number).incoming(self.number);
        let count = max.min(pipe.arrived.len());
        pipe.arrived.drain(..count).collect()
    }

    /// Why no more will arrive, once everything was read.
    pub fn ended(&self) -> Option<EndCause> {
        let mut net = self.net.shared.borrow_mut();
        let pipe = net.link(self.number).incoming(self.number);
        pipe.end.filter(|_| pipe.arrived.is_empty())
    }

    /// Sends no more, but still reads.
    pub fn finish(&self) {
        let mut net = self.net.shared.borrow_mut();
        let (delay, now) = (net.delay(), net.now);
        net.link(self.number).outgoing(self.number).push_end(now, delay);
    }

    /// Closes both directions; what the server sends from now on is answered by a reset.
    pub fn close(&self) {
        self.net.shared.borrow_mut().leave(self.number);
    }

    /// Breaks the connection at once.
    pub fn reset(&self) {
        self.net.shared.borrow_mut().reset(self.number);
    }
}
