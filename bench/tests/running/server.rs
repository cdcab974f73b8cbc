//! A server of a test's own, and the program that is tested.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bench::address::Address;

/// How long a server may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

/// The server's program.
pub fn torc() -> &'static Path {
    static TORC: OnceLock<PathBuf> = OnceLock::new();
    TORC.get_or_init(|| std::env::var_os("TORC_BIN").map_or_else(build, PathBuf::from))
}

/// Builds the server in the profile of these tests, beside them.
fn build() -> PathBuf {
    let dir = Path::new(env!("CARGO_BIN_EXE_bench")).parent().expect("a program lies in a directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "torc", "--bin", "torc", "--target-dir"]);
    command.arg(dir.parent().expect("a profile's directory lies in the target directory"));
    if dir.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be run");
    assert!(status.success(), "the server cannot be built");
    dir.join("torc")
}

/// Torc on a Unix socket, killed when dropped.
pub struct Server {
    child: Child,
    pub dir: PathBuf,
}

impl Server {
    pub fn start() -> Server {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("bench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the directory for temporary files can be written");
        let child = Command::new(torc())
            .args(["--port", "0", "--workers", "1", "--save", "", "--unixsocket"])
            .arg(dir.join("s"))
            .current_dir(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server can be run");
        let server = Server { child, dir };
        let end = Instant::now() + PATIENCE;
        while !Address::Unix(server.socket())
            .ask("PING", None)
            .is_ok_and(|answer| answer.starts_with(b"+PONG"))
        {
            assert!(Instant::now() < end, "the server does not answer");
            std::thread::sleep(POLL);
        }
        server
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    pub fn address(&self) -> Address {
        Address::Unix(self.socket())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `bench load` on this server.
    pub fn load(&self, args: &[&str]) -> Output {
        let mut command = bench();
        command.arg("load").args(args).arg(self.socket());
        command.output().expect("the program can be run")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and what cannot be removed is left to the system.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        std::fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}

pub fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bench"))
}

/// What a run printed; fails the test if the run failed.
#[track_caller]
pub fn printed(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// What a run complained of; fails the test if it did not.
#[track_caller]
pub fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The number before this word.
#[track_caller]
pub fn before(text: &str, word: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|found| *found == word).filter(|at| *at > 0);
    let number = at.and_then(|at| words[at - 1].parse().ok());
    number.unwrap_or_else(|| panic!("no number before {word} in {text}"))
}
