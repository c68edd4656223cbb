//! Answers of routes without upstream.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::Responder;
use super::response::{TaggedResponse, text_response};
use crate::policy::path_routes::Answer;
use crate::types::body::Body;

impl Responder {
    /// The answer of a route to a permitted request.
    pub fn route_answer(&self, answer: &Answer<'_>, code: &'static str) -> TaggedResponse {
        match answer {
            Answer::Redirect { status, location } => self.redirect(*status, location, code),
            Answer::Respond(fixed) => TaggedResponse {
                code,
                response: own_response(fixed.status, &fixed.content_type, &fixed.body),
            },
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
