//! What stands between a replica and its primary: passes bytes on, until it is told to cut, to hold them back, or to let them through
//! in small pieces.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;

/// Bytes that pass at once.
const PIECE_BYTES: usize = 64 << 10;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToPrimary,
    ToReplica,
}

/// Listens in the place of a server.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that pass at once.
    piece_bytes: AtomicUsize,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Where connections go to; nowhere while the server is down.
    target: Option<SocketAddr>,
    /// Both ends of each connection.
    links: Vec<[Arc<TcpStream>; 2]>,
    /// Ways that are held back.
    held: [bool; 2],
    /// Counts the cuts: what was held before one is dropped.
    cuts: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while this way is held; false if the connection was cut meanwhile.
    fn pass(&self, way: Way, cuts: u64) -> bool {
        let waits = |state: &mut State| state.held[way as usize] && state.cuts == cuts;
        let state = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        state.cuts == cuts
    }

    fn forward(&self, from: &TcpStream, to: &TcpStream, way: Way, cuts: u64) {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let limit = self.piece_bytes.load(Ordering::Relaxed);
            let count = match (&*from).read(&mut piece[..limit]) {
                Ok(count) if count > 0 => count,
                _ => break,
            };
            if !self.pass(way, cuts) || (&*to).write_all(&piece[..count]).is_err() {
                break;
            }
        }
        // The other way ends too.
        for end in [from, to] {
            end.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    fn serve(self: &Arc<Self>, replica: TcpStream) {
        let (target, cuts) = {
            let state = self.lock();
            (state.target, state.cuts)
        };
        let Some(Ok(primary)) = target.map(TcpStream::connect) else { return };
        let ends = [Arc::new(replica), Arc::new(primary)];
        let mut state = self.lock();
        if state.cuts != cuts {
            return;
        }
        state.links.retain(|[end, _]| Arc::strong_count(end) > 1);
        state.links.push(ends.clone());
        drop(state);
        for (way, from, to) in [(Way::ToPrimary, 0, 1), (Way::ToReplica, 1, 0)] {
            let (shared, from, to) = (Arc::clone(self), Arc::clone(&ends[from]), Arc::clone(&ends[to]));
            from.set_nodelay(true).unwrap_or_default();
            std::thread::spawn(move || shared.forward(&from, &to, way, cuts));
        }
    }
}

impl Proxy {
    /// In the place of this server.
    pub fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback interface is up");
        let address = listener.local_addr().expect("it is bound");
        let state = Mutex::new(State { target: Some(target), ..State::default() });
        let (changed, piece_bytes) = (Condvar::new(), AtomicUsize::new(PIECE_BYTES));
        let shared = Arc::new(Shared { state, changed, piece_bytes, is_over: AtomicBool::new(false) });
        let listens = Arc::clone(&shared);
        std::thread::spawn(move || {
            for replica in listener.incoming().flatten() {
                if listens.is_over.load(Ordering::Relaxed) {
                    return;
                }
                listens.serve(replica);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server is elsewhere from now on, or nowhere.
    pub fn lead_to(&self, target: Option<SocketAddr>) {
        self.shared.lock().target = target;
    }

    /// Ends all connections, in order or by a reset; both see it.
    pub fn cut(&self, resets: bool) {
        let mut state = self.shared.lock();
        state.cuts += 1;
        for end in state.links.drain(..).flatten() {
            if resets {
                SockRef::from(&*end).set_linger(Some(Duration::ZERO)).unwrap_or_default();
            }
            // A reset goes out when the last who holds it drops it.
            let how = if resets { Shutdown::Read } else { Shutdown::Both };
            end.shutdown(how).unwrap_or_default();
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Holds one way back, or lets it go on.
    pub fn hold(&self, way: Way, holds: bool) {
        self.shared.lock().held[way as usize] = holds;
        self.shared.changed.notify_all();
    }

    /// So many bytes pass at once, or as many as there are.
    pub fn cut_into(&self, bytes: Option<usize>) {
        self.shared.piece_bytes.store(bytes.unwrap_or(PIECE_BYTES), Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.cut(false);
        // It listens no more once it has seen one who comes.
        drop(TcpStream::connect(self.address));
    }
}
