//! Traces of caches, replayed from a file: who asked for what, with which size and life.
//!
//! Design: lines are read while they are replayed, in blocks that threads take in turn, so a trace may be larger than memory;
//! within a thread requests keep their order, between threads they may overtake each other. A trace that ends begins again.
//! Forms are told apart by their number of fields: that of Twitter's clusters (`timestamp,key,key size,value size,client
//! id,operation,TTL`), and plain `op,key` or `op,key,size`. A first line that names columns is passed over.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::path::Path;
use std::sync::Mutex;

use crate::values::{VALUE_BYTES_MAX, write_value};
use crate::{Fatal, fatal};

/// Lines that a thread takes at once.
const LINES: usize = 256;
/// The value of a request whose line says no size.
const BYTES: usize = 64;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    op: Op,
    key: &'a str,
    bytes: usize,
    ttl: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Get,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Delete,
    Increment,
    Decrement,
}

impl Op {
    fn named(name: &str) -> Option<Op> {
        Some(match name.to_ascii_lowercase().as_str() {
            "get" | "gets" | "read" => Op::Get,
            "set" | "cas" | "write" | "put" => Op::Set,
            "add" => Op::Add,
            "replace" => Op::Replace,
            "append" => Op::Append,
            "prepend" => Op::Prepend,
            "delete" | "del" => Op::Delete,
            "incr" => Op::Increment,
            "decr" => Op::Decrement,
            _ => return None,
        })
    }
}

impl<'a> Request<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// What of it is wrong.
    pub fn parse(line: &'a str) -> Result<Request<'a>, String> {
        let fields: Vec<&str> = line.trim_end().split(',').map(str::trim).collect();
        let number =
            |what: &str, text: &str| text.parse::<u64>().map_err(|_| format!("'{text}' is no {what}"));
        let (op, key, bytes, ttl) = match fields[..] {
            [op, key] => (op, key, BYTES as u64, 0),
            [op, key, bytes] => (op, key, number("size", bytes)?, 0),
            [_, key, _, bytes, _, op, ttl] => (op, key, number("size", bytes)?, number("TTL", ttl)?),
            _ => return Err(format!("{} fields; there are 2, 3 or 7", fields.len())),
        };
        let op = Op::named(op).ok_or_else(|| format!("'{op}' is no operation of a cache"))?;
        if key.is_empty() || bytes > VALUE_BYTES_MAX as u64 {
            return Err("no key, or a value that is too large".into());
        }
        Ok(Request { op, key, bytes: bytes as usize, ttl })
    }

    /// Appends the command.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Request { op, key, bytes, ttl } = self;
        let value = match op {
            Op::Set | Op::Add | Op::Replace | Op::Append | Op::Prepend => Some(*bytes),
            _ => None,
        };
        let command = match op {
            Op::Get => "GET",
            Op::Set | Op::Add | Op::Replace => "SET",
            // There is no command that puts something before a value: this has the same cost.
            Op::Append | Op::Prepend => "APPEND",
            Op::Delete => "DEL",
            Op::Increment => "INCR",
            Op::Decrement => "DECR",
        };
        let condition = match op {
            Op::Add => Some("NX"),
            Op::Replace => Some("XX"),
            _ => None,
        };
        let ttl = Some(ttl.to_string()).filter(|_| *ttl > 0 && command == "SET");
        let words = 2
            + usize::from(value.is_some())
            + usize::from(condition.is_some())
            + 2 * usize::from(ttl.is_some());
        out.extend_from_slice(format!("*{words}\r\n").as_bytes());
        let mut word =
            |word: &str| out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        word(command);
        word(key);
        if let Some(bytes) = value {
            out.extend_from_slice(format!("${bytes}\r\n").as_bytes());
            write_value(out, key.len() as u64, bytes);
            out.extend_from_slice(b"\r\n");
        }
        let mut word =
            |word: &str| out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        condition.map(&mut word);
        if let Some(ttl) = ttl {
            word("EX");
            word(&ttl);
        }
    }
}

/// A trace that is being replayed.
#[derive(Debug)]
pub struct Trace(Mutex<Reader>);

#[derive(Debug)]
struct Reader {
    name: String,
    lines: BufReader<File>,
    /// How many lines were read.
    line: u64,
    /// What the file could not give.
    failed: Option<Fatal>,
}

