//! Forms that meet no session: which of them may be kept until the person has logged in, and by what they are called
//! for then. Only what this very site had sent is kept: sending it later is as good as sending it now.

use http::{HeaderMap, Method, header};

use super::app::App;
use super::client_kind::is_same_origin;
use super::request_info::RequestInfo;

/// Longest address that a form is kept for, in bytes: it becomes a link on our page.
const MAX_TARGET: usize = 4096;

/// Bytes of a form's name.
const ID: usize = 22;

/// The one field of the form on our page that calls for a kept one.
pub const FIELD: &str = "doorward-form";

/// Bytes of the body that calls for one.
pub const CALL: usize = FIELD.len() + "=".len() + ID;

/// The name of a kept form: 128 random bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostId(String);

impl PostId {
    /// Takes a name that can be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == ID
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        ours.then(|| Self(text.to_owned()))
    }

    /// The name in the query of our page.
    pub fn in_query(query: &str) -> Option<Self> {
        query.strip_prefix("id=").and_then(Self::parse)
    }

    /// The name that a body calls for: one field, and nothing beside it.
    pub fn in_body(body: &[u8]) -> Option<Self> {
        std::str::from_utf8(body)
            .ok()?
            .strip_prefix(FIELD)?
            .strip_prefix('=')
            .and_then(Self::parse)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Our page about it, below `prefix`.
    pub fn page(&self, prefix: &str) -> String {
        format!("{prefix}/form?id={}", self.0)
    }
}

/// Why a form is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreservePostError {
    /// This app's forms are not.
    SwitchedOff,
    /// Nothing proves that a page of this site sent it.
    OtherSite,
    /// It holds files or is no form at all.
    OtherKind,
    /// Its address cannot be a link on our page.
    OddAddress,
    /// Its length is not said, so that no room can be taken for it.
    LengthUnknown,
    /// It is longer than is kept.
    TooLarge,
    /// It did not arrive whole.
    Unfinished,
    /// There is no room for it, or no store to keep it in.
    NoRoom,
}

impl PreservePostError {
    /// The stable word for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::SwitchedOff => "disabled",
            Self::OtherSite => "cross_site_origin",
            Self::OtherKind => "wrong_type",
            Self::OddAddress => "address_invalid",
            Self::LengthUnknown => "length_unknown",
            Self::TooLarge => "too_large",
            Self::Unfinished => "unfinished",
            Self::NoRoom => "quota_exceeded",
        }
    }
}

/// Whether a form that a browser sent from a tab may be kept, as far as its head tells.
///
/// # Errors
/// See [`PreservePostError`].
pub fn may_be_kept(
    info: &RequestInfo,
    headers: &HeaderMap,
    app: &App,
) -> Result<(), PreservePostError> {
    if app.max_kept_form == 0 {
        return Err(PreservePostError::SwitchedOff);
    }
    if !is_of_this_site(headers, app) {
        return Err(PreservePostError::OtherSite);
    }
    if info.method != Method::POST || !is_plain_form(headers) {
        return Err(PreservePostError::OtherKind);
    }
    let Some(length) = length_of(headers) else {
        return Err(PreservePostError::LengthUnknown);
    };
    if length > app.max_kept_form || info.target.as_str().len() > MAX_TARGET {
        return Err(PreservePostError::TooLarge);
    }
    if !can_be_a_link(info.target.as_str()) {
        return Err(PreservePostError::OddAddress);
    }
    Ok(())
}

/// Whether the body may call for a kept form: our page sends exactly as many bytes as that takes, from this site.
pub fn may_call_for_one(info: &RequestInfo, headers: &HeaderMap, app: &App) -> bool {
    info.method == Method::POST
        && length_of(headers) == Some(CALL)
        && may_be_kept(info, headers, app).is_ok()
}

/// As for a logout; where the browser names the page too, that is one of this site.
fn is_of_this_site(headers: &HeaderMap, app: &App) -> bool {
    let origin = app.origin.to_string();
    let referer = headers.get(header::REFERER).map(|page| page.as_bytes());
    is_same_origin(headers, &origin)
        && referer.is_none_or(|page| {
            page.strip_prefix(origin.as_bytes())
                .is_some_and(|path| path.starts_with(b"/"))
        })
}

/// A link of our page leads nowhere else, in the reading of any browser: `//` would be another host.
fn can_be_a_link(target: &str) -> bool {
    !target.starts_with("//")
        && target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The bytes of the body, as its sender says.
pub fn length_of(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn is_plain_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && !headers.contains_key(header::CONTENT_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_call_for_a_form() {
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
