//! The family `string`, on the keys that generic commands use, too.

use super::Family;
use crate::differential::shapes::{Shape, exact, rare};

/// The family.
pub const FAMILY: Family = Family { name: "string", shapes: SHAPES, words: &[], state: &[] };

const SHAPES: &[Shape] = &[
    exact("GET K"),
    exact("SET K V"),
    exact("SET K I"),
    exact("SET K V (EX,S|PX,M|EXAT,P|PXAT,Q|KEEPTTL|) (NX|XX|) (GET|)"),
    exact("SET K V (GET|NX|XX|KEEPTTL|EX,S) (GET|NX|XX|KEEPTTL|PX,M) (get|nx|xx|)"),
    exact("SETNX K V"),
    exact("SETEX K S V"),
    exact("PSETEX K M V"),
    exact("GETSET K V"),
    exact("GETDEL K"),
    exact("GETEX K (EX,S|PX,M|EXAT,A|PXAT,B|PERSIST|)"),
    exact("GETRANGE K R R"),
    exact("SUBSTR K R R"),
    exact("SETRANGE K R V"),
    exact("APPEND K V"),
    exact("STRLEN K"),
    exact("INCR K"),
    exact("DECR K"),
    exact("INCRBY K I"),
    exact("DECRBY K I"),
    exact("INCRBYFLOAT K F"),
    exact("MGET K+"),
    exact("MSET KV+"),
    exact("MSETNX KV+"),
    exact("LCS K K (LEN|IDX|) (MINMATCHLEN,R|WITHMATCHLEN|)"),
    // What is there by then.
    exact("OBJECT ENCODING K"),
    rare("DEL K"),
    rare("RPUSH K E"),
    rare("EXPIRE K S"),
];
