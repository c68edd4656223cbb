//! Responses with a stable code, and the headers that all of Doorward's own responses have.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::auth::native::NativeTokens;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::policy::cors::AllowedOrigin;
use crate::policy::native::REFRESH_TOKEN;
use crate::proxy::pages::Page;
use crate::types::body::Body;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("doorward-access-token");
const DEVICE_OFFER: HeaderName = HeaderName::from_static("secure-session-registration");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// A response, and the code that names its cause.
#[derive(Debug)]
pub struct TaggedResponse {
    /// The stable code for logs and metrics.
    pub code: &'static str,
    /// The response.
    pub response: Response<Body>,
}

/// Headers that authentication adds to a response. No cache may store them.
#[derive(Debug, Default)]
pub struct ResponseUpdate {
    /// `Set-Cookie` headers.
    pub set_cookies: SetCookieHeaders,
    /// Tokens of an inline refresh, for a native app.
    pub tokens: Option<NativeTokens>,
    /// The nonce for the next DPoP proof (RFC 9449 section 8.2).
    pub dpop_nonce: Option<HeaderValue>,
    /// Offers the browser to bind its session to a key.
    pub device_offer: Option<HeaderValue>,
}

impl TaggedResponse {
    /// Adds the headers of `update`, and forbids caching if there are any.
    #[must_use]
    pub fn apply(mut self, update: ResponseUpdate) -> Self {
        let ResponseUpdate {
            set_cookies,
            tokens,
            dpop_nonce,
            device_offer,
        } = update;
        if set_cookies.is_empty()
            && tokens.is_none()
            && dpop_nonce.is_none()
            && device_offer.is_none()
        {
            return self;
        }
        let headers = self.response.headers_mut();
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        for set_cookie in set_cookies {
            headers.append(header::SET_COOKIE, set_cookie);
        }
        if let Some(tokens) = tokens {
            insert(headers, ACCESS_TOKEN, &tokens.access_token);
            if let Some(refresh_token) = &tokens.refresh_token {
                let name = const { HeaderName::from_static(REFRESH_TOKEN) };
                insert(headers, name, refresh_token);
            }
        }
        if let Some(nonce) = dpop_nonce {
            headers.insert(DPOP_NONCE, nonce);
        }
        if let Some(offer) = device_offer {
            headers.insert(DEVICE_OFFER, offer);
        }
        self
    }

    /// Adds `Set-Cookie` headers.
    #[must_use]
    pub fn with_cookies(self, set_cookies: SetCookieHeaders) -> Self {
        self.apply(ResponseUpdate {
            set_cookies,
            ..ResponseUpdate::default()
        })
    }

    /// Allows scripts of an origin to read the response (Fetch section 3.2).
    #[must_use]
    pub fn readable_by(mut self, allowed: &AllowedOrigin) -> Self {
        let AllowedOrigin {
            origin,
            credentials,
        } = allowed;
        let headers = self.response.headers_mut();
        insert(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if *credentials {
            insert(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        insert(
            headers,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, DPoP-Nonce",
        );
        self.varying_by_origin()
    }

    /// Doorward's own response to a request of an app with allowed origins. `allowed` is that of the
    /// request. Responses of the app, and permissions for another proxy, stay as they are.
    #[must_use]
    pub fn for_scripts(self, allowed: Option<&AllowedOrigin>) -> Self {
        let is_own = self.response.extensions().get::<Own>().is_some();
        let headers = self.response.headers();
        let is_preflight = headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        if !is_own || is_preflight {
            return self;
        }
        match allowed {
            Some(allowed) => self.readable_by(allowed),
            None => self.varying_by_origin(),
        }
    }

    fn varying_by_origin(mut self) -> Self {
        let headers = self.response.headers_mut();
        headers.append(header::VARY, const { HeaderValue::from_static("Origin") });
        self
    }
}

/// Marks Doorward's own responses to clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own;

/// Tells the browser to use https only for the next year (RFC 6797), unless the app has its own
/// policy.
pub(in crate::proxy) fn require_https(headers: &mut HeaderMap) {
    headers
        .entry(header::STRICT_TRANSPORT_SECURITY)
        .or_insert(const { HeaderValue::from_static("max-age=31536000") });
}

/// A redirect to `location`.
pub(super) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = text_response(status, "text/plain; charset=utf-8", String::new());
    insert(response.headers_mut(), header::LOCATION, &ascii(location));
    response
}

/// Percent-encodes non-ASCII bytes, which a query may contain and a header may not (RFC 3986
/// section 2.1).
fn ascii(location: &str) -> Cow<'_, str> {
    if location.is_ascii() {
        return location.into();
    }
    let mut ascii = String::with_capacity(location.len() + 32);
    for byte in location.bytes() {
        match byte {
            0x80.. => ascii.push_str(&format!("%{byte:02X}")),
            _ => ascii.push(char::from(byte)),
        }
    }
    ascii.into()
}

/// A page. [`Responder::render_page`](super::Responder::render_page) renders it.
pub(super) fn page_response(status: StatusCode, page: Page) -> Response<Body> {
    let mut response = text_response(status, "text/html; charset=utf-8", String::new());
    response.extensions_mut().insert(page);
    response
}

pub(super) fn text_response(
    status: StatusCode,
    kind: &'static str,
    text: String,
) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    response.extensions_mut().insert(Own);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, kind);
    insert(headers, header::CACHE_CONTROL, "no-store");
    insert(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // With `no-referrer`, the logout form would send `Origin: null`.
    insert(headers, header::REFERRER_POLICY, "same-origin");
    insert(
        headers,
        header::VARY,
        "Cookie, Authorization, Sec-Fetch-Mode, Accept",
    );
    response
}

/// Sets a header, unless the value is invalid.
pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_encodes_non_ascii_location() {
        let response = redirect(StatusCode::FOUND, "https://a.example/?q=caf\u{e9}");
        assert_eq!(
            response.headers()[header::LOCATION],
            "https://a.example/?q=caf%C3%A9"
        );
    }
}
