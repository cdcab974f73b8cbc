//! Requests prepared once and written many times.
//!
//! A template is text: words between spaces, commands between `;`, steps between words `|`, and what varies:
//!
//! | in the text | becomes |
//! |---|---|
//! | `%k` | a key, drawn anew each time: `key:` and 12 digits |
//! | `%K` | the same key as before |
//! | `%i` | a key that is new: the number after the last there is |
//! | `%j`, `%q` | the 12 digits of the key before, of a key drawn anew |
//! | `%v` | the value of the key before |
//! | `%m` | a random number below the number of keys; only as a whole word |
//! | `%d` | a random digit |
//! | `%x` | a random coordinate; only as a whole word |
//! | `%t` | seconds to live, of `--ttl`; only as a whole word |
//! | `%T` | the time, 19 digits of nanoseconds |
//! | `%l` | a length from 1 to 100; only as a whole word. A step that begins with `@` is sent so often |
//! | `%+` | the same key as before; the one after it is the next then |
//! | `%%` | a percent sign |
//! | `"..."` | a word, or part of one, that may hold spaces and `;`; `\"` `\\` `\n` `\r` `\t` in it |
//!
//! Design: everything that does not vary is encoded at once into literals, so that writing is copying. The commands of a step
//! are sent together; the next step waits for their replies.
//! Invariants: within a command literals are never empty and never lie side by side.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Instant;

use crate::values::{KEY_DIGITS, Sizes, digits, write_value};
use crate::{Fatal, fatal};

/// Length of every key.
pub const KEY_BYTES: usize = KEY_PREFIX.len() + KEY_DIGITS;
const KEY_PREFIX: &[u8] = b"key:";
/// Digits of a time.
pub const TIME_DIGITS: usize = 19;
/// The longest length that `%l` draws.
pub const SCAN_MAX: u64 = 100;
/// Coordinates go from minus to plus so many millionths of a degree, which both longitudes and latitudes may be.
const COORDINATE_MAX: u64 = 85_000_000;

/// Nanoseconds since this program looked at the time first.
pub fn clock_ns() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed().as_nanos() as u64
}

/// What varies in a request.
pub trait Draw {
    /// Draws a key.
    fn key(&mut self) -> u64;
    /// Makes a key.
    fn new_key(&mut self) -> u64;
    /// Draws a number below this.
    fn below(&mut self, bound: u64) -> u64;
    /// Draws a number below the number of keys.
    fn number(&mut self) -> u64;
    /// The length of a key's value.
    fn value_bytes(&self, key: u64) -> usize;
    /// Seconds to live.
    fn ttl(&mut self) -> u64;
}

/// What a template keeps from one step to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// The key before.
    pub key: u64,
    /// How often a step is repeated.
    pub length: u64,
}

/// What a reply must be for its values to be right. A null is never wrong: the key may have expired, or was never there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No error.
    NoError,
    /// OK.
    Ok,
    /// The key's value.
    Value,
    /// The key's value over and over.
    Values,
    /// Names and values in turn.
    Fields,
}

/// One unit of load: one command or several, in one step or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    commands: Vec<Command>,
    is_repeated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    pieces: Vec<Piece>,
    check: Check,
    /// A command of which nothing varies but one key: all of it, and where the key's digits are.
    form: Option<(Vec<u8>, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// The bytes of a key.
    Key,
    SameKey,
    NewKey,
    NextKey,
    /// The digits of a key.
    Digits,
    NewDigits,
    /// The header of a word of so many bytes and so many values.
    Header(usize, usize),
    /// The key's value.
    Value,
    Digit,
    Time,
    /// Whole words.
    Number,
    Coordinate,
    Ttl,
    Length,
}

/// What a word is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    Is(Piece),
}

type Word = Vec<Part>;

