//! FusionAuth's `error_reason` values. The lists are from its documentation and its client
//! libraries. It is not documented which `error` accompanies which reason, so a known reason takes
//! precedence. PURE.

/// A known `error_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::oidc) struct Reason {
    /// The stable code, which is FusionAuth's value.
    pub(in crate::oidc) code: &'static str,
    /// The consequence.
    pub(in crate::oidc) meaning: Meaning,
}

/// The consequence of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::oidc) enum Meaning {
    /// The code or refresh token is no longer valid, or the user is not allowed.
    GrantRejected,
    /// The client's registration or its configuration in Doorward is wrong.
    ClientRejected,
    /// `error` decides.
    Unspecified,
}

const GRANT_REJECTED: [&str; 15] = [
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

const CLIENT_REJECTED: [&str; 20] = [
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

const UNSPECIFIED: [&str; 22] = [
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

/// Looks up a reason. A value from the provider becomes a code only if it is listed.
pub(in crate::oidc) fn lookup(value: &str) -> Option<Reason> {
    let lists: [(&[&'static str], Meaning); 3] = [
        (&GRANT_REJECTED, Meaning::GrantRejected),
        (&CLIENT_REJECTED, Meaning::ClientRejected),
        (&UNSPECIFIED, Meaning::Unspecified),
    ];
    lists.into_iter().find_map(|(codes, meaning)| {
        codes
            .iter()
            .find(|code| **code == value)
            .map(|code| Reason { code, meaning })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_finds_listed_values_only_and_lists_are_disjoint() {
        let mut codes: Vec<&str> = [&GRANT_REJECTED[..], &CLIENT_REJECTED, &UNSPECIFIED].concat();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert_eq!(
            lookup("user_locked").unwrap().meaning,
            Meaning::GrantRejected
        );
        for unknown in ["", "unknown", "User_Locked", "user_locked\n"] {
            assert_eq!(lookup(unknown), None, "{unknown:?}");
        }
    }
}
