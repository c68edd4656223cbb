//! Login loop detection: a small cookie counts logins without a resulting session, and the last
//! attempt shows the cause.
//!
//! The cookie is not sealed, because replicas with different keys are one of the causes. A client
//! that forges it only prevents its own login. Its age is its `Max-Age`, which does not depend on
//! the replicas' clocks; clock skew is another cause. If the browser returns no cookies at all,
//! `state` counts instead (see [`super::attempt::AttemptState`]). Doorward stores nothing about a
//! browser.

use std::time::Duration;

use aws_lc_rs::digest;
use http::{HeaderMap, header};

use super::cookie::{MAX_CHUNKS, MAX_VALUE, RequestCookies, chunk_name};
use super::validity::NoSessionReason;
use crate::identity::return_to::ReturnTo;
use crate::types::net::Origin;
use crate::types::time::Timestamp;

/// How long the count is kept.
pub const REMEMBERED: Duration = Duration::from_secs(60);

/// How many consecutive logins may complete without a request that brings the session back. The
/// next login is not started.
const MAX_LOGINS: u8 = 2;

/// The cause that sent a logged-in user back to the page that started the login. Each has a limit for the
/// same page within [`REMEMBERED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentBackBy {
    /// The login endpoint. Its limit is higher, because a user who repeatedly follows a login link
    /// does the same, but lower than the number of redirects that browsers follow.
    Login,
    /// The callback, if the request brings a session that the login's first request did not: that
    /// request came by another host, to which the cookies are not sent.
    Callback,
}

impl SentBackBy {
    const fn limit(self) -> u8 {
        match self {
            Self::Login => 4,
            Self::Callback => 2,
        }
    }

    /// The cause if the limit is exceeded.
    pub const fn cause(self) -> LoginLoopCause {
        match self {
            Self::Login => LoginLoopCause::NotAllowed,
            Self::Callback => LoginLoopCause::WrongHost,
        }
    }
}

/// The content of the login loop cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginLoopState {
    /// Completed logins without a later request that brought the session.
    Unseen {
        /// The number of consecutive logins.
        logins: u8,
        /// The size of the last session's cookies in a request, in bytes.
        bytes: usize,
    },
    /// A logged-in user was sent to the login, and from there back to the page.
    SentBack {
        /// How many times.
        times: u8,
        /// The page: the beginning of its hash.
        page: u64,
        /// The first time.
        since: Timestamp,
    },
}

/// The cause of a login loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginLoopCause {
    /// The browser did not return the cookies.
    CookieNotReturned,
    /// The browser uses another host than the app's origin, and does not send the cookies to it.
    WrongHost,
    /// The browser uses plain http, where it neither stores nor sends `Secure` cookies.
    SecureOverHttp,
    /// A proxy or the browser drops cookies of this size.
    TooLarge,
    /// The session had expired at its first use, by the clock of the replica that validated it.
    ClockSkew,
    /// The cookies came back and cannot be opened, or do not belong together.
    UnreadableCookie,
    /// The session ended immediately, by the provider or by a logout elsewhere.
    SessionEnded,
    /// The client differs from that of the login at once: its network or its browser keeps changing.
    ClientChanges,
    /// The app sends a logged-in user to the login again.
    NotAllowed,
}

impl LoginLoopCause {
    /// The stable code in logs, metrics and pages.
    pub const fn code(self) -> &'static str {
        match self {
            Self::CookieNotReturned => "login_loop_cookie_not_returned",
            Self::WrongHost => "login_loop_wrong_host",
            Self::SecureOverHttp => "login_loop_secure_over_http",
            Self::TooLarge => "login_loop_too_large",
            Self::ClockSkew => "login_loop_clock_skew",
            Self::UnreadableCookie => "login_loop_cookie_unreadable",
            Self::SessionEnded => "login_loop_session_ended",
            Self::ClientChanges => "login_loop_client_changes",
            Self::NotAllowed => "login_loop_not_allowed",
        }
    }
}

/// Headers that show how a request reached Doorward. They are not authenticated, so they
/// only select the text of an error page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TransportHints {
    /// A proxy in front received the request for another host.
    pub other_host: bool,
    /// The browser appears to use plain http for an app with an https origin.
    pub plain_http: bool,
}

impl TransportHints {
    /// Reads the headers of a navigation to the app at `origin`.
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
                // Browsers send fetch metadata to potentially trustworthy origins only.
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

