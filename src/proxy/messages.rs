//! Texts of error pages and problem documents: what happened and what the user can do.

pub(super) mod device_binding;

use crate::auth::FailureCause;
use crate::auth::login::LoginFailure;
use crate::auth::session::cookies::CookieWriteError;
use crate::policy::app::App;
use crate::policy::decide::Reason;
use crate::policy::post_replay::PreservePostError;
use crate::session::login_loop::LoginLoopCause;
use crate::session::validity::NoSessionReason;
use crate::upstream::UpstreamError;

const ASK_OPERATOR: &str =
    "If you think that you should have access, ask the people who run this site.";
const CHECK_ADDRESS: &str =
    "Check the address. If you followed a link on this site, tell the people who run it.";
const LOG_IN_AGAIN: &str = "Please log in again.";
const TELL_OPERATOR: &str =
    "Please tell the people who run this site, and give them the request ID below.";
const TRY_LATER: &str = "Please try again in a moment.";

/// The text of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorText {
    /// The heading.
    pub title: &'static str,
    /// What happened.
    pub explanation: &'static str,
    /// What the user can do.
    pub advice: &'static str,
}

const fn text(title: &'static str, explanation: &'static str, advice: &'static str) -> ErrorText {
    ErrorText {
        title,
        explanation,
        advice,
    }
}

/// The text for a refused request.
pub(super) const fn refusal_text(reason: Reason) -> ErrorText {
    match reason {
        Reason::InvalidRequest(_) => text(
            "This request is not valid",
            "The address or the headers of the request are malformed or ambiguous, so we didn't pass it on.",
            CHECK_ADDRESS,
        ),
        Reason::UnsupportedPath => text(
            "This address is not valid",
            "The address contains characters that this site doesn't accept.",
            CHECK_ADDRESS,
        ),
        Reason::Misdirected => text(
            "This site doesn't exist",
            "No site with the name in the address is served here.",
            "Check the name of the site.",
        ),
        Reason::LoginRequired(NoSessionReason::InsufficientAuthentication) => text(
            "Please log in again",
            "This address requires a newer login, or another way to log in than the one that was used.",
            "Log in again and try again.",
        ),
        Reason::LoginRequired(_) | Reason::LoginBlockedInFrame(_) => text(
            "Please log in",
            "This page requires a login.",
            "Log in and try again.",
        ),
        Reason::PostNotPreserved(..) => text(
            "Your form was not sent",
            "Your session had expired when you sent the form, so nothing was changed.",
            "Log in, go back, and send it again.",
        ),
        Reason::DeviceProofUnavailable => device_binding::PROOF_UNAVAILABLE,
        Reason::DeviceNotBound => device_binding::NOT_BOUND,
        Reason::SessionOver => text(
            "Your session has ended",
            "You were logged out while the request was being sent, so it was not completed.",
            "Log in, check whether it was received, and send it again if needed.",
        ),
        Reason::TokenRequired => text(
            "An access token is required",
            "This address accepts only requests with an access token.",
            "Send an access token in the Authorization header.",
        ),
        Reason::TokenRefused(_) => text(
            "The access token was rejected",
            "The access token in the request is invalid or has expired.",
            "Get a new access token and send the request again.",
        ),
        Reason::PasswordRequired => text(
            "A password is required",
            "This address accepts only requests with a user name and a password.",
            "Enter your user name and your password.",
        ),
        Reason::PasswordRefused(refusal) => match refusal.retry_after {
            None => text(
                "The password was not accepted",
                "The user name or the password is wrong, or this account may not log in this way.",
                "Check both and try again.",
            ),
            Some(_) => text(
                "Too many login attempts",
                "There were too many attempts to log in, so the password was not checked.",
                "Wait and try again.",
            ),
        },
        Reason::PasswordOverHttp => text(
            "This connection is not secure",
            "Passwords are accepted over https only.",
            "Use the https address of this site.",
        ),
        Reason::UserRequired => text(
            "A user's access token is required",
            "The access token is valid, but it belongs to a client and not to a user.",
            "Use an access token that was issued for a user.",
        ),
        Reason::NoPreservedPost => text(
            "There is no form to send",
            "The form has already been sent, or it has expired.",
            "If you are not sure, check whether it was received before you fill it in again.",
        ),
        Reason::PostOfAnotherUser => text(
            "Your form was not sent",
            "The form was filled in by another user, so we discarded it. Nothing was changed.",
            "If it was yours, fill it in again.",
        ),
        Reason::Forbidden => text(
            "You don't have access to this page",
            "You are logged in, but your account doesn't have access to this page.",
            ASK_OPERATOR,
        ),
        Reason::Denied => text(
            "This page is not available",
            "Access to this page is disabled for everyone.",
            "If you need it, ask the people who run this site.",
        ),
        Reason::NoSuchEndpoint => text(
            "This page doesn't exist",
            "There is no page at this address.",
            "Check the address, or go to the start page.",
        ),
        Reason::MethodNotAllowed(_) => text(
            "This action is not supported",
            "The address exists, but it doesn't support this kind of request.",
            "Go to the start page.",
        ),
        Reason::LoginParameterNotAllowed(_) => text(
            "This login link is not valid",
            "The link has a parameter that this site doesn't allow.",
            "Open the page that you want to use, and log in from there.",
        ),
        Reason::CrossSite => text(
            "This request came from another site",
            "Another site tried to perform an action in your name, so we blocked it.",
            "If you wanted to log out, use the link on this site.",
        ),
        Reason::OriginNotAllowed => text(
            "This request came from another site",
            "Scripts of the site that sent the request may not use this address.",
            TELL_OPERATOR,
        ),
        Reason::EndpointNotProxied => text(
            "This site is not set up correctly",
            "The proxy in front of this site must pass this address to Doorward.",
            TELL_OPERATOR,
        ),
        Reason::BodyRequired => text(
            "This site is not set up correctly",
            "The proxy in front of this site must pass refused requests to Doorward.",
            TELL_OPERATOR,
        ),
    }
}

