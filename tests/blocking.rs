//! Clients that wait for keys, many at once and on several workers: order, claims, time, and how waiting ends.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Rng, Server, Value, command, split, until};

/// The configurations that every test runs under: alone, and with others to meet.
const WORKERS: [&str; 2] = ["1", "3"];

fn each(mut test: impl FnMut(&mut Server)) {
    for workers in WORKERS {
        test(&mut Server::start(&["--workers", workers]));
    }
}

/// Waits until the server says that so many clients wait.
#[track_caller]
fn await_blocked(server: &Server, count: usize) {
    let mut client = server.client();
    let line = format!("blocked_clients:{count}\r\n");
    let met = until(|| client.ask("INFO clients").string().contains(&line));
    assert!(met, "not {count}: {}", client.ask("INFO clients").string());
}

/// A client that waits for the key q, as the only one.
#[track_caller]
fn waiting_for_q(server: &Server) -> Client {
    let mut client = server.client();
    client.send(&["BLPOP", "q", "0"]).expect("it takes it");
    await_blocked(server, 1);
    client
}

/// Waits until nothing is left of those who waited.
#[track_caller]
fn await_nobody(server: &Server) {
    await_blocked(server, 0);
    let mut client = server.client();
    assert!(until(|| client.ask("INFO clients").string().contains("total_blocking_keys:0\r\n")));
}

#[test]
fn first_come_first_served() {
    const CLIENTS: usize = 40;
    each(|server| {
        let mut waiting: Vec<Client> = Vec::new();
        for count in 0..CLIENTS {
            let mut client = server.client();
            client.send(&["BLPOP", "other", "k", "0"]).expect("it takes it");
            waiting.push(client);
            await_blocked(server, count + 1);
        }
        // From single pushes, and from one that has something for several.
        let mut pusher = server.client();
        for number in 0..CLIENTS / 2 {
            pusher.ask(&format!("RPUSH k {number}"));
        }
        let rest: Vec<String> = (CLIENTS / 2..CLIENTS).map(|number| number.to_string()).collect();
        pusher.ask(&format!("RPUSH k {}", rest.join(" ")));
        for (number, client) in waiting.iter_mut().enumerate() {
            let reply = client.read().expect("a reply").elements();
            assert_eq!((reply[0].string(), reply[1].int()), ("k".to_owned(), Some(number as i64)));
        }
        assert_eq!(pusher.ask("EXISTS k").int(), Some(0));
        await_nobody(server);
    });
}

#[test]
fn who_waits_is_served_before_the_next_command_of_the_same_pipeline() {
    each(|server| {
        let (mut waiting, mut pusher) = (server.client(), server.client());
        for number in 0..50 {
            waiting.send(&["BLPOP", "k", "0"]).expect("it takes it");
            await_blocked(server, 1);
            let value = number.to_string();
            let pipeline: [&[&str]; 6] = [
                &["SET", "other", "x"],
                &["SET", "other", "y"],
                &["RPUSH", "k", &value],
                &["LPOP", "k"],
                &["GET", "other"],
                &["GET", "other"],
            ];
            pusher.send_raw(&pipeline.map(command).concat()).expect("the server is there");
            let replies: Vec<Value> = (0..6).map(|_| pusher.read().expect("a reply")).collect();
            assert_eq!(replies[2].int(), Some(1));
            assert!(replies[3].is_null(), "{:?}", replies[3]);
            assert_eq!((replies[4].string(), replies[5].string()), ("y".to_owned(), "y".to_owned()));
            assert_eq!(waiting.read().expect("a reply").elements()[1].string(), value);
        }
    });
}

/// What a waiting command needs memory for is refused when its time comes, as if it came then; it was served.
#[test]
fn a_waiting_command_is_refused_memory_like_any_other() {
    each(|server| {
        let (mut mover, mut popper, mut other) = (server.client(), server.client(), server.client());
        mover.send(&["BLMOVE", "k", "target", "LEFT", "LEFT", "0"]).expect("it takes it");
        await_blocked(server, 1);
        popper.send(&["BLPOP", "k", "0"]).expect("it takes it");
        await_blocked(server, 2);
        other.ask("RPUSH source one");
        assert_eq!(other.ask("CONFIG SET maxmemory 1").string(), "OK");
        // Makes the key without needing memory.
        assert_eq!(other.ask("RENAME source k").string(), "OK");
        let refused = mover.read().expect("a reply");
        assert_eq!(refused.string(), "OOM command not allowed when used memory > 'maxmemory'.");
        assert_eq!(popper.read().expect("a reply").elements()[1].string(), "one");
        let stats = other.ask("INFO commandstats").string();
        assert!(stats.contains("cmdstat_blmove:calls=0,"), "{stats}");
        assert!(stats.contains("rejected_calls=1,failed_calls=0"), "{stats}");
        await_nobody(server);
    });
}

