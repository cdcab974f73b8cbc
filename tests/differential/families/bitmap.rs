//! The family `bitmap`: strings of few bits and of many, short ones and such as lie outside of their entries; offsets at the
//! ends of bytes, of strings and of what there is.

use super::Family;
use crate::differential::shapes::{Compare, Shape, exact, rare};

/// The family.
pub const FAMILY: Family = Family {
    name: "bitmap",
    shapes: SHAPES,
    words: &[
        ("bits", &[b"bits:1", b"bits:2", b"bits:3", b"{tag}bits", b"bits:none"]),
        ("pattern", PATTERNS),
        ("offset", OFFSETS),
        ("anywhere", ANYWHERE),
        ("edge", EDGES),
        ("width", WIDTHS),
        ("amount", AMOUNTS),
        ("position", POSITIONS),
    ],
    state: &[
        (&["BITCOUNT"], &[], Compare::Exact),
        (&["BITPOS"], &["1"], Compare::Exact),
        (&["BITPOS"], &["0"], Compare::Exact),
    ],
};

const PATTERNS: &[&[u8]] = &[
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff",
    b"\0\0\x10\0",
    b"\x80\x01",
    b"12",
    b"-7",
    b"a string of a few dozen bytes, which lies in its entry",
    &[0xff; 300],
    &[0; 700],
];

/// None so late that a string grows large.
const OFFSETS: &[&[u8]] = &[
    b"0", b"1", b"7", b"8", b"9", b"15", b"16", b"23", b"31", b"63", b"64", b"100", b"511", b"2400", b"5599",
    b"131071", b"131072", b"170001",
];

/// Where nothing is written.
const ANYWHERE: &[&[u8]] = &[
    b"4294967295",
    b"4294967296",
    b"-1",
    b"-0",
    b"01",
    b"x",
    b"#3",
    b"9223372036854775807",
    b"9223372036854775808",
];

const EDGES: &[&[u8]] = &[
    b"0",
    b"1",
    b"2",
    b"7",
    b"8",
    b"9",
    b"24",
    b"25",
    b"100",
    b"699",
    b"5000",
    b"200000",
    b"-1",
    b"-2",
    b"-8",
    b"-9",
    b"-30",
    b"-700",
    b"-300000",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"x",
];

const WIDTHS: &[&[u8]] = &[
    b"u1", b"i1", b"u2", b"i5", b"u7", b"u8", b"i8", b"i9", b"u16", b"i31", b"u32", b"i33", b"u63", b"i63",
    b"i64", b"i64", b"u64", b"i65", b"i0", b"U8", b"u08", b"u8\0x",
];

const AMOUNTS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"127",
    b"128",
    b"-128",
    b"-129",
    b"255",
    b"256",
    b"1000000",
    b"-1000000",
    b"4611686018427387904",
    b"-4611686018427387905",
    b"9223372036854775807",
    b"-9223372036854775807",
    b"-9223372036854775808",
    b"-9223372036854775681",
    b"-9223372036854775680",
    b"9223372036854775808",
    b"x",
];

const POSITIONS: &[&[u8]] = &[
    b"0",
    b"1",
    b"3",
    b"8",
    b"13",
    b"60",
    b"64",
    b"100",
    b"2400",
    b"131070",
    b"#0",
    b"#1",
    b"#2",
    b"#7",
    b"#70",
    b"#2000",
    b"#",
    b"#-1",
    b"-1",
    b"x",
    b"4294967296",
    b"#4294967296",
    b"#9223372036854775807",
    b"#288230376151711744",
];

const SHAPES: &[Shape] = &[
    exact("SETBIT @bits @offset (0|1)"),
    exact("SETBIT @bits @offset (0|1)"),
    rare("SETBIT @bits (0|@offset) (2|-1|x|01|)"),
    rare("SETBIT @bits (-1|x|4294967296|01) 1"),
    exact("GETBIT @bits (@offset|@anywhere)"),
    exact("BITCOUNT @bits"),
    exact("BITCOUNT @bits @edge @edge (BIT|BYTE|bit|byte|)"),
    rare("BITCOUNT @bits @edge (@edge|) (FOO|BIT,BIT|)"),
    exact("BITPOS @bits (0|1) (@edge|)"),
    exact("BITPOS @bits (0|1) @edge @edge (BIT|BYTE|bit|byte|)"),
    rare("BITPOS @bits (2|-1|x|0|1) (@edge|) (FOO|@edge|) (FOO|BIT,x|)"),
    exact("BITFIELD @bits SET @width @position @amount"),
    exact("BITFIELD @bits INCRBY @width @position @amount"),
    exact("BITFIELD @bits GET @width @position GET @width (@anywhere|@position)"),
    exact(
        "BITFIELD @bits (OVERFLOW,SAT|OVERFLOW,FAIL|OVERFLOW,WRAP|) INCRBY @width @position @amount SET @width @position @amount (GET,@width,@position|)",
    ),
    exact(
        "BITFIELD @bits overflow (sat|fail) INCRBY (u8|i8|i64|u63) @position @amount INCRBY (u8|i8|i64|u63) @position @amount overflow (wrap|sat|fail) SET (u8|i8|i64|u63) @position @amount",
    ),
    rare("BITFIELD @bits (GET|OVERFLOW,FOO|OVERFLOW|SET,u8,0|)"),
    exact("BITFIELD_RO @bits GET @width @position (GET,@width,@position|)"),
    rare("BITFIELD_RO @bits (OVERFLOW,SAT|SET,u8,0,1|INCRBY,u8,0,1|) (GET,u8,0|)"),
    exact("BITOP (AND|OR|XOR|DIFF|DIFF1|ANDOR|ONE) @bits @bits @bits"),
    exact("BITOP (AND|OR|XOR|DIFF|DIFF1|ANDOR|ONE) @bits @bits @bits @bits (@bits|)"),
    exact("BITOP (AND|OR|XOR|ONE|NOT|not) @bits @bits"),
    rare("BITOP (NOT|FOO|DIFF|DIFF1|ANDOR) @bits @bits (@bits|)"),
    exact("SET @bits @pattern"),
    exact("SETRANGE @bits (0|3|20000) @pattern"),
    exact("APPEND @bits @pattern"),
    exact("GET @bits"),
    exact("STRLEN @bits"),
    exact("GETRANGE @bits @edge @edge"),
    exact("OBJECT ENCODING @bits"),
    exact("COPY @bits @bits (REPLACE|)"),
    exact("INCR @bits"),
    rare("EXPIRE @bits S"),
    rare("LPUSH @bits a"),
    exact("DEL @bits"),
];
