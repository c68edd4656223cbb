//! Cross-origin requests of scripts (Fetch section 3.2): the origins whose scripts may read
//! Doorward's own responses, and preflight requests. Responses of the app are not changed.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::request_info::RequestInfo;

/// Maximum length of the requested header names in bytes.
const MAX_NAMES: usize = 1024;

/// The web origins whose scripts may read Doorward's own responses of an app, or of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsPolicy {
    /// The origins.
    pub origins: Vec<String>,
    /// Whether they may read responses to requests with cookies.
    pub credentials: bool,
}

/// An allowed origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin {
    /// The origin, as it is configured.
    pub origin: String,
    /// Whether its scripts may read responses to requests with cookies.
    pub credentials: bool,
}

/// A preflight request (Fetch section 3.2.2). Browsers send it without cookies and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreflightRequest {
    /// The method of the request that the browser wants to send.
    pub method: Method,
    /// The names of its headers, separated by commas.
    pub headers: String,
}

/// The permissions in the response to a preflight request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPreflight {
    /// The origin.
    pub origin: AllowedOrigin,
    /// The request.
    pub request: PreflightRequest,
}

impl AllowedOrigin {
    /// An origin whose scripts cannot read responses to requests with cookies.
    pub fn without_credentials(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            credentials: false,
        }
    }
}

impl CorsPolicy {
    /// No origins.
    pub const NONE: &'static Self = &Self {
        origins: Vec::new(),
        credentials: false,
    };

    /// The origin of a request with these headers. `None`: it has none, several, or one that is not
    /// allowed.
    pub fn allowed(&self, headers: &HeaderMap) -> Option<AllowedOrigin> {
        let sent = single(headers, &header::ORIGIN)?;
        let mut origins = self.origins.iter();
        let origin = origins.find(|origin| origin.as_bytes() == sent.as_bytes())?;
        Some(AllowedOrigin {
            origin: origin.clone(),
            credentials: self.credentials,
        })
    }
}

impl PreflightRequest {
    /// Reads a request. `None`: it is no preflight request of a page of another origin than `own`.
    pub fn read(info: &RequestInfo, headers: &HeaderMap, own: &str) -> Option<Self> {
        let origin = single(headers, &header::ORIGIN)?;
        if info.method != Method::OPTIONS || origin.as_bytes() == own.as_bytes() {
            return None;
        }
        let method = single(headers, &header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let names = headers
            .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
            .iter();
        let names = names.flat_map(|names| names.as_bytes().split(|byte| *byte == b','));
        let names: Vec<String> = names
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .map(|name| name.to_string())
            .collect();
        Some(Self {
            method: Method::from_bytes(method.as_bytes()).ok()?,
            headers: names.join(", "),
        })
        .filter(|request| request.headers.len() <= MAX_NAMES)
    }
}

/// The only field of this name.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut fields = headers.get_all(name).iter();
    let field = fields.next()?;
    fields.next().is_none().then_some(field)
}
