//! Tests of `shard`.
