//! Workloads that have a name: commands of every type, and YCSB's.
//!
//! Design: all are templates, with one more that makes what they work on. YCSB's are those of its core workloads, over hashes of
//! ten fields as its Redis binding has them, with a sorted set as index: a scan asks the index for keys and then reads each. The
//! score of a key is its number, so the keys that the index will name are known.

use crate::keys::{Distribution, ZIPF};
use crate::operation::Ingredient;

/// Name, template, and what makes the data for it.
const PRESETS: &[(&str, &str, &str)] = &[
    ("ping", "PING", ""),
    ("get", "GET %k", "SET %k %v"),
    ("set", "SET %k %v", "SET %k %v"),
    ("del", "DEL %k", "SET %k %v"),
    ("append", "APPEND %k x", "SET %k %v"),
    ("incr", "INCR count:%k", ""),
    ("mget", "MGET %k %k %k %k %k %k %k %k %k %k", "SET %k %v"),
    ("lpush", "LPUSH list:%k %v", ""),
    ("rpush", "RPUSH list:%k %v", ""),
    ("lpop", "LPOP list:%k", "RPUSH list:%k %v %v %v %v"),
    ("rpop", "RPOP list:%k", "RPUSH list:%k %v %v %v %v"),
    ("lindex", "LINDEX list:%k 0", "RPUSH list:%k %v %v %v %v"),
    ("lrange", "LRANGE list:%k 0 9", "RPUSH list:%k %v %v %v %v"),
    ("hset", "HSET hash:%k field%d %v", ""),
    ("hget", "HGET hash:%k field%d", HASH),
    ("hgetall", "HGETALL hash:%k", HASH),
    ("hincrby", "HINCRBY hash-count:%k field%d 1", ""),
    ("sadd", "SADD set:%k %m", ""),
    ("srem", "SREM set:%k %m", "SADD set:%k 1 2 3 4"),
    ("sismember", "SISMEMBER set:%k 3", "SADD set:%k 1 2 3 4"),
    ("smembers", "SMEMBERS set:%k", "SADD set:%k 1 2 3 4"),
    ("spop", "SPOP set:%k", "SADD set:%k 1 2 3 4"),
    ("zadd", "ZADD zset %m %k", ""),
    ("zincrby", "ZINCRBY zset 1 %k", "ZADD zset %j %k"),
    ("zscore", "ZSCORE zset %k", "ZADD zset %m %k"),
    ("zrank", "ZRANK zset %k", "ZADD zset %m %k"),
    ("zrange", "ZRANGEBYSCORE zset %m +inf LIMIT 0 10", "ZADD zset %m %k"),
    ("xadd", "XADD stream MAXLEN ~ 100000 * field %v", ""),
    ("xrange", "XRANGE stream - + COUNT 10", "XADD stream MAXLEN ~ 100000 * field %v"),
    ("xrevrange", "XREVRANGE stream + - COUNT 10", "XADD stream MAXLEN ~ 100000 * field %v"),
    ("setbit", "SETBIT bitmap %m 1", ""),
    ("getbit", "GETBIT bitmap %m", "SETBIT bitmap %m 1"),
    ("bitcount", "BITCOUNT bitmap 0 1000", "SETBIT bitmap %m 1"),
    ("pfadd", "PFADD hll %k", ""),
    ("pfcount", "PFCOUNT hll", "PFADD hll %k"),
    ("geoadd", "GEOADD geo %x %x %k", ""),
    ("geosearch", "GEOSEARCH geo FROMLONLAT %x %x BYRADIUS 100 km COUNT 10", "GEOADD geo %x %x %k"),
    ("publish", "PUBLISH channel:%k %T%v", ""),
];
const HASH: &str = "HSET hash:%k field0 %v field1 %v field2 %v field3 %v field4 %v field5 %v field6 %v field7 %v field8 %v field9 %v";

const YCSB_READ: &str = "HGETALL usertable:%k";
const YCSB_UPDATE: &str = "HSET usertable:%k field%d %v";
const YCSB_MODIFY: &str = "HGETALL usertable:%k | HSET usertable:%K field%d %v";
const YCSB_SCAN: &str = "ZRANGEBYSCORE usertable-index %q +inf LIMIT 0 %l | @HGETALL usertable:%+";
const YCSB_INSERT: &str = "HSET usertable:%i field0 %v field1 %v field2 %v field3 %v field4 %v field5 %v field6 %v field7 %v \
                           field8 %v field9 %v;ZADD usertable-index %j %K";
const YCSB_LOAD: &str = "HSET usertable:%k field0 %v field1 %v field2 %v field3 %v field4 %v field5 %v field6 %v field7 %v \
                         field8 %v field9 %v;ZADD usertable-index %j %K";

/// Bytes of a field, as YCSB has them.
pub const YCSB_FIELD_BYTES: usize = 100;

/// What has this name, as so many parts of a load.
pub fn preset(name: &str, weight: u32) -> Option<Ingredient> {
    let (name, template, fill) = PRESETS.iter().find(|(known, ..)| *known == name)?;
    Some(Ingredient { name: (*name).into(), template: (*template).into(), fill: (*fill).into(), weight })
}

/// The names of all.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, ..)| *name)
}

/// A core workload of YCSB, by its letter, and the distribution of its keys.
pub fn ycsb(letter: char) -> Option<(Vec<Ingredient>, Distribution)> {
    let zipf = Distribution::Zipf(ZIPF);
    let (parts, distribution): (&[(&str, &str, u32)], _) = match letter {
        'a' => (&[("read", YCSB_READ, 50), ("update", YCSB_UPDATE, 50)], zipf),
        'b' => (&[("read", YCSB_READ, 95), ("update", YCSB_UPDATE, 5)], zipf),
        'c' => (&[("read", YCSB_READ, 100)], zipf),
        'd' => (&[("read", YCSB_READ, 95), ("insert", YCSB_INSERT, 5)], Distribution::Latest(ZIPF)),
        'e' => (&[("scan", YCSB_SCAN, 95), ("insert", YCSB_INSERT, 5)], zipf),
        'f' => (&[("read", YCSB_READ, 50), ("read-modify-write", YCSB_MODIFY, 50)], zipf),
        _ => return None,
    };
    let part = |(name, template, weight): &(&str, &str, u32)| Ingredient {
        name: (*name).into(),
        template: (*template).into(),
        fill: YCSB_LOAD.into(),
        weight: *weight,
    };
    Some((parts.iter().map(part).collect(), distribution))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;
    use crate::values::Sizes;

    #[test]
    fn presets_are_templates() {
        for (name, template, fill) in PRESETS {
            for text in [template, fill].into_iter().filter(|text| !text.is_empty()) {
                assert!(Template::parse(text, &Sizes::Range(1, 9)).is_ok(), "{name}: {text}");
            }
        }
        for letter in 'a'..='f' {
            let (parts, _) = ycsb(letter).expect("it is one");
            assert_eq!(parts.iter().map(|part| part.weight).sum::<u32>(), 100);
            for part in parts {
                assert!(Template::parse(&part.template, &Sizes::Fixed(100)).is_ok(), "{}", part.template);
                assert!(Template::parse(&part.fill, &Sizes::Fixed(100)).is_ok());
            }
        }
        assert!(ycsb('g').is_none() && preset("gte", 1).is_none());
    }
}
