//! The ring itself: setup with a check of every feature used, submission, waiting, and `user_data`.
//!
//! Design: submissions are written to the queue at once and reach the kernel at the next `enter`. Where
//! the queue is full it is submitted; where even that leaves no room (a kernel submission thread that
//! lags), entries wait in a backlog in order, so that callers never see a full queue.
//!
//! Costs: `enter` is the only system call, and is left out where there is nothing to do in the kernel.
//!
//! Not here: what completions mean (`uring`).

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use io_uring::types::{CancelBuilder, Fd, Napi, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use super::super::buffers::BufferRing;
use super::super::{GENERATION_BITS, OpenError, Options, Token, Wait};

/// The provided buffers' group; there is one.
const BUFFER_GROUP: u16 = 1;

/// Kinds of operation, as `user_data` carries them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum OperationKind {
    Accept = 1,
    AcceptAgain,
    Wake,
    Receive,
    Bulk,
    Send,
    CancelReceive,
    CancelBulk,
    CancelSend,
    /// A cancel whose outcome nobody needs.
    CancelOther,
    /// The time has come that a turn may wait for.
    Alarm,
}

/// `user_data`: kind (4 bits), generation (28), slot (32).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub(super) kind: OperationKind,
    pub(super) generation: u32,
    pub(super) slot: u32,
}

const _: () = assert!(GENERATION_BITS + 4 == 32);

impl Tag {
    /// The tag of an operation on `token`'s connection.
    pub(super) fn of(kind: OperationKind, token: Token) -> Tag {
        Tag { kind, generation: token.generation_packed(), slot: token.slot }
    }

    /// The tag of an operation on no connection.
    pub(super) fn plain(kind: OperationKind, index: u16) -> Tag {
        Tag { kind, generation: 0, slot: u32::from(index) }
    }

    fn pack(self) -> u64 {
        assert!(self.generation >> GENERATION_BITS == 0);
        let high = ((self.kind as u32) << GENERATION_BITS) | self.generation;
        (u64::from(high) << 32) | u64::from(self.slot)
    }

    /// The tag that `pack` made; `None` for a kind that does not exist.
    pub(super) fn unpack(user_data: u64) -> Option<Tag> {
        let high = (user_data >> 32) as u32;
        const KINDS: [OperationKind; 11] = [
            OperationKind::Accept,
            OperationKind::AcceptAgain,
            OperationKind::Wake,
            OperationKind::Receive,
            OperationKind::Bulk,
            OperationKind::Send,
            OperationKind::CancelReceive,
            OperationKind::CancelBulk,
            OperationKind::CancelSend,
            OperationKind::CancelOther,
            OperationKind::Alarm,
        ];
        let index = ((high >> GENERATION_BITS) as usize).checked_sub(1)?;
        Some(Tag {
            kind: *KINDS.get(index)?,
            generation: high & ((1 << GENERATION_BITS) - 1),
            slot: user_data as u32,
        })
    }
}

/// The ring and what waits to enter it.
pub(super) struct Ring {
    ring: IoUring,
    backlog: VecDeque<squeue::Entry>,
    polled_by_kernel: bool,
}

fn missing(missing: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |error| OpenError { missing, error }
}

