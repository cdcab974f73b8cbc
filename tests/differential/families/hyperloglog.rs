//! The family `hyperloglog`: sketches of few elements and of many, sparse ones that become dense early and late, whose bytes are
//! compared; strings that are none, and corrupted ones.

use super::Family;
use crate::differential::shapes::{Compare, Shape, exact, rare};

/// The family.
pub const FAMILY: Family = Family {
    name: "hyperloglog",
    shapes: SHAPES,
    words: &[
        ("hll", &[b"hll:1", b"hll:2", b"hll:3", b"hll:4", b"{tag}hll", b"hll:none"]),
        (
            "counted",
            &[b"a", b"b", b"c", b"d", b"", b"1", b"\0\xff", b"exactly 16 bytes", b"a few more than those"],
        ),
        ("broken", &[b"broken:1", b"broken:2"]),
        ("sketch", SKETCHES),
    ],
    state: &[(&["PFCOUNT"], &[], Compare::Exact), (&["PFDEBUG", "DECODE"], &[], Compare::Exact)],
};

/// Whole ones and corrupted ones. What ends within a run is not among them: Redis reads on behind the end. Nor is one of too many
/// registers: where it is to become dense, Redis fails after some elements have changed it, Torc with nothing changed.
const SKETCHES: &[&[u8]] = &[
    b"HYLL\x01\0\0\0\x01\0\0\0\0\0\0\0q\xa6\x84NW",
    b"HYLL\x01\x07\x08\x09\x05\0\0\0\0\0\0\0\x7f\xff",
    b"HYLL\x01\0\0\0\x05\0\0\0\0\0\0\xff\x7f\xff",
    b"HYLL\x01\0\0\0\x05\0\0\0\0\0\0\x80\x3f\x40\x00\x7f\xbe",
    b"HYLL\x01\0\0\0\x05\0\0\0\0\0\0\x80\x83\x83\x83\x83\x80\x80\x7f\xed",
    b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80",
    b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0",
    b"HYLL\x01\0\0\0\x05\0\0\0\0\0\0\x80\x40\x00\x80",
    b"HYLL\x00\0\0\0\0\0\0\0\0\0\0\x80",
    b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff",
    b"hyll\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff",
    b"HYLL",
    b"",
    b"12345",
    b"a string of as many bytes as a sketch may have, or so",
];

const SHAPES: &[Shape] = &[
    exact("PFADD @hll @counted+"),
    exact("PFADD @hll"),
    // A word that is never drawn again.
    exact("PFADD @hll S S S S"),
    exact("PFADD @hll S S S S S S S S S S S S S S S S S S S S M M M M M M M M M M M M"),
    exact("PFADD @hll V V V"),
    exact("PFCOUNT @hll"),
    exact("PFCOUNT @hll @hll"),
    exact("PFCOUNT @hll @hll @hll (@broken|)"),
    exact("PFMERGE @hll"),
    exact("PFMERGE @hll @hll"),
    exact("PFMERGE @hll @hll @hll (@hll|@broken|)"),
    exact("GET @hll"),
    exact("STRLEN @hll"),
    exact("OBJECT ENCODING @hll"),
    exact("PFDEBUG (ENCODING|encoding) @hll"),
    exact("PFDEBUG DECODE @hll"),
    rare("PFDEBUG (TODENSE|GETREG) @hll"),
    rare("PFDEBUG FOO (@hll|@broken)"),
    rare("CONFIG SET hll-sparse-max-bytes (0|18|19|24|100|600|3000|20000)"),
    exact("COPY @hll @hll (REPLACE|)"),
    exact("DEL @hll"),
    rare("RPUSH @hll x"),
    exact("SET @broken @sketch"),
    exact("PFADD @broken (@counted|S|)"),
    exact("PFCOUNT @broken (@broken|)"),
    exact("PFMERGE @broken (@hll|@broken|)"),
    exact("PFDEBUG (DECODE|TODENSE|ENCODING|GETREG) @broken"),
    exact("GET @broken"),
];
