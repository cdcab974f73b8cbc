//! Any words as the rules of ACL SETUSER, a `user` line and a file of users: applied or refused, never both, and what they come to
//! is written so that it comes to the same again.
#![no_main]

use torc::config::UserLine;
use torc::security::{Users, parse_file};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let users = Users::new(torc::command::catalog(), data.len() % 2 == 0, b"", &[]).expect("nothing is declared");
    let words: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let before = users.load();
    match users.set(b"bob", &words, false) {
        Ok(change) => assert!(change.is_none(), "there was no such user"),
        Err(error) => {
            assert!(!error.text().is_empty() && users.load().find(b"bob").is_none());
            assert_eq!(users.load().version(), before.version());
        }
    }
    if let Some(bob) = users.load().find(b"bob") {
        let line = bob.declaration();
        let text = bob.rules();
        // In these Redis's own form is not read as it is written: a quote or parenthesis in a selector, `%RW~*`.
        let is_odd = words.iter().any(|word| word.iter().any(|byte| b"\"'\\()%".contains(byte)));
        let again = users.canonical(&line, false);
        assert!(is_odd || again.as_ref() == Some(&line), "{}", String::from_utf8_lossy(&text));
    }
    let lines = [UserLine { name: b"carl".to_vec(), rules: words.iter().map(|word| word.to_vec()).collect() }];
    drop(Users::new(torc::command::catalog(), true, b"", &lines));
    drop(parse_file(data, b"file", users.ground(true)));
});
