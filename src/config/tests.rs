//! Tests of the configuration as a whole: the table, a start, GET, SET, REWRITE, and Redis's own opinion of
//! them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::{fs, process};

use proptest::prelude::*;

use super::domain::Mode;
use super::load::Origin;
use super::*;

fn start(args: &[&str]) -> Result<Startup, Fatal> {
    start_with(args, "")
}

pub(super) fn start_with(args: &[&str], stdin: &str) -> Result<Startup, Fatal> {
    Config::from_args(args.iter().map(OsString::from), &mut stdin.as_bytes())
}

fn config(args: &[&str]) -> Config {
    start(args).unwrap_or_else(|error| panic!("{args:?}: {error}")).config
}

fn refusal(args: &[&str]) -> String {
    start(args).err().unwrap_or_else(|| panic!("{args:?} should be refused")).to_string()
}

pub(super) fn value(config: &Config, name: &str) -> String {
    let [(_, value)] = get(config, &[name]).try_into().unwrap_or_else(|_| panic!("{name} is one directive"));
    String::from_utf8_lossy(&value).into_owned()
}

/// What CONFIG REWRITE makes of `old`, with the users that the configuration declares.
pub(super) fn rewritten(config: &Config, old: &[u8]) -> Vec<u8> {
    let users = &config.file_only.users;
    rewrite(config, &as_declared(users), old, "".as_ref()).unwrap_or_else(|reason| panic!("{reason}"))
}

/// Users whose lines come to themselves.
pub(super) fn as_declared(lines: &[UserLine]) -> RewrittenUsers<'_> {
    RewrittenUsers { lines, canonical: &|line| Some(line.clone()) }
}

/// A directory of its own for a test, removed when dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("torc-config-{name}-{}", process::id()));
        fs::create_dir_all(&path).expect("the temporary directory takes a directory");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the scratch directory takes a file");
        path.to_str().expect("scratch paths are text").to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn names_are_unique_and_well_formed() {
    let mut names = HashSet::new();
    for directive in table() {
        for name in [Some(directive.name), directive.alias].into_iter().flatten() {
            assert!(names.insert(name), "{name} stands twice");
            assert!(
                name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')),
                "{name}"
            );
        }
        assert!(directive.help.ends_with('.'), "{}: help is a sentence", directive.name);
    }
}

#[test]
fn every_default_survives_being_shown_and_read() {
    let default = Config::default();
    for directive in table() {
        let shown = directive.format(&default);
        let mut read = default.clone();
        let words: Vec<Vec<u8>> = if directive.flags.has(Flags::MULTI) {
            shown.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect()
        } else {
            vec![shown.clone()]
        };
        let result = directive.parse(&mut read, &words, Mode::Set);
        // A replica of nothing has no words for it.
        if directive.name != "replicaof" {
            assert_eq!(result, Ok(()), "{}", directive.name);
        }
        assert_eq!(read, default, "{}", directive.name);
    }
}

#[test]
fn options_read_as_redis_server_reads_them() {
    let read = config(&["--port", "0", "--bind", "a", "-b", "--save", ""]);
    assert_eq!((read.port, read.hz, read.save.0.len()), (0, 10, 0));
    assert_eq!(value(&read, "bind"), "a -b");
    assert!(read.bind.0[1].optional);

    let read = config(&["--save", "900", "1", "--save", "60 5", "--maxmemory", "1gb", "--port 7000"]);
    assert_eq!(value(&read, "save"), "900 1 60 5");
    assert_eq!((read.maxmemory, read.port), (1 << 30, 7000));

    let read = config(&["--save", "--port", "7"]);
    assert_eq!((read.save.0.len(), read.port), (0, 7));
    assert_eq!(value(&config(&["--requirepass", "--x"]), "requirepass"), "--x");
    assert_eq!(value(&config(&["--bind"]), "bind"), "");
    assert_eq!(value(&config(&["--save", "900 1", "--save", ""]), "save"), "");
}

