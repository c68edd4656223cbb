//! The README stays short.

use super::book::{Page, page, pages};

const MAX_WORDS: usize = 900;

#[test]
fn readme_has_at_most_900_words() {
    let pages = pages();
    let words = page(&pages, "README.md").words;
    assert!(
        words <= MAX_WORDS,
        "README.md has {words} words, {MAX_WORDS} are allowed"
    );
}

#[test]
fn words_are_counted_in_text_links_tables_and_code() {
    let text = "# One two\n\nthree [four](x.md) `five`, – six.\n\n| a | b |\n| --- | --- |\n| c | d |\n\n```sh\nrun it # twice\n```\n";
    assert_eq!(Page::parse("README.md", text).words, 13);
}
