//! Every crash leaves a directory that can be loaded: after each step of a scenario the directory is copied, and each copy is
//! loaded and gone on with.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::disk::DiskOp;
use super::super::{AofReader, Next};
use super::{AofFile, AofStore, BaseFormat, Existing, remove_history};

type Observer = Box<dyn FnMut(DiskOp, &Path)>;

thread_local! {
    static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
}

/// A step of this thread has been done.
pub(in super::super) fn observe(step: DiskOp, path: &Path) {
    // What the observer does is no step of the scenario.
    let observer = OBSERVER.with(|observer| observer.borrow_mut().take());
    if let Some(mut observer) = observer {
        observer(step, path);
        OBSERVER.with(|place| *place.borrow_mut() = Some(observer));
    }
}

/// A directory that is removed at the end.
pub(in super::super) struct TempDir(PathBuf);

impl TempDir {
    /// A new, empty one.
    pub(in super::super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("torc-aof-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Self(path)
    }

    /// Where it is.
    pub(in super::super) fn path(&self) -> &Path {
        &self.0
    }

    fn store(&self) -> AofStore {
        open(&self.0).expect("there is no manifest, or a good one")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("aof dir")).expect("it is there").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.0.join("aof dir/a.aof.manifest")).expect("it is there")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn open(dir: &Path) -> Result<AofStore, super::AofError> {
    AofStore::open(dir, OsStr::new("aof dir"), OsStr::new("a.aof"))
}

/// Commands of one letter each.
fn commands(letters: &str) -> Vec<u8> {
    letters.chars().flat_map(|letter| format!("*1\r\n$1\r\n{letter}\r\n").into_bytes()).collect()
}

fn append(file: &mut AofFile, letters: &str) {
    file.append(&commands(letters)).expect("there is room");
}

fn write_base(path: &Path, letters: &str) {
    fs::write(path, commands(letters)).expect("it can be written");
}

fn letters_of(path: &Path) -> String {
    let mut reader = AofReader::open(path, 0).expect("it is there");
    let mut letters = String::new();
    loop {
        match reader.next().expect("it can be read") {
            Next::Command(command) => {
                letters.push_str(&String::from_utf8_lossy(command.word(0).unwrap_or_default()));
            }
            Next::End { .. } => return letters,
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

/// What a start would load.
fn load(store: &mut AofStore) -> String {
    let existing = store.find().expect("it can be loaded");
    if let Existing::OldFile { path, size } = &existing {
        assert_eq!(fs::metadata(path).expect("it is there").len(), *size);
        store.upgrade().expect("it can be upgraded");
    }
    match store.find().expect("it can be loaded") {
        Existing::None => String::new(),
        Existing::Parts(parts) => parts.iter().map(|part| letters_of(&part.path)).collect(),
        Existing::OldFile { .. } => panic!("it was upgraded"),
    }
}

fn start(store: &mut AofStore) -> AofFile {
    if store.find() == Ok(Existing::None) {
        let first = store.write_first_base(BaseFormat::Commands, |path| {
            write_base(path, "");
            Ok(())
        });
        first.expect("it can be written");
    }
    store.open_last(0).expect("it can be opened")
}

fn copy(source: &Path, target: &Path) {
    for entry in fs::read_dir(source).expect("it is there").flatten() {
        let to = target.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&to).expect("it can be made");
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("it can be copied");
        }
    }
}

/// What a crash at this moment may leave.
type Expected = Rc<RefCell<Vec<&'static str>>>;

/// The directory behind a step, and what was expected of it then.
type Crash = (String, TempDir, Vec<&'static str>);

/// Copies the directory after each step; checks the order of steps.
struct Watch {
    copies: Rc<RefCell<Vec<Crash>>>,
    expected: Expected,
}

impl Watch {
    fn new(dir: &TempDir) -> Self {
        let copies: Rc<RefCell<Vec<Crash>>> = Rc::default();
        let expected: Expected = Rc::default();
        let (made, wanted, source) = (Rc::clone(&copies), Rc::clone(&expected), dir.0.clone());
        // Names that a power cut may take back.
        let mut unsynced: Vec<String> = Vec::new();
        let mut synced: Vec<String> = Vec::new();
        let observer = move |step: DiskOp, path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match step {
                DiskOp::Synced if path.is_dir() => unsynced.clear(),
                DiskOp::Synced => synced.push(name.clone()),
                DiskOp::Renamed if name.ends_with(".manifest") => {
                    assert!(unsynced.is_empty(), "the manifest is before {unsynced:?}");
                    assert_eq!(synced.last().map(String::as_str), Some("temp-a.aof.manifest"));
                }
                DiskOp::Renamed => unsynced.push(name.clone()),
                DiskOp::Created if !name.starts_with("temp-") && path.is_file() => {
                    unsynced.push(name.clone());
                }
                DiskOp::Created | DiskOp::Wrote | DiskOp::Removed => {}
            }
            let target = TempDir::new();
            copy(&source, &target.0);
            made.borrow_mut().push((format!("{step:?} {name}"), target, wanted.borrow().clone()));
        };
        OBSERVER.with(|place| *place.borrow_mut() = Some(Box::new(observer)));
        Self { copies, expected }
    }

    /// From now on a crash leaves one of these.
    fn expect(&self, letters: &[&'static str]) {
        *self.expected.borrow_mut() = letters.to_vec();
    }

    /// Loads each copy, goes on with it, and loads that.
    fn check(self, steps_min: usize) {
        OBSERVER.with(|place| place.borrow_mut().take());
        let copies = self.copies.take();
        assert!(copies.len() >= steps_min, "only {} steps", copies.len());
        for (step, dir, expected) in copies {
            let mut store = dir.store();
            let letters = load(&mut store);
            assert!(expected.contains(&&letters[..]), "after '{step}': {letters:?}, not {expected:?}");
            append(&mut start(&mut store), "+");
            drop(store);
            let mut store = dir.store();
            assert_eq!(load(&mut store), format!("{letters}+"), "after '{step}'");
            remove_history(&store.history());
            store.forget_history().expect("it can be written");
            let mut file = start(&mut store);
            file = rewrite(&mut store, &letters, file);
            append(&mut file, "!");
            assert_eq!(load(&mut dir.store()), format!("{letters}!"), "after '{step}'");
            assert!(dir.files().iter().all(|name| !name.contains("temp")), "{:?}", dir.files());
        }
    }
}

fn rewrite(store: &mut AofStore, letters: &str, old: AofFile) -> AofFile {
    let file = store.begin_rewrite(0).expect("it can begin");
    drop(old);
    write_base(&store.temp_base(), letters);
    store.end_rewrite(BaseFormat::Commands).expect("it can end");
    file
}

#[test]
fn first_start_makes_what_redis_makes() {
    let dir = TempDir::new();
    let watch = Watch::new(&dir);
    watch.expect(&[""]);
    let mut store = dir.store();
    assert_eq!(store.find(), Ok(Existing::None));
    let mut file = start(&mut store);
    watch.expect(&["ab"]);
    append(&mut file, "ab");
    store.close(7).expect("it can be written");
    assert_eq!(dir.files(), ["a.aof.1.base.aof", "a.aof.1.incr.aof", "a.aof.manifest"]);
    let lines = [
        "file a.aof.1.base.aof seq 1 type b\n",
        "file a.aof.1.incr.aof seq 1 type i startoffset 0 endoffset 7\n",
    ];
    assert_eq!(dir.manifest(), lines.concat());
    let mut store = dir.store();
    assert_eq!((store.stream_offset(), load(&mut store)), (Ok(7), "ab".to_owned()));
    start(&mut store);
    assert_eq!(dir.manifest(), lines.concat().replace(" endoffset 7", ""));
    assert_eq!(dir.store().stream_offset(), Ok(commands("ab").len() as u64));
    watch.check(15);
}

#[test]
fn rewrite_can_crash_anywhere() {
    let dir = TempDir::new();
    let mut store = dir.store();
    let mut old = start(&mut store);
    append(&mut old, "ab");
    let watch = Watch::new(&dir);
    watch.expect(&["ab"]);
    let mut new = store.begin_rewrite(9).expect("it can begin");
    // What comes before the cut still goes into the old file.
    append(&mut old, "c");
    append(&mut new, "d");
    watch.expect(&["abcd"]);
    write_base(&store.temp_base(), "abc");
    store.end_rewrite(BaseFormat::Commands).expect("it can end");
    let history =
        ["file a.aof.1.incr.aof seq 1 type h startoffset 0\n", "file a.aof.1.base.aof seq 1 type h\n"];
    let rest = ["file a.aof.2.base.aof seq 2 type b\n", "file a.aof.2.incr.aof seq 2 type i startoffset 9\n"];
    assert_eq!(dir.manifest(), [rest[0], history[0], history[1], rest[1]].concat());
    assert_eq!(remove_history(&store.history()), []);
    store.forget_history().expect("it can be written");
    assert_eq!(dir.manifest(), rest.concat());
    assert_eq!(dir.files(), ["a.aof.2.base.aof", "a.aof.2.incr.aof", "a.aof.manifest"]);
    append(&mut new, "e");
    watch.expect(&["abcde"]);
    let file = rewrite(&mut store, "abcde", new);
    drop(file);
    watch.check(30);
}

/// What an earlier time left counts until the first base of now is whole.
#[test]
fn first_rewrite_of_a_running_server_can_crash_anywhere() {
    for has_stale in [false, true] {
        let dir = TempDir::new();
        let mut store = dir.store();
        if has_stale {
            append(&mut start(&mut store), "old");
            store.close(0).expect("it can be written");
        }
        let stale = if has_stale { "old" } else { "" };
        let watch = Watch::new(&dir);
        watch.expect(&[stale]);
        let mut file = store.begin_rewrite(5).expect("it can begin");
        assert!(!store.is_on());
        append(&mut file, "a");
        store.abandon_rewrite();
        let mut file = store.begin_rewrite(5).expect("it can begin");
        append(&mut file, "n");
        write_base(&store.temp_base(), "xy");
        watch.expect(&[stale, "xyn"]);
        store.end_rewrite(BaseFormat::Commands).expect("it can end");
        assert!(store.is_on());
        assert_eq!(load(&mut dir.store()), "xyn");
        append(&mut file, "m");
        watch.expect(&["xynm"]);
        assert_eq!(remove_history(&store.history()), []);
        store.forget_history().expect("it can be written");
        watch.check(12);
    }
}

#[test]
fn old_single_file_becomes_the_base() {
    let dir = TempDir::new();
    write_base(&dir.0.join("a.aof"), "abc");
    let mut store = dir.store();
    let size = commands("abc").len() as u64;
    assert_eq!(store.find(), Ok(Existing::OldFile { path: dir.0.join("a.aof"), size }));
    let watch = Watch::new(&dir);
    watch.expect(&["abc"]);
    assert_eq!(load(&mut store), "abc");
    assert_eq!(dir.manifest(), "file a.aof seq 1 type b\n");
    let Ok(Existing::Parts(parts)) = store.find() else { panic!("it is upgraded") };
    assert!(parts[0].may_be_torn && parts[0].is_base);
    let file = start(&mut store);
    rewrite(&mut store, "abc", file);
    watch.check(15);
    assert!(dir.manifest().starts_with("file a.aof.2.base.aof seq 2 type b\n"), "{}", dir.manifest());
    // One that is there beside newer files is another server's.
    write_base(&dir.0.join("a.aof"), "other");
    assert_eq!(load(&mut dir.store()), "abc");
}

#[test]
fn abandoned_rewrites_lose_nothing() {
    let dir = TempDir::new();
    let mut store = dir.store();
    let mut file = start(&mut store);
    append(&mut file, "a");
    let watch = Watch::new(&dir);
    watch.expect(&["a", "ab", "abc"]);
    for letter in ["b", "c"] {
        file = store.begin_rewrite(0).expect("it can begin");
        append(&mut file, letter);
        write_base(&store.temp_base(), "half a ba");
        store.abandon_rewrite();
    }
    assert_eq!(load(&mut dir.store()), "abc");
    assert_eq!(store.manifest().incremental.len(), 3);
    // A rewrite whose base is not there does not end.
    let file = store.begin_rewrite(0).expect("it can begin");
    let error = store.end_rewrite(BaseFormat::Commands).expect_err("there is no base").to_string();
    assert!(error.contains("temp-a.aof.base: cannot be synced"), "{error}");
    store.abandon_rewrite();
    rewrite(&mut store, "abc", file);
    assert_eq!((store.manifest().incremental.len(), store.history().len()), (1, 5));
    watch.check(20);
}

#[test]
fn rewrite_without_appending_replaces_all() {
    let dir = TempDir::new();
    let mut store = dir.store();
    append(&mut start(&mut store), "old");
    store.close(0).expect("it can be written");
    let watch = Watch::new(&dir);
    watch.expect(&["old", "new"]);
    store.begin_base_rewrite().expect("it can begin");
    write_base(&store.temp_base(), "new");
    store.end_rewrite(BaseFormat::Rdb).expect("it can end");
    // The history is still there: its numbers are not taken again.
    append(&mut start(&mut store), "+");
    assert!(dir.manifest().contains("file a.aof.2.incr.aof seq 2 type i"), "{}", dir.manifest());
    assert_eq!(load(&mut dir.store()), "new+");
    watch.expect(&["old", "new", "new+"]);
    drop(watch);
    OBSERVER.with(|place| place.borrow_mut().take());
}

#[test]
fn only_what_nothing_follows_may_be_torn() {
    let dir = TempDir::new();
    let mut store = dir.store();
    let mut file = start(&mut store);
    let torn = |dir: &TempDir| {
        let Ok(Existing::Parts(parts)) = dir.store().find() else { panic!("they are there") };
        parts.iter().map(|part| (part.size, part.may_be_torn)).collect::<Vec<_>>()
    };
    append(&mut file, "a");
    assert_eq!(torn(&dir), [(0, false), (11, true)]);
    let mut file = store.begin_rewrite(0).expect("it can begin");
    assert_eq!(torn(&dir), [(0, false), (11, true), (0, true)]);
    append(&mut file, "b");
    assert_eq!(torn(&dir), [(0, false), (11, false), (11, true)]);
}

/// P035: what cannot be read is not taken for a first start.
#[test]
fn missing_files_are_refused() {
    let dir = TempDir::new();
    let mut store = dir.store();
    append(&mut start(&mut store), "a");
    let base = dir.0.join("aof dir/a.aof.1.base.aof");
    fs::rename(&base, dir.0.join("kept")).expect("it is there");
    let error = dir.store().find().expect_err("the base is missing").to_string();
    assert!(error.contains("a.aof.1.base.aof: is missing, though"), "{error}");
    fs::rename(dir.0.join("kept"), &base).expect("it is there");
    fs::remove_file(store.manifest_path()).expect("it is there");
    let error = dir.store().find().expect_err("the manifest is missing").to_string();
    assert!(error.contains("a.aof.1.incr.aof has 11 bytes of data, but the manifest"), "{error}");
    fs::write(store.manifest_path(), "# x\n\nfile\n").expect("it can be written");
    let error = open(&dir.0).expect_err("it is none").to_string();
    assert!(error.ends_with("a.aof.manifest, line 2: Invalid AOF manifest file format"), "{error}");
}

#[test]
fn history_that_stays_is_kept_in_mind() {
    let dir = TempDir::new();
    let mut store = dir.store();
    let file = start(&mut store);
    drop(rewrite(&mut store, "a", file));
    let history = store.history();
    assert_eq!(history.len(), 2);
    // A directory cannot be removed as a file is.
    fs::remove_file(&history[1]).expect("it is there");
    fs::create_dir(&history[1]).expect("it can be made");
    assert_eq!(remove_history(&history).len(), 1);
    store.forget_history().expect("it can be written");
    assert_eq!(dir.store().history(), history[1..]);
}
