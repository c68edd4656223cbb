//! Answers of Doorward in place of an upstream: redirects and fixed responses. They pass the same
//! rules as every path.

use super::request;
use crate::support::assertions::{Dialogue, alice, assert_login_starts, assert_problem};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const ROUTES: &str = r#"
[[apps.store.routes]]
path = "/public/old/**"
redirect = { to = "/public/new/**", status = 308 }

[[apps.store.routes]]
path = "/public/moved/**"
redirect = { to = "https://www.example.com/**" }

[[apps.store.routes]]
path = "/public/start"
redirect = { to = "/public/start/" }

[[apps.store.routes]]
path = "/public/robots.txt"
respond = { body = "User-agent: *\nDisallow: /\n" }

[[apps.store.routes]]
path = "/public/gone/**"
respond = { status = 410, content_type = "text/html; charset=utf-8", body = "<p>gone" }

[[apps.store.routes]]
path = "/private/**"
respond = { body = "for users" }

[[apps.store.routes]]
path = "/admin/closed"
respond = { status = 204 }
"#;

fn start() -> Doorward {
    Setup::plain().more(ROUTES).start()
}

#[tokio::test]
async fn redirect_keeps_the_rest_of_the_path() {
    let doorward = start();
    let before = doorward.store.count();
    let own = "http://store.localhost:8080";
    for (target, status, location) in [
        (
            "/public/old/a/b?c=d",
            308,
            format!("{own}/public/new/a/b?c=d"),
        ),
        ("/public/old", 308, format!("{own}/public/new")),
        (
            "/public/moved/a?b",
            302,
            "https://www.example.com/a?b".to_owned(),
        ),
        ("/public/moved", 302, "https://www.example.com/".to_owned()),
        (
            "/public/moved/@evil.test",
            302,
            "https://www.example.com/@evil.test".to_owned(),
        ),
        (
            "/public/moved/.evil.test",
            302,
            "https://www.example.com/.evil.test".to_owned(),
        ),
        ("/public/start?x", 302, format!("{own}/public/start/")),
    ] {
        let reply = request(&doorward, "GET", target, "").await;
        assert_eq!(reply.status(), status, "{target}");
        assert_eq!(reply.head.all("location"), [location]);
        assert_eq!(reply.head.all("cache-control"), ["no-store"]);
    }
    for refused in [
        "/public/old//evil.test",
        "/public/moved//evil.test",
        "/public/moved/%2fevil.test",
        "/public/moved/..%2f",
        "/public/old/\\evil.test",
    ] {
        let reply = request(&doorward, "GET", refused, "").await;
        assert_eq!(reply.status(), 400, "{refused}");
        assert_eq!(reply.head.header("location"), None);
    }
    assert_eq!(doorward.store.count(), before);
    // The target of the redirect is not the route again.
    assert_eq!(
        request(&doorward, "GET", "/public/start/", "")
            .await
            .status(),
        200
    );
    assert_eq!(doorward.store.last().target, "/public/start/");
    let line = doorward.log.line("/public/old/a/b", "route_redirect").await;
    assert!(line.get("upstream_ms").is_none(), "{line}");
}

#[tokio::test]
async fn fixed_response_has_its_status_type_and_body() {
    let doorward = start();
    let reply = request(&doorward, "GET", "/public/robots.txt", "").await;
    assert_eq!(reply.text(), "User-agent: *\nDisallow: /\n");
    assert_eq!(
        reply.head.all("content-type"),
        ["text/plain; charset=utf-8"]
    );
    assert_eq!(reply.head.all("x-content-type-options"), ["nosniff"]);
    let reply = request(&doorward, "GET", "/public/gone/x", "").await;
    assert_eq!((reply.status(), reply.text().as_str()), (410, "<p>gone"));
    assert_eq!(reply.head.all("content-type"), ["text/html; charset=utf-8"]);
    let reply = request(&doorward, "HEAD", "/public/gone/x", "").await;
    assert_eq!(reply.head.all("content-length"), ["7"]);
    assert!(reply.body.is_empty());
    doorward.log.line("/public/gone/x", "route_response").await;
}

#[tokio::test]
async fn answers_need_what_the_rules_require() {
    let doorward = start();
    let anonymous = doorward
        .browser()
        .step(&doorward.store_url("/private/x"))
        .await;
    assert_login_starts(&doorward, &anonymous);
    let spec = RequestSpec::new(Kind::Fetch, &doorward.store_url("/private/x"));
    let refused = doorward.browser().send(spec).await;
    assert_problem(&refused, 401, "no_session");
    let mut browser = alice(&doorward).await;
    let page = browser.step(&doorward.store_url("/private/x")).await;
    assert_eq!((page.status(), page.text().as_str()), (200, "for users"));
    let page = browser.step(&doorward.store_url("/admin/closed")).await;
    assert_eq!(page.status(), 403);
}

/// A body that Doorward does not read is no request.
#[tokio::test]
async fn bodies_of_answered_requests_are_not_parsed_as_requests() {
    const SMUGGLED: &str = "GET /public/smuggled HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n";
    let doorward = start();
    let before = doorward.store.count();
    for target in ["/public/gone/x", "/public/old/x"] {
        for framing in [
            format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
                SMUGGLED.len()
            ),
        ] {
            let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
            let head = format!("POST {target} HTTP/1.1\r\nHost: store.localhost:8080\r\n");
            let reply = dialogue.request("POST", head + &framing).await;
            assert!(matches!(reply.status(), 410 | 308), "{target}");
            let next = "GET /public/robots.txt HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n";
            dialogue.say(next).await;
            let next = dialogue.poll("GET").await;
            assert!(next.text().starts_with("User-agent"), "{}", next.text());
        }
    }
    assert_eq!(doorward.store.count(), before);
}