/// Keys that a transaction makes ready are served in the order in which they became so, whichever its commands named first.
/// It was the order in which they were named.
#[test]
fn a_transaction_serves_keys_in_the_order_in_which_they_came_to_be() {
    each(|server| {
        let mut pusher = server.client();
        for (first, second) in [("x", "y"), ("y", "x"), ("a", "b"), ("{t}1", "{t}2"), ("{t}2", "{t}1")] {
            let mut waiting: Vec<Client> = Vec::new();
            for command in [
                format!("BLMOVE {first} {second} LEFT LEFT 0"),
                format!("BLPOP {second} 0"),
                format!("BLPOP {second} 0"),
            ] {
                let mut client = server.client();
                client.send(&split(&command)).expect("it takes it");
                waiting.push(client);
                await_blocked(server, waiting.len());
            }
            pusher.ask("MULTI");
            pusher.ask(&format!("LLEN {first}"));
            pusher.ask(&format!("RPUSH {second} 1"));
            pusher.ask(&format!("RPUSH {first} 2"));
            pusher.ask("EXEC");
            let mut got = waiting.iter_mut().map(|client| client.read().expect("a reply"));
            assert_eq!(got.next().expect("the first").string(), "2");
            let got: Vec<String> = got.map(|reply| reply.elements()[1].string()).collect();
            assert_eq!(got, ["1", "2"]);
            await_nobody(server);
        }
    });
}

/// Consumers wait for all queues, in any order, for a short or a long time; producers push to one each: every element is
/// popped once, whoever meets whom.
#[test]
fn nothing_is_lost_or_doubled_where_many_meet() {
    const QUEUES: usize = 5;
    const PRODUCERS: usize = 4;
    const CONSUMERS: usize = 8;
    const ELEMENTS: usize = 400;
    each(|server| {
        let popped = AtomicUsize::new(0);
        let server = &*server;
        let (popped, total) = (&popped, PRODUCERS * ELEMENTS);
        let got: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                scope.spawn(move || {
                    let (mut client, mut rng) = (server.client(), Rng(producer as u64));
                    for number in 0..ELEMENTS {
                        let queue = rng.below(QUEUES);
                        let value = format!("{producer}:{number}");
                        assert!(client.ask(&format!("RPUSH queue:{queue} {value}")).int().is_some());
                    }
                });
            }
            let consumers = (0..CONSUMERS).map(|consumer| {
                scope.spawn(move || {
                    let (mut client, mut rng) = (server.client(), Rng(100 + consumer as u64));
                    let mut got = BTreeSet::new();
                    while popped.load(Ordering::Relaxed) < total {
                        let first = rng.below(QUEUES);
                        let keys: Vec<String> =
                            (0..QUEUES).map(|n| format!("queue:{}", (first + n) % QUEUES)).collect();
                        let timeout = ["0.001", "0.003", "0.05"][rng.below(3)];
                        let reply = match rng.below(3) {
                            0 => client.ask(&format!("BLMPOP {timeout} 5 {} LEFT COUNT 2", keys.join(" "))),
                            1 => client
                                .ask(&format!("BLMOVE {} spare:{consumer} LEFT LEFT {timeout}", keys[0])),
                            _ => client.ask(&format!("BLPOP {} {timeout}", keys.join(" "))),
                        };
                        let values: Vec<String> = match &reply {
                            Value::Bulk(value) => vec![String::from_utf8_lossy(value).into_owned()],
                            Value::Array(parts) => match &parts[1] {
                                Value::Array(values) => values.iter().map(Value::string).collect(),
                                value => vec![value.string()],
                            },
                            nothing => {
                                assert!(matches!(nothing, Value::NullArray), "{nothing}");
                                vec![]
                            }
                        };
                        popped.fetch_add(values.len(), Ordering::Relaxed);
                        for value in values {
                            assert!(got.insert(value), "an element was popped twice");
                        }
                    }
                    got
                })
            });
            let consumers: Vec<_> = consumers.collect();
            consumers.into_iter().map(|consumer| consumer.join().expect("it did not fail")).collect()
        });
        let all: BTreeSet<&String> = got.iter().flatten().collect();
        assert_eq!(all.len(), total, "an element was popped by two");
        assert_eq!(got.iter().map(BTreeSet::len).sum::<usize>(), total);
        await_nobody(server);
    });
}

