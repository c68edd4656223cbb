//! User switch in one browser: the app's cookies of the first user are not sent for the second.

use super::{CART, expired, location, set};
use crate::support::assertions::metric_reaches;
use crate::support::backend::{Answer, Received};
use crate::support::browser::{Browser, Page};
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;

const COOKIES: &str = r#"app_cookies = [{ name = "SHOPSESSID" }, { name = "cart", path = "/", domain = "example.test" }]"#;
const LOGOUT: &str = "app_logout_path = \"/account/logout?now=1\"";

/// An app that sets its own session cookies, for its host and for the whole site.
fn with_app_session(setup: Setup) -> Doorward {
    let doorward = setup.start();
    let response = Answer::default()
        .with_header("Set-Cookie", "SHOPSESSID=alices; Path=/; HttpOnly")
        .with_header(
            "Set-Cookie",
            "cart=alices; Path=/; Domain=example.test; Max-Age=864000",
        );
    doorward.store.response("/shopping-cart", response);
    doorward
}

fn keeps_app_session(doorward: &Doorward, browser: &Browser) -> bool {
    let has = |name| browser.jar.get(doorward.store_host(), name).is_some();
    assert_eq!(
        has("SHOPSESSID"),
        has("cart"),
        "one of the two was forgotten"
    );
    has("cart")
}

async fn log_out(doorward: &Doorward, browser: &mut Browser) -> Page {
    let form = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    browser.send(form.filled(&[])).await
}

/// The requests that Doorward itself sent to the app.
fn farewells(doorward: &Doorward) -> Vec<Received> {
    let logouts = doorward.store.received().into_iter();
    logouts
        .filter(|request| request.target.starts_with("/account/logout"))
        .collect()
}

