//! The options of XADD and XTRIM that say what is trimmed.

use super::super::{Args, CommandError, Session};
use super::idempotent::Sender;
use super::ids::{self, NewId};
use crate::resp::number::parse_i64;
use crate::store::NodeLimits;
use crate::store::stream::{Removal, Trim, TrimTo};

const TWICE: CommandError =
    CommandError::Text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
const MAXLEN: CommandError = CommandError::Text("ERR The MAXLEN argument must be >= 0.");
const LIMIT: CommandError = CommandError::Text("ERR The LIMIT argument must be >= 0.");
const LIMIT_OF_NOTHING: CommandError =
    CommandError::Text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
const LIMIT_OF_EXACT: CommandError =
    CommandError::Text("ERR syntax error, LIMIT cannot be used without the special ~ option");
const SENDERS: CommandError = CommandError::Text("ERR IDMP/IDMPAUTO specified multiple times");
const SENDER_WITH_ID: CommandError =
    CommandError::Text("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs");
const NOTHING: CommandError =
    CommandError::Text("ERR syntax error, XTRIM must be called with a trimming strategy");

/// Nodes that an approximate trimming takes at most if it is not told how many entries.
const NODES_TRIMMED_MAX: u64 = 100;
/// The same in entries, where nodes have no limit.
const TRIMMED_DEFAULT: u64 = 10_000;
const TRIMMED_MAX: u64 = 1_000_000;

/// What the options say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What is trimmed.
    pub trim: Option<Trim>,
    /// The argument up to which it is, and the one that says that it is approximate.
    pub threshold_at: usize,
    /// The stream is not created.
    pub only_existing: bool,
    /// The ID of the new entry, and its argument.
    pub new_id: Option<(NewId, usize)>,
    /// Who sends it and knows it again.
    pub sender: Option<Sender>,
}

impl Options {
    /// Whether whole nodes are trimmed only.
    pub fn is_approximate(&self) -> bool {
        self.trim.is_some_and(|trim| trim.is_approximate)
    }

    /// Those of XADD, up to the ID.
    pub fn of_add(args: &Args<'_>, limits: NodeLimits, session: &Session) -> Result<Options, CommandError> {
        Parser { repeats: session.repeats, ..Parser::default() }.parse(args, true, limits)
    }

    /// Those of XTRIM.
    pub fn of_trim(args: &Args<'_>, limits: NodeLimits, session: &Session) -> Result<Options, CommandError> {
        Parser { repeats: session.repeats, ..Parser::default() }.parse(args, false, limits)
    }
}

#[derive(Default)]
struct Parser {
    to: Option<TrimTo>,
    is_approximate: bool,
    limit: Option<i64>,
    removal: Option<Removal>,
    found: Options,
    /// The command repeats another, whose `~` Redis has made a `=`: its LIMIT, which is left, means nothing. An ID is given with
    /// who has sent the message.
    repeats: bool,
}

impl Parser {
    fn parse(mut self, args: &Args<'_>, is_add: bool, limits: NodeLimits) -> Result<Options, CommandError> {
        let mut index = 2;
        while index < args.len() {
            let more = args.len() - 1 - index;
            if is_add && args.at(index) == b"*" {
                self.found.new_id = Some((NewId::Auto, index));
                break;
            } else if more > 0 && (args.is(index, "MAXLEN") || args.is(index, "MINID")) {
                index = self.threshold(args, index, more)?;
            } else if more > 0 && args.is(index, "LIMIT") {
                let limit = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
                self.limit = Some(Some(limit).filter(|limit| *limit >= 0).ok_or(LIMIT)?);
                index += 1;
            } else if is_add && args.is(index, "NOMKSTREAM") {
                self.found.only_existing = true;
            } else if let Some(sender) = Sender::parse(args, index).filter(|_| is_add) {
                if self.found.sender.is_some() {
                    return Err(SENDERS);
                }
                let sender = sender?;
                self.found.sender = Some(sender);
                index = sender.end();
            } else if let Some(removal) = removal_at(args, index).filter(|_| self.removal.is_none()) {
                self.removal = Some(removal);
            } else if is_add {
                self.found.new_id = Some((ids::parse_new(args.at(index))?, index));
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        self.finish(is_add, limits)
    }

    /// MAXLEN or MINID at an argument: the last one that belongs to it.
    fn threshold(&mut self, args: &Args<'_>, index: usize, more: usize) -> Result<usize, CommandError> {
        if self.to.is_some() {
            return Err(TWICE);
        }
        let mark = args.at(index + 1);
        let is_marked = more > 1 && (mark == b"~" || mark == b"=");
        self.is_approximate = is_marked && mark == b"~";
        let at = index + 1 + usize::from(is_marked);
        let text = args.at(at);
        self.to = Some(if args.is(index, "MAXLEN") {
            let length = parse_i64(text).ok_or(CommandError::NotInteger)?;
            TrimTo::Length(u64::try_from(length).map_err(|_| MAXLEN)?)
        } else {
            TrimTo::Id(ids::parse(text, 0)?)
        });
        self.found.threshold_at = at;
        Ok(at)
    }

    fn finish(mut self, is_add: bool, limits: NodeLimits) -> Result<Options, CommandError> {
        if self.to.is_none() {
            if self.limit.is_some_and(|limit| limit > 0) {
                return Err(LIMIT_OF_NOTHING);
            }
            if !is_add {
                return Err(NOTHING);
            }
        }
        if self.limit.is_some() && !self.is_approximate && !self.repeats {
            return Err(LIMIT_OF_EXACT);
        }
        let is_given = self.found.new_id.is_some_and(|(id, _)| id != NewId::Auto);
        if self.found.sender.is_some() && is_given && !self.repeats {
            return Err(SENDER_WITH_ID);
        }
        let limit = match self.limit {
            _ if !self.is_approximate || self.repeats => 0,
            Some(limit) => limit as u64,
            None => match limits.entries_max.saturating_mul(NODES_TRIMMED_MAX) {
                0 => TRIMMED_DEFAULT,
                entries => entries.min(TRIMMED_MAX),
            },
        };
        let (is_approximate, removal) = (self.is_approximate, self.removal.unwrap_or_default());
        self.found.trim = self.to.map(|to| Trim { to, is_approximate, limit, removal });
        Ok(self.found)
    }
}

/// What is to become of what is pending, if an argument says that.
pub fn removal_at(args: &Args<'_>, index: usize) -> Option<Removal> {
    if args.is(index, "KEEPREF") {
        Some(Removal::KeepPending)
    } else if args.is(index, "DELREF") {
        Some(Removal::ForgetPending)
    } else if args.is(index, "ACKED") {
        Some(Removal::Acknowledged)
    } else {
        None
    }
}
