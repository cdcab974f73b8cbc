//! The names of commands, which `rename-command` may rename: Redis's whether Torc has the command or not, and Torc's others.
//!
//! Design: a list of its own, because the table of commands knows only those that there are, and a file that switches off
//! CLUSTER is right about it: nobody can run it. Which names are taken decides what another command may be called, so the
//! whole of them is followed, line by line.
//!
//! Not here: the commands themselves (`command`).

use std::collections::HashSet;

use super::domain::Reason;

/// Every command of Redis 8.2, without subcommands and modules.
pub const REDIS_COMMANDS: &[&str] = &[
    "acl",
    "append",
    "asking",
    "auth",
    "bgrewriteaof",
    "bgsave",
    "bitcount",
    "bitfield",
    "bitfield_ro",
    "bitop",
    "bitpos",
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "client",
    "cluster",
    "command",
    "config",
    "copy",
    "dbsize",
    "debug",
    "decr",
    "decrby",
    "del",
    "discard",
    "dump",
    "echo",
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "exec",
    "exists",
    "expire",
    "expireat",
    "expiretime",
    "failover",
    "fcall",
    "fcall_ro",
    "flushall",
    "flushdb",
    "function",
    "geoadd",
    "geodist",
    "geohash",
    "geopos",
    "georadius",
    "georadius_ro",
    "georadiusbymember",
    "georadiusbymember_ro",
    "geosearch",
    "geosearchstore",
    "get",
    "getbit",
    "getdel",
    "getex",
    "getrange",
    "getset",
    "hdel",
    "hello",
    "hexists",
    "hexpire",
    "hexpireat",
    "hexpiretime",
    "hget",
    "hgetall",
    "hgetdel",
    "hgetex",
    "hincrby",
    "hincrbyfloat",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hpexpiretime",
    "hpttl",
    "hrandfield",
    "hscan",
    "hset",
    "hsetex",
    "hsetnx",
    "hstrlen",
    "httl",
    "hvals",
    "incr",
    "incrby",
    "incrbyfloat",
    "info",
    "keys",
    "lastsave",
    "latency",
    "lcs",
    "lindex",
    "linsert",
    "llen",
    "lmove",
    "lmpop",
    "lolwut",
    "lpop",
    "lpos",
    "lpush",
    "lpushx",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "memory",
    "mget",
    "migrate",
    "module",
    "monitor",
    "move",
    "mset",
    "msetnx",
    "multi",
    "object",
    "persist",
    "pexpire",
    "pexpireat",
    "pexpiretime",
    "pfadd",
    "pfcount",
    "pfdebug",
    "pfmerge",
    "pfselftest",
    "ping",
    "psetex",
    "psubscribe",
    "psync",
    "pttl",
    "publish",
    "pubsub",
    "punsubscribe",
    "quit",
    "randomkey",
    "readonly",
    "readwrite",
    "rename",
    "renamenx",
    "replconf",
    "replicaof",
    "reset",
    "restore",
    "restore-asking",
    "role",
    "rpop",
    "rpoplpush",
    "rpush",
    "rpushx",
    "sadd",
    "save",
    "scan",
    "scard",
    "script",
    "sdiff",
    "sdiffstore",
    "select",
    "set",
    "setbit",
    "setex",
    "setnx",
    "setrange",
    "shutdown",
    "sinter",
    "sintercard",
    "sinterstore",
    "sismember",
    "slaveof",
    "slowlog",
    "smembers",
    "smismember",
    "smove",
    "sort",
    "sort_ro",
    "spop",
    "spublish",
    "srandmember",
    "srem",
    "sscan",
    "ssubscribe",
    "strlen",
    "subscribe",
    "substr",
    "sunion",
    "sunionstore",
    "sunsubscribe",
    "swapdb",
    "sync",
    "time",
    "touch",
    "ttl",
    "type",
    "unlink",
    "unsubscribe",
    "unwatch",
    "wait",
    "waitaof",
    "watch",
    "xack",
    "xackdel",
    "xadd",
    "xautoclaim",
    "xclaim",
    "xdel",
    "xdelex",
    "xgroup",
    "xinfo",
    "xlen",
    "xpending",
    "xrange",
    "xread",
    "xreadgroup",
    "xrevrange",
    "xsetid",
    "xtrim",
    "zadd",
    "zcard",
    "zcount",
    "zdiff",
    "zdiffstore",
    "zincrby",
    "zinter",
    "zintercard",
    "zinterstore",
    "zlexcount",
    "zmpop",
    "zmscore",
    "zpopmax",
    "zpopmin",
    "zrandmember",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrangestore",
    "zrank",
    "zrem",
    "zremrangebylex",
    "zremrangebyrank",
    "zremrangebyscore",
    "zrevrange",
    "zrevrangebylex",
    "zrevrangebyscore",
    "zrevrank",
    "zscan",
    "zscore",
    "zunion",
    "zunionstore",
];

/// Commands that Torc has and Redis 8.2 has not: of later versions, of Valkey, its own.
pub const OTHER_COMMANDS: &[&str] = &[
    "backup",
    "blmovem",
    "delex",
    "delifeq",
    "digest",
    "himport",
    "hotkeys",
    "increx",
    "lmovem",
    "msetex",
    "sdiffcard",
    "sunioncard",
    "xcfgset",
    "xidmprecord",
    "xnack",
];

/// What commands are called after the renames so far.
pub(super) struct CommandNames(HashSet<Vec<u8>>);

impl Default for CommandNames {
    fn default() -> Self {
        Self(REDIS_COMMANDS.iter().chain(OTHER_COMMANDS).map(|name| name.as_bytes().to_vec()).collect())
    }
}

impl CommandNames {
    /// Has the command `old` called `new`, or nothing at all.
    pub(super) fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), Reason> {
        if std::str::from_utf8(new).is_err() {
            return Err("Torc's commands have names of valid UTF-8".into());
        }
        if !self.0.remove(old.to_ascii_lowercase().as_slice()) {
            return Err("No such command in rename-command".into());
        }
        if !new.is_empty() && !self.0.insert(new.to_ascii_lowercase()) {
            return Err("Target command name already exists".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that `lines` leave, or the first refusal.
    fn after(lines: &[(&str, &str)]) -> Result<CommandNames, Reason> {
        let mut names = CommandNames::default();
        lines.iter().try_for_each(|(old, new)| names.rename(old.as_bytes(), new.as_bytes())).map(|()| names)
    }

    #[test]
    fn renames_in_order_are_allowed_or_refused_as_redis_does() {
        let good: [&[(&str, &str)]; 7] = [
            &[("EVAL", "")],
            &[("eval", "x"), ("X", "y")],
            &[("get", ""), ("eval", "get")],
            &[("get", "g"), ("g", "get")],
            &[("GET", "get")],
            &[("get", "a b")],
            &[("backup", ""), ("DELEX", "backup")],
        ];
        for lines in good {
            assert!(after(lines).is_ok(), "{lines:?}");
        }
        let unknown = "No such command in rename-command";
        let taken = "Target command name already exists";
        let bad: [(&[(&str, &str)], &str); 7] = [
            (&[("nosuch", "")], unknown),
            (&[("get", ""), ("get", "")], unknown),
            (&[("eval", "x"), ("eval", "y")], unknown),
            (&[("config|set", "")], unknown),
            (&[("eval", "GET")], taken),
            (&[("eval", "x"), ("get", "X")], taken),
            (&[("get", "eval")], taken),
        ];
        for (lines, reason) in bad {
            assert_eq!(after(lines).err().as_deref(), Some(reason), "{lines:?}");
        }
    }
}