/// A ring of clients, each of which moves what it gets to the next one's list: closures of leases that reach all the way round.
#[test]
fn a_ring_of_moves_carries_one_element_round() {
    const RING: usize = 12;
    const ROUNDS: usize = 20;
    each(|server| {
        let server = &*server;
        std::thread::scope(|scope| {
            for place in 0..RING {
                scope.spawn(move || {
                    let mut client = server.client();
                    let (source, target) = (format!("ring:{place}"), format!("ring:{}", place + 1));
                    for _ in 0..ROUNDS {
                        let reply = client.call(&["BLMOVE", &source, &target, "LEFT", "RIGHT", "0"]);
                        assert_eq!(reply.string(), "token");
                    }
                });
            }
            let mut client = server.client();
            for _ in 0..ROUNDS {
                client.ask("LPUSH ring:0 token");
                let reply = client.call(&["BLPOP", &format!("ring:{RING}"), "0"]);
                assert_eq!(reply.elements()[1].string(), "token");
            }
        });
        await_nobody(server);
        assert_eq!(server.client().ask("DBSIZE").int(), Some(0));
    });
}

/// BLPOP of these keys, for so long.
fn blpop(keys: &[String], timeout: &str) -> Vec<String> {
    let words = ["BLPOP".to_owned()].into_iter().chain(keys.iter().cloned());
    words.chain([timeout.to_owned()]).collect()
}

#[track_caller]
fn await_keys(server: &Server, count: usize) {
    let line = format!("total_blocking_keys:{count}\r\n");
    let mut client = server.client();
    let met = until(|| client.ask("INFO clients").string().contains(&line));
    assert!(met, "not {count}: {}", client.ask("INFO clients").string());
}

/// The queue of each key counted all other keys of its clients: a thousand kept the server from everybody for half a second, and
/// took 22 MB.
#[test]
fn who_waits_for_thousands_of_keys_is_served_like_others() {
    let keys: Vec<String> = (0..3000).map(|n| format!("key:{n}")).collect();
    each(|server| {
        let (mut first, mut second, mut pusher) = (server.client(), server.client(), server.client());
        let (mut mover, mut next) = (server.client(), server.client());
        let mut waiting = 0;
        let mut wait = |client: &mut Client, words: &[String], more: usize| {
            client.send(words).expect("it takes it");
            waiting += more;
            await_blocked(server, waiting);
        };
        wait(&mut first, &blpop(&keys[..2000], "0"), 1);
        wait(&mut second, &blpop(&keys[1000..], "0"), 1);
        await_keys(server, 3000);
        // A chain of two leads to a key that only the second waits for by then.
        wait(&mut mover, &["BLMOVE", "a", "b", "LEFT", "LEFT", "0"].map(str::to_owned), 1);
        wait(&mut next, &["BLMOVE", "b", "key:1500", "LEFT", "LEFT", "0"].map(str::to_owned), 1);
        pusher.ask("RPUSH key:1200 one two");
        for (client, value) in [(&mut first, "one"), (&mut second, "two")] {
            let reply = client.read().expect("a reply").elements();
            assert_eq!((reply[0].string(), reply[1].string()), ("key:1200".to_owned(), value.to_owned()));
        }
        // What they left behind in the other queues is nobody's.
        await_keys(server, 2);
        let mut waiting = 2;
        for client in [&mut second, &mut first] {
            client.send(&blpop(&keys[1000..2500], "0")).expect("it takes it");
            waiting += 1;
            await_blocked(server, waiting);
        }
        pusher.ask("RPUSH a token");
        let reply = second.read().expect("a reply").elements();
        assert_eq!((reply[0].string(), reply[1].string()), ("key:1500".to_owned(), "token".to_owned()));
        assert_eq!(mover.read().expect("a reply").string(), "token");
        assert_eq!(next.read().expect("a reply").string(), "token");
        drop(first);
        await_nobody(server);
        // Each key twice, until time is up.
        let twice = [&keys[..], &keys[..]].concat();
        assert!(matches!(second.call(&blpop(&twice, "0.001")), Value::NullArray));
        await_nobody(server);
        assert_eq!(pusher.ask("DBSIZE").int(), Some(0));
    });
}

