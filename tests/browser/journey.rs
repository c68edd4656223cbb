//! The web workflow in Chromium, against a running Doorward with the demo's store and forum.

use std::time::Duration;

use crate::chromium::Chromium;

const LOGIN_FIELD: &str = "input[name=username]";
/// The element in which both apps show the user of the identity headers.
const VISITOR: &str = "#visitor";

/// The deployment under test.
pub struct Site {
    /// Origin without a trailing slash, as is the forum's.
    pub store_url: String,
    pub forum_url: String,
    /// Name and password of a user without the role `admin`.
    pub user: String,
    /// Longer than the JWT's lifetime and shorter than the refresh token's.
    pub past_the_jwt: Duration,
    /// Prefix of the screenshots' names.
    pub artefacts: String,
}

/// Runs all steps in order.
pub async fn whole(chromium: &Chromium, site: &Site) {
    log_in_at_the_store(chromium, site).await;
    open_the_forum_without_a_form(chromium, site).await;
    reload_past_the_jwt(chromium, site).await;
    see_no_token_at_the_app(chromium, site).await;
    be_refused_admin(chromium, site).await;
    log_out(chromium, site).await;
    be_asked_again(chromium, site).await;
}

/// Steps 1 to 3: request the cart, submit the provider's form, see the cart.
pub async fn log_in_at_the_store(chromium: &Chromium, site: &Site) {
    let cart = site.cart();
    chromium.open(&cart).await;
    chromium.find(LOGIN_FIELD).await;
    assert!(
        !chromium.address().await.starts_with(&site.store_url),
        "the form is the provider's"
    );
    site.picture(chromium, "1-login-form").await;
    chromium.type_into(LOGIN_FIELD, &site.user).await;
    chromium.type_into("input[name=password]", &site.user).await;
    chromium.click("form button").await;
    site.is_shown_at(chromium, &cart).await;
    site.picture(chromium, "2-shopping-cart").await;
    for kind in ["doorward_jwt", "doorward_refresh"] {
        let cookies = chromium.cookies().await;
        let cookie = cookies.iter().find(|cookie| {
            cookie["name"]
                .as_str()
                .is_some_and(|name| name.contains(kind))
        });
        let cookie = cookie.unwrap_or_else(|| panic!("no {kind} among {cookies:?}"));
        assert_eq!(cookie["httpOnly"], true, "{kind}");
        if cart.starts_with("https:") {
            assert_eq!(cookie["secure"], true, "{kind}");
            assert!(
                cookie["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("__Host-")),
                "{cookie}"
            );
        }
    }
}

/// Steps 6 to 8: single sign-on.
pub async fn open_the_forum_without_a_form(chromium: &Chromium, site: &Site) {
    let posts = format!("{}/posts", site.forum_url);
    chromium.open(&posts).await;
    assert!(
        !chromium.has(LOGIN_FIELD).await,
        "a form although the person is signed in at the provider"
    );
    site.is_shown_at(chromium, &posts).await;
    site.picture(chromium, "3-forum-posts").await;
}

/// Step 4: the JWT has expired; the page is served, and the cookie is new.
pub async fn reload_past_the_jwt(chromium: &Chromium, site: &Site) {
    let cart = site.cart();
    chromium.open(&cart).await;
    let before = jwt_cookie(chromium).await;
    tokio::time::sleep(site.past_the_jwt).await;
    chromium.reload().await;
    site.is_shown_at(chromium, &cart).await;
    assert_ne!(
        jwt_cookie(chromium).await,
        before,
        "the JWT was to be refreshed"
    );
    site.picture(chromium, "4-refreshed").await;
}

/// The app's own page shows what it received: a user name and no Doorward secrets.
pub async fn see_no_token_at_the_app(chromium: &Chromium, site: &Site) {
    chromium.open(&format!("{}/headers", site.store_url)).await;
    let source = chromium.source().await.to_lowercase();
    assert!(source.contains("x-forwarded-user"), "{source}");
    for trace in [
        "doorward_jwt",
        "doorward_refresh",
        "doorward_activity",
        "doorward_browser",
    ] {
        assert!(!source.contains(trace), "{trace} in\n{source}");
    }
    for cookie in chromium.cookies().await {
        let (name, value) = (
            cookie["name"].as_str().unwrap_or_default(),
            cookie["value"].as_str().unwrap_or_default(),
        );
        let ours = name.contains("doorward_") && !value.is_empty();
        assert!(
            !ours || !source.contains(&value.to_lowercase()),
            "the value of {name} in\n{source}"
        );
    }
    let to_the_end = "scrollTo(0, document.body.scrollHeight)";
    chromium
        .client()
        .execute(to_the_end, Vec::new())
        .await
        .expect("the identity headers come last");
    site.picture(chromium, "5-headers").await;
}

/// The user lacks the role: 403, and no login.
pub async fn be_refused_admin(chromium: &Chromium, site: &Site) {
    let admin = format!("{}/admin", site.store_url);
    chromium.open(&admin).await;
    assert_eq!(
        (chromium.address().await, chromium.status().await),
        (admin, 403)
    );
    site.picture(chromium, "6-forbidden").await;
}

/// Uses the app's link, the confirmation form, and the provider's confirmation if there is one.
pub async fn log_out(chromium: &Chromium, site: &Site) {
    chromium.open(&site.cart()).await;
    chromium.click("a[href='/.doorward/logout']").await;
    chromium
        .arrives("the confirmation form", |address| {
            address.ends_with("/.doorward/logout")
        })
        .await;
    site.picture(chromium, "7-logout").await;
    chromium.click("form button").await;
    let store = format!("{}/", site.store_url);
    let moved_on = |address: &str| !address.starts_with(&store) || address.contains("/signed-out");
    if !chromium
        .arrives("logged out", moved_on)
        .await
        .starts_with(&store)
    {
        chromium.click("form button").await;
    }
    chromium
        .arrives("signed out", |address| {
            address.starts_with(&format!("{store}.doorward/signed-out"))
        })
        .await;
    assert_eq!(jwt_cookie(chromium).await, "");
    site.picture(chromium, "8-signed-out").await;
}

/// After the logout no session is left.
pub async fn be_asked_again(chromium: &Chromium, site: &Site) {
    chromium.open(&site.cart()).await;
    chromium.find(LOGIN_FIELD).await;
    assert!(!chromium.address().await.starts_with(&site.store_url));
    site.picture(chromium, "9-asked-again").await;
}

impl Site {
    fn cart(&self) -> String {
        format!("{}/shopping-cart", self.store_url)
    }

    async fn is_shown_at(&self, chromium: &Chromium, url: &str) {
        let name = chromium.text(VISITOR).await;
        assert!(
            name.to_lowercase().contains(&self.user),
            "the page is for {name}"
        );
        assert_eq!(chromium.address().await, url);
    }

    async fn picture(&self, chromium: &Chromium, step: &str) {
        chromium
            .screenshot(&format!("{}-{step}", self.artefacts))
            .await;
    }
}

async fn jwt_cookie(chromium: &Chromium) -> String {
    let cookies = chromium.cookies().await;
    let ours = cookies.iter().filter(|cookie| {
        cookie["name"]
            .as_str()
            .is_some_and(|name| name.contains("doorward_jwt"))
    });
    ours.filter_map(|cookie| cookie["value"].as_str()).collect()
}
