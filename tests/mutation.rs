//! Short, seeded fuzz runs as ordinary tests: mutated requests to the parser, and whole commands made of the command table's
//! words to a server. `fuzz/` has the same two as endless jobs.
//!
//! A check that cannot fail is a defect: `injected_fault_is_found` shows that this fuzzing finds what it should.

use std::io;

use crate::harness::{Client, Rng, Server, Value, command, until};

/// Inputs that mutation starts from.
const SEEDS: &[&[u8]] = &[
    b"*1\r\n$4\r\nPING\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"PING\r\nSET k \"a \\x41 b\" 'c'\r\n",
    b"*2\r\n$4\r\nECHO\r\n$40\r\n0123456789012345678901234567890123456789\r\n",
    b"*0\r\n*-1\r\n\r\n",
    b"*12\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$0\r\n\r\n",
];
/// Pieces that make the difference between requests.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$",
    b"*3\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"\"",
    b"'",
    b"\\x",
    b"\0",
    b" ",
    b"-",
    b"99999999999",
    b"2147483648",
    b"*-1\r\n",
    b"$536870913\r\n",
];
/// Words for commands besides those of the table.
const WORDS: &[&[u8]] = &[
    b"",
    b"a",
    b"b",
    b"key",
    b"0",
    b"1",
    b"-1",
    b"2",
    b"3",
    b"10",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"1.5",
    b"nan",
    b"*",
    b"[a",
    b"\\",
    b"\0\xff",
    b"536870912",
    b"4294967296",
    b"18446744073709551615",
    b"on",
    b"off",
    b"yes",
    b"no",
];
/// Commands that would end the test instead of the server's correctness.
const LEFT_OUT: &[&str] = &[
    "shutdown",
    "debug",
    "client|pause",
    "client|reply",
    "client|kill",
    "monitor",
    "psync",
    "replconf",
    "sync",
    "config|set",
    "config|rewrite",
];

/// One mutation of `input`: changed, inserted, removed, doubled or spliced bytes.
fn mutate(input: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    match rng.below(7) {
        0 if at < input.len() => input[at] ^= 1 << rng.below(8),
        1 if at < input.len() => input[at] = rng.next() as u8,
        2 => {
            let end = (at + 1 + rng.below(8)).min(input.len());
            input.drain(at.min(end)..end);
        }
        3 => {
            let end = (at + rng.below(32)).min(input.len());
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        4 => input.truncate(at),
        5 => drop(input.splice(at..at, rng.pick(SEEDS).iter().copied())),
        _ => drop(input.splice(at..at, rng.pick(TOKENS).iter().copied())),
    }
}

/// Mutated inputs to `check` until it fails or `rounds` are over; the seed that made it fail.
fn fuzz(rounds: u64, check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) -> Option<u64> {
    (0..rounds).find(|seed| {
        let mut rng = Rng(*seed);
        let mut input = vec![rng.next() as u8];
        let first = *rng.pick::<&[u8]>(SEEDS);
        input.extend_from_slice(first);
        (0..1 + rng.below(12)).for_each(|_| mutate(&mut input, &mut rng));
        std::panic::catch_unwind(|| check(&input)).is_err()
    })
}

#[test]
fn mutated_requests_do_not_confuse_the_parser() {
    assert_eq!(fuzz(20_000, torc::resp::fuzz_parse), None, "this seed makes the parser fail");
}

#[test]
fn injected_fault_is_found() {
    let injected = |input: &[u8]| {
        let found = input.windows(8).any(|bytes| bytes == b"$0\r\n\r\n*3" || bytes == b"$-1\r\n$-1");
        assert!(!found, "the injected fault");
    };
    assert!(fuzz(200_000, injected).is_some(), "mutation does not reach what it should");
}

/// A connection, and what CLIENT UNBLOCK calls it.
fn connect(server: &Server) -> (Client, String) {
    let mut client = server.client();
    let id = client.ask("CLIENT ID").int().expect("an id");
    (client, id.to_string())
}

/// The next reply of a connection; while none comes its command may be one that waits, which is ended.
fn read_unblocked(client: &mut Client, id: &str, other: &mut Client) -> io::Result<Value> {
    let mut reply = Ok(None);
    until(|| {
        reply = client.try_read();
        let came = !matches!(reply, Ok(None));
        if !came {
            other.ask(&format!("CLIENT UNBLOCK {id}"));
        }
        came
    });
    reply?.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "no reply"))
}

/// Commands made of the table's names, its syntax's words and odd values: the server stays up and answers each.
#[test]
fn commands_from_the_dictionary_do_no_harm() {
    const PIPELINES: usize = 150;
    const DEPTH: usize = 20;
    let table = torc::command::table();
    let left_out =
        |name: &str| LEFT_OUT.iter().any(|out| name == *out || name.starts_with(&format!("{out}|")));
    let rows: Vec<_> = table.rows().iter().filter(|row| !left_out(&row.full_name)).collect();
    for (seed, args) in [(1, ["--workers", "1"]), (2, ["--workers", "3"])] {
        let mut server = Server::start(&args);
        let mut rng = Rng(seed);
        let mut other = server.client();
        let (mut client, mut id) = connect(&server);
        for round in 0..PIPELINES {
            let commands: Vec<Vec<Vec<u8>>> = (0..DEPTH)
                .map(|_| {
                    let row = rng.pick(&rows);
                    let mut words: Vec<Vec<u8>> =
                        row.full_name.split('|').map(|w| w.as_bytes().to_vec()).collect();
                    let syntax: Vec<&str> = row
                        .command
                        .syntax
                        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                        .filter(|word| !word.is_empty())
                        .collect();
                    let least = usize::from(row.command.arity.unsigned_abs()).saturating_sub(words.len());
                    let count = if rng.once_in(6) { rng.below(8) } else { least + rng.below(3) };
                    for _ in 0..count {
                        let from_syntax = !syntax.is_empty() && rng.once_in(3);
                        words.push(match from_syntax {
                            true => rng.pick(&syntax).as_bytes().to_vec(),
                            false => rng.pick(WORDS).to_vec(),
                        });
                    }
                    words
                })
                .collect();
            let bytes: Vec<u8> = commands.iter().flat_map(|words| command(words)).collect();
            client.send_raw(&bytes).expect("the server reads");
            for words in &commands {
                let ends = words[0] == b"quit" || words[0] == b"QUIT";
                match read_unblocked(&mut client, &id, &mut other) {
                    Ok(Value::Error(text)) if text.starts_with(b"ERR Protocol error") => {
                        panic!("seed {seed}, round {round}: {words:?}: {}", text.escape_ascii())
                    }
                    Ok(_) if ends => break,
                    Ok(_) => {}
                    Err(error) => {
                        let shown: Vec<_> =
                            words.iter().map(|word| word.escape_ascii().to_string()).collect();
                        panic!("seed {seed}, round {round}: {shown:?}: {error}\n{}", server.log());
                    }
                }
            }
            if commands.iter().any(|words| words[0] == b"quit") || rng.once_in(10) {
                (client, id) = connect(&server);
            }
        }
        server.check_alive();
        drop(client);
    }
}
