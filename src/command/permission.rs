//! What a user needs to be allowed for a command: the command itself, its keys and its channels.
//!
//! Design: a selector allows a command as a whole or not at all; of the reasons why none does, the one that came furthest is told.
//! Which keys there are and what becomes of them follows from the row, as it does for COMMAND GETKEYSANDFLAGS; arguments in
//! which no keys can be found are the command's own business, which will refuse them.
//!
//! Not here: the rules (`security`), when a client's command is looked at (`worker::client_run`).

use std::collections::HashMap;
use std::sync::OnceLock;

use super::args::c_string;
use super::client::client_line;
use super::keys::{each_key_with_access, exact_access};
use super::row::{Begin, Channels, KeyAccess};
use super::table::KeyShape;
use super::{Args, Categories, Context, Flags, Row, table};
use crate::config::REDIS_COMMANDS;
use crate::security::{self, Catalog, Reason, Refused, Selector, User};

/// What a user may not, in the order of what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command.
    Command,
    /// The key that is this argument.
    Key(usize),
    /// The channel that is this argument.
    Channel(usize),
}

impl Denied {
    /// Redis's words; `tells` has them name the key or channel.
    pub fn text(self, user: &User, row: &Row, args: &Args<'_>, tells: bool) -> Vec<u8> {
        let subject = |what: &[u8], index: usize, noun: &[u8]| {
            [b"User ", user.name(), what, args.c_string(index), noun].concat()
        };
        match self {
            Self::Command => {
                let name = row.full_name.as_bytes();
                [b"User ", user.name(), b" has no permissions to run the '", name, b"' command"].concat()
            }
            Self::Key(index) if tells => subject(b" has no permissions to access the '", index, b"' key"),
            Self::Channel(index) if tells => {
                subject(b" has no permissions to access the '", index, b"' channel")
            }
            Self::Key(_) => b"No permissions to access a key".to_vec(),
            Self::Channel(_) => b"No permissions to access a channel".to_vec(),
        }
    }

    /// Redis's words for a command that was allowed when it was queued.
    pub fn text_in_exec(self) -> &'static str {
        match self {
            Self::Command => {
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to execute the command or subcommand"
            }
            Self::Key(_) => {
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to touch the specified keys"
            }
            Self::Channel(_) => {
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to access one of the channels used as arguments"
            }
        }
    }
}

/// Whether a user may run a command with these arguments.
pub fn may_run(user: &User, row: &Row, args: &Args<'_>) -> Result<(), Denied> {
    if user.is_unrestricted() {
        return Ok(());
    }
    let mut worst = Denied::Command;
    for selector in user.selectors() {
        match check(selector, row, args) {
            Ok(()) => return Ok(()),
            Err(denied) => worst = worst.max(denied),
        }
    }
    Err(worst)
}

/// Whether a user may run a command that reads keys which no argument names: SORT with BY or GET.
pub fn may_read_all(user: &User, row: &Row, args: &Args<'_>) -> bool {
    user.is_unrestricted()
        || user
            .selectors()
            .any(|selector| selector.allows_reading_all() && check(selector, row, args).is_ok())
}

#[inline]
fn check(selector: &Selector, row: &Row, args: &Args<'_>) -> Result<(), Denied> {
    let first_arg = || args.find(1).map(c_string);
    if !selector.allows_command(row.id, first_arg) && !row.command.flags.has(Flags::NO_AUTH) {
        return Err(Denied::Command);
    }
    if !row.command.keys.is_empty() && !selector.allows_all_keys() {
        check_keys(selector, row, args)?;
    }
    if row.command.channels != Channels::None && !selector.allows_all_channels() {
        check_channels(selector, row, args)?;
    }
    Ok(())
}

#[inline]
fn check_keys(selector: &Selector, row: &Row, args: &Args<'_>) -> Result<(), Denied> {
    let mut denied = None;
    let mut look = |index: usize, access: KeyAccess| {
        if denied.is_none()
            && access != KeyAccess::Channel
            && !selector.allows_key(args.at(index), exact_access(access, args).need())
        {
            denied = Some(Denied::Key(index));
        }
    };
    let specs = row.command.keys;
    let is_complete =
        || specs.iter().all(|spec| !spec.is_incomplete && !matches!(spec.begin, Begin::Unknown(_)));
    match (row.shape, row.command.finder) {
        (KeyShape::First, _) => look(1, specs[0].access),
        (_, Some(find)) if !is_complete() => _ = find(args, &mut look),
        // It will refuse them itself.
        _ if each_key_with_access(specs, args, look).is_err() => return Ok(()),
        _ => {}
    }
    denied.map_or(Ok(()), Err)
}

