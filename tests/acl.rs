//! Users and rights, beside Redis: what rules come to, who may run what, and when a change holds.

use std::sync::atomic::{AtomicBool, Ordering};

use torc::command::table;

use crate::harness::{Client, Rng, Server, TORC, Value, command, newest_program, until};

/// Both servers, and a client of each.
struct Pair {
    _servers: [Server; 2],
    redis: Client,
    torc: Client,
}

impl Pair {
    fn start(workers: &str) -> Self {
        let servers = [Server::redis(&[]), Server::start(&["--workers", workers])];
        let (redis, torc) = (servers[0].client(), servers[1].client());
        Self { _servers: servers, redis, torc }
    }

    /// Sends a command to both; their reply, which is the same.
    #[track_caller]
    fn both(&mut self, words: &[Vec<u8>]) -> Value {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let (redis, torc) = (self.redis.call(&words), self.torc.call(&words));
        let shown = || words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
        assert_eq!(torc, redis, "{}", shown());
        redis
    }

    #[track_caller]
    fn both_say(&mut self, text: &str) -> Value {
        self.both(&text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.elements().iter().map(Value::string).collect()
}

/// Words of rules that are right, wrong and odd.
fn any_rule(rng: &mut Rng) -> Vec<u8> {
    const FIXED: &[&str] = &[
        "on",
        "OFF",
        "nopass",
        "resetpass",
        "reset",
        "resetkeys",
        "allkeys",
        "~*",
        "allchannels",
        "&*",
        "resetchannels",
        "allcommands",
        "+@all",
        "NOCOMMANDS",
        "-@ALL",
        "clearselectors",
        "sanitize-payload",
        "skip-sanitize-payload",
        ">foo",
        ">bar",
        "<foo",
        "#2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "!2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
        "#2c26",
        "~a*",
        "~a*",
        "%R~a*",
        "%W~a*",
        "%rw~b",
        "%R",
        "%RR~x",
        "%~x",
        "~",
        "&",
        "&x*",
        "&y",
        "+select|0",
        "+select|1",
        "+SELECT|0",
        "-select",
        "+select",
        "-select|0",
        "+select|",
        "+config|get",
        "-config|GET",
        "+config",
        "-config",
        "+config|nosuch",
        "+config|get|x",
        "+client|kill",
        "-client|kill",
        "+@nosuch",
        "+nosuch",
        "-nosuch",
        "+",
        "-",
        "@all",
        "(+get ~s* &c)",
        "(%R~x -@all +set)",
        "(+@read +select|0",
        "&z)",
        "()",
        "(",
        "(on)",
        "(+nosuch)",
        "(~a\"b\" +get)",
        "",
        "a b",
        "~a b",
        "on\0x",
        "~a\0b",
        "+get\0x",
    ];
    let rows = table().rows();
    let sign = *rng.pick(&["+", "-"]);
    let rule = match rng.below(4) {
        0 => format!("{sign}{}", rows[rng.below(rows.len())].full_name),
        1 => format!("{sign}@{}", rng.pick(torc::command::Categories::NAMES).1),
        _ => return rng.pick(FIXED).as_bytes().to_vec(),
    };
    if rng.once_in(4) { rule.to_uppercase().into_bytes() } else { rule.into_bytes() }
}

/// Rules in any order come to the same as in Redis: what is refused, and what is shown.
#[test]
fn random_rules_come_to_what_they_do_in_redis() {
    let mut pair = Pair::start("1");
    let mut rng = Rng(17);
    // Redis has no rows for what came later.
    let known = |rule: &[u8], pair: &mut Pair| {
        let name = String::from_utf8_lossy(rule.get(1..).unwrap_or_default()).to_lowercase();
        table().find_full(name.as_bytes()).is_none()
            || !pair.redis.call(&["COMMAND", "INFO", &name]).elements()[0].is_null()
    };
    for round in 0..1500 {
        let user = format!("u{}", rng.below(4)).into_bytes();
        let mut words = vec![b"ACL".to_vec(), b"SETUSER".to_vec(), user.clone()];
        for _ in 0..=rng.below(6) {
            let rule = any_rule(&mut rng);
            if known(&rule, &mut pair) {
                words.push(rule);
            }
        }
        pair.both(&words);
        pair.both(&[b"ACL".to_vec(), b"GETUSER".to_vec(), user.clone()]);
        if round % 16 == 0 {
            pair.both_say("ACL LIST");
            pair.both(&[b"ACL".to_vec(), b"DELUSER".to_vec(), user]);
        }
    }
}

/// Arguments for every row whose arity they fit: names that some users may use and some not.
fn arguments(row: &torc::command::Row) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = row.full_name.split('|').map(|word| word.as_bytes().to_vec()).collect();
    let least = usize::from(row.command.arity.unsigned_abs());
    while words.len() < least {
        words.push([b"r:1", b"w:1"][words.len() % 2].to_vec());
    }
    words
}

/// Who may run what: every command of the table, for users of every kind.
#[test]
fn every_command_is_allowed_to_whom_redis_allows_it() {
    let mut pair = Pair::start("1");
    let mut users = vec![
        "+@all ~* &*".to_owned(),
        "+@all -@dangerous ~* &*".to_owned(),
        "+@all ~r:* &*".to_owned(),
        "+@all %R~r:* %W~w:* &r:*".to_owned(),
        "+@all %W~r:* %R~w:* &w:*".to_owned(),
        "+@all %R~r:* %R~w:*".to_owned(),
        "+@all %W~r:* %W~w:*".to_owned(),
        "-@all +@read ~* (+@write ~w:*) (+@pubsub &r:*)".to_owned(),
        "+@all -config +config|get ~*".to_owned(),
        "+config +client -client|kill +acl|whoami ~*".to_owned(),
    ];
    users.extend(torc::command::Categories::NAMES.iter().map(|(_, name)| format!("+@{name} ~* &*")));
    for (index, rules) in users.iter().enumerate() {
        pair.both_say(&format!("ACL SETUSER u{index} on nopass {rules}"));
    }
    let mut compared = 0;
    for row in table().rows() {
        // Redis finds no key in a PFMERGE without sources, and lets anybody create its destination.
        let is_unknown = pair.redis.call(&["COMMAND", "INFO", &row.full_name]).elements()[0].is_null();
        if is_unknown || row.full_name == "pfmerge" {
            continue;
        }
        for index in 0..users.len() {
            let mut words = vec![b"ACL".to_vec(), b"DRYRUN".to_vec(), format!("u{index}").into_bytes()];
            words.extend(arguments(row));
            pair.both(&words);
            compared += 1;
        }
    }
    assert!(compared > 5000, "only {compared} pairs of user and command");
}

/// What keys a command has, and what it does with them, may depend on its options.
#[test]
fn keys_that_options_name_are_compared_as_in_redis() {
    let mut pair = Pair::start("1");
    let users = ["%R~r* %W~w* ~k*", "%W~r* %R~w*", "%R~*", "%W~*", "~r*", "~w*"];
    for (index, rules) in users.iter().enumerate() {
        pair.both_say(&format!("ACL SETUSER u{index} on nopass +@all {rules}"));
    }
    let commands = [
        "set r v",
        "set r v get",
        "set k v xx get",
        "set w v",
        "set w v get",
        "sort r",
        "sort r store w",
        "sort r store r",
        "sort r by x get y store w2 store r2",
        "sort_ro r by w",
        "bitfield r get u8 0",
        "bitfield r get u8 0 overflow wrap",
        "bitfield r get u8 0 set u8 0 1",
        "bitfield w incrby u8 0 1",
        "bitfield r foo",
        "bitfield_ro r get u8 0",
        "bitop and w r r2",
        "bitop and r w w2",
        "copy r w",
        "copy w r",
        "rename w w2",
        "rename r w",
        "lmove r w left left",
        "lmove k w left left",
        "zunionstore w 2 r r2",
        "zunionstore w 3 r",
        "zunionstore w x r",
        "zunion 2 r w",
        "zinter 2 r r2 withscores",
        "georadius r 1 1 1 m",
        "georadius r 1 1 1 m store w",
        "georadius r 1 1 1 m storedist r2",
        "geosearchstore w r fromlonlat 1 1 byradius 1 m",
        "xread count 1 streams r w 0 0",
        "xread block 0 streams r r2 0",
        "xreadgroup group g c streams r w > >",
        "xreadgroup group g c streams k k2 > >",
        "lmpop 2 r w left",
        "blmpop 0 2 k k2 left",
        "zmpop 2 k w min",
        "mset k 1 w 2 r 3",
        "msetnx k 1 w 2",
        "pfmerge w r r2",
        "pfcount r w",
        "object freq r",
        "object help",
        "memory usage w",
        "xinfo stream r",
        "xgroup create w g 0",
        "getdel r",
        "getex k persist",
        "expire r 1",
        "expire w 1",
        "ttl w",
        "exists r w x",
        "touch x",
        "type x",
        "strlen x",
        "append w x",
        "append r x",
        "incr w",
        "getset w 1",
        "setrange w 0 x",
        "lpush w x",
        "lpushx w x",
        "lpop w",
        "lrange w 0 1",
        "llen w",
        "hset w f v",
        "hdel w f",
        "hget w f",
        "hgetdel w fields 1 f",
        "hincrby w f 1",
        "sadd w m",
        "smove w w2 m",
        "spop w",
        "sismember w m",
        "zadd w 1 m",
        "zadd w gt 1 m",
        "zincrby w 1 m",
        "zrange w 0 1",
        "zrangestore w r 0 1",
        "watch r",
        "watch w",
        "del r w",
        "unlink w",
        "restore w 0 x",
        "dump w",
        "migrate h 1 w 0 1",
        "migrate h 1 \"\" 0 1 keys r w",
        "publish x y",
        "subscribe x",
        "eval x 1 r",
        "eval x 1 w",
    ];
    for words in commands {
        if table().find(words.split(' ').next().expect("a word").as_bytes()).is_none() {
            continue;
        }
        for index in 0..users.len() {
            pair.both_say(&format!("ACL DRYRUN u{index} {words}"));
        }
    }
}

/// Categories have the commands that they have in Redis, as far as these are here.
#[test]
fn categories_have_the_commands_that_they_have_in_redis() {
    let mut pair = Pair::start("1");
    let known: Vec<String> = texts(&pair.redis.ask("COMMAND LIST"));
    let ours: Vec<String> = texts(&pair.torc.ask("COMMAND LIST"));
    assert_eq!(texts(&pair.both_say("ACL CAT")).len(), torc::command::Categories::NAMES.len());
    for (_, name) in torc::command::Categories::NAMES {
        let words = format!("ACL CAT {name}");
        let mut there = texts(&pair.redis.ask(&words));
        let mut here = texts(&pair.torc.ask(&words));
        there.retain(|name| ours.contains(name));
        here.retain(|name| known.contains(name));
        there.sort_unstable();
        here.sort_unstable();
        assert_eq!(here, there, "{name}");
        assert!(!here.is_empty() || *name == "scripting", "{name} is empty");
    }
}

/// A right that was taken away is gone for everybody when that is answered, whatever is under way on other workers.
#[test]
fn a_right_taken_away_is_gone_on_every_worker() {
    let server = Server::start(&["--workers", "3"]);
    let mut admin = server.client();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Clients on other workers, which keep them busy: a key is incremented until that is forbidden.
        let pipelines: Vec<_> = (0..6)
            .map(|number| {
                let (server, ends) = (&server, &ends);
                admin.ask(&format!("ACL SETUSER u{number} on nopass ~k{number} +incr"));
                scope.spawn(move || {
                    let mut client = server.client();
                    assert_eq!(client.ask(&format!("AUTH u{number} x")).string(), "OK");
                    let batch = command(&["INCR", &format!("k{number}")]).repeat(64);
                    let mut allowed = 0;
                    while !ends.load(Ordering::Relaxed) {
                        client.send_raw(&batch).expect("it is read");
                        for _ in 0..64 {
                            allowed += u64::from(!client.read().expect("a reply").is_error());
                        }
                    }
                    allowed
                })
            })
            .collect();
        for round in 0..60 {
            let number = round % 6;
            let (user, key) = (format!("u{number}"), format!("k{number}"));
            let rule = ["-incr", "resetkeys"][round / 6 % 2];
            let before = admin.ask(&format!("GET {key}"));
            assert!(until(|| admin.ask(&format!("GET {key}")) != before), "{user} does nothing");
            assert_eq!(admin.ask(&format!("ACL SETUSER {user} {rule}")).string(), "OK");
            let then = admin.ask(&format!("GET {key}"));
            for _ in 0..20 {
                assert_eq!(admin.ask(&format!("GET {key}")), then, "{user} has gone on after {rule}");
            }
            assert_eq!(admin.ask(&format!("ACL SETUSER {user} ~{key} +incr")).string(), "OK");
        }
        ends.store(true, Ordering::Relaxed);
        for (number, pipeline) in pipelines.into_iter().enumerate() {
            let allowed = pipeline.join().expect("it ends");
            assert_eq!(admin.ask(&format!("GET k{number}")).string(), allowed.to_string());
        }
    });
}

