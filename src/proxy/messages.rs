//! Texts of error pages and problem documents: which messages say what happened and what the user can
//! do.

use crate::auth::FailureCause;
use crate::auth::login::LoginFailure;
use crate::auth::session::cookies::CookieWriteError;
use crate::policy::app::App;
use crate::policy::decide::Reason;
use crate::policy::post_replay::PreservePostError;
use crate::proxy::pages::Detail;
use crate::session::login_loop::LoginLoopCause;
use crate::session::validity::NoSessionReason;
use crate::static_files::FileError;
use crate::upstream::UpstreamError;

const ASK_OPERATOR: &str = "advice.ask_operator";
const CHECK_ADDRESS: &str = "advice.check_address";
const LOG_IN_AGAIN: &str = "advice.log_in_again";
const TELL_OPERATOR: &str = "advice.tell_operator";
const TRY_LATER: &str = "advice.try_later";

/// The text of an error, by the keys of its messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorText {
    /// The heading.
    pub title: &'static str,
    /// The event.
    pub explanation: &'static str,
    /// The advice to the user.
    pub advice: &'static str,
}

/// The messages of an error, which has its own advice or a common one.
macro_rules! error_text {
    ($name:ident) => {
        error_text!($name, concat!("error.", stringify!($name), ".advice"))
    };
    ($name:ident, $advice:expr) => {
        ErrorText {
            title: concat!("error.", stringify!($name), ".title"),
            explanation: concat!("error.", stringify!($name), ".explanation"),
            advice: $advice,
        }
    };
}

/// A registration of a device, or the renewal of its proof, failed. Only the browser sees it.
pub(super) const DEVICE_BINDING_FAILED: ErrorText =
    error_text!(device_binding_failed, LOG_IN_AGAIN);

/// The text for a refused request.
pub(super) const fn refusal_text(reason: Reason) -> ErrorText {
    match reason {
        Reason::InvalidRequest(_) => error_text!(invalid_request, CHECK_ADDRESS),
        Reason::UnsupportedPath => error_text!(unsupported_path, CHECK_ADDRESS),
        Reason::Misdirected => error_text!(unknown_site),
        Reason::LoginRequired(NoSessionReason::InsufficientAuthentication) => {
            error_text!(insufficient_authentication)
        }
        Reason::LoginRequired(_) | Reason::LoginBlockedInFrame(_) => error_text!(login_required),
        Reason::PostNotPreserved(..) => error_text!(post_not_preserved),
        Reason::DeviceProofUnavailable => error_text!(device_proof_unavailable, TRY_LATER),
        Reason::DeviceNotBound => error_text!(device_not_bound),
        Reason::SessionOver => error_text!(session_over),
        Reason::TokenRequired => error_text!(token_required),
        Reason::TokenRefused(_) => error_text!(token_refused),
        Reason::PasswordRequired => error_text!(password_required),
        Reason::PasswordRefused(refusal) => match refusal.retry_after {
            None => error_text!(password_refused),
            Some(_) => error_text!(password_throttled),
        },
        Reason::PasswordOverHttp => error_text!(password_over_http),
        Reason::UserRequired => error_text!(user_required),
        Reason::NoPreservedPost => error_text!(no_preserved_post),
        Reason::PostOfAnotherUser => error_text!(post_of_another_user),
        Reason::Forbidden => error_text!(forbidden, ASK_OPERATOR),
        Reason::Denied => error_text!(denied),
        Reason::NoSuchEndpoint | Reason::NoAppAtPath => error_text!(not_found),
        Reason::MethodNotAllowed(_) => error_text!(method_not_allowed),
        Reason::LoginParameterNotAllowed(_) => error_text!(login_parameter),
        Reason::CrossSite => error_text!(cross_site),
        Reason::OriginNotAllowed => error_text!(origin_not_allowed, TELL_OPERATOR),
        Reason::EndpointNotProxied => error_text!(endpoint_not_proxied, TELL_OPERATOR),
        Reason::BodyRequired => error_text!(body_required, TELL_OPERATOR),
    }
}

