//! Tests of the request parser: Redis's replies to odd bytes, cuts at every place, a naive model, and speed.

use proptest::prelude::*;

use super::super::inline;
use super::*;

type Args = Vec<Vec<u8>>;

fn limits() -> Limits {
    Limits { bulk_bytes_max: 1 << 20, ..Limits::default() }
}

/// The first thing found in `input`.
fn first_of(input: &[u8], limits: &Limits) -> ParseOutcome {
    let mut spans = vec![Span { start: 1, len: 2 }];
    let step = Parser::new().next(input, 0, &mut spans, limits);
    if !matches!(step, ParseOutcome::Command { .. }) {
        assert_eq!(spans.len(), 1, "only a command leaves spans");
    }
    step
}

fn commands(found: Vec<Found>) -> Vec<Args> {
    let command = |found| match found {
        Found::Command(args) => args,
        other => panic!("a command was sent: {other:?}"),
    };
    found.into_iter().map(command).collect()
}

/// A model that copies everything and starts over with each command.
fn naive(mut input: &[u8], limits: &Limits) -> Vec<Found> {
    let mut found = Vec::new();
    while let Some((step, rest)) = naive_one(input, limits) {
        let is_error = matches!(step, Found::Error(_));
        found.push(step);
        if is_error {
            break;
        }
        input = rest;
    }
    found
}

fn naive_one<'a>(input: &'a [u8], limits: &Limits) -> Option<(Found, &'a [u8])> {
    if *input.first()? != b'*' {
        let end = input.iter().position(|&byte| byte == b'\n')? + 1;
        let line = &input[..end];
        let is_blank = line.iter().all(|&byte| inline::is_space(byte));
        return Some((if is_blank { Found::Empty } else { Found::Inline(line.to_vec()) }, &input[end..]));
    }
    let (count, mut rest) = naive_line(input)?;
    let Some(count) = count.filter(|&count| count <= i64::from(limits.args_max)) else {
        return Some((Found::Error(ProtocolError::InvalidMultibulkLength), rest));
    };
    if count > 10 && !limits.authenticated {
        return Some((Found::Error(ProtocolError::UnauthenticatedMultibulkLength), rest));
    }
    if count <= 0 {
        return Some((Found::Empty, rest));
    }
    let mut args = Vec::new();
    for _ in 0..count {
        let (len, after) = naive_line(rest)?;
        if rest[0] != b'$' {
            return Some((Found::Error(ProtocolError::ExpectedDollar(rest[0])), rest));
        }
        let max = limits.bulk_bytes_max as i64;
        let Some(len) = len.filter(|len| (0..=max).contains(len)) else {
            return Some((Found::Error(ProtocolError::InvalidBulkLength), rest));
        };
        if len > 16384 && !limits.authenticated {
            return Some((Found::Error(ProtocolError::UnauthenticatedBulkLength), rest));
        }
        let len = len as usize;
        args.push(after.get(..len)?.to_vec());
        rest = after.get(len + 2..)?;
    }
    Some((Found::Command(args), rest))
}

/// The number in a header line, and what follows the line.
fn naive_line(input: &[u8]) -> Option<(Option<i64>, &[u8])> {
    let cr = input.iter().position(|&byte| byte == b'\r')?;
    let rest = input.get(cr + 2..)?;
    let text = input.get(1..cr).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default();
    Some((text.parse::<i64>().ok().filter(|value| value.to_string() == text), rest))
}

