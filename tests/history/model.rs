//! A store of a few integer keys, as simple as can be: what the register checker holds a server against.

use std::fmt;

/// The most keys of one model.
pub const KEYS_MAX: usize = 8;
/// What stands for no value; no workload writes it.
pub const NOTHING: i64 = i64::MIN;

/// The values of all keys.
pub type State = [i64; KEYS_MAX];

/// A command on keys, given by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Get(u8),
    Set(u8, i64),
    SetNx(u8, i64),
    GetSet(u8, i64),
    Incr(u8),
    Del(Vec<u8>),
    MGet(Vec<u8>),
    MSet(Vec<(u8, i64)>),
    MSetNx(Vec<(u8, i64)>),
    Rename(u8, u8),
    Copy(u8, u8),
}

/// Its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    Int(i64),
    /// A value, or `NOTHING`.
    Value(i64),
    Values(Vec<i64>),
    /// `ERR no such key`
    NoKey,
}

impl Step {
    /// Runs it and says what the reply must be.
    pub fn apply(&self, state: &mut State) -> Reply {
        let set = |state: &mut State, pairs: &[(u8, i64)]| {
            pairs.iter().for_each(|(key, value)| state[usize::from(*key)] = *value);
        };
        let at = |key: &u8| usize::from(*key);
        match self {
            Self::Get(key) => Reply::Value(state[at(key)]),
            Self::MGet(keys) => Reply::Values(keys.iter().map(|key| state[at(key)]).collect()),
            Self::Set(key, value) => {
                state[at(key)] = *value;
                Reply::Ok
            }
            Self::MSet(pairs) => {
                set(state, pairs);
                Reply::Ok
            }
            Self::SetNx(key, value) => {
                let free = state[at(key)] == NOTHING;
                if free {
                    state[at(key)] = *value;
                }
                Reply::Int(i64::from(free))
            }
            Self::MSetNx(pairs) => {
                let free = pairs.iter().all(|(key, _)| state[at(key)] == NOTHING);
                if free {
                    set(state, pairs);
                }
                Reply::Int(i64::from(free))
            }
            Self::GetSet(key, value) => Reply::Value(std::mem::replace(&mut state[at(key)], *value)),
            Self::Incr(key) => {
                let old = if state[at(key)] == NOTHING { 0 } else { state[at(key)] };
                state[at(key)] = old + 1;
                Reply::Int(old + 1)
            }
            Self::Del(keys) => {
                let there = |key: &&u8| std::mem::replace(&mut state[at(key)], NOTHING) != NOTHING;
                Reply::Int(keys.iter().filter(there).count() as i64)
            }
            Self::Rename(source, _) if state[at(source)] == NOTHING => Reply::NoKey,
            Self::Rename(source, target) => {
                // In this order, for a key that becomes itself.
                let value = std::mem::replace(&mut state[at(source)], NOTHING);
                state[at(target)] = value;
                Reply::Ok
            }
            Self::Copy(source, target) => {
                let copies = state[at(source)] != NOTHING && state[at(target)] == NOTHING;
                if copies {
                    state[at(target)] = state[at(source)];
                }
                Reply::Int(i64::from(copies))
            }
        }
    }

    /// Whether a command that had this reply changed nothing.
    pub fn is_idle(&self, reply: &Reply) -> bool {
        match self {
            Self::Get(_) | Self::MGet(_) => true,
            Self::SetNx(..) | Self::MSetNx(_) | Self::Del(_) | Self::Copy(..) => *reply == Reply::Int(0),
            Self::Rename(..) => *reply == Reply::NoKey,
            Self::Set(..) | Self::MSet(_) | Self::GetSet(..) | Self::Incr(_) => false,
        }
    }

    /// Visits its keys, to read or to change them.
    pub fn each_key(&mut self, mut visit: impl FnMut(&mut u8)) {
        match self {
            Self::Get(key)
            | Self::Set(key, _)
            | Self::SetNx(key, _)
            | Self::GetSet(key, _)
            | Self::Incr(key) => {
                visit(key);
            }
            Self::Del(keys) | Self::MGet(keys) => keys.iter_mut().for_each(visit),
            Self::MSet(pairs) | Self::MSetNx(pairs) => pairs.iter_mut().for_each(|(key, _)| visit(key)),
            Self::Rename(source, target) | Self::Copy(source, target) => {
                visit(source);
                visit(target);
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &i64| if *value == NOTHING { "nil".to_owned() } else { value.to_string() };
        match self {
            Self::Ok => write!(f, "OK"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Value(value) => write!(f, "{}", shown(value)),
            Self::Values(values) => write!(f, "[{}]", values.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Self::NoKey => write!(f, "no such key"),
        }
    }
}
