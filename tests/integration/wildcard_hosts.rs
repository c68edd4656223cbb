//! Wildcard hosts: every host that matches `public_url` has sessions and an upstream of its own.

use serde_json::json;

use crate::support::assertions::{Dialogue, assert_error_page, assert_login_starts, fetched};
use crate::support::backend::Backend;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};
use crate::support::page::Page;
use crate::support::provider::Client;

const CALLBACK: &str = "/.doorward/callback";

/// A Doorward with an app at `*.tenants.localhost`.
struct Tenants {
    doorward: Doorward,
    backend: Backend,
}

impl Tenants {
    /// Adds `lines` to the table of the app and `more` after it.
    fn start(lines: &str, more: &str) -> Self {
        let backend = Backend::start();
        let port = backend.url().rsplit(':').next().unwrap().to_owned();
        let app = format!(
            "[apps.tenants]\nprovider = \"login\"\npublic_url = \"http://*.tenants.localhost:8080\"\n\
             upstream = \"http://{{label}}.backend.localhost:{port}\"\nupstream_host = \"upstream\"\n\
             client_id = \"tenants\"\nclient_secret = \"tenants-secret\"\n{lines}\n\
             [apps.tenants.headers]\nX-Forwarded-User = \"{{sub}}\"\nX-Tenant = \"t-{{label}}\"\n\
             [apps.tenants.request_headers]\nset = {{ X-Shard = \"{{label}}-1\" }}\n\
             [[apps.tenants.rules]]\npaths = [\"/public/**\"]\nallow = \"public\"\n{more}"
        );
        let doorward = Setup::plain().more(&app).start();
        let mut client = Client::of_app("tenants", "http://*.tenants.localhost:8080");
        for uris in [
            &mut client.redirect_uris,
            &mut client.post_logout_redirect_uris,
        ] {
            let pattern = uris.remove(0);
            let all = ["blue", "green", "exact"].map(|label| pattern.replace('*', label));
            uris.extend(all);
        }
        doorward.provider.register(client);
        doorward.sign_in("alice");
        Self { doorward, backend }
    }

    /// The header of the last request at the backend.
    fn seen(&self, name: &str) -> Option<String> {
        self.backend.last().header(name).map(str::to_owned)
    }
}

fn url(label: &str, path: &str) -> String {
    format!("http://{label}.tenants.localhost:8080{path}")
}

fn host(label: &str) -> String {
    format!("{label}.tenants.localhost")
}

/// Copies all cookies of one host to another, as an attacker could who has them.
fn copy_cookies(browser: &mut Browser, from: &str, to: &str) {
    let copies: Vec<Cookie> = browser
        .jar
        .of(&host(from))
        .into_iter()
        .map(|cookie| Cookie {
            domain: host(to),
            ..cookie.clone()
        })
        .collect();
    assert!(copies.len() >= 3, "no session: {copies:?}");
    for copy in copies {
        browser.jar.plant(copy);
    }
}

fn assert_starts_at(tenants: &Tenants, page: &Page, label: &str) {
    assert_login_starts(&tenants.doorward, page);
    let location = page.header("location").unwrap();
    let redirect_uri = url(label, CALLBACK);
    let encoded: String = url::form_urlencoded::byte_serialize(redirect_uri.as_bytes()).collect();
    assert!(location.contains(&encoded), "{location}");
}

#[tokio::test]
async fn each_host_has_login_cookies_headers_and_upstream_of_its_own() {
    let tenants = Tenants::start("", "");
    let mut browser = tenants.doorward.browser();
    for label in ["blue", "green"] {
        let page = browser.step(&url(label, "/cart")).await;
        assert_starts_at(&tenants, &page, label);
        let page = browser.visit(&url(label, "/cart")).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, &*url(label, "/cart"))
        );
        assert_eq!(
            tenants.seen("x-forwarded-user").as_deref(),
            Some("alice-id")
        );
        assert_eq!(tenants.seen("x-tenant"), Some(format!("t-{label}")));
        assert_eq!(tenants.seen("x-shard"), Some(format!("{label}-1")));
        let public = format!("{label}.tenants.localhost:8080");
        assert_eq!(tenants.seen("x-forwarded-host"), Some(public));
        let upstream = tenants.seen("host").unwrap();
        let expected = format!("{label}.backend.localhost:");
        assert!(upstream.starts_with(&expected), "{upstream}");
        assert!(browser.jar.of(&host(label)).iter().all(|one| one.host_only));
    }
    let upper = RequestSpec::new(Kind::Navigation, &url("BLUE", "/cart"));
    assert_eq!(browser.send(upper).await.status(), 200);
}

