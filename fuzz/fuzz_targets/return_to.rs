//! Return targets: whatever is taken stays on the app's own pages.
#![no_main]

#[path = "../../tests/properties/checks/return_to.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| check::check(text));
