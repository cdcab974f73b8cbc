//! Torc under a service manager: what it says to it, what it takes over from it, and how it follows its configuration's text.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::tls::{Authority, connect};
use crate::harness::{Client, PATIENCE, Server, TORC, TempDir, until};

/// A service manager's end of `$NOTIFY_SOCKET`. A thread reads it: whoever sends waits where few messages do.
struct Manager {
    dir: Arc<TempDir>,
    heard: Receiver<(Instant, String)>,
}

impl Manager {
    fn new() -> Self {
        let dir = Arc::<TempDir>::default();
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("the directory can be written");
        let (told, heard) = channel();
        std::thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok(length) = socket.recv(&mut text) {
                let text = String::from_utf8_lossy(&text[..length]).into_owned();
                if told.send((Instant::now(), text)).is_err() {
                    return;
                }
            }
        });
        Self { dir, heard }
    }

    /// Torc, started by it, with this much silence allowed.
    fn start(&self, watchdog: Duration, args: &[&str]) -> Server {
        let mut command = Command::new(TORC);
        command.args(["--port", "0", "--save", "", "--enable-debug-command", "yes"]);
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Server::by(self.told(command), &self.dir, args)
    }

    fn told(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command
    }

    /// What it hears next, within this time.
    fn hear(&self, limit: Duration) -> Option<String> {
        self.heard.recv_timeout(limit).ok().map(|(_, text)| text)
    }

    /// The next that is no sign of life.
    fn hear_state(&self) -> String {
        let states = std::iter::from_fn(|| self.hear(PATIENCE));
        states.into_iter().find(|state| state != "WATCHDOG=1").expect("it says something")
    }

    /// The longest time without a sign of life while this runs, and until the next sign after it.
    fn silence_during(&self, work: impl FnOnce()) -> Duration {
        while self.heard.try_recv().is_ok() {}
        let begin = Instant::now();
        work();
        let end = Instant::now();
        let (mut last, mut longest) = (begin, Duration::ZERO);
        while last < end {
            let (at, text) = self.heard.recv_timeout(PATIENCE).expect("it is alive");
            if text == "WATCHDOG=1" {
                longest = longest.max(at - last);
                last = at;
            }
        }
        longest
    }
}

