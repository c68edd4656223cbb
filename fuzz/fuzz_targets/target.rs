//! Request paths: no reading of what is sent is one that the rules did not see.
#![no_main]

#[path = "../../tests/properties/checks/target.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| check::check(text));