/// Clients of a deleted user are ended, wherever they are and whatever they wait for; one with the same name is another.
#[test]
fn clients_of_a_deleted_user_are_ended() {
    let server = Server::start(&["--workers", "3"]);
    let mut admin = server.client();
    let rules = "ACL SETUSER bob on nopass ~* &* +@all";
    assert_eq!(admin.ask(rules).string(), "OK");
    let mut clients: Vec<Client> = (0..9).map(|_| server.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask("AUTH bob x").string(), "OK");
        match index % 3 {
            0 => client.send(&["BLPOP", "list", "0"]).expect("it is read"),
            1 => assert_eq!(client.ask("SUBSCRIBE c").elements().len(), 3),
            _ => assert_eq!(client.ask("MULTI").string(), "OK"),
        }
    }
    let is_blocked = |admin: &mut Client| admin.ask("INFO clients").string().contains("blocked_clients:3");
    assert!(until(|| is_blocked(&mut admin)), "three wait");
    assert_eq!(admin.ask("ACL DELUSER bob").int(), Some(1));
    assert_eq!(admin.ask(rules).string(), "OK");
    for client in &mut clients {
        assert!(client.read().is_err(), "its user is gone");
    }
    assert!(!admin.ask("CLIENT LIST").string().contains("user=bob"));
    // Whoever deletes itself has the answer first.
    let mut client = server.client();
    assert_eq!(client.ask("AUTH bob x").string(), "OK");
    assert_eq!(client.ask("ACL DELUSER bob").int(), Some(1));
    assert!(client.read().is_err());
}