#[test]
fn the_file_then_stdin_then_options_win() {
    let scratch = Scratch::new("order");
    let file = scratch.file("torc.conf", "port 1\nhz 1\ntimeout 1\n");
    let startup = start_with(&[&file, "--timeout", "3", "-"], "hz 2\ntimeout 2\n").expect("it starts");
    let read = &startup.config;
    assert_eq!((read.port, read.hz, read.timeout), (1, 2, 3));
    let directory = std::env::current_dir().expect("there is one");
    assert_eq!(startup.sources.file, Some(ConfigFile { path: file.into(), directory }));
    assert_eq!(start_with(&["-", "--timeout", "3"], "hz 2").expect("it starts").config.hz, 2);
    assert_eq!(start(&["-v"]).map(|startup| startup.action), Ok(Action::Version));
    assert_eq!(start(&["--help"]).map(|startup| startup.action), Ok(Action::Help));
    let check = |args: &[&str]| start(&[&["--check-aof"], args].concat()).map(|startup| startup.action).ok();
    assert_eq!(check(&["a"]), Some(Action::CheckAof { fixes: false, until_s: None }));
    let both = ["--fix", "--truncate-to-timestamp", "7", "a"];
    assert_eq!(check(&both), Some(Action::CheckAof { fixes: true, until_s: Some(7) }));
    for wrong in [&[][..], &["a", "b"], &["--truncate-to-timestamp", "0", "a"]] {
        assert_eq!(check(wrong), None, "{wrong:?}");
    }
}

#[test]
fn includes_are_read_in_place_and_in_order() {
    let scratch = Scratch::new("include");
    let directory = scratch.0.display().to_string();
    scratch.file("b.conf", "hz 3\ntimeout 3\n");
    scratch.file("a.conf", "hz 2\n");
    scratch.file(".hidden.conf", "hz 99\n");
    let main = scratch
        .file("main", &format!("hz 1\ninclude {directory}/*.conf\ninclude {directory}/*.none\ntimeout 4"));
    let read = config(&[&main]);
    assert_eq!((read.hz, read.timeout), (3, 4));

    let circle = scratch.file("circle", &format!("include {directory}/circle\n"));
    assert!(refusal(&[&circle]).contains("too deeply"));
    let inner = scratch.file("inner", "\n\nfoo bar\n");
    let outer = scratch.file("outer", &format!("include {inner}\n"));
    assert!(refusal(&[&outer]).contains(&format!("{inner}, at line 3\n>>> 'foo bar'\n")));
    let missing = scratch.file("missing", "include /nonexistent.conf\n");
    let refused = refusal(&[&missing]);
    let place = format!("{missing}, at line 1\n>>> 'include /nonexistent.conf'\n");
    let reason = "Fatal error, can't open config file '/nonexistent.conf': No such file or directory";
    assert!(refused.ends_with(&format!("{place}{reason}")), "{refused}");
}

