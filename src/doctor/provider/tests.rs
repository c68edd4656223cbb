//! Tables of what is concluded from documents, clocks and versions.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::doctor::testing::found;
use crate::oidc::SecurityProfile;
use crate::oidc::discovery::PlainHttp;
use crate::oidc::error::Endpoint;
use crate::types::oauth::{Issuer, ProviderName};

fn settings(algorithms: &[Algorithm]) -> ProviderSettings {
    let issuer = Issuer::new("https://login.example.com");
    let mut settings = ProviderSettings::new(ProviderName::new("login"), issuer).unwrap();
    settings.algorithms = algorithms.to_vec();
    settings
}

fn metadata(members: &Value) -> Metadata {
    let mut document = json!({
        "issuer": "https://login.example.com",
        "authorization_endpoint": "https://login.example.com/authorize",
        "token_endpoint": "https://login.example.com/token",
        "jwks_uri": "https://login.example.com/keys",
        "end_session_endpoint": "https://login.example.com/end",
        "backchannel_logout_supported": true,
        "code_challenge_methods_supported": ["plain", "S256"],
        "id_token_signing_alg_values_supported": ["HS256", "ES256"],
    });
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    let issuer = Issuer::new("https://login.example.com");
    let document = document.to_string();
    Metadata::parse(document.as_bytes(), &issuer, PlainHttp::Never).unwrap()
}

#[test]
fn metadata_are_judged() {
    let all = Algorithm::ALL.as_slice();
    let none: [&str; 0] = [];
    for (members, algorithms, expected) in [
        (json!({}), all, none.as_slice()),
        (
            json!({"id_token_signing_alg_values_supported": null}),
            all,
            &[],
        ),
        (
            json!({"id_token_signing_alg_values_supported": ["HS256"]}),
            all,
            &["error algorithms_not_announced algorithms"],
        ),
        (
            json!({}),
            &[Algorithm::Rs256],
            &["error algorithms_not_announced algorithms"],
        ),
        (
            json!({"code_challenge_methods_supported": ["plain"]}),
            all,
            &["error pkce_not_supported "],
        ),
        (
            json!({"code_challenge_methods_supported": null}),
            all,
            &["advice pkce_not_announced "],
        ),
        (
            json!({"end_session_endpoint": null, "backchannel_logout_supported": null}),
            all,
            &[
                "advice logout_not_supported ",
                "advice backchannel_logout_not_announced ",
            ],
        ),
        (
            json!({"userinfo_endpoint": "http://login.example.com/userinfo"}),
            all,
            &["warning discovery_endpoint_insecure issuer"],
        ),
    ] {
        let settings = settings(algorithms);
        let found = found(|findings| judge_metadata(&settings, &metadata(&members), findings));
        assert_eq!(found, expected, "{members}");
    }
}

#[test]
fn keys_must_fit_the_algorithms() {
    // The key of RFC 7515 appendix A.3.
    let key = |members: Value| {
        let mut key = json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        for (name, value) in members.as_object().unwrap() {
            key[name] = value.clone();
        }
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    };
    let unfit = ["error keys_not_for_algorithms algorithms"];
    for (keys, algorithms, expected) in [
        (key(json!({})), Algorithm::ALL.as_slice(), [].as_slice()),
        (key(json!({"alg": "ES256"})), &[Algorithm::Es256], &[]),
        (
            key(json!({})),
            &[Algorithm::Rs256, Algorithm::Es384],
            &unfit,
        ),
    ] {
        let settings = settings(algorithms);
        let found = found(|findings| judge_keys(&settings, &keys, findings));
        assert_eq!(found, expected, "{algorithms:?}");
    }
}

#[test]
fn failures_name_their_cause() {
    let unreachable = |cause: &str| ProviderError::Unreachable {
        endpoint: Endpoint::Discovery,
        url: "https://login.example.com/d".to_owned(),
        cause: cause.to_owned(),
    };
    let status = ProviderError::Status {
        endpoint: Endpoint::Discovery,
        url: "https://login.example.com/d".to_owned(),
        status: 404,
        error: None,
    };
    for (error, proxy, expected) in [
        (
            unreachable("invalid peer certificate: UnknownIssuer"),
            Some("HTTPS_PROXY"),
            ["error certificate_authority_unknown ca_file"].as_slice(),
        ),
        (
            unreachable("invalid peer certificate: certificate expired: …"),
            None,
            &["error certificate_expired issuer"],
        ),
        (
            unreachable("connection refused"),
            None,
            &["error provider_unreachable issuer"],
        ),
        (
            unreachable("timed out"),
            Some("HTTPS_PROXY"),
            &[
                "error provider_unreachable issuer",
                "warning proxy_not_used issuer",
            ],
        ),
        (
            status,
            Some("HTTPS_PROXY"),
            &["error provider_status issuer"],
        ),
    ] {
        let found = found(|findings| judge_failure(&error, &settings(&[]), proxy, findings));
        assert_eq!(found, expected, "{error}");
    }
}

