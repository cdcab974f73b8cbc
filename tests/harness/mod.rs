//! Servers for tests: Torc and, as the oracle, Redis; each in a directory of its own, killed when dropped.
//!
//! Readiness is a connection that succeeds. `until` awaits anything else, with a limit; nothing else waits by pausing.

mod client;
pub mod tls;
pub mod value;
mod words;

pub use client::{Client, REPLY_TIMEOUT, command};
pub use value::Value;
pub use words::{quoted, split};

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything awaited may take: far more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks at what is awaited: at first, at most, and between those this part of the time that has passed.
/// Who asks a server a thousand times a second keeps it from what it is to do.
const POLL: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(5);
const POLL_SHARE: u32 = 16;
const PORT_ATTEMPTS: usize = 20;
const CONFIG_FILE: &str = "server.conf";

/// Waits until `met` says so; `false` when it did not within [`PATIENCE`].
pub fn until(mut met: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !met() {
        let waited = began.elapsed();
        if waited > PATIENCE {
            return false;
        }
        std::thread::sleep((waited / POLL_SHARE).clamp(POLL, POLL_MAX));
    }
    true
}

/// Lets time pass: for clients that think between commands, never to await anything.
pub fn pause_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// An address of this host that is not a loopback one.
pub fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only asks for a route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// A directory that goes when it is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one. Its path is short, because that of a Unix socket must be.
    pub fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// One in memory, if the system has such a place: what is synced there costs nothing.
    pub fn in_memory() -> Self {
        let place = Path::new("/dev/shm");
        if place.is_dir() { Self::below(place) } else { Self::new() }
    }

    fn below(place: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torc-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = place.join(name);
        std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// These arguments, and that all workers are active unless they say otherwise.
fn all_active<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = args.to_vec();
    if args.contains(&"--workers") && !args.contains(&"--active-workers-min") {
        all.extend(["--active-workers-min", "64"]);
    }
    all
}

/// A running server.
pub struct Server {
    child: Child,
    dir: Arc<TempDir>,
    tcp: Option<SocketAddr>,
    over_tls: Option<tls::OverTls>,
}

