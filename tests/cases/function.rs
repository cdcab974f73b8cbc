//! Functions: FUNCTION, FCALL and FCALL_RO. A case puts back that there are no libraries.

use super::Case;

/// The cases.
pub const CASES: &[Case] = &[
    Case {
        name: "FUNCTION LOAD: what may be wrong with a library",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.register_function('f', function() return 'one' end)""##,
                r##""l""##,
            ),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.register_function('f', function() end)""##,
                "!ERR Library 'l' already exists",
            ),
            ("FCALL f 0", r##""one""##),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('g', function() return 'two' end)""##,
                r##""l""##,
            ),
            ("FCALL f 0", "!ERR Function not found"),
            ("FCALL G 0", r##""two""##),
            (
                r##"FUNCTION LOAD "#!lua name=m\nredis.register_function('G', function() return 1 end)""##,
                "!ERR Function G already exists",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nerror()""##,
                "!ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'error'",
            ),
            ("FCALL g 0", r##""two""##),
            (r##"FUNCTION LOAD "x""##, "!ERR Missing library metadata"),
            (r##"FUNCTION LOAD """##, "!ERR Missing library metadata"),
            (r##"FUNCTION LOAD "#!lua name=x""##, "!ERR Invalid library metadata"),
            (r##"FUNCTION LOAD "#!lua\nx""##, "!ERR Library name was not given"),
            (
                r##"FUNCTION LOAD "#!lua name=bad-name\nx""##,
                "!ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
            ),
            (r##"FUNCTION LOAD "#!js name=x\nx""##, "!ERR Engine 'js' not found"),
            (r##"FUNCTION LOAD "#!lua name=x\nreturn 1""##, "!ERR No functions registered"),
            (r##"FUNCTION LOAD "#!lua name=x foo=bar\nx""##, "!ERR Invalid metadata value given: foo=bar"),
            (
                r##"FUNCTION LOAD "#!lua name=x name=y\nx""##,
                "!ERR Invalid metadata value, name argument was given multiple times",
            ),
            (
                r##"FUNCTION LOAD "#!lua name=x\nredis.register_function('f', function() end""##,
                "!ERR Error compiling function: user_function:2: ')' expected near '<eof>'",
            ),
            (r##"FUNCTION LOAD NOSUCH "#!lua name=x\nx""##, "!ERR Unknown option given: NOSUCH"),
            (
                r##"FUNCTION LOAD REPLACE REPLACE "#!LUA NAME='x'\nredis.register_function('x', function() end)""##,
                r##""x""##,
            ),
            ("FUNCTION FLUSH", "OK"),
        ],
    },
    Case {
        name: "a library that is loaded finds little",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.call('PING')""##,
                "!ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'call'",
            ),
            (
                r##"FUNCTION LOAD "#!lua name=l\nlocal x = string.rep('a', 3)""##,
                "!ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'string'",
            ),
            (
                r##"FUNCTION LOAD "#!lua name=l\nlocal x = KEYS""##,
                "!ERR Error registering functions: ERR user_function:2: Script attempted to access nonexistent global variable 'KEYS'",
            ),
            (
                r##"FUNCTION LOAD "#!lua name=l\nx = 1""##,
                "!ERR Error registering functions: ERR user_function:2: Attempt to modify a readonly table",
            ),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.x = 1""##,
                "!ERR Error registering functions: ERR user_function:2: Attempt to modify a readonly table",
            ),
            (
                r##"FUNCTION LOAD "#!lua name=l\nlocal r, s = redis, ('x'):rep(3) redis.log(redis.LOG_DEBUG, redis.REDIS_VERSION)\nredis.register_function('s', function() return s end) redis.register_function('c', function() return r.call('PING') end) redis.register_function('t', function() return type(r.log) .. type(redis.call) .. type(redis.register_function) end) redis.register_function('k', function() return KEYS end)""##,
                r##""l""##,
            ),
            ("FCALL s 0", r##""xxx""##),
            (
                "FCALL c 0",
                "!ERR user_function:3: Script attempted to access nonexistent global variable 'call' script: c, on @user_function:3.",
            ),
            ("FCALL t 0", r##""functionfunctionnil""##),
            (r##"EVAL "return KEYS[1]" 1 k"##, r##""k""##),
            (
                "FCALL k 0",
                "!ERR user_function:3: Script attempted to access nonexistent global variable 'KEYS' script: k, on @user_function:3.",
            ),
            (r##"EVAL "return {KEYS[1], type(redis.register_function)}" 1 k"##, r##"["k" "nil"]"##),
            ("FUNCTION FLUSH", "OK"),
        ],
    },
    Case {
        name: "redis.register_function: its two forms",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.register_function{FUNCTION_NAME='f', callback=function(keys, args) return {#keys, #args, keys[1], args[1]} end, flags={'NO-writes'}, description='d'}""##,
                r##""l""##,
            ),
            ("FCALL f 1 k a b", r##"[1 2 "k" "a"]"##),
            ("FCALL_RO f 0", "[0 0]"),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{function_name=1, callback=function() return 'one' end}""##,
                r##""l""##,
            ),
            ("FCALL 1 0", r##""one""##),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{function_name='f', callback=function() end, flags={'nosuch'}}""##,
                "!ERR Error registering functions: ERR unknown flag given",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{function_name='f', callback=function() end, flags='no-writes'}""##,
                "!ERR Error registering functions: ERR flags argument to redis.register_function must be a table representing function flags",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{function_name='f', callback=function() end, more=1}""##,
                "!ERR Error registering functions: ERR unknown argument given to redis.register_function",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{function_name='f'}""##,
                "!ERR Error registering functions: ERR redis.register_function must get a callback argument",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{}""##,
                "!ERR Error registering functions: ERR redis.register_function must get a function name argument",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{function_name={}}""##,
                "!ERR Error registering functions: ERR function_name argument given to redis.register_function must be a string",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{description={}}""##,
                "!ERR Error registering functions: ERR description argument given to redis.register_function must be a string",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{callback=1}""##,
                "!ERR Error registering functions: ERR callback argument given to redis.register_function must be a function",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function{[{}]=1}""##,
                "!ERR Error registering functions: ERR named argument key given to redis.register_function is not a string",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('a b', function() end)""##,
                "!ERR Error registering functions: ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('f', 5)""##,
                "!ERR Error registering functions: ERR second argument to redis.register_function must be a function",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function({}, 5)""##,
                "!ERR Error registering functions: ERR first argument to redis.register_function must be a string",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('f')""##,
                "!ERR Error registering functions: ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('f', function() end, 'x')""##,
                "!ERR Error registering functions: ERR wrong number of arguments to redis.register_function",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function()""##,
                "!ERR Error registering functions: ERR wrong number of arguments to redis.register_function",
            ),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('f', function() end) redis.register_function('f', function() end)""##,
                "!ERR Error registering functions: ERR Function already exists in the library",
            ),
            ("FCALL 1 0", r##""one""##),
            ("FUNCTION FLUSH SYNC", "OK"),
        ],
    },
    Case {
        name: "FCALL: keys, flags, errors",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.register_function('w', function(k) return redis.call('SET', k[1], 'v') end)\nredis.register_function{function_name='r', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}\nredis.register_function{function_name='bad', callback=function(k) return redis.call('SET', k[1], 'v') end, flags={'no-writes'}}\nlocal function inner()\n  return redis.call('INCR', 's')\nend\nredis.register_function('f', function() return inner() end)\nredis.register_function('g', function() error('boom') end)\nredis.register_function('h', function() return redis.pcall('INCR', 's') end)\nredis.register_function('e', function() return redis.error_reply('X y') end)\nredis.register_function('t', function() error({err='ABC def'}) end)\nredis.register_function('glob', function() x = 1 end)\nredis.register_function('nokeys', function(k) return redis.call('SET', 'a', 'b') end)""##,
                r##""l""##,
            ),
            ("FCALL w 1 k", "OK"),
            ("FCALL_RO w 1 k", "!ERR Can not execute a script with write flag using *_ro command."),
            ("FCALL_RO r 1 k", r##""v""##),
            ("FCALL r 1 k", r##""v""##),
            (
                "FCALL bad 1 k",
                "!ERR Write commands are not allowed from read-only scripts. script: bad, on @user_function:4.",
            ),
            ("FCALL nosuch 0", "!ERR Function not found"),
            ("FCALL nosuch x", "!ERR Function not found"),
            ("FCALL r x", "!ERR Bad number of keys provided"),
            ("FCALL r 5 k", "!ERR Number of keys can't be greater than number of args"),
            ("FCALL r -1", "!ERR Number of keys can't be negative"),
            ("SET s text", "OK"),
            ("FCALL f 0", "!ERR value is not an integer or out of range script: f, on @user_function:6."),
            ("FCALL g 0", "!ERR user_function:9: boom script: g, on @user_function:9."),
            ("FCALL h 0", "!ERR value is not an integer or out of range"),
            ("FCALL e 0", "!X y"),
            ("FCALL t 0", "!ABC def script: t, on @user_function:12."),
            (
                "FCALL glob 0",
                "!ERR user_function:13: Attempt to modify a readonly table script: glob, on @user_function:13.",
            ),
            ("FCALL nokeys 0", "OK"),
            ("MULTI", "OK"),
            ("FCALL r 1 k", "QUEUED"),
            ("FUNCTION DELETE l", "QUEUED"),
            ("FCALL r 1 k", "QUEUED"),
            ("FUNCTION KILL", "QUEUED"),
            ("EXEC", r##"["v" OK !"ERR Function not found" !"NOTBUSY No scripts in execution right now."]"##),
            (
                r##"EVAL "return redis.call('FCALL', 'r', 0)" 0"##,
                "!ERR This Redis command is not allowed from script script: bf3f44a09f0205128464bddc30ac24823983407c, on @user_script:1.",
            ),
            (r##"EVAL "return #redis.call('FUNCTION', 'HELP')" 0"##, "1..100"),
        ],
    },
    Case {
        name: "FUNCTION LIST, DELETE, FLUSH, STATS, HELP",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            ("FUNCTION LIST", "[]"),
            (
                r##"FUNCTION LOAD "#!lua name=mylib\nredis.register_function{function_name='f', callback=function() end, flags={'no-writes', 'allow-oom'}}""##,
                r##""mylib""##,
            ),
            (
                "FUNCTION LIST",
                r##"[{"library_name" "mylib" "engine" "LUA" "functions" [{"name" "f" "description" nil "flags" set[no-writes allow-oom]}]}]"##,
            ),
            (
                "FUNCTION LIST LIBRARYNAME MY* WITHCODE",
                r##"[{"library_name" "mylib" "engine" "LUA" "functions" [{"name" "f" "description" nil "flags" set[no-writes allow-oom]}] "library_code" "#!lua name=mylib\nredis.register_function{function_name='f', callback=function() end, flags={'no-writes', 'allow-oom'}}"}]"##,
            ),
            ("FUNCTION LIST libraryname x*", "[]"),
            ("FUNCTION LIST LIBRARYNAME", "!ERR library name argument was not given"),
            ("FUNCTION LIST WITHCODE WITHCODE", "!ERR Unknown argument WITHCODE"),
            ("FUNCTION LIST NOSUCH", "!ERR Unknown argument NOSUCH"),
            (
                "FUNCTION STATS",
                r##"{"running_script" nil "engines" {"LUA" {"libraries_count" 1 "functions_count" 1}}}"##,
            ),
            ("FUNCTION DELETE MYLIB", "!ERR Library not found"),
            ("FUNCTION DELETE mylib", "OK"),
            (
                "FUNCTION STATS",
                r##"{"running_script" nil "engines" {"LUA" {"libraries_count" 0 "functions_count" 0}}}"##,
            ),
            ("FUNCTION KILL", "!NOTBUSY No scripts in execution right now."),
            ("FUNCTION FLUSH ASYNC", "OK"),
            ("FUNCTION FLUSH NOSUCH", "!ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
            (
                "FUNCTION FLUSH SYNC SYNC",
                "!ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP.",
            ),
            ("FUNCTION HELP", "<array>"),
            ("FUNCTION NOSUCH", "!ERR unknown subcommand 'NOSUCH'. Try FUNCTION HELP."),
            ("FUNCTION DUMP x", "!ERR wrong number of arguments for 'function|dump' command"),
            ("COMMAND GETKEYS FCALL f 2 a b c", r##"["a" "b"]"##),
        ],
    },
    Case {
        name: "FUNCTION DUMP and RESTORE, with each policy",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            ("FUNCTION DUMP", r##""\x0c\x00\x96\xedh\x80\xf5U<\x93""##),
            (
                r##"FUNCTION RESTORE "\xf5@B#!lua name=l\x0aredis.register_function('f', function() return 1 end)\x0c\x00\xa9\xe3\\&\xa5k\xb5\xab""##,
                "OK",
            ),
            (
                "FUNCTION DUMP",
                r##""\xf5@B#!lua name=l\x0aredis.register_function('f', function() return 1 end)\x0c\x00\xa9\xe3\\&\xa5k\xb5\xab" -> dump"##,
            ),
            ("FCALL f 0", "1"),
            ("FUNCTION RESTORE $dump", "!ERR Library l already exists"),
            ("FUNCTION RESTORE $dump APPEND", "!ERR Library l already exists"),
            ("FUNCTION RESTORE $dump REPLACE", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=other\nredis.register_function('g', function() return 2 end)""##,
                r##""other""##,
            ),
            ("FUNCTION RESTORE $dump FLUSH", "OK"),
            ("FCALL g 0", "!ERR Function not found"),
            ("FCALL f 0", "1"),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nredis.register_function('h', function() return 3 end)""##,
                r##""l""##,
            ),
            (
                r##"FUNCTION LOAD "#!lua name=k\nredis.register_function('F', function() return 4 end)""##,
                r##""k""##,
            ),
            ("FUNCTION RESTORE $dump REPLACE", "!ERR Function f already exists"),
            ("FCALL h 0", "3"),
            (
                "FUNCTION RESTORE $dump NOSUCH",
                "!ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ),
            (
                "FUNCTION RESTORE $dump FLUSH FLUSH",
                "!ERR unknown subcommand or wrong number of arguments for 'RESTORE'. Try FUNCTION HELP.",
            ),
            ("FUNCTION RESTORE x", "!ERR DUMP payload version or checksum are wrong"),
            ("SET k v", "OK"),
            ("DUMP k", "<bulk> -> value"),
            ("FUNCTION RESTORE $value", "!ERR given type is not a function"),
            ("FUNCTION FLUSH", "OK"),
        ],
    },
    Case {
        name: "functions outlive FLUSHALL, and keep what they assign to",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=l\nlocal n, t, c = 0, {}, {limit = 3}\nredis.register_function('n', function() n = n + 1 return n end) redis.register_function('t', function(k, a) t[#t + 1] = a[1] return t end) redis.register_function('c', function() return c.limit end)""##,
                r##""l""##,
            ),
            ("FCALL n 0", "1"),
            ("FLUSHALL", "OK"),
            ("b> FCALL n 1 k", "2"),
            ("FCALL t 0 a", r##"["a"]"##),
            ("b> FCALL t 1 k b", r##"["a" "b"]"##),
            ("c> FCALL c 0", "3"),
            ("MULTI", "OK"),
            ("FCALL n 0", "QUEUED"),
            ("FCALL n 0", "QUEUED"),
            ("EXEC", "[3 4]"),
            (r##"FUNCTION LOAD "#!lua name=m\nredis.register_function('o', function() end)""##, r##""m""##),
            ("FCALL n 0", "5"),
            (
                r##"FUNCTION LOAD REPLACE "#!lua name=l\nlocal n = 0\nredis.register_function('n', function() n = n + 1 return n end)""##,
                r##""l""##,
            ),
            ("FCALL n 0", "1"),
            ("FUNCTION FLUSH", "OK"),
        ],
    },
    Case {
        name: "settings of cjson are one for all clients, scripts and functions apart",
        steps: &[
            ("FUNCTION FLUSH", "OK"),
            (
                r##"FUNCTION LOAD "#!lua name=l\nredis.register_function('p', function(k, a) if a[1] then cjson.encode_number_precision(tonumber(a[1])) end return cjson.encode(1/3) end)""##,
                r##""l""##,
            ),
            (r##"EVAL "cjson.encode_number_precision(3) return cjson.encode(1/3)" 0"##, r##""0.333""##),
            (r##"b> EVAL "return cjson.encode(1/3)" 0"##, r##""0.333""##),
            ("FCALL p 0", r##""0.33333333333333""##),
            ("b> FCALL p 1 k 5", r##""0.33333""##),
            ("c> FCALL p 0", r##""0.33333""##),
            (r##"c> EVAL "return cjson.encode(1/3)" 1 k"##, r##""0.333""##),
            (
                r##"EVAL "cjson.encode_number_precision(14) return cjson.encode(1/3)" 1 k"##,
                r##""0.33333333333333""##,
            ),
            ("FCALL p 0 14", r##""0.33333333333333""##),
            ("FUNCTION FLUSH", "OK"),
        ],
    },
];