impl Ring {
    /// Sets the ring up, or says which feature is missing.
    pub(super) fn open(options: &Options) -> Result<Ring, OpenError> {
        let mut builder = IoUring::builder();
        builder.dontfork();
        builder.setup_cqsize(options.cq_entries);
        builder.setup_submit_all();
        builder.setup_single_issuer();
        match &options.sqpoll {
            None => {
                // Completions are worked on inside our own `enter`, not by interrupting the worker; the
                // flag tells us when there is such work, so that polling costs no system call.
                builder.setup_defer_taskrun();
                builder.setup_taskrun_flag();
            }
            Some(sqpoll) => {
                // The kernel refuses deferred work together with a submission thread.
                builder.setup_sqpoll(sqpoll.idle_ms);
                if let Some(cpu) = sqpoll.cpu {
                    builder.setup_sqpoll_cpu(cpu);
                }
            }
        }
        let ring = builder
            .build(options.entries)
            .map_err(missing("io_uring with deferred task work (Linux 6.1)"))?;
        let ring = Ring { ring, backlog: VecDeque::new(), polled_by_kernel: options.sqpoll.is_some() };
        ring.check_features()?;
        if let Some(microseconds) = options.napi_busy_poll_us {
            let mut napi = Napi::new().set_busy_poll_timeout(microseconds).set_prefer_busy_poll(true);
            ring.ring
                .submitter()
                .register_napi(&mut napi)
                .map_err(missing("io_uring NAPI busy polling (Linux 6.9)"))?;
        }
        Ok(ring)
    }

    fn check_features(&self) -> Result<(), OpenError> {
        let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
        let params = self.ring.params();
        let features = [
            (params.is_feature_nodrop(), "io_uring without lost completions"),
            (params.is_feature_submit_stable(), "io_uring stable submission"),
            (params.is_feature_fast_poll(), "io_uring internal polling"),
            (params.is_feature_ext_arg(), "io_uring timed waiting"),
            (params.is_feature_skip_cqe_on_success(), "io_uring silent success"),
        ];
        for (present, name) in features {
            if !present {
                return Err(missing(name)(unsupported()));
            }
        }
        let mut probe = Probe::new();
        self.ring.submitter().register_probe(&mut probe).map_err(missing("io_uring operation probe"))?;
        let operations = [
            (opcode::AcceptMulti::CODE, "io_uring accept"),
            (opcode::RecvMulti::CODE, "io_uring receive"),
            (opcode::Send::CODE, "io_uring send"),
            (opcode::SendMsg::CODE, "io_uring sendmsg"),
            (opcode::AsyncCancel2::CODE, "io_uring cancel"),
            (opcode::PollAdd::CODE, "io_uring poll"),
            (opcode::Timeout::CODE, "io_uring timeout"),
        ];
        for (code, name) in operations {
            if !probe.is_supported(code) {
                return Err(missing(name)(unsupported()));
            }
        }
        Ok(())
    }

    /// Makes `buffers` the memory that multishot receives fill.
    ///
    /// # Safety
    /// - `buffers` stays where it is mapped until [`Ring::unregister_buffers`] has been called and no
    ///   receive is in flight, or is leaked.
    pub(super) unsafe fn register_buffers(&self, buffers: &BufferRing) -> Result<(), OpenError> {
        let (address, count) = buffers.registration();
        let submitter = self.ring.submitter();
        // SAFETY: `address` is a page-aligned mapping of `count` entries; the caller keeps it mapped.
        let registered = unsafe { submitter.register_buf_ring_with_flags(address, count, BUFFER_GROUP, 0) };
        registered.map_err(missing("io_uring provided buffer rings (Linux 5.19)"))
    }

    /// Takes the buffers away from the kernel; ignores that there are none.
    pub(super) fn unregister_buffers(&self) {
        let _no_matter_if_absent = self.ring.submitter().unregister_buf_ring(BUFFER_GROUP);
    }

