//! One app at one of its providers, with its client registration there and its seals.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::purposes::{
    DpopNonce, SealedRevocationCommand, SealedRevocationEvent, StoredRotation, StoredThrottle,
};
use crate::identity::claims::ClaimSource;
use crate::limits::ClientKey;
use crate::oidc::jws::unverified_issuer;
use crate::oidc::presented_token::{AccessTokenClaim, PresentedToken, TokenSubject};
use crate::oidc::{ClientSettings, Provider};
use crate::policy::app::App;
use crate::policy::login_providers::{LoginProvider, LoginSite, ProviderIndex};
use crate::session::affinity::AffinityCookie;
use crate::session::attempt::{AttemptCookie, StateParameter, StoredReturnTo};
use crate::session::device_binding::{
    DeviceCookie, DeviceNetworkCookie, DeviceProofChallenge, DeviceRegistration,
};
use crate::session::grant::{ActivityCookie, HintCookie, RefreshCookie, StoredGrant};
use crate::session::jwt::{JwtCookie, SessionJwt};
use crate::session::last_user::{LastUserCookie, SubjectHash};
use crate::session::login_host::{
    HandoverParameter, HostStateParameter, LoginRequestParameter, SignedInCookie,
};
use crate::session::native::{DeviceToken, NativeAccess, NativeRefresh};
use crate::session::posted_response::PostedResponseParameter;
use crate::session::preserved_post::StoredPost;
use crate::session::seal::{Binding, KeyRing, Seal};
use crate::session::validity::Session;
use crate::store::Revocations;
use crate::types::oauth::{Issuer, Subject};

/// An app at one of its providers, as the flows use it. An app with several has one of these for each,
/// which share no seal and no revocations: what one provider gave is of no use with another.
pub struct AppAuth {
    /// The app.
    pub app: Arc<App>,
    /// The provider of the logins.
    pub provider: Arc<Provider>,
    /// Its index among the providers of the app.
    pub index: ProviderIndex,
    /// Its client registration at the provider.
    pub client: ClientSettings,
    /// How its sessions are handled.
    pub settings: AuthSettings,
    /// Its seals.
    pub seals: Seals,
    /// Its revoked sessions at this provider, at all its hosts.
    pub revocations: Arc<Revocations>,
    /// How access tokens are verified, if it accepts any.
    pub bearer: Option<BearerAuth>,
    /// See [`App::claims_in_use`].
    pub(in crate::auth) claims_in_use: Arc<[String]>,
    ring: Arc<KeyRing>,
}

/// How access tokens are verified at one app.
#[derive(Clone)]
pub struct BearerAuth {
    /// The accepted issuers of JWTs.
    pub providers: Vec<Arc<Provider>>,
    /// Accepted `aud` values. A token must have one of them.
    pub audiences: Vec<String>,
    /// A claim that tells access tokens from ID tokens.
    pub access_token_claim: Option<AccessTokenClaim>,
    /// Introspection of opaque tokens. `None`: they are rejected.
    pub introspection: Option<IntrospectionSettings>,
    /// Whether DPoP proofs must carry a server nonce.
    pub dpop_nonce: bool,
}

/// How introspection results are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntrospectionSettings {
    /// How long a result is valid.
    pub lifetime: Duration,
    /// The maximum number of cached results.
    pub max_tokens: usize,
}

/// How the sessions of an app are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// Whether the userinfo endpoint is called for claims that no token has.
    pub userinfo: Userinfo,
    /// Handling of a replaced refresh token that is used again after the grace period.
    pub on_refresh_token_reuse: OnReuse,
    /// How long sessions continue after their JWT expired while the provider is unavailable.
    pub outage_grace: Duration,
    /// Whether sessions are accepted while revocations are not synchronized.
    pub revocation: RevocationMode,
}

/// The reaction to refresh token reuse (RFC 9700 section 4.14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReuse {
    /// Ends the session for all holders of its tokens: one of them stole a token.
    EndSession,
    /// Rejects the request only. The session continues.
    Refuse,
}

