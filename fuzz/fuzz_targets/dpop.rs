//! Proofs of possession: what passes was made for one request.
#![no_main]

#[path = "../../tests/properties/checks/dpop.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| check::check(text));
