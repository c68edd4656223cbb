//! Replay of a preserved POST after the login: confirmation, ownership, target, failures.

use super::preserved_posts::{
    BODY, ORDERS, TWENTY_MINUTES, asked_to_send, form, idle_alice, load_cart, outcome, received,
};
use super::{CART, load};
use crate::support::assertions::{assert_error_page, assert_login_starts, metric_reaches};
use crate::support::backend::{Answer, Cut};
use crate::support::browser::RequestSpec;
use crate::support::doorward::Setup;

#[tokio::test]
async fn post_is_not_replayed_as_another_user() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    doorward.sign_in("bob");
    let page = browser.send(form(&doorward, ORDERS).following()).await;
    assert_error_page(&page, 403, "post_of_another_user");
    assert!(page.words().contains("another user"), "{page}");
    // The post is deleted, for alice as well.
    doorward.advance_secs(31 * 60 - 1500);
    let logout = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    browser.submit(&logout, &[]).await;
    doorward.sign_in("alice");
    load_cart(&doorward, &mut browser).await;
    assert_error_page(
        &browser.step(page.url.as_str()).await,
        404,
        "no_preserved_post",
    );
    assert!(received(&doorward).is_empty());
    metric_reaches(&doorward, &outcome("user_switched"), 1.0).await;
}

#[tokio::test]
async fn confirmation_shows_time_and_former_user() {
    let doorward = Setup::over_tls().start();
    let mut stranger = doorward.browser();
    doorward.sign_in("bob");
    let page = asked_to_send(&doorward, &mut stranger).await;
    for (secs, ago) in [
        (0, "less than a minute ago"),
        (60, "1 minute ago"),
        (660, "12 minutes ago"),
    ] {
        doorward.advance_secs(secs);
        let words = stranger.step(page.url.as_str()).await.words();
        for part in [
            ago,
            "before anyone was signed in",
            "only if you filled it in yourself",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
    let words = asked_to_send(&doorward, &mut idle_alice(&doorward).await)
        .await
        .words();
    assert!(
        words.contains("Your session had expired when you sent the form less than a minute ago"),
        "{words}"
    );
    assert!(!words.contains("before anyone"), "{words}");
}

#[tokio::test]
async fn app_post_resembling_a_replay_reaches_the_app() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    for body in [
        "x".repeat(36),
        format!("doorward-form={}", "%".repeat(22)),
        format!("comment={}", "y".repeat(28)),
    ] {
        assert_eq!(body.len(), 36);
        let response = browser
            .send(RequestSpec {
                body: body.clone().into_bytes(),
                ..form(&doorward, ORDERS)
            })
            .await;
        assert_eq!(response.status(), 200, "{response}");
        assert_eq!(received(&doorward).pop().expect("it").body, body.as_bytes());
    }
    // A replay of an unknown post does not reach the app.
    let call = RequestSpec {
        body: b"doorward-form=AbCdEfGhIjKlMnOpQrSt-_".to_vec(),
        ..form(&doorward, ORDERS)
    };
    assert_error_page(&browser.send(call).await, 404, "no_preserved_post");
    assert_eq!(received(&doorward).len(), 3);
}

#[tokio::test]
async fn replay_goes_to_its_target_under_its_rules() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = browser
        .send(form(&doorward, "/admin/users").following())
        .await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "{page}"
    );
    let call = page.filled(&[]);
    for path in [ORDERS, "/orders", "/public/x"] {
        let elsewhere = RequestSpec {
            url: doorward.store_url(path).parse().expect("an URL"),
            ..call.clone()
        };
        assert_error_page(&browser.send(elsewhere).await, 404, "no_preserved_post");
    }
    assert_error_page(&browser.send(call).await, 403, "forbidden");
    assert!(received(&doorward).is_empty());
}

