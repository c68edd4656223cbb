//! Decisions for other proxies: each dialect of the decision listener, as a proxy would use it.

pub(crate) mod check;

use std::time::Duration;

use self::check::{Check, Dialect, HTML, cookies, decided_by};
use crate::support::assertions::{alice, metric_reaches};
use crate::support::doorward::Setup;

const ALL: [Dialect; 3] = [
    Dialect::AuthRequest,
    Dialect::ForwardAuth,
    Dialect::ExtAuthz,
];

#[tokio::test]
async fn session_is_permitted_with_identity_and_changes() {
    let doorward = decided_by(Setup::plain()).start();
    let browser = alice(&doorward).await;
    let cookie = format!("{}; theme=dark", cookies(&doorward, &browser));
    for dialect in ALL {
        let response = Check::new(dialect, "/page")
            .header("Cookie", &cookie)
            .header("X_Forwarded_User", "forged")
            .header("Remote-User", "forged")
            .request(&doorward)
            .await;
        assert_eq!(response.status(), 200, "{dialect:?}: {}", response.text());
        assert_eq!(
            response.head.all("x-forwarded-user"),
            ["alice-id"],
            "{dialect:?}"
        );
        assert_eq!(response.head.all("cookie"), ["theme=dark"], "{dialect:?}");
        let removed = response
            .head
            .header("doorward-remove-headers")
            .expect("a list");
        for name in ["x_forwarded_user", "remote-user"] {
            assert!(removed.contains(name), "{dialect:?}: {removed}");
        }
        let for_envoy = response.head.header("x-envoy-auth-headers-to-remove");
        assert_eq!(for_envoy.is_some(), dialect == Dialect::ExtAuthz);
        assert!(response.body.is_empty(), "{}", response.text());
    }
    let line = doorward.log.line("/page", "permit").await;
    assert_eq!(line["method"], "GET");
    assert_eq!(line["host"], "store.localhost:8080");
    assert_eq!(doorward.store.count(), 1, "only the login's own page");
}

#[tokio::test]
async fn anonymous_public_request_has_no_identity() {
    let doorward = decided_by(Setup::plain()).start();
    for dialect in ALL {
        let response = Check::new(dialect, "/public/x")
            .header("X-Forwarded-User", "forged")
            .request(&doorward)
            .await;
        assert_eq!(response.status(), 200, "{dialect:?}");
        assert_eq!(
            response.head.header("x-forwarded-user"),
            None,
            "{dialect:?}"
        );
        let removed = response
            .head
            .header("doorward-remove-headers")
            .expect("a list");
        assert!(removed.contains("x-forwarded-user"), "{removed}");
    }
}

#[tokio::test]
async fn navigation_without_session_leads_to_the_login_endpoint() {
    let doorward = decided_by(Setup::plain()).start();
    let login = "http://store.localhost:8080/.doorward/login?return_to=%2Fpage%3Fa%3Db";
    for dialect in ALL {
        let response = Check::new(dialect, "/page?a=b")
            .header("Accept", HTML)
            .request(&doorward)
            .await;
        let status = if dialect == Dialect::AuthRequest {
            401
        } else {
            302
        };
        assert_eq!(response.status(), status, "{dialect:?}");
        assert_eq!(response.head.header("location"), Some(login), "{dialect:?}");
    }
    metric_reaches(
        &doorward,
        "doorward_checks_total{dialect=\"ext-authz\",outcome=\"redirected\"}",
        1.0,
    )
    .await;
}

#[tokio::test]
async fn script_without_session_gets_a_problem_document() {
    let doorward = decided_by(Setup::plain()).start();
    for dialect in ALL {
        for kind in ["application/json", "application/grpc"] {
            let response = Check::new(dialect, "/api")
                .method("POST")
                .header("Content-Type", kind)
                .request(&doorward)
                .await;
            assert_eq!(response.status(), 401, "{dialect:?} {kind}");
            let content_type = response.head.header("content-type");
            assert_eq!(content_type, Some("application/problem+json"));
            assert!(response.text().contains("login_url"), "{}", response.text());
        }
    }
}

