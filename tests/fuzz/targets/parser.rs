//! Any bytes to the request parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torc::resp::fuzz_parse(data));
