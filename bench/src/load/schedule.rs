//! When the requests of an open loop are due.
//!
//! Design: arrivals do not depend on answers. Each thread has its share of the rate and a sequence of due times of its own; a
//! request's latency counts from its due time, whenever it could really be sent, so that waiting caused by the server is the
//! server's (wrk2 calls the opposite coordinated omission). Constant arrivals come at equal distances, those of several threads
//! interleaved; Poisson's have exponential distances, as independent clients make them.

use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::Fatal;
use crate::keys::Random;

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    #[default]
    Constant,
    /// At exponentially distributed distances.
    Poisson,
}

impl FromStr for Arrivals {
    type Err = Fatal;

    fn from_str(text: &str) -> Result<Arrivals, Fatal> {
        match text {
            "constant" => Ok(Arrivals::Constant),
            "poisson" => Ok(Arrivals::Poisson),
            _ => Err(Fatal(format!("'{text}' is not constant or poisson"))),
        }
    }
}

/// One thread's due times.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    begin: Instant,
    /// Seconds between two arrivals, on average.
    distance: f64,
    /// The next due time, in seconds after `begin`.
    next: f64,
}

impl Schedule {
    /// The due times of thread `index` of `threads`, which share `rate` requests per second.
    pub fn new(arrivals: Arrivals, rate: f64, index: usize, threads: usize, begin: Instant) -> Schedule {
        assert!(rate > 0.0 && index < threads);
        Schedule { arrivals, begin, distance: threads as f64 / rate, next: index as f64 / rate }
    }

    /// The next due time.
    pub fn next(&self) -> Instant {
        self.begin + Duration::from_secs_f64(self.next)
    }

    /// The next due time, if it has come; the one after it is next then.
    #[inline]
    pub fn take(&mut self, now: Instant, random: &mut Random) -> Option<Instant> {
        let due = self.next();
        if due > now {
            return None;
        }
        self.next += match self.arrivals {
            Arrivals::Constant => self.distance,
            Arrivals::Poisson => -self.distance * (1.0 - random.unit()).ln(),
        };
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_in_a_second(mut schedule: Schedule) -> Vec<Instant> {
        let mut random = Random::new(3);
        let end = schedule.begin + Duration::from_secs(1);
        std::iter::from_fn(|| schedule.take(end, &mut random)).collect()
    }

    #[test]
    fn constant_arrivals_of_threads_interleave() {
        let begin = Instant::now();
        let of = |index| due_in_a_second(Schedule::new(Arrivals::Constant, 1000.0, index, 4, begin));
        let mut all: Vec<Instant> = (0..4).flat_map(of).collect();
        all.sort();
        assert!((1000..=1001).contains(&all.len()), "{}", all.len());
        for pair in all.windows(2) {
            let distance = (pair[1] - pair[0]).as_secs_f64();
            assert!((distance - 0.001).abs() < 1e-6, "{distance}");
        }
    }

    #[test]
    fn poisson_distances_have_mean_and_deviation_of_an_exponential() {
        let due = due_in_a_second(Schedule::new(Arrivals::Poisson, 20_000.0, 0, 1, Instant::now()));
        let distances: Vec<f64> =
            due.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 20_000.0).collect();
        let count = distances.len() as f64;
        let mean = distances.iter().sum::<f64>() / count;
        let deviation = (distances.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        assert!((count - 20_000.0).abs() < 6.0 * 20_000f64.sqrt(), "{count}");
        assert!((mean - 1.0).abs() < 0.05 && (deviation - 1.0).abs() < 0.05, "{mean} {deviation}");
    }

    #[test]
    fn what_is_not_due_is_not_taken() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(Arrivals::Constant, 10.0, 0, 1, begin);
        let mut random = Random::new(1);
        assert_eq!(schedule.take(begin, &mut random), Some(begin));
        assert_eq!(schedule.take(begin + Duration::from_millis(99), &mut random), None);
        assert_eq!(schedule.next(), begin + Duration::from_millis(100));
    }
}