fn counted(outcome: &str) -> String {
    format!(r#"doorward_app_logouts_total{{app="store",outcome="{outcome}"}}"#)
}

/// Asserts that no request for bob carries a cookie that the app set for alice.
fn assert_bob_is_not_taken_for_alice(doorward: &Doorward) {
    let of_bob = doorward
        .store
        .received()
        .into_iter()
        .filter(|one| one.header("x-forwarded-user") == Some("bob-id"));
    let mut seen = 0;
    for request in of_bob {
        assert!(
            !request
                .header("cookie")
                .unwrap_or_default()
                .contains("alices"),
            "{request:?}"
        );
        seen += 1;
    }
    assert!(seen > 0, "bob was never here");
}

#[tokio::test]
async fn app_cookies_are_cleared_at_logout_only() {
    let doorward = with_app_session(Setup::over_tls().store(COOKIES));
    let mut browser = doorward.logged_in("alice", CART).await;
    browser.visit(&doorward.forum_url("/posts")).await;
    browser
        .jar
        .plant(Cookie::host_only(doorward.store_host(), "theme", "dark"));
    assert!(keeps_app_session(&doorward, &browser));
    let page = log_out(&doorward, &mut browser).await;
    assert_eq!(page.status(), 303, "{page}");
    assert!(!keeps_app_session(&doorward, &browser), "{page}");
    assert_eq!(page.header("clear-site-data"), None);
    assert!(browser.jar.get(doorward.store_host(), "theme").is_some());
    assert_eq!(
        browser.step(&doorward.forum_url("/posts")).await.status(),
        200,
        "the sibling's session is left alone"
    );
    assert_eq!(
        page.chain.iter().flat_map(|hop| &hop.refused).count(),
        0,
        "{page}"
    );
}

#[tokio::test]
async fn expired_session_leaves_no_app_cookies_to_next_user() {
    let end: [fn(&Doorward, &mut Browser); 3] = [
        |doorward, _| doorward.advance_secs(31 * 60),
        // The browser was closed overnight: only persistent cookies are left.
        |doorward, browser| {
            doorward.advance_secs(13 * 60 * 60);
            browser.jar.remove_session_cookies();
            browser.jar.plant(Cookie::host_only(
                doorward.store_host(),
                "SHOPSESSID",
                "alices",
            ));
        },
        |doorward, browser| {
            let is_ours = |cookie: &Cookie| {
                ["_jwt", "_refresh", "_activity"]
                    .iter()
                    .any(|end| cookie.name.ends_with(end))
            };
            browser.jar.remove(doorward.store_host(), is_ours);
        },
    ];
    for end in end {
        let doorward = with_app_session(Setup::over_tls().store(COOKIES));
        let mut browser = doorward.logged_in("alice", CART).await;
        end(&doorward, &mut browser);
        doorward.store.respond_to_all(Answer::default());
        doorward.sign_in("bob");
        let page = browser.visit(&doorward.store_url("/orders")).await;
        assert_eq!(page.status(), 200, "{page}");
        assert!(!keeps_app_session(&doorward, &browser), "{page}");
        assert_bob_is_not_taken_for_alice(&doorward);
    }
}

#[tokio::test]
async fn user_switch_clears_app_cookies() {
    let doorward = with_app_session(Setup::over_tls().store(COOKIES));
    let mut browser = doorward.browser();
    let old_tab = browser.step(&doorward.store_url("/orders")).await;
    doorward.sign_in("alice");
    browser.visit(&doorward.store_url(CART)).await;
    assert!(keeps_app_session(&doorward, &browser));
    doorward.sign_in("bob");
    let at_provider = browser.next(&old_tab).await;
    let page = browser.visit(location(&at_provider)).await;
    assert_eq!(page.status(), 200, "{page}");
    assert!(!keeps_app_session(&doorward, &browser));
    assert_bob_is_not_taken_for_alice(&doorward);
}

#[tokio::test]
async fn same_user_and_new_login_keep_app_cookies() {
    let doorward = with_app_session(Setup::over_tls().store(COOKIES));
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(31 * 60);
    assert_eq!(
        browser.visit(&doorward.store_url("/orders")).await.status(),
        200
    );
    assert!(keeps_app_session(&doorward, &browser), "the same person");

    log_out(&doorward, &mut browser).await;
    for name in ["SHOPSESSID", "cart"] {
        browser
            .jar
            .plant(Cookie::host_only(doorward.store_host(), name, "guests"));
    }
    doorward.sign_in("bob");
    assert_eq!(
        browser.visit(&doorward.store_url("/orders")).await.status(),
        200
    );
    assert!(
        keeps_app_session(&doorward, &browser),
        "who logged out has left nothing: this is the guest's own"
    );

    let mut stranger = doorward.browser();
    for name in ["SHOPSESSID", "cart"] {
        stranger
            .jar
            .plant(Cookie::host_only(doorward.store_host(), name, "guests"));
    }
    assert_eq!(
        stranger
            .visit(&doorward.store_url("/orders"))
            .await
            .status(),
        200
    );
    assert!(
        keeps_app_session(&doorward, &stranger),
        "nobody was here before"
    );
}

#[tokio::test]
async fn app_without_settings_stores_no_last_user() {
    let doorward = with_app_session(Setup::over_tls());
    let mut browser = doorward.logged_in("alice", CART).await;
    let page = log_out(&doorward, &mut browser).await;
    assert!(keeps_app_session(&doorward, &browser));
    assert!(
        !expired(&page).iter().any(|name| name.ends_with("_person")),
        "{page}"
    );
    let ours = browser
        .jar
        .of(doorward.store_host())
        .iter()
        .filter(|one| one.name.contains("_person"))
        .count();
    assert_eq!(ours, 0);
}

#[tokio::test]
async fn app_logout_sends_app_cookies_without_identity() {
    for (method, expected) in [("GET", "GET"), ("POST", "POST")] {
        let lines = format!("{LOGOUT}\napp_logout_method = \"{method}\"");
        let doorward = with_app_session(Setup::over_tls().store(&lines));
        let response = Answer {
            status: 302,
            ..Answer::default()
        }
        .with_header("Location", "https://elsewhere.test/")
        .with_header("Set-Cookie", "SHOPSESSID=; Path=/; Max-Age=0")
        .with_header(
            "Set-Cookie",
            "cart=; Path=/; Domain=example.test; Max-Age=0",
        )
        .with_header("Set-Cookie", "__Host-doorward_jwt=forged; Path=/; Secure");
        doorward.store.response("/account/logout", response);
        let mut browser = doorward.logged_in("alice", CART).await;
        let ours: Vec<String> = ["jwt", "refresh", "activity", "browser", "last_user"]
            .iter()
            .map(|kind| {
                browser
                    .jar
                    .get(doorward.store_host(), &doorward.cookie_name(kind))
                    .expect("ours")
                    .value
                    .clone()
            })
            .collect();
        let page = log_out(&doorward, &mut browser).await;
        assert_eq!(page.status(), 303, "{page}");
        assert!(
            location(&page).starts_with(doorward.provider.issuer()),
            "{page}"
        );
        assert!(set(&page).is_empty(), "{page}");
        assert!(
            !keeps_app_session(&doorward, &browser),
            "the app's own answer takes its cookies away"
        );
        let told = farewells(&doorward);
        let [told] = told.as_slice() else {
            panic!("told once: {told:?}")
        };
        assert_eq!(
            (told.method.as_str(), told.target.as_str()),
            (expected, "/account/logout?now=1")
        );
        let mut cookies: Vec<&str> = told
            .header("cookie")
            .expect("cookies")
            .split("; ")
            .collect();
        cookies.sort_unstable();
        assert_eq!(cookies, ["SHOPSESSID=alices", "cart=alices"]);
        for name in [
            "x-forwarded-user",
            "x-forwarded-email",
            "authorization",
            "x-forwarded-groups",
        ] {
            assert_eq!(told.header(name), None, "{name}");
        }
        assert_eq!(told.header("x-forwarded-host"), Some("store.example.test"));
        let from = (expected == "POST").then_some("https://store.example.test");
        assert_eq!((told.header("origin"), told.body.len()), (from, 0));
        doorward
            .store
            .assert_never_saw(&ours.iter().map(String::as_str).collect::<Vec<_>>());
        metric_reaches(&doorward, &counted("logged_out"), 1.0).await;
    }
}

#[tokio::test]
async fn app_logout_precedes_login_of_other_user() {
    let doorward = with_app_session(Setup::over_tls().store(LOGOUT));
    let mut browser = doorward.logged_in("alice", CART).await;
    doorward.advance_secs(31 * 60);
    doorward.sign_in("bob");
    assert_eq!(
        browser.visit(&doorward.store_url("/orders")).await.status(),
        200
    );
    let told = farewells(&doorward);
    assert_eq!(told.len(), 1);
    assert!(
        told[0]
            .header("cookie")
            .is_some_and(|cookies| cookies.contains("SHOPSESSID=alices"))
    );
    let order: Vec<String> = doorward
        .store
        .received()
        .into_iter()
        .map(|one| one.target)
        .collect();
    assert_eq!(
        order
            .iter()
            .rposition(|target| target.starts_with("/account")),
        Some(order.len() - 2),
        "{order:?}"
    );
}

#[tokio::test]
async fn failing_app_logout_does_not_block_logout() {
    type Break = fn(&mut Doorward);
    let cases: [(Break, &str); 4] = [
        (|doorward| doorward.store.stop(), "upstream_connect_refused"),
        (
            |doorward| {
                doorward.store.response(
                    "/account/logout",
                    Answer {
                        status: 403,
                        ..Answer::default()
                    },
                )
            },
            "refused",
        ),
        (
            |doorward| {
                doorward.store.response(
                    "/account/logout",
                    Answer {
                        status: 500,
                        ..Answer::default()
                    },
                )
            },
            "refused",
        ),
        (
            |doorward| {
                let never = Answer {
                    gate: Some(Gate::default()),
                    ..Answer::default()
                };
                doorward.store.response("/account/logout", never);
            },
            "timed_out",
        ),
    ];
    for (break_it, outcome) in cases {
        let mut doorward =
            with_app_session(Setup::over_tls().store(&format!("{COOKIES}\n{LOGOUT}")));
        let mut browser = doorward.logged_in("alice", CART).await;
        break_it(&mut doorward);
        let page = log_out(&doorward, &mut browser).await;
        assert_eq!(page.status(), 303, "{outcome}: {page}");
        assert!(!keeps_app_session(&doorward, &browser), "{outcome}");
        assert!(doorward.cookie(&browser, "jwt").is_none(), "{outcome}");
        metric_reaches(&doorward, &counted(outcome), 1.0).await;
    }
}

#[tokio::test]
async fn app_logout_is_skipped_without_app_cookie() {
    let doorward = Setup::over_tls().store(LOGOUT).start();
    let mut browser = doorward.logged_in("alice", CART).await;
    log_out(&doorward, &mut browser).await;
    assert!(farewells(&doorward).is_empty());
    metric_reaches(&doorward, &counted("no_app_session"), 1.0).await;
}
