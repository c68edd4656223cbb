//! Limits per client: which requests count for which client of an app.

use std::sync::Arc;
use std::time::Instant;

use super::concurrency::Limiters;
use crate::auth::Auth;
use crate::limits::{ByClient, ClientKey, ClientLimit, ClientLimitExceeded, ClientSlot};
use crate::policy::decide::{Decision, Permit};
use crate::policy::route::Route;

/// How a client is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdentification {
    /// By its address, IPv6 by the /64 network.
    Address,
    /// By its session, or the user or OAuth client of its access token.
    Session,
}

/// A request that exceeds the limit of its client.
#[derive(Clone, Copy, Debug)]
pub struct LimitedClient {
    /// How the client is told from others.
    pub by: ClientIdentification,
    /// What it used up.
    pub exceeded: ClientLimitExceeded,
    /// Whether it renews a device proof.
    pub is_device_proof: bool,
}

impl Limiters {
    /// Counts a request to an app for its address. It counts as in flight until the slot is dropped.
    pub(super) fn admit_address(
        &self,
        route: &Route<'_>,
        client: Option<ClientKey>,
    ) -> Result<Option<ClientSlot>, LimitedClient> {
        let limited_app = route.app_ref().filter(|_| !route.is_for_provider());
        let limits = limited_app.and_then(|app_ref| self.clients(app_ref.index));
        let limit = limits.and_then(|limits| limits.address.as_deref());
        let Some((limit, client)) = limit.zip(client) else {
            return Ok(None);
        };
        admit(limit, client, ClientIdentification::Address).map_err(|limited| LimitedClient {
            is_device_proof: route.is_device_proof(),
            ..limited
        })
    }

    /// Counts a permitted request for its session.
    pub(super) fn admit_session(
        &self,
        decision: &Decision<'_>,
        auth: &Auth,
    ) -> Result<Option<ClientSlot>, LimitedClient> {
        let Decision::Forward(permit) = decision else {
            return Ok(None);
        };
        let limits = self.clients(permit.app_ref().index);
        let limit = limits.and_then(|limits| limits.session.as_deref());
        let Some(limit) = limit else {
            return Ok(None);
        };
        match session_key(permit, auth) {
            Some(client) => admit(limit, client, ClientIdentification::Session),
            None => Ok(None),
        }
    }

    fn clients(&self, index: usize) -> Option<&ByClient<Arc<ClientLimit>>> {
        self.apps.get(index).map(|limiters| &limiters.clients)
    }
}

fn admit(
    limit: &ClientLimit,
    client: ClientKey,
    by: ClientIdentification,
) -> Result<Option<ClientSlot>, LimitedClient> {
    let admitted = limit.admit(client, Instant::now());
    admitted.map(Some).map_err(|exceeded| LimitedClient {
        by,
        exceeded,
        is_device_proof: false,
    })
}

/// The session of a request, or else the user or OAuth client of its access token: a client may have
/// many tokens.
fn session_key(permit: &Permit<'_>, auth: &Auth) -> Option<ClientKey> {
    match permit.session() {
        Some(live) => Some(ClientKey::of_session(live.session().sid.as_str())),
        None => auth.client_key(permit.app_ref(), &permit.identity()?.subject),
    }
}
