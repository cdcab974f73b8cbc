//! Functions beyond single replies: what they keep on many workers, libraries in files and on replicas, functions without end.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::harness::{Client, Server, Value, redis_program, until};

const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)\n\
    redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end, \
    flags={'no-writes'}, description='reads'}";

fn load(client: &mut Client, text: &str) {
    let reply = client.call(&["FUNCTION", "LOAD", "REPLACE", text]);
    assert!(!reply.is_error(), "{reply}");
}

fn field(client: &mut Client, name: &str) -> u64 {
    let info = client.ask("INFO everything").string();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).expect("there is such a number")
}

fn check_works(server: &Server) {
    let mut client = server.client();
    assert!(until(|| client.ask("PING").string() == "PONG"), "{}", server.log());
    assert!(until(|| client.ask("FCALL put 1 k v").string() == "OK"), "{}", server.log());
    assert_eq!(client.ask("FCALL_RO get 1 k").string(), "v");
}

/// Clients of several workers count with one variable of a library: no number comes twice, and none is left out.
#[test]
fn what_functions_keep_is_one_for_all_workers() {
    const CALLS: usize = 200;
    let kept = [
        "local n = 0 redis.register_function('next', function() n = n + 1 return n end)",
        "local t = {n = 0} redis.register_function('next', function(k) redis.call('INCR', k[1] or 'none') t.n = t.n + 1 return t.n end)",
        "local t = {} redis.register_function('next', function() t[#t + 1] = true return #t end)",
        "local inner = {} local t = {inner} redis.register_function('next', function() inner.n = (inner.n or 0) + 1 return t[1].n end)",
        "local function counter() local n = 0 return function() n = n + 1 return n end end \
         local c = counter() redis.register_function('next', function() return c() end)",
        "local it = ('x'):rep(1000000):gmatch('()x') redis.register_function('next', function() return it() end)",
    ];
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        for text in kept {
            load(&mut server.client(), &format!("#!lua name=lib\n{text}"));
            let mut numbers: Vec<i64> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|number: usize| {
                        let mut client = server.client();
                        scope.spawn(move || {
                            let call = |at: usize| {
                                let key = format!("FCALL next 1 k{number}");
                                let reply =
                                    client.ask(if at.is_multiple_of(2) { "FCALL next 0" } else { &key });
                                reply.int().unwrap_or_else(|| panic!("no number: {reply}"))
                            };
                            (0..CALLS).map(call).collect::<Vec<_>>()
                        })
                    })
                    .collect();
                threads.into_iter().flat_map(|thread| thread.join().expect("it counts")).collect()
            });
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(1..=3 * CALLS as i64), "{workers} workers: {text}");
        }
    }
}

/// A library that keeps nothing runs on the worker of whoever calls it: none of its calls asks for all leases.
#[test]
fn libraries_that_keep_nothing_run_everywhere() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let text = "#!lua name=lib\n\
        local limits, deep = {a = 1, b = 2}, {{x = {}}}\n\
        local function double(x) return 2 * x end\n\
        redis.register_function('f', function(k, a) local sum = 0 \
        local function add(x) sum = sum + x end add(double(limits.b)) add(#deep) return sum end)";
    load(&mut client, text);
    for number in 0..100 {
        let mut client = server.client();
        assert_eq!(client.ask(&format!("FCALL f 1 k{number}")).int(), Some(5));
    }
    assert_eq!(server.workers_sum("scripts_again"), 0);
}

/// What a script did that had to run again, as a function of it keeps something, is not done twice.
#[test]
fn run_that_changes_state_is_taken_back_first() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    load(
        &mut client,
        "#!lua name=lib\nlocal seen = {} redis.register_function('f', function(k, a) \
         redis.call('INCR', k[1]) seen[a[1]] = true redis.call('RPUSH', 'list', a[1]) return redis.call('GET', k[1]) end)",
    );
    for number in 1..=20 {
        assert_eq!(client.ask(&format!("FCALL f 1 k a{number}")).string(), number.to_string());
    }
    assert_eq!(client.ask("LLEN list").int(), Some(20));
    assert!(server.workers_sum("scripts_again") >= 20);
}

