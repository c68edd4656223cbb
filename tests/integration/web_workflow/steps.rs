//! Steps 1 to 8 of the web workflow, over TLS with invented host names and on plain `localhost`.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{
    CART, calls, exchanges, is_sent_to_log_in, load, location, parameter, refreshes, set,
    sets_session, shown,
};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn step_1_login_sends_state_nonce_pkce_and_client_secret() {
    let doorward = Setup::over_tls().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = is_sent_to_log_in(&doorward, &mut browser).await;
    let asked =
        |name| parameter(location(&start), name).unwrap_or_else(|| panic!("no {name}: {start}"));
    let callback = doorward.store_url("/.doorward/callback");
    let expected = [
        ("response_type", "code"),
        ("client_id", "store"),
        ("redirect_uri", callback.as_str()),
        ("code_challenge_method", "S256"),
        ("scope", "openid email profile offline_access"),
    ];
    for (name, value) in expected {
        assert_eq!(asked(name), value, "{name}");
    }
    assert!(
        asked("state").len() >= 43 && asked("nonce").len() >= 22,
        "{start}"
    );
    assert_eq!(start.header("cache-control"), Some("no-store"));

    let page = browser.next(&start).await;
    let page = browser.next(&page).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (302, "/.doorward/callback"),
        "{page}"
    );
    let visits = doorward.provider.visits(Endpoint::Token);
    let [exchange] = visits.as_slice() else {
        panic!("one call only: {visits:?}")
    };
    let verifier = exchange.parameter("code_verifier").expect("a verifier");
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    assert_eq!(challenge, asked("code_challenge"));
    assert!((43..=128).contains(&verifier.len()), "{verifier}");
    assert_eq!(exchange.parameter("redirect_uri"), Some(callback.as_str()));
    let secret = format!("Basic {}", STANDARD.encode("store:store-secret"));
    assert_eq!(exchange.header("authorization"), Some(secret.as_str()));
    assert_eq!(
        (doorward.store.count(), exchange.parameter("client_secret")),
        (0, None)
    );
}

#[tokio::test]
async fn step_1_logins_never_share_state_nonce_or_challenge() {
    let doorward = Setup::plain().start();
    let mut seen = std::collections::HashSet::new();
    let mut browser = doorward.browser();
    for _ in 0..5 {
        let start = is_sent_to_log_in(&doorward, &mut browser).await;
        for name in ["state", "nonce", "code_challenge"] {
            assert!(
                seen.insert(parameter(location(&start), name)),
                "{name} twice: {start}"
            );
        }
    }
}

#[tokio::test]
async fn step_2_callback_redirects_to_cart_with_two_host_locked_cookies() {
    let doorward = Setup::over_tls().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = is_sent_to_log_in(&doorward, &mut browser).await;
    let attempt = set(&start)
        .into_iter()
        .find(|name| name.contains("_login_"))
        .expect("an attempt");
    assert!(attempt.starts_with("__Secure-doorward_login_"), "{attempt}");
    let secure = ["HttpOnly", "SameSite=Lax", "Secure"];
    assert_attributes(
        &start,
        &attempt,
        &[&secure[..], &["Path=/.doorward/callback", "Max-Age=600"]].concat(),
    );
    assert_attributes(
        &start,
        "__Host-doorward_browser",
        &[&secure[..], &["Path=/"]].concat(),
    );

    let page = browser.next(&start).await;
    let page = browser.next(&page).await;
    assert_eq!(location(&page), doorward.store_url(CART));
    for kind in ["jwt", "refresh", "activity"] {
        let name = format!("__Host-doorward_{kind}");
        assert_attributes(
            &page,
            &name,
            &[&secure[..], &["Path=/", "Max-Age=43200"]].concat(),
        );
    }
    let hint = [&secure[..], &["Path=/.doorward/logout", "Max-Age=43200"]].concat();
    assert_attributes(&page, "__Secure-doorward_id_token_hint", &hint);
    assert_attributes(
        &page,
        &attempt,
        &[&secure[..], &["Path=/.doorward/callback", "Max-Age=0"]].concat(),
    );
    assert_eq!(
        page.chain.iter().flat_map(|hop| &hop.refused).count(),
        0,
        "{page}"
    );
    let lines = page.head.all("set-cookie").join("\n");
    for secret in doorward.provider.secrets() {
        let payload = secret.split('.').nth(1).unwrap_or(&secret).to_owned();
        assert!(!lines.contains(&payload), "a token in clear: {secret}");
    }
    let page = browser.next(&page).await;
    assert_eq!(
        (page.status(), page.json()["target"].as_str()),
        (200, Some(CART)),
        "{page}"
    );
}

#[tokio::test]
async fn step_2_plain_localhost_drops_prefix_and_secure() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    let start = is_sent_to_log_in(&doorward, &mut browser).await;
    assert_attributes(
        &start,
        "doorward_browser",
        &["HttpOnly", "SameSite=Lax", "Path=/"],
    );
    let page = browser.next(&start).await;
    let page = browser.next(&page).await;
    for kind in ["jwt", "refresh", "activity"] {
        let expected = ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"];
        assert_attributes(&page, &format!("doorward_{kind}"), &expected);
    }
    assert_eq!(location(&page), doorward.store_url(CART));
}

