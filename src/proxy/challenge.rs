//! Authentication challenges: one `WWW-Authenticate` header for each accepted method (RFC 9110
//! section 11.6.1, RFC 6750 section 3, RFC 9449 sections 7.1 and 9). They contain no client input,
//! only the host, stable codes and configured scopes.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::identity::credentials::Scheme;
use crate::oidc::dpop::ALGORITHMS;
use crate::policy::decide::{Reason, Refusal};

/// Adds the challenges of a refusal to its response.
pub(super) fn add(headers: &mut HeaderMap, refusal: &Refusal<'_>) {
    for challenge in challenges(refusal) {
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
    }
}

fn challenges(refusal: &Refusal<'_>) -> Vec<String> {
    let mut challenges = Vec::new();
    let reason = refusal.reason;
    if reason.status() == StatusCode::FORBIDDEN {
        if let Some(live) = &refusal.token {
            challenges.push(scheme_challenge(
                refusal,
                live.scheme(),
                Some(("insufficient_scope", reason.code())),
            ));
        }
        return challenges;
    }
    if reason.status() != StatusCode::UNAUTHORIZED {
        return challenges;
    }
    let bearer = refusal
        .app_ref
        .and_then(|app_ref| app_ref.app.bearer.as_ref());
    let bearer = bearer.filter(|_| {
        refusal
            .requirement
            .is_some_and(|requirement| requirement.auth_methods.bearer)
    });
    let rejected = if let Reason::TokenRefused(rejected) = reason {
        Some(rejected)
    } else {
        None
    };
    // A token that Doorward issued is accepted wherever a session is.
    if let (None, Some(rejected)) = (bearer, rejected) {
        challenges.push(scheme_challenge(
            refusal,
            rejected.scheme,
            Some((rejected.error.name(), rejected.code)),
        ));
    }
    if let Some(policy) = bearer {
        for scheme in [Scheme::Bearer, Scheme::DPoP] {
            if scheme == Scheme::DPoP || !policy.dpop_required {
                let error = rejected.filter(|rejected| rejected.scheme == scheme);
                challenges.push(scheme_challenge(
                    refusal,
                    scheme,
                    error.map(|rejected| (rejected.error.name(), rejected.code)),
                ));
            }
        }
    }
    if refusal
        .requirement
        .is_none_or(|requirement| requirement.auth_methods.session)
    {
        challenges.push("Cookie realm=\"doorward\"".to_owned());
    }
    challenges
}

fn scheme_challenge(refusal: &Refusal<'_>, scheme: Scheme, error: Option<(&str, &str)>) -> String {
    let realm = refusal
        .app_ref
        .map_or("doorward", |app_ref| app_ref.app.origin.host());
    let mut challenge = format!("{} realm=\"{realm}\"", scheme.name());
    if scheme == Scheme::DPoP {
        let algorithms = ALGORITHMS.map(|algorithm| algorithm.name()).join(" ");
        challenge.push_str(&format!(", algs=\"{algorithms}\""));
    }
    if let Some((error, description)) = error {
        challenge.push_str(&format!(
            ", error=\"{error}\", error_description=\"{description}\""
        ));
    }
    let scopes = refusal
        .requirement
        .map(|requirement| requirement.access.scopes())
        .unwrap_or_default();
    if !scopes.is_empty() {
        challenge.push_str(&format!(", scope=\"{}\"", scopes.join(" ")));
    }
    challenge
}
