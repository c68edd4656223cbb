//! The gate of device-bound sessions: whether a request may use its session. And how new sessions begin:
//! they wait for the registration of a key.

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::request_head::RequestHead;
use crate::auth::session::authentication::Authentication;
use crate::auth::session::cache::CachedSession;
use crate::policy::decide::Caller;
use crate::session::cookie::RequestCookies;
use crate::session::device_binding::{
    BindingStatus, BoundSession, DeviceBinding, DeviceProof, PresentedDevice, PresentedProof, check,
};
use crate::session::grant::{Grant, RefreshGrant};
use crate::session::jwt::SessionJwt;
use crate::session::network_hint::HintedClient;
use crate::session::validity::NoSessionReason;
use crate::types::time::Timestamp;

/// The check of the binding of a request's session.
pub(super) struct DeviceGate<'a> {
    app: &'a AppAuth,
    device: PresentedDevice,
    now: Timestamp,
}

impl<'a> DeviceGate<'a> {
    /// The check of the session that a request presents. The proof is opened only if it needs one.
    pub(super) fn new(
        app: &'a AppAuth,
        session: Option<BoundSession<'_>>,
        cached: Option<&CachedSession>,
        head: RequestHead<'_>,
        cookies: &RequestCookies<'_>,
        now: Timestamp,
    ) -> Self {
        let policy = app.app.device_binding.as_ref();
        let policy = policy.filter(|_| session.is_some_and(|session| session.device.is_bound()));
        let device = match policy {
            None => PresentedDevice::NONE,
            Some(policy) => PresentedDevice {
                proof: presented_proof(app, cached, cookies),
                client: policy.network_hint.then(|| client_of(app, cached, head)),
                is_strict: app.app.strict_paths.contain(head.info),
            },
        };
        Self { app, device, now }
    }

    /// The proof of the request. Only of a bound session.
    pub(super) fn proof(&self) -> Option<&DeviceProof> {
        match &self.device.proof {
            PresentedProof::Opened(proof) => Some(proof),
            PresentedProof::Absent | PresentedProof::Unreadable => None,
        }
    }

    /// Whether the request may use this session.
    pub(super) fn status(&self, session: BoundSession<'_>) -> BindingStatus {
        let policy = self.app.app.device_binding.as_ref();
        policy.map_or(BindingStatus::Permitted, |policy| {
            check(session, &self.device, policy, self.now)
        })
    }

    /// The refresh of a copied session may have given the bound one.
    pub(super) fn recheck(&self, authentication: Authentication) -> Authentication {
        let Ok(Caller::Authenticated(live)) = &authentication.caller else {
            return authentication;
        };
        let session = live.session();
        match self.status(session.bound()) {
            BindingStatus::Unproven(unproven) => Authentication {
                caller: Ok(Caller::Anonymous(NoSessionReason::DeviceUnproven(unproven))),
                ..authentication
            },
            BindingStatus::Permitted | BindingStatus::NeedsRefresh => authentication,
        }
    }
}

/// The proof cookie of a request. One that is known with its session is not decrypted again.
fn presented_proof(
    app: &AppAuth,
    cached: Option<&CachedSession>,
    cookies: &RequestCookies<'_>,
) -> PresentedProof {
    let name = &app.app.cookies.device;
    let seal = &app.seals.device_proof;
    let proof = match cached {
        Some(cached) => cookies.open_bytes(name, |value| cached.proof(seal, value)),
        None => cookies.open(name, |value| seal.open(value).map(Arc::new)),
    };
    match proof {
        Some(proof) => PresentedProof::Opened(proof),
        None if cookies.has(name) => PresentedProof::Unreadable,
        None => PresentedProof::Absent,
    }
}

/// The client of a request. One that is known with its session is not hashed again.
fn client_of(
    app: &AppAuth,
    cached: Option<&CachedSession>,
    head: RequestHead<'_>,
) -> Arc<HintedClient> {
    let hash = || Arc::new(head.hinted_client(app));
    match cached {
        Some(cached) => cached.client(head.info.address.end_client, head.user_agent(), hash),
        None => hash(),
    }
}

/// A new session as one that waits for a registration, if the app binds sessions. One without a refresh
/// token is never bound: its copies could not be told from it.
pub(in crate::auth) fn awaiting_registration<'g>(
    app: &AppAuth,
    grant: &'g Grant,
) -> Cow<'g, Grant> {
    if app.app.device_binding.is_some() && grant.refresh.is_some() {
        Cow::Owned(with_binding(grant, &DeviceBinding::Pending))
    } else {
        Cow::Borrowed(grant)
    }
}

/// The same grant with this binding.
pub(in crate::auth) fn with_binding(grant: &Grant, device: &DeviceBinding) -> Grant {
    let refresh = grant.refresh.clone();
    Grant {
        jwt: SessionJwt {
            device: device.clone(),
            ..grant.jwt.clone()
        },
        refresh: refresh.map(|refresh| RefreshGrant {
            device: device.clone(),
            ..refresh
        }),
        hint: grant.hint.clone(),
    }
}
