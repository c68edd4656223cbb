//! Own responses of routes without upstream.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::Responder;
use super::response::{TaggedResponse, text_response};
use crate::policy::path_routes::FixedResponse;
use crate::types::body::Body;

impl Responder {
    /// The fixed response of a route to a permitted request.
    pub fn fixed_response(&self, fixed: &FixedResponse, code: &'static str) -> TaggedResponse {
        TaggedResponse {
            code,
            response: own_response(fixed.status, &fixed.content_type, &fixed.body),
        }
    }
}

fn own_response(status: StatusCode, content_type: &HeaderValue, body: &Bytes) -> Response<Body> {
    let mut response = text_response(status, "text/plain", String::new());
    let headers = response.headers_mut();
    if body.is_empty() {
        headers.remove(header::CONTENT_TYPE);
    } else {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
        *response.body_mut() = Body::full(body.clone());
    }
    response
}
