//! Tests of the OpenID Foundation's conformance suite for clients, under their names there: `oidcc` of the
//! basic relying party plan, `fapi2` of the plans for FAPI 2.0 Security Profile and Message Signing. Those of
//! signed responses are in `oidc::provider::tests::signed_responses`. Of `profile`, the tests of `fapi2` set
//! the algorithms.

use serde_json::json;

use super::assert_login_fails;
use crate::client_authentication::key_pem;
use crate::support::assertions::{CART, alice};
use crate::support::doorward::Setup;
use crate::support::provider::{Behaviour, Flaw, IssParameter};

/// Declares tests: the provider's fault, and the status and code of the page.
macro_rules! refuses {
    ($($name:ident: $fault:expr, $status:literal, $code:literal;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                refused(stringify!($name), $fault, $status, $code).await;
            }
        )+
    };
}

async fn refused(name: &str, fault: impl FnOnce(&mut Behaviour), status: u16, code: &str) {
    let mut setup = Setup::plain();
    if name.starts_with("fapi2") {
        setup = setup.provider("algorithms = [\"PS256\", \"ES256\", \"EdDSA\"]");
    }
    let doorward = setup.start();
    doorward.sign_in("alice");
    doorward.provider.behave(fault);
    assert_login_fails(&doorward, name, status, code).await;
}

fn id_token(flaw: Flaw) -> impl FnOnce(&mut Behaviour) {
    move |provider| provider.id_token_flaws = vec![flaw]
}

refuses! {
    oidcc_client_test_invalid_iss:
        id_token(Flaw::WrongIssuer), 502, "token_issuer_mismatch";
    oidcc_client_test_missing_sub:
        id_token(Flaw::Without("sub")), 502, "token_sub_missing";
    oidcc_client_test_invalid_aud:
        id_token(Flaw::WrongAudience), 502, "token_audience_mismatch";
    oidcc_client_test_missing_iat:
        id_token(Flaw::Without("iat")), 502, "token_iat_missing";
    oidcc_client_test_nonce_invalid:
        id_token(Flaw::WrongNonce), 502, "token_nonce_mismatch";
    oidcc_client_test_idtoken_sig_none:
        id_token(Flaw::AlgNone), 502, "token_malformed";
    oidcc_client_test_invalid_sig_rs256:
        id_token(Flaw::WrongSignature), 502, "token_signature_invalid";
    fapi2_client_test_invalid_alternate_alg:
        id_token(Flaw::Header("alg", json!("RS256"))), 502, "token_algorithm_not_allowed";
    fapi2_client_test_invalid_null_alg:
        id_token(Flaw::AlgNone), 502, "token_malformed";
    fapi2_client_test_invalid_expired_exp:
        id_token(Flaw::Expired), 502, "token_expired";
    fapi2_client_test_invalid_missing_aud:
        id_token(Flaw::Without("aud")), 502, "token_aud_missing";
    fapi2_client_test_invalid_missing_exp:
        id_token(Flaw::Without("exp")), 502, "token_exp_missing";
    fapi2_client_test_invalid_missing_iss:
        id_token(Flaw::Without("iss")), 502, "token_iss_missing";
    fapi2_client_test_invalid_missing_nonce:
        id_token(Flaw::Without("nonce")), 502, "token_nonce_missing";
    fapi2_client_test_invalid_secondary_aud:
        id_token(Flaw::Claim("aud", json!(["store", "somebody"]))), 502, "token_azp_mismatch";
    fapi2_client_test_invalid_authorization_response_iss:
        |provider| provider.iss_parameter = IssParameter::Wrong, 400, "callback_issuer_mismatch";
    fapi2_client_test_remove_authorization_response_iss:
        |provider| provider.iss_parameter = IssParameter::Missing, 400, "callback_issuer_missing";
}

#[tokio::test]
async fn fapi2_client_test_token_type_case_insensitivity() {
    let setup = Setup::plain().file("dpop.pem", &key_pem());
    let doorward = setup.store("dpop_key_files = [\"dpop.pem\"]").start();
    doorward.provider.behave(|provider| {
        provider.token_response_members = vec![("token_type", json!("dPoP"))];
    });
    let mut browser = alice(&doorward).await;
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn fapi2_client_test_ensure_authorization_response_with_invalid_state_fails() {
    for (query, code) in [
        ("code=c&state=invalid", "state_invalid"),
        ("code=c", "callback_state_missing"),
    ] {
        let doorward = Setup::plain().start();
        let iss = doorward.provider.issuer();
        let iss: String = url::form_urlencoded::byte_serialize(iss.as_bytes()).collect();
        let url = doorward.store_url(&format!("/.doorward/callback?{query}&iss={iss}"));
        let page = doorward.browser().step(&url).await;
        assert_eq!(page.status(), 400, "{page}");
        assert!(page.text().contains(code), "{page}");
    }
}