fn word(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn start_loading_and_end_are_told() {
    const KEYS: i64 = 100_000;
    let before = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    before.client().ask(&format!("DEBUG POPULATE {KEYS}"));
    assert_eq!(before.client().ask("SAVE").string(), "OK");
    let manager = Manager::new();
    let mut server =
        manager.start(Duration::from_secs(60), &["--workers", "2", "--dir", &word(before.dir())]);
    let loading = manager.hear_state();
    assert!(loading.starts_with("STATUS=Loading: ") && loading.contains(" % of "), "{loading}");
    assert!(loading.contains("\nEXTEND_TIMEOUT_USEC="), "{loading}");
    let ready = manager.hear_state();
    assert!(ready.starts_with("READY=1\nSTATUS=Ready to accept connections on "), "{ready}");
    assert_eq!(server.client().ask("DBSIZE").int(), Some(KEYS));
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    server.signal(Signal::TERM);
    let told = manager.hear_state();
    assert!(told.starts_with("STATUS=Received SIGTERM"), "{told}");
    let states = std::iter::from_fn(|| Some(manager.hear_state()));
    let last = states.into_iter().find(|state| !state.starts_with("EXTEND_TIMEOUT_USEC="));
    assert!(last.is_some_and(|state| state.starts_with("STOPPING=1\n")));
    assert!(server.await_exit().success());
}

/// The last save takes longer than the service manager waits by itself: it hears that there is need for more time.
#[test]
fn long_end_asks_for_more_time() {
    let manager = Manager::new();
    let args = ["--workers", "1", "--save", "3600 1", "--rdb-key-save-delay", "200"];
    let mut server = manager.start(Duration::from_millis(400), &args);
    assert!(manager.hear_state().starts_with("READY=1"));
    server.client().ask("DEBUG POPULATE 10000");
    server.signal(Signal::TERM);
    assert!(manager.hear_state().starts_with("STATUS=Received SIGTERM"));
    assert_eq!(manager.hear_state(), "EXTEND_TIMEOUT_USEC=60000000");
    assert!(server.await_exit().success());
}

/// What a client can bring about by one command that keeps its worker.
#[test]
fn hanging_worker_silences_the_watchdog() {
    const PERIOD: Duration = Duration::from_millis(800);
    let manager = Manager::new();
    let server = manager.start(PERIOD, &["--workers", "2", "--active-workers-min", "2"]);
    assert!(manager.hear_state().starts_with("READY=1"));
    assert_eq!(manager.hear(PATIENCE).as_deref(), Some("WATCHDOG=1"), "idle workers are alive");
    let silence = manager.silence_during(|| {
        assert_eq!(server.client().ask("DEBUG SLEEP 4").string(), "OK");
    });
    assert!(silence > PERIOD * 3, "{silence:?}\n{}", server.log());
    let log = server.log();
    assert!(log.contains("has given no sign of life") && log.contains("goes on"), "{log}");
}

/// A script that nothing stops, and loading within a command: each takes longer than any silence may be.
#[test]
fn long_work_is_no_hang() {
    const PERIOD: Duration = Duration::from_secs(4);
    let manager = Manager::new();
    let server = manager.start(PERIOD, &["--workers", "1", "--busy-reply-threshold", "3600000"]);
    assert!(manager.hear_state().starts_with("READY=1"));
    let mut client = server.client();
    let mut lasts = |words: &[&str], wanted: &str| {
        let begin = Instant::now();
        let silence = manager.silence_during(|| assert_eq!(client.call(words).string(), wanted));
        assert!(silence < PERIOD, "{words:?}: {silence:?}\n{}", server.log());
        begin.elapsed()
    };
    let mut rounds = 100_000_000_u64;
    while lasts(&["EVAL", &format!("for i = 1, {rounds} do end return 'done'"), "0"], "done") < PERIOD {
        rounds *= 2;
    }
    let mut keys = 100_000;
    lasts(&["DEBUG", "POPULATE", &keys.to_string()], "OK");
    while lasts(&["DEBUG", "RELOAD"], "OK") < PERIOD {
        keys *= 2;
        lasts(&["DEBUG", "POPULATE", &keys.to_string()], "OK");
    }
}

#[test]
fn reload_takes_over_what_the_file_changed() {
    let manager = Manager::new();
    let dir = &manager.dir;
    let file = dir.path().join("torc.conf");
    let write = |text: &str| std::fs::write(&file, text).expect("the directory can be written");
    write("port 0\nmaxmemory 100mb\nhz 10\nworkers 2\nsave \"\"\nuser app on nopass ~* +@all\n");
    let mut command = manager.told(Command::new(TORC));
    command.arg(&file);
    let server = Server::by(command, dir, &["--timeout", "77"]);
    assert!(manager.hear_state().starts_with("READY=1"));
    let mut client = server.client();
    let mut value = |name: &str| client.call(&["CONFIG", "GET", name]).elements()[1].string();
    let mut admin = server.client();
    assert_eq!(admin.ask("CONFIG SET hz 33 maxmemory 50mb").string(), "OK");
    let reload = || {
        server.signal(Signal::HUP);
        let begin = manager.hear_state();
        let stamp = begin.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{begin}"));
        assert!(stamp.parse::<u64>().is_ok(), "{stamp}");
        let end = manager.hear_state();
        end.strip_prefix("READY=1\nSTATUS=").unwrap_or_else(|| panic!("{end}")).to_owned()
    };
    // Nothing in the text has changed: what CONFIG SET said stays.
    assert_eq!(reload(), "Reloaded: 0 directives changed");
    assert_eq!((value("hz"), value("maxmemory")), ("33".to_owned(), "52428800".to_owned()));
    assert!(server.log().contains("has not changed there: maxmemory, hz"), "{}", server.log());
    // What is on the command line counts over the file, as at the start.
    write(
        "port 7000\nmaxmemory 200mb\nhz 10\nworkers 3\nsave 60 5 10 2\ntimeout 5\nrequirepass secret\nuser app off\n",
    );
    assert_eq!(reload(), "Reloaded: 3 directives changed");
    assert_eq!((value("hz"), value("maxmemory")), ("33".to_owned(), "209715200".to_owned()));
    assert_eq!((value("timeout"), value("save")), ("77".to_owned(), "60 5 10 2".to_owned()));
    let log = server.log();
    assert!(log.contains("Reload: maxmemory is '209715200', was '52428800'"), "{log}");
    assert!(log.contains("Reload: requirepass is another") && !log.contains("secret"), "{log}");
    assert!(log.contains("Reload: a restart is needed for workers, port, user"), "{log}");
    assert!(server.client().ask("PING").string().starts_with("NOAUTH"));
    assert_eq!(server.client().ask("AUTH secret").string(), "OK");
    // A text with an error changes nothing.
    write("port 0\nmaxmemory 1mb\nno-such-directive yes\n");
    assert!(reload().starts_with("Reload failed"));
    assert_eq!(value("maxmemory"), "209715200");
    assert!(server.log().contains(">>> 'no-such-directive yes'"), "{}", server.log());
    std::fs::remove_file(&file).expect("it is there");
    assert!(reload().starts_with("Reload failed"));
    assert_eq!(value("maxmemory"), "209715200");
}

#[test]
fn reload_while_loading_does_not_say_ready() {
    let before = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    before.client().ask("DEBUG POPULATE 100000");
    assert_eq!(before.client().ask("SAVE").string(), "OK");
    let manager = Manager::new();
    let server = manager.start(Duration::from_secs(60), &["--workers", "1", "--dir", &word(before.dir())]);
    let is_loading = || server.client().ask("INFO persistence").string().contains("\r\nloading:1");
    if !is_loading() {
        return;
    }
    server.signal(Signal::HUP);
    assert!(until(|| server.log().contains("Reload: no directive has changed")), "{}", server.log());
    let was_loading = is_loading();
    let states: Vec<String> = std::iter::from_fn(|| manager.hear(Duration::from_millis(1))).collect();
    let says_ready = states.iter().any(|state| state.starts_with("READY") || state.starts_with("RELOADING"));
    assert!(!was_loading || !says_ready, "{states:?}");
}

#[test]
fn sockets_of_the_service_manager_are_served() {
    let authority = Authority::new();
    let dir = Arc::<TempDir>::default();
    let (socket, ports) = (word(&dir.path().join("socket")), dir.path().join("ports"));
    let activate = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/activate.py");
    let mut command = Command::new("python3");
    command.args([activate, &socket, &word(&ports), "torc.socket:torc.socket:tls", TORC, "--save", ""]);
    command.args(["--port", "1", "--tls-cert-file", &authority.word("server.crt")]);
    command.args(["--tls-key-file", &authority.word("server.key")]);
    command.args(["--tls-ca-cert-file", &authority.word("ca.crt")]);
    let mut server = Server::by(command, &dir, &["--workers", "2"]);
    let ports = std::fs::read_to_string(ports).expect("it was written before the start");
    let ports: Vec<u16> =
        ports.split(' ').map(|port| port.parse().unwrap_or_else(|_| panic!("{port}"))).collect();
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut tcp = Client::tcp(address(ports[0])).expect("it listens");
    assert_eq!(tcp.ask("SET k v").string(), "OK");
    assert_eq!(server.client().ask("GET k").string(), "v");
    assert!(connect(address(ports[1]), &authority.client()).is_ok(), "{}", server.log());
    assert_eq!(tcp.ask("CONFIG GET port").elements()[1].string(), ports[0].to_string());
    assert_eq!(tcp.ask("CONFIG GET bind").elements()[1].string(), "127.0.0.1");
    let info = tcp.ask("INFO server").string();
    assert!(info.contains(&format!("listener0:name=tcp,bind=127.0.0.1,port={}", ports[0])), "{info}");
    server.signal(Signal::TERM);
    assert!(server.await_exit().success());
    assert!(dir.path().join("socket").exists(), "the service manager's file is removed");
}

#[test]
fn useless_socket_of_the_service_manager_stops_the_start() {
    let dir = TempDir::new();
    let script = "import os,sys,socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nos.dup2(os.dup(s.fileno()),3)\n\
        os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()),LISTEN_FDNAMES='udp')\n\
        os.execv(sys.argv[1],sys.argv[1:])";
    let mut command = Command::new("python3");
    command.args(["-c", script, TORC, "--port", "0", "--dir", &word(dir.path())]).current_dir(dir.path());
    let output = command.output().expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("('udp')") && said.contains("ListenStream="), "{said}");
}

