//! Fails on purpose, on an input that only guided mutation reaches: it shows that the fuzz job finds faults.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"*2") && data.len() > 8 && data[4..].starts_with(b"$") {
        panic!("the injected fault");
    }
});
