//! Login loop detection: at most three logins, then an error page that names the cause. Frequent
//! legitimate logins are not affected.

use serde_json::json;

use super::{CART, is_sent_to_log_in, load, location, sets_session};
use crate::support::assertions::{assert_error_page, metric_reaches};
use crate::support::backend::Answer;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, RefreshRefusal, User};

/// Removes cookies from the browser, as an intermediary or the browser itself would.
type Loss = fn(&Doorward, &mut Browser);

const SESSION: [&str; 3] = ["_jwt", "_refresh", "_activity"];

fn loses_session(doorward: &Doorward, browser: &mut Browser) {
    browser.jar.remove(doorward.store_host(), |cookie| {
        SESSION.iter().any(|end| cookie.name.ends_with(end))
    });
}

/// Follows redirects until a page is received and calls `lose` before each request. `header` is
/// sent with each request to the store.
async fn follow_redirects(
    doorward: &Doorward,
    browser: &mut Browser,
    path: &str,
    lose: impl Fn(&Doorward, &mut Browser),
    header: Option<(&str, &str)>,
) -> Page {
    let mut url = doorward.store_url(path);
    for _ in 0..20 {
        lose(doorward, browser);
        let mut request = RequestSpec::new(Kind::Navigation, &url);
        if let Some((name, value)) = header.filter(|_| url.starts_with(&doorward.site().store)) {
            request = request.header(name, value);
        }
        let page = browser.send(request).await;
        match page.header("location") {
            Some(location) => url = page.resolve(location).to_string(),
            None => return page,
        }
    }
    panic!("redirected in circles, at {url}");
}

/// Asserts that page, access log and metric agree, and counts the provider's logins.
async fn ends_with(doorward: &Doorward, page: &Page, (status, code): (u16, &str), logins: usize) {
    let reference = assert_error_page(page, status, code);
    assert_eq!(
        doorward.log.line(page.url.path(), code).await["request_id"],
        reference.as_str()
    );
    metric_reaches(
        doorward,
        &format!(r#"doorward_logins_total{{app="store",outcome="{code}",provider="login"}}"#),
        1.0,
    )
    .await;
    assert_eq!(
        doorward.provider.calls(Endpoint::Authorize),
        logins,
        "{page}"
    );
}

#[tokio::test]
async fn third_login_without_returned_session_is_stopped() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        doorward.sign_in("alice");
        let mut browser = doorward.browser();
        let page = follow_redirects(&doorward, &mut browser, CART, loses_session, None).await;
        ends_with(&doorward, &page, (400, "login_loop_cookie_not_returned"), 2).await;
        assert_eq!(doorward.store.count(), 0);
        // With cookies allowed, the link on the page leads to a successful login.
        let (login, _) = page
            .links()
            .into_iter()
            .find(|(target, _)| target.contains("/login"))
            .expect("a link");
        assert_eq!(browser.click(&page, &login).await.status(), 200);
        load(&doorward, &mut browser, "alice").await;
    }
}

#[tokio::test]
async fn oversized_session_cookie_is_named_as_cause() {
    let chunk: Loss = |doorward, browser| {
        let name = format!("{}.1", doorward.cookie_name("jwt"));
        browser
            .jar
            .remove(doorward.store_host(), |cookie| cookie.name == name);
    };
    for lose in [loses_session as Loss, chunk] {
        let doorward = Setup::over_tls().start();
        doorward
            .provider
            .behave(|provider| provider.grants_refresh_token = false);
        doorward
            .provider
            .sign_in(User::new("alice", &[]).with_claim("portrait", json!("x".repeat(3_500))));
        let page = follow_redirects(&doorward, &mut doorward.browser(), CART, lose, None).await;
        ends_with(&doorward, &page, (500, "login_loop_too_large"), 2).await;
    }
}

#[tokio::test]
async fn wrong_address_is_named_with_the_right_one() {
    let everything: Loss = |doorward, browser| browser.jar.remove(doorward.store_host(), |_| true);
    for (header, code) in [
        (
            ("X-Forwarded-Host", "shop.example.test"),
            "login_loop_wrong_host",
        ),
        (("X-Forwarded-Proto", "http"), "login_loop_secure_over_http"),
    ] {
        for lose in [loses_session as Loss, everything] {
            let doorward = Setup::over_tls().start();
            doorward.sign_in("alice");
            let page =
                follow_redirects(&doorward, &mut doorward.browser(), CART, lose, Some(header))
                    .await;
            ends_with(&doorward, &page, (400, code), 2).await;
            assert!(
                page.words()
                    .contains("own address is https://store.example.test."),
                "{page}"
            );
            assert!(
                !page.text().contains("shop.example.test"),
                "nobody else's words on our page: {page}"
            );
        }
    }
}

