//! Documentation tests: the README and the pages below `docs/` against the code.
//!
//! - Every name that the code has stands in the book, and the book has no other.
//! - Every TOML block is accepted by `check`.
//! - Every internal link resolves.
//! - The migration guides have the tables of `doorward import`, and its output.
//!
//! Each check is a function from pages to complaints, and is given a broken page to prove that it complains.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "a test's helpers fail the test by panicking"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "Markdown and TOML have more kinds of values than these tests look at"
)]

mod book;
mod configuration;
mod event_members;
mod examples;
mod imports;
mod links;
mod names;
mod protocol_names;
mod readme;
mod source;
