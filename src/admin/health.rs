//! `/healthz`: whether the process does its work, so that a restart would not help; `/readyz`: whether clients are to be sent here.

use std::sync::atomic::Ordering::Relaxed;

use super::response::{Response, Status};
use crate::command::Shared;
use crate::replicate::LinkState;

/// A worker that has given no sign of life for so long hangs, or runs a very long command. One that has nothing to do turns once a
/// second; scripts, SAVE and loading give signs from within.
const SILENCE_MS_MAX: u64 = 5000;

/// Every worker is alive.
pub fn healthz(shared: &Shared, now_ms: u64) -> Response {
    let ages = shared.stats.all().iter().map(|worker| {
        let last_ms = worker.alive_ms.read().max(shared.facts.started_ms);
        now_ms.saturating_sub(last_ms)
    });
    let hangs = |(number, age_ms): (usize, u64)| {
        (age_ms > SILENCE_MS_MAX)
            .then(|| format!("worker {number} has given no sign of life for {age_ms} ms"))
    };
    let hanging: Vec<String> = ages.enumerate().filter_map(hangs).collect();
    match hanging.is_empty() {
        true => Response::text(Status::Ok, "ok"),
        false => Response::text(Status::Unavailable, &hanging.join("; ")),
    }
}

/// Nothing is being loaded, the server is not about to end, and, on a replica, there is data that `replica-serve-stale-data` lets
/// clients have.
pub fn readyz(shared: &Shared) -> Response {
    match unready(shared) {
        None => Response::text(Status::Ok, "ready"),
        Some(reason) => Response::text(Status::Unavailable, reason),
    }
}

/// Why clients are not to be sent here.
pub fn unready(shared: &Shared) -> Option<&'static str> {
    if shared.shutdown.requested() {
        return Some("the server is about to end");
    }
    if shared.loading.is_on() {
        return Some("data is being loaded");
    }
    if !shared.replication.is_replica() {
        return None;
    }
    let was_up = shared.link.up_since_ms.load(Relaxed) != 0 && !shared.link.is_torn();
    match shared.replication.link() {
        LinkState::Connected => None,
        LinkState::Sync if !was_up => Some("the primary's data is being received"),
        _ if !was_up => Some("nothing has been received from the primary yet"),
        _ if shared.config.load().replica_serve_stale_data => None,
        _ => Some("the link to the primary is down, and 'replica-serve-stale-data' is 'no'"),
    }
}