/// Who listens to what its user may not listen to any more is ended before it hears another message.
#[test]
fn listeners_lose_their_connection_with_the_right() {
    let torc = Server::start(&["--workers", "3"]);
    let redis = Server::redis(&[]);
    for server in [&redis, &torc] {
        let mut admin = server.client();
        assert_eq!(admin.ask("ACL SETUSER bob on nopass &a* &b* +@all").string(), "OK");
        let mut listeners: Vec<Client> = Vec::new();
        // Of each two, the second loses its right.
        for (command, name) in [
            ("SUBSCRIBE", "a1"),
            ("SUBSCRIBE", "b1"),
            ("PSUBSCRIBE", "a*"),
            ("PSUBSCRIBE", "b*"),
            ("SSUBSCRIBE", "a2"),
            ("SSUBSCRIBE", "b2"),
        ] {
            for protocol in ["2", "3"] {
                let mut client = server.client();
                client.call(&["HELLO", protocol, "AUTH", "bob", "x"]);
                client.call(&[command, name]);
                listeners.push(client);
            }
        }
        // More rights end nobody.
        assert_eq!(admin.ask("ACL SETUSER bob &c").string(), "OK");
        assert_eq!(admin.ask("ACL SETUSER bob resetchannels &a*").string(), "OK");
        for (name, message) in [("a1", "one"), ("b1", "two")] {
            admin.call(&["PUBLISH", name, message]);
        }
        admin.call(&["SPUBLISH", "a2", "one"]);
        admin.call(&["SPUBLISH", "b2", "two"]);
        for (index, client) in listeners.iter_mut().enumerate() {
            let is_ended = index / 2 % 2 == 1;
            match client.read() {
                Ok(message) => {
                    assert!(!is_ended && message.to_string().contains("one"), "{index}: {message}");
                }
                Err(_) => assert!(is_ended, "{index}: it may listen to that"),
            }
        }
    }
}

