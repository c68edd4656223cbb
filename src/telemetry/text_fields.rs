//! Fields of text events. A value that is not one plain word is quoted and escaped, so that no value
//! from a client or a provider looks like another field or another line.

use std::fmt::{self, Debug};

use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// Writes one field of an event.
pub(super) fn write_field(
    writer: &mut Writer<'_>,
    field: &Field,
    value: &dyn Debug,
) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => write_message(writer, &text),
        // Recorded by the `log` crate, and already part of the line.
        name if name.starts_with("log.") => Ok(()),
        name => {
            let name = name.strip_prefix("r#").unwrap_or(name);
            if is_plain(&text) || is_quoted(&text) {
                write!(writer, " {name}={text}")
            } else {
                write!(writer, " {name}={text:?}")
            }
        }
    }
}

/// The message is a constant of the program, or the text of a library.
fn write_message(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    for letter in text.chars() {
        if is_plain_letter(letter) || matches!(letter, ' ' | '"' | '\\') {
            writer.write_char(letter)?;
        } else {
            write!(writer, "{}", letter.escape_debug())?;
        }
    }
    Ok(())
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_plain_letter)
}

fn is_plain_letter(letter: char) -> bool {
    (letter.is_ascii_graphic() && !matches!(letter, '"' | '\\')) || letter.is_alphanumeric()
}

/// Whether `text` is one string in quotes, as `Debug` writes it.
fn is_quoted(text: &str) -> bool {
    let Some(inner) = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return false;
    };
    let mut is_escaped = false;
    for letter in inner.chars() {
        if letter.is_control() || (letter == '"' && !is_escaped) {
            return false;
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    !is_escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_quoted_strings_are_left_as_they_are() {
        for text in ["\"\"", "\"a b\"", "\"a \\\"b\\\"\"", "\"\\\\\""] {
            assert!(is_quoted(text), "{text}");
        }
        for text in ["\"", "a", "\"a\" b=\"c\"", "\"a\\\"", "\"a\nb\"", "\"a\"\""] {
            assert!(!is_quoted(text), "{text}");
        }
    }

    #[test]
    fn plain_words_need_no_quotes() {
        for text in [
            "a",
            "127.0.0.1:80",
            "https://a/?b=c",
            "Some(1)",
            "caf\u{e9}",
        ] {
            assert!(is_plain(text), "{text}");
        }
        for text in ["", "a b", "a\nb", "a\"", "a\\", "a\u{202e}b", "a\u{2028}b"] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
