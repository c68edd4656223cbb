//! Identifier of a preserved POST request, as it appears in the confirmation page's URL and in the
//! replay request's body.

/// Length of an identifier in bytes.
const ID_LEN: usize = 22;

/// The single field of the form that requests the replay of a preserved POST.
pub const REPLAY_FIELD: &str = "doorward-form";

/// Length in bytes of the body that this form sends.
pub const REPLAY_BODY_LEN: usize = REPLAY_FIELD.len() + "=".len() + ID_LEN;

/// Identifier of a preserved POST: 128 random bits, base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostId(String);

impl PostId {
    /// Parses an identifier. `None` if the length or a character is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = text.len() == ID_LEN
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The identifier in the query of the confirmation page's URL.
    pub fn in_query(query: &str) -> Option<Self> {
        query.strip_prefix("id=").and_then(Self::parse)
    }

    /// The identifier in the body of a replay request, which has one field and nothing else.
    pub fn in_body(body: &[u8]) -> Option<Self> {
        std::str::from_utf8(body)
            .ok()?
            .strip_prefix(REPLAY_FIELD)?
            .strip_prefix('=')
            .and_then(Self::parse)
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Path and query of the confirmation page, below the endpoint `prefix`.
    pub fn page(&self, prefix: &str) -> String {
        format!("{prefix}/form?id={}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn post_id_in_body_accepts_exactly_one_field() {
        let id = "AbCdEfGhIjKlMnOpQrSt-_";
        assert_eq!(
            PostId::in_body(format!("doorward-form={id}").as_bytes()),
            PostId::parse(id)
        );
        assert!(
            PostId::parse(id).is_some()
                && PostId::in_query(&format!("id={id}")) == PostId::parse(id)
        );
        for body in [
            "",
            id,
            "doorward-form=",
            "doorward-form",
            &format!("doorward-form={id}&x=1"),
            &format!("x=1&doorward-form={id}"),
            &format!("doorward-form={id}A"),
            "doorward-form=AbCdEfGhIjKlMnOpQrSt-=",
            "doorward-form=AbCdEfGhIjKlMnOpQrS%41",
        ] {
            assert_eq!(PostId::in_body(body.as_bytes()), None, "{body}");
        }
        assert_eq!(PostId::in_query(&format!("x=1&id={id}")), None);
        assert_eq!(PostId::in_body(b"doorward-form=\xff\xff"), None);
    }
}
