//! A backend that is down, slow, aborts or misbehaves: the error names the cause, and the session
//! is not affected.

use crate::support::assertions::{CART, SOON, alice, assert_error_page, assert_problem, fetched};
use crate::support::backend::{Answer, Content, Cut};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::gate::Gate;
use crate::support::websocket::upgrade_headers;

#[tokio::test]
async fn backend_down_yields_502_until_it_returns() {
    let mut doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let before = browser.jar.of(doorward.store_host()).len();
    doorward.store.stop();
    let page = browser.step(&doorward.store_url(CART)).await;
    let reference = assert_error_page(&page, 502, "upstream_connect_refused");
    assert_eq!(
        doorward.log.line(CART, "upstream_connect_refused").await["request_id"],
        reference.as_str()
    );
    assert_problem(
        &fetched(&mut browser, &doorward.store_url(CART)).await,
        502,
        "upstream_connect_refused",
    );
    assert_eq!(
        browser.jar.of(doorward.store_host()).len(),
        before,
        "the session stays"
    );
    let series = format!(
        r#"doorward_upstream_errors_total{{app="store",code="upstream_connect_refused",upstream="{}"}}"#,
        doorward.store.url()
    );
    assert_eq!(doorward.metric(&series).await, 2.0);
    doorward.store.restart();
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn backend_timeout_yields_504() {
    let doorward = Setup::plain().store("response_timeout = \"1s\"").start();
    let mut browser = alice(&doorward).await;
    let gate = Gate::default();
    doorward.store.response(
        "/slow",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let page = browser.step(&doorward.store_url("/slow")).await;
    assert_error_page(&page, 504, "upstream_response_timeout");
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
    gate.open();
    assert_eq!(
        browser.step(&doorward.store_url("/slow")).await.status(),
        200
    );
}

#[tokio::test]
async fn backend_closing_before_response_yields_502() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    doorward.store.response(
        "/cut",
        Answer {
            cut: Some(Cut::BeforeHead),
            ..Answer::default()
        },
    );
    for method in ["GET", "POST"] {
        let request = RequestSpec::new(Kind::Fetch, &doorward.store_url("/cut")).method(method);
        let before = doorward.store.count();
        assert_problem(
            &browser.send(request).await,
            502,
            "upstream_connection_closed",
        );
        let tries = doorward.store.count() - before;
        // A GET may be repeated after a reused connection failed; a POST is not.
        assert!(
            tries == 1 || (method == "GET" && tries == 2),
            "{method} was sent {tries} times"
        );
    }
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn truncated_response_is_never_presented_as_complete() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let half = |body| Answer {
        cut: Some(Cut::InsideBody),
        body,
        ..Answer::default()
    };
    doorward
        .store
        .response("/length", half(Content::Bytes(vec![b'y'; 10_000])));
    doorward
        .store
        .response("/chunks", half(Content::Big(1_000_000)));
    for path in ["/length", "/chunks"] {
        let outcome = browser
            .try_send(RequestSpec::new(Kind::Fetch, &doorward.store_url(path)))
            .await;
        assert!(
            outcome.is_err(),
            "{path}: half an answer was taken for a whole one"
        );
        doorward.log.line(path, "upstream_body_aborted").await;
    }
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn set_cookie_under_doorward_names_is_dropped() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let doorward = setup.start();
        let mut browser = alice(&doorward).await;
        let mut response = Answer::default().with_header("Set-Cookie", "cart=3; Path=/");
        let forged = [
            "doorward_jwt",
            "__Host-doorward_refresh",
            "__Secure-doorward_login_x",
            "DOORWARD_activity",
        ];
        for name in forged {
            response =
                response.with_header("Set-Cookie", &format!("{name}=forged; Path=/; Secure"));
        }
        let response = response
            .with_header("set-cookie", "  doorward_browser=forged")
            .with_header("Set-Cookie", "last=1");
        doorward.store.response("/sets", response.clone());
        doorward.store.response("/public/sets", response);
        for path in ["/sets", "/public/sets"] {
            let page = browser.step(&doorward.store_url(path)).await;
            let lines: Vec<_> = page.head.all("set-cookie");
            assert_eq!(lines, ["cart=3; Path=/", "last=1"], "{path}");
        }
        assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
        assert_eq!(
            doorward.store.last().header("cookie"),
            Some("cart=3; last=1")
        );
    }
}

#[tokio::test]
async fn authenticated_response_is_not_publicly_cacheable() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let public = Answer::default()
        .with_header("Cache-Control", "public, max-age=60, s-maxage=600")
        .with_header("Surrogate-Control", "max-age=600")
        .with_header("CDN-Cache-Control", "max-age=600");
    for path in ["/mine", "/public/shared"] {
        doorward.store.response(path, public.clone());
    }
    doorward.store.response(
        "/strict",
        Answer::default().with_header("Cache-Control", "no-store"),
    );
    let cache = async |browser: &mut crate::support::browser::Browser, path: &str| {
        let page = browser.step(&doorward.store_url(path)).await;
        let fields = ["cache-control", "surrogate-control", "cdn-cache-control"];
        fields.map(|name| page.header(name).map(str::to_owned))
    };
    for path in ["/mine", "/public/shared"] {
        let [control, surrogate, cdn] = cache(&mut browser, path).await;
        assert_eq!(
            (control.as_deref(), surrogate, cdn),
            (Some("private, max-age=60"), None, None),
            "{path}"
        );
    }
    assert_eq!(
        cache(&mut browser, CART).await[0].as_deref(),
        Some("private")
    );
    assert_eq!(
        cache(&mut browser, "/strict").await[0].as_deref(),
        Some("no-store")
    );
    let [control, surrogate, _] = cache(&mut doorward.browser(), "/public/shared").await;
    assert_eq!(
        control.as_deref(),
        Some("public, max-age=60, s-maxage=600"),
        "nobody was named"
    );
    assert_eq!(surrogate.as_deref(), Some("max-age=600"));
}

#[tokio::test]
async fn unrequested_protocol_switch_yields_502() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let switch = Answer {
        status: 101,
        ..Answer::default()
    }
    .with_header("Connection", "Upgrade")
    .with_header("Upgrade", "websocket");
    doorward.store.response("/switch", switch);
    let asked = browser.send(RequestSpec::new(
        Kind::Fetch,
        &doorward.store_url("/switch"),
    ));
    let page = tokio::time::timeout(SOON, asked)
        .await
        .expect("an answer in time");
    assert_problem(&page, 502, "upstream_bad_response");
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn refused_upgrade_is_an_ordinary_response() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let mut request = RequestSpec::new(Kind::Fetch, &doorward.store_url("/no-socket"));
    request.headers = upgrade_headers();
    // This backend does not accept WebSockets here and responds like any page.
    request.headers.retain(|(name, _)| name != "Upgrade");
    request
        .headers
        .push(("Upgrade".to_owned(), "something/1".to_owned()));
    let page = browser.send(request).await;
    assert_eq!(page.status(), 200, "{page}");
    let seen = doorward.store.last();
    assert_eq!(
        (seen.header("upgrade"), seen.header("connection")),
        (None, None)
    );
}