/// As the fuzz target of that name, in short: rules are applied or refused, and their canonical form comes to the same again.
#[test]
fn rules_come_to_the_same_when_they_are_written_and_read() {
    let mut rng = Rng(4);
    let users =
        torc::security::Users::new(torc::command::catalog(), false, b"", &[]).expect("none is declared");
    let (mut applied, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let words: Vec<Vec<u8>> = (0..=rng.below(6)).map(|_| any_rule(&mut rng)).collect();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let before = users.load();
        if users.set(b"bob", &words, false).is_err() {
            assert_eq!(users.load().version(), before.version());
            refused += 1;
            continue;
        }
        applied += 1;
        let table = users.load();
        let line = table.find(b"bob").expect("it was just set").declaration();
        assert_eq!(users.canonical(&line, false), Some(line), "{words:?}");
        if rng.once_in(8) {
            assert_eq!(users.delete(&[b"bob"]).len(), 1);
        }
    }
    assert!(applied > 300 && refused > 300, "{applied} applied, {refused} refused");
}

/// Passwords of GENPASS are of the kernel's random source: as long as was asked for, and never the same.
#[test]
fn generated_passwords_differ() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut seen = std::collections::HashSet::new();
    for bits in [1, 4, 5, 64, 255, 256, 4096] {
        let text = client.ask(&format!("ACL GENPASS {bits}")).string();
        assert!(
            text.len() == usize::div_ceil(bits, 4) && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        );
    }
    (0..200).for_each(|_| assert!(seen.insert(client.ask("ACL GENPASS").string())));
}

