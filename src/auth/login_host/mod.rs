//! Login host: completes the logins of many apps at one redirect URI, hands each session over to the
//! app's own host, and ends all of them in one logout.

pub mod callback;
mod logout;
mod signed_in;
pub mod start;

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::context::Context;
use crate::auth::login::LoginFailure;
use crate::auth::login::handover::Handovers;
use crate::auth::login::redeem::CodeRedeemer;
use crate::auth::refresh::revoke::SessionRevoker;
use crate::identity::login_link::LoginLink;
use crate::policy::app::App;
use crate::types::oauth::AppName;
use signed_in::SignedIn;

/// Completes the logins of apps.
pub struct LoginHost {
    context: Arc<Context>,
    redeemer: CodeRedeemer,
    handovers: Handovers,
    signed_in: SignedIn,
    revoker: SessionRevoker,
}

/// A login that a login host did not complete.
#[derive(Debug)]
pub struct FailedHostLogin {
    /// Why it failed.
    pub failure: LoginFailure,
    /// The app of the login, if it is known, and the requested page.
    pub target: Option<LoginTarget>,
}

/// Where a login leads.
#[derive(Debug)]
pub struct LoginTarget {
    /// The app.
    pub app: Arc<App>,
    /// The requested page, and how.
    pub link: LoginLink,
}

impl LoginHost {
    pub(in crate::auth) fn new(context: Arc<Context>, revoker: SessionRevoker) -> Self {
        Self {
            redeemer: CodeRedeemer::new(Arc::clone(&context)),
            handovers: Handovers::new(Arc::clone(&context)),
            signed_in: SignedIn::new(Arc::clone(&context), revoker.clone()),
            context,
            revoker,
        }
    }

    /// The app of this name at `host`.
    fn app_named(&self, host: &AppAuth, login_name: &AppName) -> Option<Arc<AppAuth>> {
        self.context.app_of_login_host(host, login_name)
    }
}

impl FailedHostLogin {
    /// A failure before the app is known.
    const fn early(failure: LoginFailure) -> Self {
        Self {
            failure,
            target: None,
        }
    }

    fn of(app: &AppAuth, link: LoginLink, failure: LoginFailure) -> Self {
        Self {
            failure,
            target: Some(LoginTarget {
                app: Arc::clone(&app.app),
                link,
            }),
        }
    }
}
