//! Decisions over gRPC: `envoy.service.auth.v3.Authorization/Check`. The attributes of a check are
//! brought into the form of a request and decided like one. The HTTP response to it becomes the
//! response of the check.

use std::net::IpAddr;
use std::pin::Pin;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use super::envoy;
use crate::policy::described_request::{
    self, CheckAttributes, CheckField, Dialect, InvalidDescription,
};
use crate::proxy::responder::is_preflight;
use crate::proxy::{Proxy, ReceivedRequest};
use crate::types::body::{Body, BodyError};
use crate::types::net::ConnectionInfo;
use crate::upstream::EdgeField;

/// Maximum size of a check in bytes: the largest head of a request, and the rest of the attributes.
const MAX_CHECK: usize = 2 * 1024 * 1024;

/// `PERMISSION_DENIED` (gRPC "Status codes and their use in gRPC"). Any code but 0 refuses.
const PERMISSION_DENIED: i32 = 7;

/// Fields of the response that are for the client where the request is permitted.
static FOR_THE_CLIENT: [HeaderName; 4] = [
    header::SET_COOKIE,
    HeaderName::from_static("dpop-nonce"),
    HeaderName::from_static("doorward-access-token"),
    HeaderName::from_static("doorward-refresh-token"),
];

/// A call of the method `Check`.
struct CheckCall<'a> {
    proxy: &'a Proxy,
    connection: ConnectionInfo,
}

impl Proxy {
    /// Handles a gRPC check.
    pub(super) async fn check_by_grpc(
        &self,
        request: Request<Body>,
        connection: ConnectionInfo,
    ) -> Response<Body> {
        let call = CheckCall {
            proxy: self,
            connection,
        };
        let codec = ProstCodec::<envoy::CheckResponse, envoy::CheckRequest>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_CHECK);
        let response = grpc.unary(call, request).await;
        response.map(|body| {
            // The body of a response that was made here does not fail.
            let body = body.map_err(|_| BodyError::CutShort);
            Body::read_by(Box::pin(body))
        })
    }

    async fn decide_by_attributes(
        &self,
        request: envoy::CheckRequest,
        connection: ConnectionInfo,
    ) -> envoy::CheckResponse {
        let dialect = Dialect::ExtAuthzGrpc;
        let attributes = request.attributes.unwrap_or_default();
        let source = attributes
            .source
            .and_then(|source| source.address?.socket_address)
            .and_then(|socket| socket.address.parse().ok());
        let http = attributes.request.and_then(|request| request.http);
        let described = http
            .as_ref()
            .ok_or(InvalidDescription::Missing)
            .and_then(described);
        let parts = match described {
            Ok(parts) => parts,
            Err(error) => {
                let method = http.and_then(|http| Method::from_bytes(http.method.as_bytes()).ok());
                let response = self.invalid_check(dialect, error, method.as_ref(), connection);
                return denied(response).await;
            }
        };
        let peer: Option<IpAddr> = source.or(connection.peer.map(|peer| peer.ip()));
        let received = ReceivedRequest {
            record: self.telemetry.begin(Some(&parts.method), connection),
            parts,
            body: Body::empty(),
            peer,
            own_connection: None,
            listener: connection.listener,
            dialect: Some(dialect),
        };
        let mut response = self.decide_received(dialect, received).await;
        match response.extensions_mut().remove::<super::Permitted>() {
            Some(super::Permitted(changes)) => {
                let for_client = FOR_THE_CLIENT.iter().flat_map(|name| {
                    let values = response.headers().get_all(name).iter();
                    values.map(move |value| appended(name, value))
                });
                permitted(envoy::OkHttpResponse {
                    headers: changes.set.iter().map(overwritten).collect(),
                    headers_to_remove: changes.remove.iter().map(ToString::to_string).collect(),
                    response_headers_to_add: for_client.collect(),
                })
            }
            None => denied(response).await,
        }
    }
}

impl<'a> UnaryService<envoy::CheckRequest> for CheckCall<'a> {
    type Response = envoy::CheckResponse;
    type Future = Pin<
        Box<
            dyn Future<Output = Result<tonic::Response<Self::Response>, tonic::Status>> + Send + 'a,
        >,
    >;