/// What Redis 7.0 was seen to answer to these bytes.
#[test]
fn odd_bytes_are_judged_as_redis_does() {
    use ProtocolError::*;
    let errors: &[(&[u8], ProtocolError)] = &[
        (b"*+1\r\n", InvalidMultibulkLength),
        (b"*01\r\n", InvalidMultibulkLength),
        (b"* 1\r\n", InvalidMultibulkLength),
        (b"*1 \r\n", InvalidMultibulkLength),
        (b"*\r\n", InvalidMultibulkLength),
        (b"*-0\r\n", InvalidMultibulkLength),
        (b"*2147483648\r\n", InvalidMultibulkLength),
        (b"*99999999999999999999\r\n", InvalidMultibulkLength),
        (b"*1\r\n$04\r\nPING\r\n", InvalidBulkLength),
        (b"*1\r\n$00\r\n\r\n", InvalidBulkLength),
        (b"*1\r\n$+4\r\nPING\r\n", InvalidBulkLength),
        (b"*1\r\n$-1\r\n", InvalidBulkLength),
        (b"*1\r\n$-0\r\n", InvalidBulkLength),
        (b"*1\r\n$\r\n", InvalidBulkLength),
        (b"*1\r\n$1048577\r\n", InvalidBulkLength),
        (b"*1\r\nabc\r\n", ExpectedDollar(b'a')),
        (b"*1\r\n\r\n", ExpectedDollar(b'\r')),
        (b"*1\r\n\n\r\n", ExpectedDollar(b'\n')),
        (b"*1\r\n\xff\r\n", ExpectedDollar(0xff)),
        (b"*2\r\n$4\r\nPING\r\n:1\r\n", ExpectedDollar(b':')),
    ];
    for &(input, error) in errors {
        assert_eq!(first_of(input, &limits()), ParseOutcome::Error(error), "{}", input.escape_ascii());
    }
    let incomplete: &[&[u8]] = &[
        b"",
        b"*1\n$4\nPING\n",
        b"*1\r",
        b"*1\r\n",
        b"*1\r\nabc",
        b"*1\r\nabc\r",
        b"*1048577\r\n",
        b"*2147483647\r\n",
        b"*1\r\n$1048576\r\n",
        b"*1\r\n$4\r\nPING\r",
        b"PING",
    ];
    for input in incomplete {
        assert_eq!(first_of(input, &limits()), ParseOutcome::Incomplete, "{}", input.escape_ascii());
    }
    for input in [&b"*0\r\n"[..], b"*-1\r\n", b"*-5\r\n", b"\r\n", b"\n", b" \x0b\t\r\n"] {
        assert_eq!(first_of(input, &limits()), ParseOutcome::Empty { end: input.len() });
    }
    for input in [&b"*1\rX$4\r\nPING\r\n"[..], b"*1\r\n$4\rXPINGXX", b"*1\r\n$0\r\n\r\n"] {
        assert_eq!(first_of(input, &limits()), ParseOutcome::Command { end: input.len() });
    }
    for input in [&b"PING\n"[..], b"PING \"a\r\n"] {
        assert_eq!(first_of(input, &limits()), ParseOutcome::Inline { end: input.len() });
    }
}

#[test]
fn lines_without_end_are_bounded() {
    use ProtocolError::*;
    let cases: &[(&[u8], ProtocolError)] =
        &[(b"*", TooBigMultibulkCount), (b"*1\r\n$", TooBigBulkCount), (b"a", TooBigInline)];
    for &(head, error) in cases {
        let line_start = head.len() - 1;
        let mut input = head.to_vec();
        input.resize(line_start + INLINE_BYTES_MAX, b'1');
        assert_eq!(first_of(&input, &limits()), ParseOutcome::Incomplete);
        input.push(b'1');
        assert_eq!(first_of(&input, &limits()), ParseOutcome::Error(error));
    }
    let long = [&b"ECHO "[..], &[b'a'; 70_000], b"\r\n"].concat();
    assert_eq!(first_of(&long, &limits()), ParseOutcome::Inline { end: long.len() });
}

#[test]
fn strangers_may_send_little() {
    use ProtocolError::*;
    let stranger = Limits { authenticated: false, ..Limits::default() };
    for (input, step) in [
        (&b"*10\r\n"[..], ParseOutcome::Incomplete),
        (b"*11\r\n", ParseOutcome::Error(UnauthenticatedMultibulkLength)),
        (b"*11x\r\n", ParseOutcome::Error(InvalidMultibulkLength)),
        (b"*1\r\n$16384\r\n", ParseOutcome::Incomplete),
        (b"*1\r\n$16385\r\n", ParseOutcome::Error(UnauthenticatedBulkLength)),
        (b"*1\r\n$999999999\r\n", ParseOutcome::Error(InvalidBulkLength)),
    ] {
        assert_eq!(first_of(input, &stranger), step, "{}", input.escape_ascii());
    }
}

