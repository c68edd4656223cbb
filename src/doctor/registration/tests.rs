//! Tables of what is concluded from the responses of the authorization and token endpoints.

use super::*;
use crate::doctor::testing::{found, registered};
use crate::oidc::callback::CallbackError;

const SECRET: &str = "client_secret_file = \"secret\"";

fn returned(error: &str) -> AuthorizationProbe {
    AuthorizationProbe::Returned {
        error: Some(error.to_owned()),
        description: None,
    }
}

fn page(status: u16, rejected: Option<Rejected>) -> AuthorizationProbe {
    AuthorizationProbe::Page { status, rejected }
}

fn redirected(url: &str) -> AuthorizationProbe {
    AuthorizationProbe::Redirected(url.to_owned())
}

#[test]
fn authorization_responses_are_judged_with_the_token_endpoint() {
    let accepted = ClientVerdict::Accepted;
    let rejected = ClientVerdict::Rejected(String::new());
    let unclear = ClientVerdict::Unclear(String::new());
    let redirect_uri = "error redirect_uri_rejected public_url";
    let client = "error client_unknown client_id";
    for (probe, verdict, expected) in [
        (returned("login_required"), &accepted, ""),
        (returned("consent_required"), &accepted, ""),
        (
            returned("invalid_scope"),
            &accepted,
            "error scope_rejected scopes",
        ),
        (
            returned("invalid_target"),
            &accepted,
            "error audience_rejected extra_authorization_params",
        ),
        (
            returned("unauthorized_client"),
            &accepted,
            "error authorization_rejected client_id",
        ),
        (
            returned("server_error"),
            &accepted,
            "warning authorization_failing provider",
        ),
        (
            AuthorizationProbe::Invalid(CallbackError::NoIssuer),
            &accepted,
            "error authorization_response_invalid provider",
        ),
        (
            AuthorizationProbe::Invalid(CallbackError::KeysUnavailable),
            &accepted,
            "warning authorization_failing provider",
        ),
        (page(400, None), &accepted, redirect_uri),
        (page(400, None), &rejected, client),
        (
            page(400, None),
            &unclear,
            "error registration_rejected client_id",
        ),
        (
            page(400, Some(Rejected::RedirectUri)),
            &rejected,
            redirect_uri,
        ),
        (page(403, Some(Rejected::Client)), &accepted, client),
        (
            page(200, Some(Rejected::RedirectUri)),
            &accepted,
            redirect_uri,
        ),
        (
            page(200, None),
            &accepted,
            "advice redirect_uri_unclear public_url",
        ),
        (
            page(503, None),
            &accepted,
            "warning authorization_failing provider",
        ),
        (
            page(429, None),
            &accepted,
            "warning authorization_failing provider",
        ),
        (
            redirected("https://login.example.com/login"),
            &accepted,
            "advice redirect_uri_unclear public_url",
        ),
        (
            redirected("https://login.example.com/oauth/error"),
            &accepted,
            redirect_uri,
        ),
    ] {
        let (app, response) = (registered(SECRET), Ok(probe));
        let found = found(|findings| judge_authorization(&app, &response, verdict, findings));
        assert_eq!(found.concat(), expected, "{response:?} {verdict:?}");
    }
}

#[test]
fn token_responses_tell_whether_the_client_is_accepted() {
    let rejected = |error: &str| TokenError::ClientRejected {
        method: None,
        error: error.to_owned(),
        description: None,
        reason: None,
    };
    let grant = TokenError::GrantRejected {
        error: "invalid_grant".to_owned(),
        description: None,
        reason: None,
    };
    let unavailable = TokenError::Unavailable {
        status: 503,
        description: None,
        retry_after: None,
    };
    for (error, expected) in [
        (grant, ""),
        (
            rejected("invalid_client"),
            "error client_secret_rejected client_secret_file",
        ),
        (
            rejected("unauthorized_client"),
            "error client_secret_rejected client_secret_file",
        ),
        (
            rejected("http_401"),
            "error client_secret_rejected client_secret_file",
        ),
        (
            rejected("invalid_request"),
            "advice client_secret_unclear client_secret_file",
        ),
        (unavailable, "warning token_endpoint_failing provider"),
    ] {
        let verdict = ClientVerdict::of(Err(error.clone()));
        let (app, announced) = (registered(SECRET), Announced::default());
        let found = found(|findings| judge_secret(&app, &verdict, &announced, findings));
        assert_eq!(found.concat(), expected, "{error}");
    }
}

#[test]
fn announced_authentication_matters_only_if_the_client_is_not_accepted() {
    let announced = Announced {
        client_auth_methods: Some(vec!["private_key_jwt".to_owned()]),
        ..Announced::default()
    };
    let app = registered(SECRET);
    let accepted = |findings: &mut Findings| {
        judge_secret(&app, &ClientVerdict::Accepted, &announced, findings);
    };
    assert_eq!(found(accepted), Vec::<String>::new());
    let rejected = |findings: &mut Findings| {
        let verdict = ClientVerdict::Rejected(String::new());
        judge_secret(&app, &verdict, &announced, findings);
    };
    let expected = [
        "warning client_auth_not_announced token_endpoint_auth_method",
        "error client_secret_rejected client_secret_file",
    ];
    assert_eq!(found(rejected), expected);
}

#[test]
fn scopes_and_grants_are_compared_with_the_announced_ones() {
    let list = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
    let announced = |scopes: &[&str], grants: &[&str]| Announced {
        scopes: list(scopes),
        grant_types: list(grants),
        ..Announced::default()
    };
    let all = ["openid", "email", "profile", "offline_access"];
    for (lines, announced, expected) in [
        ("", Announced::default(), [].as_slice()),
        ("", announced(&all, &["refresh_token"]), &[]),
        (
            "scopes = [\"openid\", \"payroll\", \"api://orders/.default\"]",
            announced(&all, &["refresh_token"]),
            &[
                "warning scope_not_announced scopes",
                "advice offline_access_not_requested scopes",
            ],
        ),
        (
            "",
            announced(&all, &["authorization_code"]),
            &["warning refresh_not_announced provider"],
        ),
        (
            "[apps.store.native]\npassword_grant = true",
            announced(&all, &["refresh_token"]),
            &["warning password_not_announced native"],
        ),
    ] {
        let app = registered(&format!("{SECRET}\n{lines}"));
        let found = found(|findings| {
            judge_scopes(&app, &announced, findings);
            judge_grants(&app, &announced, findings);
        });
        assert_eq!(found, expected, "{lines}");
    }
}

#[test]
fn requested_audience_must_be_accepted() {
    let requested = "extra_authorization_params = { resource = \"urn:orders\" }";
    let access = "session_jwt = \"access\"";
    for (lines, is_found) in [
        (format!("{requested}\n{access}"), true),
        (
            format!("{requested}\n{access}\naudiences = [\"urn:orders\"]"),
            false,
        ),
        (requested.to_owned(), false),
        (access.to_owned(), false),
    ] {
        let app = registered(&format!("{SECRET}\n{lines}"));
        let found = found(|findings| judge_audience(&app, findings));
        let expected = ["warning audience_mismatch audiences"];
        assert_eq!(found, expected[..usize::from(is_found)], "{lines}");
    }
}
