//! After much use with many passwords none of them is found anywhere but where it was given: log, MONITOR, SLOWLOG, ACL LOG,
//! rewritten files, the report of a crash.

use crate::harness::{Client, Rng, Server, TORC, Value, command, until};

/// Passwords, each of which would be recognised anywhere.
struct Passwords {
    rng: Rng,
    given: Vec<String>,
}

impl Passwords {
    fn next(&mut self) -> String {
        self.given.push(format!("pw{:016x}{:016x}", self.rng.next(), self.rng.next()));
        self.given[self.given.len() - 1].clone()
    }
}

/// Uses passwords in every way there is, right and wrong ones, alone and in transactions.
fn use_passwords(client: &mut Client, passwords: &mut Passwords) {
    let mut send = |words: &[&str]| _ = client.call(words);
    for round in 0..20 {
        let (user, good, other) = (format!("user{}", round % 3), passwords.next(), passwords.next());
        send(&[
            "ACL",
            "SETUSER",
            &user,
            "on",
            &format!(">{good}"),
            "+@all",
            "~*",
            "&*",
            &format!(">{other}"),
        ]);
        send(&["ACL", "SETUSER", &user, &format!("<{other}"), &format!("<{}", passwords.next())]);
        send(&[
            "ACL",
            "SETUSER",
            &user,
            &format!(">{}", passwords.next()),
            "nosuch",
            &format!("(>{}", passwords.next()),
        ]);
        send(&["ACL", "SETUSER", &user, &format!("#{}", passwords.next())]);
        send(&["ACL", "SETUSER"]);
        send(&["CONFIG", "SET", "requirepass", &good, "masteruser", "m"]);
        send(&["CONFIG", "SET", "requirepass", &passwords.next(), "nosuch", "x"]);
        send(&["CONFIG", "SET", "tls-key-file-pass", &passwords.next()]);
        send(&["CONFIG", "SET", "tls-key-file-pass", ""]);
        send(&["CONFIG", "SET", "tls-client-key-file-pass", &passwords.next()]);
        send(&["CONFIG", "SET", "tls-client-key-file-pass", ""]);
        send(&["CONFIG", "SET", "masterauth", &passwords.next()]);
        send(&["CONFIG", "SET", "masterauth", ""]);
        send(&["CONFIG", "SET", "admin-password", &passwords.next()]);
        send(&["AUTH", &passwords.next()]);
        send(&["AUTH", &user, &passwords.next()]);
        send(&["AUTH", &user, &passwords.next(), &passwords.next()]);
        send(&["HELLO", "3", "AUTH", &user, &passwords.next(), "SETNAME", "x"]);
        send(&["HELLO", "3", "AUTH", &user, &good]);
        send(&["HELLO", "2", "AUTH", &user, &good, "nosuch"]);
        send(&["HELLO", "2"]);
        send(&["MULTI"]);
        send(&["AUTH", &user, &good]);
        send(&["ACL", "SETUSER", &user, &format!(">{}", passwords.next())]);
        send(&["CONFIG", "SET", "requirepass", &passwords.next()]);
        send(&["AUTH", &user, &passwords.next()]);
        send(&["EXEC"]);
        send(&["ACL", "GETUSER", &user]);
        send(&["ACL", "DRYRUN", &user, "AUTH", &passwords.next()]);
        send(&["ACL", "GENPASS"]);
    }
    send(&["CONFIG", "SET", "requirepass", ""]);
}

/// All that a client can ask for that might tell.
fn told(server: &Server, monitor: &mut Client) -> String {
    let mut client = server.client();
    let mut text = String::new();
    client.ask("ECHO the-end");
    loop {
        let line = monitor.read().expect("a line of the feed").string();
        text += &line;
        text.push('\n');
        if line.contains("the-end") {
            break;
        }
    }
    for question in [
        "SLOWLOG GET -1",
        "ACL LOG 1000",
        "ACL LIST",
        "CLIENT LIST",
        "INFO everything",
        "COMMAND LIST",
        "LATENCY HISTOGRAM",
    ] {
        text += &whole(&client.ask(question));
    }
    text
}

/// All of a reply: shown as a value, long texts in it would be cut.
fn whole(reply: &Value) -> String {
    match reply {
        Value::Array(elements) => elements.iter().map(|element| whole(element) + " ").collect(),
        Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => other.to_string(),
    }
}

#[test]
fn no_password_is_found_anywhere() {
    let mut passwords = Passwords { rng: Rng(20_261_129), given: Vec::new() };
    let (first, declared) = (passwords.next(), passwords.next());
    let text = format!(
        "requirepass {first}\nuser default on >{first} ~* &* +@all\nuser op on >{declared} ~* &* +@all\nloglevel debug\n\
         slowlog-log-slower-than 0\nslowlog-max-len 100000\nenable-debug-command yes\n"
    );
    let mut server = Server::with_file(TORC, &text, &["--workers", "2"]);
    let (mut monitor, mut client) = (server.client(), server.client());
    for client in [&mut monitor, &mut client] {
        assert_eq!(client.call(&["AUTH", "op", &declared]).string(), "OK");
    }
    assert_eq!(monitor.ask("MONITOR").string(), "OK");
    use_passwords(&mut client, &mut passwords);
    let mut found = told(&server, &mut monitor);
    assert!(
        found.contains("(redacted)") && found.contains("user0"),
        "what is looked through is what was asked for"
    );
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let rewritten = std::fs::read_to_string(server.config_file()).expect("it is there");
    assert!(rewritten.contains("user user0 on ") && rewritten.contains("user op on "), "{rewritten}");
    found += &rewritten;
    // A file that would not start says which line, and not what is in it.
    let wrong = passwords.next();
    let bad = server.dir().join("bad.conf");
    std::fs::write(&bad, format!("user x on >{wrong} nosuch\n")).expect("the directory can be written");
    let output = std::process::Command::new(TORC).arg(&bad).output().expect("the binary was built");
    assert!(!output.status.success());
    found += &String::from_utf8_lossy(&output.stderr);
    found += &String::from_utf8_lossy(&output.stdout);
    // The last thing it does: a report with all it knows.
    let last = passwords.next();
    let crash = [command(&["AUTH", "op", &last]), command(&["DEBUG", "PANIC"])].concat();
    client.send_raw(&crash).expect("it is read");
    assert!(!server.await_exit().success());
    let log = server.log();
    assert!(log.contains("BUG REPORT"), "{log}");
    found += &log;
    assert!(passwords.given.len() > 300);
    for password in &passwords.given {
        assert!(!found.contains(password.as_str()), "{password} is found");
    }
}

