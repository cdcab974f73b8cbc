//! The family `scripting`: EVAL and its kin, SCRIPT.

use super::Case;

/// The cases of the family.
pub const CASES: &[Case] = &[
    Case {
        name: "values of Lua become replies",
        steps: &[
            (r#"EVAL "return 1" 0"#, "1"),
            (r#"EVAL "return 3.99" 0"#, "3"),
            (r#"EVAL "return -3.99" 0"#, "-3"),
            (r#"EVAL "return 'a'" 0"#, r#""a""#),
            (r#"EVAL "return true" 0"#, "1"),
            (r#"EVAL "return false" 0"#, "nil"),
            (r#"EVAL "return nil" 0"#, "nil"),
            (r#"EVAL "return" 0"#, "nil"),
            (r#"EVAL "" 0"#, "nil"),
            (r#"EVAL "return 1, 2" 0"#, "1"),
            (r#"EVAL "return {1, nil, 3}" 0"#, "[1]"),
            (r#"EVAL "return {1, false, 3}" 0"#, "[1 nil 3]"),
            (r#"EVAL "return {true, {}, 'x', {1, {2}}}" 0"#, r#"[1 [] "x" [1 [2]]]"#),
            (r#"EVAL "return {a = 1, 7}" 0"#, "[7]"),
            (r#"EVAL "return {ok = 'fine'}" 0"#, "fine"),
            (r#"EVAL "return {ok = 'a\\r\\nb'}" 0"#, r#"+"a  b""#),
            (r#"EVAL "return {err = 'BAD thing'}" 0"#, "!BAD thing"),
            (r#"EVAL "return {ok = 1}" 0"#, "[]"),
            (r#"EVAL "return function() end" 0"#, "nil"),
            (
                r#"EVAL "return {1e300, 1/0, 0/0}" 0"#,
                "[-9223372036854775808 -9223372036854775808 -9223372036854775808]",
            ),
            (r#"EVAL "return {KEYS[1], ARGV[1], #KEYS, #ARGV}" 1 a b c"#, r#"["a" "b" 1 2]"#),
            (r#"EVAL "return {double = 3.25}" 0"#, ",3.25"),
            (r#"EVAL "return {map = {a = 1}}" 0"#, r#"{"a" 1}"#),
            (r#"EVAL "return {set = {x = true}}" 0"#, r#"set["x"]"#),
            (
                r#"EVAL "return {big_number = '123456789012345678901234567890'}" 0"#,
                "(123456789012345678901234567890",
            ),
            (r#"EVAL "return {verbatim_string = {format = 'txt', string = 'hi'}}" 0"#, r#"="hi""#),
            (r#"EVAL "local t = {} for i = 1, 5 do t = {t} end return t" 0"#, "[[[[[[]]]]]]"),
        ],
    },
    Case {
        name: "replies become values of Lua",
        steps: &[
            (r#"EVAL "return type(redis.call('SET', 'k', 1).ok)" 0"#, r#""string""#),
            (r#"EVAL "return type(redis.call('GET', 'none'))" 0"#, r#""boolean""#),
            (r#"EVAL "return type(redis.call('BLPOP', 'none', 0))" 0"#, r#""boolean""#),
            (r#"EVAL "return type(redis.call('INCR', 'k'))" 0"#, r#""number""#),
            (r#"EVAL "return redis.call('RPUSH', 'l', 'a', 'b')" 0"#, "2"),
            (r#"EVAL "return redis.call('LRANGE', 'l', 0, -1)[2]" 0"#, r#""b""#),
            (r#"EVAL "return redis.call('SET', 'k', 'v', 'NX')" 0"#, "nil"),
            ("HSET h f v", "1"),
            ("ZADD z 1.5 m", "1"),
            (r#"EVAL "return redis.call('HGETALL', 'h')" 0"#, r#"["f" "v"]"#),
            (r#"EVAL "redis.setresp(3) return redis.call('HGETALL', 'h')" 0"#, r#"{"f" "v"}"#),
            (r#"EVAL "redis.setresp(3) return redis.call('HGETALL', 'h').map.f" 0"#, r#""v""#),
            (r#"EVAL "redis.setresp(3) return redis.call('ZSCORE', 'z', 'm')" 0"#, ",1.5"),
            (
                r#"EVAL "redis.setresp(3) return redis.call('ZRANGE', 'z', 0, -1, 'WITHSCORES')" 0"#,
                r#"[["m" ,1.5]]"#,
            ),
            (r#"EVAL "redis.setresp(3) return type(redis.call('GET', 'none'))" 0"#, r#""nil""#),
            (r#"EVAL "redis.setresp(3) return {true, false}" 0"#, "[#t #f]"),
            (
                r#"EVAL "redis.setresp(4)" 0"#,
                "!ERR RESP version must be 2 or 3. script: 68e72e4d8a428b9f599dce492315f2455a425a82, on @user_script:1.",
            ),
            (r#"EVAL "return redis.call('PING')" 0"#, "PONG"),
            (
                r#"EVAL "return redis.pcall('LPUSH', 'h', 1)" 0"#,
                "!WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
        ],
    },
    Case {
        name: "numbers become arguments in their shortest form",
        steps: &[
            (
                r#"EVAL "redis.call('SET', 'k', 1234567890123456) return redis.call('GET', 'k')" 0"#,
                r#""1234567890123456""#,
            ),
            (r#"EVAL "redis.call('SET', 'k', 1e20) return redis.call('GET', 'k')" 0"#, r#""1e+20""#),
            (
                r#"EVAL "redis.call('SET', 'k', 1/3) return redis.call('GET', 'k')" 0"#,
                r#""0.3333333333333333""#,
            ),
            (r#"EVAL "redis.call('SET', 'k', 3.0) return redis.call('GET', 'k')" 0"#, r#""3""#),
            (r#"EVAL "redis.call('SET', 'k', -0.0) return redis.call('GET', 'k')" 0"#, r#""0""#),
            (r#"EVAL "redis.call('SET', 'k', 0/0) return redis.call('GET', 'k')" 0"#, r#""-nan""#),
            (r#"EVAL "return tostring(1234567890123456)" 0"#, r#""1.2345678901235e+15""#),
            (
                r#"EVAL "return redis.pcall('SET', 'a', true)" 0"#,
                "!ERR Lua redis lib command arguments must be strings or integers",
            ),
        ],
    },
    Case {
        name: "errors say which script, and where",
        steps: &[
            (
                r#"EVAL "error('x')" 0"#,
                "!ERR user_script:1: x script: 9851144f39f03a0d597a980c5aa79c80cb696891, on @user_script:1.",
            ),
            (r#"EVAL "error({err = 'MY error'})" 0"#, "!MY error script: *"),
            (
                r#"EVAL "error()" 0"#,
                "!ERR nil script: aca90d914519fdb9825352bdc0befb59f7c8510f, on @user_script:1.",
            ),
            (
                r#"EVAL "error({})" 0"#,
                "!ERR unknown error script: 367bf7fe449ba40e54d99d9086aa3c2164008136, on @user_script:1.",
            ),
            (
                r#"EVAL "\n\nlocal a a.x = 1" 0"#,
                "!ERR user_script:3: attempt to index local 'a' (a nil value) script: *",
            ),
            (
                r#"EVAL "return = 1" 0"#,
                "!ERR Error compiling script (new function): user_script:1: unexpected symbol near '='",
            ),
            (
                r#"EVAL "return nosuch" 0"#,
                "!ERR user_script:1: Script attempted to access nonexistent global variable 'nosuch' script: *",
            ),
            (
                r#"EVAL "redis.call('nosuch')" 0"#,
                "!ERR Unknown Redis command called from script script: 430a4c08007a56d804d36fb3892501d47c06f338, on @user_script:1.",
            ),
            (
                r#"EVAL "redis.call('get')" 0"#,
                "!ERR Wrong number of args calling Redis command from script script: *",
            ),
            (
                r#"EVAL "redis.call()" 0"#,
                "!ERR Please specify at least one argument for this redis lib call script: *",
            ),
            (
                r#"EVAL "redis.call('eval', 'return 1', 0)" 0"#,
                "!ERR This Redis command is not allowed from script script: *",
            ),
            (
                r#"EVAL "redis.call('multi')" 0"#,
                "!ERR This Redis command is not allowed from script script: *",
            ),
            (
                r#"EVAL "redis.call('set', 's', 1) redis.call('lpush', 's', 1)" 0"#,
                "!WRONGTYPE Operation against a key holding the wrong kind of value script: *",
            ),
            ("GET s", r#""1""#),
            (r#"EVAL "return redis.error_reply('My Err')" 0"#, "!My Err"),
            (r#"EVAL "return redis.error_reply('MyErr')" 0"#, "!ERR MyErr"),
            (r#"EVAL "return redis.error_reply(1)" 0"#, "!ERR wrong number or type of arguments"),
            (r#"EVAL "return redis.status_reply('fine')" 0"#, "fine"),
            (
                r#"EVAL "local ok, e = pcall(redis.call, 'lpush', 's', 1) return e" 0"#,
                r#""WRONGTYPE Operation against a key holding the wrong kind of value""#,
            ),
            (r#"EVAL "local ok, e = pcall(error, 'x') return {ok, e}" 0"#, r#"[nil "x"]"#),
            (
                r#"EVAL "local function f() return 1 + f() end return f()" 0"#,
                "!ERR user_script:1: stack overflow script: *",
            ),
            (r#"EVAL "return 1" x"#, "!ERR value is not an integer or out of range"),
            (r#"EVAL "return 1" 1"#, "!ERR Number of keys can't be greater than number of args"),
            (r#"EVAL "return 1" -1"#, "!ERR Number of keys can't be negative"),
            (r#"EVAL "return 1""#, "!ERR wrong number of arguments for 'eval' command"),
        ],
    },
    Case {
        name: "nothing that scripts share can be changed",
        steps: &[
            (r#"EVAL "x = 1" 0"#, "!ERR user_script:1: Attempt to modify a readonly table script: *"),
            (
                r#"EVAL "redis.call = 1" 0"#,
                "!ERR user_script:1: Attempt to modify a readonly table script: *",
            ),
            (r#"EVAL "string.x = 1" 0"#, "!ERR user_script:1: Attempt to modify a readonly table script: *"),
            (r#"EVAL "KEYS = {}" 0"#, "!ERR user_script:1: Attempt to modify a readonly table script: *"),
            (r#"EVAL "rawset(redis, 'x', 1)" 0"#, "!ERR Attempt to modify a readonly table script: *"),
            (r#"EVAL "table.insert(redis, 1)" 0"#, "!ERR Attempt to modify a readonly table script: *"),
            (r#"EVAL "setmetatable(redis, {})" 0"#, "!ERR Attempt to modify a readonly table script: *"),
            (r#"EVAL "setmetatable(_G, {})" 0"#, "!ERR Attempt to modify a readonly table script: *"),
            (
                r#"EVAL "getmetatable('').__index = 1" 0"#,
                "!ERR user_script:1: Attempt to modify a readonly table script: *",
            ),
            (
                r#"EVAL "getmetatable(_G).__index = 1" 0"#,
                "!ERR user_script:1: Attempt to modify a readonly table script: *",
            ),
            (
                r#"EVAL "return {type(rawget(_G, 'print')), type(rawget(_G, 'dofile')), type(rawget(_G, 'io')), type(rawget(_G, 'require'))}" 0"#,
                r#"["nil" "nil" "nil" "nil"]"#,
            ),
            (
                r#"EVAL "local t = {} for name in pairs(os) do t[#t + 1] = name end return t" 0"#,
                r#"["clock"]"#,
            ),
            (r#"EVAL "return type(loadstring(string.dump(function() end)))" 0"#, r#""nil""#),
            (
                r#"EVAL "local t = {} local done = false return load(function() if not done then done = true return 'return 5' end end)()" 0"#,
                "5",
            ),
            (
                r#"EVAL "return {rawget(redis, 'LOG_WARNING'), next(os) == 'clock', getmetatable(redis) == nil}" 0"#,
                "[3 1 1]",
            ),
            (r#"EVAL "KEYS[1] = 'b' return KEYS[1]" 1 a"#, r#""b""#),
        ],
    },
    Case {
        name: "what the interpreter has beside Lua",
        steps: &[
            (
                r#"EVAL "return {redis.sha1hex(''), redis.REDIS_VERSION, redis.REDIS_VERSION_NUM}" 0"#,
                r#"["da39a3ee5e6b4b0d3255bfef95601890afd80709" "8.2.3" 524803]"#,
            ),
            (r#"EVAL "return redis.sha1hex()" 0"#, "!ERR wrong number of arguments script: *"),
            (
                r#"EVAL "return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING}" 0"#,
                "[0 1 2 3]",
            ),
            (
                r#"EVAL "return {redis.REPL_NONE, redis.REPL_AOF, redis.REPL_SLAVE, redis.REPL_REPLICA, redis.REPL_ALL}" 0"#,
                "[0 1 2 2 3]",
            ),
            (r#"EVAL "redis.log(redis.LOG_NOTICE, 'a line', 1)" 0"#, "nil"),
            (
                r#"EVAL "redis.log('x', 'y')" 0"#,
                "!ERR First argument must be a number (log level). script: *",
            ),
            (r#"EVAL "redis.log(10, 'y')" 0"#, "!ERR Invalid log level. script: *"),
            (
                r#"EVAL "redis.set_repl(9)" 0"#,
                "!ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE. script: *",
            ),
            (r#"EVAL "return redis.replicate_commands()" 0"#, "1"),
            (r#"EVAL "return {redis.breakpoint(), redis.debug('x')}" 0"#, "[nil]"),
            (r#"EVAL "return {redis.acl_check_cmd('set', 'a', 'b'), 5}" 0"#, "[1 5]"),
            (
                r#"EVAL "return redis.acl_check_cmd('nosuch')" 0"#,
                "!ERR Invalid command passed to redis.acl_check_cmd() script: *",
            ),
            (
                r#"EVAL "return math.random(1, 2, 3)" 0"#,
                "!ERR user_script:1: wrong number of arguments script: *",
            ),
            (
                r#"EVAL "return math.random(0)" 0"#,
                "!ERR user_script:1: bad argument #1 to 'random' (interval is empty) script: *",
            ),
            (
                r#"EVAL "math.randomseed(10) return {tostring(math.random()), math.random(10), math.random(5, 8)}" 0"#,
                r#"["0.87885112309775" 8 6]"#,
            ),
            (r#"EVAL "return {unpack({1, 2, 3}, 2)}" 0"#, "[2 3]"),
            (
                r#"EVAL "return {unpack({}, 1, 9000)}" 0"#,
                "!ERR user_script:1: too many results to unpack script: *",
            ),
            (r#"EVAL "local t = {1, 3} table.insert(t, 2, 2) table.insert(t, 4) return t" 0"#, "[1 2 3 4]"),
            (
                r#"EVAL "return {string.rep('ab', 3), #string.rep('', 100000000), string.rep('x', -1)}" 0"#,
                r#"["ababab" 0 ""]"#,
            ),
        ],
    },
    Case {
        name: "cjson writes and reads",
        steps: &[
            (
                r#"EVAL "return cjson.encode({1, 'a', true, cjson.null, {}})" 0"#,
                r#""[1,\"a\",true,null,{}]""#,
            ),
            (
                r#"EVAL "return cjson.encode({[1] = 1, [10] = 2})" 0"#,
                r#""[1,null,null,null,null,null,null,null,null,2]""#,
            ),
            (
                r#"EVAL "return cjson.encode({[1] = 1, [100] = 2})" 0"#,
                "!ERR user_script:1: Cannot serialise table: excessively sparse array script: *",
            ),
            (
                r#"EVAL "return cjson.encode(0/0)" 0"#,
                "!ERR user_script:1: Cannot serialise number: must not be NaN or Inf script: *",
            ),
            (r#"EVAL "return cjson.encode(1e15)" 0"#, r#""1e+15""#),
            (r#"EVAL "return cjson.encode('a/b')" 0"#, r#""\"a\\/b\"""#),
            (
                r#"EVAL "local t = {} t[1] = t return cjson.encode(t)" 0"#,
                "!ERR user_script:1: Cannot serialise, excessive nesting (1001) script: *",
            ),
            (r#"EVAL "return cjson.decode(ARGV[1])" 0 '[1,"x",[2.5e1],{}]'"#, r#"[1 "x" [25] []]"#),
            (
                r#"EVAL "return cjson.decode(ARGV[1])" 0 '"\u00e9\ud83d\ude00"'"#,
                r#""\xc3\xa9\xf0\x9f\x98\x80""#,
            ),
            (
                r#"EVAL "return cjson.decode(ARGV[1])" 0 '[1 2]'"#,
                "!ERR user_script:1: Expected comma or array end but found T_NUMBER at character 4 script: *",
            ),
            (
                r#"EVAL "return cjson.decode(ARGV[1])" 0 ''"#,
                "!ERR user_script:1: Expected value but found T_END at character 1 script: *",
            ),
            (
                r#"EVAL "return cjson.decode(string.rep('[', 1001))" 0"#,
                "!ERR user_script:1: Found too many nested data structures (1001) at character 1001 script: *",
            ),
            (
                r#"EVAL "return cjson.encode_number_precision(15)" 0"#,
                "!ERR user_script:1: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14) script: *",
            ),
        ],
    },
    Case {
        name: "cmsgpack, struct and bit",
        steps: &[
            (
                r#"EVAL "return cmsgpack.pack({1, 2, 3}, 'abc', 1.5, nil, true, {a = 1})" 0"#,
                r#""\x93\x01\x02\x03\xa3abc\xca\x3f\xc0\x00\x00\xc0\xc3\x81\xa1a\x01""#,
            ),
            (r#"EVAL "return {cmsgpack.unpack(ARGV[1])}" 0 "\x93\x01\x02\x03\x05""#, "[[1 2 3] 5]"),
            (
                r#"EVAL "return cmsgpack.unpack(ARGV[1])" 0 "\xc1""#,
                "!ERR user_script:1: Bad data format in input. script: *",
            ),
            (r#"EVAL "return {cmsgpack.unpack_one(ARGV[1], 1)}" 0 "\x01\x02\x03""#, "[2 2]"),
            (r#"EVAL "return {cmsgpack.unpack_limit(ARGV[1], 2, 1)}" 0 "\x01\x02\x03""#, "[-1 2 3]"),
            (r#"EVAL "return struct.pack('>bHs', -1, 2, 'x')" 0"#, r#""\xff\x00\x02x\x00""#),
            (r#"EVAL "return {struct.unpack('Bc0', ARGV[1])}" 0 "\x02abc""#, r#"["ab" 4]"#),
            (r#"EVAL "return struct.size('!8bd')" 0"#, "16"),
            (
                r#"EVAL "return {bit.tobit(4294967295), bit.tohex(-1, -4), bit.band(7, 12, 5), bit.arshift(-8, 1), bit.bswap(1)}" 0"#,
                r#"[-1 "FFFF" 4 -4 16777216]"#,
            ),
            (
                r#"EVAL "return bit.band()" 0"#,
                "!ERR user_script:1: bad argument #1 to 'band' (number expected, got no value) script: *",
            ),
        ],
    },
    Case {
        name: "scripts are known by their SHA1",
        steps: &[
            ("SCRIPT FLUSH", "OK"),
            (
                "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
                "!NOSCRIPT No matching script. Please use EVAL.",
            ),
            (r#"EVAL "return 1" 0"#, "1"),
            ("EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", "1"),
            ("EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0", "1"),
            ("EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0", "1"),
            ("EVALSHA zz x", "!NOSCRIPT No matching script. Please use EVAL."),
            (r#"SCRIPT LOAD "return 2""#, r#""7f923f79fe76194c868d7e1d0820de36700eb649""#),
            (
                r#"SCRIPT LOAD "return = 2""#,
                "!ERR Error compiling script (new function): user_script:1: unexpected symbol near '='",
            ),
            (
                "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db 7F923F79FE76194C868D7E1D0820DE36700EB649 zz",
                "[1 1 0]",
            ),
            ("SCRIPT FLUSH x", "!ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
            ("SCRIPT FLUSH ASYNC", "OK"),
            ("SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "[0]"),
            ("SCRIPT FLUSH SYNC", "OK"),
            ("SCRIPT KILL", "!NOTBUSY No scripts in execution right now."),
            ("SCRIPT DEBUG NO", "OK"),
            ("SCRIPT DEBUG x", "!ERR Use SCRIPT DEBUG YES/SYNC/NO"),
            ("SCRIPT HELP", "<array>"),
            ("SCRIPT NOSUCH", "!ERR unknown subcommand 'NOSUCH'. Try SCRIPT HELP."),
        ],
    },
    Case {
        name: "torc: there is no script debugger",
        steps: &[
            ("SCRIPT DEBUG YES", "!ERR there is no script debugger here"),
            ("SCRIPT DEBUG SYNC", "!ERR there is no script debugger here"),
        ],
    },
    Case {
        name: "the first line says what a script does",
        steps: &[
            (r##"EVAL "#!lua\nreturn 1" 0"##, "1"),
            (
                r##"EVAL "#!lua flags=no-writes\nreturn redis.call('set', 'a', 1)" 0"##,
                "!ERR Write commands are not allowed from read-only scripts. script: *",
            ),
            (
                r##"EVAL "#!lua flags=no-writes,xx\nreturn 1" 0"##,
                "!ERR Unexpected flag in script shebang: xx",
            ),
            (r##"EVAL "#!lua foo=bar\nreturn 1" 0"##, "!ERR Unknown lua shebang option: foo=bar"),
            (r##"EVAL "#!js\nreturn 1" 0"##, "!ERR Unexpected engine in script shebang: #!js"),
            (r##"EVAL "#!lua flags=no-writes" 0"##, "!ERR Invalid script shebang"),
            (r##"EVAL "#!lua flags=\nreturn 1" 0"##, "1"),
        ],
    },
    Case {
        name: "a script that only reads writes nothing",
        steps: &[
            ("SET a 1", "OK"),
            (r#"EVAL_RO "return redis.call('get', KEYS[1])" 1 a"#, r#""1""#),
            (
                r#"EVAL_RO "return redis.call('set', 'a', 1)" 0"#,
                "!ERR Write commands are not allowed from read-only scripts. script: *",
            ),
            (
                r#"EVAL_RO "return redis.pcall('set', 'a', 1)" 0"#,
                "!ERR Write commands are not allowed from read-only scripts.",
            ),
            (
                r#"EVAL_RO "return redis.call('publish', 'a', 'b')" 0"#,
                "!ERR Write commands are not allowed from read-only scripts. script: *",
            ),
            (
                r##"EVAL_RO "#!lua\nreturn 1" 0"##,
                "!ERR Can not execute a script with write flag using *_ro command.",
            ),
            (r##"EVAL_RO "#!lua flags=no-writes\nreturn 1" 0"##, "1"),
            ("EVALSHA_RO zz 0", "!NOSCRIPT No matching script. Please use EVAL."),
        ],
    },
    Case {
        name: "a script selects for itself only",
        steps: &[
            (r#"EVAL "redis.call('select', 5) return redis.call('set', 'a', 1)" 0"#, "OK"),
            ("EXISTS a", "0"),
            ("SELECT 5", "OK"),
            ("EXISTS a", "1"),
            ("SELECT 0", "OK"),
        ],
    },
    Case {
        name: "a script is one step of a transaction",
        steps: &[
            ("MULTI", "OK"),
            ("SET a 1", "QUEUED"),
            (r#"EVAL "return redis.call('incr', 'a')" 0"#, "QUEUED"),
            (r#"EVAL "error('x')" 0"#, "QUEUED"),
            ("GET a", "QUEUED"),
            (
                "EXEC",
                r#"[OK 2 !"ERR user_script:1: x script: 9851144f39f03a0d597a980c5aa79c80cb696891, on @user_script:1." "2"]"#,
            ),
        ],
    },
    Case {
        name: "a script's pushes serve who waits once it has ended",
        steps: &[
            ("b> BLPOP l 0", ""),
            ("until CLIENT LIST TYPE NORMAL", r#"has"cmd=blpop""#),
            (r#"EVAL "redis.call('rpush', 'l', 'x') return redis.call('llen', 'l')" 0"#, "1"),
            ("b> ", r#"["l" "x"]"#),
            ("EXISTS l", "0"),
            ("b> BLPOP l 0", ""),
            ("until CLIENT LIST TYPE NORMAL", r#"has"cmd=blpop""#),
            (
                r#"EVAL "redis.call('rpush', 'l', 'x') redis.call('del', 'l') redis.call('rpush', 'l', 'y')" 1 l"#,
                "nil",
            ),
            ("b> ", r#"["l" "y"]"#),
        ],
    },
    Case {
        name: "a watched key that a script changes",
        steps: &[
            ("WATCH a", "OK"),
            (r#"b> EVAL "return redis.call('set', 'a', 1)" 1 a"#, "OK"),
            ("MULTI", "OK"),
            ("GET a", "QUEUED"),
            ("EXEC", "nil[]"),
        ],
    },
];