#[tokio::test]
async fn rules_apply_to_the_described_path() {
    let doorward = decided_by(Setup::plain()).start();
    let browser = alice(&doorward).await;
    let cookie = cookies(&doorward, &browser);
    for (target, by_nginx, by_others) in [
        ("/admin/x", 403, 403),
        ("/%61dmin/x", 403, 403),
        ("/public/../admin/x", 400, 400),
        ("/public/%2e%2e/admin/x", 400, 400),
        ("/public//x", 400, 400),
        ("/public/x%2fy", 400, 400),
        ("/.doorward/session", 403, 404),
        ("/.doorward/logout", 403, 404),
    ] {
        for dialect in ALL {
            let response = Check::new(dialect, target)
                .header("Cookie", &cookie)
                .request(&doorward)
                .await;
            let status = if dialect == Dialect::AuthRequest {
                by_nginx
            } else {
                by_others
            };
            assert_eq!(response.status(), status, "{dialect:?} {target}");
        }
    }
    let line = doorward
        .log
        .line("/.doorward/session", "endpoint_not_proxied");
    assert_eq!(line.await["app"], "store");
}

#[tokio::test]
async fn unclear_description_is_400() {
    let doorward = decided_by(Setup::plain()).start();
    let host = ("Host", "store.localhost:8080");
    for (path, fields, code) in [
        ("/auth-request", vec![host], "description_missing"),
        (
            "/auth-request",
            vec![
                host,
                ("X-Original-Method", "GET"),
                ("X-Original-URI", "/public/x"),
                ("X-Original-URI", "/page"),
            ],
            "description_repeated",
        ),
        (
            "/auth-request",
            vec![
                host,
                ("X-Original-Method", "GET"),
                ("X-Original-URI", "/public/x"),
                ("X-Original-URL", "http://store.localhost:8080/page"),
            ],
            "description_contradictory",
        ),
        (
            "/forward-auth",
            vec![
                host,
                ("X-Forwarded-Method", "GET"),
                ("X-Forwarded-Proto", "https,http"),
                ("X-Forwarded-Host", "store.localhost:8080"),
                ("X-Forwarded-Uri", "/public/x"),
            ],
            "description_repeated",
        ),
        ("/ext-authz//a b", vec![host], ""),
        (
            "/auth-request",
            vec![
                host,
                ("X-Original-Method", "GET"),
                ("X-Original-URI", "/public/x#/../../admin"),
            ],
            "description_malformed",
        ),
    ] {
        let response = check::raw(&doorward, "GET", path, &fields).await;
        assert_eq!(response.status(), 400, "{path} {fields:?}");
        assert!(response.text().contains(code), "{}", response.text());
    }
    let unknown = check::raw(&doorward, "GET", "/public/x", &[host]).await;
    assert_eq!(unknown.status(), 404);
    let foreign = Check::new(Dialect::ForwardAuth, "/").host("other.test");
    assert_eq!(foreign.request(&doorward).await.status(), 421);
}

#[tokio::test]
async fn peer_that_is_not_trusted_is_refused() {
    let setup = Setup::plain()
        .server("decision_listen = \"127.0.0.1:0\"\ntrusted_proxies = [\"192.0.2.1\"]");
    let doorward = setup.start();
    for dialect in ALL {
        let response = Check::new(dialect, "/public/x").request(&doorward).await;
        assert_eq!(response.status(), 403, "{dialect:?}");
        assert!(response.text().contains("untrusted_peer"));
    }
}

