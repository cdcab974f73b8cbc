//! Scripts beyond single replies: those that run for too long, want too much memory, or are many.

use crate::harness::{Client, Server, Value, command, until};

fn with_threshold(workers: &str) -> Server {
    Server::start(&["--workers", workers, "--busy-reply-threshold", "50"])
}

fn is_busy(reply: &Value) -> bool {
    reply.string().starts_with("BUSY ")
}

fn send_script(client: &mut Client, script: &str) {
    client.send(&["EVAL", script, "1", "k"]).expect("it is taken");
}

/// A script without end, whatever it does against being killed, and commands that hear of it.
#[test]
fn endless_scripts_are_killed() {
    let endless = [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(redis.call, 'GET', 'k') end",
        "while true do redis.pcall('GET', 'k') end",
        "local f f = function() return pcall(f) or f() end while true do f() end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "return setmetatable({}, {__index = function() while true do end end}).x",
        "return table.sort({3, 2, 1}, function() while true do end end)",
    ];
    for workers in ["1", "3"] {
        let server = with_threshold(workers);
        let (mut caller, mut other) = (server.client(), server.client());
        for script in endless {
            send_script(&mut caller, script);
            assert!(until(|| is_busy(&other.ask("DBSIZE"))), "{workers} workers: {script}");
            assert_eq!(other.ask("SCRIPT KILL").string(), "OK", "{script}");
            let reply = caller.read().expect("a reply comes");
            assert!(reply.string().contains("killed by user with SCRIPT KILL"), "{script}: {reply:?}");
            assert_eq!(other.ask("SET k 1").string(), "OK", "{script}");
            assert_eq!(caller.ask("GET k").string(), "1", "{script}");
        }
    }
}

#[test]
fn script_that_has_written_is_not_killed_and_the_server_can_be_ended() {
    let mut server = with_threshold("1");
    let (mut caller, mut other) = (server.client(), server.client());
    send_script(&mut caller, "redis.call('SET', 'k', 1) while true do end");
    assert!(until(|| is_busy(&other.ask("GET k"))));
    assert!(other.ask("SCRIPT KILL").string().starts_with("UNKILLABLE "));
    assert!(is_busy(&other.ask("SHUTDOWN")));
    other.send(&["SHUTDOWN", "NOSAVE"]).expect("it is taken");
    assert!(server.await_exit().success());
}

/// Lua's matcher calls itself for each item of a pattern, which a long one made overflow the script's stack: the server was gone.
#[test]
fn long_patterns_are_refused() {
    let server = with_threshold("1");
    let mut client = server.client();
    for call in ["string.find(s, p)", "s:match(p)", "s:gsub(p, '')", "s:gmatch(p)()"] {
        let script = format!("local s, p = ('a'):rep(10), ('a?'):rep(1e6) return {call}");
        let reply = client.call(&["EVAL", &script, "0"]).string();
        assert!(reply.contains("pattern too complex"), "{call}: {reply}");
    }
    let plain = "return string.find('x' .. ('a?'):rep(1e5), ('a?'):rep(1e5), 1, true)";
    assert_eq!(client.call(&["EVAL", plain, "0"]).int(), Some(2));
    assert_eq!(client.call(&["EVAL", "return ('aab'):match('^(a*)b$')", "0"]).string(), "aa");
}

/// A pattern that takes for ever kept its worker for ever: Lua's matcher cannot be interrupted.
#[test]
fn patterns_that_explode_are_refused() {
    let server = with_threshold("1");
    let mut client = server.client();
    let script = "return ('a'):rep(5000):gsub(('.-'):rep(9) .. 'b', '')";
    let reply = client.call(&["EVAL", script, "0"]).string();
    assert!(reply.contains("bad argument #1 to 'gsub' (pattern too complex)"), "{reply}");
    let script = "local s = ('word '):rep(1e5) local n = 0 for w in s:gmatch('(%a+)%s') do n = n + #w end \
                  return {n, #s:gsub('%s', ''), s:find('^(.-)%s+(.-)$') ~= nil and 1, (s:match('(w.-)o', -6))}";
    let reply = client.call(&["EVAL", script, "0"]).elements();
    let numbers: Vec<Option<i64>> = reply[..3].iter().map(Value::int).collect();
    assert_eq!(numbers, [Some(400_000), Some(400_000), Some(1)]);
    assert_eq!(reply[3].string(), "w");
}

/// What of a transaction stands behind a script that was suspended runs after it.
#[test]
fn suspended_script_goes_on_and_so_does_its_transaction() {
    for workers in ["1", "3"] {
        let server = with_threshold(workers);
        // A client that the system lets wait for as long as the script takes never hears that the server is busy.
        let steps = [3_000_000, 12_000_000, 48_000_000];
        assert!(steps.iter().any(|steps| hears_of_busy_transaction(&server, *steps)), "nobody heard of it");
    }
}

