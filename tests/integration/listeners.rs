//! Several listeners, redirects to https, HSTS, and the host and scheme that proxies report.

use crate::support::assertions::{Dialogue, Reply, assert_error_page};
use crate::support::backend::Backend;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const TLS: usize = 0;
const REDIRECT: usize = 1;
const PLAIN: usize = 2;
const TRUSTING: &str =
    "trusted_proxies = [\"127.0.0.0/8\"]\nforwarded_host = true\nforwarded_proto = true";

/// A listener with TLS, one that redirects, and one for proxies.
fn setup() -> Setup {
    Setup::over_tls()
        .listeners(&["", "redirect_to_https = true", "tls = false"])
        .store("hsts = true\naliases = [\"http://store.example.test:8080\", \"http://old.example.test\"]")
}

/// A browser for `http` and `https` URLs without a port.
fn browser(doorward: &Doorward) -> Browser {
    let browser = doorward
        .browser()
        .with_port(443, doorward.listener_port(TLS));
    browser.with_port(80, doorward.listener_port(REDIRECT))
}

/// The response to a request with these fields, `Host` included, at a plain listener.
async fn told(doorward: &Doorward, listener: usize, fields: &[&str]) -> Reply {
    let port = doorward.listener_port(listener);
    let origin = format!("http://127.0.0.1:{port}");
    let mut dialogue = Dialogue::with(&doorward.browser(), &origin).await;
    let head = ["GET /public/x HTTP/1.1", &fields.join("\r\n"), "", ""].join("\r\n");
    dialogue.request("GET", head).await
}

const HSTS: &str = "strict-transport-security";

#[tokio::test]
async fn redirect_listener_sends_browsers_to_https() {
    let doorward = setup().start();
    let mut browser = browser(&doorward);
    for host in ["store.example.test", "old.example.test"] {
        for kind in [Kind::Navigation, Kind::Program] {
            let url = format!("http://{host}/public/a?b=%20c");
            let page = browser.send(RequestSpec::new(kind, &url)).await;
            assert_eq!(page.status(), 308, "{page}");
            let expected = "https://store.example.test/public/a?b=%20c";
            assert_eq!(page.header("location"), Some(expected));
            assert_eq!(page.header(HSTS), None);
        }
    }
    assert_eq!(doorward.store.count(), 0);
    doorward.sign_in("alice");
    let page = browser.visit("http://store.example.test/cart").await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(page.url.as_str(), "https://store.example.test/cart");
    assert_eq!(doorward.store_saw().as_deref(), Some("alice-id"));
}

#[tokio::test]
async fn redirect_listener_serves_nothing_and_redirects_to_known_hosts_only() {
    let doorward = setup().start();
    let mut browser = browser(&doorward);
    let page = browser.step("http://stranger.example.test/").await;
    assert_error_page(&page, 421, "misdirected");
    let post = RequestSpec::new(Kind::Navigation, "http://store.example.test/public/x")
        .method("POST")
        .body("application/x-www-form-urlencoded", "a=b");
    let page = browser.send(post).await;
    assert_error_page(&page, 421, "misdirected");
    for path in [
        "//evil.example/",
        "/\\evil.example/",
        "/%2f%2fevil.example/",
    ] {
        let target = format!("GET {path} HTTP/1.1\r\nHost: store.example.test\r\n\r\n");
        let origin = format!("http://127.0.0.1:{}", doorward.listener_port(REDIRECT));
        let mut dialogue = Dialogue::with(&doorward.browser(), &origin).await;
        let reply = dialogue.request("GET", target).await;
        let location = reply.head.header("location").unwrap_or_default();
        let stays = location.starts_with("https://store.example.test/");
        assert!(reply.status() >= 400 || stays, "{path}: {location}");
    }
    assert_eq!(doorward.store.count(), 0);
}

#[tokio::test]
async fn redirect_listener_refuses_app_without_https() {
    let doorward = Setup::plain()
        .listeners(&["", "redirect_to_https = true"])
        .start();
    let host = "Host: store.localhost:8080";
    assert_eq!(told(&doorward, 0, &[host]).await.status(), 200);
    assert_eq!(told(&doorward, REDIRECT, &[host]).await.status(), 421);
}

