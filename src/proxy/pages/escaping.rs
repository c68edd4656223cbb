//! Escaping: how every value becomes a part of a page.

use minijinja::value::Value;
use minijinja::{Error, HtmlEscape, Output, State, escape_formatter};

/// Maximum number of characters of a value. The rest is cut.
pub(super) const MAX_TEXT: usize = 300;

/// Formats every value of a template. Only the style and links, whose length is limited, are
/// already escaped.
pub(super) fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() => {
            write!(out, "{}", HtmlEscape(&clean(text))).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    }
}

/// The filter `strong`: a value with emphasis, whose direction does not change that of its
/// surroundings.
pub(super) fn strong(text: &str) -> Value {
    let text = clean(text);
    Value::from_safe_string(format!("<strong><bdi>{}</bdi></strong>", HtmlEscape(&text)))
}

/// Cuts `text` to its first [`MAX_TEXT`] characters and replaces invisible ones that change how
/// their surroundings are displayed.
pub(super) fn clean(text: &str) -> String {
    let mut chars = text.chars();
    let mut clean: String = chars
        .by_ref()
        .take(MAX_TEXT)
        .map(|c| if is_disruptive(c) { '\u{FFFD}' } else { c })
        .collect();
    if chars.next().is_some() {
        clean.push('…');
    }
    clean
}

/// Control characters, line separators, and marks that change the text direction (Unicode UAX #9
/// section 2).
pub(super) fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}