#[test]
fn library_that_fails_leaves_nothing() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    load(&mut client, LIBRARY);
    let before = client.ask("FUNCTION LIST WITHCODE");
    let bad = [
        "redis.register_function('new', function() end) redis.nosuch()",
        "redis.register_function('new', function() end) while true do end",
        "redis.register_function('new', function() end) local t = {} while true do t[#t + 1] = ('x'):rep(1000000) end",
        "redis.register_function('new', function() end) redis.register_function('new', function() end)",
    ];
    for text in bad {
        let reply = client.call(&["FUNCTION", "LOAD", "REPLACE", &format!("#!lua name=lib\n{text}")]);
        assert!(reply.string().contains("Error registering functions"), "{text}: {reply}");
        assert_eq!(client.ask("FUNCTION LIST WITHCODE"), before);
        assert!(client.ask("FCALL new 0").string().contains("Function not found"));
        check_works(&server);
    }
}

/// Libraries are in every file that data is in, and Redis reads what is written here, as this server reads what Redis writes.
#[test]
fn libraries_are_in_files() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    load(&mut client, LIBRARY);
    let list = client.ask("FUNCTION LIST WITHCODE");
    assert_eq!(client.ask("DEBUG RELOAD").string(), "OK");
    assert_eq!(client.ask("FUNCTION LIST WITHCODE"), list);
    let dump = client.ask("FUNCTION DUMP").text().to_vec();
    assert_eq!(client.ask("SAVE").string(), "OK");
    let path = server.dir().join("dump.rdb");
    let redis = Server::redis(&["--enable-debug-command", "yes"]);
    std::fs::copy(&path, redis.dir().join("dump.rdb")).expect("it is there");
    let mut oracle = redis.client();
    assert_eq!(oracle.ask("DEBUG RELOAD NOSAVE").string(), "OK");
    check_works(&redis);
    assert_eq!(oracle.ask("FUNCTION DUMP").text(), dump);
    assert_eq!(oracle.ask("SET k other").string(), "OK");
    assert_eq!(oracle.ask("SAVE").string(), "OK");
    client.ask("FUNCTION FLUSH");
    std::fs::copy(redis.dir().join("dump.rdb"), &path).expect("it is there");
    assert_eq!(client.ask("DEBUG RELOAD NOSAVE").string(), "OK", "{}", server.log());
    assert_eq!(client.ask("FCALL_RO get 1 k").string(), "other");
    assert_eq!(client.ask("FUNCTION LIST WITHCODE"), list);
    // What was saved in background, or at the end, is loaded at the next start.
    client.send(&["SHUTDOWN", "SAVE"]).expect("it is taken");
    let mut ended = server;
    assert!(ended.await_exit().success());
    check_works(&ended.again(&[]));
}

/// Of an append-only file: the base, with or without an RDB part, and what was changed since.
#[test]
fn libraries_are_in_append_only_files() {
    for preamble in ["yes", "no"] {
        let args = ["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", preamble];
        let mut server = Server::start(&args);
        let mut client = server.client();
        assert!(until(|| client.ask("PING").string() == "PONG"));
        load(&mut client, LIBRARY);
        load(&mut client, "#!lua name=gone\nredis.register_function('gone', function() end)");
        assert!(!client.ask("BGREWRITEAOF").is_error());
        assert!(until(|| field(&mut client, "aof_rewrite_in_progress") == 0
            && field(&mut client, "aof_rewrite_scheduled") == 0
            && client.ask("INFO persistence").string().contains("aof_last_bgrewrite_status:ok")));
        assert_eq!(client.ask("FUNCTION DELETE gone").string(), "OK");
        load(&mut client, "#!lua name=late\nredis.register_function('late', function() return 'late' end)");
        server.signal(rustix::process::Signal::KILL);
        server.await_exit();
        let again = server.again(&args);
        check_works(&again);
        let mut client = again.client();
        assert_eq!(client.ask("FCALL late 0").string(), "late");
        assert!(client.ask("FCALL gone 0").is_error());
    }
}

