//! What must hold whatever comes in: generated inputs against the pure code, and the fuzzers' corpus as ordinary tests.
//!
//! `checks` says what must hold of one text at each public entrance; the fuzz targets under `fuzz/` ask the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test by panicking"
)]

mod addresses;
mod adversarial_inputs;
mod checks;
mod config;
mod cookies;
mod corpus;
mod decisions;
mod events;
mod identity;
mod lifetimes;
mod paths;
mod patterns;
mod proofs;
mod provider;
mod requests;
mod seals;
