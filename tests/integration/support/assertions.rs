//! Assertions on Doorward's own responses, and raw requests on one connection.

use std::time::Duration;

use tokio::time::timeout;

use super::browser::{Browser, Kind, RequestSpec};
use super::doorward::Doorward;
use super::page::Page;
use super::provider::{Endpoint, User};
use super::wire::{Framing, Head, Wire};

/// How long a test waits for an expected event.
pub const SOON: Duration = Duration::from_secs(10);

/// A store page that needs an authenticated user.
pub const CART: &str = "/shopping-cart";

/// A browser with this user signed in at the store and at the provider.
pub async fn signed_in(doorward: &Doorward, user: User) -> Browser {
    doorward.provider.sign_in(user);
    let mut browser = doorward.browser();
    let page = browser.visit(&doorward.store_url(CART)).await;
    assert_eq!((page.status(), page.url.path()), (200, CART), "{page}");
    browser
}

/// Alice, without roles.
pub async fn alice(doorward: &Doorward) -> Browser {
    signed_in(doorward, User::new("alice", &[])).await
}

/// The response to a script of the store.
pub async fn fetched(browser: &mut Browser, url: &str) -> Page {
    let page = url.parse().expect("an URL");
    browser
        .send(RequestSpec::new(Kind::Fetch, url).from(&page))
        .await
}

/// Waits until a counter or gauge has this value.
pub async fn metric_reaches(doorward: &Doorward, series: &str, value: f64) {
    super::eventually_async(&format!("{series} is {value}"), SOON, async || {
        doorward.metric(series).await == value
    })
    .await;
}

/// Asserts that the response starts a login.
pub fn assert_login_starts(doorward: &Doorward, page: &Page) {
    let location = page.header("location").unwrap_or_default();
    let authorize = doorward.provider.url(Endpoint::Authorize);
    assert!(
        page.status() == 302 && location.starts_with(&authorize),
        "no login: {page}"
    );
}

/// Asserts an HTML error page with this status and `code`, and returns its request ID.
pub fn assert_error_page(page: &Page, status: u16, code: &str) -> String {
    assert_own_answer(page, status);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html")),
        "{page}"
    );
    assert!(page.header("content-security-policy").is_some(), "{page}");
    let words = page.words();
    let shown = words
        .rsplit_once("request ID: ")
        .map_or(words.as_str(), |(_, shown)| shown);
    let after = shown
        .strip_prefix(code)
        .unwrap_or_else(|| panic!("not `{code}` is on the page, but: {shown}"));
    reference(after.split_whitespace().next().unwrap_or_default())
}

/// Asserts a problem document (RFC 9457) with this status and `code`, and returns its request ID.
pub fn assert_problem(page: &Page, status: u16, code: &str) -> String {
    assert_own_answer(page, status);
    assert_eq!(
        page.header("content-type"),
        Some("application/problem+json"),
        "{page}"
    );
    let problem = page.json();
    assert_eq!(
        (problem["status"].as_u64(), problem["code"].as_str()),
        (Some(u64::from(status)), Some(code)),
        "{page}"
    );
    reference(problem["request_id"].as_str().unwrap_or_default())
}

fn assert_own_answer(page: &Page, status: u16) {
    assert_eq!(page.status(), status, "{page}");
    assert_eq!(page.header("cache-control"), Some("no-store"), "{page}");
    assert_eq!(
        page.header("x-content-type-options"),
        Some("nosniff"),
        "{page}"
    );
}

fn reference(text: &str) -> String {
    let sixteen = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(sixteen, "no reference: `{text}`");
    text.to_owned()
}

/// Sends requests on one connection and reads the final responses.
pub struct Dialogue(pub Wire);

/// One response.
#[derive(Debug)]
pub struct Reply {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }
}

impl Dialogue {
    /// Connects to `origin`.
    pub async fn with(browser: &Browser, origin: &str) -> Self {
        let url = origin.parse().expect("an origin");
        Self(browser.connect(&url).await.expect("a connection"))
    }

    /// Sends these bytes.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0
            .write(bytes.as_ref())
            .await
            .expect("the connection takes it");
    }

    /// Sends a request with `method` and reads its response.
    pub async fn request(&mut self, method: &str, bytes: impl AsRef<[u8]>) -> Reply {
        self.say(bytes).await;
        self.poll(method).await
    }

    /// Reads the response to a request with `method`.
    pub async fn poll(&mut self, method: &str) -> Reply {
        self.try_hear(method).await.expect("an answer")
    }

    /// The same, or `None` if the connection ends without a response.
    pub async fn try_hear(&mut self, method: &str) -> Option<Reply> {
        timeout(SOON, async {
            loop {
                let head = self.0.read_head().await.ok().flatten()?;
                if head.status() >= 200 {
                    let body = self.0.read_body(head.answer_framing(method)).await.ok()?;
                    return Some(Reply { head, body });
                }
            }
        })
        .await
        .expect("an answer or an end in time")
    }

    /// Waits for the peer to close and returns the remaining bytes.
    pub async fn hear_end(&mut self) -> Vec<u8> {
        let rest = timeout(SOON, self.0.read_body(Framing::UntilClose))
            .await
            .expect("an end in time");
        // A reset counts as a close.
        rest.unwrap_or_default()
    }
}