/// Replicas have the libraries: by the snapshot, and by what is changed behind it.
#[test]
fn replicas_have_libraries() {
    let primary = Server::start_tcp(&["--repl-diskless-sync-delay", "0", "--workers", "2"]);
    load(&mut primary.client(), LIBRARY);
    let (ip, port) = (primary.tcp().ip().to_string(), primary.tcp().port().to_string());
    let follow = ["--replicaof", ip.as_str(), port.as_str()];
    for replica in [Server::redis_tcp(&follow), Server::start_tcp(&follow)] {
        let mut client = replica.client();
        assert!(until(|| client.ask("FUNCTION LIST").elements().len() == 1), "{}", replica.log());
        load(
            &mut primary.client(),
            "#!lua name=more\nredis.register_function('more', function() return 1 end)",
        );
        primary.client().ask("FCALL put 1 k v");
        assert!(until(|| client.ask("FUNCTION LIST").elements().len() == 2), "{}", replica.log());
        assert!(until(|| client.ask("FCALL_RO get 1 k").string() == "v"));
        assert!(client.ask("FCALL put 1 k w").string().starts_with("READONLY"));
        primary.client().ask("FUNCTION DELETE more");
        assert!(until(|| client.ask("FUNCTION LIST").elements().len() == 1));
    }
    // This server's replica of a Redis.
    let redis = Server::redis_tcp(&["--repl-diskless-sync-delay", "0"]);
    load(&mut redis.client(), LIBRARY);
    let port = redis.tcp().port().to_string();
    let replica = Server::start_tcp(&["--replicaof", "127.0.0.1", &port]);
    let mut client = replica.client();
    assert!(until(|| client.ask("FUNCTION LIST").elements().len() == 1), "{}", replica.log());
}

/// `redis-cli --functions-rdb` gets the libraries and no keys.
#[test]
fn tool_fetches_libraries() {
    let server = Server::start_tcp(&["--repl-diskless-sync-delay", "0"]);
    let mut client = server.client();
    load(&mut client, LIBRARY);
    client.ask("SET k v");
    let path = server.dir().join("functions.rdb");
    let mut tool = Command::new(redis_program("redis-cli"));
    tool.args(["-p", &server.tcp().port().to_string(), "--functions-rdb"]).arg(&path);
    let status = tool.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("it runs").success(), "{}", server.log());
    let other = Server::start(&["--enable-debug-command", "yes"]);
    std::fs::copy(&path, other.dir().join("dump.rdb")).expect("it is there");
    assert_eq!(other.client().ask("DEBUG RELOAD NOSAVE").string(), "OK", "{}", other.log());
    assert_eq!(other.client().ask("DBSIZE").int(), Some(0));
    check_works(&other);
}

#[test]
fn functions_without_end_are_killed() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers, "--busy-reply-threshold", "50"]);
        let (mut caller, mut other) = (server.client(), server.client());
        let text = "#!lua name=lib\nlocal n = 0\n\
            redis.register_function('loop', function() while true do end end)\n\
            redis.register_function('count', function() n = n + 1 while true do end end)\n\
            redis.register_function('write', function(k) redis.call('SET', k[1], 1) while true do end end)";
        load(&mut other, text);
        for name in ["loop", "count"] {
            caller.send(&["FCALL", name, "1", "k", "a"]).expect("it is taken");
            assert!(until(|| other.ask("GET k").string().starts_with("BUSY ")), "{name}");
            assert!(other.ask("GET k").string().contains("FUNCTION KILL"));
            let stats = other.ask("FUNCTION STATS").elements();
            let running = stats[1].elements();
            assert_eq!((running[1].string(), running[3].elements().len()), (name.to_owned(), 5));
            assert!(other.ask("SCRIPT KILL").string().starts_with("BUSY "));
            assert_eq!(other.ask("FUNCTION KILL").string(), "OK");
            let reply = caller.read().expect("a reply comes").string();
            assert!(
                reply.contains("killed by user") && reply.contains(&format!("script: {name}")),
                "{reply}"
            );
            assert!(until(|| other.ask("SET k 1").string() == "OK"));
        }
        let mut server = server;
        caller.send(&["FCALL", "write", "1", "k"]).expect("it is taken");
        assert!(until(|| other.ask("GET k").string().starts_with("BUSY ")));
        assert!(other.ask("FUNCTION KILL").string().starts_with("UNKILLABLE "));
        other.send(&["SHUTDOWN", "NOSAVE"]).expect("it is taken");
        assert!(server.await_exit().success());
    }
}

