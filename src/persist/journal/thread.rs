//! The journal thread: merges what workers publish, gives it to replicas, appends it to the sink, syncs it.
//!
//! Design: it takes all that has come, merges it, writes it with one call, syncs if the policy says so, and only then says that
//! it is kept: so one sync serves all that came while the one before it lasted. Under `always` it waits for messages, and each
//! wakes it. Otherwise workers are not to pay for waking it: it looks again a ms later while there is something to do.
//!
//! A write or sync that fails is not forgotten: under `always` the process ends, as what was promised cannot be kept. Otherwise
//! writing commands are refused until a later try succeeds; what is not written stays here meanwhile. A sync that failed may have
//! lost what it covered, and a later one that succeeds would not tell: such a sink is doubtful until a rewrite, which the first
//! worker begins, has opened another. What cannot be written into a file is dropped once a base holds it.
//!
//! Not here: the order (`merge`), the files (`aof`).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::merge::Merge;
use super::{Journal, Message, Order, SyncPolicy};

/// How long the thread lets messages gather where nobody waits for it.
const GATHER: Duration = Duration::from_millis(1);
/// After so many looks in vain it waits for the next message.
const LOOKS_MAX: u32 = 20;
/// Bytes merged before they are written.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// Time between two syncs under `everysec`, and between two tries after a failure.
const SYNC_PERIOD: Duration = Duration::from_secs(1);

/// Where effects go.
pub trait Sink: Send {
    /// Appends bytes, all or nothing.
    ///
    /// # Errors
    /// The file system's. What was there before is as it was.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Has the disk keep what was appended.
    ///
    /// # Errors
    /// The file system's. What was appended since the last success may be lost.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether a sync has failed, so that nothing says what of it is on disk: another sink is needed.
    fn is_doubtful(&self) -> bool;
}

/// Where what replicas are to repeat goes.
pub trait Feed: Send {
    /// Appends bytes to the stream.
    fn append(&mut self, bytes: &[u8]);

    /// How many bytes the stream has.
    fn offset(&self) -> u64;

    /// The stream has the effects of this ticket and of all before. Workers to be woken for what is new, a bit each.
    fn note(&mut self, ticket: u64) -> u64;
}

/// Asks replicas how far they are.
const ASK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// What the thread asks of the process.
pub struct Hooks {
    /// Wakes the workers whose bits are set.
    pub wake: Box<dyn Fn(u64) + Send>,
    /// Says why the process cannot go on, and ends it.
    pub fail: Box<dyn Fn(&str) + Send>,
    /// Whether a snapshot is being written, for which the disk may be spared.
    pub is_saving: Box<dyn Fn() -> bool + Send>,
    /// The time.
    pub now: Box<dyn Fn() -> Instant + Send>,
}

/// Starts the thread, which ends at [`Order::Finish`].
///
/// # Errors
/// There is no thread left.
pub fn start(journal: Arc<Journal>, hooks: Hooks) -> io::Result<JoinHandle<()>> {
    let driver = Driver::new(journal, hooks)?;
    std::thread::Builder::new().name("torc-journal".into()).spawn(move || driver.thread.run(&driver.receiver))
}

/// The thread's work, without a thread: whoever has it says when some of it is done. For simulations.
pub struct Driver {
    thread: Thread,
    receiver: Receiver<Message>,
}

impl Driver {
    /// Of a journal that has no thread.
    ///
    /// # Errors
    /// It has one.
    pub fn new(journal: Arc<Journal>, hooks: Hooks) -> io::Result<Self> {
        let receiver =
            journal.take_receiver().ok_or_else(|| io::Error::other("the journal has its thread"))?;
        let (policy, synced_at) = (journal.policy(), (hooks.now)());
        let thread = Thread {
            journal,
            hooks,
            policy,
            sink: None,
            feed: None,
            asks: false,
            merge: Merge::default(),
            orders: VecDeque::new(),
            out: Vec::new(),
            stream: Vec::new(),
            queued_bytes: 0,
            is_synced: true,
            synced_at,
            failed_at: None,
            awaits_base: false,
            in_base: 0,
            ends: false,
        };
        Ok(Self { thread, receiver })
    }

