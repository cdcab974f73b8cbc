//! What happens by name: the command table and glob patterns.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use torc::command::table;
use torc::glob::{Case, matches};

/// A pattern, a text, and whether they match.
const GLOBS: &[(&str, &str, bool)] = &[
    ("*", "key:000000000042", true),
    ("key:*", "key:000000000042", true),
    ("*42", "key:000000000042", true),
    ("*:0[0-9]*4?", "key:000000000042", true),
    ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
];

/// Lookups of names, found and not; globs.
pub fn benches(criterion: &mut Criterion) {
    let table = table();
    let mut group = criterion.benchmark_group("command lookup");
    let upper: Vec<String> = table.commands().map(|row| row.full_name.to_uppercase()).collect();
    for name in ["GET", "set", "nosuchcommand"] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| table.find(black_box(name.as_bytes())).is_some());
        });
    }
    group.throughput(Throughput::Elements(upper.len() as u64));
    group.bench_function("every command", |bencher| {
        bencher.iter(|| assert!(upper.iter().all(|name| table.find(black_box(name.as_bytes())).is_some())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("glob");
    for (pattern, text, expected) in GLOBS {
        let run = || matches(black_box(pattern.as_bytes()), black_box(text.as_bytes()), Case::Sensitive);
        assert_eq!(run(), *expected, "{pattern} {text}");
        group.bench_function(*pattern, |bencher| bencher.iter(run));
    }
    group.finish();
}
