//! The page on which users see and end their sessions, and attacks on its form.

use url::Url;

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const CART: &str = "/shopping-cart";
const PAGE: &str = "/.doorward/sessions";

async fn page(doorward: &Doorward, browser: &mut Browser) -> Page {
    let page = browser.step(&doorward.store_url(PAGE)).await;
    assert_eq!(page.status(), 200, "{page}");
    page
}

/// The names of the sessions that the page can end.
fn names(page: &Page) -> Vec<String> {
    let text = page.text();
    let parts = text.split("name=\"session\" value=\"").skip(1);
    let values = parts.map(|part| part.split('"').next().unwrap_or_default().to_owned());
    values.filter(|value| value != "everywhere").collect()
}

/// The form of the page, as its own browser sends it.
fn form(doorward: &Doorward, body: &str) -> RequestSpec {
    let page = Url::parse(&doorward.store_url(PAGE)).expect("a URL");
    RequestSpec::new(Kind::Navigation, page.as_str())
        .method("POST")
        .from(&page)
        .body("application/x-www-form-urlencoded", body)
}

async fn status(doorward: &Doorward, browser: &mut Browser) -> u16 {
    browser.step(&doorward.store_url(CART)).await.status()
}

#[tokio::test]
async fn user_ends_one_other_session() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.logged_in("alice", CART).await;
    let mut bob = doorward.logged_in("bob", CART).await;
    let shown = page(&doorward, &mut alice).await;
    let policy = shown.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!shown.text().contains("<script"), "{shown}");
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    assert!(shown.words().contains("This browser"), "{shown}");
    let others = names(&shown);
    assert_eq!(others.len(), 1, "{shown}");
    let sent = alice
        .send(form(&doorward, &format!("session={}", others[0])))
        .await;
    assert_eq!(
        (sent.status(), sent.header("location")),
        (303, Some(doorward.store_url(PAGE).as_str())),
        "{sent}"
    );
    assert_eq!(status(&doorward, &mut elsewhere).await, 302);
    assert_eq!(status(&doorward, &mut alice).await, 200);
    assert_eq!(status(&doorward, &mut bob).await, 200);
    assert_eq!(names(&page(&doorward, &mut alice).await), [""; 0]);
}

#[tokio::test]
async fn page_is_in_the_language_of_the_browser() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let request = RequestSpec::new(Kind::Navigation, &doorward.store_url(PAGE))
        .header("accept-language", "de")
        .following();
    let page = doorward.browser().send(request).await;
    assert_eq!(page.header("content-language"), Some("de"), "{page}");
    let words = page.words();
    for part in [
        "Ihre Sitzungen",
        "Ein Browser Dieser Browser",
        "aus dem Netz 127.0.0.0/24",
        "Angemeldet vor weniger als einer Minute, zuletzt aktiv vor weniger als einer Minute",
        "Überall abmelden",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[tokio::test]
async fn user_logs_out_everywhere() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.logged_in("alice", CART).await;
    let forum = doorward.forum_url("/");
    assert_eq!(elsewhere.visit(&forum).await.status(), 200);
    let mut bob = doorward.logged_in("bob", CART).await;
    let shown = page(&doorward, &mut alice).await;
    assert_eq!(names(&shown).len(), 2, "{shown}");
    assert!(shown.words().contains(doorward.forum_host()), "{shown}");
    let sent = alice.send(form(&doorward, "session=everywhere")).await;
    assert_eq!(sent.status(), 303, "{sent}");
    assert_eq!(doorward.cookie(&alice, "jwt"), None, "{sent}");
    assert_eq!(status(&doorward, &mut alice).await, 302);
    assert_eq!(status(&doorward, &mut elsewhere).await, 302);
    assert_eq!(elsewhere.step(&forum).await.status(), 302);
    assert_eq!(status(&doorward, &mut bob).await, 200);
}

