//! Random scripts: expressions over commands, conversions of replies, `cjson`, `cmsgpack`, `struct` and `bit`, in Torc and in Redis.
//!
//! Design: a grammar as functions that write text. Most scripts end with an error somewhere, and its text is compared, too.
//!
//! No text has an end of a line: Redis sends it in the middle of some errors, and nobody can read on.
//!
//! Not here: what goes on between connections (`super`), functions (`functions`).

use crate::harness::{Client, Rng, Server, Value};

/// Scripts of a normal run.
const SCRIPTS: usize = 3_000;

const KEYS: &[&str] = &["'a'", "'b'", "'l'", "'h'", "'z'", "'s'", "KEYS[1]", "KEYS[2]"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3.5",
    "-0",
    "1e15",
    "1e16",
    "123456789012",
    "0.1",
    "1/3",
    "1e300",
    "1/0",
    "-1/0",
    "0/0",
    "2^31",
    "2^53",
    "-2^63",
    "255",
    "65536",
    "-128",
];
const TEXTS: &[&str] = &[
    "''",
    "'x'",
    "'10'",
    "'3.0'",
    "' 7 '",
    "'0x10'",
    r"'a\0b'",
    r"'\255\254'",
    r#"'"q\\'"#,
    "'1e5'",
    "'nan'",
    r"'caf\195\169'",
    "ARGV[1]",
    "ARGV[2]",
    "('ab'):rep(20)",
];
const JSON: &[&str] = &[
    "[]",
    "{}",
    "[1,2,[3]]",
    r#"{"a":1}"#,
    "null",
    "[null]",
    "1e3",
    "-0",
    r#""x\u00e9""#,
    "[1,]",
    "{a:1}",
    "tru",
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    "[1] x",
    "1.5e400",
    "nan",
    "[[[[[]]]]]",
    r#"{"a":{"b":null}}"#,
    "0x10",
    "-",
    "01",
    "[1 2]",
    "  5  ",
];
/// Commands: `K` is a key, `E` an expression, `N` a number, `T` a text.
const COMMANDS: &[&str] = &[
    "'SET',K,E",
    "'GET',K",
    "'INCR',K",
    "'INCRBYFLOAT',K,N",
    "'HSET',K,'f',E",
    "'HGETALL',K",
    "'LPUSH',K,T",
    "'LRANGE',K,0,-1",
    "'ZADD',K,N,'m'",
    "'ZRANGE',K,0,-1,'WITHSCORES'",
    "'ZSCORE',K,'m'",
    "'SADD',K,T",
    "'SMEMBERS',K",
    "'TYPE',K",
    "'DEL',K",
    "'EXISTS',K,K",
    "'PING'",
    "'ECHO',T",
    "'NOSUCH'",
    "'GET'",
    "'SET',K",
    "'EXPIRE',K,100",
    "'LLEN',K",
    "'MGET',K,K",
    "'APPEND',K,T",
    "'STRLEN',K",
    "'SETRANGE',K,2,T",
    "'GETRANGE',K,0,2",
    "'XADD',K,'1-*','f','v'",
    "'XRANGE',K,'-','+'",
    "'OBJECT','ENCODING',K",
    "'RENAME',K,K",
    "'COPY',K,K",
    "'LPOP',K",
    "'BLPOP',K,0",
    "'SUBSCRIBE','c'",
    "'MULTI'",
    "'DBSIZE'",
    "'SELECT',N",
    "'HINCRBYFLOAT',K,'f',1.5",
    "'GEOADD',K,1,2,'g'",
    "'GEOPOS',K,'g'",
    "'SINTERCARD',1,K",
    "'ZMSCORE',K,'m','n'",
    "'LPOS',K,'x'",
    "'BITCOUNT',K",
    "'SETBIT',K,7,1",
    "'PFCOUNT',K",
    "'LMPOP',1,K,'LEFT'",
    "'GETEX',K,'PERSIST'",
    "'SORT',K,'ALPHA'",
    "E",
    "T",
    "",
];
/// Expressions of others.
const EXPRESSIONS: &[&str] = &[
    "cjson.encode(E)",
    "cjson.encode({E,E})",
    "cjson.decode(J)",
    "cjson.decode(E)",
    "cmsgpack.pack(E)",
    "cmsgpack.pack(E,E)",
    "{cmsgpack.unpack(E)}",
    "{cmsgpack.unpack(cmsgpack.pack(E,E))}",
    r"{cmsgpack.unpack('\147\1\2')}",
    r"{cmsgpack.unpack('\193')}",
    "struct.pack('>I4',E)",
    "struct.pack('<i2',E)",
    "struct.pack('b',N)",
    "struct.pack('Bs',N,T)",
    "struct.pack('d',E)",
    "struct.pack('>f',N)",
    "struct.pack('c3',T)",
    "struct.pack('!4bi',N,N)",
    "struct.pack('i9',N)",
    "struct.pack('z',E)",
    "{struct.unpack('>I4',E)}",
    "{struct.unpack('<i2',T)}",
    "{struct.unpack('bc0',T)}",
    "{struct.unpack('s',struct.pack('s',T))}",
    "{struct.unpack('d',struct.pack('d',N))}",
    "bit.band(E,N)",
    "bit.bor(E,N)",
    "bit.bxor(N,N)",
    "bit.lshift(E,N)",
    "bit.arshift(N,N)",
    "bit.rol(N,N)",
    "bit.tohex(E,N)",
    "bit.tobit(E)",
    "bit.bnot(E)",
    "bit.bswap(N)",
    "bit.tohex(E)",
    "tonumber(E)",
    "type(E)",
    "#(E)",
    "-(E)",
    "not (E)",
    "redis.sha1hex(E)",
    "math.floor(E)",
    "string.byte(E)",
    "string.upper(E)",
    "tostring(N)",
    "tostring(T)",
    "(E)..(T)",
    "(E)+(N)",
    "(E)==(E)",
    "(N)<(E)",
    "(E) and (E)",
    "(E) or (E)",
    "(N)%(N)",
    "(N)^(N)",
    "{pcall(function() return E end)}",
    "select('#',E)",
    "{unpack({E,E})}",
    "table.concat({T,N},T)",
    "{pcall(error,T)}",
    "{pcall(redis.call,E)}",
    "error(E)",
    "assert(E)",
    "string.format('%s|%5.1f',T,N)",
    "string.format('%d',N)",
    "string.format('%q',T)",
    "redis.error_reply(E)",
    "redis.status_reply(E)",
    "{err=T}",
    "{ok=T}",
    "{double=N}",
    "{map={a=E}}",
    "{set={a=E}}",
    "{big_number='123'}",
    "{verbatim_string={format='txt',string=T}}",
    "redis.setresp(3)",
    "redis.setresp(2)",
    "redis.setresp(E)",
    "redis.acl_check_cmd('GET',T)",
    "redis.breakpoint()",
    "redis.replicate_commands()",
    "nosuch",
    "redis.nosuch",
    "KEYS",
    "ARGV",
    "(function() local t = E return t[1] end)()",
    "(function() local t = E return t.map end)()",
];

