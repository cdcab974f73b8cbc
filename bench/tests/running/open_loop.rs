//! What a pause of the server looks like: in an open loop it is seen by all requests that were due meanwhile, in a closed loop by
//! the few that were under way.

use std::sync::mpsc::channel;
use std::time::Duration;

use bench::load::{self, LoadOptions};
use bench::operation::Operation;
use bench::report::LoadReport;
use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Server, before, printed};

const PAUSE: Duration = Duration::from_millis(100);
const RATE: f64 = 2000.0;

/// A load of 4 connections on a server that stands still for `PAUSE` in the middle of it.
fn load_with_pause(rate: Option<f64>) -> LoadReport {
    let server = Server::start();
    printed(&server.load(&["-o", "fill", "-k", "1000", "-c", "4", "-d", "16"]));
    let options = LoadOptions {
        addresses: vec![server.address()],
        operation: Operation::Get,
        connections: 4,
        keys: 1000,
        duration: Duration::from_secs(4),
        rate,
        ..LoadOptions::default()
    };
    let pid = Pid::from_raw(server.pid() as i32).expect("it is a process");
    let mut paused = false;
    let report = load::run_watched(&options, &mut |progress| {
        if paused || progress.elapsed < options.duration / 2 {
            return;
        }
        paused = true;
        kill_process(pid, Signal::STOP).expect("the server runs");
        // The pause is what is tested: nothing else is awaited.
        let (_never, pause) = channel::<()>();
        pause.recv_timeout(PAUSE).expect_err("nothing is sent");
        kill_process(pid, Signal::CONT).expect("the server runs");
    });
    assert!(paused);
    report.expect("the server answers")
}

/// Others may keep the machine busy and make a pause of their own: then the load is run again.
const ATTEMPTS: usize = 6;

#[test]
fn pause_shows_in_open_loop() {
    for attempt in 1.. {
        let report = load_with_pause(Some(RATE));
        // Of some 6,400 requests 200 were due during the pause; the 0.1 % that waited longest did so for nearly all of it.
        let p999_ms = report.latencies.quantile_us(0.999) / 1e3;
        assert!(p999_ms >= 95.0, "{report}");
        let missing = (RATE * 3.2 - report.ops as f64).abs() / RATE;
        if p999_ms < 150.0 && report.unsent == 0 && missing < 0.05 {
            return;
        }
        assert!(attempt < ATTEMPTS, "{report}");
    }
}

#[test]
fn pause_hides_in_closed_loop() {
    for attempt in 1.. {
        let report = load_with_pause(None);
        assert!(report.latencies.max_us() > 95e3, "{report}");
        // The 4 requests that were under way are less than 0.1 % of so many.
        if report.ops > 8000 && report.latencies.quantile_us(0.999) < 60e3 {
            return;
        }
        assert!(attempt < ATTEMPTS, "{report}");
    }
}

#[test]
fn server_that_cannot_keep_up_is_told() {
    let server = Server::start();
    let args = ["-t", "BLPOP nothing 0.05", "-c", "1", "--rate", "100", "-s", "1"];
    let text = printed(&server.load(&args));
    assert!(text.contains("open loop at 100/s"), "{text}");
    assert!(text.contains("the connections could not keep up"), "{text}");
    assert!(before(&text, "ops/s") < 40.0, "{text}");
}

#[test]
fn arrivals_of_both_kinds_have_their_rate() {
    let server = Server::start();
    for arrivals in ["constant", "poisson"] {
        let args = ["-t", "PING", "--rate", "3000", "--arrivals", arrivals, "--threads", "2", "-s", "1.5"];
        let text = printed(&server.load(&args));
        assert!(text.contains("2 load threads, open loop at 3000/s"), "{text}");
        let rate = before(&text, "ops/s");
        assert!((rate - 3000.0).abs() < 450.0, "{text}");
        assert!(text.contains("p99.999 ") && text.contains("sent late"), "{text}");
    }
}