/// The text for a request to the decision listener that describes no request.
pub(super) const fn invalid_check_text() -> ErrorText {
    error_text!(invalid_check, TELL_OPERATOR)
}

/// The text for a request to the decision listener from a peer that is not trusted.
pub(super) const fn untrusted_peer_text() -> ErrorText {
    error_text!(untrusted_peer, TELL_OPERATOR)
}

/// Why a form was not preserved.
pub(super) const fn post_not_preserved_text(error: PreservePostError) -> Option<&'static str> {
    match error {
        PreservePostError::Disabled => None,
        PreservePostError::CrossSite => Some("post_not_preserved.cross_site"),
        PreservePostError::UnsupportedContentType => Some("post_not_preserved.content_type"),
        PreservePostError::UnsupportedTarget => Some("post_not_preserved.target"),
        PreservePostError::LengthUnknown => Some("post_not_preserved.length"),
        PreservePostError::TooLarge => Some("post_not_preserved.too_large"),
        PreservePostError::BodyIncomplete => Some("post_not_preserved.incomplete"),
        PreservePostError::QuotaExceeded => Some("post_not_preserved.quota"),
    }
}

/// The text for a failed login.
pub(super) const fn login_failure_text(failure: &LoginFailure) -> ErrorText {
    match failure {
        LoginFailure::Malformed(_) | LoginFailure::StateInvalid => {
            error_text!(login_foreign, LOG_IN_AGAIN)
        }
        LoginFailure::RequestInvalid | LoginFailure::HandoverInvalid => {
            error_text!(login_request_invalid)
        }
        LoginFailure::HandoverGone => error_text!(handover_gone, LOG_IN_AGAIN),
        LoginFailure::CookieMissing => error_text!(login_cookie_missing),
        LoginFailure::BrowserMismatch => error_text!(login_other_browser, LOG_IN_AGAIN),
        LoginFailure::AttemptExpired => error_text!(login_expired, LOG_IN_AGAIN),
        LoginFailure::Declined { .. } => error_text!(login_declined),
        LoginFailure::Replayed => error_text!(login_replayed, LOG_IN_AGAIN),
        LoginFailure::CodeRejected | LoginFailure::CodeNotRedeemed(_) => {
            error_text!(login_not_confirmed, LOG_IN_AGAIN)
        }
        LoginFailure::NotRegistered => error_text!(not_registered, ASK_OPERATOR),
        LoginFailure::InsufficientAuthentication(_) => error_text!(login_insufficient),
        LoginFailure::TokensRejected(_) => error_text!(login_not_verified, TELL_OPERATOR),
        LoginFailure::SessionRevoked => error_text!(session_revoked, LOG_IN_AGAIN),
        LoginFailure::UserBlocked => error_text!(user_blocked, ASK_OPERATOR),
        LoginFailure::TooLarge(_) => error_text!(session_too_large, TELL_OPERATOR),
        LoginFailure::ClockSkew(_) => error_text!(clock_skew, TELL_OPERATOR),
        LoginFailure::Loop(cause) => login_loop_text(*cause),
        LoginFailure::Unavailable(outage) => unavailable_text(outage.cause, Operation::Login),
    }
}

const fn login_loop_text(cause: LoginLoopCause) -> ErrorText {
    const OPEN_OWN_ADDRESS: &str = "advice.open_own_address";
    match cause {
        LoginLoopCause::CookieNotReturned => error_text!(loop_cookie_not_returned),
        LoginLoopCause::WrongHost => error_text!(loop_wrong_host, OPEN_OWN_ADDRESS),
        LoginLoopCause::SecureOverHttp => error_text!(loop_over_http, OPEN_OWN_ADDRESS),
        LoginLoopCause::TooLarge => error_text!(loop_cookie_dropped, TELL_OPERATOR),
        LoginLoopCause::ClockSkew => error_text!(loop_session_expired, TELL_OPERATOR),
        LoginLoopCause::UnreadableCookie => error_text!(loop_cookie_unreadable),
        LoginLoopCause::SessionEnded => error_text!(loop_session_ended, TELL_OPERATOR),
        LoginLoopCause::ClientChanges => error_text!(loop_client_changes),
        LoginLoopCause::NotAllowed => error_text!(loop_not_allowed),
    }
}

