//! A server that is fuzzed over its socket: another process, started once, the program that `TORC` names.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Server {
    child: Child,
    path: PathBuf,
}

impl Server {
    /// Started for the target of this name; what it saves goes to a directory of its own.
    pub fn start(name: &str, args: &[&str]) -> Self {
        let program = std::env::var_os("TORC").expect("TORC names the server's binary");
        let path = std::env::temp_dir().join(format!("torc-fuzz-{name}-{}", std::process::id()));
        let data = path.with_extension("data");
        std::fs::create_dir_all(&data).expect("the directory for temporary files can be written");
        // The fuzzer ends without warning, and the server with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .args(["--port", "0"])
            .args(args)
            .arg("--unixsocket")
            .arg(&path)
            .arg("--dir")
            .arg(&data)
            .spawn()
            .expect("the server can be started");
        while UnixStream::connect(&path).is_err() {
            std::thread::yield_now();
        }
        Self { child, path }
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).expect("the server takes connections");
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).expect("the timeout is not zero");
        stream
    }

    /// Reads replies up to this one. It fails, with `what` was sent, where none comes.
    pub fn read_to(&mut self, stream: &mut UnixStream, last: &[u8], what: &dyn std::fmt::Debug) {
        let (mut replies, mut some) = (Vec::new(), vec![0; 1 << 16]);
        while !replies.ends_with(last) {
            let read = stream.read(&mut some);
            let length = *read.as_ref().unwrap_or(&0);
            let status = self.child.try_wait().expect("it is a child");
            assert!(length > 0, "no reply to {what:?}: {read:?}, the server: {status:?}");
            replies.extend_from_slice(&some[..length]);
        }
    }
}