    /// The union of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            other_host: self.other_host || other.other_host,
            plain_http: self.plain_http || other.plain_http,
        }
    }

    /// The cause of a missing cookie, if the headers reveal one.
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
    /// Parses the cookie's value; `None` if [`Self::to_value`] did not write it.
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split('.');
        let kind = parts.next()?;
        let count = parts.next()?.parse().ok()?;
        let state = match kind {
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
        parts.next().is_none().then_some(state)
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

    /// The number of completed logins without a session.
    pub const fn logins(&self) -> u8 {
        match self {
            Self::Unseen { logins, .. } => *logins,
            Self::SentBack { .. } => 0,
        }
    }

    /// The state after one more login, which started after `before` others. `has_session` says
    /// whether the callback request brought a session.
    #[must_use]
    pub fn after_login(known: Option<&Self>, before: u8, has_session: bool, bytes: usize) -> Self {
        let known = known.map_or(0, Self::logins);
        // Logins that were started together in several tabs count once: each callback brings the
        // session of the previous one.
        let logins = if has_session {
            known
        } else {
            known.saturating_add(u8::from(known > 0))
        };
        Self::Unseen {
            logins: logins.max(before.saturating_add(1)),
            bytes,
        }
    }

    /// The cause of the loop if no further login may start, for a request that has no session
    /// because of `reason`.
    pub fn exceeds_limit(
        &self,
        reason: NoSessionReason,
        hints: TransportHints,
        cookies: &RequestCookies<'_>,
        session_cookies: [&str; 2],
    ) -> Option<LoginLoopCause> {
        let Self::Unseen { logins, bytes } = self else {
            return None;
        };
        let is_incomplete = || {
            session_cookies
                .iter()
                .any(|name| is_incomplete(cookies, name))
        };
        let cause = match reason {
            NoSessionReason::NoCookie => {
                hints
                    .cause()
                    .unwrap_or(if *bytes > MAX_VALUE || is_incomplete() {
                        LoginLoopCause::TooLarge
                    } else {
                        LoginLoopCause::CookieNotReturned
                    })
            }
            NoSessionReason::UnreadableCookie if is_incomplete() => LoginLoopCause::TooLarge,
            NoSessionReason::UnreadableCookie | NoSessionReason::CookieMismatch => {
                LoginLoopCause::UnreadableCookie
            }
            NoSessionReason::Idle | NoSessionReason::AbsoluteTimeout | NoSessionReason::Expired => {
                LoginLoopCause::ClockSkew
            }
            NoSessionReason::Revoked
            | NoSessionReason::RefreshRefused
            | NoSessionReason::NotRefreshed
            | NoSessionReason::RefreshTokenReused => LoginLoopCause::SessionEnded,
            NoSessionReason::ClientChanged(_) => LoginLoopCause::ClientChanges,
            // The session may exist.
            NoSessionReason::RevocationsUnknown
            | NoSessionReason::TokenRefused(_)
            | NoSessionReason::InsufficientAuthentication
            | NoSessionReason::DeviceUnproven(_)
            | NoSessionReason::PasswordRefused(_) => return None,
        };
        (*logins >= MAX_LOGINS).then_some(cause)
    }

    /// The state after a logged-in user is sent back to `page` at `now`. `None` if the limit is
    /// exceeded.
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
                (*times < by.limit()).then(|| Self::SentBack {
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

    /// How long the cookie is to be kept from `now` on.
    pub const fn remembered(&self, now: Timestamp) -> Duration {
        match self {
            Self::Unseen { .. } => REMEMBERED,
            Self::SentBack { since, .. } => REMEMBERED.saturating_sub(now.since(*since)),
        }
    }
}

/// Whether some chunks of a cookie are missing.
fn is_incomplete(cookies: &RequestCookies<'_>, name: &str) -> bool {
    let has_other_chunks = (1..MAX_CHUNKS).any(|index| cookies.has(&chunk_name(name, index)));
    match cookies.get(name) {
        Some(first) => first.contains('.') && cookies.get_chunked(name).is_none(),
        None => has_other_chunks && !cookies.has(name),
    }
}

fn hash(page: &ReturnTo) -> u64 {
    let hash = digest::digest(&digest::SHA256, page.as_str().as_bytes());
    hash.as_ref()
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests;
