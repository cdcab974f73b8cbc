//! Any bytes as an RDB file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc::persist::rdb::file::check::fuzz(data));