    fn call(&mut self, request: tonic::Request<envoy::CheckRequest>) -> Self::Future {
        let (proxy, connection) = (self.proxy, self.connection);
        Box::pin(async move {
            let response = proxy.decide_by_attributes(request.into_inner(), connection);
            Ok(tonic::Response::new(response.await))
        })
    }
}

/// The request that the attributes describe. Query and fragment are part of the path.
fn described(http: &envoy::HttpRequest) -> Result<http::request::Parts, InvalidDescription> {
    if !http.fragment.is_empty() || !(http.query.is_empty() || http.path.contains('?')) {
        return Err(InvalidDescription::Contradictory);
    }
    let raw = http.header_map.as_ref().map(|map| &map.headers);
    let raw = raw.filter(|fields| !fields.is_empty());
    let fields = match raw {
        Some(fields) => fields.iter().map(raw_field).collect(),
        None => {
            let fields = http.headers.iter().map(|(name, value)| CheckField {
                name,
                value: value.as_bytes(),
            });
            fields.collect()
        }
    };
    described_request::read_attributes(&CheckAttributes {
        method: &http.method,
        path: &http.path,
        host: &http.host,
        fields,
    })
}

fn raw_field(field: &envoy::HeaderValue) -> CheckField<'_> {
    let value = if field.raw_value.is_empty() {
        field.value.as_bytes()
    } else {
        &field.raw_value
    };
    CheckField {
        name: &field.key,
        value,
    }
}

fn permitted(ok: envoy::OkHttpResponse) -> envoy::CheckResponse {
    envoy::CheckResponse {
        status: Some(envoy::Status::default()),
        http_response: Some(envoy::HttpResponse::Ok(ok)),
    }
}

/// The response that Envoy sends to the client.
async fn denied(response: Response<Body>) -> envoy::CheckResponse {
    let is_preflight = is_preflight(&response);
    let (head, body) = response.into_parts();
    // Doorward's own pages are whole in memory.
    let body = body.collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let status = if head.status.is_success() && !is_preflight {
        StatusCode::FORBIDDEN
    } else {
        head.status
    };
    let fields = head.headers.iter();
    let fields = fields.filter(|(name, _)| **name != header::CONTENT_LENGTH);
    let headers = fields.map(|(name, value)| {
        // Several challenges and cookies each keep a field of their own.
        if head.headers.get_all(name).iter().nth(1).is_some() {
            appended(name, value)
        } else {
            option(
                name,
                value,
                envoy::HeaderAppendAction::OverwriteIfExistsOrAdd,
            )
        }
    });
    envoy::CheckResponse {
        status: Some(envoy::Status {
            code: PERMISSION_DENIED,
            message: String::new(),
        }),
        http_response: Some(envoy::HttpResponse::Denied(envoy::DeniedHttpResponse {
            status: Some(envoy::HttpStatus {
                code: i32::from(status.as_u16()),
            }),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        })),
    }
}

fn overwritten(field: &EdgeField) -> envoy::HeaderValueOption {
    let action = envoy::HeaderAppendAction::OverwriteIfExistsOrAdd;
    option(&field.name, &field.value, action)
}

fn appended(name: &HeaderName, value: &HeaderValue) -> envoy::HeaderValueOption {
    option(name, value, envoy::HeaderAppendAction::AppendIfExistsOrAdd)
}

/// A value that is no text goes as bytes.
fn option(
    name: &HeaderName,
    value: &HeaderValue,
    action: envoy::HeaderAppendAction,
) -> envoy::HeaderValueOption {
    let text = std::str::from_utf8(value.as_bytes()).ok();
    envoy::HeaderValueOption {
        header: Some(envoy::HeaderValue {
            key: name.to_string(),
            value: text.unwrap_or_default().to_owned(),
            raw_value: match text {
                Some(_) => Vec::new(),
                None => value.as_bytes().to_vec(),
            },
        }),
        append_action: action.into(),
    }
}