/// The text for a request to the decision listener that describes no request.
pub(super) const fn invalid_check_text() -> ErrorText {
    text(
        "This request is not valid",
        "The proxy in front of this site did not describe the request completely and once.",
        TELL_OPERATOR,
    )
}

/// The text for a request to the decision listener from a peer that is not trusted.
pub(super) const fn untrusted_peer_text() -> ErrorText {
    text(
        "This client may not ask for decisions",
        "Only the proxies in `trusted_proxies` may use this listener.",
        TELL_OPERATOR,
    )
}

/// Why a form was not preserved, in one sentence.
pub(super) const fn post_not_preserved_text(error: PreservePostError) -> &'static str {
    match error {
        PreservePostError::Disabled => "",
        PreservePostError::CrossSite => {
            "We couldn't save the form, because it doesn't appear to have been submitted from this site."
        }
        PreservePostError::UnsupportedContentType => {
            "We couldn't save the form, because it contains files or has an unsupported format."
        }
        PreservePostError::UnsupportedTarget => {
            "We couldn't save the form, because its address has an unsupported format."
        }
        PreservePostError::LengthUnknown => {
            "We couldn't save the form, because your browser didn't send its length."
        }
        PreservePostError::TooLarge => "We couldn't save the form, because it is too large.",
        PreservePostError::BodyIncomplete => {
            "We couldn't save the form, because we received only a part of it."
        }
        PreservePostError::QuotaExceeded => {
            "We couldn't save the form, because our storage for forms is full or unavailable."
        }
    }
}