/// Whether sessions are accepted while the store is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationMode {
    /// Fail-open: a revocation at another replica takes effect when the store is back, or when the
    /// JWT expires.
    FailOpen,
    /// Fail-closed: requests with a session get 503 until the revocations are synchronized.
    FailClosed,
}

/// When to call the userinfo endpoint (OpenID Connect Core section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Userinfo {
    /// At a login or refresh, if a rule or header uses a claim that no token has.
    WhenNeeded,
    /// Never.
    Never,
}

/// One seal per purpose.
#[derive(Debug)]
pub struct Seals {
    /// The JWT cookie.
    pub jwt: Seal<JwtCookie>,
    /// The refresh token cookie.
    pub refresh: Seal<RefreshCookie>,
    /// The last activity cookie.
    pub activity: Seal<ActivityCookie>,
    /// The proof cookie of a device-bound session.
    pub device_proof: Seal<DeviceCookie>,
    /// The network of a request of a device-bound session, for the renewal of its proof.
    pub device_network: Seal<DeviceNetworkCookie>,
    /// Challenges of device registrations.
    pub device_registration: Seal<DeviceRegistration>,
    /// Challenges of device proofs.
    pub device_challenge: Seal<DeviceProofChallenge>,
    /// The ID token for logout.
    pub hint: Seal<HintCookie>,
    /// A login attempt.
    pub attempt: Seal<AttemptCookie>,
    /// The `state` parameter.
    pub state: Seal<StateParameter>,
    /// An authorization response that came as a form.
    pub posted_response: Seal<PostedResponseParameter>,
    /// The request of an app to its login host. Sealed for the login host.
    pub login_request: Seal<LoginRequestParameter>,
    /// `state` at a login host.
    pub host_state: Seal<HostStateParameter>,
    /// A hand-over code. Sealed for the app.
    pub handover: Seal<HandoverParameter>,
    /// The apps that a browser is signed in at through a login host.
    pub signed_in: Seal<SignedInCookie>,
    /// Return targets in the store.
    pub return_to: Seal<StoredReturnTo>,
    /// Grants in the store.
    pub stored: Seal<StoredGrant>,
    /// Access tokens of native apps.
    pub native_access: Seal<NativeAccess>,
    /// Refresh tokens of native apps.
    pub native_refresh: Seal<NativeRefresh>,
    /// Known devices.
    pub device: Seal<DeviceToken>,
    /// The user of the last session.
    pub last_user: Seal<LastUserCookie>,
    /// The upstream address that serves a browser.
    pub upstream: Seal<AffinityCookie>,
    /// Preserved POSTs in the store.
    pub preserved_post: Seal<StoredPost>,
    /// Revocation commands of an operator.
    pub revocation_command: Seal<SealedRevocationCommand>,
    /// Revocation events between replicas.
    pub revocation_event: Seal<SealedRevocationEvent>,
    /// DPoP nonces.
    pub dpop_nonce: Seal<DpopNonce>,
    /// Rotation states in the store.
    pub rotation: Seal<StoredRotation>,
    /// Throttle states in the store.
    pub throttle: Seal<StoredThrottle>,
}

