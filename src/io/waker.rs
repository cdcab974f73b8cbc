//! Wakes a worker's `Io` from another thread.
//!
//! Design: an eventfd that the backend watches, and a flag that keeps the system call away while a
//! wake-up is under way already. The flag is set before the eventfd is written and cleared before
//! `Woken` is reported, so whatever was stored before `wake` is seen by whoever handles that `Woken`.
//!
//! Costs: one atomic exchange; one `write` when no wake-up is under way.
//!
//! Not here: when a peer needs waking (`worker`'s messages).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the wait of one `Io`. Cheap to clone; usable from any thread, also after the `Io` is gone.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pending: AtomicBool,
    signal: Signal,
}

#[derive(Debug)]
enum Signal {
    /// An eventfd.
    Event(File),
    /// Simulated: the flag is all there is.
    Flag,
}

impl Waker {
    /// A waker whose `fd` becomes readable on `wake`.
    pub(super) fn with_eventfd() -> io::Result<Waker> {
        Ok(Waker::with(Signal::Event(File::from(eventfd()?))))
    }

    /// A waker that only sets a flag, for the simulation to look at.
    pub(super) fn with_flag() -> Waker {
        Waker::with(Signal::Flag)
    }

    fn with(signal: Signal) -> Waker {
        let shared = Shared { pending: AtomicBool::new(false), signal };
        Waker { shared: Arc::new(shared) }
    }

    /// Makes the `Io` report [`super::Event::Woken`] soon; wake-ups not yet reported are merged.
    pub fn wake(&self) {
        if self.shared.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Signal::Event(file) = &self.shared.signal {
            let mut file: &File = file;
            // EAGAIN would mean that 2^64 wake-ups are unread: the fd is readable, which is what counts.
            let _unread_already = file.write(&1u64.to_ne_bytes());
        }
    }

    /// Whether a wake-up waits to be reported.
    pub(super) fn is_pending(&self) -> bool {
        self.shared.pending.load(Ordering::Acquire)
    }

    /// Takes the wake-up; true if there was one. The backend calls it before it reports `Woken`.
    pub(super) fn take(&self) -> bool {
        self.shared.pending.swap(false, Ordering::AcqRel)
    }

    /// The eventfd to watch.
    ///
    /// # Panics
    /// If this waker is a simulated one.
    pub(super) fn fd(&self) -> RawFd {
        match &self.shared.signal {
            Signal::Event(file) => file.as_raw_fd(),
            Signal::Flag => panic!("a simulated waker has no descriptor"),
        }
    }
}

#[expect(unsafe_code, reason = "eventfd(2) has no safe wrapper among the dependencies")]
fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const _: () = {
    const fn shareable<T: Send + Sync + Clone>() {}
    shareable::<Waker>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_merge_until_taken() {
        let waker = Waker::with_flag();
        assert!(!waker.take());
        waker.wake();
        waker.clone().wake();
        assert!(waker.is_pending());
        assert!(waker.take());
        assert!(!waker.take());
    }

    #[test]
    fn eventfd_is_written_once_per_pending_wake() {
        let waker = Waker::with_eventfd().expect("eventfd");
        waker.wake();
        waker.wake();
        let Signal::Event(file) = &waker.shared.signal else { panic!("made with an eventfd") };
        let mut count = [0; 8];
        std::io::Read::read_exact(&mut { file }, &mut count).expect("readable");
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
