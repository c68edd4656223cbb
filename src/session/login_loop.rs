//! Logins that go in circles: what a small cookie counts of them, and what the last round says about the cause.
//!
//! The count is not sealed: replicas whose keys differ are one of the causes, and whoever forges it only keeps
//! himself from logging in. It is as old as the browser says (`Max-Age`), so that clocks that differ, another cause,
//! do not matter. Where no cookie comes back at all, `state` counts instead (see [`super::attempt::AttemptState`]), so
//! nothing is remembered here of any browser.

use std::time::Duration;

use aws_lc_rs::digest;
use http::{HeaderMap, header};

use super::cookie::{MAX_CHUNKS, MAX_VALUE, RequestCookies, chunk_name};
use super::validity::NoSessionReason;
use crate::identity::return_to::ReturnTo;
use crate::types::net::Origin;
use crate::types::time::Timestamp;

/// How long a round is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(60);

/// How many logins may finish without a session that is seen again; the next is not begun.
const MAX_LOGINS: u8 = 2;

/// How often a signed-in person may be sent to log in and back to the same page within [`REMEMBERED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentBackBy {
    /// Our login. More often than the other, since a person who goes to and fro by a link to it does the same; less
    /// often than browsers follow redirects.
    Login,
    /// The callback of a login that was begun without the session that came with it: where it was begun, this host's
    /// cookies are not sent.
    Callback,
}

impl SentBackBy {
    const fn most(self) -> u8 {
        match self {
            Self::Login => 4,
            Self::Callback => 2,
        }
    }

    /// Why more than that is a circle.
    pub const fn cause(self) -> LoginLoopCause {
        match self {
            Self::Login => LoginLoopCause::NotAllowed,
            Self::Callback => LoginLoopCause::WrongHost,
        }
    }
}

/// What the last answers were about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginLoopState {
    /// Logins that finished, each with a session that was not seen since.
    Unseen {
        /// How many, one after the other.
        logins: u8,
        /// What the last session's cookies took of a request, in bytes.
        bytes: usize,
    },
    /// A signed-in person who was sent to log in, and from there back to where that came from.
    SentBack {
        /// How often.
        times: u8,
        /// To which page: the beginning of a hash.
        page: u64,
        /// When first.
        since: Timestamp,
    },
}

/// Why logins go in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginLoopCause {
    /// The browser did not send the cookies that it was given.
    CookieNotReturned,
    /// It came by another name than the app's own, under which cookies do not come back.
    WrongHost,
    /// It came over plain http, where cookies of an https site are neither kept nor sent.
    SecureOverHttp,
    /// Something on the way drops cookies of this size.
    TooLarge,
    /// The session was over when it was seen for the first time, by the clock of whoever looked.
    ClockOff,
    /// Cookies came back and could not be opened, or do not belong together.
    UnreadableCookie,
    /// The session was ended at once, by the provider or a logout elsewhere.
    SessionEnded,
    /// The app sends a person who is signed in to log in again.
    NotAllowed,
}

impl LoginLoopCause {
    /// The stable word for logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CookieNotReturned => "login_loop_cookie_not_returned",
            Self::WrongHost => "login_loop_wrong_host",
            Self::SecureOverHttp => "login_loop_secure_over_http",
            Self::TooLarge => "login_loop_too_large",
            Self::ClockOff => "login_loop_clock_skew",
            Self::UnreadableCookie => "login_loop_cookie_unreadable",
            Self::SessionEnded => "login_loop_session_ended",
            Self::NotAllowed => "login_loop_not_allowed",
        }
    }
}

/// What a request tells of the way it came. Anybody can write these fields: they choose words, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TransportHints {
    /// Something in front was asked for another host.
    pub other_host: bool,
    /// The browser seems to speak plain http to an app whose address is https.
    pub plain_http: bool,
}

impl TransportHints {
    /// Reads the fields of a navigation to the app at `origin`.
    pub fn read(headers: &HeaderMap, origin: &Origin) -> Self {
        let first = |name: &str| {
            headers
                .get(name)?
                .to_str()
                .ok()?
                .split(',')
                .next()
                .map(str::trim)
        };
        let other_host = first("x-forwarded-host").is_some_and(|host| !origin.is_named_by(host));
        let plain_http = origin.is_secure()
            && match first("x-forwarded-proto") {
                Some(scheme) => scheme.eq_ignore_ascii_case("http"),
                // Browsers send the fetch metadata to trustworthy addresses only.
                None => {
                    headers.contains_key(header::UPGRADE_INSECURE_REQUESTS)
                        && !headers.contains_key("sec-fetch-mode")
                }
            };
        Self {
            other_host,
            plain_http,
        }
    }

