//! Published messages on several workers: the order in which they are seen, clients that do not read, and many that do.

use std::collections::BTreeMap;

use crate::harness::{Client, Server, Value, command, until};

const BACKENDS: [&str; 2] = ["io_uring", "epoll"];

/// Three workers, all of which have clients: new ones go to whichever has the fewest.
fn server(backend: &str) -> Server {
    Server::start(&["--workers", "3", "--active-workers-min", "3", "--io-backend", backend])
}

/// A client that has subscribed to these channels.
fn subscriber(server: &Server, channels: &[&str]) -> Client {
    let mut client = server.client();
    client.send(&[&["SUBSCRIBE"], channels].concat()).expect("it takes it");
    for _ in channels {
        client.read().expect("a confirmation");
    }
    client
}

/// Channel and text of the next message.
fn message(client: &mut Client) -> (String, String) {
    let value = client.read().expect("a message");
    let words: Vec<String> = value.elements().iter().map(Value::string).collect();
    assert_eq!((words.len(), words[0].as_str()), (3, "message"), "{words:?}");
    (words[1].clone(), words[2].clone())
}

/// All subscribers of a channel see its messages in one order, and each publisher's in the order in which it sent them, over all
/// channels.
#[test]
fn messages_have_one_order_for_all() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 1500;
    const CHANNELS: [&str; 3] = ["a", "b", "c"];
    for backend in BACKENDS {
        let server = server(backend);
        let subscribers: Vec<Client> = (0..6).map(|_| subscriber(&server, &CHANNELS)).collect();
        let publishers: Vec<Client> = (0..PUBLISHERS).map(|_| server.client()).collect();
        let seen: Vec<Vec<(String, String)>> = std::thread::scope(|scope| {
            for (number, mut client) in publishers.into_iter().enumerate() {
                scope.spawn(move || {
                    // Some at a time, so that publishers run into each other.
                    for first in (0..EACH).step_by(50) {
                        let one = |n: usize| {
                            command(&["PUBLISH", CHANNELS[(n * 7 + number) % 3], &format!("{number}:{n}")])
                        };
                        client
                            .send_raw(&(first..first + 50).flat_map(one).collect::<Vec<_>>())
                            .expect("it takes it");
                        for _ in 0..50 {
                            assert_eq!(client.read().expect("a reply").int(), Some(6));
                        }
                    }
                });
            }
            let readers = subscribers.into_iter().map(|mut client| {
                scope.spawn(move || (0..PUBLISHERS * EACH).map(|_| message(&mut client)).collect())
            });
            let readers: Vec<_> = readers.collect();
            readers.into_iter().map(|reader| reader.join().expect("no panic")).collect()
        });
        let by_channel = |messages: &[(String, String)]| {
            let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (channel, text) in messages {
                all.entry(channel.clone()).or_default().push(text.clone());
            }
            all
        };
        let first = by_channel(&seen[0]);
        for messages in &seen {
            assert!(by_channel(messages) == first, "{backend}: two subscribers saw different orders");
            let mut next = [0; PUBLISHERS];
            for (_, text) in messages {
                let (number, n) = text.split_once(':').expect("what was sent");
                let number: usize = number.parse().expect("a number");
                assert_eq!(n.parse(), Ok(next[number]), "{backend}: of publisher {number}");
                next[number] += 1;
            }
        }
    }
}

/// Who hears a question and answers on another channel is never heard before the question, whatever workers all of them are on.
#[test]
fn answer_is_never_heard_before_its_question() {
    const QUESTIONS: usize = 1000;
    for backend in BACKENDS {
        let server = server(backend);
        let mut hearers: Vec<Client> = (0..3).map(|_| subscriber(&server, &["question", "answer"])).collect();
        let mut listening = subscriber(&server, &["question"]);
        let mut answering = server.client();
        let mut asking = server.client();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..QUESTIONS {
                    let (_, text) = message(&mut listening);
                    answering.call(&["PUBLISH", "answer", &text]);
                }
            });
            scope.spawn(move || {
                for n in 0..QUESTIONS {
                    asking.call(&["PUBLISH", "question", &n.to_string()]);
                }
            });
            for hearer in &mut hearers {
                let (mut asked, mut answered) = (0, 0);
                for _ in 0..2 * QUESTIONS {
                    let (channel, text) = message(hearer);
                    let count = if channel == "question" { &mut asked } else { &mut answered };
                    assert_eq!(text.parse(), Ok(*count));
                    *count += 1;
                    assert!(answered <= asked, "{backend}: answer {answered} came before its question");
                }
            }
        });
    }
}

/// A message about a write is never seen before the write.
#[test]
fn message_comes_behind_the_write_it_tells_of() {
    let server = server("io_uring");
    let mut listening: Vec<Client> = (0..3).map(|_| subscriber(&server, &["written"])).collect();
    let mut readers: Vec<Client> = (0..3).map(|_| server.client()).collect();
    let mut writer = server.client();
    for n in 0..500 {
        let text = n.to_string();
        let both = [command(&["SET", "key", &text]), command(&["PUBLISH", "written", &text])].concat();
        writer.send_raw(&both).expect("it takes it");
        for (client, reader) in listening.iter_mut().zip(&mut readers) {
            assert_eq!(message(client).1, text);
            assert_eq!(reader.ask("GET key").string(), text);
        }
        writer.read().expect("a reply");
        writer.read().expect("a reply");
    }
}

