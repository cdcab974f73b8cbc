//! Rules of this repository that no compiler checks: sizes, headers, where `unsafe` may be, which way dependencies point.

use std::path::{Path, PathBuf};

use crate::cases::{FAMILIES, named_commands};

/// A file longer than this is two files.
const FILE_LINES_MAX: usize = 1200;
const LINE_CHARACTERS_MAX: usize = 135;

/// Modules that may open `unsafe`, as prefixes of paths: memory the program manages itself, and the kernel's interfaces.
const UNSAFE: &[&str] = &[
    "src/io/buffers.rs",
    "src/io/uring",
    "src/io/waker.rs",
    "src/script/shared_engine.rs",
    "src/script/lua.rs",
    "src/script/lua/native.rs",
    "src/store/",
    "src/worker/message_ring.rs",
];

/// What each part of `src` may use of the others. What is not listed may use everything.
const USES: &[(&str, &[&str])] = &[
    ("threads", &[]),
    ("threads.rs", &[]),
    ("resp", &[]),
    ("io", &["threads"]),
    ("glob.rs", &[]),
    ("store", &["resp"]),
    ("config", &["glob"]),
    ("security", &["config", "glob"]),
    ("observe", &["config", "security", "store"]),
    ("persist", &["config", "resp", "store", "threads"]),
    ("pubsub", &["config", "glob", "resp", "security", "store"]),
    ("replicate", &["config", "io", "observe", "persist", "resp", "security", "store", "threads"]),
    (
        "command",
        &[
            "config",
            "glob",
            "observe",
            "persist",
            "pubsub",
            "replicate",
            "resp",
            "script",
            "security",
            "store",
            "threads",
        ],
    ),
    ("script", &["config", "resp"]),
    ("exec", &["command", "io", "observe", "resp", "store"]),
    ("admin", &["command", "config", "observe", "replicate"]),
    ("net", &["command", "config", "exec", "io", "observe", "resp", "store"]),
];

/// Words that must not be in the code, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished code is not committed"),
    (concat!("unimpl", "emented!("), "unfinished code is not committed"),
    (concat!("db", "g!("), "for debugging only"),
    (concat!(".unw", "rap()"), "expect says why it cannot fail"),
    (concat!("FIX", "ME"), "an issue says it better"),
    (concat!("XX", "X "), "an issue says it better"),
];

/// Where the server may sleep: nowhere but here.
const SLEEPS: &[(&str, &str)] = &[
    ("src/command/server/debug", "DEBUG SLEEP"),
    ("src/persist/rdb_target.rs", "rdb-key-save-delay, on a thread of its own"),
    ("src/net/listener.rs", "before anything is served: an address that a killed server still holds"),
    ("tests/harness/mod.rs", "what is awaited is polled"),
    ("bench/src/compare/server.rs", "another program's start is polled"),
    ("bench/tests/running/server.rs", "another program's start is polled"),
    ("tests/tidy.rs", "this list"),
];

fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = ["src", "bench", "tests"].map(|dir| root.join(dir)).into();
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !name.ends_with("/target") {
            let entries = std::fs::read_dir(&path).expect("it can be read");
            pending.extend(entries.map(|entry| entry.expect("it can be read").path()));
        } else if name.ends_with(".rs") {
            files.push((name, std::fs::read_to_string(&path).expect("it is text")));
        }
    }
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

#[track_caller]
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// What is found in each line of each file.
fn in_lines(look: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files() {
        for (index, line) in text.lines().enumerate() {
            found.extend(look(&name, line).map(|what| format!("{name}:{}: {what}", index + 1)));
        }
    }
    found
}

#[test]
fn files_are_of_a_size_one_can_read() {
    let long = files().into_iter().filter(|(_, text)| text.lines().count() > FILE_LINES_MAX);
    none("files to be split", &long.map(|(name, _)| name).collect::<Vec<_>>());
    let wide = in_lines(|name, line| {
        let data = name.starts_with("tests/cases/") || name.contains("table") || line.contains('"');
        let length = line.chars().count();
        (length > LINE_CHARACTERS_MAX && !data).then(|| format!("{length} characters"))
    });
    none("lines to be wrapped", &wide);
}

