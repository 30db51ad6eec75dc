//! See `dauphin_wire::fuzz::startup`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dauphin_wire::fuzz::startup(data));