#[test]
fn error_texts_are_those_of_redis() {
    let text = |error: ProtocolError| {
        let mut out = Vec::new();
        error.write_to(&mut out);
        out
    };
    assert_eq!(text(ProtocolError::ExpectedDollar(0xff)), b"Protocol error: expected '$', got '\xff'");
    assert_eq!(text(ProtocolError::UnbalancedQuotes), b"Protocol error: unbalanced quotes in request");
    assert_eq!(ProtocolError::ExpectedDollar(b'x').to_string(), "Protocol error: expected '$', got 'x'");
}

#[test]
fn pipelines_are_cut_at_every_byte() {
    let many: Args = (0..40).map(|index| vec![b'x'; index * 7 % 130]).collect();
    let sent: Vec<Args> = vec![
        vec![b"SET".to_vec(), vec![b'k'; 16], vec![b'v'; 64]],
        vec![b"GET".to_vec(), vec![b'k'; 16]],
        many,
        vec![b"".to_vec()],
        vec![b"SET".to_vec(), b"k".to_vec(), vec![b'\r'; 1300]],
        vec![b"PING".to_vec()],
    ];
    let stream: Vec<u8> = sent.iter().flat_map(|args| inline::encode(args)).collect();
    for bulk_direct_min in [0, 1, 100, 1000, u64::MAX] {
        let limits = Limits { bulk_direct_min, ..limits() };
        for piece in 1..stream.len() + 1 {
            assert_eq!(commands(fuzz_run(&stream, piece, &limits)), sent, "pieces of {piece}");
        }
    }
}

/// A command of many arguments that arrives byte by byte is read once: what is kept grows, and nothing is read twice.
#[test]
fn long_commands_are_resumed() {
    const ARGS: usize = 300_000;
    let stream = inline::encode(&vec![b"abc"; ARGS]);
    let (mut parser, mut spans) = (Parser::new(), Vec::new());
    let limits = Limits::default();
    for end in 0..stream.len() {
        assert_eq!(parser.next(&stream[..end], 0, &mut spans, &limits), ParseOutcome::Incomplete);
    }
    assert!(parser.is_midway());
    let moved = [b"....", &stream[..]].concat();
    assert_eq!(parser.next(&moved, 4, &mut spans, &limits), ParseOutcome::Command { end: moved.len() });
    assert_eq!(spans.len(), ARGS);
    assert!(spans.iter().all(|span| span.slice(&moved) == b"abc"));
    assert!(!parser.is_midway());
}

#[test]
fn large_bulks_are_received_elsewhere() {
    let limits = Limits { bulk_direct_min: 10, ..limits() };
    let (mut parser, mut spans) = (Parser::new(), Vec::new());
    let head = b"PING\r\n*3\r\n$3\r\nSET\r\n$20\r\n";
    let expected = ParseOutcome::LargeBulk { header_end: head.len(), len: 20 };
    assert_eq!(parser.next(head, 6, &mut spans, &limits), expected);
    assert_eq!(parser.next(head, 6, &mut spans, &limits), expected, "asking again changes nothing");
    parser.bulk_taken();
    let rest = [&head[6..], b"\r\n$12\r\nhello"].concat();
    assert_eq!(parser.next(&rest[..rest.len() - 11], 0, &mut spans, &limits), ParseOutcome::Incomplete);
    let expected = ParseOutcome::LargeBulk { header_end: rest.len() - 5, len: 12 };
    assert_eq!(parser.next(&rest, 0, &mut spans, &limits), expected);
    // The caller may as well let it arrive in the input.
    let rest = [&rest[..], b" world!\r\n+"].concat();
    assert_eq!(parser.next(&rest, 0, &mut spans, &limits), ParseOutcome::Command { end: rest.len() - 1 });
    let larges = [bytes::Bytes::from_static(b"twenty")];
    let args: Vec<&[u8]> = spans.iter().map(|span| span.resolve(&rest, &larges)).collect();
    assert_eq!(args, [&b"SET"[..], b"twenty", b"hello world!"]);
}

