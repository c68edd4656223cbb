//! Decisions: what is done with a request.

use std::sync::Arc;

use http::Method;

use super::Permit;
use super::caller::Caller;
use super::reason::Reason;
use crate::identity::credentials::Scheme;
use crate::identity::identity::Identity;
use crate::identity::login_link::LoginLink;
use crate::identity::post_id::PostId;
use crate::identity::return_to::ReturnTo;
use crate::policy::client_kind::ClientKind;
use crate::policy::cors::AllowedPreflight;
use crate::policy::logout_target::LogoutTarget;
use crate::policy::native::{Native, NativeCall};
use crate::policy::route::AppRef;
use crate::policy::rules::AccessRequirement;
use crate::session::device_binding::Unproven;
use crate::session::validity::{LiveSession, NoSessionReason};

/// The decision about a request.
#[derive(Debug)]
pub enum Decision<'a> {
    /// Forward it to the app.
    Forward(Permit<'a>),
    /// Redirect the browser to the login.
    StartLogin {
        /// The app.
        app_ref: AppRef<'a>,
        /// Where the login leads, and what it asks for.
        link: LoginLink,
        /// Why there is no session, or not a sufficient one.
        reason: NoSessionReason,
    },
    /// Let the user choose one of the providers of the app, on a page at the login endpoint.
    ChooseProvider {
        /// The app.
        app_ref: AppRef<'a>,
        /// Where the login leads, and what it asks for.
        link: LoginLink,
        /// Whether this is a request to the login endpoint. Others are redirected there.
        is_login_endpoint: bool,
    },
    /// Preserve the submitted form and redirect the browser to the login.
    PreservePost {
        /// The app.
        app_ref: AppRef<'a>,
        /// The page that contains the form, and what the login asks for.
        link: LoginLink,
        /// Why there is no session, or not a sufficient one.
        reason: NoSessionReason,
        /// The requirements of the route.
        requirement: &'a AccessRequirement,
    },
    /// Ask whether to replay a preserved form.
    ConfirmPostReplay {
        /// The app.
        app_ref: AppRef<'a>,
        /// The session.
        live: LiveSession,
        /// The preserved form.
        post_id: PostId,
    },
    /// Handle the provider's redirect to the callback.
    FinishLogin {
        /// The app.
        app_ref: AppRef<'a>,
        /// The caller before the login.
        caller: Caller,
    },
    /// Redirect the browser from the login host to the provider, for a login at an app.
    StartHostLogin {
        /// The login host.
        app_ref: AppRef<'a>,
    },
    /// Handle the provider's redirect to the callback of the login host, and hand the session over.
    FinishHostLogin {
        /// The login host.
        app_ref: AppRef<'a>,
    },
    /// List the apps that the browser is signed in at through the login host.
    ListSignedInApps {
        /// The login host.
        app_ref: AppRef<'a>,
    },
    /// Log out of all of them.
    LogoutEverywhere {
        /// The login host.
        app_ref: AppRef<'a>,
    },
    /// Ask whether to log out.
    ConfirmLogout {
        /// The app.
        app_ref: AppRef<'a>,
        /// The user of the session, if there is a session.
        user: Option<Arc<Identity>>,
        /// Where the logout leads.
        target: Option<LogoutTarget>,
    },
    /// Log out.
    Logout {
        /// The app.
        app_ref: AppRef<'a>,
        /// Where the logout leads.
        target: Option<LogoutTarget>,
    },
    /// Send the browser on to the target of a logout.
    ReturnFromLogout {
        /// The app.
        app_ref: AppRef<'a>,
        /// The target.
        target: LogoutTarget,
    },
    /// Redirect the form with the provider's authorization response to the same endpoint.
    RelayLoginResponse {
        /// The app or login host.
        app_ref: AppRef<'a>,
    },
    /// Handle a logout token from the provider (OpenID Connect Back-Channel Logout).
    BackchannelLogout {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Run the call of a native app. Its body says which.
    Native {
        /// The app.
        app_ref: AppRef<'a>,
        /// The app's settings for native clients.
        native: &'a Native,
        /// The endpoint.
        call: NativeCall,
        /// The allowed web origin that calls. It may read the response.
        origin: Option<String>,
    },
    /// Respond to the CORS preflight request of an allowed web origin.
    CorsPreflight {
        /// The app.
        app_ref: AppRef<'a>,
        /// The permissions in the response.
        allowed: AllowedPreflight,
    },
    /// End the session of the browser that embeds this request in a frame (OpenID Connect
    /// Front-Channel Logout).
    FrontchannelLogout {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Handle a webhook event from FusionAuth.
    ReceiveWebhook {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Bind the session to the key that the browser registers.
    RegisterDevice {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Renew the proof that the browser possesses the key of its session.
    RenewDeviceProof {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Expire the proof cookie and have the browser send the request again: it renews the proof first.
    RequireDeviceProof {
        /// The app.
        app_ref: AppRef<'a>,
        /// The fault of the proof.
        unproven: Unproven,
        /// Whether a redirect can repeat the request. A protocol upgrade follows none.
        by_redirect: bool,
    },
    /// Have the browser load the page again by a page of the app: it renews the proof only then.
    ReloadFromApp {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Return the keys that verify assertions.
    ShowAssertionKeys {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Show the page after a logout.
    ShowSignedOut {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Return the session's user and lifetimes.
    ShowSession {
        /// The app.
        app_ref: AppRef<'a>,
        /// The session.
        live: LiveSession,
    },
    /// Show the sessions of the user.
    ShowSessions {
        /// The app.
        app_ref: AppRef<'a>,
        /// The session of the request.
        live: LiveSession,
    },
    /// End one of them, or all. The body says which.
    EndSessions {
        /// The app.
        app_ref: AppRef<'a>,
        /// The session of the request.
        live: LiveSession,
    },
    /// Redirect a login request that has a session.
    AlreadySignedIn {
        /// The app.
        app_ref: AppRef<'a>,
        /// Where the login leads.
        return_to: ReturnTo,
    },
    /// Redirect the browser from an alias to the app's canonical origin.
    RedirectToCanonicalOrigin {
        /// The app.
        app_ref: AppRef<'a>,
    },
    /// Refuse it.
    Refuse(Refusal<'a>),
}

/// A refusal: its reason, and what the response needs.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The reason.
    pub reason: Reason,
    /// The app, if the host has one.
    pub app_ref: Option<AppRef<'a>>,
    /// The client, which determines the format of the response.
    pub client_kind: ClientKind,
    /// The authenticated user who is not authorized.
    pub user: Option<Arc<Identity>>,
    /// Where a login would lead, and what it would ask for.
    pub login: Option<LoginLink>,
    /// Whether `user` is a user, not an OAuth client on its own behalf.
    pub is_user: bool,
    /// The requirements of the route.
    pub requirement: Option<&'a AccessRequirement>,
    /// The authentication scheme of the access token that is not authorized.
    pub scheme: Option<Scheme>,
    /// Whether the response asks for a user name and a password.
    pub asks_for_password: bool,
    /// The method that a preflight request asks about: its rule refuses.
    pub preflight_method: Option<Method>,
}

impl<'a> Refusal<'a> {
    /// A refusal without further details.
    pub const fn new(reason: Reason, app_ref: Option<AppRef<'a>>, client_kind: ClientKind) -> Self {
        Self {
            reason,
            app_ref,
            client_kind,
            user: None,
            login: None,
            is_user: true,
            requirement: None,
            scheme: None,
            asks_for_password: false,
            preflight_method: None,
        }
    }
}

impl Decision<'_> {
    /// The stable code for logs and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Forward(permit) => permit.code(),
            Self::StartLogin { .. } => "start_login",
            Self::ChooseProvider { .. } => "choose_provider",
            Self::PreservePost { .. } => "post_preserved",
            Self::ConfirmPostReplay { .. } => "post_replay_confirm",
            Self::FinishLogin { .. } => "finish_login",
            Self::StartHostLogin { .. } => "login_host_start",
            Self::FinishHostLogin { .. } => "login_host_finish",
            Self::ListSignedInApps { .. } => "signed_in_apps",
            Self::LogoutEverywhere { .. } => "logout_everywhere",
            Self::ConfirmLogout { .. } => "confirm_logout",
            Self::Logout { .. } => "logout",
            Self::ReturnFromLogout { .. } => "returned_from_logout",
            Self::RelayLoginResponse { .. } => "login_response_posted",
            Self::BackchannelLogout { .. } => "backchannel_logout",
            Self::Native { call, .. } => call.code(),
            Self::CorsPreflight { .. } => "cors_preflight",
            Self::FrontchannelLogout { .. } => "frontchannel_logout",
            Self::ReceiveWebhook { .. } => "fusionauth_webhook",
            Self::RegisterDevice { .. } => "device_registration",
            Self::RenewDeviceProof { .. } => "device_proof",
            Self::RequireDeviceProof { unproven, .. } => unproven.code(),
            Self::ReloadFromApp { .. } => "device_proof_reload",
            Self::ShowAssertionKeys { .. } => "assertion_keys",
            Self::ShowSignedOut { .. } => "signed_out",
            Self::ShowSession { .. } => "session",
            Self::ShowSessions { .. } => "sessions",
            Self::EndSessions { .. } => "session_ended",
            Self::AlreadySignedIn { .. } => "already_signed_in",
            Self::RedirectToCanonicalOrigin { .. } => "redirect_to_canonical_origin",
            Self::Refuse(refusal) => refusal.reason.code(),
        }
    }
}