/// Clients that wait for hundreds of the same keys, and others that push to any of them: every element is popped once.
#[test]
fn who_waits_for_many_keys_meets_those_who_push_to_any() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 60;
    let keys: Vec<String> = (0..600).map(|n| format!("key:{n}")).collect();
    each(|server| {
        let (server, keys) = (&*server, &keys);
        let got: Vec<Vec<String>> = std::thread::scope(|scope| {
            for pusher in 0..CLIENTS {
                scope.spawn(move || {
                    let (mut client, mut rng) = (server.client(), Rng(pusher as u64));
                    for round in 0..ROUNDS {
                        let key = rng.pick(keys);
                        // Half of them by way of a client that moves what comes.
                        let source = if round % 2 == 0 { key } else { "source" };
                        client.call(&["RPUSH", source, &format!("{pusher}:{round}")]);
                        if round % 2 == 1 {
                            client.call(&["BLMOVE", "source", key, "LEFT", "LEFT", "0"]);
                        }
                    }
                });
            }
            let pop = |popper: usize| {
                let (mut client, mut rng) = (server.client(), Rng(100 + popper as u64));
                let mut pop_one = || {
                    // All of them, as any may get the last element; each time another comes first.
                    let first = rng.below(keys.len());
                    let turned = [&keys[first..], &keys[..first]].concat();
                    client.call(&blpop(&turned, "0"))
                };
                (0..ROUNDS).map(|_| pop_one().elements()[1].string()).collect()
            };
            let poppers = (0..CLIENTS).map(|popper| scope.spawn(move || pop(popper)));
            let poppers: Vec<_> = poppers.collect();
            poppers.into_iter().map(|popper| popper.join().expect("it did not fail")).collect()
        });
        let all: BTreeSet<&String> = got.iter().flatten().collect();
        assert_eq!(all.len(), CLIENTS * ROUNDS, "an element was popped twice");
        await_nobody(server);
        assert_eq!(server.client().ask("DBSIZE").int(), Some(0));
    });
}

#[test]
fn time_is_up_when_it_is_and_never_before() {
    each(|server| {
        let clients: Vec<(Client, u64)> = (0..30).map(|n| (server.client(), 5 + n * 7 % 60)).collect();
        std::thread::scope(|scope| {
            for (mut client, ms) in clients {
                scope.spawn(move || {
                    let started = Instant::now();
                    let timeout = format!("0.{ms:03}");
                    assert!(matches!(client.call(&["BLPOP", "a", "b", &timeout]), Value::NullArray));
                    let passed = started.elapsed();
                    assert!(passed >= Duration::from_millis(ms), "{ms} ms were {passed:?}");
                    assert!(passed < Duration::from_millis(ms + 5000), "{ms} ms were {passed:?}");
                });
            }
        });
        await_nobody(server);
    });
}

#[test]
fn who_goes_while_waiting_takes_nothing() {
    each(|server| {
        let (mut stays, mut pusher) = (server.client(), server.client());
        let mut gone: Vec<Client> = (0..20).map(|_| server.client()).collect();
        for (count, client) in gone.iter_mut().enumerate() {
            client.send(&["BLPOP", "k", "l", "m", "0"]).expect("it takes it");
            await_blocked(server, count + 1);
        }
        stays.send(&["BLPOP", "k", "0"]).expect("it takes it");
        await_blocked(server, 21);
        // Some just go, others end their sending direction, with something behind the command that waits.
        for (number, mut client) in gone.into_iter().enumerate() {
            if number % 2 == 0 {
                client.send(&["PING"]).expect("it takes it");
                client.finish().expect("it is open");
                assert_eq!(client.read_to_end().0, b"");
            }
        }
        await_blocked(server, 1);
        pusher.ask("RPUSH k x");
        assert_eq!(stays.read().expect("a reply").elements()[1].string(), "x");
        await_nobody(server);
    });
}