#[test]
fn files_say_what_they_are() {
    let bare = files().into_iter().filter(|(_, text)| !text.starts_with("//!") && !text.starts_with("#!["));
    none("files without a header", &bare.map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn unsafe_is_where_it_may_be() {
    let word = concat!("expect(unsafe", "_code");
    let other = concat!("allow(unsafe", "_code");
    let opened = in_lines(|name, line| {
        let opens = line.contains(word) || line.contains(other);
        (opens && !UNSAFE.iter().any(|module| name.starts_with(module))).then(|| line.trim().to_owned())
    });
    none("unsafe opened where it may not be", &opened);
}

#[test]
fn dependencies_point_one_way() {
    let parts: Vec<&str> = [
        "admin",
        "command",
        "config",
        "doctor",
        "exec",
        "glob",
        "io",
        "net",
        "observe",
        "persist",
        "pubsub",
        "replicate",
        "resp",
        "script",
        "security",
        "store",
        "threads",
        "worker",
    ]
    .into();
    let wrong = in_lines(|name, line| {
        let part = name.strip_prefix("src/")?.split('/').next()?;
        let (_, allowed) = USES.iter().find(|(user, _)| *user == part)?;
        let used = line.split("crate::").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        });
        let own = part.trim_end_matches(".rs");
        let mut wrong = used.filter(|used| *used != own && parts.contains(used) && !allowed.contains(used));
        wrong.next().map(|used| format!("{own} knows nothing of {used}"))
    });
    none("dependencies that point the wrong way", &wrong);
}

/// Where types of values are told apart, besides a type's own commands; strings are every key's simplest value and may be named
/// anywhere.
const KNOW_TYPES: &[&str] =
    &["src/store/value/", "src/store/entry", "src/store/play.rs", "src/persist/rdb/value.rs", "tests/"];
const TYPES: &[(&str, &str)] =
    &[("List", "list"), ("Set", "set"), ("SortedSet", "sorted_set"), ("Hash", "hash"), ("Stream", "stream")];

/// What serves all types does so by one contract (`store/value/external.rs`, `view.rs`): a `match` over types elsewhere is one
/// that the next type would be missing from.
#[test]
fn only_a_type_itself_names_it() {
    let wrong = in_lines(|name, line| {
        let named = TYPES.iter().filter(|(ty, family)| {
            let is_family = name.starts_with(&format!("src/command/{family}/"));
            let names = ["Type", "View", "External", "NewValue"].map(|of| format!("{of}::{ty}"));
            !is_family && names.iter().any(|name| contains_word(line, name))
        });
        let known = KNOW_TYPES.iter().any(|place| name.starts_with(place));
        named.filter(|_| !known).map(|(ty, _)| format!("names the type {ty}")).next()
    });
    none("types named outside of their own code", &wrong);
    assert!(contains_word("match Type::Set {", "Type::Set") && !contains_word("Type::SetOf", "Type::Set"));
}

/// Whether a line has these words, and not as the beginning or the end of longer ones.
fn contains_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(inside) && !line[at + word.len()..].starts_with(inside))
}

#[test]
fn nothing_is_left_over() {
    let found = in_lines(|name, line| {
        let word = FORBIDDEN.iter().find(|(word, _)| line.contains(word) && name != "tests/tidy.rs");
        word.map(|(word, why)| format!("{word}: {why}"))
    });
    none("words that must not be in the code", &found);
    let sleeps = in_lines(|name, line| {
        let allowed = SLEEPS.iter().any(|(file, _)| name.starts_with(file));
        (line.contains("thread::sleep") && !allowed).then(|| "sleeps".to_owned())
    });
    none("code that sleeps", &sleeps);
}

/// `tests/loom` compiles what it is told to; a model elsewhere would never run.
#[test]
fn every_loom_model_is_run() {
    let modelled = files().into_iter().filter(|(_, text)| text.contains(concat!("mod loom", "_models")));
    let modelled: Vec<String> = modelled.map(|(name, _)| name).collect();
    assert!(modelled.len() > 2, "only {modelled:?} have models");
    let listed = include_str!("loom/lib.rs");
    let missing = modelled.into_iter().filter(|name| !listed.contains(&format!("\"../../{name}\"")));
    none("files whose models do not run", &missing.collect::<Vec<_>>());
}

/// Commands that no case names, and why.
const WITHOUT_CASE: &[(&str, &str)] = &[
    ("shutdown", "tests/startup.rs: it ends the server"),
    ("monitor", "tests/multi.rs: its lines carry times"),
    ("config|rewrite", "needs a server with a file: src/config"),
];

#[test]
fn every_command_has_a_case() {
    let named = named_commands();
    let missing: Vec<String> = torc::command::table()
        .rows()
        .iter()
        .filter(|row| row.command.subcommands.is_empty())
        .map(|row| row.full_name.clone())
        .filter(|name| !named.contains(name) && !WITHOUT_CASE.iter().any(|(known, _)| known == name))
        .collect();
    none("commands that no case names", &missing);
    let cases: usize = FAMILIES.iter().map(|(_, cases)| cases.len()).sum();
    assert!(cases > 50, "only {cases} cases");
}
