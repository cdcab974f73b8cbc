//! A server started for a comparison, in a directory of its own, and killed when dropped.
//!
//! Design: no shell and no helper program stands in between, so the child's process is the server's, whose CPU time and
//! memory are read. The child inherits the affinity that the starting thread has for a moment.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::address::Address;
use crate::{Fatal, fatal, process};

/// How long a server may take to answer its first PING.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is asked.
const START_POLL: Duration = Duration::from_millis(5);
/// Stands for the port in a command.
const PORT: &str = "{port}";
/// How much of a log is shown, in lines.
const LOG_LINES: usize = 5;

/// A server to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name in the tables.
    pub name: String,
    /// The words of its command, `{port}` among them. It must stay in the foreground.
    pub command: Vec<String>,
}

impl ServerSpec {
    /// Reads `NAME=COMMAND`. Quotes of both kinds keep words together; nothing else is special.
    pub fn parse(text: &str) -> Result<ServerSpec, Fatal> {
        let (name, command) = text.split_once('=').unwrap_or_default();
        let command = split_words(command)?;
        if name.is_empty() || !command.iter().any(|word| word.contains(PORT)) {
            return fatal(format!("'{text}' is not of the form NAME='COMMAND with {PORT}'"));
        }
        Ok(ServerSpec { name: name.to_owned(), command })
    }
}

fn split_words(text: &str) -> Result<Vec<String>, Fatal> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in text.chars() {
        match (quote, letter) {
            (None, ' ') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == letter => quote = None,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    if quote.is_some() { fatal(format!("'{text}': a quote is not closed")) } else { Ok(words) }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    dir: PathBuf,
    address: Address,
}

impl Server {
    /// Starts a server on a free port, pinned, and waits until it answers; over TLS, if it is said how.
    pub fn start(
        spec: &ServerSpec,
        cpus: &[usize],
        over: Option<&Arc<ClientConfig>>,
    ) -> Result<Server, Fatal> {
        let failed = |error: std::io::Error| Fatal(format!("{}: cannot start it: {error}", spec.name));
        let dir = fresh_dir().map_err(failed)?;
        let spawned = free_port().and_then(|port| Ok((port, spawn(spec, port, &dir, cpus)?)));
        let (port, child) = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                remove(&dir);
                return Err(failed(error));
            }
        };
        let mut server = Server { name: spec.name.clone(), child, dir, address: Address::local(port) };
        server.await_answer(over)?;
        Ok(server)
    }

    /// Its name in the tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn await_answer(&mut self, over: Option<&Arc<ClientConfig>>) -> Result<(), Fatal> {
        let end = Instant::now() + START_TIMEOUT;
        // A server may refuse while it loads.
        while !self.address.ask("PING", over).is_ok_and(|answer| answer.starts_with(b"+PONG")) {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > end {
                let why = ended.map_or("does not answer".to_owned(), |status| format!("ended ({status})"));
                return fatal(format!("{} {why}; it said:\n{}", self.name, log_tail(&self.dir)));
            }
            std::thread::sleep(START_POLL);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        remove(&self.dir);
    }
}

fn spawn(spec: &ServerSpec, port: u16, dir: &Path, cpus: &[usize]) -> std::io::Result<Child> {
    let words: Vec<String> = spec.command.iter().map(|word| word.replace(PORT, &port.to_string())).collect();
    // The server runs elsewhere, so a path must not depend on where that is.
    let program = match words[0].contains('/') {
        true => fs::canonicalize(&words[0])?,
        false => PathBuf::from(&words[0]),
    };
    let log = File::create(log_path(dir))?;
    let mut command = Command::new(program);
    command.args(&words[1..]).current_dir(dir).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    process::pinned(cpus, || command.spawn())?
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("bench.log")
}

fn log_tail(dir: &Path) -> String {
    let log = fs::read(log_path(dir)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// A port that nobody listens on right now.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn fresh_dir() -> std::io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("torc-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn remove(dir: &Path) {
    // What cannot be removed is left to the system.
    fs::remove_dir_all(dir).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read() {
        let spec = ServerSpec::parse("redis=redis-server --port {port} --save '' --x \"a b\"c");
        let spec = spec.expect("it is valid");
        assert_eq!(spec.name, "redis");
        assert_eq!(spec.command, ["redis-server", "--port", "{port}", "--save", "", "--x", "a bc"]);
        for text in ["", "redis", "=x {port}", "a=b", "a=b {port} 'c"] {
            assert!(ServerSpec::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_server_that_ends_is_named() {
        let spec = ServerSpec::parse("broken=cat /nothing/{port}").expect("it is valid");
        let error = Server::start(&spec, &[], None).expect_err("it ends at once");
        assert!(error.0.contains("broken ended"), "{error}");
        assert!(error.0.contains("/nothing/"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let spec = ServerSpec::parse("gone=/nothing/at/all {port}").expect("it is valid");
        let error = Server::start(&spec, &[], None).expect_err("there is no such program");
        assert!(error.0.starts_with("gone: cannot start it"), "{error}");
    }
}
