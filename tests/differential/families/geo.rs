//! The family `geo`: few places, some of them at the ends of the earth, and searches of all sizes around them.

use super::Family;
use crate::differential::shapes::{exact, rare};

/// The family's run.
pub const GEO: Family = Family {
    name: "geo",
    shapes: &[
        exact("GEOADD @gkey (NX|XX|CH|) (CH|) @glon @glat @gmember"),
        exact("GEOADD @gkey @glon @glat @gmember @glon @glat @gmember (x|)"),
        exact("GEOPOS @gkey @gmember @gmember"),
        exact("GEOHASH @gkey @gmember @gmember"),
        exact("GEODIST @gkey @gmember @gmember (m|KM|ft|mi|x|)"),
        // Two members as far away as each other come in any order, so those with an order are few and far between.
        exact(
            "GEOSEARCH @gkey FROMLONLAT @glon @glat BYRADIUS @gsize @gunit (WITHDIST|) (WITHHASH|) (WITHCOORD|)",
        ),
        exact("GEOSEARCH @gkey FROMMEMBER @gmember BYRADIUS @gsize @gunit (WITHDIST|) (COUNT,1,ANY|ANY|)"),
        exact("GEOSEARCH @gkey BYBOX @gsize @gsize @gunit FROMLONLAT @glon @glat (WITHDIST|) (COUNT,0|FOO|)"),
        exact("GEOSEARCH @gkey FROMMEMBER @gmember BYBOX @gsize @gsize @gunit (WITHCOORD|) (COUNT,2,ANY|)"),
        exact(
            "GEOSEARCHSTORE @gkey @gkey FROMLONLAT @glon @glat BYRADIUS @gsize @gunit (STOREDIST|WITHDIST|)",
        ),
        exact("GEOSEARCHSTORE @gkey @gkey FROMMEMBER @gmember BYBOX @gsize @gsize @gunit (STOREDIST|)"),
        exact("GEORADIUS @gkey @glon @glat @gsize @gunit (WITHDIST|) (WITHHASH|) (WITHCOORD|)"),
        exact("GEORADIUS @gkey @glon @glat @gsize @gunit (STORE,@gkey|STOREDIST,@gkey|STORE)"),
        exact("GEORADIUS_RO @gkey @glon @glat @gsize @gunit (STORE,@gkey|WITHDIST|)"),
        exact("GEORADIUSBYMEMBER @gkey @gmember @gsize @gunit (WITHDIST|STORE,@gkey|)"),
        exact("GEORADIUSBYMEMBER_RO @gkey @gmember @gsize @gunit (WITHHASH|)"),
        exact("ZADD @gkey @gscore @gmember"),
        exact("ZREM @gkey @gmember"),
        rare("DEL @gkey"),
        rare("SET @gkey V"),
    ],
    words: &[
        ("gkey", &[b"g:1", b"g:2", b"{tag}g"]),
        (
            "gmember",
            &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b"i", b"j", b"k", b"l", b"m", b"n", b"o", b"p"],
        ),
        (
            "glon",
            &[
                b"0",
                b"0.1",
                b"13.361389",
                b"15.087269",
                b"-0.5",
                b"179.99",
                b"-179.99",
                b"180",
                b"-180",
                b"100.123456789",
                b"-77.03",
                b"2.35",
                b"2.36",
                b"13.4",
                b"180.1",
                b"x",
                b"90",
                b"-90",
            ],
        ),
        (
            "glat",
            &[
                b"0",
                b"0.1",
                b"38.115556",
                b"37.502669",
                b"-0.5",
                b"85.05",
                b"-85.05",
                b"85.05112878",
                b"66.5",
                b"-67",
                b"80.5",
                b"-81",
                b"48.85",
                b"48.86",
                b"85.06",
                b"nan",
                b"38",
                b"-33.9",
            ],
        ),
        (
            "gsize",
            &[
                b"0", b"1", b"10", b"100", b"500", b"1000", b"5000", b"10000", b"20000", b"100000", b"1e9",
                b"0.5", b"123.456", b"-1", b"x", b"inf",
            ],
        ),
        ("gunit", &[b"m", b"km", b"km", b"KM", b"mi", b"ft", b"x"]),
        (
            "gscore",
            &[b"-1", b"0", b"1e300", b"4503599627370495", b"0.5", b"3479099956230698", b"-inf", b"inf"],
        ),
    ],
    state: &[(&["ZRANGE"], &["0", "-1", "WITHSCORES"], crate::differential::shapes::Compare::Exact)],
};
