//! POST preservation: which forms without a session may be preserved during a login. Only a form
//! from the app's own pages is, because replaying it later then equals submitting it now.

use http::{HeaderMap, Method, header};

use super::app::App;
use super::client_kind::is_same_origin;
use super::request_info::RequestInfo;
use crate::identity::post_id::REPLAY_BODY_LEN;

/// Maximum length of the target in bytes: it becomes a link on the confirmation page.
const MAX_TARGET: usize = 4096;

/// Why a POST is not preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreservePostError {
    /// The app has disabled it.
    Disabled,
    /// Nothing proves that a page of the app sent it.
    CrossSite,
    /// The body contains files or is not a form.
    UnsupportedContentType,
    /// The target cannot be a link on the confirmation page.
    UnsupportedTarget,
    /// The length is unknown, so no storage can be reserved.
    LengthUnknown,
    /// The body is too large.
    TooLarge,
    /// The body did not arrive completely.
    BodyIncomplete,
    /// The quota is exhausted, or the store is unavailable.
    QuotaExceeded,
}

impl PreservePostError {
    /// The stable code for logs and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::CrossSite => "cross_site_origin",
            Self::UnsupportedContentType => "wrong_type",
            Self::UnsupportedTarget => "address_invalid",
            Self::LengthUnknown => "length_unknown",
            Self::TooLarge => "too_large",
            Self::BodyIncomplete => "unfinished",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }
}

/// Checks whether a submitted form may be preserved, by its head.
///
/// # Errors
/// See [`PreservePostError`].
pub fn check_preservable(
    info: &RequestInfo,
    headers: &HeaderMap,
    app: &App,
) -> Result<(), PreservePostError> {
    if app.max_preserved_post == 0 {
        return Err(PreservePostError::Disabled);
    }
    if !is_from_app(headers, app) {
        return Err(PreservePostError::CrossSite);
    }
    if info.method != Method::POST || !is_plain_form(headers) {
        return Err(PreservePostError::UnsupportedContentType);
    }
    let Some(length) = content_length(headers) else {
        return Err(PreservePostError::LengthUnknown);
    };
    if length > app.max_preserved_post || info.target.as_str().len() > MAX_TARGET {
        return Err(PreservePostError::TooLarge);
    }
    if !can_be_a_link(info.target.as_str()) {
        return Err(PreservePostError::UnsupportedTarget);
    }
    Ok(())
}

/// Whether the body may request a replay: it has exactly the length that the confirmation page
/// sends, and comes from the same origin.
pub fn may_be_replay_request(info: &RequestInfo, headers: &HeaderMap, app: &App) -> bool {
    info.method == Method::POST
        && content_length(headers) == Some(REPLAY_BODY_LEN)
        && check_preservable(info, headers, app).is_ok()
}

/// As for a logout. `Referer`, if there is one, must also be a page of the app.
fn is_from_app(headers: &HeaderMap, app: &App) -> bool {
    let origin = app.origin.to_string();
    let referer = headers.get(header::REFERER).map(|page| page.as_bytes());
    is_same_origin(headers, &origin)
        && referer.is_none_or(|page| {
            page.strip_prefix(origin.as_bytes())
                .is_some_and(|path| path.starts_with(b"/"))
        })
}

/// A link must stay on the origin in every browser. `//` would be another host.
fn can_be_a_link(target: &str) -> bool {
    !target.starts_with("//")
        && target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// `Content-Length`.
pub fn content_length(headers: &HeaderMap) -> Option<usize> {
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
