//! What becomes of the process when a part of it fails: it ends, and says why.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::harness::{Server, TempDir, until};

/// What a worker of the epoll backend waits with, as the C library calls it.
#[cfg(target_arch = "x86_64")]
const WAIT: i64 = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const WAIT: i64 = libc::SYS_epoll_pwait;

/// Descriptors of a process that are epoll instances, in the order in which they were opened.
fn epolls(pid: u32) -> Vec<u64> {
    let dir = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let names = dir.map(|entry| entry.expect("it can be read").path());
    let is_epoll = |link: std::io::Result<std::path::PathBuf>| {
        link.is_ok_and(|target| target.to_string_lossy().contains("eventpoll"))
    };
    let mut found: Vec<u64> = names
        .filter(|name| is_epoll(std::fs::read_link(name)))
        .filter_map(|name| name.file_name()?.to_str()?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

/// Starts a server for which this system call fails with this descriptor.
fn start_without(call: i64, descriptor: u64, dir: &TempDir, args: &[&str]) -> Child {
    let is_it =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, descriptor).expect("a condition");
    let rules = BTreeMap::from([(call, vec![SeccompRule::new(vec![is_it]).expect("a rule")])]);
    let fails = SeccompAction::Errno(libc::EBADF as u32);
    let arch = std::env::consts::ARCH.try_into().expect("it is known");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fails, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("it is short");
    let mut command = Command::new(env!("CARGO_BIN_EXE_torc"));
    command
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Only this thread and what it starts are denied the call.
    let start = || {
        seccompiler::apply_filter(&program).expect("the system has seccomp");
        command.spawn().expect("the binary was built")
    };
    std::thread::scope(|scope| scope.spawn(start).join().expect("it did not fail"))
}

/// The other workers went on, and all clients of the one that had failed hung.
#[test]
fn worker_that_fails_ends_the_process_with_its_cause() {
    let args = ["--workers", "3", "--io-backend", "epoll"];
    let known = epolls(Server::start(&args).pid());
    assert_eq!(known.len(), 3, "each worker has one");
    for (number, descriptor) in known.into_iter().enumerate() {
        let dir = TempDir::new();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let (socket, log, pidfile) = (path("socket"), path("log"), path("pid"));
        let files = ["--port", "0", "--unixsocket", &socket, "--logfile", &log, "--pidfile", &pidfile];
        let mut child = start_without(WAIT, descriptor, &dir, &[&files[..], &args].concat());
        let mut status = None;
        let ended = until(|| {
            status = child.try_wait().expect("it is a child of this process");
            status.is_some()
        });
        child.kill().unwrap_or_default();
        let log = std::fs::read_to_string(&log).expect("it has logged");
        assert!(ended, "it goes on without worker {number}:\n{log}");
        assert_eq!(status.and_then(|status| status.code()), Some(1), "{log}");
        assert!(log.contains(&format!("worker {number} failed: Bad file descriptor")), "{log}");
        // As after any other end, nobody takes it for running.
        assert!(!dir.path().join("socket").exists() && !dir.path().join("pid").exists());
    }
}
