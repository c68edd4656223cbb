//! Claims that only the userinfo endpoint has.

use crate::support::assertions::alice;
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, Fault, Flaw, User};

#[tokio::test]
async fn missing_claims_are_fetched_from_userinfo() {
    for opaque in [true, false] {
        let jwt = if opaque { "id" } else { "access" };
        let door = Setup::plain()
            .store(&format!("session_jwt = \"{jwt}\""))
            .start();
        let missing = ["email", "preferred_username", "groups", "roles"].map(Flaw::Without);
        door.provider.behave(|provider| {
            provider.opaque_access_token = opaque;
            provider.id_token_flaws = missing.to_vec();
            provider.access_token_flaws = missing.to_vec();
        });
        door.provider.sign_in(User::new("alice", &["admin"]));
        let mut browser = door.browser();
        for round in 0..2 {
            let page = browser.visit(&door.store_url("/admin/orders")).await;
            assert_eq!(page.status(), 200, "{round}: {page}");
            assert_eq!(
                door.store.last().header("x-forwarded-email"),
                Some("alice@example.com"),
                "{round}"
            );
            assert_eq!(
                door.provider.calls(Endpoint::Userinfo),
                1,
                "at the login only"
            );
            door.advance_secs(301);
        }
    }
}

#[tokio::test]
async fn failing_userinfo_does_not_fail_login() {
    let door = Setup::plain().start();
    door.provider
        .behave(|provider| provider.id_token_flaws = vec![Flaw::Without("email")]);
    for fault in [
        Fault::Page(500),
        Fault::Json(403, ""),
        Fault::Json(200, r#"{"sub":"mallory-id"}"#),
    ] {
        door.provider.fault(Endpoint::Userinfo, fault.clone());
        alice(&door).await;
        assert_eq!(
            door.store.last().header("x-forwarded-email"),
            None,
            "{fault:?}"
        );
    }
}