/// The text for a failed login.
pub(super) const fn login_failure_text(failure: &LoginFailure) -> ErrorText {
    match failure {
        LoginFailure::Malformed(_) | LoginFailure::StateInvalid => text(
            "The login couldn't be completed",
            "The response of the login page doesn't belong to a login that was started here.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::RequestInvalid | LoginFailure::HandoverInvalid => text(
            "The login couldn't be completed",
            "This address doesn't belong to a login that was started here.",
            "Open the page that you want to use again.",
        ),
        LoginFailure::HandoverGone => text(
            "The login couldn't be completed",
            "We tried the login twice, and both times its result was no longer there.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::CookieMissing => text(
            "Your browser didn't send the login cookie",
            "We tried the login twice, and both times your browser didn't send the cookie that belongs to it.",
            "Allow cookies for this site, check its address, and try again.",
        ),
        LoginFailure::BrowserMismatch => text(
            "The login was started in another browser",
            "A login must be completed in the browser or window in which it was started.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::AttemptExpired => text(
            "The login took too long",
            "The time for completing the login has expired.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::Declined { .. } => text(
            "You were not logged in",
            "The login page reported that you were not logged in or did not consent.",
            "Try again if you want to log in.",
        ),
        LoginFailure::Replayed => text(
            "The login was already completed",
            "The response of the login page has already been used. It is valid only once.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::CodeRejected | LoginFailure::CodeNotRedeemed(_) => text(
            "The login couldn't be completed",
            "The login service didn't confirm the login.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::NotRegistered => text(
            "Your account is not registered for this site",
            "The login service knows your account, but it is not registered for this site.",
            ASK_OPERATOR,
        ),
        LoginFailure::InsufficientAuthentication(_) => text(
            "This login is not sufficient",
            "The page that you opened requires a newer login, or another way to log in than the one you used.",
            "Log in again in the way that the page requires, for example with a second factor.",
        ),
        LoginFailure::TokensRejected(_) => text(
            "The login couldn't be verified",
            "The data from the login service did not pass this site's checks.",
            TELL_OPERATOR,
        ),
        LoginFailure::SessionRevoked => text(
            "You were logged out",
            "Your sessions on this site were ended during this login.",
            LOG_IN_AGAIN,
        ),
        LoginFailure::UserBlocked => text(
            "Your account is blocked",
            "The operator of this site does not let you log in at the moment.",
            ASK_OPERATOR,
        ),
        LoginFailure::TooLarge(_) => text(
            "Your session is too large",
            "The login service sent more data about you than a browser can store for this site.",
            TELL_OPERATOR,
        ),
        LoginFailure::ClockSkew(_) => text(
            "A clock is wrong",
            "By this site's clock, the data from the login service has expired or is not valid yet.",
            TELL_OPERATOR,
        ),
        LoginFailure::Loop(cause) => login_loop_text(*cause),
        LoginFailure::Unavailable(outage) => unavailable_text(outage.cause, Operation::Login),
    }
}

const fn login_loop_text(cause: LoginLoopCause) -> ErrorText {
    const OPEN_OWN_ADDRESS: &str =
        "Open the site by its own address. If that doesn't help, tell the people who run it.";
    match cause {
        LoginLoopCause::CookieNotReturned => text(
            "Your browser doesn't keep the session",
            "You logged in several times, but your browser never sent the session cookie back.",
            "Allow cookies for this site, then try again.",
        ),
        LoginLoopCause::WrongHost => text(
            "This is not the site's own address",
            "You seem to have opened the site by another address, so your browser doesn't send the session cookie.",
            OPEN_OWN_ADDRESS,
        ),
        LoginLoopCause::SecureOverHttp => text(
            "This site requires https",
            "Your browser sends the session cookie only over https, and it seems to use plain http.",
            OPEN_OWN_ADDRESS,
        ),
        LoginLoopCause::TooLarge => text(
            "Your session cookie gets lost",
            "You logged in, but the session cookie is so large that it is dropped on the way to us.",
            TELL_OPERATOR,
        ),
        LoginLoopCause::ClockSkew => text(
            "Your session expires immediately",
            "You logged in, but by this site's clock your session expired before the first page. Either a clock is \
             wrong, or the login service allows sessions of a few seconds only.",
            TELL_OPERATOR,
        ),
        LoginLoopCause::UnreadableCookie => text(
            "Your session cookie can't be read",
            "You logged in, but this site can't decrypt the session cookie. Its servers may have different keys, or \
             your browser may have an old cookie with the same name.",
            "Delete the cookies of this site and try again. If that doesn't help, tell the people who run it.",
        ),
        LoginLoopCause::SessionEnded => text(
            "Your session was ended immediately",
            "You logged in, but the login service ended the session before the first page.",
            TELL_OPERATOR,
        ),
        LoginLoopCause::NotAllowed => text(
            "The site doesn't accept your login",
            "You are logged in, but the site keeps asking you to log in. Your account may not have access to it.",
            "Log out and use another account, or ask the people who run this site.",
        ),
    }
}