impl Seals {
    /// The seals of `app`, bound to its public URL and its registration.
    fn new(app: &App, provider: &Provider, client: &ClientSettings, ring: &Arc<KeyRing>) -> Self {
        let binding = Binding {
            origin: app.public_url(),
            issuer: provider.settings().issuer.clone(),
            client_id: client.client_id.clone(),
        };
        Self {
            jwt: Seal::new(Arc::clone(ring), &binding),
            refresh: Seal::new(Arc::clone(ring), &binding),
            activity: Seal::new(Arc::clone(ring), &binding),
            device_proof: Seal::new(Arc::clone(ring), &binding),
            device_network: Seal::new(Arc::clone(ring), &binding),
            device_registration: Seal::new(Arc::clone(ring), &binding),
            device_challenge: Seal::new(Arc::clone(ring), &binding),
            hint: Seal::new(Arc::clone(ring), &binding),
            attempt: Seal::new(Arc::clone(ring), &binding),
            state: Seal::new(Arc::clone(ring), &binding),
            posted_response: Seal::new(Arc::clone(ring), &binding),
            login_request: Seal::new(Arc::clone(ring), &binding),
            host_state: Seal::new(Arc::clone(ring), &binding),
            handover: Seal::new(Arc::clone(ring), &binding),
            signed_in: Seal::new(Arc::clone(ring), &binding),
            return_to: Seal::new(Arc::clone(ring), &binding),
            stored: Seal::new(Arc::clone(ring), &binding),
            native_access: Seal::new(Arc::clone(ring), &binding),
            native_refresh: Seal::new(Arc::clone(ring), &binding),
            device: Seal::new(Arc::clone(ring), &binding),
            last_user: Seal::new(Arc::clone(ring), &binding),
            upstream: Seal::new(Arc::clone(ring), &binding),
            preserved_post: Seal::new(Arc::clone(ring), &binding),
            revocation_command: Seal::new(Arc::clone(ring), &binding),
            revocation_event: Seal::new(Arc::clone(ring), &binding),
            dpop_nonce: Seal::new(Arc::clone(ring), &binding),
            rotation: Seal::new(Arc::clone(ring), &binding),
            throttle: Seal::new(Arc::clone(ring), &binding),
        }
    }
}

impl AppAuth {
    /// Creates an app that seals with `ring` and has these revocations.
    pub fn new(
        app: Arc<App>,
        provider: Arc<Provider>,
        client: ClientSettings,
        settings: AuthSettings,
        ring: &Arc<KeyRing>,
        revocations: Arc<Revocations>,
    ) -> Self {
        let seals = Seals::new(&app, &provider, &client, ring);
        let index = app.providers.named(provider.settings().name.as_str());
        Self {
            claims_in_use: app.claims_in_use().map(str::to_owned).collect(),
            index: index.unwrap_or_default(),
            app,
            provider,
            client,
            settings,
            seals,
            revocations,
            bearer: None,
            ring: Arc::clone(ring),
        }
    }

    /// The keys of its seals.
    pub(in crate::auth) fn key_ring(&self) -> &KeyRing {
        &self.ring
    }

    /// The same app at one host of its wildcard, with cookies, a redirect URI and seals of that host.
    /// Revocations hold at all hosts, since they have one registration at the provider, and password
    /// attempts count at all of them: both are sealed for the configured app. `None` if the URL of the callback is invalid,
    /// which no host causes.
    pub(in crate::auth) fn at_host(&self, app: Arc<App>) -> Option<Self> {
        let redirect_uri = match self.login_provider().site {
            LoginSite::Own | LoginSite::Host => {
                let callback = app.providers.callback(self.index);
                Url::parse(&app.endpoint_url(&callback)).ok()?
            }
            LoginSite::Through(_) => self.client.redirect_uri.clone(),
        };
        let client = ClientSettings {
            redirect_uri,
            ..self.client.clone()
        };
        let shared = Seals::new(&self.app, &self.provider, &self.client, &self.ring);
        let seals = Seals {
            revocation_command: shared.revocation_command,
            revocation_event: shared.revocation_event,
            throttle: shared.throttle,
            ..Seals::new(&app, &self.provider, &client, &self.ring)
        };
        Some(Self {
            claims_in_use: Arc::clone(&self.claims_in_use),
            app,
            provider: Arc::clone(&self.provider),
            index: self.index,
            client,
            settings: self.settings,
            seals,
            revocations: Arc::clone(&self.revocations),
            bearer: self.bearer.clone(),
            ring: Arc::clone(&self.ring),
        })
    }

    /// The provider as the app's pages and rules know it.
    pub fn login_provider(&self) -> &LoginProvider {
        self.app.providers.get(self.index)
    }

