//! The family `set`: members that are integers of every width, words and long ones; keys of all encodings.

use super::Family;
use crate::differential::shapes::{Compare, Shape, exact, like, rare};

/// The family.
pub const FAMILY: Family = Family {
    name: "set",
    shapes: SHAPES,
    words: &[
        ("set", &[b"set:1", b"set:2", b"set:3", b"{tag}set", b"set:none"]),
        ("member", MEMBERS),
        ("small", &[b"1", b"2", b"3", b"4", b"5", b"6", b"7"]),
        ("set_limit", &[b"0", b"1", b"2", b"3", b"9", b"-1", b"x", b"9223372036854775807"]),
    ],
    state: &[
        (&["SMEMBERS"], &[], Compare::Sorted),
        (&["OBJECT", "ENCODING"], &[], Compare::Exact),
        (&["DEBUG", "DIGEST-VALUE"], &[], Compare::Exact),
    ],
};

const MEMBERS: &[&[u8]] = &[
    b"1",
    b"2",
    b"3",
    b"-1",
    b"127",
    b"128",
    b"-32768",
    b"32768",
    b"2147483647",
    b"-2147483649",
    b"9223372036854775807",
    b"9223372036854775808",
    b"01",
    b"-0",
    b"",
    b"a",
    b"b",
    b"c",
    b"x\0y",
    b"\r\n\xff",
    b"a member that is longer than the sixty-four bytes of a listpack's limit",
];

const SHAPES: &[Shape] = &[
    exact("SADD @set @member+"),
    exact("SADD @set @member+ @member+"),
    exact("SADD @set @small+"),
    exact("SREM @set @member+"),
    exact("SREM @set @small+ @member+ @member+"),
    exact("SCARD @set"),
    exact("SISMEMBER @set @member"),
    exact("SMISMEMBER @set @member+"),
    like("SMEMBERS @set", Compare::Sorted),
    exact("SMOVE @set @set @member"),
    // What is picked differs, so the set is emptied or left as it is.
    exact("SPOP @set (0|-1|x|1,2)"),
    rare("SPOP missing (1|)"),
    like("SPOP @set 1000", Compare::Sorted),
    like("SRANDMEMBER @set", Compare::Kind),
    like("SRANDMEMBER @set 1000", Compare::Sorted),
    exact("SRANDMEMBER @set (0|x|-9223372036854775808|9223372036854775808|1,2)"),
    like("SINTER @set", Compare::Sorted),
    like("SINTER @set @set", Compare::Sorted),
    like("SINTER @set @set @set", Compare::Sorted),
    like("SUNION @set @set", Compare::Sorted),
    like("SUNION @set @set @set @set @set @set", Compare::Sorted),
    like("SDIFF @set @set", Compare::Sorted),
    like("SDIFF @set @set @set", Compare::Sorted),
    exact("SINTERSTORE @set @set @set"),
    exact("SINTERSTORE @set @set"),
    exact("SUNIONSTORE @set @set @set"),
    exact("SDIFFSTORE @set @set @set"),
    exact("SINTERCARD 2 @set @set (LIMIT,@set_limit|) (LIMIT,@set_limit|)"),
    exact("SINTERCARD (1|2|3|0|x) @set @set (LIMIT|foo|)"),
    exact("SSCAN @set x"),
    exact("SSCAN @set 0 (COUNT,0|COUNT,x|foo|MATCH)"),
    // The pattern may be spoilt to one that matches.
    like("SSCAN @set 0 COUNT 1000 MATCH no*", Compare::Sorted),
    exact("OBJECT ENCODING @set"),
    exact("DEBUG DIGEST-VALUE @set"),
    exact("TYPE @set"),
    exact("COPY @set @set (REPLACE|)"),
    exact("RENAME @set @set"),
    // What is equal up to a NUL has no order but the table's.
    like("SORT @set ALPHA (DESC|)", Compare::Sorted),
    exact("SORT @set ALPHA LIMIT 0 0"),
    rare("DEL @set"),
    rare("SET @set V"),
    rare("EXPIRE @set S"),
];
