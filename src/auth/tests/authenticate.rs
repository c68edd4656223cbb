//! Authentication by session cookie, and the session update of the response.

use std::time::Duration;

use http::Request;

use super::browser::Browser;
use super::provider::{Scripted, ScriptedProvider, Tokens};
use super::{Options, Setup};
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::request_head::RequestHead;
use crate::auth::session::authentication::{Authentication, SessionUpdate};
use crate::auth::session::open::open_jwt;
use crate::auth::session::writer::UpdateTarget;
use crate::policy::client_address::TrustedProxies;
use crate::policy::decide::Caller;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::ResumeMode;
use crate::session::cookie::RequestCookies;
use crate::types::oauth::Generation;

impl Browser {
    /// Authenticates a request and handles the response.
    pub(super) async fn request(&mut self, setup: &Setup, mode: ResumeMode) -> &'static str {
        let authentication = self.authenticate(setup, mode).await;
        let result = caller_of(&authentication);
        let header = self.header();
        let cookies = RequestCookies::read(&header);
        let target = UpdateTarget {
            app_ref: setup.app_ref(),
            request_cookies: &cookies,
            authenticated_at: authentication.at,
            counts_as_activity: true,
        };
        let headers = setup
            .writer
            .set_cookie_headers(authentication.update, target);
        self.store(&headers);
        result
    }

    async fn authenticate(&self, setup: &Setup, mode: ResumeMode) -> Authentication {
        let header = self.header();
        let cookies = RequestCookies::read(&header);
        let app_ref = setup.app_ref();
        let request = Request::get("/").header("host", "store.example.com");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let info = RequestInfo::read(&parts, None, &TrustedProxies::default()).unwrap();
        let head = RequestHead {
            info: &info,
            headers: &parts.headers,
        };
        setup
            .sessions
            .authenticate(app_ref, head, &cookies, mode, &setup.cache)
            .await
    }

    fn generation(&self, setup: &Setup) -> Generation {
        let header = self.header();
        let cookies = RequestCookies::read(&header);
        open_jwt(&setup.app, &cookies).unwrap().generation
    }
}

/// A browser with a session whose JWT is valid for 300 s.
struct LoggedIn {
    provider: ScriptedProvider,
    setup: Setup,
    browser: Browser,
}

impl LoggedIn {
    async fn start() -> Self {
        let provider = ScriptedProvider::start([]).await;
        let setup = Setup::new(provider.address());
        let mut browser = Browser::default();
        browser.log_in(&setup, &provider, 300).await;
        Self {
            provider,
            setup,
            browser,
        }
    }
}

/// A stable name of the caller.
fn caller_of(authentication: &Authentication) -> &'static str {
    match &authentication.caller {
        Ok(Caller::Authenticated(live)) if live.is_in_grace() => "in_grace",
        Ok(Caller::Authenticated(_)) => "authenticated",
        Ok(Caller::Anonymous(why)) => why.code(),
        Ok(Caller::Bearer(_) | Caller::NativeSession(_) | Caller::Basic(_)) => "token",
        Err(outage) => outage.code,
    }
}

fn refreshed_tokens(expires_in: i64) -> Scripted {
    Scripted::Tokens(Tokens {
        expires_in,
        ..Tokens::default()
    })
}

const MODES: [ResumeMode; 3] = [
    ResumeMode::ReadOnly,
    ResumeMode::NoSetCookie,
    ResumeMode::Refresh,
];

#[tokio::test]
async fn request_without_or_with_unreadable_cookies_has_no_session() {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    for mode in MODES {
        assert_eq!(browser.request(&setup, mode).await, "no_session");
    }
    let name = setup.app.app.cookies.jwt.clone();
    browser.cookies.insert(name, "forged".to_owned());
    for mode in MODES {
        assert_eq!(browser.request(&setup, mode).await, "cookie_unreadable");
    }
    assert!(browser.has("_jwt"), "another key ring may open it");
}

#[tokio::test]
async fn valid_session_is_authenticated_without_provider_calls() {
    let LoggedIn {
        provider,
        setup,
        mut browser,
    } = LoggedIn::start().await;
    for mode in MODES {
        assert_eq!(browser.request(&setup, mode).await, "authenticated");
    }
    assert_eq!(provider.token_calls(), 1);
}

