//! Authentication of a request: by its session, else by its access token or password.

use http::HeaderMap;

use super::Proxy;
use super::presented::{dpop_target, presented_basic, presented_bearer};
use crate::auth::request_head::RequestHead;
use crate::auth::session::authentication::Authentication;
use crate::policy::decide::Caller;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::Route;
use crate::session::cookie::RequestCookies;

impl Proxy {
    /// Authenticates a request by its session, or by its access token or password if it has no
    /// session.
    pub(super) async fn authenticate(
        &self,
        info: &RequestInfo,
        route: &Route<'_>,
        headers: &HeaderMap,
        cookies: &RequestCookies<'_>,
    ) -> Authentication {
        let Some(app_ref) = route.session_app() else {
            return Authentication::anonymous();
        };
        let cookies = if route.accepts_session() {
            cookies
        } else {
            const { &RequestCookies::none() }
        };
        let target = dpop_target(info, headers);
        let head = RequestHead { info, headers };
        let mode = route.resume_mode(headers);
        let mut authentication = self
            .auth
            .authenticate(app_ref, head, target, cookies, mode, &self.sessions)
            .await;
        if let Ok(Caller::Anonymous(_)) = authentication.caller
            && let Some(bearer) = presented_bearer(info, route, headers)
        {
            let authenticator = &self.auth.bearer;
            let by_token = authenticator.authenticate(app_ref, bearer, &self.tokens);
            let by_token = Box::pin(by_token).await;
            if let Ok(Caller::Bearer(_)) = by_token.caller {
                authentication.provider = Some(by_token.provider);
            }
            authentication.caller = by_token.caller;
            authentication.nonce = by_token.nonce;
        }
        if let Ok(Caller::Anonymous(_)) = authentication.caller
            && let Some(basic) = presented_basic(info, route, headers)
        {
            let by_password = self.auth.basic.authenticate(app_ref, basic);
            authentication.caller = Box::pin(by_password).await;
            if let (Ok(Caller::Basic(_)), Some(basic)) =
                (&authentication.caller, &app_ref.app.basic)
            {
                authentication.provider = Some(basic.provider);
            }
        }
        authentication
    }
}
