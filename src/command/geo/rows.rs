//! The rows of the family `geo`.

use super::{look, options, search};
use crate::command::row::{BASE, Begin, Find, KeyAccess, KeySpec, key_at};
use crate::command::{Command, Flags, Group, Scope};

const GEO: Command = Command { group: Group::Geo, scope: Scope::Keys, since: "3.2.0", ..BASE };

const READ: Flags = Flags::READONLY;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEYS_STORE: &[KeySpec] = &[key_at(1, KeyAccess::Overwrite), key_at(2, KeyAccess::Read)];
const KEYS_RADIUS: &[KeySpec] = &[key_at(1, KeyAccess::Read), stored("STORE", 6), stored("STOREDIST", 6)];
const KEYS_BY_MEMBER: &[KeySpec] = &[key_at(1, KeyAccess::Read), stored("STORE", 5), stored("STOREDIST", 5)];

/// A key that a word says to store in.
const fn stored(word: &'static str, from: i16) -> KeySpec {
    KeySpec {
        access: KeyAccess::Overwrite,
        begin: Begin::Keyword(word, from),
        find: Find::Range { last: 0, step: 1, limit: 0 },
        is_incomplete: false,
    }
}

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "geoadd",
        arity: -5,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::Update)],
        complexity: "O(log N), N members, for each one given",
        summary: "Adds places, or moves them.",
        syntax: "key condition:[NX | XX]@6.2.0 [change=CH@6.2.0] data:<longitude latitude member>...",
        handler: look::geoadd,
        ..GEO
    },
    Command {
        name: "geodist",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        summary: "Tells how far two places are from each other.",
        syntax: "key member1 member2 unit:[M | KM | FT | MI]",
        shares: true,
        handler: look::geodist,
        ..GEO
    },
    Command {
        name: "geohash",
        arity: -2,
        flags: READ,
        keys: KEY_READ,
        complexity: "O(N), N members asked for",
        summary: "Reads the geohashes of places, as others write them.",
        syntax: "key [member...]",
        shares: true,
        handler: look::geohash,
        ..GEO
    },
    Command {
        name: "geopos",
        arity: -2,
        flags: READ,
        keys: KEY_READ,
        complexity: "O(N), N members asked for",
        summary: "Reads longitude and latitude of places.",
        syntax: "key [member...]",
        shares: true,
        handler: look::geopos,
        ..GEO
    },
    Command {
        name: "georadius",
        arity: -6,
        flags: GROW,
        keys: KEYS_RADIUS,
        complexity: "O(N + log M), N members around the area, M in all",
        summary: "Finds the places around one, and may store them.",
        syntax: "key longitude latitude radius unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block:[COUNT count [ANY@6.2.0]] order:[ASC | DESC] store:[STORE storekey/key#1 | STOREDIST storedistkey/key#2]",
        deprecated: Some(("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")),
        finder: Some(options::find_keys),
        handler: search::georadius,
        ..GEO
    },
    Command {
        name: "georadius_ro",
        arity: -6,
        flags: READ,
        keys: KEY_READ,
        since: "3.2.10",
        complexity: "O(N + log M), N members around the area, M in all",
        summary: "Finds the places around one.",
        syntax: "key longitude latitude radius unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block:[COUNT count [ANY@6.2.0]] order:[ASC | DESC]",
        deprecated: Some(("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")),
        shares: true,
        handler: search::georadius_ro,
        ..GEO
    },
    Command {
        name: "georadiusbymember",
        arity: -5,
        flags: GROW,
        keys: KEYS_BY_MEMBER,
        complexity: "O(N + log M), N members around the area, M in all",
        summary: "Finds the places around a member, and may store them.",
        syntax: "key member radius unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block:[COUNT count [ANY]] order:[ASC | DESC] store:[STORE storekey/key#1 | STOREDIST storedistkey/key#2]",
        deprecated: Some((
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        )),
        finder: Some(options::find_keys),
        handler: search::georadiusbymember,
        ..GEO
    },
    Command {
        name: "georadiusbymember_ro",
        arity: -5,
        flags: READ,
        keys: KEY_READ,
        since: "3.2.10",
        complexity: "O(N + log M), N members around the area, M in all",
        summary: "Finds the places around a member.",
        syntax: "key member radius unit:<M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] count-block:[COUNT count [ANY]] order:[ASC | DESC]",
        deprecated: Some(("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")),
        shares: true,
        handler: search::georadiusbymember_ro,
        ..GEO
    },
    Command {
        name: "geosearch",
        arity: -7,
        flags: READ,
        keys: KEY_READ,
        since: "6.2.0",
        complexity: "O(N + log M), N members around the area, M in all",
        summary: "Finds the places in a circle, a box or a polygon.",
        syntax: "key from:<FROMMEMBER member | FROMLONLAT fromlonlat:<longitude latitude>> by:<circle:<BYRADIUS radius unit:<M | KM | FT | MI>> | box:<BYBOX width height unit:<M | KM | FT | MI>>> order:[ASC | DESC] count-block:[COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        shares: true,
        handler: search::geosearch,
        ..GEO
    },
    Command {
        name: "geosearchstore",
        arity: -8,
        flags: GROW,
        keys: KEYS_STORE,
        since: "6.2.0",
        complexity: "O(N + log M), N members around the area, M in all",
        summary: "Stores the places in a circle, a box or a polygon.",
        syntax: "destination source#1 from:<FROMMEMBER member | FROMLONLAT fromlonlat:<longitude latitude>> by:<circle:<BYRADIUS radius unit:<M | KM | FT | MI>> | box:<BYBOX width height unit:<M | KM | FT | MI>>> order:[ASC | DESC] count-block:[COUNT count [ANY]] [STOREDIST]",
        handler: search::geosearchstore,
        ..GEO
    },
];
