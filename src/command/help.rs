//! What containers have in common: HELP, and the error for a subcommand whose arguments make no sense.

use super::args::c_string;
use super::{Args, CommandError, Outcome};
use crate::resp::Reply;

/// Bytes of a client's word that an error repeats.
const WORD_BYTES_MAX: usize = 128;

/// Replies to HELP with a container's lines.
pub fn show(args: &Args<'_>, reply: &mut Reply<'_>, lines: &[&str]) {
    let name = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    reply.array(lines.len() + 3);
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| reply.simple(line));
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// The error of a subcommand that got too many arguments where its arity allows any number.
#[cold]
pub fn subcommand_syntax(args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
    text.extend_from_slice(shown(args.at(1)));
    text.extend_from_slice(b"'. Try ");
    text.extend(args.at(0).to_ascii_uppercase());
    text.extend_from_slice(b" HELP.");
    reply.error_bytes(&text);
    Err(CommandError::Replied)
}

/// What an error repeats of a client's word: its beginning, up to the first zero byte.
pub fn shown(word: &[u8]) -> &[u8] {
    c_string(&word[..word.len().min(WORD_BYTES_MAX)])
}
