//! Series of runs: what each of many seeds stands for, and what all of them must come to.
//!
//! `TORC_SEEDS=from..to` runs other seeds than the usual ones.

use std::ops::Range;

use super::plan::{Fault, Plan};
use super::world::{Summary, run};

/// Parts of a series that run beside each other.
const PARTS: u64 = 2;

/// Runs of one kind.
pub struct Series {
    /// What its tests' names begin with.
    pub tests: &'static str,
    /// Seeds of the usual run.
    pub usual: Range<u64>,
    /// The plan of a seed.
    pub draw: fn(u64) -> Plan,
    /// Asserts that in a part of the usual runs enough happened: a simulation in which nothing does would pass as well.
    pub check_happened: fn(&Summary),
}

impl Series {
    /// Runs every so-manieth of the seeds asked for.
    pub fn run_part(&self, part: u64) {
        let asked = std::env::var("TORC_SEEDS").ok();
        let seeds = asked.as_ref().map_or(self.usual.clone(), |text| seeds(text));
        let mut sum = Summary::default();
        for seed in seeds.filter(|seed| seed % PARTS == part) {
            let _story = self.story(seed);
            let plan = (self.draw)(seed);
            match run(&plan) {
                Ok(summary) => sum.add(&summary),
                Err(failure) => panic!("{failure}\n{plan:#?}"),
            }
        }
        println!("{sum:?}");
        if asked.is_none() {
            (self.check_happened)(&sum);
        }
    }

    /// Asserts that a seed's run is the same each time.
    pub fn check_determined(&self, seeds: Range<u64>) {
        for seed in seeds {
            let _story = self.story(seed);
            let traces = [(); 2].map(|()| run(&(self.draw)(seed)).expect("passes elsewhere too").trace);
            assert_eq!(traces[0], traces[1]);
        }
    }

    /// What runs with an injected fault, or with one injected in the server, fail with.
    pub fn failures(&self, seeds: Range<u64>, fault: Option<Fault>) -> impl Iterator<Item = String> {
        seeds.filter_map(move |seed| {
            let _story = self.story(seed);
            run(&Plan { fault, ..(self.draw)(seed) }).err()
        })
    }

    /// Says which seed was running, and how to repeat that, if the test ends before this is dropped.
    pub fn story(&self, seed: u64) -> Story {
        Story { tests: self.tests, seed }
    }
}

fn seeds(text: &str) -> Range<u64> {
    let bounds = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("TORC_SEEDS is {text:?}, not from..to"))
}

/// For failures of the check and for the server's own assertions.
pub struct Story {
    tests: &'static str,
    seed: u64,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            let Story { tests, seed } = *self;
            eprintln!("seed {seed} failed in {name}");
            let end = seed + 1;
            eprintln!(
                "repeat a drawn plan with: TORC_SEEDS={seed}..{end} cargo test --test torc {tests}; a test's own plan \
                by its name"
            );
        }
    }
}