#[test]
fn refusals_name_the_place_and_say_why() {
    let scratch = Scratch::new("refusals");
    let bad = "Bad directive or wrong number of arguments";
    let cases = [
        ("foo bar", bad),
        ("include a b", bad),
        ("rename-command a", bad),
        ("user", bad),
        ("timeout", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        ("dir \"abc", "Unbalanced quotes in configuration line"),
        ("port abc", "argument couldn't be parsed into an integer"),
        ("port 65536", "argument must be between 0 and 65535 inclusive"),
        ("unixsocketperm 999", "argument couldn't be parsed as an octal number"),
        ("unixsocketperm 1000", "argument must be between 0 and 777 inclusive"),
        ("save 900", "Invalid save parameters"),
        ("replicaof a b", "Invalid master port"),
        ("slaveof a", "wrong number of arguments"),
        ("dir /nonexistent", "No such file or directory"),
        ("dbfilename a/b", "dbfilename can't be a path, just a filename"),
        ("loadmodule /m.so", "Torc has no modules"),
        ("sentinel", bad),
        ("sentinel monitor mymaster 127.0.0.1 6379 2", "sentinel directive while not in sentinel mode"),
        ("mptcp", "wrong number of arguments"),
        ("shards 3", "argument must be 0 or a power of two up to 4096"),
        ("worker-cpus 2-1", "argument must be a list of distinct CPUs such as 0,2-5"),
        ("io-backend aio", "argument(s) must be one of the following: auto, io_uring, epoll"),
    ];
    for (line, reason) in cases {
        let file = scratch.file("bad.conf", &format!("# comment\nport 1\n  {line}\r\n"));
        let expected = format!(
            "\n*** FATAL CONFIG FILE ERROR (Torc {TORC_VERSION}, Redis 8.2.3) ***\n\
             Reading the configuration file {file}, at line 3\n>>> '{line}'\n{reason}"
        );
        assert_eq!(refusal(&[&file]), expected);
    }
    let error = start(&["--hz", "5", "--port", "x"]).expect_err("x is no port");
    let Fatal::Line { origin, number, line, .. } = &error else { panic!("{error:?}") };
    assert_eq!((origin, *number, line.as_str()), (&Origin::CommandLine, 2, "port \"x\""));
    assert!(error.to_string().contains("\nReading the command line, at option 2\n>>> 'port \"x\"'\n"));
    assert!(start_with(&["-"], "x").expect_err("x is no line").to_string().contains("from stdin, at line 1"));
    assert!(
        refusal(&["/nonexistent"]).starts_with("Fatal error, can't open config file '/nonexistent': No such")
    );
    assert!(refusal(&["--test-memory", "1"]).contains("--test-memory"));
    assert!(refusal(&["--port=7"]).ends_with(">>> 'port=7'\nBad directive or wrong number of arguments"));
}

#[test]
fn what_has_no_effect_is_listed_once() {
    let startup =
        start(&["--io-threads", "4", "--hz", "5", "--io-threads", "2", "--list-compress-depth", "1"]);
    assert_eq!(
        startup.expect("it starts").warnings,
        ["accepted without effect: io-threads, list-compress-depth"]
    );
    assert!(start(&["--hz", "5"]).expect("it starts").warnings.is_empty());
}

/// The defaults that a whole redis.conf repeats used to hide a `replicaof` among them.
#[test]
fn only_what_asks_for_something_is_named() {
    let warnings = |lines: &str| start_with(&["-"], lines).unwrap_or_else(|error| panic!("{error}")).warnings;
    let nothing = "appendonly no\nsave 3600 1\nsave \"\"\nio-threads 4\nio-threads 1\nshutdown-on-sigterm nosave now\n\
        cluster-enabled no\nreplicaof no one\nmaxmemory-clients 0\nlua-replicate-commands yes\nmptcp yes\nmptcp no\n\
        io-threads-do-reads yes\n";
    assert_eq!(warnings(nothing), Vec::<String>::new());
    let all = "save 3600 1 300 100 60 10000\nsyslog-enabled yes\nprimaryauth secret\nrdma-port 7000\n";
    let said = warnings(all);
    let syslog = |line: &&String| line.starts_with("'syslog-enabled' is accepted without effect: ");
    assert_eq!(said.iter().filter(syslog).count(), 1, "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("accepted without effect: rdma-port"));
    assert_eq!(said.len(), 2, "{said:?}");
}

/// Such files started a server that did not do what they ask for.
#[test]
fn what_would_lose_or_expose_data_stops_the_start() {
    let cases =
        [("cluster-enabled yes", "say 'cluster-enabled no'"), ("import-mode yes", "Say 'import-mode no'")];
    for (line, remedy) in cases {
        let error = start_with(&["-"], &format!("hz 10\n{line}\nhz 10\n")).expect_err(line).to_string();
        assert!(error.contains(&format!("from stdin, at line 2\n>>> '{line}'\n")), "{error}");
        assert!(error.contains(remedy), "{error}");
        let option = format!("--{line}");
        let words: Vec<&str> = ["--hz", "10"].into_iter().chain(option.split(' ')).collect();
        let error = refusal(&words);
        assert!(error.contains("Reading the command line, at option 2") && error.contains(remedy), "{error}");
    }
    // What comes later counts, and whoever reads the log learns which line it was.
    let takes_back = "cluster-enabled yes\ncluster-enabled no\n";
    assert!(start_with(&["-"], takes_back).is_ok());
    let twice = start_with(&["-"], "cluster-enabled yes\nhz 10\ncluster-enabled YES\n");
    let twice = twice.expect_err("it is on").to_string();
    assert!(twice.contains("at line 3\n>>> 'cluster-enabled YES'\n"), "{twice}");
    assert!(start_with(&["-", "--cluster-enabled", "no"], "cluster-enabled yes\n").is_ok());
    // Redis's reason for what it refuses too.
    for lines in ["cluster-enabled yes\nreplicaof a 1\n", "replicaof a 1\ncluster-enabled yes\n"] {
        let error = start_with(&["-"], lines).expect_err("Redis refuses it").to_string();
        assert!(
            error.ends_with(">>> 'replicaof a 1'\nreplicaof directive not allowed in cluster mode"),
            "{error}"
        );
    }
}

/// Directives without a reader outside of the configuration that are true all the same, and why.
const TRUE_BY_DESIGN: &[(&str, &str)] = &[
    ("enable-protected-configs", "CONFIG SET itself obeys it"),
    ("hide-user-data-from-log", "keys and values are never logged"),
    ("lazyfree-lazy-user-del", "large values are always freed in slices"),
    ("sanitize-dump-payload", "every payload is checked deeply"),
];

/// Some thirty directives were accepted that nobody read, and not named in the warning.
#[test]
fn every_directive_is_obeyed_or_marked() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut code = String::new();
    let mut pending = vec![root.clone()];
    while let Some(path) = pending.pop() {
        if path == root.join("config") {
            continue;
        }
        match fs::read_dir(&path) {
            Ok(entries) => pending.extend(entries.flatten().map(|entry| entry.path())),
            Err(_) => code += &fs::read_to_string(&path).expect("source is text"),
        }
    }
    let is_read = |directive: &Directive| {
        let field = format!(".{}", directive.name.replace('-', "_"));
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        code.match_indices(&field).any(|(place, _)| ends(&code[place + field.len()..]))
    };
    let by_design = |directive: &Directive| TRUE_BY_DESIGN.iter().any(|(name, _)| *name == directive.name);
    let dead =
        table().iter().filter(|known| !known.flags.has(Flags::INERT) && !is_read(known) && !by_design(known));
    let dead: Vec<&str> = dead.map(|known| known.name).collect();
    assert_eq!(dead, Vec::<&str>::new(), "neither read nor marked INERT");
    for (name, _) in TRUE_BY_DESIGN {
        let known = lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is no directive"));
        assert!(!known.flags.has(Flags::INERT) && !is_read(known), "{name} need not be listed");
    }
}

#[test]
fn lines_of_a_file_only_are_kept() {
    let scratch = Scratch::new("fileonly");
    let file = scratch
        .file("f", "rename-command CONFIG \"\"\nUSER default ON nopass sanitize-payload allkeys &* +@ALL\naclfile \"\"\nlua-replicate-commands yes\n");
    let startup = start(&[&file]).expect("it starts");
    let extra = &startup.config.file_only;
    assert_eq!(extra.renamed_commands, [("CONFIG".into(), "".into())]);
    assert_eq!((extra.users.len(), extra.users[0].name.as_slice()), (1, &b"default"[..]));
    assert_eq!(extra.users[0].rules.len(), 6);
    assert_eq!(startup.warnings, Vec::<String>::new());
}

/// Users in two places: whoever changes one would not know of the other.
#[test]
fn users_stand_in_one_place_and_once() {
    let both = start_with(&["-"], "user alice on\naclfile /etc/users.acl\n").expect_err("Redis refuses it");
    assert!(both.to_string().contains("from stdin, at line 2\n>>> 'aclfile /etc/users.acl'\n"), "{both}");
    assert!(start_with(&["-"], "aclfile /etc/users.acl\n").is_ok());
    let twice = "user default on nopass ~* &* +@all\nUSER default on >a ~* &* +@all\n";
    let error = start_with(&["-"], twice).expect_err("Redis refuses it").to_string();
    let end = "Error in user declaration 'default': Duplicate user found. A user can only be defined once in config files";
    assert!(error.contains("at line 2") && error.ends_with(end), "{error}");
}

/// The error of a start repeated the line that it was about, with the password in it, and went to the log.
#[test]
fn errors_show_no_password() {
    let lines = [
        "user default on >sekret ~* +@all\nuser default on >sekret",
        "requirepass sekret sekret",
        "primaryauth sekret sekret",
        "masterauth \"sekret",
        "tls-key-file-pass sekret \"a",
    ];
    for line in lines {
        let error = start_with(&["-"], &format!("port 1\n{line}\n")).expect_err(line).to_string();
        assert!(error.contains("(redacted)") && !error.contains("sekret"), "{error}");
    }
}

#[test]
fn debians_file_starts_torc() {
    // The directives that Debian's redis.conf of 7.0 sets, with its values where they do not depend on the
    // host.
    const LINES: &str = "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\ntimeout 0\n\
        tcp-keepalive 300\ndaemonize yes\npidfile /run/redis/redis-server.pid\nloglevel notice\n\
        logfile /var/log/redis/redis-server.log\ndatabases 16\nalways-show-logo no\nset-proc-title yes\n\
        proc-title-template \"{title} {listen-addr} {server-mode}\"\nstop-writes-on-bgsave-error yes\n\
        rdbcompression yes\nrdbchecksum yes\ndbfilename dump.rdb\nrdb-del-sync-files no\ndir /\n\
        replica-serve-stale-data yes\nreplica-read-only yes\nrepl-diskless-sync yes\nacllog-max-len 128\n\
        oom-score-adj no\noom-score-adj-values 0 200 800\ndisable-thp yes\nappendonly no\n\
        appendfilename \"appendonly.aof\"\nappenddirname \"appendonlydir\"\nappendfsync everysec\n\
        auto-aof-rewrite-min-size 64mb\nnotify-keyspace-events \"\"\nlist-max-listpack-size -2\n\
        client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n\
        client-output-buffer-limit pubsub 32mb 8mb 60\nhz 10\ndynamic-hz yes\njemalloc-bg-thread yes\n";
    let read = start_with(&["-"], LINES).expect("these lines are good").config;
    assert_eq!(value(&read, "bind"), "127.0.0.1 -::1");
    assert_eq!(read.client_output_buffer_limit, Config::default().client_output_buffer_limit);

    let Ok(text) = fs::read_to_string("/etc/redis/redis.conf") else { return };
    // The directory may be missing where the file was only copied.
    let text: String =
        text.lines().filter(|line| !line.starts_with("dir ")).map(|line| format!("{line}\n")).collect();
    let startup = start_with(&["-"], &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(startup.config.port, 6379);
    assert_eq!(startup.warnings, Vec::<String>::new(), "it asks for nothing that Torc does not do");
}

#[test]
fn our_own_file_starts_torc_and_says_nothing_new() {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/torc.conf")).expect("it is there");
    let text = text.replace("dir /var/lib/torc", "dir /");
    let startup = start_with(&["-"], &text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(startup.warnings, Vec::<String>::new(), "our own file has no directive without effect");
    for paragraph in text.split("\n\n") {
        let bare = paragraph.lines().find(|line| !line.is_empty());
        assert!(
            bare.is_none_or(|line| line.starts_with('#')),
            "each directive stands under its reason: {paragraph}"
        );
    }
}

#[test]
fn get_knows_globs_aliases_and_hidden_names() {
    let default = Config::default();
    let names = |patterns: &[&str]| -> Vec<String> {
        get(&default, patterns)
            .into_iter()
            .map(|(name, _)| String::from_utf8_lossy(&name).into_owned())
            .collect()
    };
    assert_eq!(names(&["*-PRIORITY", "PORT", "port"]), ["replica-priority", "slave-priority", "PORT"]);
    assert_eq!(names(&["p?rt", "PORT"]), ["port"]);
    assert_eq!(names(&["slaveof"]), ["slaveof"]);
    assert_eq!(names(&["rdb-key*"]), Vec::<String>::new());
    assert_eq!(names(&["rdb-key-save-delay"]), ["rdb-key-save-delay"]);
    assert_eq!(names(&["nosuch", "\\port"]), Vec::<String>::new());
    let all = names(&["*", "*"]);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

#[test]
fn set_is_all_or_nothing() {
    let old = Config::default();
    let new = set(&old, &[("hz", "1000"), ("MAXMEMORY", "100mb")], Caller::Remote).expect("both are good");
    assert_eq!((new.hz, new.maxmemory), (500, 100 << 20));
    let error = set(&old, &[("hz", "5"), ("port", "x"), ("timeout", "9")], Caller::Remote);
    assert!(error.expect_err("x is no port").to_string().contains("'port'"));
    let dir = [("dir", "/")];
    let local = Config { enable_protected_configs: ProtectedAction::Local, ..old.clone() };
    assert!(set(&old, &dir, Caller::Local).is_err());
    assert!(set(&local, &dir, Caller::Remote).is_err());
    assert_eq!(set(&local, &dir, Caller::Local).expect("a local client may").dir.lossy(), "/");
}

#[test]
fn rewrite_keeps_comments_and_order() {
    let scratch = Scratch::new("rewrite");
    let old = "# top\nport 7391\n\nsave 900 1\nsave 300 10\n# mid\n\n\n\
        hash-max-ziplist-entries 100\ntimeout 5\n\
        timeout 7\nbind 127.0.0.1\nuser default on nopass sanitize-payload ~* &* +@all\nrename-command KEYS \"\"\nnosuch 1\n";
    let file = scratch.file("torc.conf", &old.replace("nosuch 1\n", ""));
    let pairs = [("save", "60 5"), ("maxmemory", "100mb"), ("maxmemory-clients", "5%"), ("port", "6379")];
    let changed = set(&config(&[&file]), &pairs, Caller::Local).expect("the pairs are good");
    let text = String::from_utf8(rewritten(&changed, old.as_bytes())).expect("it is text");
    let directory = quote(&changed.dir);
    let expected = format!(
        "# top\nport 6379\n\nsave 60 5\n\n# mid\n\nhash-max-listpack-entries 100\ntimeout 7\n\n\
         bind 127.0.0.1\nuser default on nopass sanitize-payload ~* &* +@all\nrename-command KEYS \"\"\n# ??? nosuch 1\n\
         # Generated by CONFIG REWRITE\ndir {}\n\
         maxmemory 100mb\nmaxmemory-clients 5%\n",
        String::from_utf8_lossy(&directory)
    );
    assert_eq!(text, expected);

    write_atomically(file.as_ref(), text.as_bytes()).expect("the scratch directory takes a file");
    assert_eq!(config(&[&file]), changed);
    assert_eq!(rewritten(&changed, text.as_bytes()), text.as_bytes(), "a second rewrite changes nothing");
    assert_eq!(fs::read_dir(&scratch.0).expect("it is there").count(), 1, "no temporary file is left");
}

#[test]
fn the_number_of_workers_follows_what_was_said() {
    assert!(worker_count(&Config::default()) >= 1);
    assert_eq!(worker_cpus(&config(&["--worker-cpus", "3,0-1"])), [3, 0, 1]);
    assert_eq!(worker_cpus(&config(&["--worker-cpus", "4", "--workers", "2"])), [4, 4]);
    assert_eq!(value(&config(&["--worker-cpus", "3,0-1,2,5-6"]), "worker-cpus"), "3,0-2,5-6");
    assert_eq!(worker_cpus(&config(&["--workers", "1"])), available_cpus()[..1]);
    // More than there may be used to end the start with an assertion, on a host with as many processors too.
    assert_eq!(worker_count(&config(&["--worker-cpus", "0-99"])), WORKERS_MAX);
    assert_eq!(worker_count(&config(&["--workers", "64"])), WORKERS_MAX);
    let refused = refusal(&["--workers", "65"]);
    assert!(refused.contains("argument must be between 0 and 64 inclusive"), "{refused}");
}

#[test]
fn help_names_every_directive_of_our_own() {
    let text = help();
    for directive in table().iter().filter(|directive| directive.flags.has(Flags::OWN)) {
        assert!(text.contains(&format!("--{} ", directive.name)), "{}", directive.name);
    }
    assert_eq!(
        version_line("x"),
        format!("Torc server v={TORC_VERSION} (Redis 8.2.3 compatible) bits=64 build=x")
    );
}

/// Names with values that are right, wrong and odd.
fn any_setting() -> impl Strategy<Value = (String, String)> {
    let name = (0..table().len()).prop_map(|index| table()[index].name.to_string());
    let value = prop_oneof![
        "-?[0-9]{1,20}",
        "[0-9]{1,4}(k|kb|mb|GB|b|%|x)",
        "(yes|no|save|now|local|always|debug|allkeys-lru)",
        "[ -~]{0,20}",
        "(normal|replica|pubsub|x) [0-9]{1,3}mb 0 [0-9]{1,3}",
        "[AgKElshzxetdmn$]{0,6}",
        "[0-9]{1,4} [0-9]{1,4}( [0-9]{1,4})?",
    ];
    (name, value)
}

proptest! {
    #[test]
    fn what_is_set_survives_a_rewrite(settings in proptest::collection::vec(any_setting(), 1..20)) {
        let mut changed = Config { enable_protected_configs: ProtectedAction::Yes, ..Config::default() };
        for pair in &settings {
            if let Ok(next) = set(&changed, std::slice::from_ref(pair), Caller::Local) {
                changed = next;
            }
        }
        let text = rewritten(&changed, b"# nothing yet\n");
        let read = start_with(&["-"], &String::from_utf8_lossy(&text));
        let read = read.unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&text)));
        // The password stands in the line of the default user.
        let read = Config { requirepass: changed.requirepass.clone(), ..read.config };
        prop_assert_eq!(read, changed);
    }

    #[test]
    fn any_lines_start_or_are_refused_with_their_number(
        lines in proptest::collection::vec("[ -~]{0,30}", 0..8),
    ) {
        let text = lines.join("\n");
        if let Err(Fatal::Line { number, line, .. }) = start_with(&["-"], &text) {
            prop_assert_eq!(lines[number - 1].trim_ascii(), line.as_str());
        }
    }
}

/// A rewritten file used to lose the `n` of `notify-keyspace-events KAn`: CONFIG GET does not show it beside `A`, as Redis.
#[test]
fn events_beyond_all_survive_a_rewrite() {
    let set = [("notify-keyspace-events", "KAn")];
    let changed = crate::config::set(&Config::default(), &set, Caller::Local).expect("valid letters");
    let text = String::from_utf8(rewritten(&changed, b"")).expect("text");
    let line = text.lines().find(|line| line.starts_with("notify-keyspace-events")).expect("it is written");
    assert!(line.contains('A') && line.contains('n') && line.contains('K'), "{line}");
}
