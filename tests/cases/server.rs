//! The family `server`: what operators ask of the process itself.
//!
//! The replies are those of Redis, recorded from a server and read through. What ends or stops the server (SHUTDOWN,
//! DEBUG PANIC) is not here: cases share a server.

use std::collections::BTreeSet;

use super::Case;
use crate::harness::{Client, Server};

/// The cases of the family.
pub const CASES: &[Case] = &[
    Case {
        name: "CONFIG GET",
        steps: &[
            ("CONFIG GET maxmemory-policy", r#"{"maxmemory-policy" "noeviction"}"#),
            ("CONFIG GET MaxMemory-Policy", r#"{"MaxMemory-Policy" "noeviction"}"#),
            ("CONFIG GET nosuch", "{}"),
            ("CONFIG GET timeout timeout TIMEOUT", r#"{"timeout" "0"}"#),
            ("CONFIG GET timeou* hz", r#"{"timeout" "0" "hz" "10" ...}"#),
            ("CONFIG GET", "!ERR wrong number of arguments for 'config|get' command"),
            ("CONFIG", "!ERR wrong number of arguments for 'config' command"),
            ("CONFIG nosuch", "!ERR unknown subcommand 'nosuch'. Try CONFIG HELP."),
        ],
    },
    Case {
        name: "REPLCONF, PSYNC and SYNC",
        steps: &[
            ("REPLCONF", "OK"),
            ("REPLCONF capa eof CAPA psync2 capa nosuch", "OK"),
            ("REPLCONF listening-port 6380 ip-address 10.0.0.1", "OK"),
            ("REPLCONF listening-port x", "!ERR value is not an integer or out of range"),
            ("REPLCONF listening-port", "!ERR syntax error"),
            ("REPLCONF rdb-only 0", "OK"),
            ("REPLCONF rdb-only 2", "!ERR value is out of range, value must between 0 and 1"),
            ("REPLCONF rdb-filter-only functions", "OK"),
            ("REPLCONF rdb-filter-only keys", "!ERR Unsupported rdb-filter-only option: keys"),
            (r#"REPLCONF rdb-filter-only "\"a""#, "!ERR Missing rdb-filter-only values"),
            ("REPLCONF nosuch 1", "!ERR Unrecognized REPLCONF option: nosuch"),
            ("PSYNC ? x", "!ERR value is not an integer or out of range"),
            ("PSYNC ?", "!ERR wrong number of arguments for 'psync' command"),
            ("SYNC now", "!ERR wrong number of arguments for 'sync' command"),
            ("MULTI", "OK"),
            ("PSYNC ? -1", "!ERR Command not allowed inside a transaction"),
            ("SYNC", "!ERR Command not allowed inside a transaction"),
            ("EXEC", "!EXECABORT Transaction discarded because of previous errors."),
        ],
    },
    Case {
        name: "CONFIG SET changes all or nothing",
        steps: &[
            ("CONFIG SET timeout 100 hz 50", "OK"),
            ("CONFIG GET timeout", r#"{"timeout" "100"}"#),
            ("CONFIG GET hz", r#"{"hz" "50"}"#),
            (
                "CONFIG SET timeout 7 hz abc",
                "!ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer",
            ),
            ("CONFIG GET timeout", r#"{"timeout" "100"}"#),
            ("CONFIG SET timeout 0 hz 10", "OK"),
            ("CONFIG SET maxmemory 1mb", "OK"),
            ("CONFIG GET maxmemory", r#"{"maxmemory" "1048576"}"#),
            ("CONFIG SET maxmemory 0", "OK"),
        ],
    },
    Case {
        name: "CONFIG SET errors",
        steps: &[
            ("CONFIG SET maxclients", "!ERR wrong number of arguments for 'config|set' command"),
            ("CONFIG SET maxclients 100 timeout", "!ERR syntax error"),
            ("CONFIG SET foo bar", "!ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
            (
                "CONFIG SET databases 3",
                "!ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
            ),
            (
                "CONFIG SET timeout 10 timeout 20",
                "!ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
            ),
            (
                "CONFIG SET maxmemory-policy foo",
                "!ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - *",
            ),
            (
                "CONFIG SET loglevel foo",
                "!ERR CONFIG SET failed (possibly related to argument 'loglevel') - *",
            ),
        ],
    },
    Case {
        name: "CONFIG REWRITE needs a file",
        steps: &[
            ("CONFIG REWRITE", "!ERR The server is running without a config file"),
            ("CONFIG REWRITE x", "!ERR wrong number of arguments for 'config|rewrite' command"),
        ],
    },
    Case {
        name: "CONFIG RESETSTAT",
        steps: &[
            ("GET missing", "nil"),
            ("INFO stats", r#"has"keyspace_misses:""#),
            ("CONFIG RESETSTAT", "OK"),
            ("INFO stats", r#"has"keyspace_misses:0\r\n""#),
            ("INFO commandstats", r#"has"cmdstat_config|resetstat:calls=1,""#),
            ("CONFIG RESETSTAT x", "!ERR wrong number of arguments for 'config|resetstat' command"),
        ],
    },
    Case {
        name: "torc: HELP of containers",
        steps: &[
            (
                "CONFIG HELP",
                r#"[+"CONFIG takes one of these subcommands:" +"GET parameter [parameter ...]" +"    Shows directives whose names match a pattern." ...]"#,
            ),
            ("memory help", r#"[+"MEMORY takes one of these subcommands:" DOCTOR ...]"#),
            ("SLOWLOG HELP", r#"[+"SLOWLOG takes one of these subcommands:" +"GET [count]" ...]"#),
            ("LATENCY HELP", r#"[+"LATENCY takes one of these subcommands:" DOCTOR ...]"#),
            (
                "MODULE HELP",
                r#"[+"MODULE takes one of these subcommands:" HELP +"    Lists the subcommands." LIST +"    Lists the loaded modules." +"LOAD path [arg [arg ...]]" ...]"#,
            ),
            ("DEBUG HELP", r#"[+"DEBUG takes one of these subcommands:" CHANGE-REPL-ID ...]"#),
            ("COMMAND HELP", r#"[+"COMMAND takes one of these subcommands:" COUNT ...]"#),
            ("CLIENT HELP", r#"[+"CLIENT takes one of these subcommands:" +"CACHING <YES | NO>" ...]"#),
            ("OBJECT HELP", r#"[+"OBJECT takes one of these subcommands:" +"ENCODING key" ...]"#),
            ("CONFIG HELP x", "!ERR wrong number of arguments for 'config|help' command"),
        ],
    },
    Case {
        name: "INFO sections",
        steps: &[
            ("INFO", r##"has"# Server\r\nredis_version:""##),
            ("INFO", r#"has"\r\n\r\n# Clients\r\nconnected_clients:""#),
            ("INFO", r##"has"# Keyspace\r\n""##),
            ("INFO replication", r##"has"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n""##),
            ("INFO nosuch", r#"="""#),
            ("INFO CLUSTER nosuch", r##"="# Cluster\r\ncluster_enabled:0\r\n""##),
            ("INFO keyspace cluster", r##"="# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n""##),
            ("INFO default", r##"has"# CPU\r\nused_cpu_sys:""##),
            ("INFO all", r##"has"# Commandstats\r\ncmdstat_""##),
            ("INFO everything", r#"has"latency_percentiles_usec_info:p50=""#),
        ],
    },
    Case {
        name: "INFO counts",
        steps: &[
            ("INFO keyspace", r##"="# Keyspace\r\n""##),
            ("MSET a 1 b 2 c 3", "OK"),
            ("EXPIRE a 1000", "1"),
            ("INFO keyspace", r#"has"db0:keys=3,expires=1,avg_ttl=""#),
            ("SELECT 9", "OK"),
            ("SET z 1", "OK"),
            ("INFO keyspace", r#"has"\r\ndb9:keys=1,expires=0,avg_ttl=0""#),
            ("SELECT 0", "OK"),
            ("CONFIG RESETSTAT", "OK"),
            ("GET a", r#""1""#),
            ("GET missing", "nil"),
            ("INCR", "!ERR wrong number of arguments for 'incr' command"),
            ("INFO stats", r#"has"keyspace_hits:1\r\nkeyspace_misses:1\r\n""#),
            ("INFO commandstats", r#"has"cmdstat_get:calls=2,""#),
            ("INFO commandstats", r#"has"rejected_calls=1,failed_calls=0\r\n""#),
            ("INFO errorstats", r#"has"errorstat_ERR:count=1\r\n""#),
        ],
    },
    Case {
        name: "torc: INFO's own lines",
        steps: &[
            ("INFO server", r#"has"redis_version:8.2.3\r\ntorc_version:""#),
            ("INFO workers", r#"has"\r\nworker0:cpu=""#),
            ("SET a 1", "OK"),
            ("INFO keyspace", r##"="# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0,subexpiry=0\r\n""##),
        ],
    },
    Case {
        name: "MEMORY",
        steps: &[
            ("MEMORY USAGE missing", "nil"),
            ("SET k value", "OK"),
            ("MEMORY USAGE k", "1..200"),
            ("MEMORY USAGE k SAMPLES 0", "1..200"),
            ("MEMORY USAGE k samples 5 samples 6", "1..200"),
            ("MEMORY USAGE k SAMPLES -1", "!ERR syntax error"),
            ("MEMORY USAGE k SAMPLES", "!ERR syntax error"),
            ("MEMORY USAGE k foo 3", "!ERR syntax error"),
            ("MEMORY USAGE k SAMPLES abc", "!ERR value is not an integer or out of range"),
            ("MEMORY USAGE", "!ERR wrong number of arguments for 'memory|usage' command"),
            (
                "MEMORY STATS",
                r#"{"peak.allocated" <int> "replication.backlog" 0 "aof.buffer" 0 "script.VMs" <int> "dataset.percentage" <double> "keys.count" 1 "db.0" <map> ...}"#,
            ),
            ("MEMORY DOCTOR", "<verbatim>"),
            ("MEMORY MALLOC-STATS", "<verbatim>"),
            ("MEMORY PURGE", "OK"),
            ("MEMORY foo", "!ERR unknown subcommand 'foo'. Try MEMORY HELP."),
        ],
    },
    Case {
        name: "writes without enough replicas",
        steps: &[
            ("SET k v", "OK"),
            ("MULTI", "OK"),
            ("SET k w", "QUEUED"),
            ("b> CONFIG SET min-replicas-to-write 1", "OK"),
            (
                "EXEC",
                "!EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
            ),
            ("SET k w", "!NOREPLICAS Not enough good replicas to write."),
            ("DEL nosuch", "!NOREPLICAS Not enough good replicas to write."),
            ("BLPOP nosuch 0", "!NOREPLICAS Not enough good replicas to write."),
            ("FLUSHALL", "!NOREPLICAS Not enough good replicas to write."),
            ("SET k", "!ERR wrong number of arguments for 'set' command"),
            ("GET k", r#""v""#),
            ("WAIT 0 0", "0"),
            ("MULTI", "OK"),
            ("GET k", "QUEUED"),
            ("SET k w", "!NOREPLICAS Not enough good replicas to write."),
            ("EXEC", "!EXECABORT Transaction discarded because of previous errors."),
            ("MULTI", "OK"),
            ("GET k", "QUEUED"),
            ("EXEC", r#"["v"]"#),
            ("INFO replication", r#"has"connected_slaves:0\r\nmin_slaves_good_slaves:0\r\n""#),
            // Either of the two at 0 asks for no replicas.
            ("CONFIG SET min-slaves-max-lag 0", "OK"),
            ("SET k w", "OK"),
            ("CONFIG SET min-replicas-max-lag 10", "OK"),
            ("SET k w", "!NOREPLICAS Not enough good replicas to write."),
            ("CONFIG SET min-replicas-to-write 0", "OK"),
            ("SET k w", "OK"),
        ],
    },
    Case {
        name: "TIME, ROLE, SAVE, LASTSAVE, MODULE, REPLICAOF",
        steps: &[
            ("TIME", "[<number> <number>]"),
            ("TIME x", "!ERR wrong number of arguments for 'time' command"),
            ("ROLE", r#"["master" <int> []]"#),
            ("LASTSAVE", "1600000000..9999999999"),
            ("SAVE", "OK"),
            ("SAVE now", "!ERR wrong number of arguments for 'save' command"),
            ("MODULE LIST", "<array>"),
            ("MODULE nosuch", "!ERR unknown subcommand 'nosuch'. Try MODULE HELP."),
            ("REPLICAOF NO ONE", "OK"),
            ("SLAVEOF no one", "OK"),
            ("REPLICAOF localhost abc", "!ERR Invalid master port"),
            ("REPLICAOF a b c", "!ERR wrong number of arguments for 'replicaof' command"),
        ],
    },
    Case {
        name: "BGSAVE",
        steps: &[
            ("BGSAVE nosuch", "!ERR syntax error"),
            ("BGSAVE SCHEDULE SCHEDULE", "!ERR syntax error"),
            ("MULTI", "OK"),
            ("BGSAVE", "QUEUED"),
            // Whether it is in progress is another test's business.
            ("DISCARD", "OK"),
        ],
    },
    Case {
        name: "torc: BACKUP",
        steps: &[
            ("BACKUP", "!ERR wrong number of arguments for 'backup' command"),
            ("BACKUP a b", "!ERR wrong number of arguments for 'backup' command"),
            ("BACKUP ../a", "!ERR a backup's name has*"),
            ("MULTI", "OK"),
            ("BACKUP a", "!ERR Command not allowed inside a transaction"),
            ("DISCARD", "OK"),
        ],
    },
    Case {
        name: "BGREWRITEAOF",
        steps: &[("BGREWRITEAOF now", "!ERR wrong number of arguments for 'bgrewriteaof' command")],
    },
    Case {
        name: "torc: LOLWUT",
        steps: &[
            ("LOLWUT", r#"has"Redis ver. ""#),
            ("LOLWUT VERSION 5 30 1 1", r#"has"Redis ver. ""#),
            ("LOLWUT VERSION abc", "!ERR value is not an integer or out of range"),
        ],
    },
    Case {
        name: "SHUTDOWN that is refused",
        steps: &[
            ("SHUTDOWN foo", "!ERR syntax error"),
            ("SHUTDOWN SAVE NOSAVE", "!ERR syntax error"),
            ("SHUTDOWN ABORT NOW", "!ERR syntax error"),
            ("SHUTDOWN ABORT", "!ERR No shutdown in progress."),
        ],
    },
    Case {
        name: "FAILOVER that is refused",
        steps: &[
            ("FAILOVER", "!ERR FAILOVER requires connected replicas."),
            ("FAILOVER ABORT", "!ERR No failover in progress."),
            ("FAILOVER ABORT FORCE", "!ERR syntax error"),
            ("FAILOVER TO h 1 TIMEOUT 0", "!ERR FAILOVER timeout must be greater than 0"),
        ],
    },
    Case {
        name: "SLOWLOG",
        steps: &[
            ("CONFIG SET slowlog-log-slower-than 0", "OK"),
            ("SLOWLOG RESET", "OK"),
            ("b> CLIENT SETNAME me", "OK"),
            ("b> SET k v", "OK"),
            ("SLOWLOG GET 1", r#"[[<int> <int> <int> ["SET" "k" "v"] <bulk> "me"]]"#),
            ("SLOWLOG LEN", "4..5"),
            ("CONFIG SET slowlog-log-slower-than -1", "OK"),
            ("SLOWLOG GET -1", "<array>"),
            ("SLOWLOG GET", "<array>"),
            ("SLOWLOG RESET", "OK"),
            ("SLOWLOG LEN", "0"),
            ("SLOWLOG GET", "[]"),
            ("SLOWLOG GET -2", "!ERR count should be greater than or equal to -1"),
            ("SLOWLOG GET abc", "!ERR count should be greater than or equal to -1"),
            (
                "SLOWLOG GET 1 2",
                "!ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
            ),
            ("CONFIG SET slowlog-log-slower-than 10000", "OK"),
        ],
    },
    Case {
        name: "SLOWLOG shortens long commands",
        steps: &[
            ("CONFIG SET slowlog-log-slower-than 0", "OK"),
            ("SLOWLOG RESET", "OK"),
            (
                "DEL 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34",
                "0",
            ),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["DEL" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11" "12" "13" "14" "15" "16" "17"
                "18" "19" "20" "21" "22" "23" "24" "25" "26" "27" "28" "29" "30" "... (4 more arguments)"] <bulk> ""]]"#,
            ),
            ("CONFIG SET slowlog-log-slower-than 10000", "OK"),
            ("SLOWLOG RESET", "OK"),
        ],
    },
    Case {
        name: "SLOWLOG hides passwords",
        steps: &[
            ("CONFIG SET slowlog-log-slower-than 0", "OK"),
            ("CONFIG SET timeout 0 RequirePass x masteruser y hz 10 masterauth z", "OK"),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["CONFIG" "SET" "timeout" "0" "RequirePass" "(redacted)" "masteruser" "(redacted)" "hz" "10"
                "masterauth" "(redacted)"] <bulk> ""]]"#,
            ),
            ("CONFIG SET nosuch x masterauth y", "!ERR Unknown option *"),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["CONFIG" "SET" "nosuch" "x" "masterauth" "(redacted)"] <bulk> ""]]"#,
            ),
            ("AUTH wrong", "!WRONGPASS *"),
            ("SLOWLOG GET 1", r#"[[<int> <int> <int> ["AUTH" "(redacted)"] <bulk> ""]]"#),
            ("AUTH default x", "OK"),
            ("SLOWLOG GET 1", r#"[[<int> <int> <int> ["AUTH" "(redacted)" "(redacted)"] <bulk> ""]]"#),
            ("HELLO 3 SETNAME auth AUTH default x SETNAME y", "<map>"),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["HELLO" "3" "SETNAME" "auth" "AUTH" "(redacted)" "(redacted)" "SETNAME" "y"] <bulk> "y"]]"#,
            ),
            ("HELLO 3 AUTH default", "!ERR Syntax error in HELLO option 'AUTH'"),
            ("SLOWLOG GET 1", r#"[[<int> <int> <int> ["HELLO" "3" "AUTH" "default"] <bulk> "y"]]"#),
            ("MULTI", "OK"),
            (r#"CONFIG SET requirepass """#, "QUEUED"),
            ("EXEC", "[OK]"),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["CONFIG" "SET" "requirepass" "(redacted)"] <bulk> "y"]]"#,
            ),
            (r#"CONFIG SET slowlog-log-slower-than 10000 masteruser "" masterauth """#, "OK"),
            ("SLOWLOG RESET", "OK"),
        ],
    },
    Case {
        name: "torc: SLOWLOG hides passwords that Redis shows",
        steps: &[
            ("CONFIG SET slowlog-log-slower-than 0", "OK"),
            ("AUTH default x y", "!ERR syntax error"),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["AUTH" "(redacted)" "(redacted)" "(redacted)"] <bulk> ""]]"#,
            ),
            ("HELLO 5 AUTH default x", "!NOPROTO *"),
            (
                "SLOWLOG GET 1",
                r#"[[<int> <int> <int> ["HELLO" "5" "AUTH" "(redacted)" "(redacted)"] <bulk> ""]]"#,
            ),
            ("CONFIG SET slowlog-log-slower-than 10000", "OK"),
            ("SLOWLOG RESET", "OK"),
        ],
    },
    Case {
        name: "LATENCY without events",
        steps: &[
            ("LATENCY RESET", "*"),
            ("LATENCY LATEST", "[]"),
            ("LATENCY HISTORY command", "[]"),
            ("LATENCY GRAPH command", "!ERR No samples available for event 'command'"),
            ("LATENCY RESET nosuch", "0"),
            ("LATENCY DOCTOR", "<verbatim>"),
            ("LATENCY HISTORY", "!ERR wrong number of arguments for 'latency|history' command"),
        ],
    },
    Case {
        name: "torc: what DOCTOR says",
        steps: &[
            ("MEMORY DOCTOR", r#"has"too little to say whether memory is well used""#),
            ("LATENCY RESET", "*"),
            ("LATENCY DOCTOR", r#"has"latency-monitor-threshold is 0""#),
            ("CONFIG SET latency-monitor-threshold 10", "OK"),
            ("LATENCY DOCTOR", r#"has"Nothing took 10 ms ""#),
            ("DEBUG SLEEP 0.03", "OK"),
            ("LATENCY DOCTOR", r#"has"What took long:""#),
            ("CONFIG SET latency-monitor-threshold 0", "OK"),
            ("LATENCY RESET", "*"),
        ],
    },
    Case {
        name: "LATENCY with an event",
        steps: &[
            ("LATENCY RESET", "*"),
            ("CONFIG SET latency-monitor-threshold 10", "OK"),
            ("DEBUG SLEEP 0.03", "OK"),
            ("CONFIG SET latency-monitor-threshold 0", "OK"),
            ("LATENCY LATEST", r#"[["command" <int> 30..10000 30..10000] ...]"#),
            ("LATENCY HISTORY command", "[[<int> 30..10000] ...]"),
            ("LATENCY GRAPH command", r#"has"command - high ""#),
            ("LATENCY DOCTOR", "<verbatim>"),
            ("LATENCY RESET command", "1"),
            ("LATENCY HISTORY command", "[]"),
            ("LATENCY RESET", "*"),
        ],
    },
    Case {
        name: "LATENCY HISTOGRAM",
        steps: &[
            ("CONFIG RESETSTAT", "OK"),
            ("SET k v", "OK"),
            ("SET k w", "OK"),
            ("LATENCY HISTOGRAM set nosuch", r#"{"set" {"calls" 2 "histogram_usec" <map>}}"#),
            ("LATENCY HISTOGRAM config", r#"{"config|resetstat" {"calls" 1 "histogram_usec" <map>}}"#),
            (
                "LATENCY HISTOGRAM config|resetstat",
                r#"{"config|resetstat" {"calls" 1 "histogram_usec" <map>}}"#,
            ),
            ("LATENCY HISTOGRAM nosuch", "{}"),
            ("LATENCY HISTOGRAM", r#"{"set" <map> ...}"#),
        ],
    },
    Case {
        name: "MONITOR",
        steps: &[
            ("b> MONITOR", "OK"),
            (r#"SET "k\n" "a\"b\\\x01""#, "OK"),
            ("b> ", "<simple>"),
            ("CONFIG GET port", "*"),
            ("GET missing", "nil"),
            ("b> ", "<simple>"),
            ("MONITOR x", "!ERR wrong number of arguments for 'monitor' command"),
        ],
    },
    Case {
        name: "MONITOR keeps a client from the keys",
        steps: &[
            ("SET k 1", "OK"),
            ("b> MONITOR", "OK"),
            ("b> GET k", "!ERR Replica can't interact with the keyspace"),
            ("b> SET k 2", "!ERR Replica can't interact with the keyspace"),
            ("b> DBSIZE", "!ERR Replica can't interact with the keyspace"),
            ("b> OBJECT ENCODING k", "!ERR Replica can't interact with the keyspace"),
            ("b> GET", "!ERR wrong number of arguments for 'get' command"),
            ("b> MULTI", "OK ;; <simple>"),
            ("b> PING", "QUEUED"),
            ("b> GET k", "!ERR Replica can't interact with the keyspace"),
            ("b> EXEC", "!EXECABORT Transaction discarded because of previous errors. ;; <simple>"),
            ("b> WATCH k", "OK ;; <simple>"),
            ("b> PING", "PONG ;; <simple>"),
            // The second gets no reply.
            ("b> MONITOR", ""),
            ("b> RESET", "RESET"),
            ("b> GET k", r#""1""#),
        ],
    },
    Case {
        name: "MONITOR in a transaction",
        steps: &[
            ("SET k 1", "OK"),
            ("MULTI", "OK"),
            ("MONITOR", "QUEUED"),
            ("GET k", "QUEUED"),
            ("EXEC", r#"[!"ERR MONITOR isn't allowed for DENY BLOCKING client" "1"]"#),
            ("GET k", r#""1""#),
        ],
    },
    Case {
        name: "DEBUG PROTOCOL",
        steps: &[
            ("DEBUG PROTOCOL string", r#""Hello World""#),
            ("DEBUG PROTOCOL integer", "12345"),
            ("DEBUG PROTOCOL double", ",3.141"),
            ("DEBUG PROTOCOL bignum", "(1234567999999999999999999999999999999"),
            ("DEBUG PROTOCOL null", "nil"),
            ("DEBUG PROTOCOL array", "[0 1 2]"),
            ("DEBUG PROTOCOL set", "set[0 1 2]"),
            ("DEBUG PROTOCOL map", "{0 #f 1 #t 2 #f}"),
            ("DEBUG PROTOCOL verbatim", r#"="This is a verbatim\nstring""#),
            ("DEBUG PROTOCOL true", "#t"),
            ("DEBUG PROTOCOL false", "#f"),
            ("DEBUG PROTOCOL foo", "!ERR Wrong protocol type name. Please use one of the following: *"),
            (
                "DEBUG PROTOCOL",
                "!ERR unknown subcommand or wrong number of arguments for 'PROTOCOL'. Try DEBUG HELP.",
            ),
        ],
    },
    Case {
        name: "DEBUG switches",
        steps: &[
            ("DEBUG SLEEP 0", "OK"),
            (
                "DEBUG SLEEP",
                "!ERR unknown subcommand or wrong number of arguments for 'SLEEP'. Try DEBUG HELP.",
            ),
            (
                "DEBUG nosuch",
                "!ERR unknown subcommand or wrong number of arguments for 'nosuch'. Try DEBUG HELP.",
            ),
            (
                "DEBUG JMAP",
                "!ERR unknown subcommand or wrong number of arguments for 'JMAP'. Try DEBUG HELP.",
            ),
            (
                "DEBUG STRINGMATCH-LEN a*c abc",
                "!ERR unknown subcommand or wrong number of arguments for 'STRINGMATCH-LEN'. Try DEBUG HELP.",
            ),
            ("DEBUG DICT-RESIZING 1", "OK"),
            ("DEBUG", "!ERR wrong number of arguments for 'debug' command"),
            ("DEBUG STRINGMATCH-TEST", r#"+"Apparently Redis did not crash: test passed""#),
            ("DEBUG QUICKLIST-PACKED-THRESHOLD 200b", "OK"),
            ("DEBUG QUICKLIST-PACKED-THRESHOLD 0", "OK"),
            (
                "DEBUG QUICKLIST-PACKED-THRESHOLD 5gb",
                "!ERR argument must be a memory value bigger than 1 and smaller than 4gb",
            ),
            ("DEBUG REPLYBUFFER RESIZING 1", "OK"),
            ("DEBUG REPLYBUFFER PEAK-RESET-TIME NEVER", "OK"),
            ("DEBUG REPLYBUFFER PEAK-RESET-TIME abc", "!ERR value is not an integer or out of range"),
            ("DEBUG REPLYBUFFER PEAK-RESET-TIME RESET", "OK"),
            (
                "DEBUG REPLYBUFFER foo 1",
                "!ERR unknown subcommand or wrong number of arguments for 'REPLYBUFFER'. Try DEBUG HELP.",
            ),
            ("DEBUG LOG hello", "OK"),
            (r#"DEBUG ERROR "MY error""#, "!MY error"),
            ("DEBUG STRUCTSIZE", "<bulk>"),
            ("DEBUG RELOAD foo", "!ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."),
        ],
    },
    Case {
        name: "DEBUG SET-ACTIVE-EXPIRE",
        steps: &[
            ("DEBUG SET-ACTIVE-EXPIRE 0", "OK"),
            ("SET k v PX 1", "OK"),
            ("until EXISTS k", "0"),
            ("DEBUG SET-ACTIVE-EXPIRE 1", "OK"),
            ("until DBSIZE", "0"),
        ],
    },
    Case {
        name: "DEBUG CHANGE-REPL-ID",
        steps: &[
            ("DEBUG CHANGE-REPL-ID", "OK"),
            ("INFO replication", r#"has"master_replid2:0000000000000000000000000000000000000000\r\n""#),
        ],
    },
    Case {
        name: "DEBUG OBJECT and its like",
        steps: &[
            ("DEBUG OBJECT missing", "!ERR no such key"),
            (
                "DEBUG OBJECT",
                "!ERR unknown subcommand or wrong number of arguments for 'OBJECT'. Try DEBUG HELP.",
            ),
            ("SET k v", "OK"),
            ("DEBUG OBJECT k", "<simple>"),
            ("DEBUG LISTPACK k", "!ERR Not a listpack encoded object."),
            ("DEBUG LISTPACK missing", "!ERR no such key"),
            ("DEBUG SDSLEN k", "<simple>"),
            ("DEBUG SDSLEN missing", "!ERR no such key"),
            ("DEBUG HTSTATS 0", "<verbatim>"),
            ("DEBUG HTSTATS 9999", "!ERR Out of range database"),
            ("DEBUG HTSTATS abc", "!ERR value is not an integer or out of range"),
        ],
    },
    Case {
        name: "DEBUG DIGEST",
        steps: &[
            ("DEBUG DIGEST", r#"+"0000000000000000000000000000000000000000""#),
            ("SET k v", "OK"),
            ("DEBUG DIGEST", r#"+"264ccf65edec66bccfa7cc659414ccca432057d2""#),
            ("EXPIRE k 100", "1"),
            ("DEBUG DIGEST", r#"+"bf83f210388eea94f06fb90d517490e16a08d7dd""#),
            ("SET i 12345", "OK"),
            ("DEBUG DIGEST", r#"+"0db459e6b4c3cf5f075d357928cb9c5908c7eac2""#),
            (
                "DEBUG DIGEST-VALUE k i missing",
                r#"[+"311b17018163335616e089f6b951c82c477335ac" +"e1cf90774e995ae03de66e8109dc5cb9d9c2dc83"
                +"0000000000000000000000000000000000000000"]"#,
            ),
            ("SELECT 3", "OK"),
            ("SET z z", "OK"),
            ("DEBUG DIGEST", r#"+"d7b19923279fccb1103206863b16eea7e2a4973e""#),
            ("DEBUG DIGEST-VALUE", "[]"),
        ],
    },
    Case {
        name: "DEBUG POPULATE",
        steps: &[
            ("SET key:1 old", "OK"),
            ("DEBUG POPULATE 3", "OK"),
            ("MGET key:0 key:1 key:2 key:3", r#"["value:0" "old" "value:2" nil]"#),
            ("DEBUG POPULATE 1 p 10", "OK"),
            ("GET p:0", r#""value:0\x00\x00\x00""#),
            ("DEBUG POPULATE 1 q 3", "OK"),
            ("GET q:0", r#""val""#),
            ("DEBUG POPULATE -1", "!ERR value is out of range, must be positive"),
            ("DEBUG POPULATE abc", "!ERR value is out of range, must be positive"),
            ("DBSIZE", "5"),
        ],
    },
    Case {
        name: "DEBUG LOADAOF without a file",
        steps: &[
            ("SET a b", "OK"),
            ("DEBUG LOADAOF", "!ERR Error trying to load the AOF files, check server logs."),
            ("DBSIZE", "0"),
        ],
    },
    Case {
        name: "CONFIG SET is in force for what comes behind it in a pipeline",
        steps: &[(
            r#"raw "CONFIG SET list-max-listpack-size 1\r\nRPUSH l a b\r\nOBJECT ENCODING l\r\nCONFIG SET list-max-listpack-size -2\r\nRPUSH m a b\r\nOBJECT ENCODING m\r\n""#,
            r#"OK ;; 2 ;; "quicklist" ;; OK ;; 2 ;; "listpack""#,
        )],
    },
];

/// The names of the fields of a default INFO.
fn info_fields(client: &mut Client) -> BTreeSet<String> {
    let text = client.ask("INFO").string();
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
}

#[test]
fn info_has_every_field_of_redis() {
    let oracle = Server::redis(&[]);
    let expected = info_fields(&mut oracle.client());
    let given = info_fields(&mut Server::start(&[]).client());
    assert!(expected.len() > 150, "the oracle says much: {}", expected.len());
    // Modules are listed by name, and Torc has none.
    let missing: Vec<_> = expected.difference(&given).filter(|field| *field != "module").collect();
    assert!(missing.is_empty(), "missing in INFO: {missing:?}");
}

#[test]
fn debug_is_refused_unless_allowed() {
    let refused = "ERR DEBUG command not allowed.";
    for (args, allowed) in [
        (&[][..], false),
        (&["--enable-debug-command", "no"], false),
        (&["--enable-debug-command", "local"], true),
        (&["--enable-debug-command", "yes"], true),
    ] {
        let reply = Server::start(args).client().ask("DEBUG SLEEP 0").string();
        assert_eq!(!reply.starts_with(refused), allowed, "{args:?}: {reply}");
    }
}

#[test]
fn shutdown_ends_the_server_without_a_reply() {
    for words in ["SHUTDOWN", "SHUTDOWN NOSAVE NOW FORCE", "SHUTDOWN SAVE FORCE"] {
        let mut server = Server::start(&["--workers", "2"]);
        let (mut asking, mut idle) = (server.client(), server.client());
        let parts: Vec<&str> = words.split(' ').collect();
        asking.send(&parts).expect("the server is there");
        assert_eq!(asking.read_to_end().0, b"", "{words}: a reply");
        assert_eq!(idle.read_to_end().0, b"");
        assert!(server.await_exit().success(), "{words}: {}", server.log());
        assert!(server.log().contains("ready to exit, bye bye"), "{}", server.log());
    }
}

#[test]
fn config_rewrite_keeps_comments_and_adds_what_changed() {
    let dir = crate::harness::TempDir::new();
    let path = dir.path().join("torc.conf");
    std::fs::write(&path, "# mine\ntimeout 10\n").expect("the directory can be written");
    let socket = dir.path().join("s");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_torc"))
        .args([
            path.as_os_str(),
            "--port".as_ref(),
            "0".as_ref(),
            "--unixsocket".as_ref(),
            socket.as_os_str(),
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary was built");
    let mut client = None;
    crate::harness::until(|| {
        client = Client::unix(&socket).ok();
        client.is_some()
    });
    let mut client = client.expect("the server starts");
    assert_eq!(client.ask("CONFIG SET timeout 20 slowlog-max-len 7").string(), "OK");
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let text = std::fs::read_to_string(&path).expect("the file is there");
    assert!(text.starts_with("# mine\ntimeout 20\n"), "{text}");
    assert!(text.contains("\nslowlog-max-len 7\n"), "{text}");
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("the server is there");
    assert!(child.wait().expect("it is a child").success());
}
