//! How long this worker's thread was ready to run but had no processor: so that a long turn that was a preemption is not
//! taken for a slow command.
//!
//! Design: the kernel sums this up for every thread (`/proc/thread-self/schedstat`, its second number). Each tick of the upkeep
//! remembers the sum, a long turn's report asks how much it has grown.
//!
//! Costs: one read of a file that is kept open, per tick and per long turn; nothing on other turns.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The kernel's sum, as it stood at the last mark.
#[derive(Default)]
pub(super) struct RunDelay {
    file: Option<File>,
    marked_ns: Option<u64>,
}

impl RunDelay {
    /// Remembers the sum of now. To be called by the thread in question, always the same.
    pub(super) fn mark(&mut self) {
        if self.file.is_none() {
            // Kernels may be built without these figures; then nothing is said of them.
            self.file = File::open("/proc/thread-self/schedstat").ok();
        }
        self.marked_ns = self.read_ns();
    }

    /// How much the sum has grown since the mark, in us.
    pub(super) fn us_since_mark(&self) -> Option<u64> {
        Some(self.read_ns()?.saturating_sub(self.marked_ns?) / 1000)
    }

    fn read_ns(&self) -> Option<u64> {
        // Three numbers of up to 20 digits.
        let mut text = [0; 64];
        let len = self.file.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..len]).ok()?.split_whitespace().nth(1)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_others_run() {
        let mut delay = RunDelay::default();
        assert_eq!(delay.us_since_mark(), None);
        delay.mark();
        if delay.file.is_some() {
            assert!(delay.us_since_mark().is_some());
            assert!(delay.read_ns() >= delay.marked_ns);
        }
    }
}
