//! Configuration files: taken, or refused in words.
#![no_main]

#[path = "../../tests/properties/checks/config.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| check::check(text));
