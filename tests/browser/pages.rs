//! Doorward's pages with real browser behaviour: tabs, history, forms, frames.

use std::collections::BTreeSet;

use crate::chromium::Chromium;
use crate::support::process::DemoProcess;

const JWT_LIFETIME: u64 = 60;

#[tokio::test]
async fn three_tabs_log_in_concurrently_and_reach_their_pages() {
    let demo = DemoProcess::start(JWT_LIFETIME);
    let chromium = Chromium::start(&[]).await;
    chromium.open(&format!("{}/", demo.store)).await;
    let first = chromium.tabs().await;
    let wanted: BTreeSet<String> = ["/shopping-cart", "/shopping-cart?tab=2", "/admin"]
        .map(|path| format!("{}{path}", demo.store))
        .into();
    chromium
        .open_tabs(&wanted.iter().cloned().collect::<Vec<_>>())
        .await;
    let tabs = chromium.new_tabs(&first, 3).await;
    // Every tab shows the form before any is submitted.
    for tab in &tabs {
        chromium.switch_to(tab).await;
        chromium.find("input[name=username]").await;
    }
    let mut reached = BTreeSet::new();
    for tab in &tabs {
        chromium.switch_to(tab).await;
        sign_in(&chromium, "bob").await;
        reached.insert(
            chromium
                .arrives("back at the store", |address| {
                    address.starts_with(&demo.store)
                })
                .await,
        );
        chromium.says("#visitor", "bob").await;
    }
    assert_eq!(reached, wanted);
    chromium.close().await;
}

#[tokio::test]
async fn post_without_session_is_replayed_after_login() {
    let demo = DemoProcess::start(JWT_LIFETIME);
    let chromium = Chromium::start(&[]).await;
    let cart = format!("{}/shopping-cart", demo.store);
    chromium.open(&cart).await;
    sign_in(&chromium, "alice").await;
    chromium
        .arrives("the cart", |address| address == cart)
        .await;
    chromium
        .client()
        .delete_all_cookies()
        .await
        .expect("the cookies go");

    chromium.click("#add-knocker").await;
    chromium
        .says("h1", "Do you want to send your form now?")
        .await;
    chromium.screenshot("page-send-form").await;
    assert!(
        !chromium.source().await.contains("knocker"),
        "no value of the form stands on the page"
    );
    chromium.click("form button").await;
    chromium.says("#total", "€ 39.50").await;
    assert_eq!(chromium.address().await, cart);

    // The browser shows the page from its cache; pressing the button again sends nothing a second
    // time.
    chromium
        .client()
        .back()
        .await
        .expect("a page to go back to");
    chromium
        .says("h1", "Do you want to send your form now?")
        .await;
    chromium.click("form button").await;
    chromium.says("h1", "There is no form to send").await;
    chromium.open(&cart).await;
    chromium.says("#total", "€ 39.50").await;
    chromium.close().await;
}

#[tokio::test]
async fn multipart_post_without_session_is_not_lost() {
    let demo = DemoProcess::start(JWT_LIFETIME);
    let chromium = Chromium::start(&[]).await;
    let cart = format!("{}/shopping-cart", demo.store);
    chromium.open(&cart).await;
    sign_in(&chromium, "alice").await;
    chromium
        .arrives("the cart", |address| address == cart)
        .await;
    let first = chromium.tabs().await;
    chromium
        .client()
        .delete_all_cookies()
        .await
        .expect("the cookies go");

    let with_files = "document.querySelector('#add-knocker').form.enctype = 'multipart/form-data'";
    chromium
        .client()
        .execute(with_files, Vec::new())
        .await
        .expect("another kind of form");
    chromium.click("#add-knocker").await;
    chromium.says("h1", "Your form was not sent").await;
    assert_eq!(chromium.status().await, 401);
    chromium.screenshot("page-form-not-sent").await;

    // Another tab logs in; this tab goes back and submits the form again.
    chromium.click("a[target=_blank]").await;
    let second = chromium.new_tabs(&first, 1).await;
    chromium.switch_to(&second[0]).await;
    chromium
        .arrives("signed in without a form", |address| {
            address.starts_with(&demo.store)
        })
        .await;
    chromium.find("#visitor").await;
    chromium.switch_to(&first[0]).await;
    chromium
        .client()
        .back()
        .await
        .expect("a page to go back to");
    chromium.click("#add-knocker").await;
    chromium.says("#total", "€ 39.50").await;
    chromium.close().await;
}

#[tokio::test]
async fn login_in_frame_offers_the_top_window() {
    let demo = DemoProcess::start(JWT_LIFETIME);
    let chromium = Chromium::start(&[]).await;
    chromium.open(&format!("{}/", demo.store)).await;
    let script = "const frame = document.createElement('iframe'); frame.src = '/shopping-cart'; \
        frame.style = 'width: 100%; height: 480px'; document.querySelector('main').prepend(frame)";
    chromium
        .client()
        .execute(script, Vec::new())
        .await
        .expect("a frame");
    chromium
        .find("iframe")
        .await
        .enter_frame()
        .await
        .expect("inside");
    chromium.says("h1", "Please log in").await;
    chromium.screenshot("page-frame-login").await;
    chromium.click("a[target=_top]").await;
    chromium
        .client()
        .enter_parent_frame()
        .await
        .expect("outside");
    chromium
        .arrives("the provider", |address| {
            address.starts_with(&demo.provider)
        })
        .await;
    sign_in(&chromium, "alice").await;
    chromium
        .arrives("back at the store", |address| {
            address.starts_with(&demo.store)
        })
        .await;
    chromium.says("#visitor", "alice").await;
    chromium.close().await;
}

async fn sign_in(chromium: &Chromium, name: &str) {
    chromium.type_into("input[name=username]", name).await;
    chromium.type_into("input[name=password]", name).await;
    chromium.click("form button").await;
}
