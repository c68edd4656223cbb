//! `Cookie` fields, one a line: nothing is found that is not there.
#![no_main]

#[path = "../../tests/properties/checks/cookies.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
