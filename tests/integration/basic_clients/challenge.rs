//! When a response asks for a password, and who may send one.

use super::{Client, basic, checks, started};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const CHALLENGE: &str = "Basic realm=\"store.localhost\", charset=\"UTF-8\"";

fn challenges(page: &Page) -> Vec<&str> {
    page.head.all("www-authenticate")
}

async fn request(doorward: &Doorward, kind: Kind, path: &str) -> Page {
    let spec = RequestSpec::new(kind, &doorward.store_url(path));
    doorward.browser().send(spec).await
}

#[tokio::test]
async fn password_is_asked_for_where_a_rule_accepts_nothing_else() {
    let doorward = started(Setup::plain());
    for kind in [Kind::Program, Kind::Navigation, Kind::Fetch] {
        let page = request(&doorward, kind, "/dav/x").await;
        assert_eq!(page.status(), 401, "{kind:?}: {page}");
        assert_eq!(challenges(&page), [CHALLENGE], "{kind:?}");
    }
    let page = request(&doorward, Kind::Program, "/dav/x").await;
    assert_eq!(page.json()["code"], "password_missing");
    let mut alice = Client::new(&doorward, "alice", "wrong");
    let page = alice.get("/dav/x").await;
    assert_eq!(challenges(&page), [CHALLENGE], "{page}");
    assert_eq!(page.json()["code"], "wrong_credentials");
}

#[tokio::test]
async fn browsers_log_in_where_they_can() {
    let doorward = started(Setup::plain());
    let page = request(&doorward, Kind::Navigation, "/both/x").await;
    assert_eq!((page.status(), challenges(&page).len()), (302, 0));
    let page = request(&doorward, Kind::Fetch, "/both/x").await;
    assert_eq!(challenges(&page), ["Cookie realm=\"doorward\""]);
    let page = request(&doorward, Kind::Program, "/both/x").await;
    assert_eq!(challenges(&page), [CHALLENGE, "Cookie realm=\"doorward\""]);
    let page = request(&doorward, Kind::Program, "/elsewhere").await;
    assert_eq!(challenges(&page), ["Cookie realm=\"doorward\""]);
}

#[tokio::test]
async fn realm_is_a_setting() {
    let setup = Setup::plain().more("[apps.store.basic]\nrealm = \"Calendar\"\n");
    let page = request(&started(setup), Kind::Program, "/dav/x").await;
    assert_eq!(
        challenges(&page),
        ["Basic realm=\"Calendar\", charset=\"UTF-8\""]
    );
}

#[tokio::test]
async fn malformed_credentials_are_refused_unchecked() {
    let doorward = started(Setup::plain());
    let mut client = Client::alice(&doorward);
    for field in [
        "Basic",
        "Basic ?",
        "basic YWxpY2U=",
        "Basic YWxpY2U6",
        "BASIC=YTpi",
    ] {
        field.clone_into(&mut client.authorization);
        client.is_refused("/dav/x", "basic_malformed").await;
    }
    "Digest YTpi".clone_into(&mut client.authorization);
    client.is_refused("/dav/x", "password_missing").await;
    assert_eq!(checks(&doorward), 0);
}

/// Browsers add a password that their user typed to requests that other sites cause.
#[tokio::test]
async fn page_of_another_site_cannot_use_the_password() {
    let doorward = started(Setup::plain());
    let mut alice = Client::alice(&doorward);
    alice.is_served("/dav/x").await;
    let reached = doorward.store.count();
    let evil = url::Url::parse("https://evil.test/page").expect("a URL");
    let url = doorward.store_url("/dav/x");
    for spec in [
        RequestSpec::new(Kind::Navigation, &url)
            .method("POST")
            .from(&evil),
        RequestSpec::new(Kind::Image, &url).from(&evil),
        RequestSpec::new(Kind::Frame, &url).from(&evil),
        RequestSpec::new(Kind::Program, &url)
            .method("DELETE")
            .header("Origin", "https://evil.test"),
    ] {
        let what = format!("{spec:?}");
        let page = alice.send(spec).await;
        assert_eq!(page.status(), 403, "{what}: {page}");
        assert!(page.text().contains("cross_site"), "{what}: {page}");
    }
    assert_eq!(doorward.store.count(), reached);
    // A link leads to the app, and its own pages may do what they want.
    let link = RequestSpec::new(Kind::Navigation, &url).from(&evil);
    assert_eq!(alice.send(link).await.status(), 200);
    let own = url::Url::parse(&doorward.store_url("/dav/page")).expect("a URL");
    let form = RequestSpec::new(Kind::Navigation, &url)
        .method("POST")
        .from(&own);
    assert_eq!(alice.send(form).await.status(), 200);
}

#[tokio::test]
async fn password_over_plain_http_is_refused_at_an_https_app() {
    let listeners = ["tls = false", "tls = true"];
    let doorward = started(Setup::over_tls().listeners(&listeners));
    let plain = RequestSpec::new(Kind::Program, "http://store.example.test/dav/x");
    let mut browser = doorward.browser().with_port(80, doorward.listener_port(0));
    for spec in [
        plain.clone(),
        plain.header("Authorization", &basic("alice", super::PASSWORD)),
    ] {
        let page = browser.send(spec).await;
        assert_eq!(
            (page.status(), page.json()["code"].as_str()),
            (403, Some("password_over_http")),
            "{page}"
        );
        assert_eq!(page.header("www-authenticate"), None);
    }
    assert_eq!(checks(&doorward), 0);
    let mut alice = Client::alice(&doorward);
    alice.http = doorward.browser().with_port(443, doorward.listener_port(1));
    alice.is_served("/dav/x").await;
}

#[tokio::test]
async fn trusted_proxy_may_pass_passwords_on() {
    let setup = Setup::over_tls()
        .listeners(&["tls = false"])
        .server("trusted_proxies = [\"127.0.0.0/8\"]");
    let doorward = started(setup);
    let spec = RequestSpec::new(Kind::Program, "http://store.example.test/dav/x")
        .header("Authorization", &basic("alice", super::PASSWORD));
    let mut browser = doorward.browser().with_port(80, doorward.listener_port(0));
    assert_eq!(browser.send(spec).await.status(), 200);
}
