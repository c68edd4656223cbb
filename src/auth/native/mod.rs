//! Native apps with their own login form: the password grant behind a throttle, and sealed tokens
//! instead of cookies. Refresh, reuse detection and revocation are those of browser sessions.

pub(in crate::auth) mod authenticate;
mod dpop;
mod failure;
pub mod login;
pub mod logout;
pub(in crate::auth) mod password_grant;
pub mod refresh;
pub(in crate::auth) mod throttle;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::auth::bearer::dpop::DpopVerifier;
use crate::auth::context::Context;
use crate::auth::logout::rp_initiated::Logout;
use crate::auth::refresh::single_flight::TokenRefresher;
use crate::auth::revocation::replication::RevocationReplicator;
use crate::auth::session::cookies::SetCookieHeaders;
use crate::auth::session::key_rotation::KeyRotation;
use crate::auth::session::open::SessionOpener;
use crate::auth::session::stream::StreamActivity;
use crate::auth::session::writer::SessionWriter;
use authenticate::NativeAuthenticator;
use login::NativeLogin;
use logout::NativeLogout;
use password_grant::PasswordGrants;
use refresh::{NativeRefresh, NativeRefreshParts};

pub(in crate::auth) use throttle::KnownSubjects;

pub use failure::NativeFailure;
pub use tokens::NativeTokens;

/// How long a native app waits for a login or a refresh.
pub(in crate::auth) const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The flows of native apps.
pub struct NativeFlows {
    /// Password login.
    pub login: NativeLogin,
    /// Token refresh.
    pub refresh: Arc<NativeRefresh>,
    /// Logout.
    pub logout: NativeLogout,
    /// Authentication by access token.
    pub authenticator: NativeAuthenticator,
}

/// The dependencies of the flows.
pub(in crate::auth) struct NativeServices {
    pub(in crate::auth) context: Arc<Context>,
    pub(in crate::auth) replicator: RevocationReplicator,
    pub(in crate::auth) refresher: Arc<TokenRefresher>,
    pub(in crate::auth) opener: Arc<SessionOpener>,
    pub(in crate::auth) key_rotation: Arc<KeyRotation>,
    pub(in crate::auth) session_writer: Arc<SessionWriter>,
    pub(in crate::auth) dpop: DpopVerifier,
    pub(in crate::auth) logout: Logout,
    pub(in crate::auth) streams: Arc<StreamActivity>,
    pub(in crate::auth) grants: PasswordGrants,
}

impl NativeFlows {
    pub(in crate::auth) fn new(services: NativeServices) -> Self {
        let NativeServices {
            context,
            replicator,
            refresher,
            opener,
            key_rotation,
            session_writer,
            dpop,
            logout,
            streams,
            grants,
        } = services;
        let tasks = context.password_tasks.clone();
        let throttle = grants.throttle.clone();
        let parts = NativeRefreshParts {
            replicator: replicator.clone(),
            refresher,
            throttle: throttle.clone(),
            dpop: dpop.clone(),
            tasks: tasks.clone(),
            streams,
        };
        let refresh = Arc::new(NativeRefresh::new(Arc::clone(&context), parts));
        let login = NativeLogin::new(
            Arc::clone(&context),
            Arc::clone(&session_writer),
            grants,
            dpop.clone(),
            tasks,
        );
        Self {
            login,
            refresh: Arc::clone(&refresh),
            logout: NativeLogout::new(Arc::clone(&context), logout, throttle),
            authenticator: NativeAuthenticator {
                context,
                replicator,
                opener,
                key_rotation,
                sessions: session_writer,
                refresh,
                dpop,
            },
        }
    }
}

/// The result of a native endpoint.
#[derive(Debug)]
pub enum NativeOutcome {
    /// Tokens.
    Tokens(NativeTokens),
    /// The cookies of a session.
    Cookies {
        /// The `Set-Cookie` headers.
        set_cookies: SetCookieHeaders,
        /// The absolute timeout of the session.
        lasts: Duration,
        /// `device_token`.
        device_token: Zeroizing<String>,
    },
    /// The session is over. The headers clear its cookies.
    LoggedOut(SetCookieHeaders),
}