#[test]
fn secrets_come_from_files() {
    let dir = Arc::<TempDir>::default();
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("it can be written");
    std::fs::create_dir(path("credentials")).expect("the directory can be written");
    write("credentials/requirepass", "from the manager\n");
    write("masterauth", "of the primary");
    write("torc.conf", "port 0\nrequirepass-file requirepass\nmasterauth-file ./masterauth\n");
    let start = || {
        let mut command = Command::new(TORC);
        command.arg(path("torc.conf")).env("CREDENTIALS_DIRECTORY", path("credentials"));
        Server::by(command, &dir, &["--workers", "1"])
    };
    let server = start();
    assert!(server.client().ask("PING").string().starts_with("NOAUTH"));
    let mut client = server.client();
    assert_eq!(client.call(&["AUTH", "from the manager"]).string(), "OK");
    assert_eq!(client.ask("CONFIG GET masterauth").elements()[1].string(), "of the primary");
    // A new secret in the same file.
    write("credentials/requirepass", "another\n");
    server.signal(Signal::HUP);
    assert!(until(|| server.log().contains("Reload: requirepass is another")), "{}", server.log());
    assert_eq!(server.client().ask("AUTH another").string(), "OK");
    // No rewrite puts into the configuration what was kept out of it.
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let text = std::fs::read_to_string(path("torc.conf")).expect("it is there");
    assert!(text.contains("masterauth-file ./masterauth\n") && !text.contains("of the primary"), "{text}");
    assert!(!text.contains("another"), "{text}");
    assert_eq!(client.ask("CONFIG SET masterauth changed").string(), "OK");
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let text = std::fs::read_to_string(path("torc.conf")).expect("it is there");
    assert!(text.contains("masterauth \"changed\"\n") && !text.contains("masterauth-file"), "{text}");
    // What cannot be read, or is no secret, stops the start.
    for (content, reason) in [
        (None, "No such file"),
        (Some(""), "is empty"),
        (Some("\n"), "is empty"),
        (Some("a\nb\n"), "more than one line"),
    ] {
        std::fs::remove_file(path("secret")).unwrap_or_default();
        content.into_iter().for_each(|content| write("secret", content));
        let mut command = Command::new(TORC);
        let output =
            command.current_dir(dir.path()).args(["--port", "0", "--requirepass-file", "secret"]).output();
        let said = String::from_utf8_lossy(&output.expect("the binary was built").stderr).into_owned();
        assert!(said.contains("requirepass-file") && said.contains(reason), "{content:?}: {said}");
    }
    let output = Command::new(TORC).args(["--port-file", "secret"]).output().expect("the binary was built");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Bad directive"), "{output:?}");
}
