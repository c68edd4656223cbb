//! Responses to other proxies that ask for a decision.

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::Responder;
use super::error::ErrorResponse;
use super::login::login_path;
use super::response::{Own, TaggedResponse, insert, text_response};
use crate::identity::login_link::LoginLink;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::policy::cors::AllowedPreflight;
use crate::policy::described_request::{Dialect, InvalidDescription};
use crate::proxy::messages;
use crate::types::body::Body;
use crate::types::request_id::RequestId;
use crate::upstream::EdgeChanges;

const REMOVE: HeaderName = HeaderName::from_static("doorward-remove-headers");
/// The same for Envoy.
const ENVOY_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Marks the response to a permitted request. Without it, no response is a permission.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Permitted(pub(in crate::proxy) EdgeChanges);

/// Marks the response to a preflight request, which Envoy sends to the client over gRPC. Its status is
/// no permission there.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct PreflightAnswer;

impl Responder {
    /// The response to a preflight request, for a proxy that passes on responses of any status.
    pub fn preflight_at_edge(
        &self,
        allowed: &AllowedPreflight,
        code: &'static str,
    ) -> TaggedResponse {
        let mut preflight = self.preflight(allowed, code);
        preflight.response.extensions_mut().insert(PreflightAnswer);
        preflight
    }

    /// The response to a permitted request.
    pub fn permitted(&self, changes: EdgeChanges, code: &'static str) -> TaggedResponse {
        let mut response =
            text_response(StatusCode::OK, "text/plain; charset=utf-8", String::new());
        // The other proxy makes the response to the client.
        response.extensions_mut().remove::<Own>();
        response.extensions_mut().insert(Permitted(changes));
        TaggedResponse { code, response }
    }

    /// Redirects the browser to the login endpoint of the app.
    pub fn login_at_edge(&self, app: &App, link: &LoginLink, code: &'static str) -> TaggedResponse {
        let location = format!("{}{}", app.origin, login_path(app, link));
        self.redirect(StatusCode::FOUND, &location, code)
    }

    /// The response to a check that describes no request.
    pub fn invalid_check(
        &self,
        error: InvalidDescription,
        request_id: RequestId,
    ) -> TaggedResponse {
        let error = ErrorResponse::new(
            StatusCode::BAD_REQUEST,
            error.code(),
            messages::invalid_check_text(),
            None,
            request_id,
        );
        self.render(ClientKind::NonBrowser, &error)
    }

    /// The response to a request to the decision listener that is no check.
    pub fn unknown_check(&self, request_id: RequestId) -> TaggedResponse {
        let error = ErrorResponse::new(
            StatusCode::NOT_FOUND,
            "no_such_endpoint",
            messages::invalid_check_text(),
            None,
            request_id,
        );
        self.render(ClientKind::NonBrowser, &error)
    }

    /// The response to a peer that may not ask for decisions.
    pub fn untrusted_peer(&self, request_id: RequestId) -> TaggedResponse {
        let error = ErrorResponse::new(
            StatusCode::FORBIDDEN,
            "untrusted_peer",
            messages::untrusted_peer_text(),
            None,
            request_id,
        );
        self.render(ClientKind::NonBrowser, &error)
    }
}

impl TaggedResponse {
    /// The response in the form that the other proxy understands.
    #[must_use]
    pub fn for_dialect(mut self, dialect: Dialect) -> Self {
        match self.response.extensions().get::<Permitted>() {
            // They are not part of the head.
            Some(_) if dialect == Dialect::ExtAuthzGrpc => {}
            Some(Permitted(changes)) => {
                let changes = changes.clone();
                self.add_changes(dialect, &changes);
            }
            None if dialect == Dialect::ExtAuthzGrpc && is_preflight(&self.response) => {}
            None => {
                let status = refused_status(dialect, self.response.status());
                *self.response.status_mut() = status;
            }
        }
        self
    }

    fn add_changes(&mut self, dialect: Dialect, changes: &EdgeChanges) {
        let headers = self.response.headers_mut();
        match dialect {
            // These proxies can name a header field, but not one of several with one name.
            Dialect::AuthRequest | Dialect::ForwardAuth => {
                let cookies: Vec<HeaderValue> = headers
                    .get_all(header::SET_COOKIE)
                    .iter()
                    .cloned()
                    .collect();
                for (number, cookie) in (1..).zip(cookies) {
                    let name = format!("doorward-set-cookie-{number}");
                    if let Ok(name) = HeaderName::try_from(name) {
                        headers.insert(name, cookie);
                    }
                }
            }
            Dialect::ExtAuthz | Dialect::ExtAuthzGrpc => {}
        }
        for field in &changes.set {
            headers.append(field.name.clone(), field.value.clone());
        }
        let names: Vec<&str> = changes.remove.iter().map(HeaderName::as_str).collect();
        let names = names.join(", ");
        if dialect == Dialect::ExtAuthz && !names.is_empty() {
            insert(headers, ENVOY_REMOVE, &names);
        }
        insert(headers, REMOVE, &names);
    }
}

/// Whether this is the response to a preflight request.
pub(in crate::proxy) fn is_preflight(response: &Response<Body>) -> bool {
    response.extensions().get::<PreflightAnswer>().is_some()
}

/// The status of a response that permits nothing, so that the proxy refuses the request. nginx knows
/// 401 and 403 only, and reports every other status as an error of its own. The others take each
/// status of the class 2xx for a permission.
fn refused_status(dialect: Dialect, status: StatusCode) -> StatusCode {
    match dialect {
        Dialect::AuthRequest if status.is_success() || status.is_redirection() => {
            StatusCode::UNAUTHORIZED
        }
        Dialect::AuthRequest
            if status.is_client_error()
                && status != StatusCode::BAD_REQUEST
                && status != StatusCode::UNAUTHORIZED =>
        {
            StatusCode::FORBIDDEN
        }
        Dialect::ForwardAuth | Dialect::ExtAuthz | Dialect::ExtAuthzGrpc if status.is_success() => {
            StatusCode::FORBIDDEN
        }
        Dialect::AuthRequest | Dialect::ForwardAuth | Dialect::ExtAuthz | Dialect::ExtAuthzGrpc => {
            status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::pages::PageSet;

    #[test]
    fn only_a_permit_has_a_status_of_success() {
        let responder = Responder::new(PageSet::shipped().unwrap());
        for dialect in [
            Dialect::AuthRequest,
            Dialect::ForwardAuth,
            Dialect::ExtAuthz,
            Dialect::ExtAuthzGrpc,
        ] {
            for status in 100..1000 {
                let status = StatusCode::from_u16(status).unwrap();
                let refused = TaggedResponse {
                    code: "x",
                    response: text_response(status, "text/plain", String::new()),
                };
                let refused = refused.for_dialect(dialect).response.status();
                assert!(!refused.is_success(), "{dialect:?} {status}");
                assert!(
                    dialect != Dialect::AuthRequest || !refused.is_redirection(),
                    "{status}"
                );
            }
            let permitted = responder.permitted(EdgeChanges::default(), "permit");
            assert_eq!(permitted.for_dialect(dialect).response.status(), 200);
        }
    }
}
