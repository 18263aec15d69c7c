#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harkd::fuzzing::own_audio(bytes));
