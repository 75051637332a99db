//! What cargo-fuzz builds, once for each target: the name of the binary is the name of the target.
#![no_main]

mod mended;
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::run(env!("CARGO_BIN_NAME"), bytes));
