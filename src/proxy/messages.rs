//! Words for people, one set for each reason: what happened, and what they can do. The stable code of the reason
//! goes into the log, the metric and the page alike.

use crate::auth::login::LoginFailure;
use crate::auth::session::cookies::CookieWriteError;
use crate::policy::app::App;
use crate::policy::decide::Reason;
use crate::policy::post_replay::PreservePostError;
use crate::session::login_loop::LoginLoopCause;
use crate::upstream::UpstreamError;

/// What a page says.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorText {
    /// The headline.
    pub title: &'static str,
    /// What happened.
    pub explanation: &'static str,
    /// What to do.
    pub advice: &'static str,
}

const fn text(title: &'static str, explanation: &'static str, advice: &'static str) -> ErrorText {
    ErrorText {
        title,
        explanation,
        advice,
    }
}

/// The words for a refusal.
pub(super) const fn of_reason(reason: Reason) -> ErrorText {
    match reason {
        Reason::InvalidRequest(_) => text(
            "This request cannot be read",
            "The address or the headers of the request can be read in more than one way, so it was not passed on.",
            "Check the address. If a link on this site brought you here, please tell the people who run it.",
        ),
        Reason::UnsupportedPath => text(
            "This address cannot be used",
            "The address is spelled in a way that this site does not take.",
            "Check the address. If a link on this site brought you here, please tell the people who run it.",
        ),
        Reason::Misdirected => text(
            "There is no such site here",
            "The name in the address is not one that is served here.",
            "Check the name of the site.",
        ),
        Reason::LoginRequired(_) | Reason::LoginBlockedInFrame(_) => text(
            "Please log in",
            "This page is for people who are logged in.",
            "Log in and try again.",
        ),
        Reason::PostNotPreserved(..) => text(
            "Your form was not sent",
            "Your session had ended when you sent the form, so nothing was changed.",
            "Log in, go back, and send it again.",
        ),
        Reason::TokenRequired => text(
            "An access token is needed",
            "This address is for programs that send an access token.",
            "Send one in the Authorization header.",
        ),
        Reason::TokenRefused(_) => text(
            "The access token is not accepted",
            "What was sent as an access token does not count here, or no longer.",
            "Get a new one and send the request again.",
        ),
        Reason::UserRequired => text(
            "A person is needed",
            "The access token is good, but nobody is behind it, and this address is for people.",
            "Use a token that was issued for a person.",
        ),
        Reason::NoPreservedPost => text(
            "No form is waiting",
            "The form was sent already, or it waited for too long and was thrown away.",
            "If you are not sure, look whether it arrived before you fill it in again.",
        ),
        Reason::PostOfAnotherUser => text(
            "Your form was not sent",
            "It was filled in while another person was signed in, so it was thrown away and nothing was changed.",
            "If it is yours, fill it in again.",
        ),
        Reason::Forbidden => text(
            "You may not see this page",
            "You are logged in, but this page is not open to your account.",
            "If you think that it should be, ask the people who run this site.",
        ),
        Reason::Denied => text(
            "This page is closed",
            "Nobody can reach this page from here.",
            "If you need it, ask the people who run this site.",
        ),
        Reason::NoSuchEndpoint => text(
            "There is no such page",
            "The address does not exist.",
            "Check the address, or go to the front page.",
        ),
        Reason::MethodNotAllowed(_) => text(
            "This cannot be done here",
            "The address exists, but does not take this kind of request.",
            "Go to the front page.",
        ),
        Reason::CrossSite => text(
            "This did not come from this site",
            "Another page tried to do something in your name, so it was not done.",
            "If you wanted to log out, use the link on this site.",
        ),
    }
}

/// Why a form was not kept, in a sentence.
pub(super) const fn of_form_not_kept(why: PreservePostError) -> &'static str {
    match why {
        PreservePostError::Disabled => "",
        PreservePostError::CrossSite => {
            "It was not kept for you either, since it does not seem to come from a page of this site."
        }
        PreservePostError::UnsupportedContentType => {
            "It was not kept for you either, since it holds files or is of an unusual kind."
        }
        PreservePostError::UnsupportedTarget => {
            "It was not kept for you either, since its address is an unusual one."
        }
        PreservePostError::LengthUnknown => {
            "It was not kept for you either, since your browser did not say how long it is."
        }
        PreservePostError::TooLarge => "It was not kept for you either, since it is too long.",
        PreservePostError::BodyIncomplete => {
            "It was not kept for you either, since it did not arrive whole."
        }
        PreservePostError::QuotaExceeded => {
            "It could not be kept for you either, since there is no room for it just now."
        }
    }
}