#[tokio::test]
async fn refreshed_cookies_are_handed_back() {
    let doorward = decided_by(Setup::plain()).start();
    for dialect in ALL {
        let browser = alice(&doorward).await;
        let cookie = cookies(&doorward, &browser);
        doorward.clock.advance(Duration::from_secs(400));
        let response = Check::new(dialect, "/page")
            .header("Cookie", &cookie)
            .request(&doorward)
            .await;
        assert_eq!(response.status(), 200, "{dialect:?}: {}", response.text());
        let set = response.head.all("set-cookie");
        assert!(
            set.iter().any(|line| line.contains("doorward_jwt=")),
            "{set:?}"
        );
        let numbered: Vec<_> = (1..=set.len())
            .filter_map(|number| {
                response
                    .head
                    .header(&format!("doorward-set-cookie-{number}"))
            })
            .collect();
        if dialect == Dialect::ExtAuthz {
            assert!(numbered.is_empty(), "{numbered:?}");
        } else {
            assert_eq!(numbered, set, "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn websocket_from_another_origin_is_refused() {
    let doorward = decided_by(Setup::plain()).start();
    let browser = alice(&doorward).await;
    let cookie = cookies(&doorward, &browser);
    for (origin, status) in [
        ("http://evil.test", 403),
        ("http://store.localhost:8080", 200),
    ] {
        for dialect in ALL {
            let response = Check::new(dialect, "/socket")
                .header("Cookie", &cookie)
                .header("Origin", origin)
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
                .request(&doorward)
                .await;
            assert_eq!(response.status(), status, "{dialect:?} {origin}");
        }
    }
}

#[tokio::test]
async fn form_without_session_is_refused_and_not_preserved() {
    let doorward = decided_by(Setup::plain()).start();
    for dialect in ALL {
        let response = Check::new(dialect, "/page")
            .method("POST")
            .header("Accept", HTML)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Origin", "http://store.localhost:8080")
            .header("X-Original-Content-Length", "5")
            .request(&doorward)
            .await;
        assert_eq!(response.status(), 401, "{dialect:?}");
        assert_eq!(doorward.metric("doorward_preserved_posts").await, 0.0);
    }
}

/// Only nginx passes refused requests to Doorward, which preserves forms there.
#[tokio::test]
async fn possible_replay_is_left_to_the_listener_for_clients() {
    let doorward = decided_by(Setup::plain()).start();
    let browser = alice(&doorward).await;
    let cookie = cookies(&doorward, &browser);
    let length = "doorward-form=".len() + 22;
    for dialect in ALL {
        let mut statuses = Vec::new();
        for length in [length - 1, length, length + 1, length + 2] {
            let response = Check::new(dialect, "/page")
                .method("POST")
                .header("Cookie", &cookie)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .header("Origin", "http://store.localhost:8080")
                .header("X-Original-Content-Length", &length.to_string())
                .request(&doorward)
                .await;
            statuses.push(response.status());
        }
        let refused = statuses.iter().filter(|status| **status == 401).count();
        let expected = usize::from(dialect == Dialect::AuthRequest);
        assert_eq!(refused, expected, "{dialect:?} {statuses:?}");
    }
}

#[tokio::test]
async fn client_address_is_the_one_that_the_proxy_reports() {
    let doorward = decided_by(Setup::plain()).start();
    for dialect in ALL {
        let target = format!("/public/{dialect:?}");
        let response = Check::new(dialect, &target)
            .header("X-Forwarded-For", "198.51.100.7")
            .request(&doorward)
            .await;
        let chain = response.head.header("x-forwarded-for");
        assert_eq!(chain, Some("198.51.100.7, 127.0.0.1"), "{dialect:?}");
        let line = doorward.log.line(&target, "permit").await;
        assert_eq!(line["client_ip"], "198.51.100.7");
    }
}

#[tokio::test]
async fn own_cookie_behind_a_comma_is_refused() {
    let doorward = decided_by(Setup::plain()).start();
    let response = Check::new(Dialect::ExtAuthz, "/public/x")
        .header("Cookie", "a=b,doorward_jwt=x")
        .request(&doorward)
        .await;
    assert_eq!(response.status(), 400);
}
