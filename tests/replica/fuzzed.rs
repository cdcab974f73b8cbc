//! A short, seeded version of the fuzz target `replication`: what a primary may say, changed at random.

use crate::harness::Rng;

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// What primaries say.
fn seeds() -> Vec<Vec<u8>> {
    let ok = "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n";
    let mark = "m".repeat(40);
    [
        format!("{ok}+FULLRESYNC {ID} 12\r\n$5\r\nREDIS*1\r\n$4\r\nPING\r\n"),
        format!("{ok}\n\n+FULLRESYNC {ID} 12\r\n\n$EOF:{mark}\r\nREDISmmm{mark}*1\r\n$4\r\nPING\r\n"),
        format!("{ok}+CONTINUE {ID}\r\n*1\r\n$4\r\nPING\r\n"),
        format!("{ok}+CONTINUE\r\n"),
        format!("{ok}-NOMASTERLINK no\r\n"),
        "-NOAUTH no\r\n-ERR no\r\n".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}

#[test]
fn whatever_a_primary_says_is_understood_or_refused() {
    let (seeds, mut rng) = (seeds(), Rng(42));
    for seed in &seeds {
        for choices in 0..16 {
            torc::replicate::replica::fuzz(&[&[choices][..], seed].concat());
        }
    }
    for _ in 0..20_000 {
        let mut bytes = rng.pick(&seeds).clone();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len());
            match rng.below(4) {
                0 => bytes[at] = rng.next() as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, *rng.pick(b"\r\n+-$0 m")),
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                bytes.push(b'+');
            }
        }
        bytes.insert(0, rng.next() as u8);
        torc::replicate::replica::fuzz(&bytes);
    }
}