impl Trace {
    /// Opens a file and looks at its first lines.
    pub fn open(path: &Path) -> Result<Trace, Fatal> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Fatal(format!("cannot read {name}: {error}")))?;
        let mut reader = Reader { name, lines: BufReader::new(file), line: 0, failed: None };
        let mut first = Vec::new();
        reader.block(&mut first)?;
        if first.is_empty() {
            return fatal(format!("{}: there is no request in it", reader.name));
        }
        reader.rewind()?;
        Ok(Trace(Mutex::new(reader)))
    }

    /// Some lines, from the beginning again after the last; none if the file failed, which `failure` tells.
    pub fn take(&self) -> Vec<String> {
        let mut reader = self.0.lock().expect("no thread panics");
        let mut lines = Vec::new();
        let outcome = reader.block(&mut lines).and_then(|()| match lines.is_empty() {
            true => reader.rewind().and_then(|()| reader.block(&mut lines)),
            false => Ok(()),
        });
        if let Err(error) = outcome {
            reader.failed = Some(error);
            lines.clear();
        }
        lines.reverse();
        lines
    }

    /// Why there are no more lines.
    pub fn failure(&self) -> Fatal {
        let reader = self.0.lock().expect("no thread panics");
        reader.failed.clone().unwrap_or_else(|| Fatal(format!("{} has become empty", reader.name)))
    }
}

impl Reader {
    fn block(&mut self, lines: &mut Vec<String>) -> Result<(), Fatal> {
        while lines.len() < LINES {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            let read = read.map_err(|error| Fatal(format!("cannot read {}: {error}", self.name)))?;
            if read == 0 {
                break;
            }
            self.line += 1;
            match Request::parse(&line) {
                Ok(_) => lines.push(line),
                Err(_) if line.trim().is_empty() || self.line == 1 => {}
                Err(error) => return fatal(format!("{}, line {}: {error}", self.name, self.line)),
            }
        }
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), Fatal> {
        self.line = 0;
        self.lines.rewind().map_err(|error| Fatal(format!("cannot read {} again: {error}", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let mut out = Vec::new();
        Request::parse(line).expect("it is a request").write(&mut out);
        let text = String::from_utf8(out).expect("it is text");
        text.split("\r\n").filter(|word| !word.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn both_forms_become_commands() {
        assert_eq!(written("0,nz:u:eeW511W3dcH3de3d15ec,22,304,0,get,0\n"), "GET nz:u:eeW511W3dcH3de3d15ec ");
        assert_eq!(written("9,ab,2,3,7,set,60"), "SET ab 000 EX 60 ");
        assert_eq!(written("9,ab,2,3,7,add,0"), "SET ab 000 NX ");
        assert_eq!(written("9,ab,2,3,7,replace,5"), "SET ab 000 XX EX 5 ");
        assert_eq!(written("get, k"), "GET k ");
        assert_eq!(written("SET,k,2"), "SET k 00 ");
        assert_eq!(written("delete,k,0"), "DEL k ");
    }

    #[test]
    fn lines_are_given_over_and_over_and_mistakes_named() {
        let path = std::env::temp_dir().join(format!("bench-trace-{}", std::process::id()));
        std::fs::write(&path, "op,key,size\nget,a,1\n\nset,b,2\n").expect("it can be written");
        let trace = Trace::open(&path).expect("it is a trace");
        for _ in 0..3 {
            // From the last to the first.
            assert_eq!(trace.take(), ["set,b,2\n", "get,a,1\n"]);
        }
        std::fs::write(&path, "get,a,1\nfly,b,2\n").expect("it can be written");
        let error = Trace::open(&path).expect_err("it is none");
        assert!(error.0.ends_with("line 2: 'fly' is no operation of a cache"), "{error}");
        std::fs::write(&path, "\n").expect("it can be written");
        assert!(Trace::open(&path).is_err());
        std::fs::remove_file(&path).expect("it is there");
        assert!(Trace::open(&path).is_err_and(|error| error.0.starts_with("cannot read ")));
    }

    proptest::proptest! {
        #[test]
        fn no_line_breaks_it(line in "[a-z0-9, -]{0,40}") {
            if let Some(request) = Request::parse(&line).ok().filter(|request| request.bytes < 1 << 16) {
                let mut out = Vec::new();
                request.write(&mut out);
                let whole = crate::reply::parse(&out).expect("it is RESP");
                proptest::prop_assert_eq!(whole.map(|(_, length)| length), Some(out.len()));
            }
        }
    }
}
