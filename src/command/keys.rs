//! Finds the keys among a command's arguments, for leases, prefetching and COMMAND GETKEYS alike.

use super::args::Args;
use super::row::{Begin, Find, KeyAccess, KeySpec, Scope};
use super::table::{KeyShape, Row};

/// The arguments that hold keys do not add up: `numkeys` is wrong or a keyword is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKeys;

/// Calls `found` with every key's argument number, in order of the specifications; says which shards are needed.
#[inline]
pub fn each_key(row: &Row, args: &Args<'_>, mut found: impl FnMut(usize)) -> Result<Scope, BadKeys> {
    match row.shape {
        KeyShape::None => {}
        KeyShape::First => found(1),
        KeyShape::Range { first, last, step } => {
            let end = if last < 0 { args.len() as i64 + i64::from(last) } else { i64::from(last) };
            let mut index = i64::from(first);
            while index <= end {
                found(index as usize);
                index += i64::from(step);
            }
        }
        KeyShape::General => each_key_with_access(row.command.keys, args, |index, _| found(index))?,
        KeyShape::Found(find) => return Ok(find(args, &mut |index, _| found(index))),
    }
    Ok(row.command.scope)
}

/// As [`each_key`], with what the command does to each key.
pub fn each_key_with_access(
    specs: &[KeySpec],
    args: &Args<'_>,
    mut found: impl FnMut(usize, KeyAccess),
) -> Result<(), BadKeys> {
    for spec in specs {
        let Some(begin) = begin_of(spec, args) else { continue };
        let (first, last, step) = match spec.find {
            Find::Range { last, step, limit } => {
                let mut end = if last >= 0 {
                    begin as i64 + i64::from(last)
                } else {
                    args.len() as i64 + i64::from(last)
                };
                if limit > 1 && last == -1 {
                    end = begin as i64 + (args.len() as i64 - begin as i64) / i64::from(limit) - 1;
                }
                (begin as i64, end, step)
            }
            Find::Count { count, first, step } => {
                let text = args.find(begin + count as usize).ok_or(BadKeys)?;
                let keys = crate::resp::number::parse_i64(text).filter(|n| *n >= 0).ok_or(BadKeys)?;
                let first = begin as i64 + i64::from(first);
                let last = keys.checked_sub(1).and_then(|n| n.checked_mul(i64::from(step))).ok_or(BadKeys)?;
                (first, first.saturating_add(last), step)
            }
            Find::Unknown => continue,
        };
        if last >= args.len() as i64 {
            return Err(BadKeys);
        }
        let mut index = first;
        while index <= last {
            found(index as usize, spec.access);
            index += i64::from(step);
        }
    }
    Ok(())
}

/// Where a specification's keys begin; `None` when its keyword is absent.
fn begin_of(spec: &KeySpec, args: &Args<'_>) -> Option<usize> {
    match spec.begin {
        Begin::Index(index) => Some(index as usize),
        Begin::Keyword(word, from) if from >= 0 => {
            (from as usize..args.len()).find(|index| args.is(*index, word)).map(|index| index + 1)
        }
        Begin::Keyword(word, from) => {
            let last = args.len().checked_sub(from.unsigned_abs() as usize)?;
            (1..=last).rev().find(|index| args.is(*index, word)).map(|index| index + 1)
        }
        Begin::Unknown(_) => None,
    }
}

/// Where the access depends on the options: it reads as well when `GET` or a comparison is among them (SET, DELEX), and it only
/// reads where no operation writes (BITFIELD).
pub fn exact_access(access: KeyAccess, command: &Args<'_>) -> KeyAccess {
    const READING: &[&str] = &["GET", "IFEQ", "IFNE", "IFDEQ", "IFDNE"];
    let reads =
        |from: usize| (from..command.len()).any(|index| READING.iter().any(|word| command.is(index, word)));
    match access {
        KeyAccess::Variable if reads(3) => KeyAccess::ReadUpdate,
        KeyAccess::Variable => KeyAccess::Overwrite,
        KeyAccess::VariableBits if only_gets(command) => KeyAccess::Read,
        KeyAccess::VariableBits => KeyAccess::ReadUpdate,
        KeyAccess::RemoveVariable if reads(2) => KeyAccess::ReadDelete,
        KeyAccess::RemoveVariable => KeyAccess::Delete,
        exact => exact,
    }
}

/// Whether a BITFIELD has no operation but GET; what it could not run counts as one that writes.
fn only_gets(command: &Args<'_>) -> bool {
    let mut index = 2;
    while index < command.len() {
        let left = command.len() - index - 1;
        index += match () {
            () if command.is(index, "GET") && left >= 2 => 3,
            () if command.is(index, "OVERFLOW") && left >= 1 => 2,
            () => return false,
        };
    }
    true
}