    /// Takes all that has come and does all that can be done; whether anything had come.
    pub fn step(&mut self) -> bool {
        self.thread.step(&self.receiver)
    }
}

/// What happens when the merge has come to a ticket.
enum Turn {
    Sink(Option<Box<dyn Sink>>),
    Feed(Option<Box<dyn Feed>>),
    Cut(Box<dyn FnOnce(u64) + Send>),
    Note(Vec<u8>),
    Ask,
}

struct Thread {
    journal: Arc<Journal>,
    hooks: Hooks,
    policy: SyncPolicy,
    sink: Option<Box<dyn Sink>>,
    feed: Option<Box<dyn Feed>>,
    /// Replicas are to be asked how far they are.
    asks: bool,
    merge: Merge,
    /// What is yet to come, and behind which ticket.
    orders: VecDeque<(u64, Turn)>,
    /// Merged, and not written yet.
    out: Vec<u8>,
    /// Merged, and not given to replicas yet.
    stream: Vec<u8>,
    /// Bytes of effects in it.
    queued_bytes: u64,
    is_synced: bool,
    synced_at: Instant,
    failed_at: Option<Instant>,
    /// The file before was doubtful, and its data is not in a base yet.
    awaits_base: bool,
    /// What was changed up to this ticket is in a base.
    in_base: u64,
    ends: bool,
}

