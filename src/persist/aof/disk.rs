//! Changes to a directory, one function a step, each of which says which file it failed on.
//!
//! Design: a file's bytes and its name are made durable apart: bytes by syncing the file, names by syncing the directory. Whoever
//! calls orders the steps so that a crash between any two of them leaves a directory that can be loaded; the unit tests of
//! `store` look at the directory after every step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use super::AofError;

/// What a step did to a file, for tests that look at the directory behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskOp {
    Created,
    Wrote,
    Synced,
    Renamed,
    Removed,
}

#[cfg(not(test))]
fn did(_: DiskOp, _: &Path) {}

#[cfg(test)]
fn did(step: DiskOp, path: &Path) {
    super::store::tests::observe(step, path);
}

/// Makes a directory, durably, unless it is there.
pub(super) fn create_directory(path: &Path) -> Result<(), AofError> {
    match fs::create_dir(path) {
        Ok(()) => {
            did(DiskOp::Created, path);
            sync_directory(parent(path))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(AofError::io(path, "made", &error)),
    }
}

/// Writes a whole file anew, and has it on disk under this name as far as its bytes are concerned.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), AofError> {
    let mut file = File::create(path).map_err(|error| AofError::io(path, "opened", &error))?;
    did(DiskOp::Created, path);
    file.write_all(bytes).map_err(|error| AofError::io(path, "written", &error))?;
    did(DiskOp::Wrote, path);
    file.sync_all().map_err(|error| AofError::io(path, "synced", &error))?;
    did(DiskOp::Synced, path);
    Ok(())
}

/// Has the bytes of a file on disk, whoever wrote them.
pub(super) fn sync(path: &Path) -> Result<(), AofError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| AofError::io(path, "synced", &error))?;
    did(DiskOp::Synced, path);
    Ok(())
}

/// Gives a file another name, in place of the file that has it.
pub(super) fn rename(source: &Path, target: &Path) -> Result<(), AofError> {
    fs::rename(source, target)
        .map_err(|error| AofError::io(source, &format!("renamed to {}", target.display()), &error))?;
    did(DiskOp::Renamed, target);
    Ok(())
}

/// Has the names of a directory on disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), AofError> {
    sync(path)
}

/// Removes a file; that it is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), AofError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(|error| AofError::io(path, "removed", &error))?,
    }
    did(DiskOp::Removed, path);
    Ok(())
}

/// A file that is there, or an empty one; opened to be appended to. `is_new`: whatever it holds is dropped.
pub(super) fn open_to_append(path: &Path, is_new: bool) -> Result<File, AofError> {
    let failed = |error: io::Error| AofError::io(path, "opened", &error);
    let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    if is_new {
        file.set_len(0).map_err(|error| AofError::io(path, "emptied", &error))?;
    }
    did(DiskOp::Created, path);
    Ok(file)
}

/// Cuts a file to its first `bytes` bytes, durably: what a load found to be whole of a torn file.
///
/// # Errors
/// It cannot be opened, cut or synced.
pub fn truncate(path: &Path, bytes: u64) -> Result<(), AofError> {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.map_err(|error| AofError::io(path, "opened", &error))?;
    let cut = file.set_len(bytes).and_then(|()| file.sync_all());
    cut.map_err(|error| AofError::io(path, "truncated", &error))
}

/// The directory that holds a path.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
