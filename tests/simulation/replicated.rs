//! Runs of several servers that replicate each other: writers write to the primary, while links are cut and silent, servers lose
//! their power and come back with their files, replicas are promoted and follow another one.
//!
//! What is checked ([`super::ledger`]): a replica at an offset holds what its primary held there; who is promoted has what WAIT has
//! promised; and when nothing befalls them any more, all come to agree.

use std::rc::Rc;

use torc::io::sim::Tamper;

use super::fleet::Fleet;
use super::plan::{Fault, Plan};
use super::series::Series;
use super::world::Summary;

const REPLICATED: Series =
    Series { tests: "simulation::replicated::seeds", usual: 0..24, draw: Plan::replicated, check_happened };
/// Seeds among which an injected fault must be found.
const INJECTED_SEEDS: std::ops::Range<u64> = 0..40;

/// What happened between servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Followed {
    /// How often a replica was compared with what its primary had held at its offset.
    pub compared: u64,
    pub links_cut: u64,
    pub kills: u64,
    pub promotions: u64,
    /// Keys of which WAIT has counted replicas, and those that were looked for after a promotion.
    pub promises: u64,
    pub promises_kept: u64,
    /// Runs at whose ends all agreed.
    pub agreed: u64,
    /// Snapshots and continuations.
    pub synced: u64,
    pub continued: u64,
}

impl Followed {
    /// Adds another run.
    pub fn add(&mut self, other: &Followed) {
        self.compared += other.compared;
        self.links_cut += other.links_cut;
        self.kills += other.kills;
        self.promotions += other.promotions;
        self.promises += other.promises;
        self.promises_kept += other.promises_kept;
        self.agreed += other.agreed;
        self.synced += other.synced;
        self.continued += other.continued;
    }
}

/// Runs a plan.
///
/// # Errors
/// What was not as it must be.
pub fn run(plan: &Plan) -> Result<Summary, String> {
    let count = 2 + usize::from(!plan.seed.is_multiple_of(3));
    Fleet::new(plan, count).run()
}

/// What an injected fault does to bytes on their way.
pub fn tamper(fault: Fault) -> Option<Tamper> {
    let change: fn(bool, &mut Vec<u8>) = match fault {
        Fault::ChangedEffect => |to_server, bytes| {
            if !to_server && let Some(at) = memchr::memmem::find(bytes, b"\r\nLPUSH\r\n") {
                bytes[at + 2] = b'R';
            }
        },
        Fault::EarlyAcknowledgement => |to_server, bytes| {
            const ACK: &[u8] = b"\r\nACK\r\n$";
            if to_server && let Some(at) = memchr::memmem::find(bytes, ACK) {
                let number = at + ACK.len();
                let mut ends = memchr::memmem::find_iter(&bytes[number..], b"\r\n").map(|end| number + end);
                if let Some(end) = ends.nth(1) {
                    bytes.splice(number..end, *b"9\r\n999999999");
                }
            }
        },
        _ => return None,
    };
    Some(Rc::new(move |_, to_server, bytes: &mut Vec<u8>| change(to_server, bytes)))
}

fn check_happened(sum: &Summary) {
    let followed = sum.followed;
    assert!(followed.compared > 300, "replicas were hardly ever compared: {sum:?}");
    assert!(followed.links_cut > 30 && followed.kills > 30, "hardly anything befell the servers: {sum:?}");
    assert!(followed.promotions > 10 && followed.promises_kept > 15, "too little was promised: {sum:?}");
    assert!(followed.synced > 20 && followed.continued > 10, "hardly anybody followed: {sum:?}");
}

#[test]
fn seeds_even() {
    REPLICATED.run_part(0);
}

#[test]
fn seeds_odd() {
    REPLICATED.run_part(1);
}

#[test]
fn a_seed_determines_what_servers_do() {
    REPLICATED.check_determined(0..3);
}

#[test]
fn changed_effect_is_found() {
    let mut failures = REPLICATED.failures(INJECTED_SEEDS, Some(Fault::ChangedEffect));
    let found = failures.find(|failure| failure.contains("its primary held"));
    println!("{}", found.expect("one of the runs finds it"));
}

#[test]
fn early_acknowledgement_is_found() {
    let mut failures = REPLICATED.failures(INJECTED_SEEDS, Some(Fault::EarlyAcknowledgement));
    let found = failures.find(|failure| failure.contains("acknowledged keys"));
    println!("{}", found.expect("one of the runs finds it"));
}