/// Writes scripts.
struct Writer<'r> {
    rng: &'r mut Rng,
    text: String,
}

impl Writer<'_> {
    /// Writes what a template says, whose letters stand for parts that are random, too.
    fn template(&mut self, template: &str, depth: u32) {
        let mut before = ' ';
        let mut rest = template.chars().peekable();
        while let Some(letter) = rest.next() {
            let is_alone = !before.is_ascii_alphanumeric()
                && before != '\''
                && !rest.peek().is_some_and(|next| next.is_ascii_alphanumeric() || "_[".contains(*next));
            before = letter;
            match letter {
                'K' if is_alone => self.one_of(KEYS),
                'N' if is_alone => self.one_of(NUMBERS),
                'T' if is_alone => self.one_of(TEXTS),
                'J' if is_alone => {
                    self.text.push_str("[==[");
                    self.one_of(JSON);
                    self.text.push_str("]==]");
                }
                'E' if is_alone => self.expression(depth.saturating_sub(1)),
                other => self.text.push(other),
            }
        }
    }

    fn one_of(&mut self, texts: &[&str]) {
        let text = *self.rng.pick(texts);
        self.text.push_str(text);
    }

    fn literal(&mut self, depth: u32) {
        match self.rng.below(9) {
            0 | 1 => self.one_of(NUMBERS),
            2 | 3 => self.one_of(TEXTS),
            4 => self.one_of(&["nil", "true", "false", "cjson.null"]),
            _ if depth == 0 => self.one_of(NUMBERS),
            5 => self.template("{E,E,E}", depth),
            6 => self.template("{[T]=E}", depth),
            7 => self.text.push_str(&format!("{{[1]=1,[{}]=2}}", 2 + self.rng.below(13))),
            _ => self.text.push_str("{{},{}}"),
        }
    }

    fn expression(&mut self, depth: u32) {
        match self.rng.below(10) {
            0..=2 => self.literal(depth),
            _ if depth == 0 => self.literal(0),
            3..=5 => self.call(depth),
            _ => {
                let template = *self.rng.pick(EXPRESSIONS);
                self.template(template, depth);
            }
        }
    }

    fn call(&mut self, depth: u32) {
        self.one_of(&["redis.call(", "redis.pcall(", "redis.pcall("]);
        let command = *self.rng.pick(COMMANDS);
        self.template(command, depth);
        self.text.push(')');
    }

    fn script(&mut self) {
        for number in 0..self.rng.below(3) {
            match self.rng.below(4) {
                0 => self.template(&format!("local v{number} = E "), 3),
                1 => {
                    self.call(2);
                    self.text.push(' ');
                }
                2 => self.text.push_str("redis.setresp(3) "),
                _ => self.template("if E then local v = E end ", 2),
            }
        }
        let end = *self.rng.pick(&["return E", "return {E,E}", "return E,E"]);
        self.template(end, 3);
    }
}

