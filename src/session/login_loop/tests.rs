//! Tests of login loop detection.

use http::{HeaderName, HeaderValue};

use super::*;
use crate::types::app_paths::AppPaths;
use crate::types::public_url::BasePath;

const AT: Timestamp = Timestamp::from_secs(1000);

fn page(path: &str) -> ReturnTo {
    ReturnTo::parse(path, &AppPaths::new(BasePath::default(), "/.doorward")).unwrap()
}

fn cause(
    logins: u8,
    bytes: usize,
    reason: NoSessionReason,
    hints: TransportHints,
    cookies: &'static str,
) -> Option<LoginLoopCause> {
    let fields = [HeaderValue::from_static(cookies)];
    LoginLoopState::Unseen { logins, bytes }.exceeds_limit(
        reason,
        hints,
        &RequestCookies::read(&fields),
        ["jwt", "refresh"],
    )
}

#[test]
fn exceeds_limit_third_login_returns_cause() {
    let none = TransportHints::default();
    let host = TransportHints {
        other_host: true,
        plain_http: false,
    };
    let http = TransportHints {
        other_host: false,
        plain_http: true,
    };
    let cases = [
        (
            NoSessionReason::NoCookie,
            2000,
            none,
            "a=1",
            LoginLoopCause::CookieNotReturned,
        ),
        (
            NoSessionReason::NoCookie,
            2000,
            host,
            "a=1",
            LoginLoopCause::WrongHost,
        ),
        (
            NoSessionReason::NoCookie,
            2000,
            http,
            "a=1",
            LoginLoopCause::SecureOverHttp,
        ),
        (
            NoSessionReason::NoCookie,
            2000,
            host.or(http),
            "a=1",
            LoginLoopCause::WrongHost,
        ),
        (
            NoSessionReason::NoCookie,
            4000,
            none,
            "a=1",
            LoginLoopCause::TooLarge,
        ),
        (
            NoSessionReason::NoCookie,
            2000,
            none,
            "jwt.1=x",
            LoginLoopCause::TooLarge,
        ),
        (
            NoSessionReason::UnreadableCookie,
            5000,
            none,
            "jwt=2.x",
            LoginLoopCause::TooLarge,
        ),
        (
            NoSessionReason::UnreadableCookie,
            5000,
            none,
            "refresh=2.x; jwt=y",
            LoginLoopCause::TooLarge,
        ),
        (
            NoSessionReason::UnreadableCookie,
            5000,
            none,
            "jwt=2.x; jwt.1=y",
            LoginLoopCause::UnreadableCookie,
        ),
        (
            NoSessionReason::UnreadableCookie,
            5000,
            none,
            "jwt=x; jwt=y; jwt.1=z",
            LoginLoopCause::UnreadableCookie,
        ),
        (
            NoSessionReason::CookieMismatch,
            5000,
            none,
            "jwt=x; refresh=y",
            LoginLoopCause::UnreadableCookie,
        ),
        (
            NoSessionReason::Expired,
            2000,
            http,
            "jwt=x",
            LoginLoopCause::ClockSkew,
        ),
        (
            NoSessionReason::Idle,
            2000,
            none,
            "jwt=x",
            LoginLoopCause::ClockSkew,
        ),
        (
            NoSessionReason::AbsoluteTimeout,
            2000,
            none,
            "jwt=x",
            LoginLoopCause::ClockSkew,
        ),
        (
            NoSessionReason::Revoked,
            2000,
            none,
            "jwt=x",
            LoginLoopCause::SessionEnded,
        ),
        (
            NoSessionReason::RefreshRefused,
            2000,
            none,
            "jwt=x",
            LoginLoopCause::SessionEnded,
        ),
        (
            NoSessionReason::RefreshTokenReused,
            2000,
            none,
            "jwt=x",
            LoginLoopCause::SessionEnded,
        ),
    ];
    for (reason, bytes, hints, cookies, expected) in cases {
        assert_eq!(
            cause(1, bytes, reason, hints, cookies),
            None,
            "{reason:?} {cookies}: the second login"
        );
        for logins in [2, 3, u8::MAX] {
            assert_eq!(
                cause(logins, bytes, reason, hints, cookies),
                Some(expected),
                "{reason:?} {cookies}"
            );
        }
    }
}

