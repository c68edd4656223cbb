//! A browser at the flows: keeps cookies and follows a login.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use url::Url;

use super::Setup;
use super::provider::{Scripted, ScriptedProvider, Tokens};
use crate::auth::login::callback::{CallbackRequest, LoginOutcome};
use crate::auth::session::cookies::SetCookieHeaders;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::policy::decide::Caller;
use crate::session::client_continuity::PresentedClient;
use crate::session::cookie::RequestCookies;
use crate::session::login_loop::TransportHints;
use crate::session::validity::NoSessionReason;
use crate::types::app_paths::AppPaths;

/// Cookies by name. Paths are ignored.
#[derive(Clone, Debug, Default)]
pub(super) struct Browser {
    pub(super) cookies: BTreeMap<String, String>,
}

/// The parameters of an authorization request.
pub(super) struct Started {
    pub(super) state: String,
    pub(super) nonce: String,
}

impl Started {
    pub(super) fn read(location: &str) -> Self {
        let location = Url::parse(location).unwrap();
        let parameter = |name: &str| {
            let mut pairs = location.query_pairs();
            let value = pairs.find_map(|(key, value)| (key == name).then_some(value));
            value.expect("the parameter").into_owned()
        };
        Self {
            state: parameter("state"),
            nonce: parameter("nonce"),
        }
    }
}

impl Browser {
    /// The `Cookie` header.
    pub(super) fn header(&self) -> [HeaderValue; 1] {
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let pairs: Vec<String> = pairs.collect();
        [HeaderValue::try_from(pairs.join("; ")).unwrap()]
    }

    pub(super) fn store(&mut self, headers: &SetCookieHeaders) {
        for header in headers {
            let header = header.to_str().unwrap();
            let (name, rest) = header.split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Whether it has a cookie whose name ends so.
    pub(super) fn has(&self, suffix: &str) -> bool {
        self.cookies.keys().any(|name| name.ends_with(suffix))
    }

    pub(super) async fn start_login(&mut self, setup: &Setup) -> Started {
        let header = self.header();
        let cookies = RequestCookies::read(&header);
        let (hints, link) = (
            TransportHints::default(),
            LoginLink::to(ReturnTo::home(&AppPaths::default())),
        );
        let (app_ref, reason) = (setup.app_ref(), NoSessionReason::NoCookie);
        let start = setup.login.start(app_ref, &cookies, &link, reason, hints);
        let start = start.await.unwrap();
        self.store(&start.set_cookies);
        Started::read(&start.location)
    }

    /// The callback with a code, without a session.
    pub(super) async fn callback(&mut self, setup: &Setup, state: &str) -> LoginOutcome {
        let query = format!("code=code&state={state}");
        let caller = Caller::Anonymous(NoSessionReason::NoCookie);
        self.callback_with(setup, &query, &caller).await
    }

    pub(super) async fn callback_with(
        &mut self,
        setup: &Setup,
        query: &str,
        caller: &Caller,
    ) -> LoginOutcome {
        let header = self.header();
        let request = CallbackRequest {
            query,
            cookies: &RequestCookies::read(&header),
            caller,
            hints: TransportHints::default(),
            client: PresentedClient {
                address: None,
                headers: &HeaderMap::new(),
            },
        };
        let outcome = setup.login.finish(setup.app_ref(), request).await;
        match &outcome {
            LoginOutcome::SignedIn { set_cookies, .. }
            | LoginOutcome::AlreadySignedIn { set_cookies, .. } => self.store(set_cookies),
            LoginOutcome::Restarted(start) => self.store(&start.set_cookies),
            LoginOutcome::Failed(failed) => self.store(&failed.set_cookies),
        }
        outcome
    }

    /// Logs in with tokens that expire after this many seconds.
    pub(super) async fn log_in(
        &mut self,
        setup: &Setup,
        provider: &ScriptedProvider,
        expires_in: i64,
    ) {
        let Started { state, nonce } = self.start_login(setup).await;
        provider.respond(Scripted::Tokens(Tokens {
            nonce: Some(nonce),
            expires_in,
            ..Tokens::default()
        }));
        let outcome = self.callback(setup, &state).await;
        assert!(
            matches!(outcome, LoginOutcome::SignedIn { .. }),
            "{outcome:?}"
        );
    }
}
