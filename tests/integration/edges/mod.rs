//! Edges that ask Doorward: real nginx, Caddy, HAProxy and Envoy with the configurations of
//! `deploy/edges`, from the login to the logout.

mod connections;
mod edge;
mod hostile;
mod preflights;

use self::edge::{Edge, Kind};
use crate::decisions::check::decided_by;
use crate::support::browser::{Browser, Kind as RequestKind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::User;

/// Identity fields that clients forge, in spellings that apps may read as the same.
const FORGED: [&str; 8] = [
    "X-Forwarded-User",
    "x-forwarded-user",
    "X_Forwarded_User",
    "X-Forwarded_User",
    "Remote-User",
    "X-Auth-Request-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
];

fn doorward() -> Doorward {
    decided_by(Setup::plain()).start()
}

/// A browser that reaches the store through the edge.
fn browser(doorward: &Doorward, edge: &Edge) -> Browser {
    doorward.browser().with_port(8080, edge.port)
}

/// The store received no identity but this, and none of Doorward's cookies.
fn assert_identity(doorward: &Doorward, user: Option<&str>, kind: Kind) {
    let received = doorward.store.last();
    let users: Vec<_> = user.into_iter().collect();
    assert_eq!(received.head.all("x-forwarded-user"), users, "{kind:?}");
    let raw = String::from_utf8_lossy(&received.head.raw).to_lowercase();
    assert!(!raw.contains("forged"), "{kind:?}: {raw}");
    for cookie in received.head.all("cookie") {
        assert!(!cookie.contains("doorward"), "{kind:?}: {cookie}");
    }
}

#[tokio::test]
async fn every_edge_logs_in_and_passes_the_identity() {
    for kind in Kind::ALL {
        let doorward = doorward();
        let edge = Edge::start(kind, &doorward).await;
        let mut browser = browser(&doorward, &edge);

        doorward.provider.sign_in(User::new("alice", &[]));
        let page = browser.visit(&doorward.store_url("/page?a=b")).await;
        let opened = (page.status(), page.url.as_str().to_owned());
        assert_eq!(
            opened,
            (200, doorward.store_url("/page?a=b")),
            "{kind:?} {page}"
        );
        assert_eq!(doorward.store.count(), 1, "{kind:?}");
        assert_identity(&doorward, Some("alice-id"), kind);
        let line = doorward.log.line("/page", "permit").await;
        assert_eq!(line["method"], "GET", "{kind:?}");

        let page = browser.visit(&doorward.store_url("/admin/x")).await;
        assert_eq!(page.status(), 403, "{kind:?} {page}");
        assert!(page.text().contains("forbidden"), "{kind:?} {page}");

        doorward.clock.advance(std::time::Duration::from_secs(400));
        let before = doorward.cookie(&browser, "jwt").expect("a session");
        let page = browser.visit(&doorward.store_url("/page")).await;
        assert_eq!(page.status(), 200, "{kind:?} {page}");
        let after = doorward.cookie(&browser, "jwt").expect("a session");
        assert_ne!(before, after, "{kind:?}: the refreshed cookies are missing");

        let form = browser
            .visit(&doorward.store_url("/.doorward/logout"))
            .await;
        let page = browser.submit(&form, &[]).await;
        assert_eq!(page.status(), 200, "{kind:?} {page}");
        assert_eq!(doorward.cookie(&browser, "jwt"), None, "{kind:?}");
        assert_eq!(doorward.store.count(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn every_edge_removes_forged_identities() {
    for kind in Kind::ALL {
        let doorward = doorward();
        let edge = Edge::start(kind, &doorward).await;
        let mut anonymous = browser(&doorward, &edge);
        let mut alice = browser(&doorward, &edge);
        doorward.provider.sign_in(User::new("alice", &[]));
        alice.visit(&doorward.store_url("/page")).await;
        for (path, user) in [("/public/x", None), ("/page", Some("alice-id"))] {
            let mut request = RequestSpec::new(RequestKind::Program, &doorward.store_url(path));
            for name in FORGED {
                request = request.header(name, "forged");
            }
            let browser = if user.is_some() {
                &mut alice
            } else {
                &mut anonymous
            };
            let page = browser.send(request).await;
            assert_eq!(page.status(), 200, "{kind:?} {page}");
            assert_identity(&doorward, user, kind);
        }
        let count = doorward.store.count();
        let request = RequestSpec::new(RequestKind::Program, &doorward.store_url("/page"));
        let page = anonymous.send(request).await;
        assert_eq!(page.status(), 401, "{kind:?} {page}");
        assert!(page.text().contains("login_url"), "{kind:?} {page}");
        assert_eq!(doorward.store.count(), count, "{kind:?}");
    }
}
