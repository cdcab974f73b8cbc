//! CONFIG REWRITE for every directive: at its default and at another value, in every form a file may have it in.

use std::fs;

use super::tests::{Scratch, as_declared, rewritten, start_with, value};
use super::*;

/// A value that is not the directive's default; `None` where any other is refused.
fn other_value(directive: &Directive) -> Option<String> {
    let default = String::from_utf8_lossy(&directive.format(&Config::default())).into_owned();
    let special = match directive.name {
        "cluster-enabled" | "replicaof" => return None,
        "dir" => "/",
        "dbfilename" | "appendfilename" | "appenddirname" => "other",
        "proc-title-template" => "{title} {port}",
        "worker-cpus" => "0-2,5",
        "shards" => "64",
        "bind" => "127.0.0.1 -::1",
        "admin-bind" => "127.0.0.1",
        // SHA-256 of `secret`: a password itself is not shown.
        "admin-password" => "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        "log-format" => "json",
        "client-output-buffer-limit" => "pubsub 1048576 1024 7",
        "latency-tracking-info-percentiles" => "50 75.5",
        "notify-keyspace-events" => "KEA",
        "oom-score-adj-values" => "1 2 3",
        "save" => "900 1 300 10",
        "shutdown-on-sigint" | "shutdown-on-sigterm" => "nosave now",
        "maxmemory-clients" => "5%",
        _ => "",
    };
    if !special.is_empty() {
        return Some(special.to_owned());
    }
    Some(match directive.domain {
        Domain::Bool => if default == "yes" { "no" } else { "yes" }.to_owned(),
        Domain::Octal(..) => "700".to_owned(),
        Domain::Integer(low, high)
        | Domain::Unsigned(low, high)
        | Domain::Memory(low, high)
        | Domain::UnsignedMemory(low, high) => {
            // Divisible by no unit, so that it is written and shown alike.
            let near = [low + 3, high - 2, high].into_iter().find(|number| (low..=high).contains(number));
            near.expect("a limit lies within the limits").to_string()
        }
        Domain::Words(words) => {
            let word = words.iter().find(|word| !word.eq_ignore_ascii_case(&default));
            word.expect("more than one word").to_string()
        }
        Domain::Text | Domain::NodeName => "other text".to_owned(),
        domain => panic!("{}: {domain:?} needs a value here", directive.name),
    })
}

/// The lines that say that `directive` is `value`, in each form.
fn forms(directive: &Directive, value: &str) -> Vec<String> {
    let names = [Some(directive.name), directive.alias].into_iter().flatten();
    let is_multi = directive.flags.has(Flags::MULTI);
    let words: Vec<&str> =
        if is_multi && !value.is_empty() { value.split(' ').collect() } else { vec![value] };
    let each =
        |mark: &str| words.iter().map(|word| format!("{mark}{word}{mark}")).collect::<Vec<_>>().join(" ");
    let mut values = vec![each("\""), each("'")];
    if words.iter().all(|word| !word.is_empty() && !word.contains(' ')) {
        values.extend([each(""), format!("   {}\t ", each(""))]);
    }
    if is_multi {
        values.push(format!("\"{value}\""));
    }
    let memory = matches!(directive.domain, Domain::Memory(..) | Domain::UnsignedMemory(..));
    values.extend(memory.then(|| format!("{value}B")));
    let mut forms: Vec<String> = names
        .flat_map(|name| {
            values.iter().flat_map(move |value| {
                [name.to_owned(), name.to_uppercase()].map(|name| format!("{name} {value}"))
            })
        })
        .collect();
    // What takes a group of words may have a line for each group.
    let group =
        [("save", 2), ("client-output-buffer-limit", 4)].iter().find(|(name, _)| *name == directive.name);
    if let Some((name, length)) = group {
        let lines: Vec<String> =
            words.chunks(*length).map(|group| format!("{name} {}", group.join(" "))).collect();
        forms.extend((!value.is_empty()).then(|| lines.join("\n# between\n")));
    }
    forms
}

fn load(text: &str) -> Config {
    start_with(&["-"], text).unwrap_or_else(|error| panic!("{error}\n{text}")).config
}

/// Rewrites the file for `config` and reads it back; the file's own lines of the directive must not be lost.
fn check(directive: &Directive, config: &Config, file: &str) {
    let text = String::from_utf8(rewritten(config, file.as_bytes())).expect("it is text");
    assert!(load(&text) == *config, "{file}\nbecame\n{text}");
    assert!(text.starts_with("# above\n") && text.contains("\n# below\n"), "{text}");
    let start = format!("{} ", directive.name);
    assert!(text.lines().any(|line| line.starts_with(&start)), "{file}\nbecame\n{text}");
}

