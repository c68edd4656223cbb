//! Step-up through a login host, and where another proxy asks for decisions.

use super::{ACCOUNT, VAULT, opened, provider_grants, requested, with_rules};
use crate::decisions::check::{Check, Dialect, HTML, cookies, decided_by};
use crate::support::assertions::{CART, alice, assert_error_page};
use crate::support::doorward::Setup;
use crate::support::provider::Client;

const LOGIN: &str = "https://signin.example.test";

#[tokio::test]
async fn login_host_asks_for_what_the_app_requires() {
    let setup = Setup::over_tls().provider(&format!("login_url = \"{LOGIN}\""));
    let doorward = with_rules(setup).start();
    for id in ["store", "forum"] {
        doorward.provider.register(Client::of_app(id, LOGIN));
    }
    let mut browser = alice(&doorward).await;
    let page = opened(&mut browser, &doorward.store_url(VAULT), 3).await;
    assert_error_page(&page, 403, "token_acr_missing");
    assert_eq!(page.url.host_str(), Some("signin.example.test"));
    assert_eq!(
        requested(&doorward, "acr_values").as_deref(),
        Some("gold silver")
    );
    let stays = opened(&mut browser, &doorward.store_url(CART), 0).await;
    assert_eq!(stays.status(), 200, "{stays}");

    provider_grants(&doorward, "gold");
    let (link, _) = page.links().into_iter().next().expect("a link");
    let page = browser.click(&page, &link).await;
    assert_eq!((page.status(), page.url.path()), (200, VAULT), "{page}");
    assert_eq!(requested(&doorward, "prompt").as_deref(), Some("login"));
}

#[tokio::test]
async fn other_proxy_is_told_to_refuse_or_to_redirect() {
    let doorward = decided_by(with_rules(Setup::plain())).start();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(331);
    // The session has a new JWT after this.
    opened(&mut browser, &doorward.store_url(CART), 0).await;
    let login = "http://store.localhost:8080/.doorward/login\
                 ?return_to=%2Faccount%2Femail&max_age=300";
    for (dialect, status) in [
        (Dialect::AuthRequest, 401),
        (Dialect::ForwardAuth, 302),
        (Dialect::ExtAuthz, 302),
    ] {
        let cookies = cookies(&doorward, &browser);
        let check = || Check::new(dialect, ACCOUNT).header("Cookie", &cookies);
        let page = check().header("Accept", HTML).request(&doorward).await;
        assert_eq!(page.status(), status, "{dialect:?}");
        assert_eq!(page.head.header("location"), Some(login), "{dialect:?}");
        let script = check().request(&doorward).await;
        assert_eq!(script.status(), 401, "{dialect:?}");
        assert!(
            script.text().contains("insufficient_user_authentication"),
            "{}",
            script.text()
        );
    }
    doorward.sign_in("alice");
    let page = opened(&mut browser, login, 3).await;
    assert_eq!((page.status(), page.url.path()), (200, ACCOUNT), "{page}");
    let cookies = cookies(&doorward, &browser);
    let permitted = Check::new(Dialect::ForwardAuth, ACCOUNT).header("Cookie", &cookies);
    assert_eq!(permitted.request(&doorward).await.status(), 200);
}

/// The form cannot be preserved at the edge. The challenge still says what the login must be.
#[tokio::test]
async fn form_at_another_proxy_is_refused_with_the_requirement() {
    let doorward = decided_by(with_rules(Setup::plain())).start();
    let mut browser = alice(&doorward).await;
    doorward.advance_secs(331);
    opened(&mut browser, &doorward.store_url(CART), 0).await;
    let origin = "http://store.localhost:8080";
    for dialect in [
        Dialect::AuthRequest,
        Dialect::ForwardAuth,
        Dialect::ExtAuthz,
    ] {
        let form = Check::new(dialect, ACCOUNT)
            .method("POST")
            .header("Cookie", &cookies(&doorward, &browser))
            .header("Accept", HTML)
            .header("Origin", origin)
            .header("Sec-Fetch-Site", "same-origin")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "document")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-Original-Content-Length", "9");
        let refused = form.request(&doorward).await;
        assert_eq!(refused.status(), 401, "{dialect:?}");
        let challenges = refused.head.all("www-authenticate");
        assert!(
            challenges.iter().any(|challenge| challenge
                .contains("error=\"insufficient_user_authentication\"")
                && challenge.contains("max_age=\"300\"")),
            "{dialect:?}: {challenges:?}"
        );
    }
}
