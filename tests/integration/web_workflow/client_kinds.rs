//! The response to a client without a session: a login, a page that links to it, or a problem document.

use super::CART;
use crate::support::assertions::{assert_error_page, assert_login_starts, assert_problem};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::Endpoint;

const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml;q=0.9");

async fn request(doorward: &Doorward, path: &str, headers: &[(&str, &str)]) -> Page {
    let spec = RequestSpec::new(Kind::Program, &doorward.store_url(path));
    let add = |spec: RequestSpec, (name, value): &(&str, &str)| spec.header(name, value);
    let spec = headers.iter().fold(spec, add);
    doorward.browser().send(spec).await
}

fn login_link(page: &Page) -> String {
    let mut links = page.links().into_iter().map(|(target, _)| target);
    links
        .find(|target| target.starts_with("/.doorward/login"))
        .unwrap_or_else(|| panic!("no link to a login: {page}"))
}

#[tokio::test]
async fn navigation_through_a_service_worker_starts_a_login() {
    let doorward = Setup::plain().start();
    let headers = [
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "empty"),
        HTML,
    ];
    assert_login_starts(&doorward, &request(&doorward, CART, &headers).await);
}

#[tokio::test]
async fn script_that_prefers_html_gets_a_page_with_a_login_link() {
    let doorward = Setup::plain().start();
    let referer = doorward.store_url("/before");
    for mode in ["same-origin", "cors"] {
        let headers = [
            ("Sec-Fetch-Mode", mode),
            ("Sec-Fetch-Dest", "empty"),
            ("Referer", referer.as_str()),
            HTML,
        ];
        let page = request(&doorward, "/orders?page=2", &headers).await;
        assert_error_page(&page, 401, "no_session");
        assert_eq!(
            login_link(&page),
            "/.doorward/login?return_to=%2Forders%3Fpage%3D2"
        );
        // A script library loads parts of pages: the page that contains them is meant.
        let headers = [&headers[..], &[("X-Requested-With", "XMLHttpRequest")]].concat();
        let page = request(&doorward, "/orders?page=2", &headers).await;
        assert_eq!(login_link(&page), "/.doorward/login?return_to=%2Fbefore");
    }
    let json = [
        ("Sec-Fetch-Mode", "cors"),
        ("Accept", "application/json, text/html"),
    ];
    assert_problem(&request(&doorward, CART, &json).await, 401, "no_session");
}

#[tokio::test]
async fn referer_that_is_no_page_is_no_return_target() {
    let doorward = Setup::plain().start();
    for (referer, expected) in [
        ("/orders?page=2", "%2Forders%3Fpage%3D2"),
        ("/users/j.smith", "%2Fusers%2Fj.smith"),
        ("/sw.js", "%2F"),
        ("/assets/site.CSS?v=7", "%2F"),
    ] {
        let referer = doorward.store_url(referer);
        let headers = [("Sec-Fetch-Mode", "cors"), ("Referer", referer.as_str())];
        let page = request(&doorward, "/api/orders", &headers).await;
        assert_problem(&page, 401, "no_session");
        let login = doorward.store_url(&format!("/.doorward/login?return_to={expected}"));
        assert_eq!(page.json()["login_url"].as_str(), Some(login.as_str()));
    }
}

#[tokio::test]
async fn prefetch_starts_no_login() {
    let doorward = Setup::plain().start();
    for announced in [
        ("Sec-Purpose", "prefetch;prerender"),
        ("Purpose", "prefetch"),
        ("X-Purpose", "preview"),
        ("X-Moz", "prefetch"),
    ] {
        let page = request(&doorward, CART, &[announced, HTML]).await;
        assert_error_page(&page, 401, "no_session");
        assert!(page.head.all("set-cookie").is_empty(), "{page}");
    }
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), 0);
}
