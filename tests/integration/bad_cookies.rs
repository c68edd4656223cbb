//! Invalid cookies: the response is a login or a 401, never an error page, and valid cookies stay
//! in effect.

use crate::support::assertions::{
    CART, Dialogue, alice, assert_login_starts, assert_problem, fetched,
};
use crate::support::browser::Browser;
use crate::support::cookies::Cookie;
use crate::support::doorward::{Doorward, Setup};

const HOST: &str = "store.localhost";
const JWT: &str = "doorward_jwt";
const REFRESH: &str = "doorward_refresh";
const SEEN: &str = "doorward_activity";

fn value(browser: &Browser, host: &str, name: &str) -> String {
    browser
        .jar
        .get(host, name)
        .unwrap_or_else(|| panic!("no cookie {name}"))
        .value
        .clone()
}

fn set(browser: &mut Browser, name: &str, value: &str) {
    browser.jar.remove(HOST, |cookie| cookie.name == name);
    browser.jar.plant(Cookie::host_only(HOST, name, value));
}

/// Asserts that no user is authenticated: a navigation starts a login, a script gets 401, and
/// nothing reaches the app.
async fn assert_nobody(doorward: &Doorward, mut browser: Browser, what: &str) {
    let before = doorward.store.count();
    let page = browser.clone().step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 302, "{what}: {page}");
    assert_login_starts(doorward, &page);
    let response = fetched(&mut browser, &doorward.store_url(CART)).await;
    assert_eq!(response.status(), 401, "{what}: {response}");
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    assert_eq!(
        doorward.store.count(),
        before,
        "{what}: a request reached the app"
    );
    let public = browser.step(&doorward.store_url("/public/page")).await;
    assert_eq!(public.status(), 200, "{what}: {public}");
    assert_eq!(
        doorward.store.last().header("x-forwarded-user"),
        None,
        "{what}"
    );
}

async fn assert_somebody(doorward: &Doorward, browser: &mut Browser, what: &str) {
    let page = browser.step(&doorward.store_url(CART)).await;
    assert_eq!(page.status(), 200, "{what}: {page}");
    assert_eq!(
        doorward.store.last().header("x-forwarded-user"),
        Some("alice-id"),
        "{what}"
    );
}

fn part(text: &str, from: usize, to: usize) -> String {
    text.chars().skip(from).take(to - from).collect()
}

/// Variants of a valid value that cannot be decrypted.
fn spoiled(good: &str) -> Vec<(String, String)> {
    let middle = good.len() / 2;
    let mut cases: Vec<(String, String)> = [
        ("empty", String::new()),
        ("a word", "garbage".into()),
        ("not base64", "%%%=/+\"\\{}".into()),
        ("not ASCII", "Grüße".into()),
        ("one character less", part(good, 0, good.len() - 1)),
        ("half", part(good, 0, middle)),
        ("its first character", part(good, 0, 1)),
        ("one character more", format!("{good}A")),
        ("padding", format!("{good}==")),
        ("twice in one", format!("{good}{good}")),
        ("reversed", good.chars().rev().collect()),
        ("very long", "A".repeat(3800)),
        ("two chunks without the second", format!("2.{good}")),
        ("countless chunks", format!("99999999999999999999.{good}")),
        ("no chunk", format!("0.{good}")),
        ("quoted", format!("\"{good}\"")),
    ]
    .map(|(what, value)| (what.to_owned(), value))
    .into();
    for at in [0, 1, 2, 8, 20, middle, good.len() - 2] {
        let flipped = if good.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        cases.push((
            format!("another character at {at}"),
            format!(
                "{}{flipped}{}",
                part(good, 0, at),
                part(good, at + 1, good.len())
            ),
        ));
    }
    cases
}

#[tokio::test]
async fn corrupt_session_cookies_are_no_session() {
    let doorward = Setup::plain().start();
    let mut good = alice(&doorward).await;
    let [jwt, refresh] = [JWT, REFRESH].map(|name| value(&good, HOST, name));
    for ((what, bad_jwt), (_, bad_refresh)) in spoiled(&jwt).into_iter().zip(spoiled(&refresh)) {
        let mut browser = good.clone();
        set(&mut browser, JWT, &bad_jwt);
        set(&mut browser, REFRESH, &bad_refresh);
        assert_nobody(&doorward, browser, &what).await;
    }
    assert_eq!(doorward.provider.grants("refresh_token"), 0);
    assert_somebody(&doorward, &mut good, "the good cookies after all that").await;
}

