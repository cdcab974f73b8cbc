//! How many subscribers of one thing each worker has.

/// Workers with their numbers of subscribers, none of them 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribers(Vec<(u16, u64)>);

/// Whom a message reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The workers that have any of them, a bit each.
    pub workers: u64,
    /// How many subscriptions.
    pub total: u64,
}

impl Subscribers {
    /// One more of this worker.
    pub fn add(&mut self, worker: u16) {
        match self.0.iter_mut().find(|(known, _)| *known == worker) {
            Some((_, count)) => *count += 1,
            None => self.0.push((worker, 1)),
        }
    }

    /// One less.
    pub fn remove(&mut self, worker: u16) {
        if let Some(place) = self.0.iter().position(|(known, _)| *known == worker) {
            self.0[place].1 -= 1;
            if self.0[place].1 == 0 {
                self.0.swap_remove(place);
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    #[inline]
    pub fn reach(&self) -> Reach {
        let add = |reach: Reach, (worker, count): &(u16, u64)| Reach {
            workers: reach.workers | 1 << worker,
            total: reach.total + count,
        };
        self.0.iter().fold(Reach::default(), add)
    }
}

impl Reach {
    /// Both together.
    pub fn and(self, other: Reach) -> Reach {
        Reach { workers: self.workers | other.workers, total: self.total + other.total }
    }
}
