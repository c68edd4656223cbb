//! RP-initiated logout: the local session ends at once, whatever the provider's state.

use super::{CART, expired, is_sent_to_log_in, location, parameter, refreshes, sets_session};
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;
use crate::support::provider::{Endpoint, Fault, TokenStatus};

/// Submits the confirmation form and returns the first response.
async fn log_out(doorward: &Doorward, browser: &mut Browser) -> Page {
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    assert_eq!(form.status(), 200, "{form}");
    browser.send(form.filled(&[])).await
}

fn has_session(doorward: &Doorward, browser: &Browser) -> bool {
    ["jwt", "refresh", "activity"]
        .iter()
        .any(|kind| doorward.cookie(browser, kind).is_some())
}

#[tokio::test]
async fn logout_ends_session_here_and_at_provider() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let mut copy = browser.clone();
        let page = log_out(&doorward, &mut browser).await;
        assert_eq!(page.status(), 303, "{page}");
        assert!(
            location(&page).starts_with(&doorward.provider.url(Endpoint::EndSession)),
            "{page}"
        );
        let hint = parameter(location(&page), "id_token_hint").expect("a hint");
        assert!(
            doorward.provider.secrets().contains(&hint),
            "the hint is the ID token"
        );
        let signed_out = doorward.store_url("/.doorward/signed-out");
        assert_eq!(
            parameter(location(&page), "post_logout_redirect_uri"),
            Some(signed_out.clone())
        );
        assert!(!has_session(&doorward, &browser), "{page}");
        assert!(
            expired(&page).iter().any(|name| name.ends_with("_hint")),
            "{page}"
        );
        let revoked = doorward.provider.revoked();
        assert_eq!(revoked.len(), 1);

        let page = browser.visit(location(&page)).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, signed_out.as_str()),
            "{page}"
        );
        assert!(
            page.head.all("set-cookie").is_empty() && !page.text().contains("http-equiv"),
            "{page}"
        );
        is_sent_to_log_in(&doorward, &mut browser).await;
        is_sent_to_log_in(&doorward, &mut copy).await;
        doorward.advance_secs(300);
        is_sent_to_log_in(&doorward, &mut copy).await;
        assert_eq!(refreshes(&doorward), 0);
    }
}

/// Another site of the same domain can set the hint cookie (cookie tossing).
#[tokio::test]
async fn id_token_of_another_session_is_not_sent_to_the_provider() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let bob = doorward.logged_in("bob", CART).await;
    let name = doorward.cookie_name("id_token_hint");
    let tossed = bob.jar.get(doorward.store_host(), &name);
    let tossed = tossed.expect("bob's hint").value.clone();
    alice.jar.tamper(doorward.store_host(), &name, |_| tossed);
    let page = log_out(&doorward, &mut alice).await;
    assert_eq!(parameter(location(&page), "id_token_hint"), None, "{page}");
    assert_eq!(
        parameter(location(&page), "client_id").as_deref(),
        Some("store"),
        "{page}"
    );
    assert!(!has_session(&doorward, &alice), "{page}");
}

#[tokio::test]
async fn logout_with_the_cookies_of_two_sessions_ends_both() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut bob = doorward.logged_in("bob", CART).await;
    let mut mixed = alice.clone();
    let name = doorward.cookie_name("refresh");
    let of_bob = bob.jar.get(doorward.store_host(), &name);
    let of_bob = of_bob.expect("bob's refresh token").value.clone();
    mixed.jar.tamper(doorward.store_host(), &name, |_| of_bob);
    let logout = doorward.store_url("/.doorward/logout");
    let from = url::Url::parse(&logout).expect("a URL");
    let post = RequestSpec::new(Kind::Navigation, &logout).method("POST");
    let page = mixed.send(post.from(&from)).await;
    assert_eq!(page.status(), 303, "{page}");
    is_sent_to_log_in(&doorward, &mut alice).await;
    is_sent_to_log_in(&doorward, &mut bob).await;
    assert_eq!(
        doorward.provider.revoked().len(),
        1,
        "the token in the cookie"
    );
}

#[tokio::test]
async fn get_logout_asks_for_confirmation() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let page = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    assert_eq!((page.status(), page.forms().len()), (200, 1), "{page}");
    assert!(page.words().contains("alice"), "{page}");
    super::load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn cross_site_logout_is_refused() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let logout = doorward.store_url("/.doorward/logout");
    let post = || RequestSpec::new(Kind::Navigation, &logout).method("POST");
    let elsewhere = [
        "https://evil.test/",
        "https://forum.example.test/",
        "http://store.example.test/",
    ];
    let mut requests: Vec<RequestSpec> = elsewhere
        .iter()
        .map(|from| post().from(&url::Url::parse(from).unwrap()))
        .collect();
    requests.push(RequestSpec::new(Kind::Program, &logout).method("POST"));
    requests.push(
        RequestSpec::new(Kind::Program, &logout)
            .method("POST")
            .header("Origin", "null"),
    );
    for request in requests {
        let page = browser.send(request).await;
        assert_eq!(
            (page.status(), page.head.all("set-cookie").len()),
            (403, 0),
            "{page}"
        );
        assert!(page.text().contains("cross_site"), "{page}");
    }
    super::load(&doorward, &mut browser, "alice").await;
    assert!(doorward.provider.revoked().is_empty());
}