/// An intermediary exposes the store under two hosts and redirects everything except the callback
/// between them, so pages and callback have separate cookies.
#[tokio::test]
async fn callback_host_mismatch_is_named() {
    let nothing: Loss = |_, _| {};
    for (lose, code) in [
        (nothing, "login_loop_wrong_host"),
        (loses_session, "login_loop_cookie_not_returned"),
    ] {
        let doorward = Setup::over_tls().start();
        doorward.sign_in("alice");
        let (mut pages, mut callbacks) = (doorward.browser(), doorward.browser());
        let callback = doorward.store_url("/.doorward/callback");
        let mut url = doorward.store_url(CART);
        let mut redirects = 0;
        let page = loop {
            lose(&doorward, &mut callbacks);
            let browser = if url.starts_with(&callback) {
                &mut callbacks
            } else {
                &mut pages
            };
            let page = browser.step(&url).await;
            match page.header("location") {
                Some(location) => url = location.to_owned(),
                None => break page,
            }
            redirects += 1;
            assert!(redirects < 20, "more than a browser follows: {page}");
        };
        let reference = assert_error_page(&page, 400, code);
        assert_eq!(
            doorward.log.line(page.url.path(), code).await["request_id"],
            reference.as_str()
        );
    }
}

#[tokio::test]
async fn session_expired_on_first_use_names_the_clock() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(|provider| {
        provider.grants_refresh_token = false;
        provider.token_lifetime = std::time::Duration::from_secs(2);
    });
    doorward.sign_in("alice");
    let late: Loss = |doorward, _| doorward.advance_secs(1);
    let page = follow_redirects(&doorward, &mut doorward.browser(), CART, late, None).await;
    assert_eq!(page.status(), 200, "it lasts for one page: {page}");
    let later: Loss = |doorward, _| doorward.advance_secs(2);
    let page = follow_redirects(&doorward, &mut doorward.browser(), CART, later, None).await;
    let reference = assert_error_page(&page, 500, "login_loop_clock_skew");
    assert_eq!(
        doorward
            .log
            .line("/shopping-cart", "login_loop_clock_skew")
            .await["request_id"],
        reference.as_str()
    );
}

#[tokio::test]
async fn token_not_yet_valid_names_the_clock() {
    use crate::support::provider::Flaw;
    for (flaw, code) in [
        (Flaw::Expired, "token_expired"),
        (
            Flaw::Claim("nbf", json!(1_900_000_000)),
            "token_not_yet_valid",
        ),
        (
            Flaw::Claim("iat", json!(1_900_000_000)),
            "token_issued_in_future",
        ),
    ] {
        let doorward = Setup::plain().start();
        doorward.sign_in("alice");
        doorward
            .provider
            .behave(|provider| provider.id_token_flaws = vec![flaw]);
        let page = doorward.browser().visit(&doorward.store_url(CART)).await;
        ends_with(&doorward, &page, (502, code), 1).await;
        assert!(page.words().contains("A clock is wrong"), "{page}");
    }
}

#[tokio::test]
async fn undecryptable_session_names_key_mismatch() {
    let mut doorward = Setup::plain().start();
    let other = doorward.add_replica_with_keys(&["other.key"]);
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    // A complete login at one replica; the next page comes from the other and starts the next
    // login.
    for replica in [0, other, 0] {
        browser = doorward.moved_to(replica, browser);
        let start = browser.step(&doorward.store_url(CART)).await;
        if start.status() != 302 {
            assert_eq!(replica, 0);
            ends_with(&doorward, &start, (500, "login_loop_cookie_unreadable"), 2).await;
            return;
        }
        let at_provider = browser.next(&start).await;
        assert!(sets_session(&browser.next(&at_provider).await));
    }
    panic!("no page");
}

#[tokio::test]
async fn session_ended_by_provider_is_named() {
    let doorward = Setup::plain().start();
    doorward.provider.behave(|provider| {
        provider.token_lifetime = std::time::Duration::from_secs(2);
        provider.refresh_refusal = Some(RefreshRefusal {
            status: 400,
            error: Some("invalid_grant"),
        });
    });
    doorward.sign_in("alice");
    let late: Loss = |doorward, _| doorward.advance_secs(2);
    let page = follow_redirects(&doorward, &mut doorward.browser(), CART, late, None).await;
    ends_with(&doorward, &page, (403, "login_loop_session_ended"), 2).await;
}

