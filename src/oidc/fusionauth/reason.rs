//! `error_reason`: what FusionAuth's errors really mean. The lists are those of its documentation and its client
//! libraries; which `error` comes with which reason is said nowhere, so the reason counts where it is a known one. PURE.

/// A reason that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::oidc) struct Reason {
    /// FusionAuth's word, as the stable word of ours.
    pub(in crate::oidc) word: &'static str,
    /// What follows from it.
    pub(in crate::oidc) meaning: Meaning,
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::oidc) enum Meaning {
    /// The code or refresh token is of no use any more, or the person may not go on.
    Gone,
    /// The registration, or Doorward's settings of it, is wrong.
    Registration,
    /// What `error` says.
    AsTheErrorSays,
}

const GONE: [&str; 15] = [
    "auth_code_not_found",
    "change_password_administrative",
    "change_password_breached",
    "change_password_expired",
    "change_password_validation",
    "consent_canceled",
    "email_verification_required",
    "login_prevented",
    "phone_verification_required",
    "refresh_token_not_found",
    "registration_required",
    "registration_verification_required",
    "user_expired",
    "user_locked",
    "user_not_found",
];

const REGISTRATION: [&str; 20] = [
    "client_authentication_missing",
    "client_id_mismatch",
    "grant_type_disabled",
    "invalid_client_authentication",
    "invalid_client_authentication_scheme",
    "invalid_client_id",
    "invalid_expires_in",
    "invalid_grant_type",
    "invalid_origin",
    "invalid_redirect_uri",
    "invalid_tenant_id",
    "missing_client_id",
    "missing_client_secret",
    "missing_grant_type",
    "missing_redirect_uri",
    "missing_required_scope",
    "missing_tenant_id",
    "not_licensed",
    "refresh_token_type_not_supported",
    "unknown_scope",
];

const OTHERS: [&str; 22] = [
    "access_token_expired",
    "access_token_failed_processing",
    "access_token_invalid",
    "access_token_malformed",
    "access_token_required",
    "access_token_unavailable_for_processing",
    "authentication_required",
    "consent_required",
    "invalid_id_token_hint",
    "invalid_pkce_code_challenge",
    "invalid_pkce_code_challenge_method",
    "invalid_pkce_code_verifier",
    "invalid_post_logout_redirect_uri",
    "invalid_user_credentials",
    "missing_code",
    "missing_code_challenge",
    "missing_code_verifier",
    "missing_refresh_token",
    "missing_token",
    "multi_factor_challenge_required",
    "token_type_hint_mismatch",
    "two_factor_required",
];

/// The reason that FusionAuth calls so. Words from outside never become words of ours unless they are listed.
pub(in crate::oidc) fn named(word: &str) -> Option<Reason> {
    let lists: [(&[&'static str], Meaning); 3] = [
        (&GONE, Meaning::Gone),
        (&REGISTRATION, Meaning::Registration),
        (&OTHERS, Meaning::AsTheErrorSays),
    ];
    lists.into_iter().find_map(|(words, meaning)| {
        words
            .iter()
            .find(|known| **known == word)
            .map(|known| Reason {
                word: known,
                meaning,
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_listed_once_and_nothing_else_is_known() {
        let mut words: Vec<&str> = [&GONE[..], &REGISTRATION, &OTHERS].concat();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        assert_eq!(named("user_locked").unwrap().meaning, Meaning::Gone);
        for stranger in ["", "unknown", "User_Locked", "user_locked\n"] {
            assert_eq!(named(stranger), None, "{stranger:?}");
        }
    }
}