#[tokio::test]
async fn forged_forms_end_nothing() {
    let doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let mut elsewhere = doorward.logged_in("alice", CART).await;
    let name = names(&page(&doorward, &mut alice).await).remove(0);
    let end = format!("session={name}");
    let url = doorward.store_url(PAGE);
    let evil = Url::parse("https://evil.example/").expect("a URL");
    let forum = Url::parse(&doorward.forum_url("/")).expect("a URL");
    let post = || RequestSpec::new(Kind::Navigation, &url).method("POST");
    let typed =
        |request: RequestSpec, body: &str| request.body("application/x-www-form-urlencoded", body);
    let program = RequestSpec::new(Kind::Program, &url).method("POST");
    for (request, expected) in [
        // Cross-site, same-site, without an origin, and with two.
        (typed(post().from(&evil), "session=everywhere"), 403),
        (typed(post().from(&forum), &end), 403),
        (typed(program, &end), 403),
        (
            form(&doorward, &end).header("origin", "https://evil.example"),
            403,
        ),
        // The page has no other way to end sessions.
        (
            RequestSpec::new(Kind::Navigation, &format!("{url}?{end}")),
            200,
        ),
        (form(&doorward, &end).method("PUT"), 405),
        // Names that are not a session of the user, or not one name.
        (form(&doorward, "session=0123456789abcdef"), 303),
        (form(&doorward, &format!("session={name}0")), 303),
        (form(&doorward, &format!("{end}&{end}")), 303),
        (form(&doorward, "session="), 303),
        (form(&doorward, ""), 303),
        (form(&doorward, &format!("{end}&{}", "x".repeat(2000))), 303),
    ] {
        let described = format!("{request:?}");
        let page = alice.send(request).await;
        assert_eq!(page.status(), expected, "{described}: {page}");
        assert_eq!(status(&doorward, &mut elsewhere).await, 200, "{described}");
        assert_eq!(status(&doorward, &mut alice).await, 200, "{described}");
    }
    // Another user who knows the name.
    let mut bob = doorward.logged_in("bob", CART).await;
    let sent = bob.send(form(&doorward, &end)).await;
    assert_eq!(sent.status(), 303, "{sent}");
    let sent = doorward.browser().send(form(&doorward, &end)).await;
    assert_eq!(sent.status(), 401, "{sent}");
    assert_eq!(status(&doorward, &mut elsewhere).await, 200);
    // The form itself works.
    alice.send(form(&doorward, &end)).await;
    assert_eq!(status(&doorward, &mut elsewhere).await, 302);
}

#[tokio::test]
async fn client_of_a_session_cannot_put_markup_into_the_page() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let mut other = doorward.browser();
    let to_provider = other.step(&doorward.store_url(CART)).await;
    let to_callback = other.next(&to_provider).await;
    other.next(&to_callback).await;
    // The first request of the session.
    let request = RequestSpec::new(Kind::Navigation, &doorward.store_url(CART)).header(
        "user-agent",
        "Mozilla/5.0 <b>\"'><script>alert(1)</script> Firefox/1",
    );
    assert_eq!(other.send(request).await.status(), 200);
    let mut alice = doorward.logged_in("alice", CART).await;
    let shown = page(&doorward, &mut alice).await;
    assert_eq!(names(&shown).len(), 1, "{shown}");
    assert!(
        shown.words().contains("Firefox")
            && !shown.text().contains("<b>")
            && !shown.text().contains("alert"),
        "{shown}"
    );
}

#[tokio::test]
async fn page_without_session_leads_to_a_login_and_back() {
    let doorward = Setup::plain().start();
    doorward.sign_in("alice");
    let shown = doorward.browser().visit(&doorward.store_url(PAGE)).await;
    assert_eq!(shown.status(), 200, "{shown}");
    assert_eq!(shown.url.as_str(), doorward.store_url(PAGE));
    assert!(
        shown
            .words()
            .contains("Other sessions may not be listed yet"),
        "just started: {shown}"
    );
}

#[tokio::test]
async fn page_can_be_switched_off() {
    let doorward = Setup::plain()
        .more("[session.list]\npage = false\n")
        .start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let page = alice.step(&doorward.store_url(PAGE)).await;
    assert_eq!(page.status(), 404, "{page}");
}