impl Template {
    /// Prepares a template for values of these sizes.
    pub fn parse(text: &str, sizes: &Sizes) -> Result<Template, Fatal> {
        let named = |Fatal(why)| Fatal(format!("'{text}': {why}"));
        let mut template = Template { steps: vec![Step::default()] };
        for mut words in split(text)? {
            let is_step = |word: &Word| *word == [Part::Byte(b'|')];
            for (index, words) in words.split_mut(is_step).enumerate() {
                if words.is_empty() {
                    return Err(named(Fatal(
                        "a step needs a command; a | that is a word is written \"|\" and more".into(),
                    )));
                }
                if index > 0 {
                    template.steps.push(Step::default());
                }
                let step = template.steps.last_mut().expect("there is a first");
                if step.commands.is_empty() && words[0].first() == Some(&Part::Byte(b'@')) {
                    words[0].remove(0);
                    step.is_repeated = true;
                }
                step.commands.push(Command::new(words, sizes).map_err(named)?);
            }
        }
        if template.steps[0].commands.is_empty() {
            return fatal("a template needs a command");
        }
        Ok(template)
    }

    /// How many steps.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// How many commands, and so replies, a step has.
    pub fn commands(&self, step: usize, drawn: Drawn) -> u64 {
        let Step { commands, is_repeated } = &self.steps[step];
        commands.len() as u64 * if *is_repeated { drawn.length } else { 1 }
    }

    /// Whether seconds to live are asked for.
    pub fn needs_ttl(&self) -> bool {
        let mut commands = self.steps.iter().flat_map(|step| &step.commands);
        commands.any(|command| command.pieces.contains(&Piece::Ttl))
    }

    /// Appends a step's request; `checks` takes what its replies must be, if somebody looks.
    #[inline]
    pub fn write(
        &self,
        step: usize,
        out: &mut Vec<u8>,
        drawn: &mut Drawn,
        draw: &mut impl Draw,
        mut checks: Option<&mut VecDeque<(Check, u64)>>,
    ) {
        let Step { commands, is_repeated } = &self.steps[step];
        for _ in 0..if *is_repeated { drawn.length } else { 1 } {
            for command in commands {
                let key = command.write(out, drawn, draw);
                if let Some(checks) = &mut checks {
                    checks.push_back((command.check, key));
                }
            }
        }
    }
}

impl Command {
    fn new(words: &[Word], sizes: &Sizes) -> Result<Command, Fatal> {
        let mut command = Command { pieces: Vec::new(), check: check(words), form: None };
        command.literal(format!("*{}\r\n", words.len()).as_bytes());
        words.iter().try_for_each(|word| command.word(word, sizes))?;
        if let [Piece::Literal(before), Piece::Key, Piece::Literal(after)] = &command.pieces[..] {
            let all = [before, KEY_PREFIX, &[b'0'; KEY_DIGITS], after].concat();
            command.form = Some((all, before.len() + KEY_PREFIX.len()));
        }
        Ok(command)
    }