#[test]
fn what_is_sent_behind_a_waiting_command_waits_too() {
    each(|server| {
        let (mut client, mut pusher) = (server.client(), server.client());
        let behind: Vec<u8> = (0..3000).flat_map(|n| command(&["ECHO", &n.to_string()])).collect();
        client.send_raw(&command(&["SET", "before", "1"])).expect("it takes it");
        client.send_raw(&command(&["BLPOP", "k", "0"])).expect("it takes it");
        client.send_raw(&behind[..behind.len() / 2]).expect("it takes it");
        await_blocked(server, 1);
        client.send_raw(&behind[behind.len() / 2..]).expect("it takes it");
        let large = vec![b'x'; 3 << 20];
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // More than the server reads of a client that waits.
                client.send(&[&b"SET"[..], b"large", &large]).expect("it takes it in the end");
                client
            });
            assert!(until(|| pusher.ask("CLIENT LIST").string().contains(" flags=b")));
            assert_eq!(pusher.ask("EXISTS large").int(), Some(0));
            pusher.ask("RPUSH k x");
            let mut client = writer.join().expect("it did not fail");
            assert_eq!(client.read().expect("a reply").string(), "OK");
            assert_eq!(client.read().expect("a reply").elements()[1].string(), "x");
            for n in 0..3000 {
                assert_eq!(client.read().expect("a reply").int(), Some(n));
            }
            assert_eq!(client.read().expect("a reply").string(), "OK");
        });
        assert_eq!(pusher.ask("STRLEN large").int(), Some(3 << 20));
    });
}

#[test]
fn monitors_and_the_slow_log_show_a_waiting_command_once() {
    each(|server| {
        let (mut monitor, mut client, mut pusher) = (server.client(), server.client(), server.client());
        pusher.ask("CONFIG SET slowlog-log-slower-than 0");
        assert_eq!(monitor.ask("MONITOR").string(), "OK");
        client.send(&["BLPOP", "k", "0"]).expect("it takes it");
        let line = monitor.read().expect("a line").string();
        assert!(line.ends_with(r#""BLPOP" "k" "0""#), "{line}");
        let shown = |pusher: &mut Client| {
            let entries = pusher.ask("SLOWLOG GET -1").elements();
            entries.iter().filter(|entry| format!("{entry}").contains("BLPOP")).count()
        };
        pusher.ask("SLOWLOG RESET");
        assert_eq!(shown(&mut pusher), 0);
        pusher.ask("RPUSH k x");
        assert_eq!(client.read().expect("a reply").elements()[1].string(), "x");
        assert_eq!(shown(&mut pusher), 1);
        assert_eq!(pusher.ask("ECHO last").string(), "last");
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.ends_with("\"last\"")) {
            lines.push(monitor.read().expect("a line").string());
        }
        assert!(!lines.iter().any(|line| line.contains("BLPOP")), "{lines:?}");
    });
}

#[test]
fn waiting_clients_do_not_idle_and_do_not_keep_the_server_up() {
    each(|server| {
        let (mut waits, mut idles, mut other) = (server.client(), server.client(), server.client());
        waits.send(&["BLPOP", "k", "0"]).expect("it takes it");
        await_blocked(server, 1);
        other.ask("CONFIG SET timeout 1");
        // The one that only idles is closed; by then the one that waits would have been as well.
        assert!(idles.read_to_end().1.is_ok());
        let mut pusher = server.client();
        pusher.ask("RPUSH k x");
        assert_eq!(waits.read().expect("a reply").elements()[1].string(), "x");
        waits.send(&["BLPOP", "k", "0"]).expect("it takes it");
        await_blocked(server, 1);
        pusher.send(&["SHUTDOWN", "NOSAVE"]).expect("it takes it");
        assert!(waits.read_to_end().1.is_ok());
        assert!(server.await_exit().success());
    });
}

/// Time runs out, and CLIENT UNBLOCK strikes, in the moment of being served: whoever claims first replies, and nobody else.
#[test]
fn the_end_of_time_and_a_push_meet() {
    const ROUNDS: usize = 150;
    each(|server| {
        let (mut client, mut pusher, mut unblocker) = (server.client(), server.client(), server.client());
        let id = client.ask("CLIENT ID").int().expect("a number");
        let (mut served, mut unblocked) = (0, 0);
        for round in 0..ROUNDS {
            client.send(&["BLPOP", "k", "0.002"]).expect("it takes it");
            if round % 2 == 0 {
                unblocker.send(&["CLIENT", "UNBLOCK", &id.to_string()]).expect("it takes it");
            }
            pusher.ask("RPUSH k x");
            let got = !matches!(client.read().expect("a reply"), Value::NullArray);
            if round % 2 == 0 {
                let ended = unblocker.read().expect("a reply").int() == Some(1);
                assert!(!(ended && got), "it was unblocked and served");
                unblocked += usize::from(ended);
            }
            served += usize::from(got);
            let left = pusher.ask("LLEN k").int();
            assert_eq!(left, Some(i64::from(!got)), "round {round}");
            pusher.ask("DEL k");
            assert_eq!(client.ask("PING").string(), "PONG", "a second reply came");
        }
        assert!(served > 0, "nobody was ever served");
        println!("{served} served, {unblocked} unblocked");
        await_nobody(server);
    });
}

/// Ten thousand clients that wait cost little memory and no time.
#[test]
#[ignore = "it takes twenty thousand descriptors; run by name, with a release build for figures worth writing down"]
fn ten_thousand_wait_for_little() {
    const CLIENTS: usize = 10_000;
    let server = Server::start(&["--workers", "2", "--maxclients", "20000"]);
    let idle = server.resident_bytes();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING").string(), "PONG"));
    let connected = server.resident_bytes();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&["BLPOP", &format!("key:{number}"), "0"]).expect("it takes it");
    }
    await_blocked(&server, CLIENTS);
    let waiting = server.resident_bytes();
    println!("{} KiB connected, {} KiB waiting", (connected - idle) >> 10, (waiting - idle) >> 10);
    assert!(waiting - idle < 30 << 20, "{} bytes", waiting - idle);
    let mut pusher = server.client();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(pusher.ask(&format!("RPUSH key:{number} x")).int(), Some(1));
        assert_eq!(client.read().expect("a reply").elements()[1].string(), "x");
    }
    await_nobody(&server);
}

