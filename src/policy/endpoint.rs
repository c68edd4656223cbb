//! Endpoints of Doorward below an app's prefix, and what authentication may do for them.

use super::app::App;
use super::login_providers::ProviderIndex;
use super::native::NativeCall;

/// Endpoints below the app's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Starts a login.
    Login,
    /// Receives the provider's redirect after a login.
    Callback,
    /// Ends the session.
    Logout,
    /// The page after a logout.
    SignedOut,
    /// The session's user and lifetimes.
    Session,
    /// The page of the user's sessions.
    Sessions,
    /// Receives logout tokens from the provider.
    BackchannelLogout,
    /// Serves native clients.
    Native(NativeCall),
    /// Receives front-channel logout requests from the provider, in a frame.
    FrontchannelLogout,
    /// Receives webhook events from FusionAuth.
    FusionAuthWebhook,
    /// Asks whether to replay a preserved POST.
    PostReplay,
    /// Binds a session to the key that a browser registers.
    DeviceRegistration,
    /// Renews the proof that a browser possesses the key of its session.
    DeviceProof,
    /// The keys that verify assertions.
    AssertionKeys,
    /// No endpoint.
    Unknown,
}

/// How much authentication may do for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeMode {
    /// Only decrypts cookies, for public paths: never waits, never fails, sets no cookie.
    ReadOnly,
    /// Requires a valid session, but the response cannot set cookies (protocol upgrades): no
    /// refresh.
    NoSetCookie,
    /// Refreshes the session if needed.
    Refresh,
}

impl Endpoint {
    /// Every endpoint, by its path below the app's `endpoint_prefix`.
    pub const PATHS: [(&'static str, Self); 17] = [
        ("/login", Self::Login),
        ("/callback", Self::Callback),
        ("/logout", Self::Logout),
        ("/signed-out", Self::SignedOut),
        ("/session", Self::Session),
        ("/sessions", Self::Sessions),
        ("/form", Self::PostReplay),
        ("/device-binding/register", Self::DeviceRegistration),
        ("/device-binding/refresh", Self::DeviceProof),
        ("/jwks.json", Self::AssertionKeys),
        ("/backchannel-logout", Self::BackchannelLogout),
        ("/frontchannel-logout", Self::FrontchannelLogout),
        ("/webhooks/fusionauth", Self::FusionAuthWebhook),
        ("/token", Self::Native(NativeCall::Token)),
        ("/native/login", Self::Native(NativeCall::Login)),
        ("/native/refresh", Self::Native(NativeCall::Refresh)),
        ("/native/logout", Self::Native(NativeCall::Logout)),
    ];

    /// Whether the app has it. The native endpoints of an app without native clients are refused by
    /// `decide`.
    const fn is_offered(self, app: &App) -> bool {
        match self {
            Self::FrontchannelLogout => app.optional_endpoints.frontchannel_logout,
            Self::Sessions => app.optional_endpoints.sessions,
            // Each of several providers has its own.
            Self::Callback => !app.providers.are_several(),
            Self::FusionAuthWebhook => app.optional_endpoints.fusionauth_webhooks.is_some(),
            Self::DeviceRegistration | Self::DeviceProof => app.device_binding.is_some(),
            Self::AssertionKeys => app.assertion.is_some(),
            Self::Login
            | Self::Logout
            | Self::SignedOut
            | Self::Session
            | Self::BackchannelLogout
            | Self::Native(_)
            | Self::PostReplay
            | Self::Unknown => true,
        }
    }

    pub(super) const fn counts_as_activity(self) -> bool {
        match self {
            Self::Session | Self::DeviceRegistration | Self::DeviceProof | Self::AssertionKeys => {
                false
            }
            Self::Login
            | Self::Callback
            | Self::Logout
            | Self::SignedOut
            | Self::BackchannelLogout
            | Self::Native(_)
            | Self::FrontchannelLogout
            | Self::FusionAuthWebhook
            | Self::Sessions
            | Self::PostReplay
            | Self::Unknown => true,
        }
    }

    pub(super) const fn resume_mode(self) -> ResumeMode {
        match self {
            Self::Login | Self::Session | Self::Sessions | Self::PostReplay => ResumeMode::Refresh,
            Self::Callback
            | Self::Logout
            | Self::SignedOut
            | Self::BackchannelLogout
            | Self::Native(_)
            | Self::FrontchannelLogout
            | Self::FusionAuthWebhook
            | Self::DeviceRegistration
            | Self::DeviceProof
            | Self::AssertionKeys
            | Self::Unknown => ResumeMode::ReadOnly,
        }
    }
}

/// An endpoint, and the provider whose callback it is.
pub(super) struct FoundEndpoint {
    pub(super) endpoint: Endpoint,
    callback_of: Option<ProviderIndex>,
}

impl FoundEndpoint {
    /// The provider that the endpoint belongs to, if it is that of one provider.
    pub(super) fn provider(&self, app: &App) -> Option<ProviderIndex> {
        match self.endpoint {
            Endpoint::Callback => self.callback_of,
            Endpoint::Native(_) => app.native.as_ref().map(|native| native.provider),
            Endpoint::FusionAuthWebhook => app.optional_endpoints.fusionauth_webhooks,
            Endpoint::Login
            | Endpoint::Logout
            | Endpoint::SignedOut
            | Endpoint::Session
            | Endpoint::Sessions
            | Endpoint::BackchannelLogout
            | Endpoint::FrontchannelLogout
            | Endpoint::PostReplay
            | Endpoint::DeviceRegistration
            | Endpoint::DeviceProof
            | Endpoint::AssertionKeys
            | Endpoint::Unknown => None,
        }
    }
}

/// The endpoint with this path. `None`: it is a path of the app.
pub(super) fn endpoint_of(path: &str, app: &App) -> Option<FoundEndpoint> {
    let rest = app.paths.endpoint(path)?;
    let providers = &app.providers;
    let of_provider = |name: &str| providers.named(name).filter(|_| providers.are_several());
    let callback_of = rest.strip_prefix("/callback/").and_then(of_provider);
    let known = Endpoint::PATHS.iter().find(|(path, _)| *path == rest);
    let offered = known.filter(|(_, endpoint)| endpoint.is_offered(app));
    let endpoint = match callback_of {
        Some(_) => Endpoint::Callback,
        None => offered.map_or(Endpoint::Unknown, |(_, endpoint)| *endpoint),
    };
    Some(FoundEndpoint {
        endpoint,
        callback_of,
    })
}