/// Details about a failed login, if there are any.
pub(super) fn login_failure_detail(failure: &LoginFailure, app: &App) -> Option<Detail> {
    match failure {
        LoginFailure::Loop(LoginLoopCause::WrongHost | LoginLoopCause::SecureOverHttp) => {
            Some(Detail {
                message: "detail.own_address",
                value: app.public_url(),
            })
        }
        LoginFailure::TooLarge(CookieWriteError::TooLarge { largest, .. }) => Some(Detail {
            message: "detail.largest_part",
            value: largest.to_string(),
        }),
        LoginFailure::TooLarge(CookieWriteError::Unsealed)
        | LoginFailure::Malformed(_)
        | LoginFailure::StateInvalid
        | LoginFailure::RequestInvalid
        | LoginFailure::HandoverInvalid
        | LoginFailure::HandoverGone
        | LoginFailure::CookieMissing
        | LoginFailure::BrowserMismatch
        | LoginFailure::AttemptExpired
        | LoginFailure::Declined { .. }
        | LoginFailure::Replayed
        | LoginFailure::CodeRejected
        | LoginFailure::CodeNotRedeemed(_)
        | LoginFailure::InsufficientAuthentication(_)
        | LoginFailure::TokensRejected(_)
        | LoginFailure::SessionRevoked
        | LoginFailure::UserBlocked
        | LoginFailure::NotRegistered
        | LoginFailure::ClockSkew(_)
        | LoginFailure::Loop(_)
        | LoginFailure::Unavailable(_) => None,
    }
}

/// The operation that a failed call prevented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To check or renew the session of the request.
    SessionCheck,
    /// To check the access token of the request.
    TokenCheck,
    /// To log the user in.
    Login,
    /// To read a preserved form.
    FormReplay,
}

/// The text for a call that failed: names what failed, and what that means for this user.
pub(super) const fn unavailable_text(cause: FailureCause, operation: Operation) -> ErrorText {
    use FailureCause::{Client, Internal, Provider, ProviderRefusal, Store};
    use Operation::{FormReplay, Login, SessionCheck, TokenCheck};
    let title = match cause {
        Provider => "unavailable.provider.title",
        ProviderRefusal => "unavailable.provider_refusal.title",
        Store => "unavailable.store.title",
        Client => "unavailable.client.title",
        Internal => "unavailable.internal.title",
    };
    let explanation = match (cause, operation) {
        (Provider, SessionCheck) => "unavailable.provider.session_check",
        (Provider, TokenCheck) => "unavailable.provider.token_check",
        (Provider, Login | FormReplay) => "unavailable.provider.login",
        (ProviderRefusal, _) => "unavailable.provider_refusal.explanation",
        (Store, SessionCheck) => "unavailable.store.session_check",
        (Store, TokenCheck) => "unavailable.store.token_check",
        (Store, Login) => "unavailable.store.login",
        (Store, FormReplay) => "unavailable.store.form_replay",
        (Client, _) => "unavailable.client.explanation",
        (Internal, SessionCheck) => "unavailable.internal.session_check",
        (Internal, TokenCheck) => "unavailable.internal.token_check",
        (Internal, Login) => "unavailable.internal.login",
        (Internal, FormReplay) => "unavailable.internal.form_replay",
    };
    let advice = match (cause, operation) {
        (ProviderRefusal, _) => "unavailable.advice.log_in",
        (_, SessionCheck) => "unavailable.advice.reload",
        (_, TokenCheck | Login | FormReplay) => TRY_LATER,
    };
    ErrorText {
        title,
        explanation,
        advice,
    }
}

/// The text for an exceeded concurrency limit.
pub(super) const fn busy_text() -> ErrorText {
    error_text!(busy, TRY_LATER)
}