#[tokio::test]
async fn session_ending_before_confirmation_keeps_the_post() {
    let doorward = Setup::over_tls().session("idle_timeout = \"5m\"").start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser).await;
    doorward.advance_secs(6 * 60);
    let page = browser.submit(&page, &[]).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "asked once more: {page}"
    );
    doorward.advance_secs(6 * 60);
    let start = browser.step(page.url.as_str()).await;
    assert_login_starts(&doorward, &start);
    let page = browser.visit(page.url.as_str()).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "{page}"
    );
    browser.submit(&page, &[]).await;
    assert_eq!(
        received(&doorward)
            .iter()
            .map(|one| one.body.as_slice())
            .collect::<Vec<_>>(),
        [BODY]
    );
}

#[tokio::test]
async fn post_waits_for_slow_login_until_its_timeout() {
    for (secs, waits) in [(TWENTY_MINUTES, true), (TWENTY_MINUTES + 301, false)] {
        let doorward = Setup::over_tls().start();
        let mut browser = idle_alice(&doorward).await;
        let page = asked_to_send(&doorward, &mut browser).await;
        doorward.advance_secs(secs);
        load(&doorward, &mut browser, "alice").await;
        let status = browser.step(page.url.as_str()).await.status();
        assert_eq!(
            status,
            if waits { 200 } else { 404 },
            "after {secs} seconds"
        );
    }
}

#[tokio::test]
async fn failed_login_returns_to_the_post() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    doorward
        .provider
        .behave(|provider| provider.authorize_error = Some("access_denied"));
    let page = browser.send(form(&doorward, ORDERS).following()).await;
    assert_error_page(&page, 403, "declined_by_provider");
    doorward
        .provider
        .behave(|provider| provider.authorize_error = None);
    let (login, _) = page
        .links()
        .into_iter()
        .find(|(target, _)| target.contains("/login"))
        .expect("a link");
    let page = browser.click(&page, &login).await;
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/form"),
        "{page}"
    );
    browser.submit(&page, &[]).await;
    assert_eq!(received(&doorward).len(), 1);
}

#[tokio::test]
async fn replay_to_unavailable_app_can_be_repeated() {
    let mut doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser).await;
    let room = doorward.metric("doorward_preserved_post_bytes").await;
    doorward.store.stop();
    for count in [1.0, 2.0] {
        assert_error_page(
            &browser.send(page.filled(&[])).await,
            502,
            "upstream_connect_refused",
        );
        metric_reaches(&doorward, &outcome("returned"), count).await;
        assert_eq!(
            doorward.metric("doorward_preserved_post_bytes").await,
            room,
            "it waits as before"
        );
    }
    doorward.store.restart();
    assert_eq!(browser.send(page.filled(&[])).await.status(), 200);
    assert_eq!(
        received(&doorward)
            .iter()
            .map(|one| one.body.as_slice())
            .collect::<Vec<_>>(),
        [BODY]
    );
    assert_error_page(
        &browser.send(page.filled(&[])).await,
        404,
        "no_preserved_post",
    );
    metric_reaches(&doorward, &outcome("sent"), 1.0).await;
    metric_reaches(&doorward, "doorward_preserved_posts", 0.0).await;
}

#[tokio::test]
async fn post_without_response_is_not_counted_as_replayed() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser).await;
    doorward.store.response(
        "/orders",
        Answer {
            cut: Some(Cut::BeforeHead),
            ..Answer::default()
        },
    );
    assert_eq!(browser.send(page.filled(&[])).await.status(), 502);
    metric_reaches(&doorward, &outcome("unanswered"), 1.0).await;
    metric_reaches(&doorward, "doorward_preserved_posts", 0.0).await;
    assert_eq!(doorward.metric(&outcome("sent")).await, 0.0);
}

#[tokio::test]
async fn app_response_to_replay_is_passed_on() {
    let doorward = Setup::over_tls().start();
    let mut browser = idle_alice(&doorward).await;
    let page = asked_to_send(&doorward, &mut browser).await;
    let response = Answer {
        status: 303,
        ..Answer::default()
    }
    .with_header("Location", "/orders/17")
    .with_header("Set-Cookie", "flash=thanks; Path=/");
    doorward.store.response("/orders", response);
    let sent = browser.submit(&page, &[]).await;
    assert_eq!(
        (sent.status(), sent.url.path()),
        (200, "/orders/17"),
        "{sent}"
    );
    assert!(browser.jar.get(doorward.store_host(), "flash").is_some());
}
