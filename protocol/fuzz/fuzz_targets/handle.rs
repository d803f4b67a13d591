#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| oxmq_protocol_fuzz::handle(input));