/// Whether another client hears that a transaction's script of so many `steps` keeps the server busy.
fn hears_of_busy_transaction(server: &Server, steps: i64) -> bool {
    let (mut caller, mut other) = (server.client(), server.client());
    let script =
        format!("for n = 1, {steps} do if n % 1000 == 1 then redis.call('INCR', 'c') end end return {steps}");
    for command in ["DEL k c", "MULTI", "SET k old"] {
        caller.ask(command);
    }
    send_script(&mut caller, &script);
    assert_eq!(caller.read().expect("a reply comes").string(), "QUEUED");
    caller.ask("SET k new");
    caller.ask("GET c");
    caller.send(&["EXEC"]).expect("it is taken");
    caller.send(&["GET", "k"]).expect("it is taken");
    let was_busy = loop {
        match other.ask("GET k").string() {
            reply if reply.starts_with("BUSY ") => break true,
            reply if reply == "new" => break false,
            reply => assert!(reply != "old", "nobody sees half of a transaction"),
        }
    };
    let replies = caller.read().expect("a reply comes").elements();
    assert_eq!(replies[1].int(), Some(steps));
    let calls = (steps / 1000).to_string();
    assert_eq!(
        (replies[0].string(), replies[2].string(), replies[3].string()),
        ("OK".to_owned(), "OK".to_owned(), calls)
    );
    assert_eq!(caller.read().expect("a reply comes").string(), "new");
    assert!(until(|| other.ask("GET k").string() == "new"));
    was_busy
}

/// A client that goes takes its script with it only when that is killed.
#[test]
fn caller_of_a_busy_script_may_go() {
    let server = with_threshold("1");
    let (mut caller, mut other) = (server.client(), server.client());
    send_script(&mut caller, "while true do end");
    assert!(until(|| is_busy(&other.ask("GET k"))));
    drop(caller);
    assert_eq!(other.ask("MULTI").string(), "OK");
    assert_eq!(other.ask("DISCARD").string(), "OK");
    assert_eq!(other.ask("SCRIPT KILL").string(), "OK");
    assert!(until(|| other.ask("PING").string() == "PONG"));
}

/// What asks for more memory than an interpreter has fails, and the next script finds everything as it was.
#[test]
fn memory_bombs_fail() {
    let bombs = [
        "return #string.rep('x', 1e9)",
        "local s = string.rep('x', 1e6) while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = string.rep('x', 1e6) .. #t end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} for i = 1, 1e9 do t = {t} end",
        "return cjson.encode(string.rep('\\1', 2e8))",
        "local t = {} local s = string.rep('x', 1e6) for i = 1, 1000 do t[i] = s end return #table.concat(t)",
        "return #string.format('%s%s', string.rep('x', 3e8), string.rep('x', 3e8))",
        "return #(string.rep('x', 3e8) .. string.rep('y', 3e8))",
        "return #struct.pack('s', string.rep('x', 3e8))",
        "return #cmsgpack.pack(string.rep('x', 3e8))",
    ];
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for bomb in bombs {
        let reply = client.call(&["EVAL", bomb, "0"]);
        assert!(reply.string().contains("not enough memory"), "{bomb}: {reply:?}");
        assert_eq!(client.call(&["EVAL", "return redis.call('PING')", "0"]).string(), "PONG", "{bomb}");
    }
}

/// Whatever a script does to what it finds, the next one finds it unharmed.
#[test]
fn scripts_leave_nothing_behind() {
    let hostile = [
        "for name, value in pairs(_G) do pcall(rawset, _G, name, nil) end",
        "for name, value in pairs(redis) do pcall(function() redis[name] = nil end) end",
        "for _, library in pairs(_G) do if type(library) == 'table' then pcall(table.insert, library, 1) end end",
        "for _, library in pairs(_G) do if type(library) == 'table' then pcall(table.remove, library) end end",
        "for _, library in pairs(_G) do if type(library) == 'table' then pcall(table.sort, library) end end",
        "for _, library in pairs(_G) do if type(library) == 'table' then pcall(setmetatable, library, {}) end end",
        "local m = getmetatable('') pcall(function() m.__index = nil end) pcall(rawset, m, '__index', nil)",
        "local f, t = pairs(redis) pcall(rawset, t, 'call', nil) pcall(function() t.call = nil end)",
        "pcall(rawset, getmetatable(_G), '__index', nil)",
        "pcall(function() getmetatable(_G).__index = nil end)",
        "collectgarbage('stop')",
        "KEYS[1] = 'x' ARGV = nil",
        "pcall(function() string.rep = nil end) pcall(rawset, string, 'rep', nil)",
        "table.concat = nil",
        "unpack({}, -2147483648, 2147483647)",
        "local t = setmetatable({}, {__mode = 'k'}) t[redis] = 1",
        "error(setmetatable({}, {__index = function() error('x') end}))",
        "error(redis)",
        "return redis",
        "return _G",
        "return coroutine.create(function() end)",
        "coroutine.yield(1)",
        "return string.dump(function() end)",
        "return loadstring('\\27Lua')",
    ];
    let check = "return {type(redis.call), type(string.rep), ('x'):rep(2), #KEYS, #ARGV, type(table.concat), \
                 redis.call('PING').ok, next({}) == nil, type(pairs), redis.LOG_WARNING, cjson.encode({1})}";
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    let expected = client.call(&["EVAL", check, "0"]);
    assert_eq!(expected.elements().len(), 11);
    for script in hostile {
        client.call(&["EVAL", script, "0"]);
        assert_eq!(client.call(&["EVAL", check, "0"]), expected, "{script}");
    }
}