/// It had sent more than is taken in at once, and then began to wait: it is read from again, so that its end is noticed.
#[test]
fn a_client_that_sent_much_and_waits_is_missed_when_it_goes() {
    let server = Server::start(&["--workers", "1", "--receive-buffer-bytes", "64"]);
    let mut other = server.client();
    let mut client = server.client();
    let mut bytes = command(&["BLPOP", "nothing", "0"]);
    (0..20_000).for_each(|_| bytes.extend(command(&["PING"])));
    client.send_raw(&bytes).expect("the server reads");
    await_blocked(&server, 1);
    drop(client);
    assert!(
        until(|| other.ask("INFO clients").string().contains("connected_clients:1\r")),
        "it is still there"
    );
}

/// It is read from while it waits, however much it sends, so that nothing is popped for a client that has gone.
#[test]
fn a_client_that_waits_and_sends_much_is_missed_when_it_goes() {
    let server = Server::start(&["--workers", "1"]);
    let mut other = server.client();
    let mut client = waiting_for_q(&server);
    let bytes = command(&["PING"]).repeat(1 << 20);
    client.send_raw(&bytes).expect("the server reads on");
    assert!(until(|| other.ask("CLIENT LIST").string().contains(&format!("qbuf={} ", bytes.len()))));
    drop(client);
    assert!(until(|| other.ask("INFO clients").string().contains("connected_clients:1\r")));
    assert_eq!(other.ask("RPUSH q x").int(), Some(1));
    assert_eq!(other.ask("LLEN q").int(), Some(1));
}

/// What it sent meanwhile runs when it goes on: all of it, in order, whatever lies across the pieces it was kept in.
#[test]
fn a_client_goes_on_with_all_that_it_sent_while_it_waited() {
    let server = Server::start(&["--workers", "2"]);
    let mut other = server.client();
    let mut client = waiting_for_q(&server);
    const ROUNDS: i64 = 200;
    let (small, large) = ("x".repeat(20_000), "y".repeat(200_000));
    let mut bytes = Vec::new();
    for _ in 0..ROUNDS {
        bytes.extend(command(&["ECHO", &small]));
        bytes.extend(b"INCR n\r\n");
        bytes.extend(command(&["INCR", "n"]).repeat(100));
        bytes.extend(command(&["ECHO", &large]));
    }
    client.send_raw(&bytes).expect("the server reads on");
    assert!(until(|| other.ask("CLIENT LIST").string().contains(&format!("qbuf={} ", bytes.len()))));
    other.ask("RPUSH q x");
    assert_eq!(client.read().expect("a reply").elements()[1].string(), "x");
    let mut number = 0;
    for _ in 0..ROUNDS {
        assert_eq!(client.read().expect("a reply").string(), small);
        for _ in 0..101 {
            number += 1;
            assert_eq!(client.read().expect("a reply").int(), Some(number));
        }
        assert_eq!(client.read().expect("a reply").string(), large);
    }
}

