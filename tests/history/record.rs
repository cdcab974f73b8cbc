//! What is recorded of every operation: when it was sent, when its reply came, and whether it happened.
//!
//! Design: clients record into vectors of their own, with times of one clock that only goes forward; the vectors are put
//! together when all clients are done. An operation whose connection ended before its reply has no completion: it may have
//! happened at any later time, or never.

use std::fmt;
use std::time::Instant;

/// The clock of a run.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since it began.
    pub fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// When an operation was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before it was sent.
    pub invoked_ns: u64,
    /// After its reply came; `None` when it never did.
    pub completed_ns: Option<u64>,
}

impl Span {
    /// From one time to the other.
    pub fn new(invoked_ns: u64, completed_ns: u64) -> Self {
        assert!(invoked_ns <= completed_ns);
        Self { invoked_ns, completed_ns: Some(completed_ns) }
    }

    /// From a time on, without an end.
    pub fn open(invoked_ns: u64) -> Self {
        Self { invoked_ns, completed_ns: None }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        match self.completed_ns {
            Some(end) => write!(f, "{:.6} .. {:.6} ms", ms(self.invoked_ns), ms(end)),
            None => write!(f, "{:.6} ms .. never answered", ms(self.invoked_ns)),
        }
    }
}

/// Something a history shows that no strictly serialisable store does.
#[derive(Clone, Debug)]
pub struct Anomaly {
    /// Which kind, by its name in the literature where there is one.
    pub kind: &'static str,
    /// The operations that show it, for people.
    pub text: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:\n{}", self.kind, self.text)
    }
}

/// Anomalies shown in a failure; the first ones say what is wrong.
const SHOWN_MAX: usize = 5;

/// Fails the test when there are anomalies, showing the first.
#[track_caller]
pub fn check_none(what: &str, anomalies: &[Anomaly]) {
    let shown: Vec<String> = anomalies.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    assert!(anomalies.is_empty(), "{what}: {} anomalies\n{}", anomalies.len(), shown.join("\n"));
}
