//! Wakes a poll at an exact time: polls by themselves wait for whole milliseconds.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer of the kernel, edge-triggered, so that nobody need read it.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// Registered under the token.
    pub fn new(token: Token, registry: &Registry) -> io::Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Timer(fd))
    }

    /// Fires once after so long; what was set before does not.
    pub fn set(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Instant;

    #[test]
    fn timer_fires_each_time_it_is_set_and_not_early() {
        let mut poll = Poll::new().expect("there are descriptors");
        let timer = Timer::new(Token(7), poll.registry()).expect("there are descriptors");
        let mut events = Events::with_capacity(4);
        for us in [1500, 300, 0] {
            let begin = Instant::now();
            timer.set(Duration::from_micros(us)).expect("the time is valid");
            poll.poll(&mut events, Some(Duration::from_secs(10))).expect("the poll is valid");
            assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(7)]);
            assert!(begin.elapsed() >= Duration::from_micros(us));
        }
    }
}
