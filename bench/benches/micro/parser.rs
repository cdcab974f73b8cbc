//! The request parser on pipelines as clients send them.

use std::collections::VecDeque;
use std::hint::black_box;

use bench::keys::KEYS_MAX;
use bench::operation::{Data, Operation, Plan, Source};
use bench::values::Sizes;
use criterion::{BenchmarkId, Criterion, Throughput};
use torc::resp::{Limits, ParseOutcome, Parser};

/// Bytes of a value.
const VALUE_BYTES: usize = 64;

/// Pipelines of GET, SET and a long MGET.
pub fn benches(criterion: &mut Criterion) {
    let depth = crate::sized(64, 3);
    let mget = format!("MGET{}", " %k".repeat(depth));
    let mut group = criterion.benchmark_group("parser");
    for (name, text, commands) in [("get", "GET %k", depth), ("set", "SET %k %v", depth), ("mget", &mget, 1)]
    {
        let input = pipeline(text, commands);
        let mut spans = Vec::new();
        assert_eq!(parse(&input, &mut spans), commands);
        group.throughput(Throughput::Elements(commands as u64));
        group.bench_function(BenchmarkId::new(name, commands), |bencher| {
            bencher.iter(|| parse(black_box(&input), &mut spans));
        });
    }
    group.finish();
}

fn pipeline(text: &str, commands: usize) -> Vec<u8> {
    let operation = Operation::FillWith(text.to_owned());
    let sizes = Sizes::Fixed(VALUE_BYTES);
    let data = Data { keys: KEYS_MAX, distribution: None, sizes, ttl: None, is_verified: false };
    let plan = Plan::new(&operation, &data).expect("the template is valid");
    let (mut input, mut source) = (Vec::new(), Source::new(1));
    for _ in 0..commands {
        plan.begin(&mut input, &mut source, &mut VecDeque::new()).expect("a template can be written");
    }
    input
}

/// Parses all of the input; the number of commands.
fn parse(input: &[u8], spans: &mut Vec<torc::resp::Span>) -> usize {
    let (mut parser, limits) = (Parser::new(), Limits::default());
    let (mut at, mut commands) = (0, 0);
    spans.clear();
    while let ParseOutcome::Command { end } = parser.next(input, at, spans, &limits) {
        at = end;
        commands += 1;
    }
    assert_eq!(at, input.len());
    commands
}
