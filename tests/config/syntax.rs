//! Files with syntax errors, and the masking of secrets in what is shown of them.

use std::fs;

use proptest::proptest;

use super::support::{Folder, GOOD};

#[test]
fn syntax_errors_are_reported_per_line() {
    let error = Folder::with("[server]\nlisten = \nworkers = 4\nmax_connections = = 5\n")
        .load(&[])
        .unwrap_err();
    let lines: Vec<_> = error
        .problems()
        .iter()
        .map(|problem| problem.location.line())
        .collect();
    assert_eq!(lines, [Some(2), Some(4)], "{error}");
    assert!(
        error
            .problems()
            .iter()
            .all(|problem| problem.message.starts_with("not TOML: "))
    );
}

#[test]
fn garbage_is_rejected_without_a_panic() {
    let texts = [
        "",
        "\u{feff}",
        "=",
        "[[",
        "[a]\n[a]\n",
        "\0",
        "a = \"\u{1F980}",
        "apps = 1",
        "apps = []",
        "[apps]\nx = 1",
    ];
    for text in texts {
        let error = Folder::with(text).load(&[]).unwrap_err();
        assert!(error.errors() > 0);
        assert!(!error.render(true).is_empty(), "{text}");
    }
    let folder = Folder::with("");
    fs::write(folder.path("doorward.toml"), [0xff, 0xfe]).unwrap();
    assert!(
        folder.load(&[]).unwrap_err().problems()[0]
            .message
            .contains("not UTF-8 text")
    );
}

proptest! {
    /// One typing mistake: no panic, no rejection without an error, and the secret is never shown.
    #[test]
    fn typing_mistake_never_shows_a_secret(at in 0..1000usize, cut in 0..3usize, typed in "[a-z=\"'.#@\\[\\]{}\n ]?") {
        const SECRET: &str = "q7Zx-vault-9Kd";
        let valid = format!("{GOOD}\n[apps.blog]\nprovider = \"login\"\npublic_url = \"https://blog.example.com\"\n\
            upstream = \"http://127.0.0.1:5000\"\nclient_id = \"blog\"\nclient_secret = \"{SECRET}\"\nendpoint_prefix = 1\n");
        // Half of the mistakes are near the secret.
        let at = if at % 2 == 0 { valid.len() - 1 - (at % 80) } else { at % valid.len() };
        let cut = cut.min(valid.len() - at);
        let mistyped = format!("{}{typed}{}", &valid[..at], &valid[at + cut..]);
        FOLDER.with(|folder| {
            folder.write("doorward.toml", &mistyped);
            match folder.load(&[]) {
                Ok(loaded) => assert!(!format!("{loaded:?}").contains(SECRET)),
                Err(error) => {
                    assert!(error.errors() > 0, "rejected without an error:\n{mistyped}");
                    let shown = error.render(false);
                    for window in SECRET.as_bytes().windows(6) {
                        let part = std::str::from_utf8(window).unwrap();
                        assert!(!shown.contains(part), "{part} of the secret is shown:\n{shown}");
                    }
                }
            }
        });
    }
}

thread_local! {
    static FOLDER: Folder = Folder::with(GOOD);
}
