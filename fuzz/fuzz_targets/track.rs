//! See `crates/proxy/src/track/fuzz.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dauphin_proxy::fuzz_track(data));
