//! Floats of every kind through all commands that print one: Torc's digits must be Redis's.
//!
//! Redis does not always print the shortest text that reads back, so that no printer of another origin agrees with it on all
//! floats; what differs is rare (3 of 1,000) and has 16 or 17 digits. `TORC_DIFFERENTIAL=N` compares N of them.

use super::Pair;
use crate::harness::{Rng, Server, Value, command};

/// Floats of a normal run.
const FLOATS: usize = 2_000;
const BATCH: usize = 100;

/// A float of a random kind, as text that reads as it.
fn float(rng: &mut Rng) -> String {
    let bits = rng.next();
    let sign = if rng.once_in(3) { "-" } else { "" };
    let digits = 1 + rng.below(18);
    let mantissa = bits % 10u64.pow(digits as u32);
    let text = match rng.below(10) {
        // Any bits.
        0 => format!("{:e}", positive(f64::from_bits(bits))),
        1 => format!("{:e}", positive(f64::from_bits(bits & !(0x7ff << 52)))),
        // Of a magnitude that people use, and all bits set at random.
        2 => format!("{:e}", positive(f64::from_bits(bits & !(0x7ff << 52) | ((1023 + bits % 64) << 52)))),
        3 => format!("{:e}", positive(f64::from_bits(bits & !(0x7ff << 52) | ((1003 + bits % 32) << 52)))),
        // Decimals: of some digits, some of them behind the point, with an exponent.
        4 => format!("{mantissa}"),
        5 => format!("{}.{mantissa}", rng.below(1000)),
        6 => format!("{mantissa}e{}", rng.below(600) as i64 - 320),
        7 => format!("0.{}{mantissa}", "0".repeat(rng.below(9))),
        // Powers of two, and their neighbours; sums whose last digits are not round.
        8 => {
            let power = 2f64.powi(rng.below(2097) as i32 - 1074);
            format!("{:e}", f64::from_bits((power.to_bits() + bits % 3).saturating_sub(1)))
        }
        _ => format!("{:e}", rng.below(10_000) as f64 / 10.0 + rng.below(10_000) as f64 / 100.0),
    };
    format!("{sign}{text}")
}

fn positive(value: f64) -> f64 {
    if value.is_nan() { 0.1 } else { value.abs() }
}

/// The commands that print this float, and what they make of it with another.
fn commands(float: &str, other: &str, rng: &mut Rng) -> Vec<Vec<String>> {
    let longitude = format!("{}", (rng.next() >> 11) as f64 / (1u64 << 53) as f64 * 360.0 - 180.0);
    let latitude = format!("{}", (rng.next() >> 11) as f64 / (1u64 << 53) as f64 * 170.0 - 85.0);
    let member = format!("m{}", rng.below(500));
    let texts = [
        format!("ZADD z {float} {member}"),
        format!("ZSCORE z {member}"),
        format!("ZADD z INCR {other} {member}"),
        format!("ZINCRBY z {float} {member}"),
        format!("ZADD packed {float} {member}"),
        "ZPOPMIN packed".to_owned(),
        format!("ZRANGEBYSCORE z {float} {other} WITHSCORES LIMIT 0 5"),
        format!("SET s {float}"),
        format!("INCRBYFLOAT s {other}"),
        format!("HSET h f {float}"),
        format!("HINCRBYFLOAT h f {other}"),
        format!("ZUNION 2 packed packed WEIGHTS {float} {other} WITHSCORES"),
        format!("GEOADD geo {longitude} {latitude} {member}"),
        format!("GEOPOS geo {member}"),
        format!("GEODIST geo {member} m1 km"),
        format!("GEODIST geo {member} m2"),
        format!(
            "GEOSEARCH geo FROMLONLAT {longitude} {latitude} BYRADIUS 20000 km WITHDIST WITHCOORD COUNT 3 ASC"
        ),
        format!("ZSCORE geo {member}"),
        format!("ZADD counted {float} {member}"),
        "DEBUG DIGEST-VALUE counted".to_owned(),
        "DEL counted".to_owned(),
    ];
    texts.iter().map(|text| text.split(' ').map(str::to_owned).collect()).collect()
}

fn replies(client: &mut crate::harness::Client, bytes: &[u8], count: usize) -> Vec<Value> {
    client.send_raw(bytes).expect("the server takes commands");
    (0..count).map(|_| client.read().expect("the server replies")).collect()
}

#[test]
fn floats_are_printed_as_redis_prints_them() {
    let count = std::env::var("TORC_DIFFERENTIAL").map_or(FLOATS, |n| n.parse().expect("a number"));
    let torc = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let redis = Server::redis(&["--enable-debug-command", "yes"]);
    for protocol in [2, 3] {
        let mut rng = Rng(u64::from(protocol));
        let mut pair = Pair { torc: torc.client(), redis: redis.client() }.speaking(protocol);
        for _ in 0..count.div_ceil(2 * BATCH) {
            let floats: Vec<String> = (0..=BATCH).map(|_| float(&mut rng)).collect();
            let sent: Vec<Vec<String>> =
                floats.windows(2).flat_map(|two| commands(&two[0], &two[1], &mut rng)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(|words| command(words)).collect();
            let expected = replies(&mut pair.redis, &bytes, sent.len());
            let found = replies(&mut pair.torc, &bytes, sent.len());
            for (at, words) in sent.iter().enumerate() {
                let (expected, found, line) = (&expected[at], &found[at], words.join(" "));
                assert!(found == expected, "{line}, RESP{protocol}:\nRedis: {expected}\nTorc:  {found}");
            }
        }
    }
}
