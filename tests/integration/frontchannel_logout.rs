//! OpenID Connect Front-Channel Logout 1.0: ends the session of the received cookies, only in a
//! same-site frame, and only for apps that enable it.

use url::Url;

use crate::support::assertions::{
    CART, alice, assert_login_starts, assert_problem, metric_reaches,
};
use crate::support::backend::Answer;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;

const PATH: &str = "/.doorward/frontchannel-logout";

fn doorward() -> Doorward {
    Setup::over_tls()
        .store("frontchannel_logout = true")
        .start()
}

/// The response to a frame in a page of this origin.
async fn framed(doorward: &Doorward, browser: &mut Browser, query: &str, page: &str) -> Page {
    let page = Url::parse(page).expect("an URL");
    browser
        .send(
            RequestSpec::new(Kind::Frame, &doorward.store_url(&format!("{PATH}{query}")))
                .from(&page),
        )
        .await
}

/// On the store's site, which front-channel logout requires of the provider.
const LOGOUT_PAGE: &str = "https://login.example.test/logout";

async fn assert_session_valid(doorward: &Doorward, browser: &mut Browser) {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn frontchannel_ends_the_session_of_the_sent_cookies() {
    for query in ["", "?iss&sid", "?iss"] {
        let doorward = doorward();
        let mut browser = alice(&doorward).await;
        let mut copy = browser.clone();
        let mut elsewhere = doorward.browser();
        assert_eq!(
            elsewhere.visit(&doorward.store_url(CART)).await.status(),
            200
        );
        let iss: String =
            url::form_urlencoded::byte_serialize(doorward.provider.issuer().as_bytes()).collect();
        let sid = doorward.provider.session();
        let query = query
            .replace("iss", &format!("iss={iss}"))
            .replace("sid", &format!("sid={sid}"));
        let response = framed(&doorward, &mut browser, &query, LOGOUT_PAGE).await;
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, ""),
            "{response}"
        );
        assert_eq!(
            response.header("cache-control"),
            Some("no-store"),
            "{response}"
        );
        let policy = response
            .header("content-security-policy")
            .expect("a policy");
        assert_eq!(
            policy,
            format!(
                "default-src 'none'; frame-ancestors {}",
                doorward.provider.issuer()
            )
        );
        assert_eq!(response.header("x-frame-options"), None);
        assert_eq!(doorward.cookie(&browser, "jwt"), None, "{query}");
        assert_login_starts(&doorward, &copy.step(&doorward.store_url(CART)).await);
        assert_session_valid(&doorward, &mut elsewhere).await;
        eventually("the refresh token is revoked", || {
            doorward.provider.revoked().len() == 1
        })
        .await;
        metric_reaches(
            &doorward,
            "doorward_revocations_total{app=\"store\",outcome=\"front_channel\",provider=\"login\"}",
            1.0,
        )
        .await;
    }
}

#[tokio::test]
async fn frontchannel_logs_out_of_the_app_too() {
    let lines = "frontchannel_logout = true\napp_cookies = [{ name = \"SHOPSESSID\" }]\napp_logout_path = \"/bye\"";
    let doorward = Setup::over_tls().store(lines).start();
    doorward.store.response(
        CART,
        Answer::default().with_header("Set-Cookie", "SHOPSESSID=alices; Path=/; SameSite=Lax"),
    );
    let mut browser = alice(&doorward).await;
    let response = framed(
        &doorward,
        &mut browser,
        "?iss=https://elsewhere.test",
        LOGOUT_PAGE,
    )
    .await;
    assert_eq!(response.status(), 400, "{response}");
    assert!(
        browser
            .jar
            .get(doorward.store_host(), "SHOPSESSID")
            .is_some()
    );
    let response = framed(&doorward, &mut browser, "", LOGOUT_PAGE).await;
    assert_eq!(response.status(), 200, "{response}");
    assert!(
        browser
            .jar
            .get(doorward.store_host(), "SHOPSESSID")
            .is_none(),
        "{response}"
    );
    let told = doorward.store.last();
    assert_eq!(
        (told.target.as_str(), told.header("cookie")),
        ("/bye", Some("SHOPSESSID=alices"))
    );
}

#[tokio::test]
async fn frontchannel_ignores_other_issuer_or_session() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let iss: String =
        url::form_urlencoded::byte_serialize(doorward.provider.issuer().as_bytes()).collect();
    let sid = doorward.provider.session();
    for (query, code) in [
        (
            "?iss=https://evil.example".to_owned(),
            "front_channel_issuer_mismatch",
        ),
        (
            format!("?iss={iss}&iss=https://evil.example&sid={sid}"),
            "front_channel_issuer_mismatch",
        ),
        (
            format!("?iss={iss}&sid=another"),
            "front_channel_sid_mismatch",
        ),
        (
            format!("?iss={iss}&sid={sid}&sid=another"),
            "front_channel_sid_mismatch",
        ),
        ("?sid=".to_owned(), "front_channel_sid_mismatch"),
    ] {
        let response = framed(&doorward, &mut browser, &query, LOGOUT_PAGE).await;
        assert_eq!(
            (response.status(), response.text().as_str()),
            (400, ""),
            "{query}: {response}"
        );
        assert!(response.chain[0].set_cookies.is_empty(), "{response}");
        assert_session_valid(&doorward, &mut browser).await;
        doorward.log.line(PATH, code).await;
    }
    for (code, times) in [
        ("front_channel_issuer_mismatch", 2.0),
        ("front_channel_sid_mismatch", 3.0),
    ] {
        metric_reaches(
            &doorward,
            &format!(
                "doorward_revocations_total{{app=\"store\",outcome=\"{code}\",provider=\"login\"}}"
            ),
            times,
        )
        .await;
    }
    let response = framed(&doorward, &mut doorward.browser(), "", LOGOUT_PAGE).await;
    assert_eq!(
        (response.status(), response.chain[0].set_cookies.len()),
        (200, 0),
        "nobody was signed in: {response}"
    );
}

#[tokio::test]
async fn frontchannel_accepts_same_site_frames_only() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let url = doorward.store_url(PATH);
    let elsewhere = Url::parse("https://evil.example/page").expect("an URL");
    let requests = [
        RequestSpec::new(Kind::Navigation, &url),
        RequestSpec::new(Kind::Navigation, &url).from(&elsewhere),
        RequestSpec::new(Kind::Frame, &url).from(&elsewhere),
        RequestSpec::new(Kind::Image, &url).from(&elsewhere),
        RequestSpec::new(Kind::Fetch, &url).from(&elsewhere),
        RequestSpec::new(Kind::Program, &url),
    ];
    for request in requests {
        let response = browser.send(request.clone()).await;
        assert_eq!(response.status(), 403, "{request:?}: {response}");
        assert!(response.chain[0].set_cookies.is_empty(), "{response}");
        assert_session_valid(&doorward, &mut browser).await;
    }
    let posted = browser
        .send(
            RequestSpec::new(Kind::Frame, &url)
                .method("POST")
                .from(&Url::parse(LOGOUT_PAGE).expect("an URL")),
        )
        .await;
    assert_eq!(
        (posted.status(), posted.header("allow")),
        (405, Some("GET")),
        "{posted}"
    );
    assert_session_valid(&doorward, &mut browser).await;
}

#[tokio::test]
async fn frontchannel_endpoint_is_off_by_default() {
    let doorward = Setup::over_tls().start();
    let response = doorward
        .browser()
        .send(RequestSpec::new(Kind::Program, &doorward.store_url(PATH)))
        .await;
    assert_problem(&response, 404, "no_such_endpoint");
}
