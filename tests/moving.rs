//! Connections that move between workers: nothing of what a client has begun is lost, and everybody still finds it.

use crate::harness::{Client, Rng, Server, Value, command, pause_ms, until};

const BACKENDS: [&str; 2] = ["io_uring", "epoll"];

/// Three workers, all of which have clients.
fn server(backend: &str) -> Server {
    Server::start(&["--workers", "3", "--active-workers-min", "3", "--io-backend", backend])
}

/// A worker's number, in the line of this client.
fn worker_of(admin: &mut Client, id: i64) -> String {
    let line = admin.ask(&format!("CLIENT LIST ID {id}")).string();
    let field = line.split_whitespace().find_map(|word| word.strip_prefix("worker="));
    field.unwrap_or_else(|| panic!("no worker in {line:?}")).to_owned()
}

fn id_of(client: &mut Client) -> i64 {
    client.ask("CLIENT ID").int().expect("a number")
}

/// So many workers are active from now on, whatever the load.
fn set_active(admin: &mut Client, count: usize) {
    let set = format!("CONFIG SET active-workers-min {count} active-workers-max {count}");
    assert_eq!(admin.ask(&set).string(), "OK");
}

/// Lets clients send commands until all of them are on the first worker.
fn gather(admin: &mut Client, clients: &mut [Client], mut keep_going: impl FnMut(&mut Client)) {
    set_active(admin, 1);
    let ids: Vec<i64> = clients.iter_mut().map(id_of).collect();
    let all_there = until(|| {
        clients.iter_mut().for_each(&mut keep_going);
        ids.iter().all(|id| worker_of(admin, *id) == "0")
    });
    assert!(all_there, "the clients stay where they were: {}", admin.ask("INFO workers").string());
}

fn ping(client: &mut Client) {
    let reply = client.ask("PING").string();
    assert!(reply == "PONG" || reply == "QUEUED", "{reply}");
}

#[test]
fn what_a_client_has_begun_goes_with_it() {
    for backend in BACKENDS {
        let server = server(backend);
        let mut admin = server.client();
        let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.ask("HELLO 3");
            assert_eq!(client.ask(&format!("SELECT {number}")).string(), "OK");
            assert_eq!(client.ask(&format!("CLIENT SETNAME name{number}")).string(), "OK");
            assert_eq!(client.ask("SET watched 1").string(), "OK");
            assert_eq!(client.ask("WATCH watched").string(), "OK");
            assert_eq!(client.ask(&format!("HIMPORT PREPARE u field{number}")).string(), "OK");
        }
        let before: Vec<String> = clients
            .iter_mut()
            .map(|client| {
                let id = id_of(client);
                worker_of(&mut admin, id)
            })
            .collect();
        assert!(["0", "1", "2"].iter().all(|worker| before.iter().any(|w| w == worker)), "{before:?}");
        gather(&mut admin, &mut clients, ping);
        // What one of them watches is changed by somebody else; the others' transactions go through.
        assert_eq!(admin.ask("SELECT 2").string(), "OK");
        assert_eq!(admin.ask("SET watched 2").string(), "OK");
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask("CLIENT GETNAME").string(), format!("name{number}"));
            assert_eq!(client.ask(&format!("HIMPORT SET imported{number} u v")).string(), "OK");
            assert_eq!(client.ask(&format!("HGET imported{number} field{number}")).string(), "v");
            assert_eq!(client.ask("MULTI").string(), "OK");
            assert_eq!(client.ask("INCR watched").string(), "QUEUED");
            let reply = client.ask("EXEC");
            assert_eq!(reply == Value::Null, number == 2, "{reply:?}");
        }
    }
}

/// A transaction that is being queued, and a command of which half has come.
#[test]
fn a_half_sent_command_and_a_queue_go_along() {
    for backend in BACKENDS {
        let server = server(backend);
        let mut admin = server.client();
        let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("MULTI").string(), "OK"));
        let whole = command(&["SET", "key", &"v".repeat(1000)]);
        let (begin, end) = whole.split_at(300);
        set_active(&mut admin, 1);
        let active = |admin: &mut Client| admin.ask("INFO workers").string().contains("active_workers:1\r");
        assert!(until(|| active(&mut admin)), "all workers stay active");
        for client in &mut clients {
            // The reply to what comes before is what lets it move, and the rest comes after that.
            client.send_raw(&[&command(&["PING"])[..], begin].concat()).expect("it takes it");
            assert_eq!(client.read().expect("a reply").string(), "QUEUED");
        }
        for client in &mut clients {
            client.send_raw(end).expect("it takes it");
            assert_eq!(client.read().expect("a reply").string(), "QUEUED");
            assert_eq!(client.ask("EXEC").elements().len(), 2);
        }
        let ids: Vec<i64> = clients.iter_mut().map(id_of).collect();
        let there = |admin: &mut Client| ids.iter().all(|id| worker_of(admin, *id) == "0");
        assert!(until(|| {
            clients.iter_mut().for_each(ping);
            there(&mut admin)
        }));
    }
}

