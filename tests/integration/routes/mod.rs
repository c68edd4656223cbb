//! Routes by path: which upstream gets a request, under which path and header fields, and what
//! Doorward responds itself.

mod files;
pub(crate) mod kinds;
mod public_urls;
mod responses;

use self::kinds::RouteKind;
use crate::decisions::check::{Check, Dialect, cookies, decided_by};
use crate::support::assertions::{CART, Dialogue, Reply, alice, fetched};
use crate::support::backend::{Answer, Backend};
use crate::support::doorward::{Doorward, Setup};
use crate::support::gate::Gate;

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/public/**", "/wiki/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/admin/**", "/wiki/admin/**"]
allow = { roles = ["admin"] }
"#;

/// A store whose `/wiki` is another backend.
struct Wiki {
    doorward: Doorward,
    wiki: Backend,
}

impl Wiki {
    /// `lines` are those of the route beside its path and its upstream.
    fn start(setup: Setup, lines: &str) -> Self {
        let wiki = Backend::start();
        let doorward = setup.store_rules(RULES).more(&route(&wiki, lines)).start();
        Self { doorward, wiki }
    }

    fn stripping() -> Self {
        Self::start(Setup::plain(), "strip_prefix = \"/wiki\"")
    }

    /// An anonymous request with these fields.
    async fn request(&self, target: &str, fields: &str) -> Reply {
        request(&self.doorward, "GET", target, fields).await
    }
}

fn route(wiki: &Backend, lines: &str) -> String {
    let url = wiki.url();
    format!("\n[[apps.store.routes]]\npath = \"/wiki/**\"\nupstream = \"{url}\"\n{lines}\n")
}

async fn request(doorward: &Doorward, method: &str, target: &str, rest: &str) -> Reply {
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    let request = format!("{method} {target} HTTP/1.1\r\nHost: store.localhost:8080\r\n{rest}\r\n");
    dialogue.request(method, request).await
}

#[tokio::test]
async fn route_leads_to_its_upstream_without_the_prefix() {
    let Wiki { doorward, wiki } = Wiki::stripping();
    let mut browser = alice(&doorward).await;
    for (requested, forwarded) in [
        ("/wiki/page?a=/wiki", "/page?a=/wiki"),
        ("/wiki", "/"),
        ("/wiki/", "/"),
        ("/wiki?x", "/?x"),
        ("/%77iki/caf%c3%a9", "/caf%C3%A9"),
        ("/wiki/wiki/x", "/wiki/x"),
    ] {
        fetched(&mut browser, &doorward.store_url(requested)).await;
        let seen = wiki.last();
        assert_eq!(seen.target, forwarded, "{requested}");
        assert_eq!(seen.head.all("x-forwarded-prefix"), ["/wiki"]);
        assert_eq!(seen.head.all("x-forwarded-user"), ["alice-id"]);
        assert_eq!(seen.head.all("host"), ["store.localhost:8080"]);
    }
    let (at_wiki, at_store) = (wiki.count(), doorward.store.count());
    for other in ["/wikipedia", "/Wiki/x", "/wik", "/x/wiki/y"] {
        fetched(&mut browser, &doorward.store_url(other)).await;
        let seen = doorward.store.last();
        assert_eq!(seen.target, other);
        assert_eq!(seen.header("x-forwarded-prefix"), None);
    }
    assert_eq!(
        (wiki.count(), doorward.store.count()),
        (at_wiki, at_store + 4)
    );
}

#[tokio::test]
async fn rules_apply_to_the_requested_path() {
    let routed = Wiki::stripping();
    assert_eq!(routed.request("/wiki/public/x", "").await.status(), 200);
    assert_eq!(routed.wiki.last().target, "/public/x");
    let at_wiki = routed.wiki.count();
    assert_eq!(routed.request("/wiki/x", "").await.status(), 401);
    let mut browser = alice(&routed.doorward).await;
    let url = routed.doorward.store_url("/wiki/admin/x");
    assert_eq!(browser.step(&url).await.status(), 403);
    for spelling in [
        "/wiki/public/../admin/x",
        "/wiki/%2e%2e/admin/x",
        "/wiki/..%2fadmin/x",
        "/wiki//admin/x",
        "/wiki//evil.test/",
        "/wiki%2fadmin/x",
        "/public/..;/wiki/admin/x",
        "/wiki;x/admin/x",
        "/wiki/\\admin",
    ] {
        let status = routed.request(spelling, "").await.status();
        assert_eq!(status, 400, "{spelling}");
    }
    assert_eq!(routed.wiki.count(), at_wiki);
}

#[tokio::test]
async fn forwarded_path_never_begins_with_two_slashes() {
    let setup = Setup::plain().store("allow_ambiguous_paths = [\"double-slash\"]");
    let Wiki { doorward, wiki } = Wiki::start(setup, "strip_prefix = \"/wiki\"");
    let mut browser = alice(&doorward).await;
    let refused = browser
        .step(&doorward.store_url("/wiki//evil.test/x"))
        .await;
    assert_eq!((refused.status(), wiki.count()), (400, 0));
    for rule_is_strictest in ["/wiki/a//b", "/a//b"] {
        let status = browser.step(&doorward.store_url(rule_is_strictest)).await;
        assert_eq!(status.status(), 403, "{rule_is_strictest}");
    }
}

/// The header-spoof corpus.
const SPOOFED: [&str; 13] = [
    "X-Forwarded-Prefix",
    "X_Forwarded_Prefix",
    "x.forwarded.prefix",
    "X-Forwarded-User",
    "X_Forwarded_User",
    "X-Forwarded_Groups",
    "Remote-User",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
];

/// Fields of these names, and one that nominates one of them.
fn forged<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let fields = names.into_iter().map(|name| format!("{name}: forged\r\n"));
    fields.collect::<String>() + "Connection: X-Forwarded-Prefix\r\n"
}

#[tokio::test]
async fn forged_fields_are_removed_on_every_kind_of_route() {
    for kind in RouteKind::ALL {
        let (doorward, routed) = kinds::start(kind, RULES);
        let is_app = kind == RouteKind::App;
        let backend = if is_app { &doorward.store } else { &routed };
        let cookie = cookies(&doorward, &alice(&doorward).await);
        let cookie = format!("Cookie: {cookie}\r\n");
        let before = backend.count();
        for (fields, user) in [("", None), (cookie.as_str(), Some("alice-id"))] {
            let fields = format!("{fields}{}", forged(SPOOFED));
            let reply = request(&doorward, "GET", "/public/x", &fields).await;
            let response = String::from_utf8_lossy(&reply.head.raw).into_owned() + &reply.text();
            assert!(!response.contains("forged"), "{kind:?}: {response}");
            let Some(target) = kind.forwarded("/public/x") else {
                assert_eq!(backend.count(), before, "{kind:?}");
                continue;
            };
            let seen = backend.last();
            let text = String::from_utf8_lossy(&seen.head.raw).to_lowercase();
            assert!(!text.contains("forged"), "{kind:?}: {text}");
            assert_eq!(seen.target, target, "{kind:?}");
            assert_eq!(seen.header("x-forwarded-user"), user, "{kind:?}");
        }
    }
}

/// The header-spoof corpus with names that apps of other products read.
#[tokio::test]
async fn forged_fields_are_removed_on_a_route() {
    let edits = "strip_prefix = \"/wiki\"\nrequest_headers.set = { X-Tenant = \"wiki\" }\n\
                 request_headers.remove = [\"X-Debug\"]";
    let routed = Wiki::start(Setup::plain(), edits);
    let others = [
        "X-Script-Name",
        "X-Tenant",
        "x_tenant",
        "X-Debug",
        "X_Debug",
    ];
    let forged = forged(SPOOFED.into_iter().chain(others));
    assert_eq!(
        routed.request("/wiki/public/x", &forged).await.status(),
        200
    );
    let seen = routed.wiki.last();
    let text = String::from_utf8_lossy(&seen.head.raw).to_lowercase();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("forged"))
        .collect();
    // No product reads it as an identity; apps that do must get it removed by `request_headers`.
    assert_eq!(kept, ["x-script-name: forged"]);
    assert_eq!(seen.head.all("x-forwarded-prefix"), ["/wiki"]);
    assert_eq!(seen.head.all("x-tenant"), ["wiki"]);
    assert_eq!(routed.request("/public/x", &forged).await.status(), 200);
    let seen = routed.doorward.store.last();
    assert_eq!(seen.header("x-forwarded-prefix"), None);
    assert_eq!(seen.head.all("x-tenant"), ["forged"]);
}

#[tokio::test]
async fn route_has_timeouts_limits_and_headers_of_its_own() {
    let lines = "strip_prefix = \"/wiki\"\nresponse_timeout = \"1s\"\nmax_in_flight_requests = 1\n\
                 response_headers.set = { X-Frame-Options = \"DENY\" }";
    let setup = Setup::plain()
        .server("max_queued_requests = 0")
        .store("response_headers.set = { X-Frame-Options = \"SAMEORIGIN\", X-App = \"store\" }");
    let Wiki { doorward, wiki } = Wiki::start(setup, lines);
    let mut browser = alice(&doorward).await;
    let page = fetched(&mut browser, &doorward.store_url("/wiki/x")).await;
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(page.header("x-app"), Some("store"));
    let page = fetched(&mut browser, &doorward.store_url(CART)).await;
    assert_eq!(page.header("x-frame-options"), Some("SAMEORIGIN"));

    let gate = Gate::default();
    let held = Answer {
        gate: Some(gate.clone()),
        ..Answer::default()
    };
    wiki.response("/public/held", held);
    let waiting = request(&doorward, "GET", "/wiki/public/held", "");
    let others = async {
        gate.reached(1).await;
        let full = request(&doorward, "GET", "/wiki/public/x", "").await;
        let other = request(&doorward, "GET", "/public/x", "").await;
        (full.status(), other.status())
    };
    let (late, others) = tokio::join!(waiting, others);
    assert_eq!(others, (503, 200));
    assert_eq!(late.status(), 504);
}

#[tokio::test]
async fn access_log_names_the_upstream_of_app_and_route() {
    let routed = Wiki::stripping();
    routed.request("/wiki/public/x", "").await;
    let line = routed.doorward.log.line("/wiki/public/x", "forward").await;
    assert_eq!(line["upstream"], routed.wiki.url());
    routed.request("/public/x", "").await;
    let line = routed.doorward.log.line("/public/x", "forward").await;
    assert!(
        line["upstream"].is_string() && line["upstream"] != routed.wiki.url(),
        "{line}"
    );
}

#[tokio::test]
async fn reload_applies_routes_and_keeps_connections() {
    let Wiki { doorward, wiki } = Wiki::stripping();
    // At every worker.
    for _ in 0..10 {
        request(&doorward, "GET", "/wiki/public/x", "").await;
    }
    let connections = wiki.connections();
    doorward.edit(
        "strip_prefix = \"/wiki\"",
        "strip_prefix = \"/wiki\"\nadd_prefix = \"/app\"",
    );
    doorward.reload_changes().await;
    for _ in 0..10 {
        request(&doorward, "GET", "/wiki/public/x", "").await;
    }
    assert_eq!(wiki.last().target, "/app/public/x");
    assert_eq!(wiki.connections(), connections, "the same connections");
    doorward.edit("path = \"/wiki/**\"", "path = \"/docs/**\"");
    doorward.edit("strip_prefix = \"/wiki\"", "strip_prefix = \"/docs\"");
    doorward.reload_changes().await;
    request(&doorward, "GET", "/wiki/public/x", "").await;
    assert_eq!(doorward.store.last().target, "/wiki/public/x");
}

#[tokio::test]
async fn app_logout_takes_the_route_of_its_path() {
    let setup = Setup::plain().store("app_logout_path = \"/wiki/logout\"");
    let Wiki { doorward, wiki } = Wiki::start(setup, "strip_prefix = \"/wiki\"");
    let set = Answer::default().with_header("Set-Cookie", "session=1; Path=/");
    doorward.store.response(CART, set);
    let mut browser = alice(&doorward).await;
    let gone = Answer::default().with_header("Set-Cookie", "wiki=; Path=/; Max-Age=0");
    wiki.response("/logout", gone);
    let page = browser
        .visit(&doorward.store_url("/.doorward/logout"))
        .await;
    let page = browser.submit(&page, &[]).await;
    assert_eq!(wiki.last().target, "/logout");
    let first = page.chain.first().expect("the logout");
    let cleared = &first.set_cookies;
    assert!(
        cleared
            .iter()
            .any(|set| set == "wiki=; Path=/wiki; Max-Age=0"),
        "{cleared:?}"
    );
}

/// Another proxy forwards the path as it likes, and cannot forward responses of Doorward.
#[tokio::test]
async fn decisions_judge_the_same_app_and_path() {
    let lines = "strip_prefix = \"/wiki\"\nrequest_headers.set = { X-Tenant = \"wiki\" }\n\
                 [[apps.store.routes]]\npath = \"/public/old/**\"\nredirect = { to = \"/new/**\" }";
    let Wiki { doorward, .. } = Wiki::start(decided_by(Setup::plain()), lines);
    let cookie = cookies(&doorward, &alice(&doorward).await);
    for dialect in [
        Dialect::AuthRequest,
        Dialect::ForwardAuth,
        Dialect::ExtAuthz,
    ] {
        for (target, is_permitted) in [
            ("/wiki/x", true),
            ("/wiki/admin/x", false),
            ("/public/old/x", false),
        ] {
            let check = Check::new(dialect, target).header("Cookie", &cookie);
            let response = check.request(&doorward).await;
            assert_eq!(
                response.status() == 200,
                is_permitted,
                "{dialect:?} {target}"
            );
            assert_eq!(
                response.status() >= 400,
                !is_permitted,
                "{dialect:?} {target}"
            );
            if is_permitted {
                assert_eq!(response.head.all("x-tenant"), ["wiki"]);
                assert_eq!(response.head.header("x-forwarded-prefix"), None);
            }
        }
    }
}
