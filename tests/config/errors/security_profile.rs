//! What contradicts the security profile of a provider.

use doorward::config::Severity;

use super::super::support::{edited, problems, shown};

const ISSUER: &str = "issuer = \"https://login.example.com\"";

/// The keys and messages of the problems of a file.
fn errors(text: &str) -> Vec<String> {
    let problems = problems(text);
    let found = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.message));
    let mut found: Vec<String> = found.collect();
    found.sort();
    found
}

#[test]
fn each_contradiction_of_the_profile_is_named() {
    let lines = "profile = \"fapi2-message-signing\"\nalgorithms = [\"RS256\"]\n\
                 dangerously_allow_http_issuer = true\n\
                 token_endpoint = \"https://login.example.com/token\"";
    let text = edited(ISSUER, &format!("{ISSUER}\n{lines}"));
    let text = text.replace(
        "public_url = \"https://store.example.com\"",
        "public_url = \"http://store.example.com\"\ndangerously_allow_http_public_url = true\n\
         pushed_authorization = \"when-required\"\nresponse_mode = \"form_post\"",
    );
    let found = errors(&text);
    for expected in [
        "providers.login.algorithms: `profile` permits",
        "providers.login.dangerously_allow_http_issuer: `profile` requires TLS",
        "providers.login.token_endpoint: `profile` requires the endpoints",
        "apps.store.dangerously_allow_http_public_url: the provider's `profile` requires TLS",
        "apps.store.pushed_authorization: the provider's `profile` requires",
        "apps.store.response_mode: the provider's `profile` requires",
        "apps.forum.token_endpoint_auth_method: the provider's `profile` requires a key",
        "apps.store.token_endpoint_auth_method: the provider's `profile` requires a key",
        "apps.store.dpop_key_files: `dpop_key_files` is missing",
        "apps.store.request_object_key_file: `request_object_key_file` is missing",
    ] {
        let is_named = found.iter().any(|problem| problem.starts_with(expected));
        assert!(is_named, "{expected}\n{found:#?}");
    }
}

#[test]
fn complete_profile_is_accepted() {
    let keys = "client_key_file = \"tls/other-key.pem\"\ndpop_key_files = [\"tls/key.pem\"]\n\
                request_object_key_file = \"tls/other-key.pem\"";
    let text = edited(
        ISSUER,
        &format!("{ISSUER}\nprofile = \"fapi2-message-signing\""),
    );
    let text = text.replace("client_secret_file = \"store.secret\"", keys);
    let text = text.replace(
        "client_id = \"forum\"",
        &format!("client_id = \"forum\"\n{keys}"),
    );
    let mut found = problems(&text);
    found.retain(|problem| problem.severity != Severity::Advice);
    assert!(found.is_empty(), "{}", shown(&found));
}

#[test]
fn always_pushed_requests_need_an_endpoint() {
    let endpoints = "discovery = false\nauthorization_endpoint = \"https://login.example.com/a\"\n\
                     token_endpoint = \"https://login.example.com/t\"\n\
                     jwks_uri = \"https://login.example.com/k\"";
    let pushed = "client_id = \"forum\"\npushed_authorization = \"always\"";
    let without = edited(ISSUER, &format!("{ISSUER}\n{endpoints}"));
    let without = without.replace("client_id = \"forum\"", pushed);
    let expected = "apps.forum.pushed_authorization: the provider has no endpoint";
    let found = errors(&without);
    assert!(
        found.iter().any(|problem| problem.starts_with(expected)),
        "{found:#?}"
    );

    let endpoint = "pushed_authorization_request_endpoint = \"https://login.example.com/p\"";
    let with = without.replace(ISSUER, &format!("{ISSUER}\n{endpoint}"));
    let found = errors(&with);
    assert!(
        !found.iter().any(|problem| problem.starts_with(expected)),
        "{found:#?}"
    );

    let found = errors(&with.replace(ISSUER, &format!("{ISSUER}\nprofile = \"fapi2\"")));
    let expected = "providers.login.discovery: `profile` requires the endpoints";
    assert!(
        found.iter().any(|problem| problem.starts_with(expected)),
        "{found:#?}"
    );
}
