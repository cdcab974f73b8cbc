//! The file of `aclfile`: a line for each user, as ACL LIST shows it.
//!
//! Design: reading makes users and nothing else; whoever reads decides what becomes of them, so that a file with any mistake
//! changes nothing. All mistakes are said at once, in Redis's words.

use super::rules::{Ground, RuleError, join_selectors};
use super::user::{User, is_name};
use super::users::UserTable;

/// All that is wrong in a file: the words of Redis's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError(pub Vec<u8>);

/// Redis's last words about a file with mistakes.
const UNCHANGED: &[u8] =
    b"WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// The users that a text declares; `path` is what the file is called in messages.
pub fn parse(text: &[u8], path: &[u8], ground: Ground) -> Result<Vec<User>, FileError> {
    let (mut users, mut errors) = (Vec::<User>::new(), Vec::new());
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = trim(line, b" \t\r\n");
        if line.is_empty() {
            continue;
        }
        let number = format!("{}", index + 1);
        let number = number.as_bytes();
        let mut say = |parts: &[&[u8]]| errors.extend(parts.concat());
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [b"user", name, words @ ..] = words.as_slice() else {
            say(&[path, b":", number, b" should start with user keyword followed by the username. "]);
            continue;
        };
        if !is_name(name) {
            say(&[b"'", path, b":", number, b": username '", name, b"' contains invalid characters. "]);
            continue;
        }
        if users.iter().any(|user| user.name() == *name) {
            say(&[b"WARNING: Duplicate user '", name, b"' found on line ", number, b". "]);
            continue;
        }
        let mut user = User::new(0, name, ground);
        apply(&mut user, words, ground, &mut |parts| say(&[&[path, b":", number, b": "], parts].concat()));
        users.push(user);
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.extend_from_slice(UNCHANGED);
    Err(FileError(errors))
}

/// Applies a line's rules. An unknown command may be shown; of all else only the first mistake is told, and not where, as it
/// may be a password.
fn apply(user: &mut User, words: &[&[u8]], ground: Ground, say: &mut dyn FnMut(&[&[u8]])) {
    let Ok(rules) = join_selectors(words) else {
        return say(&[b"Unmatched parenthesis in selector definition."]);
    };
    let mut has_failed = false;
    for rule in rules {
        let rule = trim(&rule, b"\t\r\n");
        match user.apply(rule, ground) {
            Ok(()) => {}
            Err(error @ RuleError::Unknown) => {
                let error = format!("': {error}. ");
                say(&[b"Error in applying operation '", rule, error.as_bytes()]);
            }
            Err(error) if !has_failed => {
                has_failed = true;
                say(&[format!("{error}. ").as_bytes()]);
            }
            Err(_) => {}
        }
    }
}

fn trim<'t>(mut text: &'t [u8], bytes: &[u8]) -> &'t [u8] {
    while let [first, rest @ ..] = text
        && bytes.contains(first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && bytes.contains(last)
    {
        text = rest;
    }
    text
}

/// The lines of all users.
pub fn text(table: &UserTable) -> Vec<u8> {
    table.iter().flat_map(|user| [user.line(), b"\n".to_vec()].concat()).collect()
}
