//! Values of the fields of upstream requests, valid by construction: a field never contains a line
//! break.

use http::HeaderValue;

/// A field value.
#[derive(Clone, Copy, Debug)]
pub(super) enum FieldValue<'v> {
    /// A header value.
    Value(&'v HeaderValue),
    /// The text of one, which is written without being copied first.
    Text(VisibleText<'v>),
}

/// Visible ASCII, spaces and tabs.
#[derive(Clone, Copy, Debug)]
pub(super) struct VisibleText<'v>(&'v str);

impl<'v> FieldValue<'v> {
    /// The value with this text. `None` if [`HeaderValue::from_str`] rejects it.
    pub(super) fn text(text: &'v str) -> Option<Self> {
        let is_valid = |byte| matches!(byte, b'\t' | b' '..=b'~');
        let is_visible = text.bytes().all(is_valid);
        is_visible.then_some(Self::Text(VisibleText(text)))
    }

    pub(super) fn as_bytes(&self) -> &'v [u8] {
        match self {
            Self::Value(value) => value.as_bytes(),
            Self::Text(VisibleText(text)) => text.as_bytes(),
        }
    }

    /// The text, if it is visible ASCII.
    pub(super) fn as_str(&self) -> Option<&'v str> {
        match self {
            Self::Value(value) => value.to_str().ok(),
            Self::Text(VisibleText(text)) => Some(text),
        }
    }

    pub(super) fn to_header_value(self) -> HeaderValue {
        match self {
            Self::Value(value) => value.clone(),
            Self::Text(VisibleText(text)) => {
                HeaderValue::from_str(text).unwrap_or(const { HeaderValue::from_static("") })
            }
        }
    }
}

impl<'v> From<&'v HeaderValue> for FieldValue<'v> {
    fn from(value: &'v HeaderValue) -> Self {
        Self::Value(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_a_header_value_accepts() {
        for byte in 0..=0x7f_u8 {
            let text = format!("a{}b", char::from(byte));
            let value = FieldValue::text(&text);
            let expected = HeaderValue::from_str(&text).ok();
            assert_eq!(value.map(FieldValue::to_header_value), expected, "{text:?}");
            let bytes = value.as_ref().map(FieldValue::as_bytes);
            assert_eq!(bytes, expected.is_some().then_some(text.as_bytes()));
        }
        assert!(FieldValue::text("\u{e9}").is_none());
    }
}