#[tokio::test]
async fn missing_end_session_endpoint_is_disclosed() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.has_end_session = false);
    let mut browser = doorward.logged_in("alice", CART).await;
    let page = log_out(&doorward, &mut browser).await;
    assert_eq!(location(&page), doorward.store_url("/.doorward/signed-out"));
    let page = browser.visit(location(&page)).await;
    assert_eq!((page.status(), page.chain.len()), (200, 1), "{page}");
    assert!(page.words().contains("may still remember"), "{page}");
    assert_eq!(doorward.provider.revoked().len(), 1);
}

#[tokio::test]
async fn copied_cookies_are_rejected_without_revocation_endpoint() {
    let doorward = Setup::plain().start();
    doorward
        .provider
        .behave(|provider| provider.has_revocation = false);
    let mut browser = doorward.logged_in("alice", CART).await;
    let mut copy = browser.clone();
    log_out(&doorward, &mut browser).await;
    is_sent_to_log_in(&doorward, &mut copy).await;
    assert!(doorward.provider.revoked().is_empty());
}

#[tokio::test]
async fn cookies_are_cleared_when_provider_fails() {
    type Break = fn(&Doorward);
    let breaks: [Break; 4] = [
        |doorward| doorward.provider.stop(),
        |doorward| {
            doorward
                .provider
                .fault(Endpoint::Revocation, Fault::Status(500))
        },
        |doorward| doorward.provider.fault(Endpoint::Revocation, Fault::Html),
        |doorward| {
            doorward
                .provider
                .fault(Endpoint::Revocation, Fault::CutBefore)
        },
    ];
    for break_it in breaks {
        let doorward = Setup::plain().start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let mut copy = browser.clone();
        break_it(&doorward);
        let page = log_out(&doorward, &mut browser).await;
        assert_eq!(page.status(), 303, "{page}");
        assert!(!has_session(&doorward, &browser), "{page}");
        is_sent_to_log_in(&doorward, &mut copy).await;
    }
}

#[tokio::test]
async fn logout_during_provider_outage_is_disclosed() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.stop();
    let page = log_out(&doorward, &mut browser).await;
    assert!(
        location(&page).starts_with(&doorward.store_url("/.doorward/signed-out")),
        "{page}"
    );
    let page = browser.visit(location(&page)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert!(page.words().contains("may still remember"), "{page}");
}

#[tokio::test]
async fn logout_during_refresh_revokes_new_token() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    let gate = Gate::default();
    doorward
        .provider
        .fault_once(Endpoint::Token, Fault::Held(gate.clone()));
    let (mut tab, cart) = (browser.clone(), doorward.store_url(CART));
    let late = tokio::spawn(async move { tab.step(&cart).await });
    gate.reached(1).await;
    log_out(&doorward, &mut browser).await;
    gate.open();
    let page = late.await.expect("an answer");
    assert!(!sets_session(&page), "{page}");
    let consumed = doorward.provider.presented();
    assert_eq!(consumed.len(), 1);
    assert_eq!(consumed[0].status, TokenStatus::Live);
    let revoked = doorward.provider.revoked();
    assert!(
        revoked.iter().any(|token| *token != consumed[0].token),
        "only the used-up token was revoked: {revoked:?}"
    );
    assert!(
        revoked
            .iter()
            .all(|token| !doorward.provider.is_live(token))
    );
    is_sent_to_log_in(&doorward, &mut browser).await;
}

#[tokio::test]
async fn logout_after_lost_refresh_revokes_newest_token() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(300);
    super::load(&doorward, &mut browser.clone(), "alice").await;
    log_out(&doorward, &mut browser).await;
    let revoked = doorward.provider.revoked();
    let used = doorward.provider.presented();
    assert!(
        revoked.len() == 1 && revoked[0] != used[0].token,
        "{revoked:?}"
    );
}

#[tokio::test]
async fn logout_without_session_shows_signed_out_page() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.browser();
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    let page = browser.submit(&form, &[]).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/signed-out"),
        "{page}"
    );
}

#[tokio::test]
async fn logout_without_hint_sends_client_id() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    browser.jar.remove(doorward.store_host(), |cookie| {
        cookie.name.ends_with("_hint")
    });
    let page = log_out(&doorward, &mut browser).await;
    assert_eq!(parameter(location(&page), "id_token_hint"), None);
    assert_eq!(
        parameter(location(&page), "client_id").as_deref(),
        Some("store"),
        "{page}"
    );
    let page = browser.visit(location(&page)).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/signed-out"),
        "{page}"
    );
}

#[tokio::test]
async fn logout_at_one_app_keeps_session_of_another() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    browser.visit(&doorward.forum_url("/posts")).await;
    let page = log_out(&doorward, &mut browser).await;
    browser.visit(location(&page)).await;
    assert_eq!(
        browser.step(&doorward.forum_url("/posts")).await.status(),
        200
    );
    doorward.advance_secs(300);
    let page = browser.step(&doorward.forum_url("/posts")).await;
    assert!(
        page.status() == 302 && !sets_session(&page),
        "the provider ended all: {page}"
    );
}
