//! The family `connection`.

use super::row::BASE;
use super::{Args, Command, Context, Flags, Group, Outcome};
use crate::resp::Reply;

const CONNECTION: Command = Command { group: Group::Connection, ..BASE };

/// The rows of the family.
pub const ROWS: &[Command] = &[Command {
    name: "ping",
    arity: -1,
    flags: Flags::FAST.with(Flags::SENTINEL),
    summary: "Returns the server's liveliness response.",
    syntax: "[message]",
    handler: ping,
    ..CONNECTION
}];

fn ping(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match args.find(1) {
        None => reply.simple("PONG"),
        Some(message) => reply.bulk(message),
    }
    Ok(())
}
