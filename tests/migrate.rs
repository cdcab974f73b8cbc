//! MIGRATE: replies as Redis's, between Torc and Redis in each direction; nobody else waits for it, and no write is lost.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::harness::{Server, Value, newest_program, until};

fn redis(args: &[&str]) -> Server {
    Server::program_tcp(&newest_program("redis-server"), &[&["--enable-debug-command", "yes"], args].concat())
}

fn torc(args: &[&str]) -> Server {
    Server::start_tcp(&[&["--enable-debug-command", "yes"], args].concat())
}

/// Commands of the source; `PORT` is that of the target.
const STORY: &[&str] = &[
    "SET a 1",
    "SET b 2 EX 1000",
    "RPUSH list 1 2 3",
    "SADD set x y z",
    "HSET hash f v g w",
    "ZADD zset 1 a 2 b",
    "XADD stream 1-1 f v",
    "MIGRATE 127.0.0.1 PORT nokey 0 1000",
    "MIGRATE 127.0.0.1 1 a 0 1000",
    "MIGRATE 127.0.0.1 x a 0 1000",
    "MIGRATE no.such.host.invalid PORT a 0 1000 AUTH pw",
    "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH",
    "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH2 default",
    "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH bad",
    "MIGRATE 127.0.0.1 PORT a x 1000 AUTH pw",
    "MIGRATE 127.0.0.1 PORT a 0 x AUTH pw",
    "MIGRATE 127.0.0.1 PORT a 0 1000 BOO",
    "MIGRATE 127.0.0.1 PORT a 0 1000 AUTH pw KEYS b",
    "MIGRATE 127.0.0.1 PORT \"\" 0 1000 AUTH pw KEYS",
    "MIGRATE 127.0.0.1 PORT a 0 1000 COPY AUTH pw",
    "GET a",
    "MIGRATE 127.0.0.1 PORT a 0 1000 COPY AUTH pw",
    "MIGRATE 127.0.0.1 PORT a 0 1000 COPY REPLACE AUTH2 default pw",
    "MIGRATE 127.0.0.1 PORT \"\" 0 1000 AUTH pw KEYS a b list nokey",
    "EXISTS a b list",
    "MIGRATE 127.0.0.1 PORT \"\" 0 1000 AUTH pw KEYS b list",
    "MIGRATE 127.0.0.1 PORT a 0 0 REPLACE AUTH pw",
    "MIGRATE 127.0.0.1 PORT a 0 -5 REPLACE AUTH pw",
    "MIGRATE 127.0.0.1 PORT \"\" 2 1000 AUTH pw KEYS set hash zset stream",
    "DBSIZE",
    "SET t 1",
    "MULTI",
    "INCR t",
    "MIGRATE 127.0.0.1 PORT t 0 1000 AUTH pw",
    "SET t again",
    "EXEC",
    "EVAL \"return redis.call('MIGRATE', '127.0.0.1', 'PORT', 't', '3', '1000', 'AUTH', 'pw')\" 1 t",
    "EXISTS t",
];

#[test]
fn migrate_is_like_redis() {
    let oracle = (redis(&[]), redis(&["--requirepass", "pw"]));
    let pairs = [
        (torc(&["--workers", "1"]), redis(&["--requirepass", "pw"])),
        (torc(&["--workers", "3"]), torc(&["--requirepass", "pw", "--workers", "2"])),
        (redis(&[]), torc(&["--requirepass", "pw"])),
    ];
    let run = |pair: &(Server, Server)| {
        let mut client = pair.0.client();
        let port = pair.1.tcp().port().to_string();
        let said: Vec<String> =
            STORY.iter().map(|line| client.ask(&line.replace("PORT", &port)).to_string()).collect();
        let mut target = pair.1.client();
        target.ask("AUTH pw");
        (said, target.ask("DEBUG DIGEST").to_string())
    };
    let (expected, digest) = run(&oracle);
    for pair in &pairs {
        let (said, ours) = run(pair);
        for (line, (ours, theirs)) in STORY.iter().zip(said.iter().zip(&expected)) {
            assert_eq!(ours, theirs, "{line}");
        }
        assert_eq!(ours, digest);
    }
    let mut client = pairs[0].0.client();
    let stats = client.ask("INFO stats").string();
    assert!(stats.contains("migrate_cached_sockets:1"), "{stats}");
}

/// While a target does not answer, others are served, by one worker too, and the key is still theirs.
#[test]
fn migrate_keeps_nobody_waiting() {
    let (source, target) = (torc(&["--workers", "1"]), redis(&[]));
    let port = target.tcp().port().to_string();
    let mut client = source.client();
    client.ask("SET k 1");
    target.signal(Signal::STOP);
    let mut moves = source.client();
    moves.send(&["MIGRATE", "127.0.0.1", &port, "k", "0", "60000"]).expect("it is there");
    let is_waiting = until(|| client.ask("INFO clients").string().contains("blocked_clients:1"));
    assert!(is_waiting, "{}", source.log());
    for count in 2..100 {
        assert_eq!(client.ask("INCR k").int(), Some(count));
    }
    target.signal(Signal::CONT);
    assert_eq!(moves.read().expect("it is over"), Value::Simple(b"OK".to_vec()));
    assert!(client.ask("GET k").is_null());
    assert_eq!(target.client().ask("GET k").int(), Some(99), "what was written meanwhile went there too");
    // One that was removed meanwhile goes there too.
    client.ask("SET gone 1");
    target.signal(Signal::STOP);
    moves.send(&["MIGRATE", "127.0.0.1", &port, "gone", "0", "60000"]).expect("it is there");
    assert!(until(|| client.ask("INFO clients").string().contains("blocked_clients:1")));
    client.ask("DEL gone");
    target.signal(Signal::CONT);
    assert_eq!(moves.read().expect("it is over"), Value::Simple(b"OK".to_vec()));
    assert_eq!(target.client().ask("EXISTS gone").int(), Some(0));
}

