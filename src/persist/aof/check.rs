//! Whether an append-only file can be loaded, for `torc --check-aof`, and mending its end.
//!
//! Design: what Redis's tool looks at: the manifest and each file that it names, or a single file of any form; values of RDB data
//! are decoded, commands are only told apart. A transaction without its end is no whole command. Files are cut at their end, and
//! only where no other file follows, after somebody has agreed.
//!
//! Not here: what commands do (loading), whose errors nobody knows before.

use std::fs;
use std::path::Path;

use super::disk::{parent, truncate};
use super::manifest::Entry;
use super::reader::{Form, form};
use super::store::read_manifest;
use super::{AofError, AofReader, Next, Place};
use crate::persist::rdb::file::check as rdb;

/// How a file is checked.
pub struct Check<'a> {
    /// Whether an end that is torn or damaged is cut off.
    pub fixes: bool,
    /// Unix time in seconds: what was written later is cut off.
    pub until_s: Option<i64>,
    /// Unix time in ms: whether keys have expired.
    pub now_ms: u64,
    /// Takes a line of the report.
    pub say: &'a mut dyn FnMut(&str),
    /// Asks somebody; whether the answer is yes.
    pub ask: &'a mut dyn FnMut(&str) -> bool,
}

/// What a file of the append-only file has.
#[derive(Default)]
struct Content {
    commands: u64,
    transactions: u64,
    /// The last time that it says.
    written_s: Option<i64>,
    /// How much of it is whole.
    whole_bytes: u64,
    size: u64,
    /// Why the rest is not.
    fault: Option<String>,
    /// Where what was written after `until_s` begins.
    later: Option<u64>,
}