    /// Appends the request; the key it is about.
    #[inline]
    fn write(&self, out: &mut Vec<u8>, drawn: &mut Drawn, draw: &mut impl Draw) -> u64 {
        if let Some((form, digits_at)) = &self.form {
            let key = draw.key();
            let at = out.len() + digits_at;
            out.extend_from_slice(form);
            out[at..at + KEY_DIGITS].copy_from_slice(&digits(key));
            drawn.key = key;
            return key;
        }
        let (mut key, mut step) = (drawn.key, 0);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Key => {
                    key = draw.key();
                    write_key(out, key);
                }
                Piece::SameKey => write_key(out, key),
                Piece::NewKey => {
                    key = draw.new_key();
                    write_key(out, key);
                }
                Piece::NextKey => {
                    write_key(out, key);
                    step = 1;
                }
                Piece::Digits => out.extend_from_slice(&digits(key)),
                Piece::NewDigits => {
                    key = draw.key();
                    out.extend_from_slice(&digits(key));
                }
                Piece::Header(fixed, values) => {
                    write_header(out, fixed + values * draw.value_bytes(key));
                }
                Piece::Value => write_value(out, key, draw.value_bytes(key)),
                Piece::Digit => out.push(b'0' + draw.below(10) as u8),
                Piece::Time => out.extend_from_slice(format!("{:0TIME_DIGITS$}", clock_ns()).as_bytes()),
                Piece::Number => write_number(out, draw.number()),
                Piece::Coordinate => {
                    let degrees = draw.below(2 * COORDINATE_MAX) as f64 - COORDINATE_MAX as f64;
                    write_bulk(out, format!("{:.6}", degrees / 1e6).as_bytes());
                }
                Piece::Ttl => write_number(out, draw.ttl()),
                Piece::Length => {
                    drawn.length = 1 + draw.below(SCAN_MAX);
                    write_number(out, drawn.length);
                }
            }
        }
        drawn.key = key + step;
        key
    }

    fn literal(&mut self, bytes: &[u8]) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => self.pieces.push(Piece::Literal(bytes.to_vec())),
        }
    }

    fn word(&mut self, word: &[Part], sizes: &Sizes) -> Result<(), Fatal> {
        let whole = |part: &&Part| {
            matches!(part, Part::Is(Piece::Number | Piece::Coordinate | Piece::Ttl | Piece::Length))
        };
        if let Some(Part::Is(piece)) = word.iter().find(whole) {
            if word.len() > 1 {
                return fatal("%m, %x, %t and %l must be words of their own");
            }
            self.pieces.push(piece.clone());
            return Ok(());
        }
        let len = |part: &Part| match part {
            Part::Byte(_) | Part::Is(Piece::Digit) => 1,
            Part::Is(Piece::Value) => 0,
            Part::Is(Piece::Digits | Piece::NewDigits) => KEY_DIGITS,
            Part::Is(Piece::Time) => TIME_DIGITS,
            Part::Is(_) => KEY_BYTES,
        };
        let fixed = word.iter().map(len).sum::<usize>();
        let values = word.iter().filter(|part| **part == Part::Is(Piece::Value)).count();
        match sizes {
            Sizes::Fixed(bytes) => self.literal(format!("${}\r\n", fixed + values * bytes).as_bytes()),
            _ if values == 0 => self.literal(format!("${fixed}\r\n").as_bytes()),
            _ => self.pieces.push(Piece::Header(fixed, values)),
        }
        for part in word {
            match part {
                Part::Byte(byte) => self.literal(&[*byte]),
                Part::Is(piece) => self.pieces.push(piece.clone()),
            }
        }
        self.literal(b"\r\n");
        Ok(())
    }
}

/// What the reply to a command must be, as far as its name says it.
fn check(words: &[Word]) -> Check {
    let text = |word: &Word| -> String {
        let byte = |part: &Part| match part {
            Part::Byte(byte) => char::from(*byte).to_ascii_uppercase(),
            Part::Is(_) => '%',
        };
        word.iter().map(byte).collect()
    };
    let words: Vec<String> = words.iter().map(text).collect();
    match words[0].as_str() {
        "SET" if !words.iter().any(|word| word == "GET") => Check::Ok,
        "MSET" | "HMSET" | "SETEX" | "PSETEX" => Check::Ok,
        "GET" | "GETEX" | "GETDEL" | "HGET" | "LINDEX" => Check::Value,
        "LPOP" | "RPOP" if words.len() == 2 => Check::Value,
        "LRANGE" => Check::Values,
        "HGETALL" => Check::Fields,
        _ => Check::NoError,
    }
}

#[inline]
fn write_key(out: &mut Vec<u8>, number: u64) {
    let mut key = [0; KEY_BYTES];
    key[..KEY_PREFIX.len()].copy_from_slice(KEY_PREFIX);
    key[KEY_PREFIX.len()..].copy_from_slice(&digits(number));
    out.extend_from_slice(&key);
}

fn write_header(out: &mut Vec<u8>, len: usize) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    write_header(out, bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    write_bulk(out, itoa::Buffer::new().format(number).as_bytes());
}

