//! Request context: the parts of a request that the execution of its decision needs.

use http::request::Parts;
use zeroize::Zeroizing;

use super::concurrency::ServerSlot;
use super::request_body::{BodyLimits, ReadBodyError};
use super::request_telemetry::RequestRecord;
use crate::auth::request_head::RequestHead;
use crate::identity::post_id::PostId;
use crate::policy::described_request::Dialect;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::TransportHints;
use crate::types::body::Body;
use crate::types::net::ConnectionId;
use crate::types::request_id::RequestId;
use crate::upstream::LoggingOut;

/// A request whose decision is executed.
pub(super) struct RequestContext<'r> {
    pub(super) info: &'r RequestInfo,
    pub(super) cookies: &'r RequestCookies<'r>,
    pub(super) parts: &'r mut Parts,
    pub(super) body: Body,
    /// The preserved POST that the body asks to replay.
    pub(super) replayed_post: Option<PostId>,
    pub(super) record: &'r mut RequestRecord,
    /// Its slot of the server's limit.
    pub(super) server_slot: ServerSlot<'r>,
    /// The client connection, if it carries the requests of one client only.
    pub(super) own_connection: Option<ConnectionId>,
    /// How another proxy describes the request, if it only asks for a decision.
    pub(super) dialect: Option<Dialect>,
}

impl RequestContext<'_> {
    pub(super) fn request_id(&self) -> RequestId {
        self.record.request_id()
    }

    /// Its head.
    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            info: self.info,
            headers: &self.parts.headers,
        }
    }

    /// The request for the app's own logout.
    pub(super) fn logging_out(&self) -> LoggingOut<'_> {
        LoggingOut {
            info: self.info,
            headers: &self.parts.headers,
            request_id: self.request_id(),
        }
    }

    /// Reads the body, which is meant for Doorward itself.
    pub(super) async fn read_body(
        &mut self,
        limits: BodyLimits,
    ) -> Result<Zeroizing<Vec<u8>>, ReadBodyError> {
        let body = std::mem::take(&mut self.body);
        self.server_slot.read_body(body, limits).await
    }

    /// How the request reached the app, for the diagnosis of a login loop.
    pub(super) fn transport_hints(&self, app_ref: AppRef<'_>) -> TransportHints {
        TransportHints::read(&self.parts.headers, &app_ref.app.origin)
    }
}