/// FUNCTION FLUSH and SCRIPT FLUSH give memory back, on workers too that have run nothing since.
#[test]
fn flushed_memory_comes_back_on_every_worker() {
    let server = Server::start(&["--workers", "3"]);
    let mut client = server.client();
    let big = format!("#!lua name=lib\nlocal t = {{}} for i = 1, 200000 do t[i] = i end {}", &LIBRARY[15..]);
    let big = big.replace("return redis.call('GET'", "local size = #t return redis.call('GET'");
    load(&mut client, &big);
    for number in 0..100 {
        let mut client = server.client();
        assert_eq!(client.ask(&format!("FCALL put 1 k{number} v")).string(), "OK");
        let script = format!("return '{}'", "x".repeat(100_000 + number));
        client.call(&["EVAL", &script, "0"]);
    }
    let used = |client: &mut Client| field(client, "used_memory_vm_total");
    let before = used(&mut client);
    assert!(before > 4 << 20, "{before}");
    for command in ["FUNCTION FLUSH ASYNC", "SCRIPT FLUSH ASYNC"] {
        assert_eq!(client.ask(command).string(), "OK");
    }
    assert!(until(|| used(&mut client) < 2 << 20), "{} of {before}", used(&mut client));
}

/// A function that is on its way while its library is replaced runs as the old one or the new one; once the change is answered,
/// only the new one runs.
#[test]
fn replaced_library_is_in_force_once_that_is_answered() {
    let server = Server::start(&["--workers", "3"]);
    let mut writer = server.client();
    let version = |number: usize| {
        format!(
            "#!lua name=lib\nredis.register_function('version', function(k) if k[1] then redis.call('GET', k[1]) end return {number} end)"
        )
    };
    load(&mut writer, &version(0));
    let current = std::sync::atomic::AtomicUsize::new(0);
    let ordering = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (mut client, current) = (server.client(), &current);
            scope.spawn(move || {
                loop {
                    let least = current.load(ordering);
                    let reply = client.ask(&format!("FCALL version {number} k")).int().expect("a number");
                    assert!(reply >= least as i64, "{reply} after {least} was answered");
                    if least == 100 {
                        break;
                    }
                }
            });
        }
        for number in 1..=100 {
            load(&mut writer, &version(number));
            current.store(number, ordering);
        }
    });
}

/// `redis.set_repl`: the file and replicas are told apart, whatever a command says of how it is repeated.
#[test]
fn effects_go_to_whom_the_script_says() {
    let args = ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"];
    let mut primary = Server::start_tcp(&args);
    let mut client = primary.client();
    let (ip, port) = (primary.tcp().ip().to_string(), primary.tcp().port().to_string());
    let replica = Server::start_tcp(&["--replicaof", &ip, &port]);
    let mut copy = replica.client();
    assert!(until(|| copy.ask("INFO replication").string().contains("master_link_status:up")));
    let script = "for _, way in ipairs({'ALL', 'AOF', 'REPLICA', 'NONE'}) do redis.set_repl(redis['REPL_' .. way]) \
                  redis.call('SET', way, 1) redis.call('SET', 'EX' .. way, 1, 'EX', 1000) \
                  redis.call('INCRBYFLOAT', 'F' .. way, 1) end redis.set_repl(redis.REPL_ALL) redis.call('SET', 'end', 1)";
    assert!(client.call(&["EVAL", script, "0"]).is_null());
    assert!(until(|| copy.ask("GET end").string() == "1"));
    let has = |client: &mut Client, way: &str| {
        let keys = [way.to_owned(), format!("EX{way}"), format!("F{way}")];
        let there: Vec<bool> =
            keys.iter().map(|key| client.ask(&format!("EXISTS {key}")) == Value::Int(1)).collect();
        assert!(there.iter().all(|has| *has == there[0]), "{way}: {there:?}");
        there[0]
    };
    let all = |client: &mut Client| ["ALL", "AOF", "REPLICA", "NONE"].map(|way| has(client, way));
    assert_eq!(all(&mut client), [true; 4]);
    assert_eq!(all(&mut copy), [true, false, true, false]);
    primary.signal(rustix::process::Signal::KILL);
    primary.await_exit();
    let again = primary.again(&args[..4]);
    let mut client = again.client();
    assert!(until(|| client.ask("EXISTS end") == Value::Int(1)), "{}", again.log());
    assert_eq!(all(&mut client), [true, true, false, false]);
}
