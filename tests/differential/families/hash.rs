//! Hashes: every command of the family, and generic ones on keys that mostly hold hashes, in both forms.
//!
//! Nothing expires during a run: a time is far away, or past, and then the field goes at once. What comes of fields that expire
//! has cases of its own.

use super::Family;
use crate::differential::shapes::{Compare, MS_OFF, SECONDS_OFF, Shape, exact, like, rare};

pub const FAMILY: Family = Family {
    name: "hash",
    shapes: SHAPES,
    words: &[("hkey", KEYS), ("field", FIELDS), ("hvalue", VALUES), ("hnumber", NUMBERS)],
    state: &[
        (&["HGETALL"], &[], Compare::Sorted),
        (&["HLEN"], &[], Compare::Exact),
        (
            &["HPEXPIRETIME"],
            &["FIELDS", "4", "f", "g", "1", "a longer name of a field"],
            Compare::Near(MS_OFF),
        ),
    ],
};

const SHAPES: &[Shape] = &[
    exact("HSET @hkey @field@hvalue+"),
    exact("HSET @hkey @field@hvalue+ @field@hvalue+"),
    exact("HMSET @hkey @field@hvalue+"),
    exact("HSET @hkey @field"),
    exact("HMSET @hkey @field @hvalue @field"),
    exact("HSETNX @hkey @field @hvalue"),
    exact("HGET @hkey @field"),
    exact("HMGET @hkey @field @field @field"),
    exact("HEXISTS @hkey @field"),
    exact("HSTRLEN @hkey @field"),
    exact("HLEN @hkey"),
    exact("HDEL @hkey @field"),
    exact("HDEL @hkey @field @field @field"),
    like("HGETALL @hkey", Compare::Sorted),
    like("HKEYS @hkey", Compare::Sorted),
    like("HVALS @hkey", Compare::Sorted),
    like("HSCAN @hkey 0 COUNT 1000 (MATCH,G|) (NOVALUES|)", Compare::Sorted),
    exact("HSCAN @hkey (abc|-1|0) (COUNT,0|COUNT,abc|MATCH|abc,1|COUNT,10,x)"),
    exact("HINCRBY @hkey @field I"),
    exact("HINCRBY @hkey @field (1|-1|17)"),
    exact("HINCRBYFLOAT @hkey @field F"),
    exact("HINCRBYFLOAT @hkey @field @hnumber"),
    like("HRANDFIELD @hkey", Compare::Kind),
    like("HRANDFIELD @hkey (1|3|-3|0) (WITHVALUES|)", Compare::Kind),
    like("HRANDFIELD @hkey 1000 (WITHVALUES|)", Compare::Kind),
    like(
        "HRANDFIELD @hkey (abc|-9223372036854775808|1,x|1,WITHVALUES,x|-4611686018427387905,WITHVALUES)",
        Compare::Kind,
    ),
    exact("HEXPIRE @hkey S (NX|XX|GT|LT|) FIELDS 1 @field"),
    exact("HPEXPIRE @hkey M (NX|XX|GT|LT|) FIELDS 2 @field @field"),
    exact("HEXPIREAT @hkey A (NX|XX|GT|LT|) FIELDS 3 @field @field @field"),
    exact("HPEXPIREAT @hkey B (NX|XX|GT|LT|) FIELDS 1 @field"),
    exact("HEXPIRE @hkey (0|-1|abc|281474976710655) (NX|XX|GT|LT|) FIELDS (1|2|0|abc) @field"),
    exact("HPEXPIREAT @hkey (1|70368744177663|70368744177664) (NX|XX|GT|LT|XX,NX|) FIELDS 2 @field @field"),
    exact("HEXPIREAT @hkey P (FIELDS|fields|FOO) 1 @field (@field|)"),
    like("HTTL @hkey FIELDS 2 @field @field", Compare::Near(SECONDS_OFF)),
    like("HPTTL @hkey FIELDS 2 @field @field", Compare::Near(MS_OFF)),
    like("HEXPIRETIME @hkey FIELDS 1 @field", Compare::Near(SECONDS_OFF)),
    like("HPEXPIRETIME @hkey FIELDS 3 @field @field @field", Compare::Near(MS_OFF)),
    exact("HTTL @hkey (FIELDS|FOO) (0|2|abc|99999999999) @field"),
    exact("HPERSIST @hkey FIELDS 2 @field @field"),
    exact("HPERSIST @hkey (FIELDS|FOO) (0|2|abc|-1) @field"),
    exact("HGETDEL @hkey FIELDS 1 @field"),
    exact("HGETDEL @hkey FIELDS 2 @field @field"),
    exact("HGETDEL @hkey (FIELDS|FOO) (0|2|abc|-1) @field"),
    exact("HGETEX @hkey (EX,S|PX,M|EXAT,A|PXAT,B|PERSIST|) FIELDS 2 @field @field"),
    exact("HGETEX @hkey (EX,0|PX,-1|EXAT,abc|PXAT,1|EX,10,PX,10|NX|KEEPTTL|) (FIELDS|FOO) (1|0|abc) @field"),
    exact("HSETEX @hkey (FNX|FXX|) (EX,S|PX,M|EXAT,A|PXAT,B|KEEPTTL|) FIELDS 1 @field @hvalue"),
    exact("HSETEX @hkey (EXAT,P|PXAT,Q|KEEPTTL|) (FNX|FXX|) FIELDS 2 @field @hvalue @field @hvalue"),
    exact(
        "HSETEX @hkey (FNX|FXX|EX,0|PX,-1|EXAT,abc) (FNX|FXX|KEEPTTL|EX,S) (FIELDS|FOO) (1|2|0|abc) @field @hvalue",
    ),
    // The key as a whole.
    exact("TYPE @hkey"),
    exact("OBJECT ENCODING @hkey"),
    exact("COPY @hkey @hkey (REPLACE|)"),
    exact("RENAME @hkey @hkey"),
    rare("DEL @hkey"),
    rare("UNLINK @hkey"),
    rare("SET @hkey @hvalue"),
    rare("EXPIRE @hkey S"),
    rare("PERSIST @hkey"),
    like("MEMORY USAGE @hkey", Compare::Kind),
    exact("SORT list:hashes BY hash:*->f (ALPHA|) (GET,hash:*->g|GET,#|) (DESC|)"),
    rare("RPUSH list:hashes 1 2 3"),
    rare("DEL list:hashes"),
    exact("LPUSH @hkey x"),
    exact("APPEND @hkey x"),
    // Both forms, and the ways between them.
    rare("CONFIG SET hash-max-listpack-entries (0|3|5|512|512)"),
    rare("CONFIG SET hash-max-listpack-value (4|64|64)"),
];

const KEYS: &[&[u8]] = &[b"hash:1", b"hash:2", b"hash:3", b"{tag}hash"];
const FIELDS: &[&[u8]] =
    &[b"f", b"g", b"1", b"", b"-70000", b"\0\xff\r\n", b"a longer name of a field", b"007", b"h", b"i"];
const VALUES: &[&[u8]] = &[
    b"",
    b"a",
    b"10",
    b"-1",
    b"12345678901234567890",
    b"3.5",
    b" 1",
    b"\0\x01\xff\r\n",
    b"a value of some sixty bytes, which is about as long as they get",
    b"a value of more than sixty-four bytes, so that what it lies in is no pack",
];
const NUMBERS: &[&[u8]] = &[b"1", b"-0.5", b"3.0e3", b"1e-17", b"10.43", b"0.1"];