/// The password for a primary goes to it, and into a rewritten file, where it is needed; nobody else hears of it, and of a wrong one
/// neither.
#[test]
fn the_password_for_a_primary_is_told_to_it_alone() {
    let mut passwords = Passwords { rng: Rng(20_261_130), given: Vec::new() };
    let (right, wrong, first) = (passwords.next(), passwords.next(), passwords.next());
    let debug = ["--loglevel", "debug", "--slowlog-log-slower-than", "0", "--repl-diskless-sync-delay", "0"];
    let primary = Server::start_tcp(&[&debug[..], &["--requirepass", &right]].concat());
    let port = primary.tcp().port().to_string();
    let text =
        format!("loglevel debug\nslowlog-log-slower-than 0\nslowlog-max-len 100000\nmasterauth {first}\n");
    let replica = Server::with_file(TORC, &text, &["--workers", "2"]);
    let (mut monitor, mut client) = (replica.client(), replica.client());
    assert_eq!(monitor.ask("MONITOR").string(), "OK");
    let mut of_primary = primary.client();
    assert_eq!(of_primary.ask(&format!("AUTH {right}")).string(), "OK");
    assert_eq!(client.ask(&format!("CONFIG SET masterauth {wrong}")).string(), "OK");
    assert_eq!(client.ask(&format!("REPLICAOF 127.0.0.1 {port}")).string(), "OK");
    assert!(until(|| replica.log().contains("the primary refuses `masterauth`")), "{}", replica.log());
    assert_eq!(client.ask(&format!("CONFIG SET masterauth {right}")).string(), "OK");
    let is_up = || client.ask("INFO replication").string().contains("master_link_status:up");
    assert!(until(is_up), "{}", replica.log());
    let mut found = told(&replica, &mut monitor) + &replica.log() + &primary.log();
    for question in ["SLOWLOG GET -1", "ACL LOG", "CLIENT LIST", "INFO everything"] {
        found += &whole(&of_primary.ask(question));
    }
    assert!(
        found.contains("(redacted)") && found.contains("master_host:127.0.0.1"),
        "what is looked through is what was asked for"
    );
    for password in &passwords.given {
        assert!(!found.contains(password.as_str()), "{password} is found");
    }
    let mut client = replica.client();
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let rewritten = std::fs::read_to_string(replica.config_file()).expect("it is there");
    assert!(rewritten.contains(&right) && !rewritten.contains(&wrong) && !rewritten.contains(&first));
}

/// The file of users has hashes only, and what was wrong in it is said without the words that may be passwords.
#[test]
fn the_file_of_users_has_no_passwords() {
    let dir = crate::harness::TempDir::new();
    let file = dir.path().join("users.acl");
    std::fs::write(&file, "user bob on >pw5e1f ~* +@all\n").expect("it can be written");
    let server = Server::start(&["--workers", "2", "--aclfile", &file.to_string_lossy()]);
    let mut client = server.client();
    assert_eq!(client.ask("AUTH bob pw5e1f").string(), "OK");
    assert_eq!(client.ask("ACL SETUSER carl on >pw77aa").string(), "OK");
    assert_eq!(client.ask("ACL SAVE").string(), "OK");
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(text.contains("user bob on sanitize-payload #") && text.contains("user carl on "), "{text}");
    assert!(!text.contains("pw5e1f") && !text.contains("pw77aa"), "{text}");
    // All or nothing: with a mistake in it, everything stays.
    std::fs::write(&file, "user bob off\nuser dora on >pw99 foo\n").expect("it can be written");
    let error = client.ask("ACL LOAD").string();
    assert!(error.contains(":2: Syntax error. WARNING: ACL errors detected"), "{error}");
    assert!(!error.contains("pw99") && !server.log().contains("pw99"));
    assert_eq!(client.ask("ACL USERS").elements().len(), 3);
    // Who stays in the file stays connected, with what it may do now; who does not goes.
    let mut carl = server.client();
    assert_eq!(carl.ask("AUTH carl pw77aa").string(), "OK");
    std::fs::write(&file, "user bob on nopass ~* +get +acl\n").expect("it can be written");
    assert_eq!(client.ask("ACL LOAD").string(), "OK");
    assert_eq!(client.ask("ACL WHOAMI").string(), "bob");
    assert!(client.ask("SET k v").string().starts_with("NOPERM"));
    assert!(carl.read().is_err(), "it is gone");
    assert_eq!(client.ask("ACL USERS").elements().len(), 2);
}
