//! Hosts of a wildcard share the login host, whose redirect URI is the only one.

use super::{LOGIN, Shared, location, parameter, sets_session, shared_with};
use crate::support::assertions::assert_error_page;
use crate::support::backend::Backend;
use crate::support::doorward::Setup;

const ONE: &str = "https://one.tenants.test";
const TWO: &str = "https://two.tenants.test";

fn tenants() -> (Shared, Backend) {
    let backend = Backend::start();
    let table = format!(
        "[apps.tenant]\nprovider = \"login\"\npublic_url = \"https://*.tenants.test\"\nupstream = \"{}\"\n\
         client_id = \"store\"\nclient_secret_file = \"store.secret\"\nwildcard_labels = [\"one\", \"two\"]\n",
        backend.url()
    );
    (shared_with(Setup::over_tls().more(&table)), backend)
}

#[tokio::test]
async fn session_reaches_the_host_that_began_the_login() {
    let (shared, backend) = tenants();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    for origin in [ONE, TWO] {
        let url = format!("{origin}/page");
        let page = browser.visit(&url).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, url.as_str()),
            "{page}"
        );
        assert_eq!(backend.last().header("x-forwarded-user"), Some("alice-id"));
    }
    let page = browser.step(&format!("{LOGIN}/.doorward/logout")).await;
    let words = page.words();
    assert!(
        words.contains("one.tenants.test") && words.contains("two.tenants.test"),
        "{words}"
    );
    browser.submit(&page, &[]).await;
    for origin in [ONE, TWO] {
        assert_eq!(browser.step(&format!("{origin}/page")).await.status(), 302);
    }
}

#[tokio::test]
async fn code_of_one_host_is_of_no_use_at_another() {
    let (shared, _backend) = tenants();
    shared.sign_in("alice");
    let mut browser = shared.browser();
    let callback = shared
        .handed_over(&mut browser, &format!("{ONE}/page"))
        .await;
    assert!(location(&callback).starts_with(ONE), "{callback}");
    shared
        .handed_over(&mut browser, &format!("{TWO}/page"))
        .await;
    let code = parameter(location(&callback), "handover").expect("a code");
    let page = browser
        .step(&format!("{TWO}/.doorward/callback?handover={code}"))
        .await;
    assert_error_page(&page, 400, "handover_code_invalid");
    assert!(sets_session(&browser.step(location(&callback)).await));
}

#[tokio::test]
async fn links_lead_to_accepted_labels_only() {
    let (shared, _backend) = tenants();
    let mut browser = shared.browser();
    let page = browser
        .step(&format!("{LOGIN}/.doorward/login?app=tenant%40one"))
        .await;
    assert_eq!(
        location(&page),
        format!("{ONE}/.doorward/login?return_to=%2F")
    );
    for app in [
        "tenant",
        "tenant%40three",
        "tenant%40",
        "tenant%40evil.example%2F",
        "store%40one",
    ] {
        let page = browser
            .step(&format!("{LOGIN}/.doorward/login?app={app}"))
            .await;
        assert_error_page(&page, 400, "login_request_invalid");
    }
}
