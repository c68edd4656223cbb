//! Replays the fuzzing corpus: every input in `fuzz/corpus` with the check of its target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::checks;

/// Runs `check` on the corpus of `target`.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("no corpus of `{target}`: {error}"));
    let mut seen = 0;
    for file in files {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let held = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(held.is_ok(), "{} (the reason is above)", path.display());
        seen += 1;
    }
    assert!(seen > 0, "the corpus of `{target}` is empty");
}

/// Decodes the input as the fuzz targets do. They skip input that is not UTF-8, which these entry
/// points cannot receive.
fn text(check: fn(&str)) -> impl Fn(&[u8]) {
    move |bytes| std::str::from_utf8(bytes).into_iter().for_each(check)
}

#[test]
fn targets() {
    replay("target", text(checks::target::check));
}

#[test]
fn return_targets() {
    replay("return_to", text(checks::return_to::check));
}

#[test]
fn cookies() {
    replay("cookies", checks::cookies::check);
}

#[test]
fn tokens() {
    replay("jws", text(checks::jws::check));
}

#[test]
fn proofs() {
    replay("dpop", text(checks::dpop::check));
}

#[test]
fn callbacks() {
    replay("callback", text(checks::callback::check));
}

#[test]
fn webhooks() {
    replay("event", checks::event::check);
}

#[test]
fn configurations() {
    replay("config", text(checks::config::check));
}
