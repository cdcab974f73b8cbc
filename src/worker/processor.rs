//! How long this worker's thread had a processor, and how long it was ready to run but had none: what its load is measured
//! by, and why a long turn that was a preemption is not taken for a slow command.
//!
//! Design: the kernel sums both up for every thread (`/proc/thread-self/schedstat`, its first two numbers). Each tick of the
//! cron remembers the sums; a long turn's report asks how much they have grown.
//!
//! Costs: one read of a file that is kept open, per tick and per long turn; nothing on other turns.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The kernel's sums, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// With a processor.
    pub(super) ran: u64,
    /// Ready to run, without one.
    pub(super) waited: u64,
}

/// One thread's file, and the sums as they stood at the last mark.
pub(super) struct Processor {
    file: Option<File>,
    marked: Option<Sums>,
    /// Under a virtual time, a thread's real one is nothing to go by.
    is_simulated: bool,
}

impl Processor {
    /// Nothing is known before the first mark.
    pub(super) fn new(is_simulated: bool) -> Self {
        Self { file: None, marked: None, is_simulated }
    }

    /// Whether time is virtual, so that nothing is to be known.
    pub(super) fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// Remembers the sums of now and returns them; nothing where the kernel was built without these figures. To be called by the
    /// thread in question, always the same.
    pub(super) fn mark(&mut self) -> Option<Sums> {
        if self.file.is_none() && !self.is_simulated {
            self.file = open();
        }
        self.marked = self.read();
        self.marked
    }

    /// How long it has waited since the mark, in us.
    pub(super) fn waited_us_since_mark(&self) -> Option<u64> {
        Some(self.read()?.waited.saturating_sub(self.marked?.waited) / 1000)
    }

    fn read(&self) -> Option<Sums> {
        // Three numbers of up to 20 digits.
        let mut text = [0; 64];
        let len = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        let mut numbers = std::str::from_utf8(&text[..len]).ok()?.split_whitespace();
        let mut number = || numbers.next()?.parse().ok();
        Some(Sums { ran: number()?, waited: number()? })
    }
}

fn open() -> Option<File> {
    File::open("/proc/thread-self/schedstat").ok()
}

/// Whether this kernel says how long threads run.
pub(super) fn is_known() -> bool {
    Processor { file: open(), ..Processor::new(false) }.read().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_grow() {
        let mut processor = Processor::new(false);
        assert_eq!(processor.waited_us_since_mark(), None);
        let before = processor.mark();
        assert_eq!(before.is_some(), is_known());
        if let Some(before) = before {
            assert!(processor.waited_us_since_mark().is_some());
            let mut sum = 0u64;
            while processor.read().expect("as before").ran == before.ran {
                sum = std::hint::black_box(sum.wrapping_mul(3) + 1);
            }
        }
    }
}
