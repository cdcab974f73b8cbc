//! The reply writer.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use torc::resp::{Output, Protocol, Reply};

/// Bytes of a value.
const VALUE_BYTES: usize = 64;

/// Replies of the common kinds, a pipeline of each.
pub fn benches(criterion: &mut Criterion) {
    let depth = crate::sized(64, 3);
    let value = vec![b'x'; VALUE_BYTES];
    let mut group = criterion.benchmark_group("reply");
    group.throughput(Throughput::Elements(depth as u64));
    let mut bench = |name: &str, write: &dyn Fn(&mut Reply<'_>, usize)| {
        let mut output = Output::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                output.clear();
                let mut reply = Reply::new(&mut output, Protocol::Resp2);
                (0..depth).for_each(|index| write(&mut reply, black_box(index)));
                black_box(output.len())
            });
        });
    };
    bench("ok", &|reply, _| reply.ok());
    bench("null", &|reply, _| reply.null());
    bench("bulk", &|reply, _| reply.bulk(black_box(&value)));
    bench("integer", &|reply, index| reply.integer(index as i64 * 1_000_003));
    bench("array of 10", &|reply, _| {
        reply.array(10);
        (0..10).for_each(|_| reply.bulk(black_box(b"a member")));
    });
    group.finish();
}
