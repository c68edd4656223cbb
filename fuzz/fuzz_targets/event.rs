//! A webhook's body: what is taken of it is what it says.
#![no_main]

#[path = "../../tests/properties/checks/event.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| check::check(body));
