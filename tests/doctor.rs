//! `torc --doctor`: every line it can say, on hosts that are made up; and the program itself, on this one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::process::Command;

use torc::config::Config;
use torc::doctor::host::Ring;
use torc::doctor::{self, Finding, Host, Level, System};

use crate::harness::{TORC, TempDir};

/// A host whose files are those of a directory.
struct MadeUp {
    dir: TempDir,
    files: System,
    /// Rings that cannot be had.
    missing: Vec<Ring>,
}

impl Host for MadeUp {
    fn read(&self, path: &str) -> Option<String> {
        self.files.read(path)
    }

    fn names(&self, path: &str) -> Vec<String> {
        self.files.names(path)
    }

    fn open_ring(&self, ring: Ring) -> Result<(), String> {
        if self.missing.contains(&ring) { Err("it is not there".to_owned()) } else { Ok(()) }
    }
}

/// What a host has that leaves nothing to be wished for.
const GOOD: &[(&str, &str)] = &[
    ("/proc/sys/kernel/osrelease", "6.12.3-amd64\n"),
    ("/proc/sys/kernel/io_uring_disabled", "0\n"),
    ("/proc/sys/kernel/numa_balancing", "1\n"),
    ("/proc/sys/net/core/somaxconn", "4096\n"),
    ("/proc/sys/vm/overcommit_memory", "0\n"),
    ("/proc/sys/vm/swappiness", "60\n"),
    ("/proc/swaps", "Filename Type Size Used Priority\n"),
    ("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n"),
    ("/proc/self/status", "Name:\ttorc\nCpus_allowed_list:\t0-3\n"),
    (
        "/proc/self/limits",
        "Limit Soft Hard Units\nMax open files            1024                 1048576              files\n",
    ),
    ("/proc/self/cgroup", "0::/system.slice/torc.service\n"),
    (
        "/proc/self/mounts",
        "/dev/vda1 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\noverlay /layer overlay rw 0 0\n",
    ),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("/sys/devices/system/node/online", "0\n"),
    ("/sys/devices/system/node/node0/cpulist", "0-3\n"),
    ("/sys/fs/cgroup/system.slice/torc.service/memory.max", "max\n"),
    ("/sys/fs/cgroup/system.slice/torc.service/cpu.max", "max 100000\n"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
    ("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1\n"),
    ("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2\n"),
    ("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3\n"),
    ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
];

/// What a configuration says that leaves nothing to be wished for.
const CONFIG: &[&str] = &["--bind", "127.0.0.1", "--maxmemory", "8gb", "--appendonly", "yes", "--dir", "/"];

impl MadeUp {
    fn new() -> Self {
        let dir = TempDir::new();
        let host = Self { files: System::at(dir.path()), dir, missing: Vec::new() };
        GOOD.iter().for_each(|(path, text)| host.put(path, text));
        host
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }

    fn examine(&self, args: &[&str]) -> Vec<Finding> {
        let args: Vec<OsString> = CONFIG.iter().chain(args).map(OsString::from).collect();
        let startup =
            Config::from_args(args, &mut std::io::empty()).unwrap_or_else(|error| panic!("{error}"));
        doctor::examine(self, &startup.config)
    }
}

/// One thing that is otherwise, and the line that follows.
struct Case {
    files: &'static [(&'static str, &'static str)],
    missing: &'static [Ring],
    args: &'static [&'static str],
    subject: &'static str,
    level: Level,
    what: &'static str,
    remedy: &'static str,
}

const fn case(subject: &'static str, level: Level, what: &'static str, remedy: &'static str) -> Case {
    Case { files: &[], missing: &[], args: &[], subject, level, what, remedy }
}

