//! A disk that forgets when the power goes: for tests and simulations.
//!
//! Design: it remembers what was written and how much of that was synced. When the power goes, what was synced stays; of what
//! follows, the file's length is anything up to what was written, and each sector is there or is zeros, in whatever order. A
//! sync may fail, and has then kept nothing; a write may be short, or interrupted.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::file::Disk;

const SECTOR_BYTES: usize = 512;

/// Random numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// Less than `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// What is on the way to a disk.
struct Platter {
    written: Vec<u8>,
    synced: usize,
    random: Random,
    /// One of so many syncs fails; 0: none.
    fails_one_in: usize,
    /// It says that it has kept what it has not: a disk whose lies a test is to find.
    lies: bool,
    /// The power is gone: what comes now is in vain.
    is_off: bool,
}

/// A file's disk, which whoever cuts the power has a handle of, too.
#[derive(Clone)]
pub struct PoweredDisk(Arc<Mutex<Platter>>);

impl PoweredDisk {
    /// One that has kept these bytes; what goes wrong follows from the seed.
    pub fn new(seed: u64, written: Vec<u8>) -> Self {
        let (synced, random) = (written.len(), Random(seed));
        let platter = Platter { written, synced, random, fails_one_in: 50, lies: false, is_off: false };
        Self(Arc::new(Mutex::new(platter)))
    }

    /// One of so many syncs fails; 0: none.
    pub fn fail_one_in(&self, syncs: usize) {
        self.lock().fails_one_in = syncs;
    }

    /// From now on syncs keep nothing, and say that they do.
    pub fn lie(&self) {
        self.lock().lies = true;
    }

    /// The power is gone: what comes now is in vain.
    pub fn cut_off(&self) {
        self.lock().is_off = true;
    }

    /// Bytes that were written, and how many of them are kept for certain.
    pub fn sizes(&self) -> (usize, usize) {
        let platter = self.lock();
        (platter.written.len(), platter.synced)
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power; what is found when it is back.
    pub fn cut(&self) -> Vec<u8> {
        let platter = &mut *self.lock();
        platter.is_off = true;
        let (synced, written) = (platter.synced, platter.written.len());
        let mut image = platter.written[..synced + platter.random.below(written - synced + 1)].to_vec();
        let first = synced - synced % SECTOR_BYTES;
        for start in (first..image.len()).step_by(SECTOR_BYTES) {
            if platter.random.below(2) == 0 {
                let end = (start + SECTOR_BYTES).min(image.len());
                image[start.max(synced)..end].fill(0);
            }
        }
        image
    }
}

impl Disk for PoweredDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let platter = &mut *self.lock();
        let count =
            if platter.random.below(3) == 0 { 1 + platter.random.below(bytes.len()) } else { bytes.len() };
        match platter.random.below(40) {
            0 if !platter.is_off => Err(io::ErrorKind::Interrupted.into()),
            _ => {
                platter.written.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.lock().written.truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let upto = self.lock().written.len();
        // The power may go in the middle of it, as others run meanwhile.
        std::thread::yield_now();
        let platter = &mut *self.lock();
        if !platter.is_off {
            if platter.fails_one_in > 0 && platter.random.below(platter.fails_one_in) == 0 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            platter.synced = if platter.lies { platter.synced } else { upto };
        }
        Ok(())
    }
}