#[tokio::test]
async fn hsts_is_sent_over_https_only() {
    let doorward = setup().server(TRUSTING).start();
    let mut browser = browser(&doorward);
    let host = "Host: store.example.test";
    for path in ["/public/x", "/.doorward/nothing", "/cart"] {
        let page = browser
            .step(&format!("https://store.example.test{path}"))
            .await;
        // The browser's own connection is that of a trusted proxy, which reports no scheme.
        assert_eq!(page.header(HSTS), None, "{page}");
        let asked = RequestSpec::new(
            Kind::Navigation,
            &format!("https://store.example.test{path}"),
        );
        let page = browser
            .send(asked.header("X-Forwarded-Proto", "https"))
            .await;
        assert_eq!(page.header(HSTS), Some("max-age=31536000"), "{page}");
    }
    for (fields, expected) in [
        (&[host][..], None),
        (&[host, "X-Forwarded-Proto: http"], None),
        (
            &[host, "X-Forwarded-Proto: https"],
            Some("max-age=31536000"),
        ),
        (
            &["Host: forum.example.test", "X-Forwarded-Proto: https"],
            None,
        ),
    ] {
        let reply = told(&doorward, PLAIN, fields).await;
        assert_eq!(reply.head.header(HSTS), expected, "{fields:?}");
    }
    let direct = setup().start();
    let page = self::browser(&direct)
        .step("https://store.example.test/public/x")
        .await;
    assert_eq!(page.header(HSTS), Some("max-age=31536000"), "{page}");
    let untrusted = told(&direct, PLAIN, &[host, "X-Forwarded-Proto: https"]).await;
    assert_eq!(untrusted.head.header(HSTS), None);
}

#[tokio::test]
async fn scheme_from_trusted_proxy_decides_the_redirect() {
    let doorward = setup().server(TRUSTING).start();
    let host = "Host: store.example.test";
    for (fields, status) in [
        (&[host][..], 200),
        (&[host, "X-Forwarded-Proto: https"], 200),
        (&[host, "X-Forwarded-Proto: http"], 308),
        (&[host, "X-Forwarded-Proto: https, http"], 400),
        (
            &[host, "X-Forwarded-Proto: https", "X-Forwarded-Proto: https"],
            400,
        ),
        (
            &[
                host,
                "X-Forwarded-Proto: https",
                "Forwarded: for=1.2.3.4;proto=http",
            ],
            400,
        ),
    ] {
        let reply = told(&doorward, PLAIN, fields).await;
        assert_eq!(reply.status(), status, "{fields:?}");
    }
    // A browser that is known to use https never meets a redirect to https.
    let looping = told(&doorward, REDIRECT, &[host, "X-Forwarded-Proto: https"]).await;
    assert_eq!(looping.status(), 421);
}

#[tokio::test]
async fn host_from_trusted_proxy_selects_the_app() {
    let doorward = setup().server(TRUSTING).start();
    let internal = "Host: doorward.internal:8080";
    for (forwarded, status) in [
        (&["X-Forwarded-Host: Store.example.test"][..], 200),
        (&["X-Forwarded-Host: store.example.test:443"], 200),
        (&["X-Forwarded-Host: stranger.example.test"], 421),
        (&[], 421),
        (
            &["X-Forwarded-Host: store.example.test, store.example.test"],
            400,
        ),
        (
            &[
                "X-Forwarded-Host: store.example.test",
                "X-Forwarded-Host: forum.example.test",
            ],
            400,
        ),
        (
            &[
                "X-Forwarded-Host: store.example.test",
                "Forwarded: host=forum.example.test",
            ],
            400,
        ),
        (&["X-Forwarded-Host: store.example.test/x"], 400),
        (&["X-Forwarded-Host: u@store.example.test"], 400),
    ] {
        let fields = [&[internal][..], forwarded].concat();
        let reply = told(&doorward, PLAIN, &fields).await;
        assert_eq!(reply.status(), status, "{forwarded:?}");
        if status == 200 {
            let host = doorward
                .store
                .last()
                .header("x-forwarded-host")
                .map(str::to_owned);
            assert_eq!(host.as_deref(), Some("store.example.test"));
        }
    }
    // Neither an untrusted peer nor the default setting lets the header name the host.
    for server in [
        "trusted_proxies = [\"10.0.0.0/8\"]\nforwarded_host = true",
        "trusted_proxies = [\"127.0.0.0/8\"]",
    ] {
        let strict = setup().server(server).start();
        let fields = [internal, "X-Forwarded-Host: store.example.test"];
        assert_eq!(told(&strict, PLAIN, &fields).await.status(), 421);
    }
}

