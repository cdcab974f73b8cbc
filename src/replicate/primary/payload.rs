//! What of a snapshot goes to replicas: an RDB file, as it is made or once it is made.
//!
//! ```text
//! as it is made     $EOF:<40 characters> CR LF, the file, the same 40 characters
//! once it is made   $<length> CR LF, the file
//! ```
//!
//! Design: the version stands in the file's first bytes, which are gone before its end is known: whoever cuts the snapshot says
//! which can hold all. A replica that knows no mark gets the file from the disk, where it has no name.
//!
//! Costs: blocks are shared by all replicas that get the snapshot.
//! Not here: the file's records (`persist::rdb`), the way to a worker (`transfer`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Replica, Transfer};
use crate::persist::rdb::crc64;
use crate::persist::rdb::encode::Sink;
use crate::persist::rdb::file::save::{NewFile, Options};
use crate::persist::rdb::file::write::{Encoder, header};
use crate::persist::rdb_target::RdbOutput;
use crate::store::snapshot::Snapshot;
use crate::threads::park_timeout;

/// Bytes of a block.
const BLOCK_BYTES: usize = 128 << 10;
/// How long the thread waits for room at most before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(20);

/// The replicas that a snapshot is for, from the thread's side.
struct Receivers {
    replicas: Vec<Arc<Replica>>,
    snapshot: Option<Arc<Snapshot>>,
    sent: u64,
    is_whole: bool,
}

impl Receivers {
    fn new(replicas: Vec<Arc<Replica>>) -> Self {
        Self { replicas, snapshot: None, sent: 0, is_whole: false }
    }

    fn transfers(&self) -> impl Iterator<Item = &Arc<Transfer>> {
        self.replicas.iter().filter_map(|replica| replica.transfer())
    }

    /// Whether nobody wants any more of it.
    fn is_over(&self) -> bool {
        self.transfers().all(|transfer| transfer.is_given_up())
            || self.snapshot.as_ref().is_some_and(|snapshot| snapshot.is_over())
    }

    /// A block for all of them; waits until the slowest has room for the next.
    fn push(&mut self, block: Vec<u8>) {
        let block = Bytes::from(block);
        self.sent += block.len() as u64;
        self.transfers().for_each(|transfer| transfer.push(block.clone()));
        while !self.transfers().all(|transfer| transfer.has_room()) && !self.is_over() {
            park_timeout(WAIT);
        }
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.transfers().for_each(|transfer| transfer.end(self.is_whole));
    }
}

/// A snapshot that is sent as it is made.
pub struct SocketOutput {
    receivers: Receivers,
    mark: [u8; 40],
    sum: u64,
    checksum: bool,
    /// What the file says, and can hold.
    version: u16,
    is_at_begin: bool,
}

impl SocketOutput {
    /// To these replicas, with `mark` at its end.
    pub fn new(replicas: Vec<Arc<Replica>>, mark: [u8; 40], checksum: bool, version: u16) -> Box<Self> {
        Box::new(Self {
            receivers: Receivers::new(replicas),
            mark,
            sum: 0,
            checksum,
            version,
            is_at_begin: true,
        })
    }
}

impl Sink for SocketOutput {
    fn take(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() || self.has_failed() {
            return out.clear();
        }
        if self.is_at_begin {
            self.is_at_begin = false;
            let header = header(self.version);
            out[..header.len()].copy_from_slice(&header);
        }
        if self.checksum {
            self.sum = crc64::sum(self.sum, out);
        }
        self.receivers.push(std::mem::replace(out, Vec::with_capacity(BLOCK_BYTES)));
    }
}

impl RdbOutput for SocketOutput {
    fn watch(&mut self, snapshot: &Arc<Snapshot>) {
        self.receivers.snapshot = Some(Arc::clone(snapshot));
    }

    fn begin(&mut self) -> Result<(), String> {
        let mut header = b"$EOF:".to_vec();
        header.extend_from_slice(&self.mark);
        header.extend_from_slice(b"\r\n");
        self.receivers.push(header);
        Ok(())
    }

    fn take_if_large(&mut self, out: &mut Vec<u8>) {
        if out.len() >= BLOCK_BYTES {
            self.take(out);
        }
    }

    fn has_failed(&self) -> bool {
        self.receivers.is_over()
    }

    fn written(&self) -> u64 {
        self.receivers.sent
    }

    fn finish(mut self: Box<Self>, out: &mut Vec<u8>, encoder: &mut Encoder) -> Result<(), String> {
        encoder.end(out);
        self.take(out);
        if self.has_failed() {
            return Err("no replica waits for it any more".to_owned());
        }
        if encoder.version() > self.version {
            let (needed, told) = (encoder.version(), self.version);
            return Err(format!(
                "it holds what needs version {needed} of the format, and version {told} was told"
            ));
        }
        let mut end = self.sum.to_le_bytes().to_vec();
        end.extend_from_slice(&self.mark);
        self.receivers.push(end);
        self.receivers.is_whole = true;
        Ok(())
    }
}

/// A snapshot that becomes a file first.
pub struct FileOutput {
    receivers: Receivers,
    file: Option<NewFile>,
    path: PathBuf,
    options: Options,
}

impl FileOutput {
    /// To these replicas, by a file of this path.
    pub fn new(replicas: Vec<Arc<Replica>>, path: PathBuf, options: Options) -> Box<Self> {
        Box::new(Self { receivers: Receivers::new(replicas), file: None, path, options })
    }
}

impl Sink for FileOutput {
    fn take(&mut self, out: &mut Vec<u8>) {
        if let Some(file) = &mut self.file {
            file.take(out);
        }
    }
}

impl RdbOutput for FileOutput {
    fn watch(&mut self, snapshot: &Arc<Snapshot>) {
        self.receivers.snapshot = Some(Arc::clone(snapshot));
    }

    fn begin(&mut self) -> Result<(), String> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        self.file = Some(NewFile::create(directory, self.options).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn take_if_large(&mut self, out: &mut Vec<u8>) {
        if let Some(file) = &mut self.file {
            file.take_if_large(out);
        }
    }

    fn has_failed(&self) -> bool {
        self.file.as_ref().is_some_and(NewFile::has_failed) || self.receivers.is_over()
    }

    fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, NewFile::written)
    }

    fn finish(self: Box<Self>, out: &mut Vec<u8>, encoder: &mut Encoder) -> Result<(), String> {
        let Self { mut receivers, file, path, .. } = *self;
        let file = file.expect("it was begun");
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        file.finish(out, encoder, &name).map_err(|error| error.to_string())?;
        send_file(&mut receivers, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        receivers.is_whole = true;
        Ok(())
    }
}

/// Sends a file, which has no name any more when this returns.
fn send_file(receivers: &mut Receivers, path: &Path) -> io::Result<()> {
    let file = File::open(path);
    std::fs::remove_file(path)?;
    let mut file = file?;
    let mut left = file.metadata()?.len();
    receivers.push(format!("${left}\r\n").into_bytes());
    while left > 0 {
        let mut block = vec![0; BLOCK_BYTES.min(usize::try_from(left).unwrap_or(BLOCK_BYTES))];
        file.read_exact(&mut block)?;
        left -= block.len() as u64;
        receivers.push(block);
        if receivers.is_over() {
            return Err(io::Error::other("no replica waits for it any more"));
        }
    }
    Ok(())
}
