//! An e-mail address that the provider marks as not verified: anybody may have entered it.

use serde_json::{Value, json};

use crate::support::assertions::{CART, signed_in};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Flaw, User};

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/", "/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/owner/**"]
allow = { claim = "email", any_of = ["alice@example.com"] }
"#;

const OWNER: &str = "/owner/page";

fn setup(provider: &str) -> Setup {
    Setup::plain().provider(provider).store_rules(RULES)
}

fn marked(value: Value) -> User {
    User::new("alice", &[]).with_claim("email_verified", value)
}

fn last_email(doorward: &Doorward) -> Option<String> {
    let last = doorward.store.last();
    last.header("x-forwarded-email").map(str::to_owned)
}

#[tokio::test]
async fn unverified_email_is_neither_matched_nor_sent() {
    let cases = [
        (json!(true), true),
        (json!("true"), true),
        (json!(null), true),
        (json!(false), false),
        (json!("false"), false),
        (json!(0), false),
    ];
    for in_userinfo in [false, true] {
        for (mark, is_verified) in cases.clone() {
            let doorward = setup("").start();
            if in_userinfo {
                doorward.provider.behave(|provider| {
                    provider.id_token_flaws =
                        vec![Flaw::Without("email"), Flaw::Without("email_verified")]
                });
            }
            let mut browser = signed_in(&doorward, marked(mark.clone())).await;
            let case = format!("{mark} {in_userinfo}");
            let email = is_verified.then_some("alice@example.com");
            assert_eq!(last_email(&doorward).as_deref(), email, "{case}");
            let status = browser.step(&doorward.store_url(OWNER)).await.status();
            assert_eq!(status, if is_verified { 200 } else { 403 }, "{case}");
            assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"), "{case}");
        }
    }
}

#[tokio::test]
async fn email_that_loses_its_verification_is_gone_at_the_next_refresh() {
    let doorward = setup("").start();
    let mut browser = signed_in(&doorward, marked(json!(true))).await;
    assert_eq!(browser.step(&doorward.store_url(OWNER)).await.status(), 200);
    doorward.provider.change_user("alice-id", |user| {
        user.claims
            .insert("email_verified".to_owned(), json!(false));
    });
    doorward.advance_secs(301);
    assert_eq!(browser.step(&doorward.store_url(OWNER)).await.status(), 403);
}

#[tokio::test]
async fn unverified_email_in_an_access_token_is_not_used() {
    for (lines, is_used) in [
        ("", false),
        ("dangerously_allow_unverified_claims = true", true),
    ] {
        let doorward = setup(lines).more("[apps.store.bearer]\n").start();
        let claims = json!({ "email": "alice@example.com", "email_verified": false });
        let token = doorward.provider.access_token(&claims, &[]);
        let send = async |path| {
            let request = RequestSpec::new(Kind::Program, &doorward.store_url(path))
                .header("Authorization", &format!("Bearer {token}"));
            doorward.browser().send(request).await.status()
        };
        assert_eq!(send(CART).await, 200);
        assert_eq!(last_email(&doorward).is_some(), is_used, "{lines}");
        assert_eq!(
            send(OWNER).await,
            if is_used { 200 } else { 403 },
            "{lines}"
        );
    }
}

#[tokio::test]
async fn unverified_email_is_used_if_the_provider_is_trusted_with_it() {
    let doorward = setup("dangerously_allow_unverified_claims = true").start();
    let mut browser = signed_in(&doorward, marked(json!(false))).await;
    assert_eq!(last_email(&doorward).as_deref(), Some("alice@example.com"));
    assert_eq!(browser.step(&doorward.store_url(OWNER)).await.status(), 200);
}