/// Pipelines all the while, as the number of active workers goes up and down: every reply, in order.
#[test]
fn pipelines_go_on_while_clients_move() {
    const CLIENTS: u64 = 6;
    const MOVES_MIN: u64 = 20;
    for backend in BACKENDS {
        let server = server(backend);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in 0..CLIENTS {
                let (server, done) = (&server, &done);
                scope.spawn(move || {
                    let (mut client, mut rng, mut count) = (server.client(), Rng(seed), 0);
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let depth = 1 + rng.below(60);
                        let one = command(&["INCR", &format!("own:{seed}")]);
                        client.send_raw(&one.repeat(depth)).expect("it takes it");
                        for _ in 0..depth {
                            count += 1;
                            assert_eq!(client.read().expect("a reply").int(), Some(count));
                        }
                        // So little to do that one worker is enough.
                        pause_ms(5);
                    }
                });
            }
            let mut admin = server.client();
            let (mut active, mut moves) = (3, 0);
            let enough = until(|| {
                pause_ms(20);
                let text = admin.ask("INFO workers").string();
                if text.contains(&format!("active_workers:{active}\r")) {
                    active = 4 - active;
                    set_active(&mut admin, active);
                }
                moves = server.workers_sum("connections_moved");
                moves >= MOVES_MIN
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(enough, "clients moved {moves} times: {}", admin.ask("INFO workers").string());
        });
    }
}

/// Who waits stays until it is served; who has moved can be killed, and told that it waits no more.
#[test]
fn a_client_that_has_moved_is_found() {
    for backend in BACKENDS {
        let server = server(backend);
        let mut admin = server.client();
        let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
        let mut waiting: Vec<Client> = (0..6).map(|_| server.client()).collect();
        for (number, client) in waiting.iter_mut().enumerate() {
            client.send(&["BLPOP", &format!("list:{number}"), "0"]).expect("it takes it");
        }
        gather(&mut admin, &mut clients, ping);
        for (number, client) in waiting.iter_mut().enumerate() {
            assert!(until(|| admin
                .ask("INFO clients")
                .string()
                .contains(&format!("blocked_clients:{}", 6 - number))));
            assert_eq!(admin.ask(&format!("RPUSH list:{number} a b")).int(), Some(2));
            assert_eq!(client.read().expect("a reply").elements().len(), 2);
        }
        gather(&mut admin, &mut waiting, ping);
        for client in &mut waiting {
            let id = id_of(client);
            client.send(&["BLPOP", "nothing", "0"]).expect("it takes it");
            assert!(until(|| admin.ask(&format!("CLIENT UNBLOCK {id} ERROR")).int() == Some(1)));
            assert!(client.read().expect("a reply").string().starts_with("UNBLOCKED"));
        }
        for client in &mut clients {
            let id = id_of(client);
            assert_eq!(admin.ask(&format!("CLIENT KILL ID {id}")).int(), Some(1));
            assert!(client.read_to_end().1.is_ok(), "a killed connection stays open");
        }
        drop(waiting);
        assert!(until(|| admin.ask("INFO clients").string().contains("connected_clients:1\r")));
        assert_eq!(admin.ask("CLIENT LIST").string().lines().count(), 1);
    }
}

/// A slow command holds up its worker's clients, so after one they are on all workers.
#[test]
fn a_slow_command_spreads_the_clients() {
    let args = ["--workers", "3", "--active-workers-min", "1", "--enable-debug-command", "yes"];
    let server = Server::start(&args);
    let mut admin = server.client();
    let mut active = |count| {
        let line = format!("active_workers:{count}\r");
        until(|| admin.ask("INFO workers").string().contains(&line))
    };
    assert!(active(1), "more than one worker is active without a reason");
    assert_eq!(server.client().ask("DEBUG SLEEP 0.1").string(), "OK");
    assert!(active(3), "the slow command was not noticed");
}