fn texts(list: &Value) -> Vec<String> {
    list.elements().iter().map(|one| one.clone().string()).collect()
}

/// Moves a list that others append to, again and again: all that was in it.
fn move_often(source: &Server, target: &Server) -> Vec<String> {
    let port = target.tcp().port().to_string();
    let (mut client, mut there) = (source.client(), target.client());
    let (mut moved, mut lists) = (0, Vec::new());
    while moved < 30 {
        match client.call(&["MIGRATE", "127.0.0.1", &port, "list", "0", "10000"]) {
            Value::Simple(text) if text == b"OK" => {
                moved += 1;
                lists.extend(texts(&there.ask("LRANGE list 0 -1")));
                there.ask("DEL list");
            }
            Value::Simple(text) => assert_eq!(text, b"NOKEY"),
            other => panic!("{other:?}"),
        }
    }
    lists
}

/// Keys that are written to without a pause move all the same, and each write is on one side or the other.
#[test]
fn migrate_loses_no_write() {
    let (source, target) = (torc(&["--workers", "3"]), torc(&["--workers", "2"]));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (source_ref, stop_ref) = (&source, &stop);
        let append = move |number: usize| {
            let (mut client, mut count) = (source_ref.client(), 0);
            while !stop_ref.load(Ordering::Relaxed) {
                client.call(&["RPUSH", "list", &format!("{number}:{count}")]);
                count += 1;
            }
            count
        };
        let writers: Vec<_> = (0..3).map(|number| scope.spawn(move || append(number))).collect();
        // Writers end also if it panics.
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| move_often(&source, &target)));
        stop.store(true, Ordering::Relaxed);
        let counts: Vec<usize> =
            writers.into_iter().map(|writer| writer.join().expect("it writes")).collect();
        let mut lists = moved.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        lists.extend(texts(&source.client().ask("LRANGE list 0 -1")));
        for (number, count) in counts.iter().enumerate() {
            let of_one: Vec<&String> =
                lists.iter().filter(|one| one.starts_with(&format!("{number}:"))).collect();
            let expected: Vec<String> = (0..*count).map(|count| format!("{number}:{count}")).collect();
            assert!(of_one.iter().copied().eq(expected.iter()), "{of_one:?}");
        }
    });
}

/// A target that says nothing, ends, or says what is no reply.
#[test]
fn migrate_tells_what_the_target_did() {
    let source = torc(&["--workers", "2"]);
    let mut client = source.client();
    for answer in ["", "what\r\n", "+OK\r\n*1\r\n", "+OK\r\n-ERR no\r\n", "+OK\r\n+OK\r\n"] {
        client.ask("SET k v");
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
        let port = listener.local_addr().expect("it is bound").port().to_string();
        let target = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut socket, _) = listener.accept().expect("it connects");
            let mut some = [0; 4096];
            assert!(socket.read(&mut some).expect("it says something") > 0);
            socket.write_all(answer.as_bytes()).expect("it listens");
            if answer.starts_with("+OK\r\n+") || answer.starts_with("+OK\r\n-") {
                assert!(socket.read(&mut some).is_ok(), "it goes on");
            }
        });
        let reply = client.call(&["MIGRATE", "127.0.0.1", &port, "k", "0", "1000"]).to_string();
        let expected = match answer {
            "+OK\r\n+OK\r\n" => "OK",
            "+OK\r\n-ERR no\r\n" => "ERR Target instance replied with error: ERR no",
            _ => "IOERR error or timeout reading to target instance",
        };
        assert!(reply.contains(expected), "{answer:?}: {reply}");
        assert_eq!(client.ask("EXISTS k").int(), Some(i64::from(expected != "OK")));
        target.join().expect("it was asked");
    }
}

/// As the table of effects has it of other commands, for which one server is enough.
#[test]
fn migrate_is_a_deletion_to_whoever_listens() {
    let (source, target) = (torc(&[]), torc(&[]));
    let mut client = source.client();
    client.ask("SET a 1");
    client.ask("SET b 2");
    assert_eq!(client.ask("DEBUG CHANGES START").string(), "OK");
    let text = format!("MIGRATE 127.0.0.1 {} \"\" 0 1000 KEYS a b", target.tcp().port());
    assert_eq!(client.ask(&text).string(), "OK");
    let recorded = client.ask("DEBUG CHANGES TAKE").elements();
    assert_eq!(recorded[0].to_string(), r#"[[0 "MULTI"] [0 "DEL" "a"] [0 "DEL" "b"] [0 "EXEC"]]"#);
    assert_eq!(recorded[1].to_string(), r#"[[0 "g" "del" "a"] [0 "g" "del" "b"]]"#);
}