#[tokio::test]
async fn app_redirect_loop_is_stopped() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let login = "/.doorward/login?return_to=/members";
    doorward.store.response(
        "/members",
        Answer {
            status: 302,
            ..Answer::default()
        }
        .with_header("Location", login),
    );
    let page = browser.visit(&doorward.store_url("/members")).await;
    ends_with(&doorward, &page, (403, "login_loop_not_allowed"), 1).await;
    assert!(
        page.links()
            .iter()
            .any(|(target, label)| target == "/.doorward/logout" && label == "Log out"),
        "{page}"
    );
    load(&doorward, &mut browser, "alice").await;
}

#[tokio::test]
async fn script_redirect_loop_is_stopped() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let login = doorward.store_url("/.doorward/login?return_to=/members");
    for _ in 0..4 {
        let page = browser.visit(&login).await;
        assert_eq!(
            (page.status(), page.url.path()),
            (200, "/members"),
            "{page}"
        );
        doorward.advance_secs(5);
    }
    assert_error_page(&browser.visit(&login).await, 403, "login_loop_not_allowed");
}

#[tokio::test]
async fn login_link_works_for_signed_in_user() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    for round in 0..12 {
        let page = browser
            .visit(&doorward.store_url("/.doorward/login?return_to=/account"))
            .await;
        assert_eq!(
            (page.status(), page.url.path()),
            (200, "/account"),
            "round {round}: {page}"
        );
        doorward.advance_secs(16);
    }
    let many: Vec<String> = (0..12).map(|number| format!("/page/{number}")).collect();
    for path in &many {
        let page = browser
            .visit(&doorward.store_url(&format!("/.doorward/login?return_to={path}")))
            .await;
        assert_eq!(
            (page.status(), page.url.path()),
            (200, path.as_str()),
            "{page}"
        );
    }
}

#[tokio::test]
async fn frequent_logins_with_returned_sessions_are_allowed() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.browser();
    for round in 0..6 {
        doorward.sign_in("alice");
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "round {round}: {page}");
        if round % 2 == 0 {
            let form = browser
                .visit(&doorward.store_url("/.doorward/logout"))
                .await;
            browser.submit(&form, &[]).await;
        } else {
            loses_session(&doorward, &mut browser);
        }
        doorward.advance_secs(1);
    }
    doorward.provider.behave(|provider| {
        provider.grants_refresh_token = false;
        provider.token_lifetime = std::time::Duration::from_secs(5);
    });
    doorward.sign_in("alice");
    for round in 0..6 {
        let page = browser.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "a short life, round {round}: {page}");
        doorward.advance_secs(5);
    }
}

#[tokio::test]
async fn slow_login_form_does_not_reset_the_loop_count() {
    let doorward = Setup::plain().start();
    let mut browser = doorward.browser();
    for round in 0..2 {
        doorward.provider.sign_out();
        let start = is_sent_to_log_in(&doorward, &mut browser).await;
        assert_eq!(browser.next(&start).await.status(), 200, "the form");
        doorward.advance_secs(300);
        doorward.sign_in("alice");
        let at_provider = browser.next(&start).await;
        let page = browser.step(location(&at_provider)).await;
        assert!(sets_session(&page), "round {round}: {page}");
        loses_session(&doorward, &mut browser);
    }
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_error_page(&page, 400, "login_loop_cookie_not_returned");
}

#[tokio::test]
async fn loop_count_resets_with_first_page() {
    let doorward = Setup::over_tls().start();
    let mut browser = doorward.logged_in("alice", CART).await;
    let rounds = |browser: &Browser| {
        browser
            .jar
            .get(doorward.store_host(), "__Host-doorward_login_loop")
            .cloned()
    };
    assert_eq!(rounds(&browser), None);
    loses_session(&doorward, &mut browser);
    let start = is_sent_to_log_in(&doorward, &mut browser).await;
    let at_provider = browser.next(&start).await;
    browser.next(&at_provider).await;
    let counted = rounds(&browser).expect("a count");
    assert_eq!(
        counted.expires,
        Some(doorward.now().plus(std::time::Duration::from_secs(60)))
    );
    for junk in [
        "",
        "login",
        "login.99999.1",
        "login.-1.1",
        "back.1",
        "\u{1F9C1}",
        "login.2.1; x",
    ] {
        let mut spoilt = browser.clone();
        loses_session(&doorward, &mut spoilt);
        spoilt
            .jar
            .tamper(doorward.store_host(), "__Host-doorward_login_loop", |_| {
                junk.to_owned()
            });
        let page = spoilt.visit(&doorward.store_url(CART)).await;
        assert!(
            page.status() == 200 || junk.contains("login.2"),
            "{junk}: {page}"
        );
    }
}
