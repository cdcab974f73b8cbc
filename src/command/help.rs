//! What containers have in common: HELP, which is made from their rows, and the error for a subcommand whose arguments make no sense.

use super::args::c_string;
use super::introspect::usage;
use super::{Args, CommandError, Context, Outcome, Row, Table, table};
use crate::resp::Reply;

/// Bytes of a client's word that an error repeats.
const WORD_BYTES_MAX: usize = 128;

/// HELP of a container.
pub fn show(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let container = table().find(args.at(0)).expect("the command that runs is in the table");
    write(table(), container, args.at(0), reply);
    Ok(())
}

/// How each subcommand of a container, called by this name, is used, and what it does. Both stand in the rows.
pub fn write(table: &Table, container: &Row, name: &[u8], reply: &mut Reply<'_>) {
    let subrows = container.subrows.iter().map(|id| &table.row(*id).command);
    let entries: Vec<_> =
        subrows.map(|command| (command.name, usage(command.syntax), command.summary)).collect();
    list(name, reply, entries.iter().map(|(name, usage, summary)| (*name, usage.as_str(), *summary)));
}

/// Replies with names, arguments and summaries of subcommands.
pub fn list<'t>(
    container: &[u8],
    reply: &mut Reply<'_>,
    entries: impl ExactSizeIterator<Item = (&'t str, &'t str, &'t str)>,
) {
    reply.array(1 + 2 * entries.len());
    let container = String::from_utf8_lossy(container).to_ascii_uppercase();
    reply.simple(&format!("{container} takes one of these subcommands:"));
    for (name, syntax, summary) in entries {
        let space = if syntax.is_empty() { "" } else { " " };
        reply.simple(&format!("{}{space}{syntax}", name.to_ascii_uppercase()));
        reply.simple(&format!("    {summary}"));
    }
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
