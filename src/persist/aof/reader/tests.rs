//! Files whole, torn and damaged.

use std::io::{self, Read};
use std::path::Path;

use proptest::prelude::*;

use super::{AofReader, BLOCK_BYTES, Next};

const FILE: &[u8] = b"#TS:1700000000\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n# x\n*1\r\n$4\r\nPING\r\n";

/// Gives a few bytes at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(3);
        self.0.read(&mut buffer[..count])
    }
}

/// What was read: commands as words behind their offsets, annotations as one word, and the end.
type Seen = (Vec<(u64, Vec<Vec<u8>>)>, String, u64);

fn read(file: &[u8]) -> Seen {
    let mut reader = AofReader::new(Slow(file), Path::new("a.aof"), 0, file.len() as u64);
    let mut seen = Vec::new();
    let mut last_end = 0;
    loop {
        let (name, offset, reason) = match reader.next().expect("it can be read") {
            Next::Command(command) => {
                assert_eq!(command.offset, last_end);
                assert_eq!(command.bytes, &file[command.offset as usize..command.end as usize]);
                assert!(!command.is_empty());
                assert_eq!(command.words().len(), command.len());
                last_end = command.end;
                seen.push((command.offset, command.words().map(<[u8]>::to_vec).collect()));
                continue;
            }
            Next::Annotation(line) => {
                assert_eq!(line.offset, last_end);
                last_end = line.end;
                seen.push((line.offset, vec![line.text.to_vec()]));
                continue;
            }
            Next::End { offset } => ("whole", offset, String::new()),
            Next::Torn { offset, reason } => ("torn", offset, reason),
            Next::Damaged { offset, reason } => ("damaged", offset, reason),
        };
        assert_eq!((offset, reader.offset()), (last_end, last_end));
        // Of the file, and what a block has more than it.
        assert!(reader.block.capacity() <= file.len().max(8), "{}", reader.block.capacity());
        assert!(reader.words.capacity() <= 8 + file.len() / 3, "{}", reader.words.capacity());
        let again = reader.next().expect("it can be read");
        let is_same = matches!(
            (name, again),
            ("whole", Next::End { .. }) | ("torn", Next::Torn { .. }) | ("damaged", Next::Damaged { .. })
        );
        assert!(is_same, "the end stays the end");
        return (seen, format!("{name} {reason}").trim().to_owned(), offset);
    }
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn commands_and_annotations_come_in_order() {
    let (seen, end, offset) = read(FILE);
    let expected = [
        (0, words(&["#TS:1700000000"])),
        (16, words(&["SELECT", "0"])),
        (39, words(&["SET", "k", ""])),
        (65, words(&["# x"])),
        (69, words(&["PING"])),
    ];
    assert_eq!(seen, expected);
    assert_eq!((&end[..], offset), ("whole", FILE.len() as u64));
    assert_eq!(read(b""), (Vec::new(), "whole".to_owned(), 0));
    let mut reader = AofReader::new(FILE, Path::new(""), 0, FILE.len() as u64);
    let Ok(Next::Annotation(line)) = reader.next() else { panic!("it is one") };
    assert_eq!(line.timestamp_s(), Some(Ok(1_700_000_000)));
    let Ok(Next::Command(select)) = reader.next() else { panic!("it is one") };
    assert!(select.is_named("select") && select.word(1) == Some(b"0") && select.word(2).is_none());
    assert_eq!(super::timestamp(1_700_000_000), &FILE[..16]);
}

/// P038: a crash may cut the file anywhere.
#[test]
fn every_prefix_is_whole_or_torn_at_the_last_whole_command() {
    let borders = [0, 16, 39, 65, 69, FILE.len()];
    for len in 0..=FILE.len() {
        let (seen, end, offset) = read(&FILE[..len]);
        let (index, border) =
            borders.iter().enumerate().rfind(|(_, border)| **border <= len).expect("0 is one");
        assert_eq!((seen.len(), offset), (index, *border as u64));
        let wanted = if *border == len { "whole" } else { "torn the file ends" };
        assert!(end.starts_with(wanted), "{len}: {end}");
    }
}

#[test]
fn damage_is_told_with_place_and_reason() {
    let cases: [(&str, &str); 17] = [
        ("SET in 1\r\n", "'*' was expected, not S, at offset 14"),
        ("\0\0\0\0", "'*' was expected, not 0x00, at offset 14"),
        ("*\r\n", "a number was expected, not 0x0d, at offset 15"),
        ("*-1\r\n", "a number was expected, not -, at offset 15"),
        ("*0\r\n", "a command without words, at offset 14"),
        ("*01\r\n", "a number without leading zeros was expected, not 0, at offset 15"),
        ("*1\n", "a line end was expected, not 0x0a, at offset 16"),
        ("*1\r$", "a line end was expected, not $, at offset 17"),
        ("*12345678901234567890", "the end of a number was expected, not 0, at offset 34"),
        ("*1\r\n*", "'$' was expected, not *, at offset 18"),
        ("*1\r\n$x", "a number was expected, not x, at offset 19"),
        ("*1\r\n$-1\r\n", "a number was expected, not -, at offset 19"),
        ("*1\r\n$1\r\nab", "a line end behind a word was expected, not b, at offset 23"),
        ("*1\r\n$1\r\na\rb", "a line end behind a word was expected, not b, at offset 24"),
        ("*2\r\n$1\r\na\r\n$1\r\nbcd\r\n", "a line end behind a word was expected, not c, at offset 30"),
        ("*1\r\n$4\r\nPINGxx*1\r\n", "a line end behind a word was expected, not x, at offset 26"),
        ("*2\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "'$' was expected, not *, at offset 28"),
    ];
    for (text, reason) in cases {
        let file = [b"*1\r\n$4\r\nPING\r\n", text.as_bytes()].concat();
        let (seen, end, offset) = read(&file);
        assert_eq!((seen.len(), offset), (1, 14), "{text:?}: {end}");
        assert_eq!(end, format!("damaged {reason}"), "{text:?}");
    }
    let long = [b"#", &b"x".repeat(1023)[..], b"\n"].concat();
    assert_eq!(read(&long).1, "damaged an annotation of more than 1024 bytes, at offset 0");
}

/// P028: a length made of old bytes promises what is not there. Nothing is allocated for it.
#[test]
fn length_beyond_the_file_is_torn() {
    for tail in [
        "*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$999999999999",
        "*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$999999999999\r\n",
        "*1\r\n$9223372036854775807\r\nx",
        "*9999999999999999999\r\n$1\r\nx\r\n",
    ] {
        let (seen, end, offset) = read(&[b"*1\r\n$4\r\nPING\r\n", tail.as_bytes()].concat());
        assert_eq!((seen.len(), offset), (1, 14), "{tail:?}");
        assert!(end.starts_with("torn"), "{tail:?}: {end}");
    }
}

#[test]
fn large_words_and_many_words_fit() {
    let mut file = Vec::new();
    for len in [1, BLOCK_BYTES - 20, BLOCK_BYTES, 3 * BLOCK_BYTES + 1, 5] {
        file.extend_from_slice(format!("*2\r\n$1\r\nk\r\n${len}\r\n").as_bytes());
        file.extend_from_slice(&b"v".repeat(len));
        file.extend_from_slice(b"\r\n");
    }
    file.extend_from_slice(b"*200000\r\n");
    file.extend_from_slice(&b"$0\r\n\r\n".repeat(200_000));
    let (seen, end, _) = read(&file);
    let lengths: Vec<usize> = seen.iter().map(|(_, words)| words.iter().map(Vec::len).sum()).collect();
    assert_eq!(
        lengths,
        [2, BLOCK_BYTES - 19, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 2, 6, 0],
        "each a key of one byte and its value"
    );
    assert_eq!((seen[5].1.len(), &end[..]), (200_000, "whole"));
}

#[test]
fn reader_that_begins_behind_a_preamble_counts_from_the_beginning() {
    let mut source = FILE;
    source.read_exact(&mut [0; 39]).expect("there is more");
    let mut reader = AofReader::new(source, Path::new(""), 39, FILE.len() as u64);
    let Ok(Next::Command(set)) = reader.next() else { panic!("it is one") };
    assert_eq!((set.offset, set.end), (39, 65));
}

#[test]
fn failed_read_names_the_file() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let mut reader = AofReader::new(Broken, Path::new("a.aof"), 7, 100);
    let error = reader.next().expect_err("it cannot be read").to_string();
    assert!(error.starts_with("a.aof, at offset 7: cannot be read: "), "{error}");
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        commands in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5),
            0..10,
        )
    ) {
        let mut file = Vec::new();
        for command in &commands {
            file.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for word in command {
                file.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                file.extend_from_slice(word);
                file.extend_from_slice(b"\r\n");
            }
        }
        let (seen, end, _) = read(&file);
        prop_assert_eq!(seen.into_iter().map(|(_, words)| words).collect::<Vec<_>>(), commands);
        prop_assert_eq!(end, "whole");
    }

    #[test]
    fn any_bytes_end_somehow(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&file);
    }

    #[test]
    fn changed_file_ends_somehow(
        changes in proptest::collection::vec((0..FILE.len(), any::<u8>()), 1..4),
        cut in 0..=FILE.len(),
    ) {
        let mut file = FILE.to_vec();
        for (at, byte) in changes {
            file[at] = byte;
        }
        file.truncate(cut);
        read(&file);
    }
}
