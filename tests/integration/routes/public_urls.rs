//! Response fields in which the upstream of a route names itself: clients get the public URLs.

use super::{Wiki, route};
use crate::support::assertions::{alice, fetched};
use crate::support::backend::{Answer, Backend, Content};
use crate::support::doorward::Setup;

const BODY: &[u8] = b"<a href=\"/login\">";

#[tokio::test]
async fn fields_of_the_upstream_are_rewritten_and_bodies_are_not() {
    for (lines, own) in [
        ("strip_prefix = \"/wiki\"", ""),
        ("strip_prefix = \"/wiki\"\nadd_prefix = \"/app\"", "/app"),
        ("strip_prefix = \"/wiki\"\nupstream_host = \"upstream\"", ""),
    ] {
        let routed = Wiki::start(Setup::plain(), lines);
        let url = routed.wiki.url();
        let response = Answer {
            body: Content::Bytes(BODY.to_vec()),
            ..Answer::default()
        };
        let response = response
            .with_header("Location", &format!("{url}{own}/login?next=/x"))
            .with_header("Content-Location", &format!("{own}/a.html"))
            .with_header("Refresh", &format!("5; url={own}/b"))
            .with_header("Link", &format!("<{own}/c.css>; rel=preload"))
            .with_header("Link", "<https://cdn.test/c.css>; rel=preload")
            .with_header("Set-Cookie", &format!("a=1; Path={own}/; Domain=127.0.0.1"))
            .with_header("Set-Cookie", "b=1; Domain=evil.test")
            .with_header("Set-Cookie", "__Host-c=1; Path=/; Secure")
            .with_header("Set-Cookie", "doorward_jwt=evil; Path=/")
            .with_header("X-Elsewhere", "/login");
        routed.wiki.response(&format!("{own}/public/x"), response);
        let reply = routed.request("/wiki/public/x", "").await;
        let head = &reply.head;
        let public = "http://store.localhost:8080/wiki/login?next=/x";
        assert_eq!(head.all("location"), [public], "{lines}");
        assert_eq!(head.all("content-location"), ["/wiki/a.html"]);
        assert_eq!(head.all("refresh"), ["5; url=/wiki/b"]);
        let links = [
            "</wiki/c.css>; rel=preload",
            "<https://cdn.test/c.css>; rel=preload",
        ];
        assert_eq!(head.all("link"), links);
        let cookies = [
            "a=1; Path=/wiki; Domain=",
            "b=1; Domain=evil.test",
            "__Host-c=1; Path=/; Secure",
        ];
        assert_eq!(head.all("set-cookie"), cookies);
        assert_eq!(head.all("x-elsewhere"), ["/login"]);
        assert_eq!(reply.body, BODY);
    }
}

#[tokio::test]
async fn redirects_to_other_hosts_are_untouched() {
    let routed = Wiki::stripping();
    for location in [
        "https://login.example.com/x",
        "//cdn.test/x",
        "/wiki/x",
        "relative",
        "?page=2",
        "http://store.localhost:9090/x",
    ] {
        let response = Answer {
            status: 302,
            ..Answer::default()
        };
        let response = response.with_header("Location", location);
        routed.wiki.response("/public/x", response.clone());
        let reply = routed.request("/wiki/public/x", "").await;
        assert_eq!(reply.head.all("location"), [location]);
        // The app's own upstream has no route.
        routed.doorward.store.response("/public/x", response);
        let reply = routed.request("/public/x", "").await;
        assert_eq!(reply.head.all("location"), [location]);
    }
}

/// Two apps under one origin, with a cookie of the same name each.
#[tokio::test]
async fn cookies_of_two_upstreams_stay_apart() {
    let shop = Backend::start();
    let shop_route = route(&shop, "strip_prefix = \"/shop\"").replace("/wiki/**", "/shop/**");
    let setup = Setup::plain().more(&shop_route);
    let Wiki { doorward, wiki } = Wiki::start(setup, "strip_prefix = \"/wiki\"");
    for (backend, value) in [(&wiki, "wiki"), (&shop, "shop")] {
        let cookie = format!("session={value}; Path=/; HttpOnly");
        backend.response(
            "/login",
            Answer::default().with_header("Set-Cookie", &cookie),
        );
    }
    let mut browser = alice(&doorward).await;
    for page in ["/wiki/login", "/shop/login", "/wiki/a", "/shop/b", "/c"] {
        fetched(&mut browser, &doorward.store_url(page)).await;
    }
    assert_eq!(wiki.last().header("cookie"), Some("session=wiki"));
    assert_eq!(shop.last().header("cookie"), Some("session=shop"));
    assert_eq!(doorward.store.last().header("cookie"), None);
}
