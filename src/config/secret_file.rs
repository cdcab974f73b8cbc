//! Secrets that stand in a file of their own: `requirepass-file PATH` for `requirepass`, and so for each directive
//! whose value is a secret.
//!
//! Design: the name of a secret's directive with `-file` behind it. So a configuration can be shown and kept under
//! version control, and a service manager can hand the secret over: a name without a slash is looked for in
//! `$CREDENTIALS_DIRECTORY` where that is set, which is where `LoadCredential=` of systemd puts it. An `include` would
//! do the same with less said: a file that holds only the secret is what such managers, and those of containers, hand
//! over; it needs no quoting, and cannot change anything else.
//!
//! An empty file is refused: it would mean that no password is asked for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::domain::{Reason, os_reason};
use super::table::{Directive, Flags, lookup};

/// The most bytes that such a file may have.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// What stands behind the directive's name.
const SUFFIX: &str = "-file";
/// Names the directory of secrets that the service manager hands over.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The directive whose value stands in a file, if that is what this name says.
pub(super) fn directive_of(name: &[u8]) -> Option<&'static Directive> {
    let at = name.len().checked_sub(SUFFIX.len())?;
    let (base, suffix) = name.split_at(at);
    let directive = suffix.eq_ignore_ascii_case(SUFFIX.as_bytes()).then(|| lookup(base))??;
    directive.flags.has(Flags::SENSITIVE).then_some(directive)
}

/// What the file holds, but for the end of its line. A relative name is one of `directory`, or of the service manager's secrets.
pub(super) fn read(named: &[u8], directory: &Path) -> Result<Vec<u8>, Reason> {
    let path = place(Path::new(OsStr::from_bytes(named)), directory);
    let why = |what: &str| -> Reason { format!("{}: {what}", path.display()).into() };
    let mut text = Vec::new();
    let file = File::open(&path).map_err(|error| why(&os_reason(&error)))?;
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| why(&os_reason(&error)))?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(why("is too large for a secret"));
    }
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(why("is empty"));
    }
    if line.contains(&b'\n') {
        return Err(why("has more than one line"));
    }
    Ok(line.to_vec())
}

fn place(named: &Path, directory: &Path) -> PathBuf {
    let handed_over = std::env::var_os(CREDENTIALS_DIRECTORY).filter(|_| named.components().count() == 1);
    match handed_over {
        Some(secrets) if named.is_relative() => Path::new(&secrets).join(named),
        _ => directory.join(named),
    }
}
