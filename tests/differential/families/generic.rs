//! The family `generic`, on keys of every type.

use super::Family;
use crate::differential::shapes::{Compare, MS_OFF, SECONDS_OFF, Shape, exact, like, rare};

/// The family.
pub const FAMILY: Family = Family { name: "generic", shapes: SHAPES, words: &[], state: &[] };

const SHAPES: &[Shape] = &[
    exact("DEL K+"),
    exact("UNLINK K+"),
    exact("EXISTS K+"),
    exact("TOUCH K+"),
    exact("TYPE K"),
    exact("EXPIRE K S (NX|XX|GT|LT|)"),
    exact("PEXPIRE K M (NX|XX|GT|LT|) (XX|GT|)"),
    exact("EXPIREAT K A (NX|XX|GT|LT|)"),
    exact("PEXPIREAT K B (NX|XX|GT|LT|)"),
    exact("PERSIST K"),
    like("TTL K", Compare::Near(SECONDS_OFF)),
    like("PTTL K", Compare::Near(MS_OFF)),
    like("EXPIRETIME K", Compare::Near(SECONDS_OFF)),
    like("PEXPIRETIME K", Compare::Near(MS_OFF)),
    exact("RENAME K K"),
    exact("RENAMENX K K"),
    exact("COPY K K (DB,D|) (REPLACE|)"),
    exact("MOVE K D"),
    like("KEYS G", Compare::Sorted),
    like("RANDOMKEY", Compare::Kind),
    exact("OBJECT ENCODING K"),
    // Which small numbers are shared is Redis's own affair.
    like("OBJECT REFCOUNT K", Compare::Kind),
    exact("OBJECT FREQ K"),
    like("OBJECT IDLETIME K", Compare::Near(60)),
    // A key of each type.
    exact("SET K V"),
    rare("RPUSH K E+"),
    rare("HSET K V V"),
    rare("SADD K V V"),
    rare("ZADD K 1 V 2 V"),
    rare("XADD K 1-* V V"),
];
