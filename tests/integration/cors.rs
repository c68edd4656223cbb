//! CORS on Doorward's own responses, and preflight requests of protected paths.

use crate::decisions::check::{Check, Dialect, cookies, decided_by};
use crate::support::assertions::{CART, alice, assert_problem};
use crate::support::backend::Answer;
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const SPA: &str = "https://spa.example.test";

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/internal/**"]
allow = "deny"

[[apps.store.rules]]
paths = ["/orders/**"]
methods = ["DELETE"]
allow = "deny"
"#;

fn setup() -> Setup {
    let cors = format!("cors_origins = [\"{SPA}\"]\ncors_credentials = true");
    Setup::plain().store(&cors).store_rules(RULES)
}

/// A script's request with this `Origin`.
fn script(doorward: &Doorward, path: &str, origin: &str) -> RequestSpec {
    RequestSpec::new(Kind::Program, &doorward.store_url(path)).header("Origin", origin)
}

fn preflight(doorward: &Doorward, path: &str, origin: &str, method: &str) -> RequestSpec {
    script(doorward, path, origin)
        .method("OPTIONS")
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", "authorization,x-csrf")
}

fn allowed_origin(page: &Page) -> Option<&str> {
    page.header("access-control-allow-origin")
}

fn varies_by_origin(page: &Page) -> bool {
    page.head
        .all("vary")
        .iter()
        .any(|field| field.split(',').any(|name| name.trim() == "Origin"))
}

#[tokio::test]
async fn script_of_a_listed_origin_can_read_the_401() {
    let doorward = setup().start();
    for path in [CART, "/.doorward/session"] {
        let page = doorward.browser().send(script(&doorward, path, SPA)).await;
        assert_problem(&page, 401, "no_session");
        assert_eq!(page.head.all("access-control-allow-origin"), [SPA]);
        assert_eq!(
            page.header("access-control-allow-credentials"),
            Some("true")
        );
        let exposed = page.header("access-control-expose-headers");
        assert!(exposed.is_some_and(|names| names.contains("WWW-Authenticate")));
        assert!(varies_by_origin(&page), "{page}");
    }
    let page = doorward.browser().send(script(&doorward, CART, SPA)).await;
    let problem = page.json();
    let login_url = problem["login_url"].as_str().unwrap_or_default();
    assert!(login_url.starts_with(&doorward.store_url("/.doorward/login")));
}

#[tokio::test]
async fn no_other_origin_is_reflected() {
    let doorward = setup().start();
    for origin in [
        "https://evil.example",
        "https://spa.example.test.evil.example",
        "http://spa.example.test",
        "https://SPA.example.test",
        "null",
        "*",
        "",
    ] {
        let page = doorward
            .browser()
            .send(script(&doorward, CART, origin))
            .await;
        assert_problem(&page, 401, "no_session");
        assert_eq!(allowed_origin(&page), None, "{origin}");
        assert!(varies_by_origin(&page), "{origin}");
    }
    let twice = script(&doorward, CART, SPA).header("Origin", SPA);
    let page = doorward.browser().send(twice).await;
    assert_eq!(allowed_origin(&page), None);

    let closed = Setup::plain().start();
    let page = closed.browser().send(script(&closed, CART, SPA)).await;
    assert!(allowed_origin(&page).is_none() && !varies_by_origin(&page));

    let without_cookies = format!("cors_origins = [\"{SPA}\"]");
    let doorward = Setup::plain().store(&without_cookies).start();
    let page = doorward.browser().send(script(&doorward, CART, SPA)).await;
    assert_eq!(allowed_origin(&page), Some(SPA));
    assert_eq!(page.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn responses_of_the_app_and_other_endpoints_stay_as_they_are() {
    let doorward = setup().start();
    let mut browser = alice(&doorward).await;
    for expected in [None, Some("https://its.own")] {
        if let Some(own) = expected {
            let response = Answer::default().with_header("access-control-allow-origin", own);
            doorward.store.respond_to_all(response);
        }
        let page = browser.send(script(&doorward, CART, SPA)).await;
        assert_eq!(page.status(), 200, "{page}");
        assert_eq!(allowed_origin(&page), expected);
    }
    for path in [
        "/.doorward/logout",
        "/.doorward/signed-out",
        "/.doorward/else",
    ] {
        let page = browser.send(script(&doorward, path, SPA)).await;
        assert_eq!(allowed_origin(&page), None, "{path}");
    }
}

#[tokio::test]
async fn preflight_is_answered_by_the_rules() {
    let doorward = setup().start();
    let before = doorward.store.count();
    for (path, origin, method, status) in [
        ("/orders/7", SPA, "PUT", 204),
        ("/orders/7", SPA, "DELETE", 403),
        ("/internal/x", SPA, "GET", 403),
        ("/orders/7", "https://evil.example", "PUT", 403),
        ("/orders/7", "null", "PUT", 403),
    ] {
        let request = preflight(&doorward, path, origin, method);
        let page = doorward.browser().send(request).await;
        assert_eq!(page.status(), status, "{path} {origin} {method}: {page}");
        let allowed = (origin == SPA).then_some(SPA);
        assert_eq!(allowed_origin(&page), allowed, "{path} {origin}");
        assert!(varies_by_origin(&page), "{page}");
        if status == 204 {
            for (name, value) in [
                ("access-control-allow-methods", "PUT"),
                ("access-control-allow-headers", "authorization, x-csrf"),
                ("access-control-allow-credentials", "true"),
            ] {
                assert_eq!(page.header(name), Some(value), "{page}");
            }
        }
    }
    assert_eq!(doorward.store.count(), before, "none reached the app");
    doorward.log.line("/orders/7", "origin_not_allowed").await;
    let line = doorward.log.line("/orders/7", "denied").await;
    assert_eq!(line["rule"], "3", "of DELETE: {line}");

    // The app answers those of public paths, and those of users.
    let public = preflight(&doorward, "/public/x", "https://evil.example", "PUT");
    assert_eq!(doorward.browser().send(public).await.status(), 200);
    let mut browser = alice(&doorward).await;
    let page = browser
        .send(preflight(&doorward, "/orders/7", SPA, "PUT"))
        .await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn other_proxy_passes_headers_on_and_permits_no_preflight() {
    let doorward = decided_by(setup()).start();
    let browser = alice(&doorward).await;
    for (dialect, refused) in [
        (Dialect::AuthRequest, 401),
        (Dialect::ForwardAuth, 404),
        (Dialect::ExtAuthz, 404),
    ] {
        let check = || Check::new(dialect, "/orders/7").header("Origin", SPA);
        let script = check().request(&doorward).await;
        assert_eq!(script.status(), 401, "{dialect:?}");
        let allowed = |reply: &crate::support::assertions::Reply| {
            reply
                .head
                .header("access-control-allow-origin")
                .map(str::to_owned)
        };
        assert_eq!(allowed(&script).as_deref(), Some(SPA), "{dialect:?}");
        let preflight = check()
            .method("OPTIONS")
            .header("Access-Control-Request-Method", "PUT");
        assert_eq!(
            preflight.request(&doorward).await.status(),
            refused,
            "{dialect:?}"
        );
        let permitted = check().header("Cookie", &cookies(&doorward, &browser));
        let permitted = permitted.request(&doorward).await;
        assert_eq!(permitted.status(), 200, "{dialect:?}");
        assert_eq!(allowed(&permitted), None, "{dialect:?}");
    }
}

const RULES_WITH_ORIGINS: &str = r#"
[[apps.store.rules]]
paths = ["/partners/**"]
allow = "authenticated"
cors_origins = ["https://partner.example.test"]

[[apps.store.rules]]
paths = ["/private/**"]
allow = "authenticated"
cors_origins = []
"#;

#[tokio::test]
async fn origins_of_a_rule_replace_those_of_the_app() {
    const PARTNER: &str = "https://partner.example.test";
    let doorward = setup().store_rules(RULES_WITH_ORIGINS).start();
    for (path, origin, is_allowed) in [
        ("/orders/7", SPA, true),
        ("/orders/7", PARTNER, false),
        ("/partners/x", SPA, false),
        ("/partners/x", PARTNER, true),
        ("/private/x", SPA, false),
        // It has other readings.
        ("//partners/x", PARTNER, false),
    ] {
        let mut browser = doorward.browser();
        let page = browser.send(script(&doorward, path, origin)).await;
        let allowed = is_allowed.then_some(origin);
        assert_eq!(allowed_origin(&page), allowed, "{path} {page}");
        let credentials = page.header("access-control-allow-credentials");
        let has_credentials = (is_allowed && origin == SPA).then_some("true");
        assert_eq!(credentials, has_credentials, "{path} {page}");
        let request = preflight(&doorward, path, origin, "PUT");
        let page = browser.send(request).await;
        assert_eq!(page.status() == 204, is_allowed, "{path} {page}");
    }
    assert_eq!(doorward.store.count(), 0);
}
