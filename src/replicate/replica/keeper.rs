//! The stream of a primary that sends its snapshot through another connection: read and kept until the snapshot is loaded.
//!
//! Design: a thread of its own reads, so that neither the snapshot nor its loading holds the stream up, and the primary need not
//! keep it. It looks every few ms whether it is to hand the connection over; that is once for a snapshot, and costs nothing
//! afterwards. Where the stream ends, it ends the channel too, as the snapshot is of no use alone.
//!
//! Limits: what is kept has a limit (`replica-full-sync-buffer-limit`); beyond it nothing is read, and the primary keeps the rest.
//!
//! Not here: the snapshot (`payload`), what becomes of the stream (`worker::following`).

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wire::Wire;
use crate::io::SocketHandle;
use crate::io::tls::BlockingStream;
use crate::threads;

/// Time from one look whether the stream is to be handed over, to the next.
const LOOK: Duration = Duration::from_millis(20);
/// Time from one sign of life to the next.
const GREETING: Duration = Duration::from_secs(1);
/// Bytes of a block of what is kept.
const BLOCK_BYTES: usize = 64 << 10;

/// How much is kept, and how much was at most under this link's last snapshot.
#[derive(Default)]
pub struct KeptBytes {
    /// Now.
    pub size: AtomicU64,
    /// At most.
    pub peak: AtomicU64,
}

/// The connection, and what has come through it.
pub type Stream = (BlockingStream, Vec<Vec<u8>>);

/// The other side of the thread.
pub struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_to_stop: bool,
    outcome: Option<Result<Stream, String>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Keeps what comes through this connection, up to `limit` bytes; ends the `channel` if it ends.
    ///
    /// # Errors
    /// There is no thread left, or the system's.
    pub fn start(
        wire: Wire<BlockingStream>,
        limit: u64,
        kept: Arc<KeptBytes>,
        channel: SocketHandle,
    ) -> io::Result<Keeper> {
        let (mut stream, input) = wire.into_parts();
        stream.set_timeout(LOOK)?;
        kept.size.store(0, Relaxed);
        kept.peak.store(0, Relaxed);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let reader = Reader { stream, blocks: Vec::new(), limit, kept };
        threads::spawn("torc-replica-2", move || {
            let outcome = reader.run(&input, || theirs.lock().is_to_stop);
            if outcome.is_err() {
                channel.shut_down();
            }
            theirs.lock().outcome = Some(outcome);
            threads::notify_all(&theirs.changed);
        })?;
        Ok(Keeper { shared })
    }

    /// Why the stream has ended, if it has.
    pub fn failure(&self) -> Option<String> {
        match &self.shared.lock().outcome {
            Some(Err(reason)) => Some(reason.clone()),
            Some(Ok(_)) | None => None,
        }
    }

    /// Hands the stream over.
    ///
    /// # Errors
    /// It has ended.
    pub fn stop(self) -> Result<Stream, String> {
        self.shared.lock().is_to_stop = true;
        let waits = |state: &mut State| state.outcome.is_none();
        let mut state = threads::wait_while(&self.shared.changed, &self.shared.state, None, waits);
        state.outcome.take().unwrap_or_else(|| Err("it was handed over before".to_owned()))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().is_to_stop = true;
    }
}

struct Reader {
    stream: BlockingStream,
    blocks: Vec<Vec<u8>>,
    limit: u64,
    kept: Arc<KeptBytes>,
}

impl Reader {
    fn run(mut self, input: &[u8], is_to_stop: impl Fn() -> bool) -> Result<Stream, String> {
        self.keep(input);
        let (mut block, mut greeted) = (vec![0; BLOCK_BYTES], threads::now());
        while !is_to_stop() {
            if threads::now() - greeted >= GREETING {
                greeted = threads::now();
                self.stream.write_all(b"\n").map_err(|error| format!("the stream has ended: {error}"))?;
            }
            if self.kept.size.load(Relaxed) >= self.limit {
                threads::park_timeout(LOOK);
                continue;
            }
            match self.stream.read(&mut block) {
                Ok(0) => return Err("the stream has ended".to_owned()),
                Ok(count) => self.keep(&block[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(format!("the stream has ended: {error}")),
            }
        }
        self.kept.size.store(0, Relaxed);
        Ok((self.stream, self.blocks))
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.blocks.last_mut() {
            Some(last) if last.len() + bytes.len() <= BLOCK_BYTES => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => {
                let mut block = Vec::with_capacity(BLOCK_BYTES.max(bytes.len()));
                block.extend_from_slice(bytes);
                self.blocks.push(block);
            }
        }
        let size = self.kept.size.fetch_add(bytes.len() as u64, Relaxed) + bytes.len() as u64;
        self.kept.peak.fetch_max(size, Relaxed);
    }
}