/// The text for a client that exceeds its own limit.
pub(super) const fn limited_client_text() -> ErrorText {
    error_text!(too_many_requests)
}

/// The text while an app is in maintenance.
pub(super) const fn maintenance_text() -> ErrorText {
    error_text!(maintenance)
}

/// The text for a failed upstream request.
pub(super) const fn upstream_text(error: &UpstreamError) -> ErrorText {
    if error.is_client_error() {
        return error_text!(request_incomplete);
    }
    error_text!(upstream_failed, TRY_LATER)
}

/// The text for a file that is not served.
pub(super) const fn file_text(error: &FileError) -> ErrorText {
    match error {
        FileError::NotFound => error_text!(not_found),
        FileError::Busy => busy_text(),
        FileError::Unreadable(_) => error_text!(upstream_failed, TRY_LATER),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::proxy::pages::Language;

    /// The keys of messages in a Rust file.
    fn keys_in(source: &str) -> BTreeSet<String> {
        let source = source.split("#[cfg(test)]").next().unwrap();
        let texts = source.split('"').skip(1).step_by(2);
        let is_key = |text: &&str| {
            let groups = [
                "action.",
                "advice.",
                "ago.",
                "detail.",
                "moving_on.",
                "post_not_preserved.",
                "unavailable.",
            ];
            groups.iter().any(|group| text.starts_with(group))
        };
        let mut keys: BTreeSet<String> = texts.filter(is_key).map(str::to_owned).collect();
        for call in source.split("error_text!(").skip(1) {
            let end = call.find([',', ')']).unwrap();
            let (name, rest) = call.split_at(end);
            if name.starts_with('$') {
                continue;
            }
            let has_own_advice = rest.starts_with(')');
            let parts: &[&str] = if has_own_advice {
                &["title", "explanation", "advice"]
            } else {
                &["title", "explanation"]
            };
            keys.extend(parts.iter().map(|part| format!("error.{name}.{part}")));
        }
        keys
    }

    #[test]
    fn every_message_exists_and_is_used() {
        let english = &Language::shipped().unwrap()[0];
        let sources = [
            include_str!("messages.rs"),
            include_str!("login_host.rs"),
            include_str!("pages/sessions.rs"),
            include_str!("responder/device_binding.rs"),
            include_str!("responder/error.rs"),
            include_str!("responder/login.rs"),
            include_str!("responder/login_host.rs"),
            include_str!("responder/refusal.rs"),
        ];
        let mut used: BTreeSet<String> =
            sources.iter().flat_map(|source| keys_in(source)).collect();
        assert!(used.len() > 150, "{}", used.len());
        used.extend(crate::proxy::pages::keys_in_templates());
        let known: BTreeSet<String> = english.keys().map(str::to_owned).collect();
        let missing: Vec<_> = used.difference(&known).collect();
        let unused: Vec<_> = known.difference(&used).collect();
        assert!(
            missing.is_empty() && unused.is_empty(),
            "{missing:?} {unused:?}"
        );
    }

    #[test]
    fn unavailable_text_is_true_of_this_user() {
        let english = &Language::shipped().unwrap()[0];
        let causes = [
            FailureCause::Provider,
            FailureCause::ProviderRefusal,
            FailureCause::Store,
            FailureCause::Client,
            FailureCause::Internal,
        ];
        for cause in causes {
            let of = |operation| english.plain(unavailable_text(cause, operation).explanation);
            assert!(of(Operation::SessionCheck).contains("not been logged out"));
            if matches!(cause, FailureCause::ProviderRefusal | FailureCause::Client) {
                continue;
            }
            for operation in [
                Operation::TokenCheck,
                Operation::Login,
                Operation::FormReplay,
            ] {
                assert!(
                    !of(operation).contains("logged out"),
                    "{cause:?} {operation:?}"
                );
            }
            let names_provider = of(Operation::Login).contains("login service");
            assert_eq!(names_provider, cause == FailureCause::Provider, "{cause:?}");
        }
    }
}