    /// Accepts connections until cancelled or failed.
    pub(super) fn accept(&mut self, fd: RawFd, tag: Tag) {
        let entry = opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC);
        self.push_safe(entry.build(), tag);
    }

    /// Reports each time `fd` becomes readable, until cancelled or failed.
    pub(super) fn watch(&mut self, fd: RawFd, tag: Tag) {
        let entry = opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).multi(true);
        self.push_safe(entry.build(), tag);
    }

    /// Receives into provided buffers until cancelled, failed, or out of buffers.
    pub(super) fn receive(&mut self, fd: RawFd, tag: Tag) {
        self.push_safe(opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP).build(), tag);
    }

    /// Cancels the operation tagged `target`. Reports under `tag` only if that fails.
    pub(super) fn cancel(&mut self, target: Tag, tag: Tag) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(target.pack())).build();
        self.push_safe(entry.flags(squeue::Flags::SKIP_SUCCESS), tag);
    }

    /// Cancels everything. Reports under `tag`.
    pub(super) fn cancel_all(&mut self, tag: Tag) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build();
        self.push_safe(entry, tag);
    }

    /// Receives `len` bytes to `start`.
    ///
    /// # Safety
    /// - `start` is valid for writes of `len` bytes until the completion arrives.
    pub(super) unsafe fn receive_to(&mut self, fd: RawFd, start: *mut u8, len: u32, tag: Tag) {
        let entry = opcode::Recv::new(Fd(fd), start, len).flags(libc::MSG_WAITALL);
        // SAFETY: the caller keeps the memory until the completion.
        unsafe { self.push(entry.build(), tag) };
    }

    /// Sends `len` bytes from `start`.
    ///
    /// # Safety
    /// - `start` is valid for reads of `len` bytes until the completion arrives.
    pub(super) unsafe fn send(&mut self, fd: RawFd, start: *const u8, len: u32, tag: Tag) {
        let entry = opcode::Send::new(Fd(fd), start, len).flags(SEND_FLAGS);
        // SAFETY: the caller keeps the memory until the completion.
        unsafe { self.push(entry.build(), tag) };
    }

    /// Sends `len` bytes from `start` if the socket takes all of them at once; only a failure completes, and does so
    /// while it is submitted: with EAGAIN, or how many bytes the socket took.
    ///
    /// # Safety
    /// - `start` is valid for reads of `len` bytes until the entry has been submitted.
    pub(super) unsafe fn send_at_once(&mut self, fd: RawFd, start: *const u8, len: u32, tag: Tag) {
        let entry = opcode::Send::new(Fd(fd), start, len).flags(SEND_FLAGS | libc::MSG_DONTWAIT);
        // SAFETY: the caller keeps the memory until the kernel has done with it, which is in the submission.
        unsafe { self.push(entry.build().flags(squeue::Flags::SKIP_SUCCESS), tag) };
    }

    /// Whether sends can be known to be done by their submission: not where a kernel thread submits.
    pub(super) fn submits_itself(&self) -> bool {
        !self.polled_by_kernel
    }

    /// Whether everything pushed has been submitted, and every completion of it was taken.
    pub(super) fn is_settled(&mut self) -> bool {
        let queue = self.ring.submission();
        let empty = queue.is_empty() && !queue.cq_overflow();
        drop(queue);
        empty && self.backlog.is_empty() && self.ring.completion().is_empty()
    }

    /// Sends what `message` describes.
    ///
    /// # Safety
    /// - `message`, its iovecs and the memory they name are valid until the completion arrives.
    pub(super) unsafe fn send_message(&mut self, fd: RawFd, message: *const libc::msghdr, tag: Tag) {
        let entry = opcode::SendMsg::new(Fd(fd), message).flags(SEND_FLAGS as u32);
        // SAFETY: the caller keeps the memory until the completion.
        unsafe { self.push(entry.build(), tag) };
    }

    /// Completes with ETIME when `time` has passed.
    ///
    /// # Safety
    /// - `time` is valid until the completion arrives.
    pub(super) unsafe fn timeout(&mut self, time: *const Timespec, tag: Tag) {
        // SAFETY: the caller keeps the memory until the completion.
        unsafe { self.push(opcode::Timeout::new(time).build(), tag) };
    }

    /// For operations that name no memory of ours.
    fn push_safe(&mut self, entry: squeue::Entry, tag: Tag) {
        // SAFETY: the operation reads and writes no user memory other than the provided buffers, whose
        // life `register_buffers` laid on the caller; a descriptor closed too early is only an error.
        unsafe { self.push(entry, tag) };
    }

    /// # Safety
    /// - All memory that `entry` names is valid until its completion.
    unsafe fn push(&mut self, entry: squeue::Entry, tag: Tag) {
        let entry = entry.user_data(tag.pack());
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
            self.push_backlog();
        }
    }

    /// False where the queue is full. `entry` comes from `push`, whose caller keeps its memory valid.
    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: `push` is the only source of entries, directly or through the backlog; its caller
        // promised that the memory lives until the completion.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Moves the backlog into the queue, submitting as often as that makes room.
    fn push_backlog(&mut self) {
        let mut submitted = false;
        while let Some(entry) = self.backlog.pop_front() {
            if self.try_push(&entry) {
                submitted = false;
                continue;
            }
            self.backlog.push_front(entry);
            // Errors are met again, and reported, by the turn's own `enter`.
            if submitted || self.ring.submit().is_err() {
                return;
            }
            submitted = true;
        }
    }

    /// Submits, and waits for at least one completion as `wait` says. ETIME, EINTR and a completion
    /// queue that must be reaped first are no errors.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        if !self.backlog.is_empty() {
            self.push_backlog();
        }
        let queue = self.ring.submission();
        let to_submit = queue.len();
        let kernel_has_work = queue.taskrun() || queue.cq_overflow();
        let needs_wakeup = self.polled_by_kernel && queue.need_wakeup();
        drop(queue);
        let want = match wait {
            Wait::Poll => 0,
            Wait::For(_) | Wait::Forever => u32::from(self.ring.completion().is_empty()),
        };
        let must_submit = if self.polled_by_kernel { needs_wakeup } else { to_submit > 0 };
        if want == 0 && !kernel_has_work && !must_submit {
            return Ok(());
        }
        let mut flags = EnterFlags::GETEVENTS;
        if needs_wakeup {
            flags |= EnterFlags::SQ_WAKEUP;
        }
        let entered = match wait {
            Wait::For(time) if want > 0 => {
                let time = Timespec::from(time);
                let args = SubmitArgs::new().timespec(&time);
                self.enter_timed(to_submit as u32, flags | EnterFlags::EXT_ARG, &args)
            }
            _ => self.enter_plain(to_submit as u32, want, flags),
        };
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            Err((Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    fn enter_plain(&self, submit: u32, want: u32, flags: EnterFlags) -> io::Result<usize> {
        let submitter = self.ring.submitter();
        // SAFETY: no argument is passed; queued entries are valid as `push` demands.
        unsafe { submitter.enter::<libc::sigset_t>(submit, want, flags.bits(), None) }
    }

    fn enter_timed(&self, submit: u32, flags: EnterFlags, args: &SubmitArgs<'_, '_>) -> io::Result<usize> {
        let submitter = self.ring.submitter();
        // SAFETY: EXT_ARG is set and `args` is the structure it announces, alive through the call;
        // queued entries are valid as `push` demands.
        unsafe { submitter.enter(submit, 1, flags.bits(), Some(args)) }
    }

    /// Takes completions that have arrived, at most as many as fit into `completions`.
    pub(super) fn completions<'a>(
        &mut self,
        completions: &'a mut [MaybeUninit<cqueue::Entry>],
    ) -> &'a [cqueue::Entry] {
        self.ring.completion().fill(completions)
    }
}

/// All bytes, without SIGPIPE.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tags_survive_packing(kind in 1u64..=11, generation in 0u32..1 << GENERATION_BITS, slot: u32) {
            let user_data = (kind << 60) | (u64::from(generation) << 32) | u64::from(slot);
            let tag = Tag::unpack(user_data).expect("kinds 1 to 11 exist");
            prop_assert_eq!(tag.generation, generation);
            prop_assert_eq!(tag.slot, slot);
            prop_assert_eq!(tag.pack(), user_data);
        }
    }

    #[test]
    fn kinds_that_do_not_exist_are_not_made_up() {
        assert_eq!(Tag::unpack(0), None);
        assert_eq!(Tag::unpack(12 << 60), None);
    }
}