    /// The provider in logs: named if the app has several.
    pub fn named_provider(&self) -> Option<&str> {
        let provider = self.app.providers.are_several().then_some(self.index);
        provider.map(|index| self.app.providers.get(index).name.as_str())
    }

    /// The URL of the app's callback for this provider.
    pub(in crate::auth) fn callback_url(&self) -> String {
        let callback = self.app.providers.callback(self.index);
        self.app.endpoint_url(&callback)
    }

    /// Whether this is the same app at the same provider, at any of its hosts.
    pub(in crate::auth) fn is_same(&self, other: &Self) -> bool {
        self.app.name == other.app.name && self.index == other.index
    }

    /// The hash of a user, who is a subject of this provider.
    pub(in crate::auth) fn user_hash(&self, subject: &Subject) -> SubjectHash {
        if self.app.providers.are_several() {
            SubjectHash::of_user(&self.provider.settings().issuer, subject)
        } else {
            SubjectHash::of(subject)
        }
    }

    /// The key of a user in limits.
    pub(in crate::auth) fn client_key(&self, user: &Subject) -> ClientKey {
        ClientKey::of_user(self.provider.settings().issuer.as_str(), user.as_str())
    }

    /// The same app with bearer authentication.
    #[must_use]
    pub fn with_bearer(self, bearer: BearerAuth) -> Self {
        Self {
            bearer: Some(bearer),
            ..self
        }
    }

    /// The session of verified or sealed content.
    pub(in crate::auth) fn session_of(&self, jwt: &SessionJwt) -> Option<Session> {
        let source = claim_source(&self.provider);
        let session = Session::of(jwt, &self.app.headers, source)?;
        let session = match self.app.passed_token {
            Some(_) => session.passing(&jwt.jwt),
            None => session,
        };
        self.provider
            .record_tenant(session.identity.claims.get("tid"));
        Some(session)
    }

    /// The provider that issued a token by its unverified `iss`: that of the logins, or another
    /// whose access tokens the app accepts.
    pub(in crate::auth) fn provider_of(&self, token: &str) -> &Arc<Provider> {
        let issuer = unverified_issuer(token);
        if self.provider.is_issuer(issuer.as_ref()) {
            return &self.provider;
        }
        let others = self.bearer.iter().flat_map(|bearer| &bearer.providers);
        let mut others = others.filter(|other| !Arc::ptr_eq(other, &self.provider));
        let other = others.find(|other| other.is_issuer(issuer.as_ref()));
        other.unwrap_or(&self.provider)
    }

    /// The issuer of `provider`, unless it is the provider of the logins.
    pub(in crate::auth) fn other_issuer<'p>(
        &self,
        provider: &'p Arc<Provider>,
    ) -> Option<&'p Issuer> {
        (!Arc::ptr_eq(provider, &self.provider)).then(|| &provider.settings().issuer)
    }

    /// The `aud` values by which another provider knows the app. At its own it is a client.
    pub(in crate::auth) fn audiences_at(&self, provider: &Arc<Provider>) -> &[String] {
        match &self.bearer {
            Some(bearer) if !Arc::ptr_eq(provider, &self.provider) => &bearer.audiences,
            Some(_) | None => &[],
        }
    }

    /// Whether the provider registers the user of a token for this app.
    pub(in crate::auth) fn admits(&self, provider: &Provider, token: &PresentedToken) -> bool {
        match token.subject() {
            TokenSubject::User(_) => provider
                .settings()
                .dialect
                .admits(&self.client.client_id, token.claims()),
            TokenSubject::Client(_) => true,
        }
    }
}

/// `provider` as the source of claims.
pub(in crate::auth) fn claim_source(provider: &Provider) -> ClaimSource<'_> {
    let settings = provider.settings();
    ClaimSource {
        provider: Some(&settings.name),
        unverified: settings.unverified_claims,
    }
}