fn check_channels(selector: &Selector, row: &Row, args: &Args<'_>) -> Result<(), Denied> {
    let end = if row.command.channels == Channels::First { 2 } else { args.len() };
    let is_pattern = row.command.channels == Channels::Patterns;
    match (1..end).find(|index| !selector.allows_channel(args.at(*index), is_pattern)) {
        Some(index) => Err(Denied::Channel(index)),
        None => Ok(()),
    }
}

/// Counts a refusal and notes it for ACL LOG.
#[cold]
pub fn note_denied(
    ctx: &Context<'_>,
    row: &Row,
    args: &Args<'_>,
    denied: Denied,
    context: security::Context,
) {
    let counters = &ctx.stats.counters;
    let (reason, object, counter) = match denied {
        Denied::Command => (Reason::Command, row.full_name.as_bytes(), &counters.commands_denied),
        Denied::Key(index) => (Reason::Key, args.at(index), &counters.keys_denied),
        Denied::Channel(index) => (Reason::Channel, args.at(index), &counters.channels_denied),
    };
    counter.add(1);
    let user = ctx.session.user.name().to_vec();
    note(ctx, args, Refused { reason, context, object: object.to_vec(), user, client: Vec::new(), at_ms: 0 });
}

/// Counts an attempt to authenticate that failed and notes it for ACL LOG.
#[cold]
pub(super) fn note_failed_auth(ctx: &Context<'_>, args: &Args<'_>, user: &[u8]) {
    ctx.stats.counters.auth_denied.add(1);
    let (reason, object, user) = (Reason::Auth, args.at(0).to_vec(), user.to_vec());
    let in_multi = ctx.session.multi.is_some() || ctx.session.denies_blocking;
    let context = if in_multi { security::Context::Multi } else { security::Context::TopLevel };
    note(ctx, args, Refused { reason, context, object, user, client: Vec::new(), at_ms: 0 });
}

fn note(ctx: &Context<'_>, args: &Args<'_>, refused: Refused) {
    let client = client_line(ctx, args);
    let len_max = usize::try_from(ctx.config.acllog_max_len).unwrap_or(usize::MAX);
    ctx.shared.users.log.push(Refused { client, at_ms: ctx.now_ms, ..refused }, len_max);
}

/// The command table, as rules name what is in it.
struct Commands {
    by_name: HashMap<&'static str, u16>,
}

/// The commands that rules are about: under their own names, whatever `rename-command` calls them.
pub fn catalog() -> &'static dyn Catalog {
    static COMMANDS: OnceLock<Commands> = OnceLock::new();
    COMMANDS.get_or_init(|| {
        let rows = table().rows().iter();
        Commands { by_name: rows.map(|row| (row.full_name.as_str(), row.id)).collect() }
    })
}

impl Catalog for Commands {
    fn rows(&self) -> usize {
        table().rows().len()
    }

    fn find(&self, name: &[u8]) -> Option<u16> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(str::from_utf8(&name).ok()?).copied()
    }

    fn is_foreign(&self, name: &[u8]) -> bool {
        let whole = name.split(|byte| *byte == b'|').next().unwrap_or_default().to_ascii_lowercase();
        self.find(&whole).is_none() && REDIS_COMMANDS.iter().any(|known| known.as_bytes() == whole)
    }

    fn name(&self, row: u16) -> &str {
        &table().row(row).full_name
    }

    fn parent(&self, row: u16) -> Option<u16> {
        table().row(row).parent
    }

    fn children(&self, row: u16) -> &[u16] {
        &table().row(row).subrows
    }

    fn category(&self, name: &[u8]) -> Option<u32> {
        Categories::named(name).map(Categories::bits)
    }

    fn categories(&self, row: u16) -> u32 {
        Categories::of(&table().row(row).command).bits()
    }
}