    /// What either tells.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            other_host: self.other_host || other.other_host,
            plain_http: self.plain_http || other.plain_http,
        }
    }

    /// Why a cookie did not come back, if anything else than the browser's own will is known.
    pub const fn cause(self) -> Option<LoginLoopCause> {
        match self {
            Self {
                other_host: true, ..
            } => Some(LoginLoopCause::WrongHost),
            Self {
                plain_http: true, ..
            } => Some(LoginLoopCause::SecureOverHttp),
            Self {
                other_host: false,
                plain_http: false,
            } => None,
        }
    }
}

impl LoginLoopState {
    /// Reads the cookie's value. Anything else than what we write is nothing.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('.');
        let (kind, count) = (parts.next()?, parts.next()?.parse().ok()?);
        let rounds = match kind {
            "login" => Self::Unseen {
                logins: count,
                bytes: parts.next()?.parse().ok()?,
            },
            "back" => Self::SentBack {
                times: count,
                page: parts.next()?.parse().ok()?,
                since: Timestamp::from_secs(parts.next()?.parse().ok()?),
            },
            _ => return None,
        };
        parts.next().is_none().then_some(rounds)
    }

    /// The cookie's value.
    pub fn to_value(&self) -> String {
        match self {
            Self::Unseen { logins, bytes } => format!("login.{logins}.{bytes}"),
            Self::SentBack { times, page, since } => {
                format!("back.{times}.{page}.{}", since.secs())
            }
        }
    }

    /// How many logins finished in vain.
    pub const fn logins(&self) -> u8 {
        match self {
            Self::Unseen { logins, .. } => *logins,
            Self::SentBack { .. } => 0,
        }
    }

    /// These and one more login, which was begun after `before` others; `session_came` back with its callback.
    #[must_use]
    pub fn after_login(known: Option<&Self>, before: u8, session_came: bool, bytes: usize) -> Self {
        let known = known.map_or(0, Self::logins);
        // Logins in several tabs that were begun together are one round: each finds the session of the one before.
        let in_vain = if session_came {
            known
        } else {
            known.saturating_add(u8::from(known > 0))
        };
        Self::Unseen {
            logins: in_vain.max(before.saturating_add(1)),
            bytes,
        }
    }

    /// Whether no other login is to be begun, and why the session of the last is not there: `why`, with these cookies.
    pub fn exceeds_limit(
        &self,
        why: NoSessionReason,
        signs: TransportHints,
        came: &RequestCookies<'_>,
        session_cookies: [&str; 2],
    ) -> Option<LoginLoopCause> {
        let Self::Unseen { logins, bytes } = self else {
            return None;
        };
        let is_cut = || session_cookies.iter().any(|name| is_cut(came, name));
        let cause = match why {
            NoSessionReason::NoCookie => {
                signs.cause().unwrap_or(if *bytes > MAX_VALUE || is_cut() {
                    LoginLoopCause::TooLarge
                } else {
                    LoginLoopCause::CookieNotReturned
                })
            }
            NoSessionReason::UnreadableCookie if is_cut() => LoginLoopCause::TooLarge,
            NoSessionReason::UnreadableCookie | NoSessionReason::CookieMismatch => {
                LoginLoopCause::UnreadableCookie
            }
            NoSessionReason::Idle | NoSessionReason::AbsoluteTimeout | NoSessionReason::Expired => {
                LoginLoopCause::ClockOff
            }
            NoSessionReason::Revoked
            | NoSessionReason::RefreshRefused
            | NoSessionReason::RefreshTokenReused => LoginLoopCause::SessionEnded,
            // It may be there: nothing is known against it.
            NoSessionReason::RevocationsUnknown | NoSessionReason::TokenRefused(_) => return None,
        };
        (*logins >= MAX_LOGINS).then_some(cause)
    }

    /// A person who is signed in was sent to log in, and goes back to `page` at `now`. `None`: once more than can be by
    /// chance.
    pub fn after_sending_back(
        known: Option<&Self>,
        page: &ReturnTo,
        by: SentBackBy,
        now: Timestamp,
    ) -> Option<Self> {
        let page = hash(page);
        match known {
            Some(Self::SentBack {
                times,
                page: before,
                since,
            }) if *before == page && now.since(*since) < REMEMBERED && *since <= now => {
                (*times < by.most()).then(|| Self::SentBack {
                    times: times + 1,
                    page,
                    since: *since,
                })
            }
            Some(Self::SentBack { .. } | Self::Unseen { .. }) | None => Some(Self::SentBack {
                times: 1,
                page,
                since: now,
            }),
        }
    }

    /// How long they are remembered from `now` on.
    pub const fn remembered(&self, now: Timestamp) -> Duration {
        match self {
            Self::Unseen { .. } => REMEMBERED,
            Self::SentBack { since, .. } => REMEMBERED.saturating_sub(now.since(*since)),
        }
    }
}