/// `save 3600 1 300 100 60 10000` in one line became `save 3600 1`: only the first save point has a line to replace, and
/// the others are those of the default.
#[test]
fn every_directive_in_every_form_survives_a_rewrite() {
    // A password has its place in the line of the default user.
    for directive in table().iter().filter(|directive| directive.name != "requirepass") {
        let default = value(&Config::default(), directive.name);
        let other = other_value(directive);
        let values: Vec<&str> = [Some(default.as_str()), other.as_deref()].into_iter().flatten().collect();
        let configs: Vec<Config> = values
            .iter()
            // A replica of nobody has other words for it.
            .filter(|value| directive.name != "replicaof" || !value.is_empty())
            .map(|value| load(&forms(directive, value)[0]))
            .collect();
        assert!(
            configs.len() < 2 || configs[0] != configs[1],
            "{}: the other value is another",
            directive.name
        );
        for value in values.iter().filter(|_| !configs.is_empty()) {
            for (index, form) in forms(directive, value).iter().enumerate() {
                let file = format!("# above\n{form}\n# below\n");
                let read = load(&file);
                assert!(configs.contains(&read), "{form}");
                for config in &configs {
                    check(directive, config, &file);
                }
                // The last of two lines counts, and one stays; save points add up.
                if index == 0 && directive.name != "save" {
                    check(directive, &read, &format!("# above\n{form}\n# below\n{form}\n"));
                    let text = rewritten(&read, file.as_bytes());
                    assert_eq!(rewritten(&read, &text), text, "a second rewrite changes nothing");
                }
            }
        }
    }
}

#[test]
fn save_points_in_one_line_become_a_line_each() {
    let text = "save 3600 1 300 100 60 10000\n# below\n";
    let config = load(text);
    assert_eq!(config.save, Config::default().save);
    let text = String::from_utf8(rewritten(&config, text.as_bytes())).expect("it is text");
    assert!(text.starts_with("save 3600 1\nsave 300 100\nsave 60 10000\n# below\n"), "{text}");
}

/// What an included file says used to win over a value that was set back to its default.
#[test]
fn a_default_survives_a_rewrite_where_an_included_file_differs() {
    let scratch = Scratch::new("rewrite-include");
    fs::write(scratch.0.join("part"), "timeout 5\nsave 60 5\nhz 20\nuser default on >a >b ~* &* +@all\n")
        .expect("it can be written");
    let old = "hz 30\ninclude part\n";
    let file = scratch.0.join("main");
    fs::write(&file, old).expect("it can be written");
    let mut loader = super::load::Loader::in_directory(&scratch.0);
    loader.file(&file, 0).expect("it is good");
    let read = loader.finish().unwrap_or_else(|error| panic!("{error}")).config;
    assert_eq!((read.timeout, read.hz, value(&read, "save").as_str()), (5, 20, "60 5"));
    let pairs = [("timeout", "0"), ("save", "3600 1 300 100 60 10000")];
    let changed = set(&read, &pairs, Caller::Local).expect("the pairs are good");
    let users = changed.file_only.users.clone();
    let text = rewrite(&changed, &as_declared(&users), old.as_bytes(), &scratch.0).expect("it can be said");
    let text = String::from_utf8(text).expect("it is text");
    assert!(text.starts_with("hz 20\ninclude part\n"), "{text}");
    for line in ["timeout 0", "save \"\"\nsave 3600 1\nsave 300 100\nsave 60 10000"] {
        assert!(text.contains(&format!("\n{line}\n")), "{text}");
    }
    assert!(!text.contains("user "), "the included file says who the user is: {text}");
    fs::write(&file, &text).expect("it can be written");
    let mut loader = super::load::Loader::in_directory(&scratch.0);
    loader.file(&file, 0).expect("it is good");
    assert_eq!(loader.finish().unwrap_or_else(|error| panic!("{error}")).config, changed);

    // Another password cannot be said beside that user: Redis takes no user twice.
    let mut others = users.clone();
    others[0].rules.push(b">c".to_vec());
    for users in [others, Vec::new()] {
        let refused = rewrite(&changed, &as_declared(&users), old.as_bytes(), &scratch.0);
        let refused = refused.expect_err("it would start with another user");
        assert!(refused.contains("would not say who the user 'default' is"), "{refused}");
    }
}

/// Passwords stood in clear in the file; now only hashes do, in the lines of users.
#[test]
fn users_are_written_and_passwords_are_not() {
    let old = "requirepass a\nuser bob on\n# mid\nuser default on\nuser gone off\n";
    let line = |name: &str, rules: &[&str]| UserLine {
        name: name.into(),
        rules: rules.iter().map(|rule| rule.as_bytes().to_vec()).collect(),
    };
    let lines = [line("default", &["on", "#00"]), line("new\"", &["off", "~\\x"])];
    let config = load(old);
    let text = rewrite(&config, &as_declared(&lines), old.as_bytes(), "".as_ref()).expect("it can be said");
    let text = String::from_utf8(text).expect("it is text");
    let start = "\nuser default on #00\n# mid\nuser \"new\\\"\" off \"~\\\\x\"\n\n# Generated";
    assert!(text.starts_with(start), "{text}");
    assert_eq!(load(&text).file_only.users, lines);
    let text = rewrite(&config, &as_declared(&[]), old.as_bytes(), "".as_ref()).expect("it can be said");
    assert!(!String::from_utf8_lossy(&text).contains("user "), "a file of their own has them");
}

/// Names of Valkey are written as those of Redis; what means nothing here stays.
#[test]
fn directives_of_valkey_are_rewritten_or_kept() {
    let old = "primaryauth a\ncommandlog-slow-execution-max-len 5\nmptcp yes\nimport-mode no\n";
    let text = String::from_utf8(rewritten(&load(old), old.as_bytes())).expect("it is text");
    assert!(text.starts_with("masterauth \"a\"\nslowlog-max-len 5\nmptcp yes\nimport-mode no\n"), "{text}");
}
