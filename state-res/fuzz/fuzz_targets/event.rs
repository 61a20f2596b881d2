#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| state_res_fuzz::event(data));
