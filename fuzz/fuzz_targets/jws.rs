//! Tokens: nothing passes that nobody signed.
#![no_main]

#[path = "../../tests/properties/checks/jws.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| check::check(text));
