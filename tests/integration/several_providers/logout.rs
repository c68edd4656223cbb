//! Logouts reach the provider of the session, and no provider ends sessions of another.

use serde_json::json;

use super::{PAGE, Several, WIKI, location, several, several_with};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, Flaw};

#[tokio::test]
async fn logout_ends_the_session_at_its_own_provider() {
    let wiki = several();
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    let form = browser.visit(&format!("{WIKI}/.doorward/logout")).await;
    let page = browser.send(form.filled(&[])).await;
    let end_session = wiki.members.url(Endpoint::EndSession);
    assert!(location(&page).starts_with(&end_session), "{page}");
    let page = browser.next(&page).await;
    let page = browser.next(&page).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/signed-out"),
        "{page}"
    );
    assert_eq!(wiki.members.revoked().len(), 1);
    for endpoint in [Endpoint::EndSession, Endpoint::Revocation] {
        assert_eq!(wiki.provider.calls(endpoint), 0);
    }
    // The next login offers the choice, and goes to no provider by itself.
    let choice = browser.visit(PAGE).await;
    assert_eq!(choice.url.path(), "/.doorward/login", "{choice}");
}

#[tokio::test]
async fn logout_without_session_goes_to_no_provider() {
    let wiki = several();
    let mut browser = wiki.browser();
    let form = browser.visit(&format!("{WIKI}/.doorward/logout")).await;
    let page = browser.submit(&form, &[]).await;
    assert_eq!(page.url.path(), "/.doorward/signed-out", "{page}");
    for name in ["login", "members"] {
        assert_eq!(wiki.at(name).calls(Endpoint::EndSession), 0);
    }
}

/// The response to a logout token.
async fn told(wiki: &Several, token: &str) -> Page {
    let url = format!("{WIKI}/.doorward/backchannel-logout");
    let request = RequestSpec::new(Kind::Program, &url).method("POST").body(
        "application/x-www-form-urlencoded",
        format!("logout_token={token}"),
    );
    wiki.browser().send(request).await
}

async fn both_signed_in(wiki: &Several) -> [Browser; 2] {
    let (mut at_login, mut at_members) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut at_login, "login").await;
    wiki.log_in(&mut at_members, "members").await;
    [at_login, at_members]
}

#[tokio::test]
async fn backchannel_logout_ends_no_session_of_the_other_provider() {
    let wiki = several();
    for own in ["login", "members"] {
        let [mut at_login, mut at_members] = both_signed_in(&wiki).await;
        // The same user by `sub`, and one `jti` for both.
        let claims = json!({ "sub": "alice-id", "jti": "one" });
        let token = wiki.at(own).logout_token("wiki", &claims, &[]);
        let response = told(&wiki, &token).await;
        assert_eq!(response.status(), 200, "{response}");
        assert_eq!(wiki.is_signed_in(&mut at_login).await, own != "login");
        assert_eq!(wiki.is_signed_in(&mut at_members).await, own != "members");
        wiki.advance_secs(60);
    }
}

#[tokio::test]
async fn logout_token_in_the_name_of_the_other_provider_is_refused() {
    let wiki = several();
    let [mut at_login, mut at_members] = both_signed_in(&wiki).await;
    let issuer = json!(wiki.provider.issuer());
    let claims = json!({ "sub": "alice-id" });
    let forged = [Flaw::Claim("iss", issuer)];
    let token = wiki.members.logout_token("wiki", &claims, &forged);
    let response = told(&wiki, &token).await;
    assert_eq!(response.status(), 400, "{response}");
    assert!(wiki.is_signed_in(&mut at_login).await && wiki.is_signed_in(&mut at_members).await);
}

#[tokio::test]
async fn frontchannel_logout_must_name_the_provider_of_the_session() {
    let wiki = several_with(Setup::plain(), "frontchannel_logout = true");
    let encoded = |issuer: &str| -> String {
        url::form_urlencoded::byte_serialize(issuer.as_bytes()).collect()
    };
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    let page = url::Url::parse("http://members.wiki.localhost/logout").expect("a URL");
    for (query, ends) in [
        (String::new(), false),
        (format!("?iss={}", encoded(wiki.provider.issuer())), false),
        (format!("?iss={}", encoded(wiki.members.issuer())), true),
    ] {
        let url = format!("{WIKI}/.doorward/frontchannel-logout{query}");
        let frame = RequestSpec::new(Kind::Frame, &url).from(&page);
        let response = browser.clone().send(frame).await;
        assert_eq!(response.status() == 200, ends, "{response}");
        assert_eq!(wiki.is_signed_in(&mut browser).await, !ends, "{query}");
    }
}
