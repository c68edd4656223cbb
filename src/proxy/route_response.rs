//! Responses of routes without an upstream: redirects, fixed responses and files.

use std::path::Path;

use http::{Method, StatusCode};

use super::Proxy;
use super::concurrency::acquire;
use super::context::RequestContext;
use super::responder::TaggedResponse;
use super::stream_limits::StreamLimits;
use crate::policy::decide::{Permit, Reason, Refusal};
use crate::policy::path_routes::OwnResponse;
use crate::static_files::{FileRequest, FileResponse};
use crate::upstream::make_private;

impl Proxy {
    /// The response of a route to a permitted request.
    pub(super) async fn respond_by_route(
        &self,
        response: &OwnResponse<'_>,
        permit: &Permit<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let code = permit.code();
        match response {
            OwnResponse::Redirect { status, location } => {
                self.responder.redirect(*status, location, code)
            }
            OwnResponse::Respond(fixed) => self.responder.fixed_response(fixed, code),
            OwnResponse::File(folder) => self.serve_file(folder, permit, context).await,
        }
    }

    /// Responds with the file of the forwarded path below `folder`.
    async fn serve_file(
        &self,
        folder: &Path,
        permit: &Permit<'_>,
        context: RequestContext<'_>,
    ) -> TaggedResponse {
        let RequestContext {
            info,
            parts,
            record,
            server_slot,
            ..
        } = context;
        let (app_ref, request_id) = (permit.app_ref(), record.request_id());
        if !matches!(info.method, Method::GET | Method::HEAD) {
            let reason = Reason::MethodNotAllowed("GET, HEAD");
            let refusal = Refusal::new(reason, Some(app_ref), info.client_kind);
            return self.refuse(&refusal, request_id);
        }
        let Ok(_in_flight) = acquire(self.app_limit(permit, &server_slot)).await else {
            return self.app_busy(app_ref, info.client_kind, request_id);
        };
        let target = permit.target();
        let request = FileRequest {
            folder,
            path: target.split_once('?').map_or(target, |(path, _)| path),
            requested: info.target.path(),
            method: &info.method,
            headers: &parts.headers,
            client: server_slot.client(),
        };
        let code = permit.code();
        match self.static_files.serve(request).await {
            Ok(FileResponse::File(mut response)) => {
                let app = app_ref.app;
                let facts = permit.facts(request_id);
                let headers = response.headers_mut();
                app.response_edits.apply(headers, &facts);
                if let Some(matched) = permit.path_route() {
                    matched.route.response_edits.apply(headers, &facts);
                }
                if permit.identity().is_some() {
                    make_private(headers);
                }
                record.limit_stream(StreamLimits {
                    session: self.stream_session(permit),
                    max_age: None,
                });
                TaggedResponse { code, response }
            }
            Ok(FileResponse::MovedTo(path)) => {
                let query = info.target.query();
                let (mark, query) = query.map_or(("", ""), |query| ("?", query));
                let location = format!("{}{path}{mark}{query}", app_ref.app.origin);
                self.responder
                    .redirect(StatusCode::TEMPORARY_REDIRECT, &location, code)
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(app = %app_ref.app.name, code = error.code(), %error, cause, "file_failed");
                self.responder
                    .file_failed(info, app_ref.app, &error, request_id)
            }
        }
    }
}