#[tokio::test]
async fn forwarded_header_names_host_and_scheme() {
    let server = format!("{TRUSTING}\nforwarded_header = \"forwarded\"");
    let doorward = setup().server(&server).start();
    let internal = "Host: doorward.internal";
    for (forwarded, status) in [
        (
            "Forwarded: for=1.2.3.4;host=store.example.test;proto=https",
            200,
        ),
        (
            "Forwarded: for=1.2.3.4;host=\"store.example.test:443\"",
            200,
        ),
        (
            "Forwarded: for=1.2.3.4;host=store.example.test;proto=http",
            308,
        ),
        (
            "Forwarded: host=store.example.test, host=store.example.test",
            400,
        ),
        ("X-Forwarded-Host: store.example.test", 421),
    ] {
        let reply = told(&doorward, PLAIN, &[internal, forwarded]).await;
        assert_eq!(reply.status(), status, "{forwarded}");
    }
}

#[tokio::test]
async fn host_without_port_from_a_proxy_is_served() {
    let backend = Backend::start();
    let app = format!(
        "[apps.third]\nprovider = \"login\"\npublic_url = \"https://third.example.test:8443\"\n\
         aliases = [\"https://third.example.test\"]\nupstream = \"{}\"\nclient_id = \"store\"\n\
         client_secret_file = \"store.secret\"\n\
         [[apps.third.rules]]\npaths = [\"/public/**\"]\nallow = \"public\"\n",
        backend.url()
    );
    let doorward = setup().more(&app).start();
    let without_port = "Host: third.example.test";
    for fields in [without_port, "Host: third.example.test:8443"] {
        assert_eq!(
            told(&doorward, PLAIN, &[fields]).await.status(),
            200,
            "{fields}"
        );
        let seen = backend.last().header("x-forwarded-host").map(str::to_owned);
        assert_eq!(seen.as_deref(), Some("third.example.test:8443"));
    }
    // A browser that names another port is redirected.
    let other_port = "Host: third.example.test:443";
    let navigation = ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
    let fields = [&[other_port][..], &navigation].concat();
    let reply = told(&doorward, PLAIN, &fields).await;
    assert_eq!(reply.status(), 308);
    // The redirect listener knows the browser's own address.
    let reply = told(&doorward, REDIRECT, &[without_port]).await;
    assert_eq!(
        (reply.status(), reply.head.header("location")),
        (308, Some("https://third.example.test:8443/public/x"))
    );
}

#[tokio::test]
async fn listeners_share_one_limit_of_connections() {
    let doorward = setup().server("max_connections_per_client = 2").start();
    let mut held = Vec::new();
    for listener in [REDIRECT, PLAIN] {
        let origin = format!("http://127.0.0.1:{}", doorward.listener_port(listener));
        let mut dialogue = Dialogue::with(&doorward.browser(), &origin).await;
        let reply = dialogue
            .request(
                "GET",
                "GET /public/x HTTP/1.1\r\nHost: store.example.test\r\n\r\n",
            )
            .await;
        assert!(reply.status() < 400);
        held.push(dialogue);
    }
    let origin = format!("http://127.0.0.1:{}", doorward.listener_port(PLAIN));
    let mut third = Dialogue::with(&doorward.browser(), &origin).await;
    third
        .say("GET /public/x HTTP/1.1\r\nHost: store.example.test\r\n\r\n")
        .await;
    assert!(third.hear_end().await.is_empty());
}