#[tokio::test]
async fn corrupt_refresh_cookie_is_ignored_while_jwt_is_valid() {
    let doorward = Setup::plain().start();
    let good = alice(&doorward).await;
    for (what, bad) in spoiled(&value(&good, HOST, REFRESH)) {
        let mut browser = good.clone();
        set(&mut browser, REFRESH, &bad);
        assert_somebody(&doorward, &mut browser, &what).await;
    }
    for (what, bad) in spoiled(&value(&good, HOST, SEEN)) {
        let mut browser = good.clone();
        set(&mut browser, SEEN, &bad);
        assert_somebody(&doorward, &mut browser, &what).await;
    }
}

#[tokio::test]
async fn corrupt_cookie_is_no_session_whatever_accompanies_it() {
    for (spoilt, after) in [(JWT, 0), (REFRESH, 300)] {
        let doorward = Setup::plain().start();
        let mut browser = alice(&doorward).await;
        let good = value(&browser, HOST, spoilt);
        set(&mut browser, spoilt, &part(&good, 0, good.len() / 2));
        doorward.advance_secs(after);
        assert_nobody(&doorward, browser, spoilt).await;
        assert_eq!(doorward.provider.grants("refresh_token"), 0);
    }
}

#[tokio::test]
async fn cookie_of_other_purpose_app_or_deployment_is_rejected() {
    let (doorward, elsewhere) = (Setup::plain().start(), Setup::plain().start());
    let mut good = alice(&doorward).await;
    let forum = good.visit(&doorward.forum_url("/posts")).await;
    assert_eq!(forum.status(), 200, "{forum}");
    let foreign = alice(&elsewhere).await;
    let attempt = doorward.browser().step(&doorward.store_url(CART)).await;
    let attempt_cookie = attempt.chain[0]
        .set_cookies
        .iter()
        .find(|line| line.starts_with("doorward_login_"));
    let attempt_value = attempt_cookie
        .and_then(|line| line.split(['=', ';']).nth(1))
        .expect("an attempt")
        .to_owned();
    let location: url::Url = attempt
        .header("location")
        .expect("a redirect")
        .parse()
        .expect("an URL");
    let state = location
        .query_pairs()
        .find(|(name, _)| name == "state")
        .expect("a state")
        .1
        .into_owned();

    let of_store = |name| value(&good, HOST, name);
    let of_forum = |name| value(&good, "forum.localhost", name);
    let of_elsewhere = |name| value(&foreign, HOST, name);
    let cases = [
        (
            "the refresh cookie as JWT and the JWT cookie as refresh",
            of_store(REFRESH),
            of_store(JWT),
        ),
        ("the clock's cookie as both", of_store(SEEN), of_store(SEEN)),
        (
            "the ID token for logout as both",
            of_store("doorward_id_token_hint"),
            of_store("doorward_id_token_hint"),
        ),
        (
            "a login attempt as both",
            attempt_value.clone(),
            attempt_value,
        ),
        ("a state parameter as both", state.clone(), state),
        ("the forum's", of_forum(JWT), of_forum(REFRESH)),
        (
            "another deployment's",
            of_elsewhere(JWT),
            of_elsewhere(REFRESH),
        ),
    ];
    for (what, jwt, refresh) in cases {
        let mut browser = good.clone();
        set(&mut browser, JWT, &jwt);
        set(&mut browser, REFRESH, &refresh);
        assert_nobody(&doorward, browser, what).await;
    }
    assert_somebody(&doorward, &mut good, "the good cookies after all that").await;
}

#[tokio::test]
async fn planted_duplicate_is_ignored_unless_it_is_a_session() {
    let doorward = Setup::plain().start();
    let (mut good, other) = (alice(&doorward).await, alice(&doorward).await);
    let both = |browser: &Browser| [JWT, REFRESH].map(|name| (name, value(browser, HOST, name)));
    let garbage = || [JWT, REFRESH].map(|name| (name, "garbage".to_owned()));
    let with = |first: [(&str, String); 2], second: [(&str, String); 2]| {
        let mut browser = good.clone();
        let is_session = |cookie: &Cookie| cookie.name == REFRESH || cookie.name == JWT;
        browser.jar.remove(HOST, is_session);
        for (name, value) in first.iter().chain(&second) {
            browser.jar.plant(Cookie::host_only(HOST, name, value));
        }
        browser
    };
    for (mut browser, what) in [
        (with(both(&good), both(&good)), "the same twice"),
        (with(both(&good), garbage()), "a good one and then garbage"),
        (with(garbage(), both(&good)), "garbage and then a good one"),
    ] {
        assert_somebody(&doorward, &mut browser, what).await;
    }
    for (browser, what) in [
        (with(both(&good), both(&other)), "two sessions"),
        (with(both(&other), both(&good)), "two sessions, reversed"),
        (with(garbage(), garbage()), "garbage"),
    ] {
        assert_nobody(&doorward, browser, what).await;
    }
    assert_somebody(&doorward, &mut good, "the good cookies after all that").await;
}