/// The words for a login that failed.
pub(super) const fn of_login_failure(failure: &LoginFailure) -> ErrorText {
    const AGAIN: &str = "Please try to log in again.";
    const TELL: &str = "Please tell the people who run this site, with the request ID below.";
    match failure {
        LoginFailure::Malformed(_) | LoginFailure::StateInvalid => text(
            "This login cannot be finished",
            "What came back from the login page does not belong to a login that was begun here.",
            AGAIN,
        ),
        LoginFailure::CookieMissing => text(
            "Your browser did not send the login's cookie",
            "The login was tried twice, and both times the cookie that belongs to it did not come back.",
            "Allow cookies for this site, and make sure that its address begins as it should. Then try again.",
        ),
        LoginFailure::BrowserMismatch => text(
            "This login was begun elsewhere",
            "The login was begun in another browser or window, so it cannot be finished in this one.",
            AGAIN,
        ),
        LoginFailure::AttemptExpired => text(
            "This login took too long",
            "The time for finishing the login ran out.",
            AGAIN,
        ),
        LoginFailure::Declined { .. } => text(
            "You were not logged in",
            "The login page reported that you were not logged in, or did not agree.",
            "Try again if you want to.",
        ),
        LoginFailure::Replayed => text(
            "This login was finished before",
            "The answer of the login page was used already. It counts once only.",
            AGAIN,
        ),
        LoginFailure::CodeRejected | LoginFailure::CodeNotRedeemed(_) => text(
            "The login could not be finished",
            "The login service did not confirm the login.",
            AGAIN,
        ),
        LoginFailure::NotRegistered => text(
            "Your account is not one of this site's",
            "The login service knows you, but you are not registered for this site.",
            "If you think that you should be, ask the people who run this site.",
        ),
        LoginFailure::TokensRejected(_) => text(
            "The login could not be verified",
            "What the login service says about you did not pass the checks of this site.",
            TELL,
        ),
        LoginFailure::SessionRevoked => text(
            "You were logged out",
            "Your sessions on this site were ended at the very moment of this login.",
            AGAIN,
        ),
        LoginFailure::TooLarge(_) => text(
            "Your session does not fit",
            "What the login service says about you is more than a browser can keep for this site.",
            TELL,
        ),
        LoginFailure::ClockSkew(_) => text(
            "A clock is wrong",
            "What the login service says about you is over already, or not valid yet, by the clock of this site.",
            TELL,
        ),
        LoginFailure::Loop(cause) => of_login_loop(*cause),
        LoginFailure::Unavailable(_) => of_outage(),
    }
}

/// The words for logins that go in circles.
const fn of_login_loop(cause: LoginLoopCause) -> ErrorText {
    const TELL: &str = "Please tell the people who run this site, with the request ID below.";
    match cause {
        LoginLoopCause::CookieNotReturned => text(
            "Your browser does not keep the session",
            "You logged in, but the cookie that remembers it does not come back, however often.",
            "Allow cookies for this site, then try again.",
        ),
        LoginLoopCause::WrongHost => text(
            "This is not the site's own address",
            "You seem to have come by another address than the site's own, so the login's cookie does not come back.",
            "Open the site by its own address. If that does not help, please tell the people who run it.",
        ),
        LoginLoopCause::SecureOverHttp => text(
            "This site needs https",
            "The login's cookie is for https only, and your browser seems to speak plain http, so it does not come back.",
            "Open the site by its own address. If that does not help, please tell the people who run it.",
        ),
        LoginLoopCause::TooLarge => text(
            "Your session does not come back whole",
            "You logged in, but the cookie that remembers it is so large that something on the way drops it.",
            TELL,
        ),
        LoginLoopCause::ClockOff => text(
            "Your session is over as soon as it begins",
            "You logged in, but by the clock of this site the session ends before its first page: a clock is wrong, or \
             the login service lets sessions last for seconds only.",
            TELL,
        ),
        LoginLoopCause::UnreadableCookie => text(
            "Your session cannot be read",
            "You logged in, but this site cannot open the cookie that it was given back. Perhaps its servers do not \
             share their keys, or an old cookie of the same name is in the way.",
            "Delete the cookies of this site and try again. If that does not help, please tell the people who run it.",
        ),
        LoginLoopCause::SessionEnded => text(
            "Your session is ended at once",
            "You logged in, but the login service ended the session before its first page.",
            TELL,
        ),
        LoginLoopCause::NotAllowed => text(
            "The site does not let you in",
            "You are logged in, but the site asks you to log in again, however often. Perhaps your account may not use it.",
            "Log out and use another account, or ask the people who run this site.",
        ),
    }
}

/// What can be said of this very failure, beyond its kind.
pub(super) fn detail_of_login_failure(failure: &LoginFailure, app: &App) -> Option<String> {
    match failure {
        LoginFailure::Loop(LoginLoopCause::WrongHost | LoginLoopCause::SecureOverHttp) => {
            Some(format!("The site's own address is {}.", app.origin))
        }
        LoginFailure::TooLarge(CookieWriteError::TooLarge { largest, .. }) => {
            Some(format!("What takes the most room is {largest}."))
        }
        LoginFailure::TooLarge(CookieWriteError::Unsealed)
        | LoginFailure::Malformed(_)
        | LoginFailure::StateInvalid
        | LoginFailure::CookieMissing
        | LoginFailure::BrowserMismatch
        | LoginFailure::AttemptExpired
        | LoginFailure::Declined { .. }
        | LoginFailure::Replayed
        | LoginFailure::CodeRejected
        | LoginFailure::CodeNotRedeemed(_)
        | LoginFailure::TokensRejected(_)
        | LoginFailure::SessionRevoked
        | LoginFailure::NotRegistered
        | LoginFailure::ClockSkew(_)
        | LoginFailure::Loop(_)
        | LoginFailure::Unavailable(_) => None,
    }
}

/// The words for a provider that cannot be asked.
pub(super) const fn of_outage() -> ErrorText {
    text(
        "The login service does not answer",
        "Your session could not be checked just now. You are not logged out.",
        "Wait a moment and load the page again.",
    )
}

/// The words for more requests than there is room for.
pub(super) const fn of_busy() -> ErrorText {
    text(
        "This site is busy",
        "So much is asked of it at the moment that your request was turned away. Nothing was changed.",
        "Please try again in a moment.",
    )
}

/// The words for a backend that gave no answer.
pub(super) const fn of_upstream(error: &UpstreamError) -> ErrorText {
    if error.is_client_error() {
        return text(
            "The request broke off",
            "It did not arrive whole.",
            "Please try again.",
        );
    }
    text(
        "This site does not answer",
        "The site behind this address gave no proper answer.",
        "Please try again in a moment.",
    )
}