#[tokio::test]
async fn ageing_session_is_refreshed_beside_the_request() {
    let LoggedIn {
        provider,
        setup,
        mut browser,
    } = LoggedIn::start().await;
    setup.clock.advance(Duration::from_secs(241));
    for mode in [ResumeMode::ReadOnly, ResumeMode::NoSetCookie] {
        assert_eq!(browser.request(&setup, mode).await, "authenticated");
    }
    assert_eq!(provider.token_calls(), 1, "these modes start no refresh");
    provider.respond(refreshed_tokens(600));
    let authentication = browser.authenticate(&setup, ResumeMode::Refresh).await;
    assert_eq!(caller_of(&authentication), "authenticated");
    let SessionUpdate::SetIfRefreshed(refresh, _) = authentication.update else {
        panic!("no refresh");
    };
    refresh.wait().await;
    assert_eq!(provider.token_calls(), 2);
}

#[tokio::test]
async fn expired_session_is_refreshed_before_the_response() {
    let LoggedIn {
        provider,
        setup,
        mut browser,
    } = LoggedIn::start().await;
    setup.clock.advance(Duration::from_secs(301));
    for mode in [ResumeMode::ReadOnly, ResumeMode::NoSetCookie] {
        assert_eq!(browser.request(&setup, mode).await, "jwt_expired");
    }
    provider.respond(refreshed_tokens(900));
    let mut late_tab = browser.clone();
    for tab in [&mut browser, &mut late_tab] {
        assert_eq!(
            tab.request(&setup, ResumeMode::Refresh).await,
            "authenticated"
        );
        assert_eq!(tab.generation(&setup), Generation::FIRST.next());
    }
    assert_eq!(provider.token_calls(), 2, "both tabs get the same tokens");
}

#[tokio::test]
async fn idle_session_is_cleared() {
    let LoggedIn {
        provider,
        setup,
        mut browser,
    } = LoggedIn::start().await;
    setup.clock.advance(Duration::from_secs(1801));
    assert_eq!(
        browser.request(&setup, ResumeMode::ReadOnly).await,
        "idle_timeout"
    );
    assert!(browser.has("_jwt"), "a public path sets no cookie");
    assert_eq!(
        browser.request(&setup, ResumeMode::Refresh).await,
        "idle_timeout"
    );
    assert!(
        !browser.has("_jwt") && !browser.has("_refresh"),
        "{browser:?}"
    );
    assert_eq!(provider.token_calls(), 1);
}

#[tokio::test]
async fn revoked_session_is_rejected_and_its_late_response_sets_no_cookie() {
    let LoggedIn {
        provider,
        setup,
        mut browser,
    } = LoggedIn::start().await;
    setup.clock.advance(Duration::from_secs(301));
    provider.respond(refreshed_tokens(900));
    let authentication = browser.authenticate(&setup, ResumeMode::Refresh).await;
    assert_eq!(caller_of(&authentication), "authenticated");
    let header = browser.header();
    let cookies = RequestCookies::read(&header);
    let session = SessionKey::from(&open_jwt(&setup.app, &cookies).unwrap());
    setup.revoker.revoke(&setup.app, &session);
    let target = UpdateTarget {
        app_ref: setup.app_ref(),
        request_cookies: &cookies,
        authenticated_at: authentication.at,
        counts_as_activity: true,
    };
    let headers = setup
        .writer
        .set_cookie_headers(authentication.update, target);
    let sets_session = headers
        .iter()
        .any(|header| header.to_str().unwrap().contains("_jwt="));
    assert!(!sets_session, "{headers:?}");
    assert_eq!(
        browser.request(&setup, ResumeMode::Refresh).await,
        "session_revoked"
    );
}

#[tokio::test]
async fn only_the_first_request_waits_during_an_outage() {
    let options = Options {
        outage_grace: Duration::from_secs(600),
        ..Options::default()
    };
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::with(provider.address(), options);
    let mut browser = Browser::default();
    browser.log_in(&setup, &provider, 300).await;
    setup.clock.advance(Duration::from_secs(301));
    provider.respond(Scripted::Unavailable);
    assert_eq!(
        browser.request(&setup, ResumeMode::Refresh).await,
        "in_grace"
    );
    assert_eq!(provider.token_calls(), 2);
    for mode in MODES {
        assert_eq!(browser.request(&setup, mode).await, "in_grace");
    }
    assert_eq!(provider.token_calls(), 2, "the refresh backs off");
    setup.clock.advance(Duration::from_secs(600));
    provider.respond(Scripted::Unavailable);
    let late = browser.request(&setup, ResumeMode::Refresh).await;
    assert_eq!(late, "provider_unavailable");
}
