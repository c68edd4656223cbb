//! Forms that meet no session: which of them may be kept until the person has logged in, and by what they are called
//! for then. Only what this very site had sent is kept: sending it later is as good as sending it now.

use http::{HeaderMap, Method, header};

use super::app::App;
use super::client_kind::is_same_origin;
use super::request_info::RequestInfo;
use crate::identity::post_id::REPLAY_BODY_LEN;

/// Longest address that a form is kept for, in bytes: it becomes a link on our page.
const MAX_TARGET: usize = 4096;

/// Why a form is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreservePostError {
    /// This app's forms are not.
    Disabled,
    /// Nothing proves that a page of this site sent it.
    CrossSite,
    /// It holds files or is no form at all.
    UnsupportedContentType,
    /// Its address cannot be a link on our page.
    UnsupportedTarget,
    /// Its length is not said, so that no room can be taken for it.
    LengthUnknown,
    /// It is longer than is kept.
    TooLarge,
    /// It did not arrive whole.
    BodyIncomplete,
    /// There is no room for it, or no store to keep it in.
    QuotaExceeded,
}

impl PreservePostError {
    /// The stable word for logs and metrics.
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

/// Whether a form that a browser sent from a tab may be kept, as far as its head tells.
///
/// # Errors
/// See [`PreservePostError`].
pub fn check_preservable(
    info: &RequestInfo,
    headers: &HeaderMap,
    app: &App,
) -> Result<(), PreservePostError> {
    if app.max_kept_form == 0 {
        return Err(PreservePostError::Disabled);
    }
    if !is_of_this_site(headers, app) {
        return Err(PreservePostError::CrossSite);
    }
    if info.method != Method::POST || !is_plain_form(headers) {
        return Err(PreservePostError::UnsupportedContentType);
    }
    let Some(length) = content_length(headers) else {
        return Err(PreservePostError::LengthUnknown);
    };
    if length > app.max_kept_form || info.target.as_str().len() > MAX_TARGET {
        return Err(PreservePostError::TooLarge);
    }
    if !can_be_a_link(info.target.as_str()) {
        return Err(PreservePostError::UnsupportedTarget);
    }
    Ok(())
}

/// Whether the body may call for a kept form: our page sends exactly as many bytes as that takes, from this site.
pub fn may_be_replay_request(info: &RequestInfo, headers: &HeaderMap, app: &App) -> bool {
    info.method == Method::POST
        && content_length(headers) == Some(REPLAY_BODY_LEN)
        && check_preservable(info, headers, app).is_ok()
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
