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
    let mut door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let before = browser.jar.of(door.store_host()).len();
    door.store.stop();
    let page = browser.step(&door.store_url(CART)).await;
    let reference = assert_error_page(&page, 502, "upstream_connect_refused");
    assert_eq!(
        door.log.line(CART, "upstream_connect_refused").await["request_id"],
        reference.as_str()
    );
    assert_problem(
        &fetched(&mut browser, &door.store_url(CART)).await,
        502,
        "upstream_connect_refused",
    );
    assert_eq!(
        browser.jar.of(door.store_host()).len(),
        before,
        "the session stays"
    );
    let series = r#"doorward_upstream_errors_total{app="store",code="upstream_connect_refused"}"#;
    assert_eq!(door.metric(series).await, 2.0);
    door.store.restart();
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn backend_timeout_yields_504() {
    let door = Setup::plain().store("response_timeout = \"1s\"").start();
    let mut browser = alice(&door).await;
    let gate = Gate::default();
    door.store.answer(
        "/slow",
        Answer {
            gate: Some(gate.clone()),
            ..Answer::default()
        },
    );
    let page = browser.step(&door.store_url("/slow")).await;
    assert_error_page(&page, 504, "upstream_response_timeout");
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
    gate.open();
    assert_eq!(browser.step(&door.store_url("/slow")).await.status(), 200);
}

#[tokio::test]
async fn backend_closing_before_response_yields_502() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    door.store.answer(
        "/cut",
        Answer {
            cut: Some(Cut::BeforeHead),
            ..Answer::default()
        },
    );
    for method in ["GET", "POST"] {
        let ask = RequestSpec::new(Kind::Fetch, &door.store_url("/cut")).method(method);
        let before = door.store.count();
        assert_problem(&browser.send(ask).await, 502, "upstream_connection_closed");
        let tries = door.store.count() - before;
        // A GET may be repeated after a reused connection failed; a POST is not.
        assert!(
            tries == 1 || (method == "GET" && tries == 2),
            "{method} was sent {tries} times"
        );
    }
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn truncated_response_is_never_presented_as_complete() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let half = |body| Answer {
        cut: Some(Cut::InsideBody),
        body,
        ..Answer::default()
    };
    door.store
        .answer("/length", half(Content::Bytes(vec![b'y'; 10_000])));
    door.store.answer("/chunks", half(Content::Big(1_000_000)));
    for path in ["/length", "/chunks"] {
        let outcome = browser
            .try_send(RequestSpec::new(Kind::Fetch, &door.store_url(path)))
            .await;
        assert!(
            outcome.is_err(),
            "{path}: half an answer was taken for a whole one"
        );
        door.log.line(path, "upstream_body_aborted").await;
    }
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn set_cookie_under_doorward_names_is_dropped() {
    for setup in [Setup::plain(), Setup::over_tls()] {
        let door = setup.start();
        let mut browser = alice(&door).await;
        let mut answer = Answer::default().with_header("Set-Cookie", "cart=3; Path=/");
        let forged = [
            "doorward_jwt",
            "__Host-doorward_refresh",
            "__Secure-doorward_login_x",
            "DOORWARD_activity",
        ];
        for name in forged {
            answer = answer.with_header("Set-Cookie", &format!("{name}=forged; Path=/; Secure"));
        }
        let answer = answer
            .with_header("set-cookie", "  doorward_browser=forged")
            .with_header("Set-Cookie", "last=1");
        door.store.answer("/sets", answer.clone());
        door.store.answer("/public/sets", answer);
        for path in ["/sets", "/public/sets"] {
            let page = browser.step(&door.store_url(path)).await;
            let lines: Vec<_> = page.head.all("set-cookie");
            assert_eq!(lines, ["cart=3; Path=/", "last=1"], "{path}");
        }
        assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
        assert_eq!(door.store.last().header("cookie"), Some("cart=3; last=1"));
    }
}

#[tokio::test]
async fn authenticated_response_is_not_publicly_cacheable() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let public = Answer::default()
        .with_header("Cache-Control", "public, max-age=60, s-maxage=600")
        .with_header("Surrogate-Control", "max-age=600")
        .with_header("CDN-Cache-Control", "max-age=600");
    for path in ["/mine", "/public/shared"] {
        door.store.answer(path, public.clone());
    }
    door.store.answer(
        "/strict",
        Answer::default().with_header("Cache-Control", "no-store"),
    );
    let cache = async |browser: &mut crate::support::browser::Browser, path: &str| {
        let page = browser.step(&door.store_url(path)).await;
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
    let [control, surrogate, _] = cache(&mut door.browser(), "/public/shared").await;
    assert_eq!(
        control.as_deref(),
        Some("public, max-age=60, s-maxage=600"),
        "nobody was named"
    );
    assert_eq!(surrogate.as_deref(), Some("max-age=600"));
}

#[tokio::test]
async fn unrequested_protocol_switch_yields_502() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let switch = Answer {
        status: 101,
        ..Answer::default()
    }
    .with_header("Connection", "Upgrade")
    .with_header("Upgrade", "websocket");
    door.store.answer("/switch", switch);
    let asked = browser.send(RequestSpec::new(Kind::Fetch, &door.store_url("/switch")));
    let page = tokio::time::timeout(SOON, asked)
        .await
        .expect("an answer in time");
    assert_problem(&page, 502, "upstream_bad_response");
    assert_eq!(browser.step(&door.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn refused_upgrade_is_an_ordinary_response() {
    let door = Setup::plain().start();
    let mut browser = alice(&door).await;
    let mut ask = RequestSpec::new(Kind::Fetch, &door.store_url("/no-socket"));
    ask.headers = upgrade_headers();
    // This backend does not accept WebSockets here and responds like any page.
    ask.headers.retain(|(name, _)| name != "Upgrade");
    ask.headers
        .push(("Upgrade".to_owned(), "something/1".to_owned()));
    let page = browser.send(ask).await;
    assert_eq!(page.status(), 200, "{page}");
    let seen = door.store.last();
    assert_eq!(
        (seen.header("upgrade"), seen.header("connection")),
        (None, None)
    );
}