/// A random script.
fn script(rng: &mut Rng) -> String {
    let mut writer = Writer { rng, text: String::new() };
    writer.script();
    writer.text
}

/// Whether a reply names a place in memory, which is never the same.
fn names_a_place(reply: &Value) -> bool {
    let text = reply.to_string();
    ["table: 0x", "function: 0x", "function: builtin", "userdata: "].iter().any(|place| text.contains(place))
}

fn compare(seed: u64, args: &[&str]) {
    let seed = std::env::var("TORC_DIFFERENTIAL_SEED").ok().map_or(seed, |n| n.parse().expect("a number"));
    let count = std::env::var("TORC_DIFFERENTIAL").ok().map_or(SCRIPTS, |n| n.parse().expect("a number"));
    let mut rng = Rng(seed);
    let debug: &[&str] = &["--enable-debug-command", "yes"];
    let (torc, redis) = (Server::start(&[args, debug].concat()), Server::redis(debug));
    let mut clients: Vec<[Client; 2]> = (0..2).map(|_| [redis.client(), torc.client()]).collect();
    let mut different = Vec::new();
    clients[1].iter_mut().for_each(|client| drop(client.ask("HELLO 3")));
    for _ in 0..count {
        let text = script(&mut rng);
        let named = rng.below(3);
        let mut words = vec!["EVAL".to_owned(), text.clone(), named.to_string()];
        words.extend(["a", "h"].iter().take(named).map(|key| (*key).to_owned()));
        words.extend(["arg1".to_owned(), "2".to_owned()]);
        let pair = &mut clients[rng.below(2)];
        let [expected, reply] = [0, 1].map(|side| pair[side].call(&words));
        if expected != reply && !names_a_place(&expected) {
            different.push(format!("{text}\n  Redis: {expected}\n  Torc:  {reply}"));
        }
        let [expected, reply] = [0, 1].map(|side| pair[side].ask("DEBUG DIGEST"));
        if expected != reply {
            different.push(format!("{text}\n  leaves other data"));
            pair.iter_mut().for_each(|client| drop(client.ask("FLUSHALL")));
        }
        assert!(different.len() < 10, "seed {seed}, {args:?}:\n{}", different.join("\n"));
    }
    assert!(different.is_empty(), "seed {seed}, {args:?}:\n{}", different.join("\n"));
}

#[test]
fn scripts_of_one_worker_are_like_those_of_redis() {
    compare(1, &["--workers", "1"]);
}

#[test]
fn scripts_of_three_workers_are_like_those_of_redis() {
    compare(2, &["--workers", "3"]);
}