/// Details about a failed login, if there are any.
pub(super) fn login_failure_detail(failure: &LoginFailure, app: &App) -> Option<String> {
    match failure {
        LoginFailure::Loop(LoginLoopCause::WrongHost | LoginLoopCause::SecureOverHttp) => {
            Some(format!("The site's own address is {}.", app.origin))
        }
        LoginFailure::TooLarge(CookieWriteError::TooLarge { largest, .. }) => {
            Some(format!("The largest part is {largest}."))
        }
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

/// What could not be done because a call failed.
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
    const RELOAD: &str = "Wait a moment and reload the page, or log in again.";
    let title = match cause {
        FailureCause::Provider => "The login service is not available",
        FailureCause::ProviderRefusal => "Your session couldn't be renewed",
        FailureCause::Store => "This site can't reach its storage",
        FailureCause::Client => "Your browser sent an outdated session cookie",
        FailureCause::Internal => "This site has a problem",
    };
    let explanation = match (cause, operation) {
        (FailureCause::Provider, Operation::SessionCheck) => {
            "The login service doesn't respond properly, so we can't renew your session at the \
             moment. You have not been logged out."
        }
        (FailureCause::Provider, Operation::TokenCheck) => {
            "The login service doesn't respond properly, so we can't check the access token at the \
             moment."
        }
        (FailureCause::Provider, Operation::Login | Operation::FormReplay) => {
            "The login service doesn't respond properly, so we can't log you in at the moment."
        }
        (FailureCause::ProviderRefusal, _) => {
            "The login service refused to renew your session. You have not been logged out here."
        }
        (FailureCause::Store, Operation::SessionCheck) => {
            "The storage of this site doesn't respond, so we can't check your session at the \
             moment. You have not been logged out."
        }
        (FailureCause::Store, Operation::TokenCheck) => {
            "The storage of this site doesn't respond, so we can't check the access token at the \
             moment."
        }
        (FailureCause::Store, Operation::Login) => {
            "The storage of this site doesn't respond, so we can't log you in at the moment."
        }
        (FailureCause::Store, Operation::FormReplay) => {
            "The storage of this site doesn't respond, so we can't read your form at the moment. \
             It was not sent."
        }
        (FailureCause::Client, _) => {
            "Your browser has received a newer session cookie than the one that it sent, or you \
             reload very often. You have not been logged out."
        }
        (FailureCause::Internal, Operation::SessionCheck) => {
            "Something failed on this site, so we can't check your session at the moment. You have \
             not been logged out."
        }
        (FailureCause::Internal, Operation::TokenCheck) => {
            "Something failed on this site, so we can't check the access token at the moment."
        }
        (FailureCause::Internal, Operation::Login) => {
            "Something failed on this site, so we can't log you in at the moment."
        }
        (FailureCause::Internal, Operation::FormReplay) => {
            "Something failed on this site, so we can't read your form at the moment. It was not \
             sent."
        }
    };
    let advice = match (cause, operation) {
        (FailureCause::ProviderRefusal, _) => {
            "Log in again. If that doesn't help, tell the people who run this site."
        }
        (_, Operation::SessionCheck) => RELOAD,
        (_, Operation::TokenCheck | Operation::Login | Operation::FormReplay) => TRY_LATER,
    };
    text(title, explanation, advice)
}

/// The text for an exceeded concurrency limit.
pub(super) const fn busy_text() -> ErrorText {
    text(
        "This site is busy",
        "The site has too many requests at the moment, so we rejected yours. Nothing was changed.",
        TRY_LATER,
    )
}

/// The text for a failed upstream request.
pub(super) const fn upstream_text(error: &UpstreamError) -> ErrorText {
    if error.is_client_error() {
        return text(
            "The request was incomplete",
            "We didn't receive the complete request.",
            "Please try again.",
        );
    }
    text(
        "This site is not available",
        "The server behind this address didn't respond properly.",
        TRY_LATER,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_text_is_true_of_this_user() {
        let causes = [
            FailureCause::Provider,
            FailureCause::ProviderRefusal,
            FailureCause::Store,
            FailureCause::Client,
            FailureCause::Internal,
        ];
        for cause in causes {
            let of = |operation| unavailable_text(cause, operation).explanation;
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