impl Thread {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut looks = 0;
        loop {
            let is_idle = !self.step(receiver);
            if self.ends && self.out.is_empty() {
                return self.end();
            }
            looks = if is_idle { looks + 1 } else { 0 };
            match self.rest(receiver, looks) {
                Some(message) => self.take(message),
                None if self.ends => return self.end(),
                None => {}
            }
        }
    }

    fn step(&mut self, receiver: &Receiver<Message>) -> bool {
        let mut has_come = false;
        for message in receiver.try_iter() {
            has_come = true;
            self.take(message);
        }
        self.work();
        has_come
    }

    fn now(&self) -> Instant {
        (self.hooks.now)()
    }

    fn is_past(&self, at: Instant, period: Duration) -> bool {
        self.now().saturating_duration_since(at) >= period
    }

    /// Waits for something to do.
    fn rest(&mut self, receiver: &Receiver<Message>, looks: u32) -> Option<Message> {
        // Under `always` something waits only where the disk is spared.
        let is_waiting = !self.is_synced && self.policy != SyncPolicy::No;
        let until_sync = (self.synced_at + SYNC_PERIOD).saturating_duration_since(self.now());
        let until_retry = self.failed_at.map(|at| (at + SYNC_PERIOD).saturating_duration_since(self.now()));
        if self.ends {
            return None;
        }
        if self.policy != SyncPolicy::Always && looks < LOOKS_MAX {
            std::thread::park_timeout(GATHER);
            return None;
        }
        let limit = until_retry.or(is_waiting.then_some(until_sync));
        match limit {
            None => receiver.recv().ok(),
            Some(limit) => receiver.recv_timeout(limit.max(GATHER)).ok(),
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Group { ticket, effects } => self.merge.add(ticket, effects),
            Message::Order(Order::Open { sink, after }) => {
                self.orders.push_back((after, Turn::Sink(Some(sink))));
            }
            Message::Order(Order::Close { after }) => self.orders.push_back((after, Turn::Sink(None))),
            Message::Order(Order::Feed { feed, after }) => self.orders.push_back((after, Turn::Feed(feed))),
            Message::Order(Order::Cut { after, then }) => self.orders.push_back((after, Turn::Cut(then))),
            Message::Order(Order::Note { after, line }) => self.orders.push_back((after, Turn::Note(line))),
            Message::Order(Order::Ask { after }) => self.orders.push_back((after, Turn::Ask)),
            Message::Order(Order::Say { words }) => {
                if self.feed.is_some() {
                    self.stream.extend_from_slice(words);
                }
            }
            Message::Order(Order::Follow) => {}
            Message::Order(Order::BaseWritten) => {
                self.awaits_base = false;
                // The base is that of the last change of files. It may come before a file that cannot be written.
                let opens = |(_, turn): &&(u64, Turn)| matches!(turn, Turn::Sink(Some(_)));
                if let Some((after, _)) = self.orders.iter().rev().find(opens) {
                    self.in_base = *after;
                }
                self.recover();
            }
            Message::Order(Order::Finish) => self.ends = true,
        }
    }

    /// Merges, writes and syncs all that can be.
    fn work(&mut self) {
        // Read after what has come: who was promised more has published since.
        self.policy = self.journal.policy();
        let now_s = self.journal.stamps.load(Relaxed).then(unix_s);
        loop {
            // What asks for no exact place may come when others have published more.
            if self.orders.front().is_some_and(|(after, _)| *after <= self.merge.taken()) {
                if !self.turn() {
                    return;
                }
            } else if self.out.len().max(self.stream.len()) >= WRITE_BYTES_MAX {
                self.give();
                if !self.write() {
                    return;
                }
            } else if let Some(bytes) = self.append_next(now_s) {
                self.queued_bytes += bytes;
            } else {
                break;
            }
        }
        self.ask();
        self.give();
        if !self.write() {
            return;
        }
        let is_due = match self.policy {
            SyncPolicy::Always => true,
            SyncPolicy::EverySecond => self.is_past(self.synced_at, SYNC_PERIOD),
            SyncPolicy::No => false,
        };
        let is_spared =
            is_due && !self.is_synced && self.journal.spares_disk.load(Relaxed) && (self.hooks.is_saving)();
        if is_spared {
            self.synced_at = self.now();
            self.wake(self.journal.tell(self.merge.taken(), false));
        } else if is_due && !self.sync() {
            return;
        }
        self.tell();
    }

    fn append_next(&mut self, now_s: Option<u64>) -> Option<u64> {
        let stream = self.feed.is_some().then_some(&mut self.stream);
        self.merge.append_next(&mut self.out, stream, now_s)
    }

    /// Does what is to be done at this place; false if it is yet to be done.
    fn turn(&mut self) -> bool {
        if matches!(self.orders.front(), Some((_, Turn::Sink(_)))) {
            // What a doubtful sink holds is in the base that the next one stands behind.
            self.give();
            if !self.write() || !self.sync() && !self.is_doubtful() {
                return false;
            }
        }
        match self.orders.pop_front() {
            Some((_, Turn::Sink(sink))) => self.switch(sink),
            Some((_, Turn::Feed(feed))) => {
                self.give();
                self.feed = feed;
                self.merge.begin_stream();
                let workers = self.feed.as_mut().map_or(0, |feed| feed.note(self.merge.taken()));
                self.wake(workers);
            }
            Some((_, Turn::Cut(then))) => {
                // What was asked before stands before.
                self.ask();
                self.give();
                self.merge.begin_stream();
                then(self.feed.as_ref().map_or(0, |feed| feed.offset()));
            }
            Some((_, Turn::Note(line))) => self.out.extend_from_slice(&line),
            Some((_, Turn::Ask)) => self.asks = true,
            None => {}
        }
        true
    }

    fn ask(&mut self) {
        if std::mem::take(&mut self.asks) && self.feed.is_some() {
            self.stream.extend_from_slice(ASK);
        }
    }

    /// Another sink, or none; all that belongs to the one before is in it.
    fn switch(&mut self, sink: Option<Box<dyn Sink>>) {
        self.awaits_base |= self.is_doubtful() && sink.is_some();
        self.sink = sink;
        self.journal.is_doubtful.store(false, Relaxed);
        let bytes = self.journal.current_bytes.swap(0, Relaxed);
        self.journal.older_bytes.fetch_add(bytes, Relaxed);
        self.merge.begin_file();
        self.is_synced = true;
        self.recover();
    }

    /// Gives replicas what is merged, before anything waits for the disk.
    fn give(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        if !self.stream.is_empty() {
            feed.append(&self.stream);
            self.stream.clear();
            self.stream.shrink_to(WRITE_BYTES_MAX);
            let workers = feed.note(self.merge.taken());
            self.wake(workers);
        }
    }

    /// Writes what is merged; false if that fails.
    fn write(&mut self) -> bool {
        if self.out.is_empty() {
            self.note_written();
            return true;
        }
        let is_superfluous = self.failed_at.is_some() && self.merge.taken() <= self.in_base;
        if self.failed_at.is_some_and(|at| !self.is_past(at, SYNC_PERIOD)) && !is_superfluous {
            return false;
        }
        if let Some(sink) = self.sink.as_mut().filter(|_| !is_superfluous) {
            if let Err(error) = sink.append(&self.out) {
                return self.fail("Error writing to the AOF file", &error);
            }
            self.is_synced = false;
            self.journal.current_bytes.fetch_add(self.out.len() as u64, Relaxed);
        }
        self.recover();
        self.out.clear();
        self.out.shrink_to(WRITE_BYTES_MAX);
        self.note_written();
        true
    }

    /// Nothing that was merged waits any more: replicas were given their part before, and so was the file, if there is one.
    fn note_written(&mut self) {
        if self.queued_bytes > 0 {
            self.journal.written(std::mem::take(&mut self.queued_bytes));
            self.wake(self.journal.take_holding());
        }
    }

    /// Syncs what is written; false if that fails.
    fn sync(&mut self) -> bool {
        if self.is_synced {
            return true;
        }
        if self.failed_at.is_some_and(|at| !self.is_past(at, SYNC_PERIOD)) {
            return false;
        }
        let start = self.now();
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.sync()
        {
            return self.fail("Fail to fsync the AOF file", &error);
        }
        if self.is_past(start, SYNC_PERIOD) {
            self.journal.delayed_syncs.fetch_add(1, Relaxed);
            log::warn!("Asynchronous AOF fsync is taking too long (disk is busy?).");
        }
        self.recover();
        self.is_synced = true;
        self.synced_at = self.now();
        true
    }

    /// What is on disk is kept, whatever the policy, so that another one finds the truth; whoever held replies back goes on.
    fn tell(&mut self) {
        if self.is_synced && self.merge.taken() > self.journal.kept() {
            self.wake(self.journal.tell(self.merge.taken(), true));
        }
    }

    fn wake(&self, workers: u64) {
        if workers != 0 {
            (self.hooks.wake)(workers);
        }
    }

    fn is_doubtful(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.is_doubtful())
    }

    /// Always false. Under `always` it does not return.
    #[cold]
    fn fail(&mut self, what: &str, error: &io::Error) -> bool {
        if self.policy == SyncPolicy::Always {
            let remedy = "nothing can be promised any more while it is synced 'always': exiting";
            (self.hooks.fail)(&format!("{what}: {error}; {remedy}"));
        }
        if self.failed_at.is_none() {
            log::warn!("{what}: {error}. Commands that write are refused until it can be written again");
        }
        self.failed_at = Some(self.now());
        self.journal.is_doubtful.store(self.is_doubtful(), Relaxed);
        self.journal.note_failure(error.raw_os_error().unwrap_or(libc::EIO));
        false
    }

    /// Commands that write are let in again, unless what was acknowledged may be missing from the files.
    fn recover(&mut self) {
        if self.awaits_base || self.is_doubtful() {
            return;
        }
        if self.failed_at.take().is_some() {
            log::warn!("The AOF file can be written again");
            self.journal.note_failure(0);
        }
    }

    fn end(mut self) {
        self.failed_at = None;
        if !self.write() || !self.sync() {
            log::warn!("What was appended last is not in the AOF file");
        }
        self.tell();
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::super::{Settings, Writer};
    use super::*;
    use crate::store::{Changes, DbIndex};

    /// What was appended and synced, and what fails.
    #[derive(Default)]
    struct Disk {
        appended: Vec<u8>,
        synced: usize,
        fails: bool,
        /// A sync has failed, or is to fail.
        fails_to_sync: bool,
        is_doubtful: bool,
    }

    struct TestSink(Arc<Mutex<Disk>>);

    impl Sink for TestSink {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let mut disk = self.0.lock().expect("no test panics under it");
            if disk.fails {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            disk.appended.extend_from_slice(bytes);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            let mut disk = self.0.lock().expect("no test panics under it");
            if disk.fails_to_sync {
                disk.is_doubtful = true;
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            disk.synced = disk.appended.len();
            Ok(())
        }

        fn is_doubtful(&self) -> bool {
            self.0.lock().expect("no test panics under it").is_doubtful
        }
    }

    fn record(journal: &Journal, writer: &mut Writer, command: &str) {
        let mut changes = Changes::default();
        changes.listen(true);
        changes.count(1);
        changes.end_command(DbIndex(0), |words| {
            words.add_all(command.split(' '));
        });
        writer.record(journal, &changes, true);
        writer.publish(journal);
    }

    fn running(policy: SyncPolicy) -> (Arc<Journal>, JoinHandle<()>, std::sync::mpsc::Receiver<u64>) {
        let journal = Arc::new(Journal::default());
        journal.record_for_file(true);
        journal.follow(Settings { policy, limit_bytes: 1 << 20, ..Settings::default() });
        let (woken, wakes): (Sender<u64>, _) = channel();
        let hooks = Hooks {
            wake: Box::new(move |bits| woken.send(bits).unwrap_or_default()),
            fail: Box::new(|why| panic!("{why}")),
            is_saving: Box::new(|| false),
            now: Box::new(Instant::now),
        };
        let thread = start(Arc::clone(&journal), hooks);
        (journal, thread.expect("there are threads"), wakes)
    }

    fn open(journal: &Journal) -> Arc<Mutex<Disk>> {
        let disk = Arc::new(Mutex::new(Disk::default()));
        journal.order(Order::Open { sink: Box::new(TestSink(Arc::clone(&disk))), after: journal.drawn() });
        disk
    }

    #[test]
    fn always_wakes_who_holds_replies_once_they_are_synced() {
        let (journal, thread, wakes) = running(SyncPolicy::Always);
        let (disk, mut writer) = (open(&journal), Writer::default());
        assert!(journal.holds_replies());
        record(&journal, &mut writer, "SET k v");
        // It may be woken once more before, as what was queued is written.
        while !journal.await_told(5, 1) {
            assert_eq!(wakes.recv(), Ok(1 << 5));
        }
        assert_eq!(journal.kept(), 1);
        let disk = disk.lock().expect("no test panics under it");
        assert!(!disk.appended.is_empty() && disk.synced == disk.appended.len());
        drop(disk);
        journal.order(Order::Finish);
        thread.join().expect("it ends");
    }

    #[test]
    fn effects_go_to_the_sink_of_their_ticket() {
        let (journal, thread, _wakes) = running(SyncPolicy::No);
        let mut writer = Writer::default();
        let first = open(&journal);
        record(&journal, &mut writer, "SET a 1");
        let second = open(&journal);
        record(&journal, &mut writer, "SET b 2");
        journal.order(Order::Close { after: journal.drawn() });
        record(&journal, &mut writer, "SET c 3");
        journal.order(Order::Finish);
        thread.join().expect("it ends");
        let text = |disk: &Mutex<Disk>| {
            String::from_utf8(disk.lock().expect("no test panics under it").appended.clone()).expect("text")
        };
        let selected = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
        assert_eq!(text(&first), format!("{selected}*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"));
        assert_eq!(text(&second), format!("{selected}*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n"));
        assert_eq!((journal.queued_bytes(), journal.kept()), (0, 3));
    }

    /// A later write that succeeded let writing commands in again, and after a rewrite they were refused for ever.
    #[test]
    fn failed_sync_is_forgiven_once_another_base_is_written() {
        let (journal, thread, _wakes) = running(SyncPolicy::EverySecond);
        let (disk, mut writer) = (open(&journal), Writer::default());
        disk.lock().expect("no test panics under it").fails_to_sync = true;
        record(&journal, &mut writer, "SET a 1");
        while journal.failure().is_none() {
            std::thread::yield_now();
        }
        assert!(journal.failure() == Some(libc::EIO) && journal.is_doubtful());
        // An expired key, which nobody is asked for.
        record(&journal, &mut writer, "DEL a");
        while journal.queued_bytes() > 0 {
            std::thread::yield_now();
        }
        assert!(journal.failure().is_some() && journal.is_doubtful() && journal.kept() == 0);
        let next = open(&journal);
        record(&journal, &mut writer, "DEL b");
        while journal.kept() < 3 {
            std::thread::yield_now();
        }
        assert!(next.lock().expect("no test panics under it").synced > 0);
        assert!(
            journal.failure().is_some() && !journal.is_doubtful(),
            "a power cut may leave a gap before it"
        );
        journal.note_base();
        while journal.failure().is_some() {
            std::thread::yield_now();
        }
        journal.order(Order::Finish);
        thread.join().expect("it ends");
    }

    /// What had been queued for a file that can never be written was to be written before another one was: for ever.
    #[test]
    fn base_makes_up_for_a_file_that_cannot_be_written() {
        let (journal, thread, _wakes) = running(SyncPolicy::EverySecond);
        let (disk, mut writer) = (open(&journal), Writer::default());
        disk.lock().expect("no test panics under it").fails = true;
        record(&journal, &mut writer, "SET a 1");
        while journal.failure().is_none() {
            std::thread::yield_now();
        }
        record(&journal, &mut writer, "SET b 2");
        let next = open(&journal);
        record(&journal, &mut writer, "SET c 3");
        journal.note_base();
        while journal.failure().is_some() || journal.queued_bytes() > 0 {
            std::thread::yield_now();
        }
        journal.order(Order::Finish);
        thread.join().expect("it ends");
        assert!(disk.lock().expect("no test panics under it").appended.is_empty());
        let next = next.lock().expect("no test panics under it");
        assert!(next.synced == next.appended.len() && next.appended.ends_with(b"$1\r\nc\r\n$1\r\n3\r\n"));
        assert!(!next.appended.windows(5).any(|bytes| bytes == b"\r\nb\r\n"), "the base has it");
    }

    /// Where nothing is written to a file.
    struct TestFeed(u64);

    impl Feed for TestFeed {
        fn append(&mut self, bytes: &[u8]) {
            self.0 += bytes.len() as u64;
        }

        fn offset(&self) -> u64 {
            self.0
        }

        fn note(&mut self, _ticket: u64) -> u64 {
            0
        }
    }

    /// What replicas alone had been given counted as queued for ever, so that beyond the limit all who write waited.
    #[test]
    fn stream_without_a_file_leaves_nothing_queued() {
        let (journal, thread, wakes) = running(SyncPolicy::EverySecond);
        journal.record_for_file(false);
        journal.record_for_replicas(true);
        journal.order(Order::Feed { feed: Some(Box::new(TestFeed(0))), after: 0 });
        let mut writer = Writer::default();
        journal.follow(Settings { limit_bytes: 1, ..Settings::default() });
        journal.await_told(3, u64::MAX);
        record(&journal, &mut writer, "SET a 1");
        while wakes.recv().expect("the thread runs") != 1 << 3 {}
        assert!(!journal.is_full() && journal.queued_bytes() == 0);
        journal.order(Order::Finish);
        thread.join().expect("it ends");
    }

    #[test]
    fn failed_write_is_tried_again_and_nothing_is_lost() {
        let (journal, thread, _wakes) = running(SyncPolicy::EverySecond);
        let (disk, mut writer) = (open(&journal), Writer::default());
        disk.lock().expect("no test panics under it").fails = true;
        record(&journal, &mut writer, "SET a 1");
        while journal.failure().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(journal.failure(), Some(libc::ENOSPC));
        record(&journal, &mut writer, "SET b 2");
        assert!(journal.queued_bytes() > 0 && journal.kept() == 0);
        disk.lock().expect("no test panics under it").fails = false;
        while journal.kept() < 2 {
            std::thread::yield_now();
        }
        assert_eq!((journal.failure(), journal.queued_bytes()), (None, 0));
        journal.order(Order::Finish);
        thread.join().expect("it ends");
        let disk = disk.lock().expect("no test panics under it");
        assert!(disk.synced == disk.appended.len() && disk.appended.ends_with(b"$1\r\nb\r\n$1\r\n2\r\n"));
    }
}