/// Of those that EVAL has brought 500 stay, of 100,000; what SCRIPT LOAD has brought does, though not compiled; SCRIPT FLUSH gives the
/// memory back.
#[test]
fn many_scripts_are_bounded() {
    const PIPELINE: usize = 1000;
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let first = client.call(&["SCRIPT", "LOAD", "return 'first'"]).string();
    let mut send = |count: usize, command: fn(usize) -> Vec<u8>, check: fn(usize, &Value)| {
        for begin in (0..count).step_by(PIPELINE) {
            let numbers = begin..begin + PIPELINE;
            client.send_raw(&numbers.clone().flat_map(command).collect::<Vec<u8>>()).expect("it is taken");
            numbers.for_each(|number| check(number, &client.read().expect("a reply comes")));
        }
    };
    send(
        100_000,
        |number| command(&["EVAL", &format!("return {number}"), "0"]),
        |number, reply| assert_eq!(reply.int(), Some(number as i64)),
    );
    let mut other = server.client();
    let mut field = |name: &str| -> u64 {
        let info = other.ask("INFO").string();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.and_then(|value| value.trim().parse().ok()).expect("there is such a number")
    };
    assert_eq!((field("number_of_cached_scripts"), field("evicted_scripts")), (501, 99_500));
    assert!(field("used_memory_scripts_eval") > 0);
    let used = field("used_memory_vm_eval");
    assert!((1..8 << 20).contains(&used), "{used}");
    send(
        20_000,
        |number| command(&["SCRIPT", "LOAD", &format!("return 'loaded {number}'")]),
        |_, reply| assert_eq!(reply.string().len(), 40),
    );
    assert_eq!(field("number_of_cached_scripts"), 20_501);
    let used = field("used_memory_vm_eval");
    assert!(used < 32 << 20, "{used}");
    let mut client = server.client();
    assert_eq!(client.call(&["EVALSHA", &first, "0"]).string(), "first");
    assert_eq!(client.ask("SCRIPT FLUSH").string(), "OK");
    assert!(client.call(&["EVALSHA", &first, "0"]).string().starts_with("NOSCRIPT "));
    assert!(until(|| field("used_memory_vm_eval") < 1 << 20 && field("used_memory_scripts_eval") == 0));
}

/// A command of a script that needs a lease which somebody else has does not tear the script apart: on several workers
/// transfers between keys that are named, or made up, keep their sum.
#[test]
fn scripts_of_several_workers_are_atomic() {
    const TRANSFERS: usize = 300;
    const ACCOUNTS: usize = 8;
    let server = Server::start(&["--workers", "3"]);
    let mut client = server.client();
    for account in 0..ACCOUNTS {
        client.call(&["SET", &format!("account:{account}"), "100"]);
    }
    let transfer = "local from, to = 'account:' .. ARGV[1], 'account:' .. ARGV[2] \
                    redis.call('DECR', from) redis.call('INCR', to) return redis.call('GET', from)";
    let sum = "local sum = 0 for account = 0, 7 do sum = sum + redis.call('GET', 'account:' .. account) end return sum";
    std::thread::scope(|scope| {
        for number in 0..3_usize {
            let mut client = server.client();
            scope.spawn(move || {
                for round in 0..TRANSFERS {
                    let [from, to] =
                        [number + round, number + 3 * round + 1].map(|at| (at % ACCOUNTS).to_string());
                    let named = [format!("account:{from}"), format!("account:{to}")];
                    let reply = match round % 2 {
                        0 => client.call(&["EVAL", transfer, "0", &from, &to]),
                        _ => client.call(&["EVAL", transfer, "2", &named[0], &named[1], &from, &to]),
                    };
                    assert!(reply.string().parse::<i64>().is_ok(), "{reply:?}");
                    assert_eq!(client.call(&["EVAL", sum, "0"]).int(), Some(800));
                }
            });
        }
    });
    assert!(
        server.workers_sum("scripts_declared") + server.workers_sum("scripts_tried") >= 6 * TRANSFERS as u64
    );
}