/// Who subscribes while messages fly gets all from some point on, until it unsubscribes, and nothing behind the confirmation.
#[test]
fn subscriber_gets_a_run_without_gaps() {
    for backend in BACKENDS {
        let server = server(backend);
        // The others have the message delivered to all workers all the while.
        let _others: Vec<Client> = (0..3).map(|_| subscriber(&server, &["other"])).collect();
        let mut publisher = server.client();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0_u64;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let ten: Vec<u8> =
                        (n..n + 10).flat_map(|n| command(&["PUBLISH", "run", &n.to_string()])).collect();
                    publisher.send_raw(&ten).expect("it takes it");
                    (0..10).for_each(|_| drop(publisher.read().expect("a reply")));
                    n += 10;
                }
            });
            for round in 0..60 {
                let mut client = subscriber(&server, &["run"]);
                let mut last: Option<u64> = None;
                let mut check = |text: &str| {
                    let n: u64 = text.parse().expect("a number");
                    assert!(last.is_none_or(|last| n == last + 1), "{backend}: {n} behind {last:?}");
                    last = Some(n);
                };
                for _ in 0..round % 20 {
                    check(&message(&mut client).1);
                }
                client.send(&["UNSUBSCRIBE"]).expect("it takes it");
                loop {
                    let words: Vec<Value> = client.read().expect("a message").elements().to_vec();
                    if words[0].string() == "unsubscribe" {
                        break;
                    }
                    check(&words[2].string());
                }
                assert_eq!(client.ask("ECHO quiet").string(), "quiet");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}

/// Who does not read is closed at the limit of its class; the others get every message.
#[test]
fn subscriber_that_does_not_read_is_closed() {
    const MESSAGES: usize = 400;
    for backend in BACKENDS {
        let server = server(backend);
        let mut admin = server.client();
        let set = r#"CONFIG SET client-output-buffer-limit "pubsub 1mb 0 0""#;
        assert_eq!(admin.ask(set).string(), "OK");
        let mut deaf: Vec<Client> = (0..3).map(|_| subscriber(&server, &["ch"])).collect();
        let mut hearing: Vec<Client> = (0..3).map(|_| subscriber(&server, &["ch"])).collect();
        // Its replies are of another class, and may wait.
        let text = "x".repeat(20_000);
        for _ in 0..MESSAGES {
            admin.call(&["PUBLISH", "ch", &text]);
            for client in &mut hearing {
                assert_eq!(message(client).1.len(), text.len());
            }
        }
        let closed = "client_output_buffer_limit_disconnections:3";
        assert!(until(|| admin.ask("INFO stats").string().contains(closed)), "{backend}");
        assert!(until(|| admin.ask("PUBSUB NUMSUB ch").elements()[1].int() == Some(3)));
        for client in &mut deaf {
            // What it gets are whole messages, as far as they went.
            let (bytes, _) = client.read_to_end();
            assert!(bytes.len() < MESSAGES * text.len(), "it got all");
        }
    }
}

/// As many clients as a test may have, on one channel: all get all messages, short ones and such as are sent from where they lie.
#[test]
fn all_of_many_subscribers_get_all_messages() {
    const SUBSCRIBERS: usize = 600;
    for backend in BACKENDS {
        let server = server(backend);
        let mut clients: Vec<Client> = (0..SUBSCRIBERS).map(|_| subscriber(&server, &["crowd"])).collect();
        let mut publisher = server.client();
        let texts: Vec<String> =
            (0..30).map(|n| format!("{n}:").repeat(if n % 10 == 9 { 9000 } else { 5 })).collect();
        for text in &texts {
            assert_eq!(publisher.call(&["PUBLISH", "crowd", text]).int(), Some(SUBSCRIBERS as i64));
        }
        for client in &mut clients {
            for text in &texts {
                assert!(message(client).1 == *text);
            }
        }
        drop(clients);
        assert!(until(|| publisher.ask("PUBLISH crowd x").int() == Some(0)), "those who left are counted");
        assert_eq!(publisher.ask("PUBSUB CHANNELS crowd").elements().len(), 0);
    }
}

/// More messages than inboxes have room for wait at their sender, which takes no commands meanwhile; none is lost.
#[test]
fn transaction_of_many_messages_is_delivered_whole() {
    const MESSAGES: usize = 5000;
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let mut clients: Vec<Client> = (0..4).map(|_| subscriber(&server, &["many"])).collect();
        let mut publisher = server.client();
        let queued: Vec<u8> =
            (0..MESSAGES).flat_map(|n| command(&["PUBLISH", "many", &n.to_string()])).collect();
        let all = [command(&["MULTI"]), queued, command(&["EXEC"])].concat();
        publisher.send_raw(&all).expect("it takes it");
        for _ in 0..=MESSAGES {
            publisher.read().expect("a reply");
        }
        assert_eq!(publisher.read().expect("a reply").elements().len(), MESSAGES);
        for client in &mut clients {
            for n in 0..MESSAGES {
                assert_eq!(message(client).1, n.to_string());
            }
        }
    }
}