impl Server {
    /// Torc on a Unix socket, with these further arguments. Where they say how many workers, all of those are active, so that
    /// tests of several workers are that.
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(Arc::default(), args)
    }

    /// Torc once more in the directory of a server that has been killed, or is about to end.
    pub fn again(&self, args: &[&str]) -> Self {
        // Who is about to end may still take a connection.
        std::fs::remove_file(self.socket()).unwrap_or_default();
        Self::start_in(Arc::clone(&self.dir), args)
    }

    fn start_in(dir: Arc<TempDir>, args: &[&str]) -> Self {
        let child = Self::spawn(env!("CARGO_BIN_EXE_torc"), &dir, 0, &all_active(args));
        Self { child, dir, tcp: None, over_tls: None }.ready()
    }

    /// Torc on a Unix socket and a free TCP port of 127.0.0.1.
    pub fn start_tcp(args: &[&str]) -> Self {
        Self::on_free_port(env!("CARGO_BIN_EXE_torc"), &all_active(args))
    }

    /// A counter of all workers together, of INFO's section about them.
    pub fn workers_sum(&self, name: &str) -> u64 {
        let text = self.client().ask("INFO workers").string();
        let fields = text.split([',', '\r', '\n', ':']);
        let values = fields.filter_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        values.map(|value| value.parse::<u64>().expect("a number")).sum()
    }

    /// The oracle, Redis 8.2, on a Unix socket.
    pub fn redis(args: &[&str]) -> Self {
        let dir = Arc::<TempDir>::default();
        let child = Self::spawn(&oracle_program(), &dir, 0, args);
        Self { child, dir, tcp: None, over_tls: None }.ready()
    }

    /// The oracle on a Unix socket and a free TCP port of 127.0.0.1.
    pub fn redis_tcp(args: &[&str]) -> Self {
        Self::on_free_port(&oracle_program(), args)
    }

    /// One of the newest servers ([`newest_program`]) on a Unix socket.
    pub fn newest(name: &str, args: &[&str]) -> Self {
        let dir = Arc::<TempDir>::default();
        let child = Self::spawn(&newest_program(name), &dir, 0, args);
        Self { child, dir, tcp: None, over_tls: None }.ready()
    }

    /// Any server program, on a Unix socket and a free TCP port of 127.0.0.1.
    pub fn program_tcp(program: &str, args: &[&str]) -> Self {
        Self::on_free_port(program, args)
    }

    /// The same on a free TCP port of 127.0.0.1 too.
    pub fn newest_tcp(name: &str, args: &[&str]) -> Self {
        Self::on_free_port(&newest_program(name), args)
    }

    /// An older Redis, of the system, on a free TCP port of 127.0.0.1 too.
    pub fn older_redis_tcp(args: &[&str]) -> Self {
        Self::on_free_port(&redis_program("redis-server"), args)
    }

    /// A program with a configuration file of this text, on a Unix socket. What tests need goes on the command line: no
    /// port, files in a directory of its own.
    pub fn with_file(program: &str, text: &str, args: &[&str]) -> Self {
        let dir = Arc::<TempDir>::default();
        let file = dir.path().join(CONFIG_FILE);
        std::fs::write(&file, text).expect("the temporary directory can be written");
        let mut command = Command::new(program);
        command.arg(file).args(["--port", "0", "--daemonize", "no", "--logfile", ""]);
        command.arg("--pidfile").arg(dir.path().join("pid"));
        let child = Self::run_in(&dir, command, args);
        Self { child, dir, tcp: None, over_tls: None }.ready()
    }

    /// A server that this command starts, in this directory, with what tests need behind its arguments.
    pub fn by(command: Command, dir: &Arc<TempDir>, args: &[&str]) -> Self {
        let child = Self::run_in(dir, command, args);
        Self { child, dir: Arc::clone(dir), tcp: None, over_tls: None }.ready()
    }

    /// The configuration file of a server that was started with one.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join(CONFIG_FILE)
    }

    /// Any server program once more, in the directory of one that has ended, on another free TCP port.
    pub fn again_tcp(&self, program: &str, args: &[&str]) -> Self {
        std::fs::remove_file(self.socket()).unwrap_or_default();
        Self::on_free_port_in(|| Arc::clone(&self.dir), program, args)
    }

    /// Any server program once more, in the directory and on the port of one that has ended; its configuration file, if it had one,
    /// says the rest.
    pub fn again_there(&self, program: &str, args: &[&str]) -> Self {
        std::fs::remove_file(self.socket()).unwrap_or_default();
        let (tcp, file) = (self.tcp(), self.config_file());
        let mut command = Command::new(program);
        if file.exists() {
            command.arg(file);
        }
        command.args(["--port", &tcp.port().to_string(), "--bind", "127.0.0.1"]);
        let child = Self::run_in(&self.dir, command, args);
        Self { child, dir: Arc::clone(&self.dir), tcp: Some(tcp), over_tls: None }.ready()
    }

    /// A program with a configuration file of this text, on a Unix socket and a free TCP port of 127.0.0.1.
    pub fn with_file_tcp(program: &str, text: &str, args: &[&str]) -> Self {
        let dir = Arc::<TempDir>::default();
        std::fs::write(dir.path().join(CONFIG_FILE), text).expect("the temporary directory can be written");
        let tcp = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let ended = Command::new("true").spawn().expect("it can be run");
        Self { child: ended, dir, tcp, over_tls: None }.again_there(program, args)
    }

    fn on_free_port(program: &str, args: &[&str]) -> Self {
        Self::on_free_port_in(Arc::default, program, args)
    }

    fn on_free_port_in(dir: impl Fn() -> Arc<TempDir>, program: &str, args: &[&str]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let dir = dir();
            let child = Self::spawn(program, &dir, port, args);
            let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut server = Self { child, dir, tcp: Some(tcp), over_tls: None };
            // Another process may have taken the port meanwhile.
            if server.await_socket() && Client::tcp(tcp).is_ok() {
                return server;
            }
        }
        panic!("{program} did not start on any of {PORT_ATTEMPTS} free ports")
    }

    fn spawn(program: &str, dir: &TempDir, port: u16, args: &[&str]) -> Child {
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        Self::run_in(dir, command, args)
    }

    fn run_in(dir: &TempDir, mut command: Command, args: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(dir.path().join("log"));
        let log = log.expect("the temporary directory can be written");
        command.arg("--unixsocket").arg(dir.path().join("socket"));
        command.arg("--dir").arg(dir.path()).args(args).current_dir(dir.path());
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("the log is open")).stdout(log);
        command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
    }

    fn ready(mut self) -> Self {
        assert!(self.await_socket(), "the server did not start:\n{}", self.log());
        self
    }

    /// Waits until the Unix socket takes connections; `false` when the process ended instead.
    fn await_socket(&mut self) -> bool {
        let mut ended = false;
        let connected = until(|| {
            ended = self.exit_status().is_some();
            ended || Client::unix(&self.socket()).is_ok()
        });
        connected && !ended
    }

    /// A new connection over the Unix socket.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::unix(&self.socket()).unwrap_or_else(|error| panic!("cannot connect: {error}\n{}", self.log()))
    }

    /// A new connection over TCP, with TLS if the server has that.
    #[track_caller]
    pub fn tcp_client(&self) -> Client {
        if self.over_tls.is_some() {
            return self.tls_client();
        }
        Client::tcp(self.tcp()).unwrap_or_else(|error| panic!("cannot connect: {error}\n{}", self.log()))
    }

    /// The address it listens on; only for a server started with TCP.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp.expect("the server was started with TCP")
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The directory that it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is a child of this one")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn await_exit(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = until(|| {
            status = self.exit_status();
            status.is_some()
        });
        assert!(ended, "the server did not end:\n{}", self.log());
        status.expect("it ended")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a running process has a number"), signal)
            .expect("the process has not been waited for");
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is no zombie");
        let kib = line.split_ascii_whitespace().nth(1).expect("a number follows");
        kib.parse::<u64>().expect("it is one") << 10
    }

    /// Fails when the server no longer runs or no longer answers.
    #[track_caller]
    pub fn check_alive(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("the server ended: {status}\n{}", self.log());
        }
        assert_eq!(self.client().ask("PING"), Value::Simple(b"PONG".to_vec()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().expect("the process is a child of this one");
    }
}

