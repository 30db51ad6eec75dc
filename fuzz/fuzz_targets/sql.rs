//! See `dauphin_wire::fuzz::sql`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dauphin_wire::fuzz::sql(data));
