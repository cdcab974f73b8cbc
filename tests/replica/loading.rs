//! `repl-diskless-load`: a snapshot that is loaded as it comes leaves no file, and nothing of itself where it ends too early.

use super::fake::{Fake, ID};
use super::{await_agreement, await_link, field, to_follow};
use crate::harness::{Server, until};

fn rdb_files(server: &Server) -> usize {
    let entries = std::fs::read_dir(server.dir()).expect("it is there").flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|ext| ext == "rdb")).count()
}

#[test]
fn snapshot_is_loaded_as_it_comes_where_there_is_no_data() {
    for diskless in ["yes", "no"] {
        let primary = Server::newest_tcp(
            "redis-server",
            &[
                "--enable-debug-command",
                "yes",
                "--repl-diskless-sync-delay",
                "0",
                "--repl-diskless-sync",
                diskless,
            ],
        );
        let mut client = primary.client();
        client.ask("DEBUG POPULATE 50000");
        client.ask("SELECT 3");
        client.call(&["SET", "large", &"x".repeat(3 << 20)]);
        let options = ["--workers", "3", "--enable-debug-command", "yes", "--save", "100000 1"];
        let replica = Server::start(&[&options[..], &["--repl-diskless-load", "on-empty-db"]].concat());
        replica.client().ask(&to_follow(&primary));
        await_link(&replica);
        await_agreement(&mut client, &replica, diskless);
        assert_eq!(rdb_files(&replica), 0, "{diskless}");
        // With data, it goes by a file, which is kept where data is saved.
        replica.client().ask("REPLICAOF NO ONE");
        replica.client().ask("SET own 1");
        replica.client().ask(&to_follow(&primary));
        await_link(&replica);
        await_agreement(&mut client, &replica, diskless);
        assert_eq!(rdb_files(&replica), 1, "{diskless}");
    }
}

#[test]
fn snapshot_that_ends_too_early_leaves_nothing() {
    let source = Server::start(&["--enable-debug-command", "yes", "--save", "100000 1"]);
    source.client().ask("DEBUG POPULATE 20000");
    source.client().ask("SAVE");
    let whole = std::fs::read(source.dir().join("dump.rdb")).expect("it was saved");
    let fake = Fake::new();
    let replica = Server::start(&["--workers", "2", "--repl-diskless-load", "on-empty-db"]);
    let mut client = replica.client();
    client.ask(&fake.to_follow("127.0.0.1"));
    let mark = "f".repeat(40);
    for head in [format!("$EOF:{mark}\r\n"), format!("${}\r\n", whole.len())] {
        let mut follower = fake.accept();
        follower.introduce().expect("it asks");
        follower.say(format!("+FULLRESYNC {ID} 7\r\n{head}").as_bytes());
        follower.say(&whole[..whole.len() / 2]);
        drop(follower);
        let is_over = until(|| field(&mut replica.client(), "persistence", "loading") == "0");
        assert!(is_over, "{}", replica.log());
    }
    let mut follower = fake.accept();
    assert_eq!(follower.introduce().expect("it asks")[1..], ["?", "-1"], "nothing is there to be continued");
    assert_eq!(client.ask("DBSIZE").int(), Some(0));
    follower.say(format!("+FULLRESYNC {ID} 7\r\n$EOF:{mark}\r\n").as_bytes());
    follower.say(&whole);
    follower.say(mark.as_bytes());
    follower.say(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n");
    assert!(until(|| client.ask("GET k").int() == Some(1)), "{}", replica.log());
    assert_eq!(client.ask("DBSIZE").int(), Some(20001));
}
