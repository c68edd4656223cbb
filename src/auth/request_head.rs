//! The head of a request that presents a session: where it comes from, and which path it requests.

use http::{HeaderMap, header};

use super::app::AppAuth;
use crate::policy::request_info::RequestInfo;
use crate::session::network_hint::{ClientTraits, HintedClient};

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'r> {
    /// Its source and target.
    pub info: &'r RequestInfo,
    /// Its headers.
    pub headers: &'r HeaderMap,
}

impl<'r> RequestHead<'r> {
    /// `User-Agent`; empty without one.
    pub(in crate::auth) fn user_agent(self) -> &'r [u8] {
        let agent = self.headers.get(header::USER_AGENT);
        agent.map(|agent| agent.as_bytes()).unwrap_or_default()
    }

    /// The client, by its address and `User-Agent`. Chromium sends no client hints with the handshakes of
    /// WebSockets.
    pub(in crate::auth) fn hinted_client(self, app: &AppAuth) -> HintedClient {
        let traits = ClientTraits {
            address: self.info.address.end_client,
            agent: self.user_agent(),
        };
        HintedClient::new(app.key_ring(), traits)
    }
}