/// A TCP port that nothing listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback interface is up");
    listener.local_addr().expect("it is bound").port()
}

/// Lets this process, and the servers it starts, have so many files open; fails the test where the system forbids it.
pub fn raise_open_files(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum.map(|maximum| maximum.max(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        assert!(raised.is_ok(), "this test needs {wanted} open files, and the limit is {limit:?}");
    }
}

/// The server under test.
pub const TORC: &str = env!("CARGO_BIN_EXE_torc");

/// The server that Torc is compared with: Redis 8.2, or the one in the directory that `TORC_REDIS_BIN` names.
fn oracle_program() -> String {
    match std::env::var("TORC_REDIS_BIN") {
        Ok(dir) => Path::new(&dir).join("redis-server").to_string_lossy().into_owned(),
        Err(_) => newest_program("redis-server"),
    }
}

/// Where one of Redis's client programs is.
pub fn redis_program(name: &str) -> String {
    let dirs = std::env::var("PATH").unwrap_or_default();
    let found = std::env::split_paths(&dirs).map(|dir| dir.join(name)).find(|path| path.is_file());
    let found =
        found.unwrap_or_else(|| panic!("{name} is not installed: tests/run installs what tests need"));
    found.to_string_lossy().into_owned()
}

/// Where `tests/run` has put Redis 8.2 (`redis-server`) or Valkey 9.1 (`valkey-server`).
pub fn newest_program(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/newest").join(name);
    assert!(path.is_file(), "{name} is not installed: tests/run installs what tests need");
    path.to_string_lossy().into_owned()
}

/// The same seeded random numbers on every machine (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        assert!(limit > 0);
        (self.next() % limit as u64) as usize
    }

    /// Whether, once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// An older server in their place would make every comparison with them a lie.
#[test]
fn newest_servers_are_redis_8_2_and_valkey_9_1() {
    let version = |program, field: &str| {
        let info = Server::newest(program, &[]).client().ask("INFO server").string();
        let value =
            info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
        value.expect("the server says its version")
    };
    assert_eq!(version("redis-server", "redis_version"), "8.2.3");
    assert_eq!(version("valkey-server", "valkey_version"), "9.1.2");
}
