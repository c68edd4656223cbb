//! The capabilities that a provider announces (RFC 8414 section 2). No login depends on it, because
//! many providers leave members out. PURE.

use serde_json::{Map, Value};

use super::json;

/// Maximum number of values of one member.
const MAX_VALUES: usize = 256;
/// Maximum length of a value in characters.
const MAX_VALUE: usize = 100;

/// The announced capabilities. A list is `None` if the provider does not publish it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// `scopes_supported`.
    pub scopes: Option<Vec<String>>,
    /// `grant_types_supported`.
    pub grant_types: Option<Vec<String>>,
    /// `token_endpoint_auth_methods_supported`.
    pub client_auth_methods: Option<Vec<String>>,
    /// `token_endpoint_auth_signing_alg_values_supported`.
    pub client_auth_algorithms: Option<Vec<String>>,
    /// `id_token_signing_alg_values_supported`.
    pub id_token_algorithms: Option<Vec<String>>,
    /// `request_object_signing_alg_values_supported`.
    pub request_object_algorithms: Option<Vec<String>>,
    /// `dpop_signing_alg_values_supported`.
    pub dpop_algorithms: Option<Vec<String>>,
    /// `response_modes_supported`.
    pub response_modes: Option<Vec<String>>,
    /// `authorization_signing_alg_values_supported`: of signed authorization responses (JARM).
    pub response_algorithms: Option<Vec<String>>,
    /// `code_challenge_methods_supported`.
    pub code_challenge_methods: Option<Vec<String>>,
    /// Whether `tls_client_certificate_bound_access_tokens` is true (RFC 8705 section 3.3).
    pub certificate_bound_tokens: bool,
    /// Whether `backchannel_logout_supported` is true.
    pub backchannel_logout: bool,
}

impl Announced {
    /// Reads the members of a discovery document.
    pub(super) fn of(document: &Map<String, Value>) -> Self {
        let list = |name| texts(document.get(name));
        Self {
            scopes: list("scopes_supported"),
            grant_types: list("grant_types_supported"),
            client_auth_methods: list("token_endpoint_auth_methods_supported"),
            client_auth_algorithms: list("token_endpoint_auth_signing_alg_values_supported"),
            id_token_algorithms: list("id_token_signing_alg_values_supported"),
            request_object_algorithms: list("request_object_signing_alg_values_supported"),
            dpop_algorithms: list("dpop_signing_alg_values_supported"),
            response_modes: list("response_modes_supported"),
            response_algorithms: list("authorization_signing_alg_values_supported"),
            code_challenge_methods: list("code_challenge_methods_supported"),
            certificate_bound_tokens: document.get("tls_client_certificate_bound_access_tokens")
                == Some(&Value::Bool(true)),
            backchannel_logout: document.get("backchannel_logout_supported")
                == Some(&Value::Bool(true)),
        }
    }
}

/// The texts of an array, safe to display. `None` for anything else.
fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let values = value?.as_array()?.iter().take(MAX_VALUES);
    let texts = values.filter_map(Value::as_str);
    Some(texts.map(|text| json::printable(text, MAX_VALUE)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn announced(document: Value) -> Announced {
        let Value::Object(document) = document else {
            panic!("an object");
        };
        Announced::of(&document)
    }

    #[test]
    fn lists_are_read_and_absent_ones_stay_unknown() {
        let found = announced(json!({
            "scopes_supported": ["openid", 7, "e\u{1b}mail"],
            "code_challenge_methods_supported": [],
            "backchannel_logout_supported": true,
        }));
        let scopes = vec!["openid".to_owned(), "email".to_owned()];
        assert_eq!(found.scopes, Some(scopes));
        assert_eq!(found.code_challenge_methods, Some(Vec::new()));
        assert_eq!(found.grant_types, None);
        assert!(found.backchannel_logout);
    }

    #[test]
    fn malformed_and_huge_members_are_bounded() {
        let found = announced(json!({
            "scopes_supported": "openid",
            "grant_types_supported": vec!["x".repeat(1000); 1000],
            "backchannel_logout_supported": "true",
        }));
        assert_eq!(found.scopes, None);
        let grants = found.grant_types.unwrap();
        assert_eq!((grants.len(), grants[0].len()), (MAX_VALUES, MAX_VALUE));
        assert!(!found.backchannel_logout);
    }
}
