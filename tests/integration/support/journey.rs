//! The web workflow over HTTP, against any running Doorward with a store, a forum, and a provider
//! whose login form has the fields `username` and `password`.

use url::Url;

use super::browser::{Browser, Page};

/// The two apps, as origins without a trailing slash.
#[derive(Clone, Debug)]
pub struct Site {
    pub store: String,
    pub forum: String,
}

/// Runs all steps as `name`, whose password equals the name and who lacks access to the store's
/// `/admin`. `past_the_jwt` must wait (or advance a clock) for longer than the JWT's lifetime and
/// shorter than the refresh token's.
pub async fn whole(
    browser: &mut Browser,
    site: &Site,
    name: &str,
    past_the_jwt: impl AsyncFnOnce(),
) {
    let cart = format!("{}/shopping-cart", site.store);
    let posts = format!("{}/posts", site.forum);
    log_in(browser, &cart, name).await;
    load(browser, &cart, name).await;
    arrive_without_form(browser, &posts, name).await;
    load(browser, &posts, name).await;
    past_the_jwt().await;
    load_with_refresh(browser, &cart, name).await;
    load_with_refresh(browser, &posts, name).await;
    assert_eq!(
        browser
            .step(&format!("{}/admin", site.store))
            .await
            .status(),
        403
    );
    log_out(browser, &site.store).await;
    is_requested(browser, &cart).await;
}

/// Opens a protected page, logs in with the provider's form, and returns to the page.
pub async fn log_in(browser: &mut Browser, url: &str, name: &str) -> Page {
    let form = is_requested(browser, url).await;
    let page = browser
        .submit(&form, &[("username", name), ("password", name)])
        .await;
    assert_shows(&page, url, name);
    let host = host_of(url);
    for kind in ["jwt", "refresh"] {
        assert!(
            cookie(browser, &host, kind).is_some(),
            "no {kind} cookie after login: {page}"
        );
    }
    page
}

/// Opens a protected page and follows the redirect to the provider; returns its login form.
pub async fn is_requested(browser: &mut Browser, url: &str) -> Page {
    let page = browser.visit(url).await;
    let has_form = page
        .forms()
        .iter()
        .any(|form| form.fields.iter().any(|(field, _)| field == "password"));
    assert!(has_form, "no login form: {page}");
    assert_ne!(
        page.url.origin(),
        Url::parse(url).expect("an URL").origin(),
        "the form is the provider's: {page}"
    );
    page
}

/// Opens a page of an app without a session; the provider has one and shows no form.
pub async fn arrive_without_form(browser: &mut Browser, url: &str, name: &str) -> Page {
    let page = browser.visit(url).await;
    assert!(page.chain.len() > 1, "there was a session already: {page}");
    assert_shows(&page, url, name);
    page
}

/// Opens a page with a valid JWT: one response, no redirect, the JWT cookie unchanged.
pub async fn load(browser: &mut Browser, url: &str, name: &str) -> Page {
    let before = cookie(browser, &host_of(url), "jwt");
    let page = browser.visit(url).await;
    assert_shows(&page, url, name);
    assert_eq!(page.chain.len(), 1, "{page}");
    assert_eq!(cookie(browser, &host_of(url), "jwt"), before, "{page}");
    page
}

/// Opens a page with an expired JWT and a valid refresh token: one response, no redirect, new
/// cookies.
pub async fn load_with_refresh(browser: &mut Browser, url: &str, name: &str) -> Page {
    let host = host_of(url);
    let kinds = ["jwt", "refresh"];
    let before = kinds.map(|kind| cookie(browser, &host, kind));
    let page = browser.visit(url).await;
    assert_shows(&page, url, name);
    assert_eq!(page.chain.len(), 1, "{page}");
    for (kind, before) in kinds.into_iter().zip(before) {
        let now = cookie(browser, &host, kind);
        assert!(
            now.is_some() && now != before,
            "the {kind} cookie is not new: {page}"
        );
    }
    page
}

/// Logs out through the confirmation form and the provider's pages, to the signed-out page.
pub async fn log_out(browser: &mut Browser, app: &str) -> Page {
    let form = browser.visit(&format!("{app}/.doorward/logout")).await;
    let mut page = browser.submit(&form, &[]).await;
    let origin = Url::parse(app).expect("an URL").origin();
    for _ in 0..3 {
        if page.url.origin() != origin {
            page = browser.submit(&page, &[]).await;
        }
    }
    assert_eq!(page.url.origin(), origin, "{page}");
    assert_eq!(
        (page.status(), page.url.path()),
        (200, "/.doorward/signed-out"),
        "{page}"
    );
    for kind in ["jwt", "refresh", "activity"] {
        assert_eq!(cookie(browser, &host_of(app), kind), None, "{page}");
    }
    page
}

/// The value of Doorward's cookie of this kind, with its chunks joined and any prefix.
pub fn cookie(browser: &Browser, host: &str, kind: &str) -> Option<String> {
    let name = format!("doorward_{kind}");
    let cookies = browser
        .jar
        .of(host)
        .into_iter()
        .filter(|cookie| cookie.name.contains(&name));
    let value: String = cookies.map(|cookie| cookie.value.as_str()).collect();
    if value.is_empty() { None } else { Some(value) }
}

fn assert_shows(page: &Page, url: &str, name: &str) {
    assert_eq!(page.url.as_str(), url, "{page}");
    assert_eq!(page.status(), 200, "{page}");
    assert!(
        page.text().to_lowercase().contains(name),
        "nothing of {name}: {page}"
    );
}

fn host_of(url: &str) -> String {
    Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .expect("an URL with a host")
}