const GROUP: &str = "/sys/fs/cgroup/system.slice/torc.service/memory.max";
const SLICE: &str = "/sys/fs/cgroup/system.slice/memory.max";
const QUOTA: &str = "/sys/fs/cgroup/system.slice/torc.service/cpu.max";
/// Control groups of version 1, in a container whose paths are the host's while its own group is mounted.
const OLD_GROUPS: (&str, &str) = (
    "/proc/self/cgroup",
    "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/x\n0::/docker/abc\n",
);

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { files: &[("/proc/sys/kernel/osrelease", "5.10.0-28-amd64\n")], ..case("kernel", Level::Warning, "Linux 5.10.0-28-amd64 has no io_uring with deferred", "Linux 6.1 or newer") },
    Case { missing: &[Ring::Plain], ..case("io_uring", Level::Warning, "epoll will serve: it is not there", "seccomp profile that allows io_uring_setup") },
    Case { missing: &[Ring::Plain], files: &[("/proc/sys/kernel/io_uring_disabled", "2\n")], ..case("io_uring", Level::Warning, "epoll will serve", "kernel.io_uring_disabled=0") },
    Case { missing: &[Ring::Plain], args: &["--io-backend", "io_uring"], ..case("io_uring", Level::Warning, "the start will be refused", "seccomp") },
    Case { missing: &[Ring::Plain], args: &["--io-backend", "epoll"], ..case("io_uring", Level::Note, "epoll serves, as the configuration says", "io-backend auto") },
    Case { args: &["--sqpoll", "yes"], ..case("sqpoll", Level::Ok, "a kernel thread submits", "") },
    Case { args: &["--sqpoll", "yes"], missing: &[Ring::SqPoll], ..case("sqpoll", Level::Warning, "cannot be had: it is not there", "sqpoll no") },
    Case { args: &["--busy-poll-us", "50"], ..case("busy-poll", Level::Ok, "polls for 50 us", "") },
    Case { args: &["--busy-poll-us", "50"], missing: &[Ring::BusyPoll], ..case("busy-poll", Level::Warning, "cannot be had", "busy-poll-us 0") },
    Case { files: &[("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")], ..case("clock", Level::Warning, "hpet: each look at the time is a system call", "clocksource=tsc") },
    Case { files: &[("/proc/self/limits", "Max open files            1024  4096  files\n")], ..case("open-files", Level::Warning, "the limit of 4096 leaves room for", "LimitNOFILE=10") },
    Case { files: &[("/proc/self/limits", "Max open files            1024  unlimited  files\n")], ..case("open-files", Level::Ok, "enough for maxclients 10000", "") },
    Case { files: &[("/proc/sys/net/core/somaxconn", "128\n")], ..case("accept-queue", Level::Note, "cuts tcp-backlog 511 to 128", "tuning/accept-queue apply") },
    Case { files: &[("/proc/sys/net/core/somaxconn", "128\n"), ("/usr/lib/torc/tuning/accept-queue", "#!/bin/sh\n")], ..case("accept-queue", Level::Note, "to 128", "/usr/lib/torc/tuning/accept-queue apply") },
    Case { args: &["--workers", "8"], ..case("workers", Level::Warning, "8 workers on 4 CPUs take turns", "workers 4") },
    Case { args: &["--worker-cpus", "2-5"], ..case("workers", Level::Warning, "worker-cpus names CPU 4", "worker-cpus 0-3") },
    Case { args: &["--worker-cpus", "1,3"], ..case("workers", Level::Ok, "2, each pinned to a CPU of its own: 1,3", "") },
    Case { files: &[(QUOTA, "150000 100000\n")], ..case("workers", Level::Ok, "1, each pinned", "") },
    Case { files: &[(QUOTA, "150000 100000\n")], args: &["--workers", "2"], ..case("cpu-quota", Level::Warning, "may use 1.50 CPUs, there are 2 workers", "workers 1") },
    Case { files: &[(QUOTA, "400000 100000\n")], ..case("cpu-quota", Level::Ok, "enough for the workers", "") },
    Case { files: &[OLD_GROUPS, ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"), ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")], args: &["--workers", "2"], ..case("cpu-quota", Level::Warning, "may use 1.50 CPUs, there are 2 workers", "workers 1") },
    Case { files: &[OLD_GROUPS, ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"), ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")], ..case("cpu-quota", Level::Ok, "has none", "") },
    Case { files: &[("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"), ("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n")], ..case("cores", Level::Note, "on CPU 0 and 2", "one thread of each core") },
    Case { files: &[("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n")], ..case("clock-rate", Level::Note, "CPU 1 has the governor powersave", "tuning/cpu-governor apply") },
    Case { files: &[("/sys/devices/system/node/online", "0-1\n"), ("/sys/devices/system/node/node0/cpulist", "0-1\n"), ("/sys/devices/system/node/node1/cpulist", "2-3\n")], ..case("numa", Level::Note, "workers are on the nodes 0-1", "NUMAPolicy=bind") },
    Case { files: &[("/sys/devices/system/node/online", "0-1\n"), ("/sys/devices/system/node/node0/cpulist", "0-1\n"), ("/sys/devices/system/node/node1/cpulist", "2-3\n")], args: &["--worker-cpus", "2,3"], ..case("numa", Level::Ok, "all workers are on node 1 of 2", "") },
    Case { files: &[("/sys/devices/system/node/online", "0-1\n")], ..case("numa-balancing", Level::Note, "takes pages away", "tuning/numa-balancing apply") },
    Case { args: &["--maxmemory", "0"], ..case("memory", Level::Note, "no maxmemory: at 16.0 GiB (the host's memory)", "maxmemory 13107mb") },
    Case { args: &["--maxmemory", "0"], files: &[(GROUP, "4294967296\n")], ..case("memory", Level::Warning, "at 4.0 GiB (the control group's limit)", "maxmemory 3276mb") },
    Case { files: &[(SLICE, "4294967296\n")], ..case("memory", Level::Warning, "maxmemory 8.0 GiB is more than 90 % of 4.0 GiB", "maxmemory 3276mb") },
    Case { files: &[OLD_GROUPS, ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4294967296\n")], ..case("memory", Level::Warning, "maxmemory 8.0 GiB is more than 90 % of 4.0 GiB (the control group's limit)", "maxmemory 3276mb") },
    Case { files: &[OLD_GROUPS, ("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n")], ..case("memory", Level::Ok, "of 16.0 GiB (the host's memory)", "") },
    Case { args: &["--maxmemory-policy", "allkeys-lru"], ..case("memory", Level::Ok, "keys are evicted", "") },
    Case { files: &[("/proc/sys/vm/overcommit_memory", "2\n")], ..case("overcommit", Level::Warning, "memory can be refused", "tuning/overcommit-memory apply") },
    Case { files: &[("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n")], ..case("huge-pages", Level::Note, "switched off", "tuning/transparent-huge-pages apply") },
    Case { files: &[("/proc/swaps", "Filename Type\n/dev/vdb partition\n")], ..case("swap", Level::Note, "vm.swappiness is 60", "tuning/swappiness apply") },
    Case { files: &[("/proc/swaps", "Filename Type\n/dev/vdb partition\n"), ("/proc/sys/vm/swappiness", "1\n")], ..case("swap", Level::Ok, "used only in need", "") },
    Case { args: &["--bind", "*", "--protected-mode", "no"], ..case("exposure", Level::Warning, "NOTHING KEEPS THEM OUT", "requirepass-file FILE") },
    Case { args: &["--bind", "*"], ..case("exposure", Level::Ok, "protected mode turns other hosts away", "") },
    Case { args: &["--port", "0"], ..case("exposure", Level::Warning, "it would listen nowhere", "unixsocket") },
    Case { args: &["--user", "a +nosuch"], ..case("exposure", Level::Warning, "user line 1", "mend the line") },
    Case { args: &["--aclfile", "/nosuch/file"], ..case("exposure", Level::Warning, "the start will be refused", "mend the file") },
    Case { args: &["--admin-port", "9121"], ..case("admin-port", Level::Ok, "only this host can come", "") },
    Case { args: &["--admin-port", "9121", "--admin-bind", "*"], ..case("admin-port", Level::Ok, "protected mode turns other hosts away", "") },
    Case { args: &["--admin-port", "9121", "--admin-bind", "*", "--protected-mode", "no"], ..case("admin-port", Level::Warning, "sees names of keys", "admin-password-file FILE") },
    Case { args: &["--admin-port", "9121", "--admin-bind", "10.0.0.1", "--admin-password", "x"], ..case("admin-port", Level::Note, "can be read on the way", "a proxy with TLS") },
    Case { args: &["--bind", "10.0.0.1 ::1", "--requirepass", "x"], ..case("encryption", Level::Note, "without TLS", "tls-port with port 0") },
    Case { args: &["--bind", "*", "--port", "0", "--tls-port", "6380"], ..case("encryption", Level::Ok, "over TLS only", "") },
    Case { args: &["--appendfsync", "always"], ..case("persistence", Level::Ok, "what was acknowledged is on disk", "") },
    Case { args: &["--appendfsync", "no"], ..case("persistence", Level::Note, "some 30 s", "appendfsync everysec") },
    Case { args: &["--appendonly", "no"], ..case("persistence", Level::Note, "snapshots only: a crash takes", "appendonly yes") },
    Case { args: &["--appendonly", "no", "--maxmemory-policy", "allkeys-lfu"], ..case("persistence", Level::Ok, "snapshots only", "") },
    Case { args: &["--appendonly", "no", "--save", ""], ..case("persistence", Level::Warning, "nothing is kept", "appendonly yes") },
    Case { args: &["--appendonly", "no", "--save", "", "--maxmemory-policy", "allkeys-lfu"], ..case("persistence", Level::Ok, "as is usual for a cache", "") },
    Case { args: &["--dir", "/run"], ..case("data-directory", Level::Warning, "/run is in memory (tmpfs)", "dir on a disk") },
    Case { files: &[("/proc/self/mounts", "overlay / overlay rw 0 0\n")], ..case("data-directory", Level::Warning, "the container's own layer", "dir on a volume") },
    Case { args: &["--appendonly", "no"], files: &[("/appendonlydir/appendonly.aof.manifest", "x")], ..case("data-not-loaded", Level::Warning, "//appendonlydir is there and will not be loaded", "appendonly yes") },
];

#[test]
fn good_host_has_nothing_to_be_done() {
    let findings = MadeUp::new().examine(&[]);
    let rest: Vec<&Finding> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
    assert!(rest.is_empty(), "{rest:?}");
    assert!(findings.len() > 18, "{}", doctor::text(&findings));
    assert!(!doctor::has_warning(&findings));
}

#[test]
fn every_line_is_said_where_it_belongs() {
    for Case { files, missing, args, subject, level, what, remedy } in CASES {
        let mut host = MadeUp::new();
        files.iter().for_each(|(path, text)| host.put(path, text));
        host.missing = missing.to_vec();
        let findings = host.examine(args);
        let found = findings.iter().find(|finding| finding.subject == *subject);
        let found = found.unwrap_or_else(|| panic!("{subject}: nothing is said with {files:?} {args:?}"));
        assert_eq!(found.level, *level, "{found:?}");
        assert!(found.what.contains(what), "{what}: {found:?}");
        assert!(found.remedy.contains(remedy) && found.remedy.is_empty() == remedy.is_empty(), "{found:?}");
        let is_well = found.level == Level::Ok;
        assert_eq!(found.remedy.is_empty(), is_well, "what is not well has a remedy: {found:?}");
        assert!(!found.what.contains('\n'), "{found:?}");
    }
}

/// No check that only ever says that all is well would be noticed otherwise.
#[test]
fn every_subject_has_a_case() {
    let said: HashSet<&str> = MadeUp::new().examine(&[]).iter().map(|finding| finding.subject).collect();
    let cases: HashSet<&str> = CASES.iter().map(|case| case.subject).collect();
    let missing: Vec<&&str> = said.difference(&cases).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A host of which nothing can be read is no reason to fail.
#[test]
fn unreadable_host_has_few_lines() {
    let dir = TempDir::new();
    let host = MadeUp { files: System::at(dir.path()), dir, missing: Vec::new() };
    assert!(
        host.examine(&[]).iter().all(|finding| finding.level != Level::Warning),
        "{:?}",
        host.examine(&[])
    );
}

#[test]
fn program_says_it_for_the_configuration_of_a_start() {
    let dir = TempDir::new();
    let file = dir.path().join("torc.conf");
    let text =
        "bind *\nprotected-mode no\nmaxmemory 1mb\nmaxmemory-policy allkeys-lru\nsave \"\"\nworkers 1\n";
    std::fs::write(&file, text).expect("it can be written");
    let run = |args: &[&str]| {
        let output = Command::new(TORC).arg(&file).args(args).output().expect("the binary was built");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_well, said) = run(&["--doctor"]);
    assert!(!is_well, "{said}");
    let line = said.lines().find(|line| line.starts_with("WARNING  exposure"));
    assert!(line.is_some_and(|line| line.contains(" -> requirepass-file")), "{said}");
    assert!(
        said.lines().all(|line| ["OK ", "NOTE ", "WARNING "].iter().any(|word| line.starts_with(word))),
        "{said}"
    );
    // What the command line says counts over the file.
    let (_, said) = run(&["--doctor", "--bind", "127.0.0.1"]);
    assert!(said.contains("no password is asked for") && !said.contains("WARNING  exposure"), "{said}");
    let (_, json) = run(&["--doctor", "--json"]);
    let python = "import json,sys; d=json.load(sys.stdin); \
        assert d['warning'] is True; \
        assert any(f['subject']=='exposure' and f['level']=='WARNING' and f['remedy'] for f in d['findings'])";
    let mut child = Command::new("python3").args(["-c", python]).stdin(std::process::Stdio::piped()).spawn();
    let child = child.as_mut().expect("python3 is there");
    std::io::Write::write_all(&mut child.stdin.take().expect("it is a pipe"), json.as_bytes())
        .expect("it reads");
    assert!(child.wait().expect("it is a child").success(), "{json}");
}