#[test]
fn bulks_beyond_spans_are_always_large() {
    let limits = Limits { bulk_bytes_max: u64::MAX, ..Limits::default() };
    let big = format!("*1\r\n${}\r\n", u64::from(u32::MAX));
    assert_eq!(
        first_of(big.as_bytes(), &limits),
        ParseOutcome::LargeBulk { header_end: big.len(), len: u64::from(u32::MAX) }
    );
    assert_eq!(
        first_of(format!("*1\r\n${}\r\n", i64::MAX).as_bytes(), &limits),
        ParseOutcome::LargeBulk { header_end: 26, len: i64::MAX as u64 }
    );
}

fn any_args() -> impl Strategy<Value = Args> {
    let arg = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..20),
        2 => proptest::collection::vec(any::<u8>(), 90..120),
        1 => proptest::collection::vec(any::<u8>(), 990..1010),
    ];
    proptest::collection::vec(arg, 1..14)
}

/// Bytes that look like requests more often than chance would have it.
fn any_garbage() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"*2\r\n$1\r\na\r\n".to_vec()),
        Just(b"$3\r\nabc\r\n".to_vec()),
        Just(b"-0+ ".to_vec()),
        Just(b"PING 'a\n".to_vec()),
        (0u32..30).prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat())
}

/// Commands whose first bytes are the same as far as a prefix may go, or almost.
const ALIKE: &[&str] = &[
    "GET a",
    "GET abcdefghijklmnopqrst",
    "GEX a",
    "GET a b",
    "get a",
    "PING",
    "INCRBY a 1",
    "INCRBYX a 1",
    "LPUSH a 1 2 3 4 5 6 7 8",
    "LPUSH a 1 2 3 4 5 6 7 8 9 10 11 12",
];

proptest! {
    #[test]
    fn commands_survive_cuts(sent in proptest::collection::vec(any_args(), 1..8), piece in 1usize..600, direct in 0u64..1200) {
        let stream: Vec<u8> = sent.iter().flat_map(|args| inline::encode(args)).collect();
        let limits = Limits { bulk_direct_min: direct, ..limits() };
        prop_assert_eq!(commands(fuzz_run(&stream, piece, &limits)), sent);
    }

    #[test]
    fn commands_that_begin_alike_survive_cuts(
        sent in proptest::collection::vec(proptest::sample::select(ALIKE), 1..30), piece in 1usize..200,
    ) {
        let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Args>();
        let sent: Vec<Args> = sent.into_iter().map(words).collect();
        let stream: Vec<u8> = sent.iter().flat_map(|args| inline::encode(args)).collect();
        prop_assert_eq!(commands(fuzz_run(&stream, piece, &limits())), sent);
    }

    #[test]
    fn garbage_is_read_as_the_model_reads_it(input in any_garbage(), authenticated: bool) {
        let limits = Limits { authenticated, ..limits() };
        prop_assert_eq!(fuzz_run(&input, input.len().max(1), &limits), naive(&input, &limits));
    }

    #[test]
    fn garbage_never_panics(first: u8, input in any_garbage()) {
        fuzz_parse(&[&[first], &input[..]].concat());
    }
}

/// `cargo test --release --lib resp::parse -- --ignored --nocapture`: nanoseconds per command of a pipeline of 64.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let set: Args = vec![b"SET".to_vec(), vec![b'k'; 16], vec![b'v'; 64]];
    let get: Args = vec![b"GET".to_vec(), vec![b'k'; 16]];
    for (name, args) in [("SET", set), ("GET", get)] {
        let stream = inline::encode(&args).repeat(64);
        let (mut parser, mut spans) = (Parser::new(), Vec::new());
        let limits = Limits::default();
        const ROUNDS: u32 = 100_000;
        let mut best = u128::MAX;
        for _ in 0..ROUNDS {
            let began = std::time::Instant::now();
            let (mut start, stream) = (0, std::hint::black_box(&stream[..]));
            spans.clear();
            while let ParseOutcome::Command { end } = parser.next(stream, start, &mut spans, &limits) {
                start = end;
            }
            assert_eq!(std::hint::black_box(&spans).len(), 64 * args.len());
            best = best.min(began.elapsed().as_nanos());
        }
        println!("{name} {:.1} ns at best", best as f64 / 64.0);
    }
}
