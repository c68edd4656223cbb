//! Odd optional members of the discovery document.

use serde_json::json;

use crate::support::assertions::{CART, alice};
use crate::support::doorward::Setup;
use crate::support::journey;

#[tokio::test]
async fn odd_optional_discovery_member_counts_as_not_offered() {
    let members = [
        ("end_session_endpoint", json!("")),
        ("end_session_endpoint", json!("/end-session")),
        (
            "end_session_endpoint",
            json!("http://login.example.com/end"),
        ),
        (
            "revocation_endpoint",
            json!(["http://login.localhost/revoke"]),
        ),
        ("userinfo_endpoint", json!(false)),
        ("introspection_endpoint", json!({})),
        (
            "authorization_response_iss_parameter_supported",
            json!("true"),
        ),
        ("backchannel_logout_supported", json!("true")),
        ("scopes_supported", json!("openid email")),
        ("code_challenge_methods_supported", json!("S256")),
        ("token_endpoint_auth_methods_supported", json!([7])),
        ("id_token_signing_alg_values_supported", json!({})),
    ];
    for (name, value) in members {
        let mut doorward = Setup::plain().without_provider().start();
        doorward
            .provider
            .behave(|provider| provider.discovery_members = vec![(name, value.clone())]);
        doorward.provider.restart();
        doorward.advance_secs(3);
        let mut browser = alice(&doorward).await;
        doorward.advance_secs(301);
        let page = browser.step(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{name} {value}: {page}");
        journey::log_out(&mut browser, &doorward.site().store).await;
        assert_eq!(doorward.cookie(&browser, "jwt"), None, "{name} {value}");
    }
}