#[tokio::test]
async fn copied_cookies_of_one_label_are_no_session_at_another() {
    let exact = "[apps.exact]\nprovider = \"login\"\npublic_url = \"http://exact.tenants.localhost:8080\"\n\
                 upstream = \"http://127.0.0.1:9\"\nclient_id = \"tenants\"\nclient_secret = \"tenants-secret\"\n";
    let tenants = Tenants::start("", exact);
    let mut browser = tenants.doorward.browser();
    // Twice, so that the session is in the cache of decrypted sessions.
    for _ in 0..2 {
        assert_eq!(browser.visit(&url("blue", "/cart")).await.status(), 200);
    }
    let reached = tenants.backend.count();
    for other in ["green", "exact"] {
        copy_cookies(&mut browser, "blue", other);
        let page = browser.step(&url(other, "/cart")).await;
        assert_login_starts(&tenants.doorward, &page);
        let page = fetched(&mut browser, &url(other, "/cart")).await;
        assert_eq!(page.status(), 401, "{page}");
    }
    assert_eq!(tenants.backend.count(), reached);
    assert_eq!(browser.step(&url("blue", "/cart")).await.status(), 200);
}

#[tokio::test]
async fn callback_of_one_label_is_refused_at_another() {
    let tenants = Tenants::start("", "");
    let mut browser = tenants.doorward.browser();
    let page = browser.step(&url("blue", "/cart")).await;
    let page = browser.next(&page).await;
    let callback = page.header("location").expect("a callback").to_owned();
    assert!(callback.starts_with(&url("blue", CALLBACK)), "{callback}");
    let copies: Vec<Cookie> = browser.jar.of(&host("blue")).into_iter().cloned().collect();
    for cookie in copies {
        browser.jar.plant(Cookie {
            domain: host("green"),
            ..cookie
        });
    }
    let page = browser.step(&callback.replacen("blue", "green", 1)).await;
    assert_error_page(&page, 400, "state_invalid");
    assert_eq!(browser.jar.get(&host("green"), "doorward_jwt"), None);
    let page = browser.visit(&callback).await;
    assert_eq!(
        (page.status(), page.url.as_str()),
        (200, &*url("blue", "/cart"))
    );
}

#[tokio::test]
async fn token_cached_at_one_label_has_the_header_of_another_there() {
    let bearer = "[apps.tenants.bearer]\naudiences = [\"store\"]\n";
    let tenants = Tenants::start("", bearer);
    let token = tenants
        .doorward
        .provider
        .access_token(&json!({ "sub": "alice-id" }), &[]);
    for label in ["blue", "green", "blue", "green"] {
        let request = RequestSpec::new(Kind::Program, &url(label, "/cart"))
            .header("Authorization", &format!("Bearer {token}"));
        let page = tenants.doorward.browser().send(request).await;
        assert_eq!(page.status(), 200, "{page}");
        assert_eq!(tenants.seen("x-tenant"), Some(format!("t-{label}")));
    }
}

#[tokio::test]
async fn page_of_another_label_is_another_origin() {
    let tenants = Tenants::start("", "");
    let mut browser = tenants.doorward.browser();
    assert_eq!(browser.visit(&url("blue", "/cart")).await.status(), 200);
    for (from, status) in [("green", 403), ("blue", 303)] {
        let logout = RequestSpec::new(Kind::Navigation, &url("blue", "/.doorward/logout"))
            .method("POST")
            .body("application/x-www-form-urlencoded", "")
            .from(&url(from, "/cart").parse().unwrap());
        let page = browser.send(logout).await;
        assert_eq!(page.status(), status, "{page}");
    }
}

