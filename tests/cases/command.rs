//! COMMAND: what the server says of its commands.

use super::Case;

/// The cases of COMMAND.
pub const CASES: &[Case] = &[
    Case {
        name: "command info",
        steps: &[
            (
                "COMMAND INFO get",
                r#"[["get" 2 set[readonly fast] 1 1 1 set[+"@read" +"@string" +"@fast"] set[]
                    set[{"flags" set[RO access] "begin_search" {"type" "index" "spec" {"index" 1}}
                         "find_keys" {"type" "range" "spec" {"lastkey" 0 "keystep" 1 "limit" 0}}}]
                    set[]]]"#,
            ),
            (
                "COMMAND INFO PING nosuch",
                r#"[["ping" -1 set[fast] 0 0 0 set[+"@fast" +"@connection"]
                    set["request_policy:all_shards" "response_policy:all_succeeded"] set[] set[]] nil]"#,
            ),
            (
                "COMMAND INFO mset",
                r#"[["mset" -3 set[write denyoom] 1 -1 2 set[+"@write" +"@string" +"@slow"] ...]]"#,
            ),
            (
                "COMMAND INFO client|id",
                r#"[["client|id" 2 set[noscript loading stale] 0 0 0 set[+"@slow" +"@connection"] ...]]"#,
            ),
            ("COMMAND INFO client|nosuch", "[nil]"),
            ("COMMAND INFO", "<array>"),
            ("COMMAND", "<array>"),
        ],
    },
    Case {
        name: "command count and list",
        steps: &[
            ("COMMAND COUNT", "<int>"),
            ("COMMAND COUNT x", "!ERR wrong number of arguments for 'command|count' command"),
            ("COMMAND LIST", r#"any["get" "client|id" "command|list" ...]"#),
            ("COMMAND LIST FILTERBY PATTERN ECH?", r#"["echo"]"#),
            ("COMMAND LIST FILTERBY PATTERN c*t|getn*", r#"["client|getname"]"#),
            ("COMMAND LIST FILTERBY ACLCAT Connection", r#"any["ping" "command" "client|id" ...]"#),
            ("COMMAND LIST FILTERBY ACLCAT nosuch", "[]"),
            ("COMMAND LIST FILTERBY ACLCAT @connection", "[]"),
            ("COMMAND LIST FILTERBY MODULE nosuch", "[]"),
            ("COMMAND LIST FILTERBY", "!ERR syntax error"),
            ("COMMAND LIST FILTERBY FOO bar", "!ERR syntax error"),
            ("COMMAND LIST FOO", "!ERR syntax error"),
            ("COMMAND FOO", "!ERR unknown subcommand 'FOO'. Try COMMAND HELP."),
        ],
    },
    Case {
        name: "keys of a command",
        steps: &[
            ("COMMAND GETKEYS get a", r#"["a"]"#),
            ("COMMAND GETKEYS MSET a 1 b 2", r#"["a" "b"]"#),
            ("COMMAND GETKEYS mset a 1 b", r#"["a" "b"]"#),
            ("COMMAND GETKEYS get a b", "!ERR Invalid number of arguments specified for command"),
            ("COMMAND GETKEYS nosuch a", "!ERR Invalid command specified"),
            ("COMMAND GETKEYS client nosuch", "!ERR Invalid command specified"),
            ("COMMAND GETKEYS ping a", "!ERR The command has no key arguments"),
            ("COMMAND GETKEYS client id", "!ERR The command has no key arguments"),
            ("COMMAND GETKEYS", "!ERR wrong number of arguments for 'command|getkeys' command"),
            ("COMMAND GETKEYSANDFLAGS get a", r#"[["a" set[RO access]]]"#),
            ("COMMAND GETKEYSANDFLAGS set a b", r#"[["a" set[OW update]]]"#),
            ("COMMAND GETKEYSANDFLAGS set a b EX 5 get", r#"[["a" set[RW access update]]]"#),
            ("COMMAND GETKEYSANDFLAGS ping a", "!ERR The command has no key arguments"),
            ("COMMAND GETKEYS sort a", r#"["a"]"#),
            ("COMMAND GETKEYS sort a STORE x store b LIMIT 0 1", r#"["a" "b"]"#),
            ("COMMAND GETKEYS sort a limit store x get store by store asc", r#"["a"]"#),
            ("COMMAND GETKEYS sort a store", r#"["a"]"#),
            ("COMMAND GETKEYS sort_ro a BY b store c", r#"["a"]"#),
            ("COMMAND GETKEYSANDFLAGS sort a store b", r#"[["a" set[RO access]] ["b" set[OW update]]]"#),
        ],
    },
    Case {
        name: "keys of a command without arguments",
        steps: &[
            ("COMMAND GETKEYS get", "!ERR Invalid number of arguments specified for command"),
            ("COMMAND GETKEYS ping", "!ERR The command has no key arguments"),
        ],
    },
    Case {
        name: "documentation",
        steps: &[
            (
                "COMMAND DOCS ping",
                r#"{"ping" {"summary" <bulk> "since" "1.0.0" "group" "connection"
                    "complexity" <bulk> "arguments" [{"name" "message" "type" "string" "display_text" "message"
                    "flags" set[optional]}]}}"#,
            ),
            (
                "COMMAND DOCS mset",
                r#"{"mset" {"summary" <bulk> "since" "1.0.1" "group" "string" "complexity" <bulk>
                    "arguments" [{"name" <bulk> "type" "block" "flags" set[multiple]
                    "arguments" [{"name" "key" "type" "key" "display_text" "key" "key_spec_index" 0}
                    {"name" "value" "type" "string" "display_text" "value"}]}]}}"#,
            ),
            (
                "COMMAND DOCS quit",
                r#"{"quit" {"summary" <bulk> "since" "1.0.0" "group" "connection" "complexity" <bulk>
                    "doc_flags" set[deprecated] "deprecated_since" "7.2.0"
                    "replaced_by" "just closing the connection"}}"#,
            ),
        ],
    },
    Case {
        name: "documentation of subcommands",
        steps: &[
            ("COMMAND DOCS nosuch", "{}"),
            (
                "COMMAND DOCS client|id",
                r#"{"client|id" {"summary" <bulk> "since" "5.0.0" "group" "connection" ...}}"#,
            ),
            (
                "COMMAND DOCS select nosuch client|getname",
                r#"{"select" {"summary" ...} "client|getname" {"summary" ...}}"#,
            ),
            ("COMMAND DOCS", "<map>"),
        ],
    },
];
