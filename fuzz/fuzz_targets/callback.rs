//! The callback's query: what is taken of it is what it says.
#![no_main]

#[path = "../../tests/properties/checks/callback.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| check::check(text));
