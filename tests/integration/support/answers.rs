//! What Doorward's own answers have to be like, and what a request by hand brings back.

use std::time::Duration;

use tokio::time::timeout;

use super::browser::Browser;
use super::page::Page;
use super::wire::{Framing, Head, Wire};

/// How long a test waits for what must come.
pub const SOON: Duration = Duration::from_secs(10);

/// A page for people with this status that names `code`; returned is its reference.
pub fn assert_error_page(page: &Page, status: u16, code: &str) -> String {
    assert_own_answer(page, status);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{page}");
    assert!(page.header("content-security-policy").is_some(), "{page}");
    let words = page.words();
    let (_, after) = words.split_once(code).unwrap_or_else(|| panic!("`{code}` is not on the page: {words}"));
    reference(after.split_whitespace().next().unwrap_or_default())
}

/// A problem document (RFC 9457) with this status and `code`; returned is its reference.
pub fn assert_problem(page: &Page, status: u16, code: &str) -> String {
    assert_own_answer(page, status);
    assert_eq!(page.header("content-type"), Some("application/problem+json"), "{page}");
    let problem = page.json();
    assert_eq!((problem["status"].as_u64(), problem["code"].as_str()), (Some(u64::from(status)), Some(code)), "{page}");
    reference(problem["reference"].as_str().unwrap_or_default())
}

fn assert_own_answer(page: &Page, status: u16) {
    assert_eq!(page.status(), status, "{page}");
    assert_eq!(page.header("cache-control"), Some("no-store"), "{page}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"), "{page}");
}

fn reference(text: &str) -> String {
    let sixteen = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(sixteen, "no reference: `{text}`");
    text.to_owned()
}

/// The answers on one connection, one after the other, informational ones left out.
pub struct Dialogue(pub Wire);

/// One answer.
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
    /// A connection to `origin`.
    pub async fn with(browser: &Browser, origin: &str) -> Self {
        let url = origin.parse().expect("an origin");
        Self(browser.connect(&url).await.expect("a connection"))
    }

    /// Sends these bytes.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write(bytes.as_ref()).await.expect("the connection takes it");
    }

    /// Sends a request of `method` and reads its answer.
    pub async fn ask(&mut self, method: &str, bytes: impl AsRef<[u8]>) -> Reply {
        self.say(bytes).await;
        self.hear(method).await
    }

    /// The answer to a request of `method`.
    pub async fn hear(&mut self, method: &str) -> Reply {
        self.try_hear(method).await.expect("an answer")
    }

    /// The same; `None` when the connection ends without one.
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

    /// Waits for the other side to close; what still comes is returned.
    pub async fn hear_end(&mut self) -> Vec<u8> {
        let rest = timeout(SOON, self.0.read_body(Framing::UntilClose)).await.expect("an end in time");
        // A reset is an end too.
        rest.unwrap_or_default()
    }
}
