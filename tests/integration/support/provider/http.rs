//! The provider's HTTP server: records each call, applies faults, and dispatches to the endpoint.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::behaviour::{Endpoint, Fault};
use super::record::Visit;
use super::state::State;
use super::{authorize, token};

/// A response before it is written as HTTP.
pub(super) struct Reply {
    status: u16,
    headers: Vec<(header::HeaderName, String)>,
    body: Bytes,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json", body.to_string())
    }

    pub(super) fn html(status: u16, body: &str) -> Self {
        Self::typed(
            status,
            "text/html; charset=utf-8",
            format!("<!doctype html>{body}"),
        )
    }

    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn redirect(target: &str) -> Self {
        Self {
            status: 302,
            headers: vec![(header::LOCATION, target.to_owned())],
            body: Bytes::new(),
        }
    }

    fn typed(status: u16, media_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, media_type.to_owned())],
            body: body.into(),
        }
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::builder()
            .status(self.status)
            .header(header::CACHE_CONTROL, "no-store");
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body)).expect("a response")
    }
}

/// The connection is closed instead of a response.
#[derive(Debug, thiserror::Error)]
#[error("cut on purpose")]
struct Cut;

pub(super) async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { call(request, &state).await }
    });
    // A client disconnect ends its connection only.
    let _gone = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn call(
    request: Request<Incoming>,
    state: &Mutex<State>,
) -> Result<Response<Full<Bytes>>, Cut> {
    let Some(endpoint) = Endpoint::ALL
        .into_iter()
        .find(|endpoint| endpoint.path() == request.uri().path())
    else {
        return Ok(Reply::json(404, &json!({ "error": "not_found" })).into_response());
    };
    let visit = visit(endpoint, request).await.map_err(|_| Cut)?;
    let lock = || state.lock().expect("no test panicked inside");
    let fault = {
        let mut state = lock();
        state.record.visits.push(visit.clone());
        state.next_fault(endpoint)
    };
    match fault {
        None => {
            let mut state = lock();
            let mut reply = response(&mut state, &visit);
            let date = state.behaviour.date.map(str::to_owned);
            reply.headers.extend(date.map(|date| (header::DATE, date)));
            Ok(reply.into_response())
        }
        Some(Fault::Html) => Ok(Reply::html(200, "<h1>Maintenance</h1>").into_response()),
        Some(Fault::Status(status)) => {
            Ok(Reply::typed(status, "text/plain", "on purpose").into_response())
        }
        Some(Fault::Page(status)) => Ok(Reply::html(status, "<h1>On purpose</h1>").into_response()),
        Some(Fault::Json(status, body)) => {
            Ok(Reply::typed(status, "application/json", body).into_response())
        }
        Some(Fault::Redirect(target)) => Ok(Reply {
            status: 307,
            ..Reply::redirect(&target)
        }
        .into_response()),
        Some(Fault::Huge(size)) => {
            let filling = "x".repeat(size);
            Ok(Reply::typed(
                200,
                "application/json",
                format!(r#"{{"filling":"{filling}"}}"#),
            )
            .into_response())
        }
        Some(Fault::BrokenJson) => {
            Ok(Reply::typed(200, "application/json", r#"{"access_token":"#).into_response())
        }
        Some(Fault::CutBefore) => Err(Cut),
        Some(Fault::CutAfter) => {
            response(&mut lock(), &visit);
            Err(Cut)
        }
        Some(Fault::Slow(delay)) => {
            let reply = response(&mut lock(), &visit);
            tokio::time::sleep(delay).await;
            Ok(reply.into_response())
        }
        Some(Fault::HeldBefore(gate)) => {
            gate.pass().await;
            Ok(response(&mut lock(), &visit).into_response())
        }
        Some(Fault::Held(gate)) => {
            let reply = response(&mut lock(), &visit);
            gate.pass().await;
            Ok(reply.into_response())
        }
    }
}

async fn visit(endpoint: Endpoint, request: Request<Incoming>) -> Result<Visit, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let form = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let parsed = |bytes| {
        url::form_urlencoded::parse(bytes)
            .into_owned()
            .collect::<Vec<(String, String)>>()
    };
    let mut parameters = parsed(query);
    if form {
        parameters.extend(parsed(&body));
    }
    let headers = head.headers.iter().map(|(name, value)| {
        (
            name.to_string(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    Ok(Visit {
        endpoint,
        method: head.method.to_string(),
        parameters,
        headers: headers.collect(),
    })
}

fn response(state: &mut State, visit: &Visit) -> Reply {
    let behaviour = &state.behaviour;
    let absent = match visit.endpoint {
        Endpoint::EndSession => !behaviour.has_end_session,
        Endpoint::Revocation => !behaviour.has_revocation,
        Endpoint::Userinfo => !behaviour.has_userinfo,
        Endpoint::Introspection => !behaviour.has_introspection,
        Endpoint::Discovery | Endpoint::Jwks | Endpoint::Authorize | Endpoint::Token => false,
    };
    if absent {
        return Reply::empty(404);
    }
    match visit.endpoint {
        Endpoint::Discovery => token::discovery(state),
        Endpoint::Jwks => Reply::json(200, &state.keys.jwks(state.behaviour.junk_in_jwks)),
        Endpoint::Authorize => authorize::authorize(state, visit),
        Endpoint::Token => token::token(state, visit),
        Endpoint::Revocation => token::revocation(state, visit),
        Endpoint::Userinfo => token::userinfo(state, visit),
        Endpoint::EndSession => authorize::revoke_session(state, visit),
        Endpoint::Introspection => token::introspection(state, visit),
    }
}