/// A client that waits is refused when it is served, as in Redis, and leaves what it waited for to the next.
#[test]
fn who_waits_needs_the_right_when_it_is_served() {
    for server in [Server::redis(&[]), Server::start(&["--workers", "3"])] {
        let (mut admin, mut first, mut second) = (server.client(), server.client(), server.client());
        assert_eq!(admin.ask("ACL SETUSER bob on nopass ~* +blpop").string(), "OK");
        assert_eq!(first.ask("AUTH bob x").string(), "OK");
        let waits = |admin: &mut Client, count: usize| {
            let field = format!("blocked_clients:{count}");
            assert!(until(|| admin.ask("INFO clients").string().contains(&field)), "{count} wait");
        };
        first.send(&["BLPOP", "list", "0"]).expect("it is read");
        waits(&mut admin, 1);
        second.send(&["BLPOP", "list", "0"]).expect("it is read");
        waits(&mut admin, 2);
        assert_eq!(admin.ask("ACL SETUSER bob resetkeys").string(), "OK");
        assert_eq!(admin.ask("RPUSH list x").int(), Some(1));
        assert_eq!(first.read().expect("a reply").string(), "NOPERM No permissions to access a key");
        assert_eq!(texts(&second.read().expect("a reply")), ["list", "x"]);
    }
}

/// Rights follow the user through renames of commands: rules name them as Redis does, whatever they are called.
#[test]
fn rules_name_commands_as_they_were() {
    for program in [newest_program("redis-server"), TORC.to_owned()] {
        let lines =
            "rename-command GET fetch\nrename-command CONFIG \"\"\nuser bob on nopass ~* +get -config\n";
        let server = Server::with_file(&program, lines, &[]);
        let mut client = server.client();
        assert_eq!(client.ask("AUTH bob x").string(), "OK");
        assert!(client.ask("fetch k").is_null());
        assert!(
            client.ask("SET k v").string().starts_with("NOPERM User bob has no permissions to run the 'set'")
        );
        let mut admin = server.client();
        assert_eq!(admin.ask("ACL SETUSER bob -get").string(), "OK");
        assert!(
            client.ask("fetch k").string().starts_with("NOPERM User bob has no permissions to run the 'get'")
        );
        assert!(admin.ask("ACL SETUSER bob +fetch").is_error());
    }
}