/// The commands of a template, each with its words; empty commands are left out.
fn split(text: &str) -> Result<Vec<Vec<Word>>, Fatal> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<Word>);
    let (mut quoted, mut bytes) = (false, text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                // Quotes make a word even if nothing is between them.
                word.get_or_insert_default();
            }
            b'%' => word.get_or_insert_default().push(placeholder(text, bytes.next())?),
            b'\\' if quoted => word.get_or_insert_default().push(escape(text, bytes.next())?),
            b' ' | b';' if !quoted => {
                words.extend(word.take());
                if byte == b';' && !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
            }
            _ => word.get_or_insert_default().push(Part::Byte(byte)),
        }
    }
    if quoted {
        return fatal(format!("'{text}': a quote is not closed"));
    }
    words.extend(word);
    if !words.is_empty() {
        commands.push(words);
    }
    Ok(commands)
}

fn placeholder(text: &str, byte: Option<u8>) -> Result<Part, Fatal> {
    Ok(Part::Is(match byte {
        Some(b'k') => Piece::Key,
        Some(b'K') => Piece::SameKey,
        Some(b'i') => Piece::NewKey,
        Some(b'j') => Piece::Digits,
        Some(b'q') => Piece::NewDigits,
        Some(b'v') => Piece::Value,
        Some(b'm') => Piece::Number,
        Some(b'd') => Piece::Digit,
        Some(b'x') => Piece::Coordinate,
        Some(b't') => Piece::Ttl,
        Some(b'T') => Piece::Time,
        Some(b'l') => Piece::Length,
        Some(b'+') => Piece::NextKey,
        Some(b'%') => return Ok(Part::Byte(b'%')),
        _ => return fatal(format!("'{text}': after % comes one of k K i j q v m d x t T l + %")),
    }))
}

