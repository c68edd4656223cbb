//! Preflight requests of scripts at every edge: Doorward's policy answers those of protected paths, and
//! the app those of public ones.

use super::edge::{Edge, Kind};
use super::{FORGED, assert_identity, browser};
use crate::decisions::check::decided_by;
use crate::support::assertions::assert_problem;
use crate::support::browser::{Browser, Kind as RequestKind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const SPA: &str = "https://spa.example.test";
const OTHER: &str = "https://other.example.test";

/// Only the rule for the API allows an origin.
const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/api/closed/**"]
allow = "deny"

[[apps.store.rules]]
paths = ["/api/**"]
allow = "authenticated"
cors_origins = ["https://spa.example.test"]
"#;

fn preflight(doorward: &Doorward, path: &str, origin: &str) -> RequestSpec {
    let request = RequestSpec::new(RequestKind::Program, &doorward.store_url(path));
    let request = request.method("OPTIONS").header("Origin", origin);
    request
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "x-csrf")
}

fn allowed_origins(page: &Page) -> Vec<&str> {
    page.head.all("access-control-allow-origin")
}

#[tokio::test]
async fn every_edge_answers_preflights_by_the_rule() {
    for kind in Kind::ALL {
        let doorward = decided_by(Setup::plain().store_rules(RULES)).start();
        let edge = Edge::start(kind, &doorward).await;
        let mut spa = browser(&doorward, &edge);
        let page = spa.send(preflight(&doorward, "/api/orders", SPA)).await;
        assert_eq!(page.status(), 204, "{kind:?} {page}");
        assert_eq!(allowed_origins(&page), [SPA], "{kind:?} {page}");
        let methods = page.header("access-control-allow-methods");
        let names = page.header("access-control-allow-headers");
        assert_eq!((methods, names), (Some("PUT"), Some("x-csrf")), "{kind:?}");

        for (path, origin) in [
            ("/api/orders", OTHER),
            ("/api/closed/x", SPA),
            ("/page", SPA),
        ] {
            let page = spa.send(preflight(&doorward, path, origin)).await;
            assert_eq!(page.status(), 403, "{kind:?} {path} {page}");
            assert!(
                allowed_origins(&page).is_empty() || path != "/page",
                "{kind:?} {page}"
            );
        }
        // Without one of the two fields it is no preflight request.
        for missing in ["Origin", "Access-Control-Request-Method"] {
            let mut request = preflight(&doorward, "/api/orders", SPA);
            request.headers.retain(|(name, _)| name != missing);
            let page = spa.send(request).await;
            assert_problem(&page, 401, "no_session");
        }
        assert_eq!(doorward.store.count(), 0, "{kind:?}");

        // The script can read why its request was refused.
        let request = RequestSpec::new(RequestKind::Program, &doorward.store_url("/api/orders"));
        let page = spa.send(request.header("Origin", SPA)).await;
        assert_problem(&page, 401, "no_session");
        assert_eq!(allowed_origins(&page), [SPA], "{kind:?} {page}");
        assert!(page.text().contains("login_url"), "{kind:?} {page}");
    }
}

#[tokio::test]
async fn every_edge_passes_preflights_of_public_paths_without_identity() {
    for kind in Kind::ALL {
        let doorward = decided_by(Setup::plain().store_rules(RULES)).start();
        let edge = Edge::start(kind, &doorward).await;
        let mut spa: Browser = browser(&doorward, &edge);
        let mut request = preflight(&doorward, "/public/x", OTHER);
        for name in FORGED {
            request = request.header(name, "forged");
        }
        let page = spa.send(request).await;
        assert_eq!(page.status(), 200, "{kind:?} {page}");
        assert_eq!(doorward.store.last().method, "OPTIONS", "{kind:?}");
        assert_identity(&doorward, None, kind);
        let host = doorward.store.last().head.all("x-forwarded-host").join(" ");
        assert_eq!(host, "store.localhost:8080", "{kind:?}");
    }
}