/// Its end comes while replies from before are still on their way, and commands lie behind the one that waits.
#[test]
fn a_client_that_waits_and_ends_is_closed_once_its_replies_are_sent() {
    let server = Server::start(&["--workers", "1"]);
    let mut other = server.client();
    let mut client = server.client();
    // More than the socket takes, less than what keeps the next command from being run.
    let value = "x".repeat(900_000);
    assert_eq!(other.call(&["SET", "k", &value]).string(), "OK");
    client.send_raw(&[command(&["GET", "k"]), command(&["BLPOP", "q", "0"])].concat()).expect("it is taken");
    await_blocked(&server, 1);
    let behind = command(&["PING"]).repeat(100);
    client.send_raw(&behind).expect("the server reads on");
    assert!(until(|| other.ask("CLIENT LIST").string().contains(&format!("qbuf={} ", behind.len()))));
    client.finish().expect("it is connected");
    await_blocked(&server, 0);
    assert_eq!(client.read().expect("it was sent before").string(), value);
    assert!(client.read().is_err());
    assert!(until(|| other.ask("INFO clients").string().contains("connected_clients:1\r")));
}

/// As in Redis, which counts it as blocked meanwhile.
#[test]
fn a_paused_client_that_goes_is_missed_and_its_command_does_not_run() {
    let server = Server::start(&["--workers", "1"]);
    let mut other = server.client();
    assert_eq!(other.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
    let (mut stays, mut goes) = (server.client(), server.client());
    stays.send(&["SET", "a", "1"]).expect("it takes it");
    goes.send_raw(&command(&["SET", "b", "1"]).repeat(100_000)).expect("the server reads on");
    await_blocked(&server, 2);
    assert_eq!(other.ask("CLIENT LIST").string().matches(" flags=b").count(), 2);
    drop(goes);
    await_blocked(&server, 1);
    assert!(until(|| other.ask("INFO clients").string().contains("connected_clients:2\r")));
    assert_eq!(other.ask("CLIENT UNPAUSE").string(), "OK");
    assert_eq!(stays.read().expect("a reply").string(), "OK");
    assert_eq!(other.ask("EXISTS a").int(), Some(1));
    assert_eq!(other.ask("EXISTS b").int(), Some(0));
    await_blocked(&server, 0);
}

#[test]
fn a_client_that_sends_too_much_while_it_waits_is_closed() {
    let server = Server::start(&["--workers", "1", "--client-query-buffer-limit", "2mb"]);
    let mut other = server.client();
    let mut client = waiting_for_q(&server);
    // It may be closed before all of that is sent.
    let _ = client.send_raw(&command(&["PING"]).repeat(200_000));
    assert!(client.read().is_err());
    await_blocked(&server, 0);
    assert!(other.ask("INFO stats").string().contains("client_query_buffer_limit_disconnections:1\r"));
    assert_eq!(other.ask("RPUSH q x").int(), Some(1));
    assert_eq!(other.ask("LLEN q").int(), Some(1));
}

/// Keys that are received by themselves are shared with the wait rather than copied, in whichever order they come.
#[test]
fn client_that_waits_for_long_keys_is_served() {
    const LONG_BYTES: usize = 100_000;
    each(|server| {
        let keys = [b'a', b'b'].map(|byte| vec![byte; LONG_BYTES]);
        for (place, key) in keys.iter().enumerate() {
            let mut waiting = server.client();
            waiting
                .send(&[&b"BLPOP"[..], b"first", &keys[0], b"between", &keys[1], b"0"])
                .expect("it takes it");
            await_blocked(server, 1);
            assert_eq!(server.client().call(&[&b"RPUSH"[..], key, b"x"]).int(), Some(1));
            let reply = waiting.read().expect("a reply").elements();
            assert!(reply[0].text() == key, "not key {place}");
            assert_eq!(reply[1].string(), "x");
        }
    });
}
