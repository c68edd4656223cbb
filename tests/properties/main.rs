//! Property tests: generated inputs for the pure code, and the fuzzing corpus as ordinary tests.
//!
//! `checks` contains the properties of one text at each public entry point. The fuzz targets in
//! `fuzz/` check the same.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test by panicking"
)]

mod addresses;
mod adversarial_inputs;
mod callers;
mod checks;
mod client_continuity;
mod config;
mod cookies;
mod corpus;
mod decision_model;
mod decisions;
mod device_binding;
mod events;
mod identity;
mod imports;
mod lifetimes;
mod paths;
mod patterns;
mod proofs;
mod provider;
mod requests;
mod rules;
mod seals;
