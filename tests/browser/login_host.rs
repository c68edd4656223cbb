//! Logins and logouts through a login host. The provider's pages have a `form-action` that lists the
//! login host and no app, which Chromium applies to every redirect after the form.

use std::time::Duration;

use serde_json::Value;

use crate::chromium::Chromium;
use crate::journey::{self, Site};
use crate::tls::{FORUM, Https, JWT_LIFETIME, STORE};

const LOGIN_HOST: &str = "https://signin.test";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journey_through_login_host_passes_form_action_of_provider() {
    let https = Https::start(Some(LOGIN_HOST)).await;
    let chromium = https.chromium().await;
    let site = site();
    journey::log_in_at_the_store(&chromium, &site).await;
    journey::open_the_forum_without_a_form(&chromium, &site).await;
    journey::reload_past_the_jwt(&chromium, &site).await;
    journey::see_no_token_at_the_app(&chromium, &site).await;
    log_out(&chromium, STORE).await;
    journey::be_asked_again(&chromium, &site).await;
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handover_page_leaves_no_referrer_and_no_history_entry() {
    let https = Https::start(Some(LOGIN_HOST)).await;
    let chromium = https.chromium().await;
    let cart = format!("{STORE}/shopping-cart");
    chromium.open(&cart).await;
    chromium.find("input[name=username]").await;
    let before = history_length(&chromium).await;
    journey::log_in_at_the_store(&chromium, &site()).await;
    // One for opening the cart again, one for the form.
    assert_eq!(history_length(&chromium).await, before + 2);
    let referrer = script(&chromium, "return document.referrer").await;
    assert_eq!(referrer, "");

    // The provider knows the user and sends the browser on.
    chromium.client().back().await.expect("an entry");
    chromium.says("#visitor", "alice").await;
    assert_eq!(chromium.address().await, cart);
    chromium.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logout_of_all_apps_passes_form_action_of_provider() {
    let https = Https::start(Some(LOGIN_HOST)).await;
    let chromium = https.chromium().await;
    journey::log_in_at_the_store(&chromium, &site()).await;
    log_out(&chromium, LOGIN_HOST).await;
    journey::be_asked_again(&chromium, &site()).await;
    chromium.close().await;
}

/// Logs out at this origin.
async fn log_out(chromium: &Chromium, origin: &str) {
    chromium.open(&format!("{origin}/.doorward/logout")).await;
    chromium.click("form button").await;
    let signed_out = format!("{origin}/.doorward/signed-out");
    let is_over = |address: &str| address.starts_with(&signed_out);
    chromium.arrives("the page after the logout", is_over).await;
}

async fn script(chromium: &Chromium, script: &str) -> Value {
    let value = chromium.client().execute(script, Vec::new()).await;
    value.expect("a valid script")
}

async fn history_length(chromium: &Chromium) -> u64 {
    let length = script(chromium, "return history.length").await;
    length.as_u64().expect("a number")
}

fn site() -> Site {
    Site {
        store_url: STORE.to_owned(),
        forum_url: FORUM.to_owned(),
        user: "alice".to_owned(),
        past_the_jwt: JWT_LIFETIME + Duration::from_millis(200),
        artefacts: "login-host".to_owned(),
    }
}
