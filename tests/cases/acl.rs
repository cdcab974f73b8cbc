//! ACL, and users.

use super::Case;

/// The cases of ACL.
pub const CASES: &[Case] = &[
    Case {
        name: "acl users and their rules",
        steps: &[
            ("ACL WHOAMI", r#""default""#),
            ("ACL USERS", r#"["default"]"#),
            ("ACL LIST", r#"["user default on nopass sanitize-payload ~* &* +@all"]"#),
            (
                "ACL GETUSER default",
                r#"{"flags" set["on" "nopass" "sanitize-payload"] "passwords" [] "commands" "+@all" "keys" "~*"
                    "channels" "&*" "selectors" []}"#,
            ),
            ("ACL GETUSER nobody", "nil"),
            ("ACL SETUSER alice", "OK"),
            ("ACL LIST", r#"["user alice off sanitize-payload resetchannels -@all" ...]"#),
            (
                "ACL SETUSER alice on >secret ~app:* %R~r* %W~w &news:* +@read -keys +config|get '(+set ~s*)'",
                "OK",
            ),
            (
                "ACL GETUSER alice",
                r#"{"flags" set["on" "sanitize-payload"]
                    "passwords" ["2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"]
                    "commands" "-@all +@read -keys +config|get" "keys" "~app:* %R~r* %W~w" "channels" "&news:*"
                    "selectors" [{"commands" "-@all +set" "keys" "~s*" "channels" ""}]}"#,
            ),
            (
                "ACL LIST",
                r#"["user alice on sanitize-payload #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~app:* %R~r* %W~w resetchannels &news:* -@all +@read -keys +config|get (~s* resetchannels -@all +set)" ...]"#,
            ),
            ("ACL SETUSER alice reset", "OK"),
            ("ACL LIST", r#"["user alice off sanitize-payload resetchannels -@all" ...]"#),
            ("ACL DELUSER alice nobody alice", "1"),
            ("ACL DELUSER default", "!ERR The 'default' user cannot be removed"),
            ("ACL USERS", r#"["default"]"#),
            (r#"ACL SETUSER "a b" on"#, "!ERR Usernames can't contain spaces or null characters"),
        ],
    },
    Case {
        name: "acl rules that are refused change nothing",
        steps: &[
            (
                "ACL SETUSER bob on +@nosuch",
                "!ERR Error in ACL SETUSER modifier '+@nosuch': Unknown command or category name in ACL",
            ),
            ("ACL GETUSER bob", "nil"),
            ("ACL SETUSER bob on ~a", "OK"),
            ("ACL SETUSER bob off foo", "!ERR Error in ACL SETUSER modifier 'foo': Syntax error"),
            ("ACL SETUSER bob (+get ~x", "!ERR Unmatched parenthesis in acl selector starting at '(+get'."),
            (
                "ACL SETUSER bob resetkeys ~* ~b",
                "!ERR Error in ACL SETUSER modifier '~b': Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns",
            ),
            (
                "ACL SETUSER bob allchannels &b",
                "!ERR Error in ACL SETUSER modifier '&b': Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels",
            ),
            (
                "ACL SETUSER bob <x",
                "!ERR Error in ACL SETUSER modifier '<x': The password you are trying to remove from the user does not exist",
            ),
            (
                "ACL SETUSER bob #ab",
                "!ERR Error in ACL SETUSER modifier '#ab': The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
            ),
            (
                "ACL SETUSER bob +config|get|x",
                "!ERR Error in ACL SETUSER modifier '+config|get|x': Allowing first-arg of a subcommand is not supported",
            ),
            ("ACL LIST", r#"["user bob on sanitize-payload ~a resetchannels -@all" ...]"#),
            ("ACL DELUSER bob", "1"),
        ],
    },
    Case {
        name: "acl what a user may do",
        steps: &[
            ("ACL SETUSER carl on nopass +get +set +select|0 +mget ~k* %R~r* +publish +subscribe &c*", "OK"),
            ("b> AUTH carl any", "OK"),
            ("b> ACL WHOAMI", "!NOPERM User carl has no permissions to run the 'acl|whoami' command"),
            ("b> SET k1 v", "OK"),
            ("b> GET r1", "nil"),
            ("b> SET r1 v", "!NOPERM No permissions to access a key"),
            ("b> MGET k1 x", "!NOPERM No permissions to access a key"),
            ("b> SELECT 0", "OK"),
            ("b> SELECT 1", "!NOPERM User carl has no permissions to run the 'select' command"),
            ("b> PUBLISH d x", "!NOPERM No permissions to access a channel"),
            ("b> PUBLISH c x", "0"),
            ("b> CONFIG GET x", "!NOPERM User carl has no permissions to run the 'config|get' command"),
            ("b> nosuch", r#"!"ERR unknown command 'nosuch', with args beginning with: ""#),
            ("ACL SETUSER carl (+sort ~l*) (+client|info)", "OK"),
            ("b> CLIENT INFO", r#"has" user=carl ""#),
            ("b> SORT l1 BY w*", "!ERR BY option of SORT denied due to insufficient ACL permissions."),
            ("b> SORT l1 GET #", "!ERR GET option of SORT denied due to insufficient ACL permissions."),
            ("b> SORT l1 BY w", "[]"),
            ("b> SORT l1 STORE l2", "0"),
            ("b> SORT l1 STORE k2", "!NOPERM No permissions to access a key"),
            ("CLIENT KILL USER carl", "1"),
            ("ACL DELUSER carl", "1"),
        ],
    },
    Case {
        name: "acl dryrun",
        steps: &[
            ("ACL SETUSER dora +get +config|get +publish ~k* &c*", "OK"),
            ("ACL DRYRUN dora GET k1", "OK"),
            ("ACL DRYRUN dora get x", r#""User dora has no permissions to access the 'x' key""#),
            ("ACL DRYRUN dora set k1 v", r#""User dora has no permissions to run the 'set' command""#),
            ("ACL DRYRUN dora publish x y", r#""User dora has no permissions to access the 'x' channel""#),
            ("ACL DRYRUN dora config get x", "OK"),
            ("ACL DRYRUN dora config", "!ERR wrong number of arguments for 'config' command"),
            ("ACL DRYRUN dora config nosuch", "!ERR Command 'config' not found"),
            ("ACL DRYRUN dora nosuch", "!ERR Command 'nosuch' not found"),
            ("ACL DRYRUN nobody get k", "!ERR User 'nobody' not found"),
            ("ACL DELUSER dora", "1"),
        ],
    },
    Case {
        name: "acl and transactions",
        steps: &[
            ("ACL SETUSER emil on nopass ~k* +get +set +multi +exec +ping", "OK"),
            ("b> AUTH emil x", "OK"),
            ("b> MULTI", "OK"),
            ("b> GET k1", "QUEUED"),
            ("b> GET x", "!NOPERM No permissions to access a key"),
            ("b> EXEC", "!EXECABORT Transaction discarded because of previous errors."),
            ("b> MULTI", "OK"),
            ("b> SET k1 v", "QUEUED"),
            ("b> GET k2", "QUEUED"),
            ("b> PING", "QUEUED"),
            ("ACL SETUSER emil -set resetkeys ~k1", "OK"),
            (
                "b> EXEC",
                r#"[!"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to execute the command or subcommand"
                    !"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: no permission to touch the specified keys" PONG]"#,
            ),
            ("b> MULTI", "OK"),
            ("ACL SETUSER emil -exec", "OK"),
            (
                "b> EXEC",
                "!EXECABORT Transaction discarded because of: NOPERM User emil has no permissions to run the 'exec' command",
            ),
            ("b> GET k1", "nil"),
            ("CLIENT KILL USER emil", "1"),
            ("ACL DELUSER emil", "1"),
        ],
    },
    Case {
        name: "acl log",
        steps: &[
            ("ACL LOG RESET", "OK"),
            ("ACL SETUSER fred on nopass +get ~k", "OK"),
            ("b> AUTH fred x", "OK"),
            ("b> GET x", "!NOPERM No permissions to access a key"),
            ("b> GET x", "!NOPERM No permissions to access a key"),
            ("b> DEL k", "!NOPERM User fred has no permissions to run the 'del' command"),
            ("c> AUTH nobody pw", "!WRONGPASS invalid username-password pair or user is disabled."),
            (
                "ACL LOG",
                r#"[{"count" 1 "reason" "auth" "context" "toplevel" "object" "AUTH" "username" "nobody" ...}
                    {"count" 1 "reason" "command" "context" "toplevel" "object" "del" "username" "fred" ...}
                    {"count" 2 "reason" "key" "context" "toplevel" "object" "x" "username" "fred" ...}]"#,
            ),
            ("ACL LOG 1", "<array>"),
            ("ACL LOG 0", "[]"),
            ("ACL LOG -1", "[]"),
            ("ACL LOG x", "!ERR value is not an integer or out of range"),
            ("ACL LOG 1 2", "!ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP."),
            ("ACL LOG RESET", "OK"),
            ("ACL LOG", "[]"),
            ("CLIENT KILL USER fred", "1"),
            ("ACL DELUSER fred", "1"),
        ],
    },
    Case {
        name: "acl categories, passwords, files",
        steps: &[
            ("ACL CAT", r#"["keyspace" "read" "write" "set" ...]"#),
            ("ACL CAT Transaction", r#"any["multi" "exec" "watch" "discard" "unwatch"]"#),
            ("ACL CAT nosuch", "!ERR Unknown category 'nosuch'"),
            ("ACL CAT a b", "!ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP."),
            ("ACL GENPASS", "<bulk>"),
            ("ACL GENPASS 5", "<bulk>"),
            (
                "ACL GENPASS 0",
                "!ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
            ),
            ("ACL GENPASS x", "!ERR value is not an integer or out of range"),
            (
                "ACL LOAD",
                "!ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
            ),
            (
                "ACL SAVE",
                "!ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
            ),
            ("ACL HELP", "<array>"),
            ("MODULE LOAD /x", "!ERR MODULE command not allowed. If the enable-module-command option*"),
            ("MODULE LOADEX /x", "!ERR MODULE command not allowed. If the enable-module-command option*"),
            ("MODULE UNLOAD x", "!ERR MODULE command not allowed. If the enable-module-command option*"),
            ("ACL nosuch", "!ERR unknown subcommand 'nosuch'. Try ACL HELP."),
        ],
    },
];
