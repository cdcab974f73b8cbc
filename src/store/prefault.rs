//! The prefault thread: it gets memory from the system before workers need it, and gives it back when they do not.
//!
//! Design: both take the kernel from half a millisecond to several for 2 MiB, and hundreds for a large dataset; in a worker
//! that would be a pause of all its clients. So workers only say what they want, which wakes the thread. On a virtual machine
//! whose host has to find the memory first, one chunk takes up to 6 ms of kernel time, in which whatever ran on that processor
//! does not: so the thread keeps to processors without a worker. Where there is none it asks not to interrupt a worker when
//! it is woken. A lower weight would be worse: starved, it leaves the touching to the worker, and holds the lock on the
//! address space the longer.
//!
//! Invariants: nobody waits for the prefault thread; without it memory is mapped when it is asked for, and stays.
//!
//! Not here: the chunks kept ready (`chunk_memory`), what is free (`pool`, `allocator`), when to give back (`worker::reclaim`).
#![expect(unsafe_code, reason = "chooses how its thread is scheduled")]

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::thread::Thread;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::pool::POOL;
use super::{allocator, chunk_memory, mapping};

static PREFAULT_THREAD: OnceLock<Thread> = OnceLock::new();
static PURGE_WANTED: AtomicBool = AtomicBool::new(false);

/// Starts the thread. `cpus` are those that no worker is pinned to.
pub fn start(cpus: &[usize]) -> std::io::Result<()> {
    let mask = mask_of(cpus);
    let prefault = std::thread::Builder::new().name("torc-memory".to_owned()).spawn(move || {
        keep_to_mask(&mask);
        loop {
            if PURGE_WANTED.swap(false, AcqRel) {
                chunk_memory::forget_demand();
                POOL.give_back_empty();
                allocator::purge();
            }
            mapping::unmap_freed();
            chunk_memory::refill();
            std::thread::park();
        }
    })?;
    PREFAULT_THREAD.get_or_init(|| prefault.thread().clone());
    Ok(())
}

/// Keeps the calling thread, which a worker may have started, to processors that no worker is pinned to; where there is none, it
/// may run on all and interrupts nobody.
pub fn keep_to(spare: &[usize], all: &[usize]) {
    let _ = sched_setaffinity(None, &mask_of(all));
    keep_to_mask(&mask_of(spare));
}

fn mask_of(cpus: &[usize]) -> CpuSet {
    let mut mask = CpuSet::new();
    cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU).for_each(|cpu| mask.set(*cpu));
    mask
}

fn keep_to_mask(mask: &CpuSet) {
    if mask.count() == 0 || sched_setaffinity(None, mask).is_err() {
        interrupt_nobody();
    }
}

/// Has all free memory given back to the system soon.
pub fn want_purge() {
    PURGE_WANTED.store(true, Release);
    wake();
}

/// Whether somebody gives memory back.
pub(super) fn is_running() -> bool {
    PREFAULT_THREAD.get().is_some()
}

/// There is something to do.
pub(super) fn wake() {
    if let Some(prefault) = PREFAULT_THREAD.get() {
        prefault.unpark();
    }
}

/// The calling thread, when it is woken, no longer takes the processor from whoever runs.
fn interrupt_nobody() {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives through the call. Every thread may do this; if it fails nothing has changed.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const normal) };
}
