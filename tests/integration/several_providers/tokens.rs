//! Access tokens are verified by the provider that they name; passwords by the one that is configured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Several, WIKI, several_with};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::{Flaw, User};

async fn called(wiki: &Several, authorization: &str) -> Page {
    let request = RequestSpec::new(Kind::Program, &format!("{WIKI}/api"))
        .header("Authorization", authorization);
    wiki.browser().send(request).await
}

#[tokio::test]
async fn access_token_belongs_to_the_provider_that_issued_it() {
    let wiki = several_with(
        Setup::plain(),
        "[apps.wiki.bearer]\n[[apps.wiki.rules]]\npaths = [\"/**\"]\nallow = \"authenticated\"\n",
    );
    let claims = json!({ "aud": "wiki" });
    let tokens = ["login", "members"].map(|name| {
        let token = wiki.at(name).access_token(&claims, &[]);
        format!("Bearer {token}")
    });
    for token in &tokens {
        let page = called(&wiki, token).await;
        assert_eq!(page.status(), 200, "{page}");
    }
    let forged = [Flaw::Claim("iss", json!(wiki.provider.issuer()))];
    let forged = wiki.members.access_token(&claims, &forged);
    assert_eq!(
        called(&wiki, &format!("Bearer {forged}")).await.status(),
        401
    );

    // A logout at one provider ends the tokens of its user, and not those of the other's.
    let user = json!({ "sub": "alice-id" });
    let logout = wiki.members.logout_token("wiki", &user, &[]);
    let url = format!("{WIKI}/.doorward/backchannel-logout");
    let request = RequestSpec::new(Kind::Program, &url).method("POST").body(
        "application/x-www-form-urlencoded",
        format!("logout_token={logout}"),
    );
    assert_eq!(wiki.browser().send(request).await.status(), 200);
    assert_eq!(called(&wiki, &tokens[0]).await.status(), 200);
    assert_eq!(called(&wiki, &tokens[1]).await.status(), 401);
}

#[tokio::test]
async fn passwords_are_checked_by_the_configured_provider() {
    let wiki = several_with(
        Setup::plain(),
        "password_provider = \"members\"\n[[apps.wiki.rules]]\npaths = [\"/**\"]\n\
         allow = \"authenticated\"\nauth_methods = [\"session\", \"basic\"]\n",
    );
    let alice = User::new("alice", &[]);
    wiki.members.add_user("alice", "right", alice.clone());
    wiki.provider.add_user("alice", "other", alice);
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("alice:{password}")));
    let page = called(&wiki, &basic("right")).await;
    assert_eq!(page.status(), 200, "{page}");
    let page = called(&wiki, &basic("other")).await;
    assert_eq!(page.status(), 401, "{page}");
    assert_eq!(wiki.provider.grants("password"), 0);
    // A browser without a session chooses as before.
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "login").await;
}