fn escape(text: &str, byte: Option<u8>) -> Result<Part, Fatal> {
    match byte {
        Some(byte @ (b'"' | b'\\')) => Ok(Part::Byte(byte)),
        Some(b'n') => Ok(Part::Byte(b'\n')),
        Some(b'r') => Ok(Part::Byte(b'\r')),
        Some(b't') => Ok(Part::Byte(b'\t')),
        _ => fatal(format!("'{text}': after \\ comes \", \\, n, r or t")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys 42, 44 and so on; the first new one is 1000; values of 3 bytes, or of the last digit.
    struct Even(u64, u64);

    impl Draw for Even {
        fn key(&mut self) -> u64 {
            self.0 += 2;
            self.0
        }

        fn new_key(&mut self) -> u64 {
            self.1 += 1;
            self.1 - 1
        }

        fn below(&mut self, bound: u64) -> u64 {
            7 % bound
        }

        fn number(&mut self) -> u64 {
            self.key()
        }

        fn value_bytes(&self, key: u64) -> usize {
            (key % 10) as usize
        }

        fn ttl(&mut self) -> u64 {
            60
        }
    }

    /// All steps with these sizes; fixed ones are of 2 bytes, which key 42 has anyway.
    fn written_with(text: &str, sizes: &str) -> String {
        let template = Template::parse(text, &sizes.parse().expect("sizes")).expect("the template is valid");
        let (mut out, mut drawn, mut draw) = (Vec::new(), Drawn::default(), Even(40, 1000));
        for step in 0..template.steps() {
            template.write(step, &mut out, &mut drawn, &mut draw, None);
        }
        String::from_utf8(out).expect("it is ASCII")
    }

    fn written(text: &str) -> String {
        written_with(text, "2")
    }

    #[test]
    fn whatever_the_sizes_a_value_has_its_length() {
        for sizes in ["2", "0-9"] {
            assert_eq!(
                written_with("SET %k a%v:%v", sizes),
                "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$6\r\na00:00\r\n"
            );
        }
    }

    #[test]
    fn keys_are_kept_made_and_followed() {
        assert_eq!(
            written("HGET %k f%d | SET %K %v EX %t"),
            "*3\r\n$4\r\nHGET\r\n$16\r\nkey:000000000042\r\n$2\r\nf7\r\n\
             *5\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$2\r\n00\r\n$2\r\nEX\r\n$2\r\n60\r\n"
        );
        assert_eq!(
            written("ADD %i;ADD %j"),
            "*2\r\n$3\r\nADD\r\n$16\r\nkey:000000001000\r\n*2\r\n$3\r\nADD\r\n$12\r\n000000001000\r\n"
        );
        let scan = written("ZRANGE i %q %l | @GET %+");
        assert!(
            scan.starts_with("*4\r\n$6\r\nZRANGE\r\n$1\r\ni\r\n$12\r\n000000000042\r\n$1\r\n8\r\n"),
            "{scan}"
        );
        let keys: Vec<&str> = scan.split("\r\n").filter(|word| word.starts_with("key:")).collect();
        assert_eq!((keys.len(), keys[0], keys[7]), (8, "key:000000000042", "key:000000000049"));
        assert!(written("GEOADD g %x %x %k").contains("\r\n$10\r\n-84.999993\r\n"));
    }

    #[test]
    fn checks_follow_from_commands() {
        let text = "SET %k %v;set %k %v GET;GET %k;HGETALL %k;LRANGE %k 0 -1;LPOP %k;LPOP %k 2;INCR %k";
        let template = Template::parse(text, &Sizes::Fixed(2)).expect("the template is valid");
        let (mut checks, mut drawn) = (VecDeque::new(), Drawn::default());
        template.write(0, &mut Vec::new(), &mut drawn, &mut Even(40, 0), Some(&mut checks));
        let expected = [
            (Check::Ok, 42),
            (Check::NoError, 44),
            (Check::Value, 46),
            (Check::Fields, 48),
            (Check::Values, 50),
            (Check::Value, 52),
            (Check::NoError, 54),
            (Check::NoError, 56),
        ];
        assert_eq!(checks, expected);
    }

    #[test]
    fn placeholders_become_bulks() {
        assert_eq!(written("SET %k %v"), "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$2\r\n00\r\n");
        assert_eq!(
            written("ZADD z %m %k"),
            "*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$2\r\n42\r\n$16\r\nkey:000000000044\r\n"
        );
        assert_eq!(written("GET l:%k:%%"), "*2\r\n$3\r\nGET\r\n$20\r\nl:key:000000000042:%\r\n");
    }

    #[test]
    fn commands_and_quotes_are_told_apart() {
        assert_eq!(written(" PING ;; ECHO a; "), "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\n");
        assert_eq!(written(r#"EVAL "a; \"b\"" """#), "*3\r\n$4\r\nEVAL\r\n$6\r\na; \"b\"\r\n$0\r\n\r\n");
        let template =
            Template::parse("MULTI;INCR %k;EXEC", &Sizes::Fixed(1)).expect("the template is valid");
        assert_eq!(template.commands(0, Drawn::default()), 3);
    }

    #[test]
    fn mistakes_are_named() {
        for text in
            ["", " ; ", "GET %y", "GET %", "GET a%m", "GET |", "| GET", "GET %k | ", "GET \"a", "GET \"\\q\""]
        {
            assert!(Template::parse(text, &Sizes::Fixed(1)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn literals_are_joined() {
        let template = Template::parse("SET %k 1;PING", &Sizes::Fixed(3)).expect("the template is valid");
        let commands = &template.steps[0].commands;
        assert_eq!((commands.len(), commands[0].pieces.len(), commands[1].pieces.len()), (2, 3, 1));
        assert_eq!(commands[0].pieces[1], Piece::Key);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "[ -~]{0,40}") {
            if let Ok(template) = Template::parse(&text, &Sizes::Fixed(5)) {
                let (mut out, mut drawn) = (Vec::new(), Drawn::default());
                template.write(0, &mut out, &mut drawn, &mut Even(0, 0), None);
                proptest::prop_assert!(out.starts_with(b"*") || out.is_empty());
                proptest::prop_assert!(out.ends_with(b"\r\n") || out.is_empty());
            }
        }

        #[test]
        fn keys_have_their_digits(number in 0u64..1_000_000_000_000) {
            let mut out = Vec::new();
            write_key(&mut out, number);
            proptest::prop_assert_eq!(out, format!("key:{number:012}").into_bytes());
        }
    }
}