#[test]
fn after_login_counts_attempts_not_tabs() {
    let first = LoginLoopState::after_login(None, 0, false, 1);
    let other_tab = LoginLoopState::after_login(Some(&first), 0, true, 1);
    assert_eq!((first.logins(), other_tab.logins()), (1, 1));
    assert_eq!(
        LoginLoopState::after_login(Some(&other_tab), 1, true, 1).logins(),
        2
    );
    let elsewhere = LoginLoopState::after_login(Some(&other_tab), 0, false, 1);
    assert_eq!(
        elsewhere.logins(),
        2,
        "started where the cookie is not sent"
    );
    let expired = LoginLoopState::after_login(None, 1, false, 1);
    assert_eq!(
        expired.logins(),
        2,
        "the cookie has expired, `state` has not"
    );
    assert_eq!(
        LoginLoopState::after_login(Some(&elsewhere), u8::MAX, false, 1).logins(),
        u8::MAX
    );
}

#[test]
fn after_sending_back_stops_at_limit() {
    let mut state = None;
    let callback = |known: Option<&LoginLoopState>| {
        LoginLoopState::after_sending_back(known, &page("/cart"), SentBackBy::Callback, AT)
    };
    assert_eq!(callback(callback(callback(None).as_ref()).as_ref()), None);
    for times in 1..=SentBackBy::Login.limit() {
        state = LoginLoopState::after_sending_back(
            state.as_ref(),
            &page("/cart"),
            SentBackBy::Login,
            AT,
        );
        assert!(matches!(state, Some(LoginLoopState::SentBack { times: t, .. }) if t == times));
    }
    let sent = |path, secs| {
        let now = AT.plus(Duration::from_secs(secs));
        LoginLoopState::after_sending_back(state.as_ref(), &page(path), SentBackBy::Login, now)
    };
    assert_eq!(sent("/cart", 59), None);
    assert!(matches!(
        sent("/cart", 60),
        Some(LoginLoopState::SentBack { times: 1, .. })
    ));
    assert!(matches!(
        sent("/posts", 1),
        Some(LoginLoopState::SentBack { times: 1, .. })
    ));
    let before = AT.minus(REMEMBERED);
    assert!(
        LoginLoopState::after_sending_back(
            state.as_ref(),
            &page("/cart"),
            SentBackBy::Login,
            before
        )
        .is_some()
    );
}

#[test]
fn parse_accepts_only_written_values() {
    let page = hash(&page("/cart"));
    for state in [
        LoginLoopState::Unseen {
            logins: 2,
            bytes: 7168,
        },
        LoginLoopState::SentBack {
            times: 3,
            page,
            since: AT,
        },
    ] {
        assert_eq!(LoginLoopState::parse(&state.to_value()), Some(state));
    }
    let bad = [
        "",
        ".",
        "login",
        "login.1",
        "login.256.1",
        "login.1.1.1",
        "login.-1.1",
        "back.1.1",
        "back.1.x.1",
        "x.1.1",
    ];
    for bad in bad {
        assert_eq!(LoginLoopState::parse(bad), None, "{bad}");
    }
}

#[test]
fn transport_hints_read_from_proxy_and_browser_headers() {
    let secure = "https://store.example.com";
    let plain = "http://store.localhost:8080";
    let fetched = ("sec-fetch-mode", "navigate");
    let upgrading = ("upgrade-insecure-requests", "1");
    let cases = [
        (secure, vec![fetched, upgrading], (false, false)),
        (secure, vec![upgrading], (false, true)),
        (secure, vec![], (false, false)),
        (
            secure,
            vec![("x-forwarded-proto", "http"), fetched],
            (false, true),
        ),
        (
            secure,
            vec![("x-forwarded-proto", "https, http"), upgrading],
            (false, false),
        ),
        (
            secure,
            vec![("x-forwarded-host", "STORE.example.com, x"), fetched],
            (false, false),
        ),
        (
            secure,
            vec![("x-forwarded-host", "shop.example.com"), fetched],
            (true, false),
        ),
        (
            plain,
            vec![("x-forwarded-proto", "http"), upgrading],
            (false, false),
        ),
    ];
    for (origin, fields, (other_host, plain_http)) in cases {
        let headers = fields.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let hints = TransportHints::read(&headers.collect(), &Origin::parse(origin).unwrap());
        assert_eq!(
            hints,
            TransportHints {
                other_host,
                plain_http
            },
            "{fields:?}"
        );
    }
}
