//! See `dauphin_wire::fuzz::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dauphin_wire::fuzz::frames(data));
