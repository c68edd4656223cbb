//! Authentication challenges: one `WWW-Authenticate` header for each accepted method (RFC 9110
//! section 11.6.1, RFC 6750 section 3, RFC 9449 sections 7.1 and 9, RFC 9470 section 3). They contain no client input,
//! only the host, stable codes and configured scopes.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::identity::credentials::Scheme;
use crate::oidc::dpop::ALGORITHMS;
use crate::policy::decide::{Reason, Refusal};
use crate::session::validity::NoSessionReason;

/// Adds the challenges of a refusal to its response.
pub(super) fn add(headers: &mut HeaderMap, refusal: &Refusal<'_>) {
    for challenge in challenges(refusal) {
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
    }
}

/// The `error` of a challenge, and its description.
#[derive(Clone, Copy)]
struct ChallengeError {
    name: &'static str,
    description: &'static str,
}

/// An access token that was not accepted.
#[derive(Clone, Copy)]
struct RejectedToken {
    scheme: Scheme,
    error: ChallengeError,
}

fn challenges(refusal: &Refusal<'_>) -> Vec<String> {
    let mut challenges = Vec::new();
    let reason = refusal.reason;
    if reason.status() == StatusCode::FORBIDDEN {
        let error = ChallengeError {
            name: "insufficient_scope",
            description: reason.code(),
        };
        let scheme = refusal.scheme.iter();
        challenges.extend(scheme.map(|scheme| token_challenge(refusal, *scheme, Some(error))));
        return challenges;
    }
    if reason.status() != StatusCode::UNAUTHORIZED {
        return challenges;
    }
    if refusal.asks_for_password {
        challenges.push(basic_challenge(refusal));
    }
    let bearer = refusal
        .app_ref
        .and_then(|app_ref| app_ref.app.bearer.as_ref());
    let bearer = bearer.filter(|_| {
        refusal
            .requirement
            .is_some_and(|requirement| requirement.auth_methods.bearer)
    });
    let rejected = rejected_token(refusal);
    // A token that Doorward issued is accepted wherever a session is.
    if let (None, Some(RejectedToken { scheme, error })) = (bearer, rejected) {
        challenges.push(token_challenge(refusal, scheme, Some(error)));
    }
    if let Some(policy) = bearer {
        for scheme in [Scheme::Bearer, Scheme::DPoP] {
            if scheme == Scheme::DPoP || !policy.dpop_required {
                let rejected = rejected.filter(|rejected| rejected.scheme == scheme);
                let error = rejected.map(|rejected| rejected.error);
                challenges.push(token_challenge(refusal, scheme, error));
            }
        }
    }
    if refusal
        .requirement
        .is_none_or(|requirement| requirement.auth_methods.session)
    {
        let mut challenge = "Cookie realm=\"doorward\"".to_owned();
        let error = insufficient_authentication(refusal).filter(|_| refusal.scheme.is_none());
        add_error(&mut challenge, refusal, error);
        challenges.push(challenge);
    }
    challenges
}

/// The access token that was not accepted.
fn rejected_token(refusal: &Refusal<'_>) -> Option<RejectedToken> {
    if let Reason::TokenRefused(rejected) = refusal.reason {
        return Some(RejectedToken {
            scheme: rejected.scheme,
            error: ChallengeError {
                name: rejected.error.name(),
                description: rejected.code,
            },
        });
    }
    let scheme = refusal.scheme?;
    insufficient_authentication(refusal).map(|error| RejectedToken { scheme, error })
}

/// The error if the user must authenticate again (RFC 9470 section 3).
fn insufficient_authentication(refusal: &Refusal<'_>) -> Option<ChallengeError> {
    let is_insufficient = refusal.reason.is_insufficient_authentication();
    is_insufficient.then_some(ChallengeError {
        name: "insufficient_user_authentication",
        description: NoSessionReason::InsufficientAuthentication.code(),
    })
}

/// RFC 7617 section 2.1.
fn basic_challenge(refusal: &Refusal<'_>) -> String {
    let basic = refusal
        .app_ref
        .and_then(|app_ref| app_ref.app.basic.as_ref());
    let realm = basic.and_then(|basic| basic.realm.as_deref());
    let realm = realm.map_or_else(|| site(refusal), Cow::Borrowed);
    format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
}

/// The app, as clients distinguish it from others of its origin (RFC 9110 section 11.5).
fn site<'r>(refusal: &'r Refusal<'_>) -> Cow<'r, str> {
    refusal
        .app_ref
        .map_or("doorward".into(), |app_ref| app_ref.app.site())
}

fn token_challenge(refusal: &Refusal<'_>, scheme: Scheme, error: Option<ChallengeError>) -> String {
    let realm = site(refusal);
    let mut challenge = format!("{} realm=\"{realm}\"", scheme.name());
    if scheme == Scheme::DPoP {
        let algorithms = ALGORITHMS.map(|algorithm| algorithm.name()).join(" ");
        challenge.push_str(&format!(", algs=\"{algorithms}\""));
    }
    add_error(&mut challenge, refusal, error);
    let scopes = refusal
        .requirement
        .map(|requirement| requirement.access.scopes())
        .unwrap_or_default();
    if !scopes.is_empty() {
        challenge.push_str(&format!(", scope=\"{}\"", scopes.join(" ")));
    }
    challenge
}

/// Adds an error, with the authentication that the route requires if it is about that.
fn add_error(challenge: &mut String, refusal: &Refusal<'_>, error: Option<ChallengeError>) {
    let Some(ChallengeError { name, description }) = error else {
        return;
    };
    challenge.push_str(&format!(
        ", error=\"{name}\", error_description=\"{description}\""
    ));
    if insufficient_authentication(refusal).is_some()
        && let Some(requirement) = refusal.requirement
    {
        for (name, value) in requirement.authentication.parameters() {
            challenge.push_str(&format!(", {name}=\"{value}\""));
        }
    }
}