/// Whether some chunks of a value came, and others did not.
fn is_cut(came: &RequestCookies<'_>, name: &str) -> bool {
    let rest = (1..MAX_CHUNKS).any(|index| came.has(&chunk_name(name, index)));
    match came.get(name) {
        Some(first) => first.contains('.') && came.get_chunked(name).is_none(),
        None => rest && !came.has(name),
    }
}

fn hash(page: &ReturnTo) -> u64 {
    let hash = digest::digest(&digest::SHA256, page.as_str().as_bytes());
    hash.as_ref()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1000);

    fn page(path: &str) -> ReturnTo {
        ReturnTo::parse(path, "/.doorward").unwrap()
    }

    fn cause(
        logins: u8,
        bytes: usize,
        why: NoSessionReason,
        signs: TransportHints,
        cookies: &'static str,
    ) -> Option<LoginLoopCause> {
        let fields = [HeaderValue::from_static(cookies)];
        LoginLoopState::Unseen { logins, bytes }.exceeds_limit(
            why,
            signs,
            &RequestCookies::read(&fields),
            ["jwt", "refresh"],
        )
    }

    #[test]
    fn the_third_login_is_not_begun_and_each_cause_has_its_signs() {
        let (none, host) = (
            TransportHints::default(),
            TransportHints {
                other_host: true,
                plain_http: false,
            },
        );
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
                LoginLoopCause::ClockOff,
            ),
            (
                NoSessionReason::Idle,
                2000,
                none,
                "jwt=x",
                LoginLoopCause::ClockOff,
            ),
            (
                NoSessionReason::AbsoluteTimeout,
                2000,
                none,
                "jwt=x",
                LoginLoopCause::ClockOff,
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
        for (why, bytes, signs, cookies, expected) in cases {
            assert_eq!(
                cause(1, bytes, why, signs, cookies),
                None,
                "{why:?} {cookies}: the second login"
            );
            for logins in [2, 3, u8::MAX] {
                assert_eq!(
                    cause(logins, bytes, why, signs, cookies),
                    Some(expected),
                    "{why:?} {cookies}"
                );
            }
        }
    }

    #[test]
    fn rounds_are_counted_and_not_tabs() {
        let first = LoginLoopState::after_login(None, 0, false, 1);
        let other_tab = LoginLoopState::after_login(Some(&first), 0, true, 1);
        assert_eq!((first.logins(), other_tab.logins()), (1, 1));
        assert_eq!(
            LoginLoopState::after_login(Some(&other_tab), 1, true, 1).logins(),
            2
        );
        let elsewhere = LoginLoopState::after_login(Some(&other_tab), 0, false, 1);
        assert_eq!(elsewhere.logins(), 2, "begun where the count is not seen");
        let forgotten = LoginLoopState::after_login(None, 1, false, 1);
        assert_eq!(
            forgotten.logins(),
            2,
            "a round whose cookie is forgotten, not its `state`"
        );
        assert_eq!(
            LoginLoopState::after_login(Some(&elsewhere), u8::MAX, false, 1).logins(),
            u8::MAX
        );
    }

    #[test]
    fn who_is_signed_in_is_sent_back_to_a_page_so_often_and_no_more() {
        let mut rounds = None;
        let callback = |known: Option<&LoginLoopState>| {
            LoginLoopState::after_sending_back(known, &page("/cart"), SentBackBy::Callback, AT)
        };
        assert_eq!(callback(callback(callback(None).as_ref()).as_ref()), None);
        for times in 1..=SentBackBy::Login.most() {
            rounds = LoginLoopState::after_sending_back(
                rounds.as_ref(),
                &page("/cart"),
                SentBackBy::Login,
                AT,
            );
            assert!(
                matches!(rounds, Some(LoginLoopState::SentBack { times: t, .. }) if t == times)
            );
        }
        let sent = |path, secs| {
            let now = AT.plus(Duration::from_secs(secs));
            LoginLoopState::after_sending_back(rounds.as_ref(), &page(path), SentBackBy::Login, now)
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
                rounds.as_ref(),
                &page("/cart"),
                SentBackBy::Login,
                before
            )
            .is_some()
        );
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let page = hash(&page("/cart"));
        for rounds in [
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
            assert_eq!(LoginLoopState::parse(&rounds.to_value()), Some(rounds));
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
    fn the_way_is_read_from_what_the_front_and_the_browser_say() {
        let (secure, plain) = ("https://store.example.com", "http://store.localhost:8080");
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
        for (origin, lines, (other_host, plain_http)) in cases {
            let headers = lines.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            let signs = TransportHints::read(&headers.collect(), &Origin::parse(origin).unwrap());
            assert_eq!(
                signs,
                TransportHints {
                    other_host,
                    plain_http
                },
                "{lines:?}"
            );
        }
    }
}