#[tokio::test]
async fn cookies_of_two_sessions_do_not_combine() {
    let doorward = Setup::plain().start();
    let (mut one, other) = (alice(&doorward).await, alice(&doorward).await);
    doorward.advance_secs(301);
    let mut mixed = one.clone();
    set(&mut mixed, REFRESH, &value(&other, HOST, REFRESH));
    assert_problem(
        &fetched(&mut mixed, &doorward.store_url(CART)).await,
        401,
        "session_cookie_mismatch",
    );
    assert_nobody(&doorward, mixed, "two sessions").await;
    assert_eq!(doorward.provider.grants("refresh_token"), 0);
    assert_somebody(&doorward, &mut one, "the good cookies after all that").await;
}

#[tokio::test]
async fn cookie_header_syntax_does_not_matter() {
    let doorward = Setup::plain().start();
    let good = alice(&doorward).await;
    let (jwt, seen) = (value(&good, HOST, JWT), value(&good, HOST, SEEN));
    let junk: String = (0..200)
        .map(|number| format!("junk{number}={}; ", "x".repeat(100)))
        .collect();
    let cases = [
        (
            "plain",
            format!("Cookie: {JWT}={jwt}; {SEEN}={seen}\r\n"),
            200,
        ),
        (
            "two fields",
            format!("Cookie: {SEEN}={seen}\r\nCookie: {JWT}={jwt}\r\n"),
            200,
        ),
        (
            "no blanks",
            format!("Cookie: {SEEN}={seen};{JWT}={jwt}\r\n"),
            200,
        ),
        (
            "blanks and nothing between",
            format!("Cookie: ;; =; a;  {JWT}={jwt} ;;=x\r\n"),
            200,
        ),
        (
            "among much of others",
            format!("Cookie: {junk}{JWT}={jwt}\r\n"),
            200,
        ),
        (
            "beside a field that is not ASCII",
            format!("Cookie: x=Grüße\r\nCookie: {JWT}={jwt}\r\n"),
            200,
        ),
        (
            "another case",
            format!("Cookie: DOORWARD_JWT={jwt}\r\n"),
            401,
        ),
        ("an empty field", "Cookie:\r\n".to_owned(), 401),
        ("only separators", "Cookie: ;;;===;;;\r\n".to_owned(), 401),
        ("a name without value", format!("Cookie: {JWT}\r\n"), 401),
        (
            "more than any request may be long",
            format!("Cookie: {}\r\n", "a=b; ".repeat(20_000)),
            431,
        ),
    ];
    for (what, fields, status) in cases {
        let mut dialogue = Dialogue::with(&good, &doorward.site().store).await;
        let request = format!("GET {CART} HTTP/1.1\r\nHost: store.localhost:8080\r\n{fields}\r\n");
        let reply = dialogue.request("GET", request).await;
        assert_eq!(reply.status(), status, "{what}: {}", reply.text());
    }
}

#[tokio::test]
async fn session_survives_key_rotation_while_key_is_in_ring() {
    let mut doorward = Setup::plain().start();
    let old = alice(&doorward).await;
    let rotated = doorward.add_replica_with_keys(&["new.key", "doorward.key"]);
    let finished = doorward.add_replica_with_keys(&["new.key"]);

    let mut browser = doorward.moved_to(rotated, old.clone());
    assert_somebody(&doorward, &mut browser, "an older key opens").await;
    let mut hasty = doorward.moved_to(finished, old.clone());
    assert_eq!(
        fetched(&mut hasty, &doorward.store_url(CART))
            .await
            .status(),
        401,
        "a key that is gone opens nothing"
    );
    assert_nobody(&doorward, hasty.clone(), "a key that is gone").await;
    let mut back = doorward.moved_to(rotated, hasty);
    assert_somebody(
        &doorward,
        &mut back,
        "what one replica cannot read it does not take away",
    )
    .await;

    doorward.advance_secs(301);
    let mut browser = doorward.moved_to(rotated, old);
    assert_somebody(&doorward, &mut browser, "a refresh under the older key").await;
    let mut browser = doorward.moved_to(finished, browser);
    assert_somebody(
        &doorward,
        &mut browser,
        "sealed anew, the older key is not needed",
    )
    .await;
    assert_eq!(doorward.provider.grants("refresh_token"), 1);
}