impl Check<'_> {
    /// Checks a manifest with the files it names, or a single file.
    ///
    /// # Errors
    /// A file cannot be read, or cannot be loaded and is not mended. What was found until then was said.
    pub fn run(&mut self, path: &Path) -> Result<(), AofError> {
        if !is_manifest(path)? {
            return self.file(path, true);
        }
        let manifest = read_manifest(path)?.ok_or_else(|| AofError::new(path, "is gone"))?;
        let (parts, history): (Vec<&Entry>, usize) = (manifest.parts().collect(), manifest.history.len());
        (self.say)(&format!("{}: {} files to load, {history} to remove", path.display(), parts.len()));
        let directory = parent(path);
        let sizes = parts.iter().map(|entry| form(&directory.join(entry.file_name())).map(|(_, size)| size));
        let sizes = sizes.collect::<Result<Vec<u64>, _>>()?;
        for (index, entry) in parts.iter().enumerate() {
            let is_last = sizes[index + 1..].iter().all(|size| *size == 0);
            self.file(&directory.join(entry.file_name()), is_last)?;
        }
        (self.say)("All files and the manifest are whole");
        Ok(())
    }

    fn file(&mut self, path: &Path, is_last: bool) -> Result<(), AofError> {
        let name = path.display();
        let (form, size) = form(path)?;
        let mut start = 0;
        if form == Form::Rdb {
            let (report, end) = rdb::check_preamble(path, self.now_ms).map_err(|error| AofError {
                path: path.to_path_buf(),
                place: Place::Offset(error.offset),
                reason: error.reason,
            })?;
            (self.say)(&format!("{name} begins with an RDB file:"));
            report.lines().for_each(|line| (self.say)(&format!("    {line}")));
            if end == size {
                return Ok(());
            }
            start = end;
        }
        let content = self.content(path, start)?;
        let Content { commands, transactions, .. } = content;
        let mut line = format!("{name}: {size} bytes, {commands} commands, {transactions} transactions");
        if let Some(written_s) = content.written_s {
            line.push_str(&format!(", last time {written_s}"));
        }
        (self.say)(&line);
        match (content.later, self.until_s) {
            (Some(offset), Some(until_s)) => return self.cut_later(path, &content, offset, until_s, is_last),
            (None, Some(until_s)) => (self.say)(&format!("{name}: nothing was written after {until_s}")),
            _ => {}
        }
        match &content.fault {
            Some(fault) => self.mend(path, &content, fault, is_last),
            None => Ok(()),
        }
    }

    /// Reads a file's commands from `start` on, up to what was written too late.
    fn content(&self, path: &Path, start: u64) -> Result<Content, AofError> {
        let mut reader = AofReader::open(path, start)?;
        let mut content = Content { whole_bytes: start, size: reader.size(), ..Content::default() };
        let mut is_in_multi = false;
        loop {
            let fault = match reader.next()? {
                Next::Command(command) => {
                    content.commands += 1;
                    let fault = match (command.is_named("MULTI"), command.is_named("EXEC")) {
                        (true, _) if is_in_multi => Some("MULTI within a transaction"),
                        (_, true) if !is_in_multi => Some("EXEC without MULTI"),
                        (is_multi, is_exec) => {
                            content.transactions += u64::from(is_exec);
                            is_in_multi = is_multi || is_in_multi && !is_exec;
                            None
                        }
                    };
                    if !is_in_multi && fault.is_none() {
                        content.whole_bytes = command.end;
                    }
                    fault.map(|fault| format!("{fault}, at offset {}", command.offset))
                }
                Next::Annotation(line) => {
                    match (line.timestamp_s(), self.until_s) {
                        (Some(Ok(written_s)), Some(until_s)) if written_s > until_s => {
                            // Rather all of a transaction than a part.
                            let offset = if is_in_multi { content.whole_bytes } else { line.offset };
                            content.later = Some(offset);
                            return Ok(content);
                        }
                        (Some(Ok(written_s)), _) => content.written_s = Some(written_s),
                        (Some(Err(reason)), Some(_)) => {
                            let place = Place::Offset(line.offset);
                            return Err(AofError {
                                path: path.to_path_buf(),
                                place,
                                reason: reason.to_owned(),
                            });
                        }
                        _ => {}
                    }
                    if !is_in_multi {
                        content.whole_bytes = line.end;
                    }
                    None
                }
                Next::End { .. } if is_in_multi => Some("the file ends in a transaction".to_owned()),
                Next::End { .. } => return Ok(content),
                Next::Torn { reason, .. } | Next::Damaged { reason, .. } => Some(reason),
            };
            if fault.is_some() {
                content.fault = fault;
                return Ok(content);
            }
        }
    }

    /// Cuts off what was written after `until_s`, which begins at `offset`.
    fn cut_later(
        &mut self,
        path: &Path,
        content: &Content,
        offset: u64,
        until_s: i64,
        is_last: bool,
    ) -> Result<(), AofError> {
        if offset == 0 {
            return Err(AofError::new(path, format!("has nothing that was written up to {until_s}")));
        }
        if !is_last {
            let reason = format!(
                "was written after {until_s} from offset {offset} on, and other files follow: \
                remove them, and their lines of the manifest, and try again"
            );
            return Err(AofError::new(path, reason));
        }
        truncate(path, offset)?;
        let (name, size) = (path.display(), content.size);
        (self.say)(&format!("{name}: cut from {size} to {offset} bytes, what was written up to {until_s}"));
        Ok(())
    }

    /// Cuts off what is not whole, if that is wanted.
    fn mend(&mut self, path: &Path, content: &Content, fault: &str, is_last: bool) -> Result<(), AofError> {
        let Content { whole_bytes, size, .. } = *content;
        let bad = |reason: String| AofError {
            path: path.to_path_buf(),
            place: Place::Offset(whole_bytes),
            reason: format!("{fault}: {reason}"),
        };
        let lost = size - whole_bytes;
        if !self.fixes {
            return Err(bad(format!("--fix cuts off the last {lost} bytes")));
        }
        if !is_last {
            return Err(bad("it is not mended, since other files follow".to_owned()));
        }
        (self.say)(&bad(format!("{lost} of {size} bytes are to be cut off")).to_string());
        if !(self.ask)("Continue? [y/N]: ") {
            return Err(bad("nothing was changed".to_owned()));
        }
        truncate(path, whole_bytes)?;
        (self.say)(&format!("{}: cut from {size} to {whole_bytes} bytes", path.display()));
        Ok(())
    }
}

/// Whether a file's first line that is no comment begins as a manifest's does.
fn is_manifest(path: &Path) -> Result<bool, AofError> {
    use std::io::{BufRead as _, BufReader, Read as _};

    /// Where a file has so many bytes of comments, it is told by its commands.
    const BYTES_MAX: u64 = 64 << 10;
    let file = fs::File::open(path).map_err(|error| AofError::io(path, "opened", &error))?;
    let mut lines = BufReader::new(file.take(BYTES_MAX)).split(b'\n');
    let line = lines.find(|line| !line.as_ref().is_ok_and(|line| line.starts_with(b"#"))).transpose();
    let line = line.map_err(|error| AofError::io(path, "read", &error))?;
    Ok(line.is_some_and(|line| line.starts_with(b"file")))
}

#[cfg(test)]
mod tests;
