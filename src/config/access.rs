//! CONFIG GET and CONFIG SET on a configuration value.
//!
//! Design: [`set`] builds a new configuration from the old one and gives it back only if every pair is right,
//! so "all or nothing" needs no undo. Error texts are Redis's.

use std::fmt;

use super::domain::{Mode, Reason};
use super::table::{Config, Directive, Flags, lookup, table};
use super::words::ProtectedAction;
use crate::glob;

/// Who asks for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A connection from this host.
    Local,
    /// A connection from elsewhere.
    Remote,
}

/// Why CONFIG SET changed nothing. `Display` is the error reply without its leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no such directive.
    Unknown(Vec<u8>),
    /// The value of this one was refused.
    Failed {
        /// The name as given.
        name: Vec<u8>,
        /// Redis's words for what is wrong.
        reason: String,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let name = String::from_utf8_lossy(name);
                write!(f, "ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            Self::Failed { name, reason } => {
                let name = String::from_utf8_lossy(name);
                write!(f, "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            }
        }
    }
}

impl std::error::Error for SetError {}

/// The directives that any of `patterns` names, each name once, with their values. A pattern without
/// wildcards finds hidden ones too and is answered with the name as it was given.
pub fn get<P: AsRef<[u8]>>(config: &Config, patterns: &[P]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |name: &[u8], directive: &Directive| {
        if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            found.push((name.to_vec(), directive.format(config)));
        }
    };
    for pattern in patterns.iter().map(AsRef::as_ref) {
        if !glob::is_pattern(pattern) {
            lookup(pattern).into_iter().for_each(|directive| add(pattern, directive));
            continue;
        }
        for directive in table().iter().filter(|directive| !directive.flags.has(Flags::HIDDEN)) {
            for name in [Some(directive.name), directive.alias].into_iter().flatten() {
                if glob::matches(pattern, name.as_bytes(), glob::Case::Insensitive) {
                    add(name.as_bytes(), directive);
                }
            }
        }
    }
    found
}

/// A configuration with all `pairs` (name, value) changed.
///
/// # Errors
/// The first pair that cannot be, in which case nothing is changed.
pub fn set<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    config: &Config,
    pairs: &[(N, V)],
    caller: Caller,
) -> Result<Config, SetError> {
    let mut changes = Vec::with_capacity(pairs.len());
    for (index, (name, value)) in pairs.iter().enumerate() {
        let name = name.as_ref();
        let directive = lookup(name).ok_or_else(|| SetError::Unknown(name.to_vec()))?;
        if let Some(reason) = forbidden(config, directive, caller) {
            return Err(failed(name, reason.into()));
        }
        if pairs[..index].iter().any(|(other, _)| other.as_ref().eq_ignore_ascii_case(name)) {
            return Err(failed(name, "duplicate parameter".into()));
        }
        changes.push((name.to_ascii_lowercase(), directive, value.as_ref()));
    }

    let mut changed = config.clone();
    for (name, directive, value) in changes {
        apply(&mut changed, directive, value).map_err(|reason| failed(&name, reason))?;
    }
    changed.clamp();
    Ok(changed)
}

fn failed(name: &[u8], reason: Reason) -> SetError {
    SetError::Failed { name: name.to_vec(), reason: reason.into_owned() }
}

/// Why `directive` may not be changed at all, if so.
fn forbidden(config: &Config, directive: &Directive, caller: Caller) -> Option<&'static str> {
    if !directive.flags.has(Flags::MUTABLE) {
        return Some("can't set immutable config");
    }
    let allowed = match config.enable_protected_configs {
        ProtectedAction::Yes => true,
        ProtectedAction::No => false,
        ProtectedAction::Local => caller == Caller::Local,
    };
    (directive.flags.has(Flags::PROTECTED) && !allowed).then_some("can't set protected config")
}

pub(super) fn apply(config: &mut Config, directive: &Directive, value: &[u8]) -> Result<(), Reason> {
    if !directive.flags.has(Flags::MULTI) {
        return directive.parse(config, &[value.to_vec()], Mode::Set);
    }
    if value.is_empty() {
        return directive.parse(config, &[Vec::new()], Mode::Set);
    }
    let words: Vec<Vec<u8>> = value.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
    directive.parse(config, &words, Mode::Set)
}