#[test]
fn clock_differences_are_compared_with_the_leeway() {
    let mut settings = settings(&[]);
    settings.leeway = Duration::from_secs(30);
    for (skew, expected) in [
        (None, ""),
        (Some(16), ""),
        (Some(-16), ""),
        (Some(17), "warning clock_differs leeway"),
        (Some(-31), "warning clock_differs leeway"),
        (Some(32), "error clock_differs leeway"),
        (Some(i64::MIN), "error clock_differs leeway"),
    ] {
        let found = found(|findings| judge_clock(&settings, skew, findings));
        assert_eq!(found.concat(), expected, "{skew:?}");
    }
}

#[test]
fn old_fusionauth_is_a_warning() {
    let announced = |pkce: Option<&str>| Announced {
        code_challenge_methods: pkce.map(|method| vec![method.to_owned()]),
        ..Announced::default()
    };
    let error = || ProviderError::CircuitOpen;
    let version = |text: &str| Ok(Some(text.to_owned()));
    let outdated = "warning fusionauth_outdated ";
    let unknown = "advice fusionauth_version_unknown ";
    for (version, pkce, expected) in [
        (version("1.69.1"), Some("S256"), outdated),
        (version("1.9.9"), Some("S256"), outdated),
        (version("1.69.2"), Some("S256"), ""),
        (version("1.70.0-EA"), Some("S256"), ""),
        (version("2"), Some("S256"), ""),
        (version("latest"), Some("S256"), unknown),
        (Ok(None), Some("S256"), unknown),
        (Err(error()), Some("S256"), unknown),
        (Ok(None), None, outdated),
        (Err(error()), None, outdated),
    ] {
        let found = found(|findings| judge_fusionauth(&version, &announced(pkce), findings));
        assert_eq!(found.concat(), expected, "{version:?} {pkce:?}");
    }
}

#[test]
fn what_a_profile_requires_and_the_provider_lacks_is_named() {
    let mut settings = settings(&SecurityProfile::ALGORITHMS);
    let complete = json!({
        "pushed_authorization_request_endpoint": "https://login.example.com/par",
        "authorization_response_iss_parameter_supported": true,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "request_object_signing_alg_values_supported": ["PS256"],
        "response_modes_supported": ["query", "jwt"],
        "authorization_signing_alg_values_supported": ["RS256", "ES256"],
    });
    for (member, profile, lacks) in [
        ("", SecurityProfile::Fapi2MessageSigning, false),
        (
            "pushed_authorization_request_endpoint",
            SecurityProfile::Fapi2,
            true,
        ),
        (
            "authorization_response_iss_parameter_supported",
            SecurityProfile::Fapi2,
            true,
        ),
        (
            "token_endpoint_auth_methods_supported",
            SecurityProfile::Fapi2,
            true,
        ),
        (
            "authorization_signing_alg_values_supported",
            SecurityProfile::Fapi2,
            false,
        ),
        (
            "authorization_signing_alg_values_supported",
            SecurityProfile::Fapi2MessageSigning,
            true,
        ),
        ("response_modes_supported", SecurityProfile::Fapi2, false),
        (
            "response_modes_supported",
            SecurityProfile::Fapi2MessageSigning,
            true,
        ),
        (
            "request_object_signing_alg_values_supported",
            SecurityProfile::Fapi2MessageSigning,
            true,
        ),
    ] {
        settings.profile = Some(profile);
        let mut members = complete.clone();
        members.as_object_mut().unwrap().remove(member);
        let found = found(|findings| judge_metadata(&settings, &metadata(&members), findings));
        let named = found
            .iter()
            .any(|found| found.contains("profile_not_supported"));
        assert_eq!(named, lacks, "{member} {profile:?} {found:?}");
    }
}
