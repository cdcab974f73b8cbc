//! Any bytes as a manifest and as a file of the append-only file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc::persist::aof::fuzz(data));
