//! HOTKEYS: what is found where many clients of several workers use some keys more than others.

use crate::harness::{Rng, Server, Value, command};

const HOT: usize = 5;
const OTHERS: usize = 200;
const COMMANDS: usize = 4000;

/// The keys under a name of what GET says.
fn keys(found: &Value, name: &str) -> Vec<String> {
    let map = found.elements()[0].elements();
    let place = map.iter().position(|word| word.text() == name.as_bytes()).expect("it is there");
    map[place + 1].elements().chunks(2).map(|pair| pair[0].string()).collect()
}

#[test]
fn hot_keys_are_found_among_others() {
    for (workers, sample) in [("1", 1), ("3", 1), ("3", 20)] {
        let server = Server::start(&["--workers", workers]);
        let mut admin = server.client();
        let start = format!("HOTKEYS START METRICS 2 CPU NET SAMPLE {sample} COUNT {HOT}");
        assert_eq!(admin.ask(&start).string(), "OK");
        std::thread::scope(|scope| {
            for number in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    let (mut client, mut rng) = (server.client(), Rng(number));
                    let value = "v".repeat(200);
                    for _ in 0..COMMANDS / 100 {
                        let mut sent = Vec::new();
                        for _ in 0..100 {
                            let key = match rng.below(10) {
                                0..8 => format!("hot:{}", rng.below(HOT)),
                                _ => format!("other:{}", rng.below(OTHERS)),
                            };
                            sent.extend(command(&["SET", &key, &value]));
                        }
                        client.send_raw(&sent).expect("the server reads");
                        (0..100).for_each(|_| drop(client.read_raw().expect("a reply")));
                    }
                });
            }
        });
        assert_eq!(admin.ask("HOTKEYS STOP").string(), "OK");
        let found = admin.ask("HOTKEYS GET");
        let by_net = keys(&found, "by-net-bytes");
        assert_eq!(by_net.len(), HOT);
        assert!(by_net.iter().all(|key| key.starts_with("hot:")), "{by_net:?}");
        // A command that a processor was taken from in the middle counts for whichever key it has.
        let by_cpu = keys(&found, "by-cpu-time-us");
        assert!(by_cpu.iter().filter(|key| key.starts_with("hot:")).count() >= HOT - 2, "{by_cpu:?}");
        assert_eq!(admin.ask("HOTKEYS RESET").string(), "OK");
    }
}