#[tokio::test]
async fn step_3_valid_jwt_is_forwarded_with_identity_without_provider() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let before = calls(&doorward);
        for _ in 0..3 {
            let page = load(&doorward, &mut browser, "alice").await;
            assert_eq!(
                (page.json()["target"].as_str(), set(&page)),
                (Some(CART), Vec::new())
            );
        }
        let received = doorward.store.last();
        assert_eq!(
            received.header("x-forwarded-email"),
            Some("alice@example.com")
        );
        assert_eq!(
            received.header("x-forwarded-preferred-username"),
            Some("alice")
        );
        assert_eq!(received.header("x-forwarded-groups"), Some("customers"));
        assert_eq!(
            (received.header("cookie"), received.header("authorization")),
            (None, None)
        );
        assert_eq!(calls(&doorward), before);
        let secrets = doorward.provider.secrets();
        doorward
            .store
            .assert_never_saw(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn step_4_expired_jwt_is_refreshed_within_the_request() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let old = ["jwt", "refresh"].map(|kind| doorward.cookie(&browser, kind));
        doorward.advance_secs(300);
        let page = load(&doorward, &mut browser, "alice").await;
        assert!(sets_session(&page), "{page}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        for (kind, old) in ["jwt", "refresh"].into_iter().zip(old) {
            assert!(
                doorward
                    .cookie(&browser, kind)
                    .is_some_and(|new| Some(new) != old),
                "{kind}: {page}"
            );
        }
        assert_eq!((refreshes(&doorward), exchanges(&doorward)), (1, 1));
        load(&doorward, &mut browser, "alice").await;
        assert_eq!(refreshes(&doorward), 1);
        doorward.provider.assert_no_dead_refresh_token_was_sent();
    }
}

#[tokio::test]
async fn step_5_navigation_without_refresh_token_logs_in_again() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.end_grants_of("alice-id");
    doorward.advance_secs(300);
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!(
        (page.status(), page.json()["target"].as_str()),
        (200, Some(CART)),
        "{page}"
    );
    assert_eq!(
        page.hosts(),
        ["store.localhost", "login.localhost", "store.localhost"]
    );
    assert_eq!((refreshes(&doorward), exchanges(&doorward)), (1, 2));
}

#[tokio::test]
async fn step_5_fetch_without_refresh_token_gets_401_with_login_url() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.provider.end_grants_of("alice-id");
    doorward.advance_secs(300);
    let cart = doorward.store_url(CART);
    let from = url::Url::parse(&cart).expect("an URL");
    let script = RequestSpec::new(Kind::Fetch, &doorward.store_url("/api/cart")).from(&from);
    let old_script = RequestSpec::new(Kind::Program, &doorward.store_url("/api/cart"))
        .header("X-Requested-With", "XMLHttpRequest")
        .header("Referer", &cart);
    for request in [script.clone(), script, old_script] {
        let page = browser.send(request).await;
        assert_eq!(page.status(), 401, "{page}");
        assert_eq!(
            page.header("content-type"),
            Some("application/problem+json")
        );
        assert!(page.header("www-authenticate").is_some() && page.header("location").is_none());
        assert_eq!(set(&page), Vec::<String>::new(), "{page}");
        let login = page.json()["login_url"]
            .as_str()
            .expect("a login URL")
            .to_owned();
        assert!(
            login.starts_with(&doorward.store_url("/.doorward/login?")),
            "{login}"
        );
        assert_eq!(parameter(&login, "return_to").as_deref(), Some(CART));
    }
    let visits = doorward.provider.calls(Endpoint::Authorize);
    assert_eq!(
        (visits, refreshes(&doorward)),
        (1, 1),
        "a script must not cause a login or refreshes in vain"
    );
}

#[tokio::test]
async fn step_6_login_at_forum_shows_no_form_and_has_own_cookies() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        let mut browser = doorward.logged_in("alice", CART).await;
        let page = browser.visit(&doorward.forum_url("/posts?page=2")).await;
        assert_eq!(
            (page.status(), shown(&page).as_deref()),
            (200, Some("alice-id")),
            "{page}"
        );
        assert_eq!(doorward.provider.forms_shown(), 0);
        let jar = &browser.jar;
        for kind in ["jwt", "refresh"] {
            let name = doorward.cookie_name(kind);
            let store = jar.get(doorward.store_host(), &name).expect("the store's");
            let forum = jar.get(doorward.forum_host(), &name).expect("the forum's");
            assert!(
                store.host_only && forum.host_only && store.value != forum.value,
                "{kind}"
            );
        }
        let ids = doorward.provider.visits(Endpoint::Authorize);
        let ids: Vec<_> = ids
            .iter()
            .filter_map(|visit| visit.parameter("client_id"))
            .collect();
        assert_eq!(ids, ["store", "forum"]);
    }
}

#[tokio::test]
async fn step_7_callback_redirects_to_requested_posts() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let start = browser.step(&doorward.forum_url("/posts?page=2")).await;
    let page = browser.next(&start).await;
    let page = browser.next(&page).await;
    assert_eq!(
        location(&page),
        doorward.forum_url("/posts?page=2"),
        "{page}"
    );
}

#[tokio::test]
async fn step_8_loading_posts_needs_no_provider() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    browser.visit(&doorward.forum_url("/posts")).await;
    let before = calls(&doorward);
    let page = browser.step(&doorward.forum_url("/posts")).await;
    assert_eq!(
        (page.status(), shown(&page).as_deref()),
        (200, Some("alice-id")),
        "{page}"
    );
    assert_eq!(calls(&doorward), before);
    assert_eq!(doorward.forum.last().header("cookie"), None);
}

/// Asserts that the response sets `name` once, with exactly these attributes.
fn assert_attributes(page: &Page, name: &str, expected: &[&str]) {
    let lines: Vec<&str> = page.head.all("set-cookie");
    let ours: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.starts_with(&format!("{name}=")))
        .collect();
    let [line] = ours.as_slice() else {
        panic!("{name} must be set once: {lines:#?}")
    };
    let mut attributes: Vec<&str> = line.split("; ").skip(1).collect();
    let mut expected = expected.to_vec();
    attributes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(attributes, expected, "{line}");
}