#[tokio::test]
async fn exact_host_wins_over_wildcard() {
    let other = Backend::start();
    let exact = format!(
        "[apps.exact]\nprovider = \"login\"\npublic_url = \"http://exact.tenants.localhost:8080\"\n\
         upstream = \"{}\"\nclient_id = \"tenants\"\nclient_secret = \"tenants-secret\"\n\
         [[apps.exact.rules]]\npaths = [\"/public/**\"]\nallow = \"public\"\n",
        other.url()
    );
    let tenants = Tenants::start("", &exact);
    let mut browser = tenants.doorward.browser();
    for _ in 0..2 {
        browser.step(&url("exact", "/public/x")).await;
        browser.step(&url("blue", "/public/x")).await;
    }
    assert_eq!((other.count(), tenants.backend.count()), (2, 2));
}

#[tokio::test]
async fn host_without_valid_label_is_misdirected() {
    let tenants = Tenants::start("", "");
    let origin = "http://tenants.localhost:8080";
    for (label, status) in [
        ("blue.", 200),
        ("a--b.", 200),
        ("a.b.", 421),
        ("xn--bcher-kva.", 421),
        ("ab--c.", 421),
        ("-a.", 421),
        ("a-.", 421),
        ("a_b.", 421),
        (".", 421),
        ("", 421),
        ("*.", 400),
        ("{label}.", 400),
        ("a%2eb.", 400),
    ] {
        let mut dialogue = Dialogue::with(&tenants.doorward.browser(), origin).await;
        let head = format!("GET /public/x HTTP/1.1\r\nHost: {label}tenants.localhost:8080\r\n\r\n");
        let reply = dialogue.request("GET", head).await;
        assert_eq!(reply.status(), status, "{label}");
    }
    // Port and domain must match too.
    for host in [
        "blue.tenants.localhost",
        "blue.tenants.localhost:81",
        "blue.tenants.localhost.:8080",
    ] {
        let mut dialogue = Dialogue::with(&tenants.doorward.browser(), origin).await;
        let head = format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(dialogue.request("GET", head).await.status(), 421, "{host}");
    }
}

#[tokio::test]
async fn label_that_is_not_listed_is_misdirected() {
    let tenants = Tenants::start("wildcard_labels = [\"blue\", \"green\"]", "");
    let mut browser = tenants.doorward.browser();
    assert_eq!(browser.step(&url("green", "/public/x")).await.status(), 200);
    let page = browser.step(&url("red", "/public/x")).await;
    assert_error_page(&page, 421, "misdirected");
    assert_eq!(tenants.backend.count(), 1);
}

#[tokio::test]
async fn logout_token_ends_sessions_of_all_labels() {
    let tenants = Tenants::start("", "");
    let mut browser = tenants.doorward.browser();
    for label in ["blue", "green"] {
        assert_eq!(browser.visit(&url(label, "/cart")).await.status(), 200);
    }
    let claims = json!({ "sub": "alice-id" });
    let token = tenants
        .doorward
        .provider
        .logout_token("tenants", &claims, &[]);
    let request = RequestSpec::new(Kind::Program, &url("blue", "/.doorward/backchannel-logout"))
        .method("POST")
        .body(
            "application/x-www-form-urlencoded",
            format!("logout_token={token}"),
        );
    let page = tenants.doorward.browser().send(request).await;
    assert_eq!(page.status(), 200, "{page}");
    for label in ["blue", "green"] {
        let page = browser.step(&url(label, "/cart")).await;
        assert_login_starts(&tenants.doorward, &page);
    }
}

#[tokio::test]
async fn upstreams_of_labels_are_bounded() {
    let tenants = Tenants::start("wildcard_max_hosts = 2", "");
    let mut browser = tenants.doorward.browser();
    assert_eq!(browser.visit(&url("blue", "/cart")).await.status(), 200);
    for number in 0..40 {
        let label = format!("label-{number}");
        let page = browser.step(&url(&label, "/public/x")).await;
        assert_eq!(page.status(), 200, "{page}");
        let host = tenants.seen("host").unwrap();
        assert!(
            host.starts_with(&format!("{label}.backend.localhost")),
            "{host}"
        );
    }
    let open = tenants
        .doorward
        .metric("doorward_upstream_label_pools{app=\"tenants\"}")
        .await;
    // Two workers.
    assert!((1.0..=4.0).contains(&open), "{open}");
    let closed = tenants
        .doorward
        .metric("doorward_upstream_label_pools_closed_total{app=\"tenants\"}")
        .await;
    assert_eq!(open + closed, 41.0);
    // A host that was forgotten meanwhile has its sessions.
    assert_eq!(browser.step(&url("blue", "/cart")).await.status(), 200);
}
