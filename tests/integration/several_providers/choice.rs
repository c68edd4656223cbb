//! The page on which users choose a provider, and what makes the choice for them.

use super::{LOGIN, PAGE, WIKI, cookie, link_to, location, several, several_with};
use crate::support::assertions::assert_error_page;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::Endpoint;

#[tokio::test]
async fn page_of_choice_lists_providers_as_links_without_script() {
    let wiki = several();
    let mut browser = wiki.browser();
    let redirect = browser.step(PAGE).await;
    assert_eq!(redirect.status(), 302, "{redirect}");
    assert_eq!(
        location(&redirect),
        format!("{LOGIN}?return_to=%2Fpage%3Fid%3D7"),
        "{redirect}"
    );
    let choice = browser.next(&redirect).await;
    assert_eq!(choice.status(), 200, "{choice}");
    let text = choice.text();
    let titles = ["<bdi>Staff &lt;&amp;&gt;</bdi>", "<bdi>members</bdi>"];
    let [staff, members] = titles.map(|title| text.find(title).expect(title));
    assert!(staff < members && choice.links().len() == 2, "{text}");
    assert!(!text.contains("<script") && !text.contains("autofocus"));
    let policy = choice.header("content-security-policy").unwrap_or_default();
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert_eq!(choice.header("cache-control"), Some("no-store"), "{choice}");
    assert_eq!(wiki.provider.calls(Endpoint::Authorize), 0);
    for name in ["login", "members"] {
        let mut browser = browser.clone();
        let page = wiki.choose(&mut browser, &choice, name).await;
        assert_eq!((page.status(), page.url.as_str()), (200, PAGE), "{page}");
    }
    assert_eq!(wiki.code_exchanges(), [1, 1]);
}

#[tokio::test]
async fn last_choice_is_offered_first_with_the_focus() {
    let wiki = several();
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    assert_eq!(cookie(&browser, "provider").as_deref(), Some("members"));
    let of_session = ["doorward_jwt", "doorward_refresh"];
    let is_session = |name: &str| of_session.contains(&name);
    browser
        .jar
        .remove("wiki.localhost", |cookie| is_session(&cookie.name));
    let choice = browser.visit(PAGE).await;
    let links = choice.links();
    assert!(links[0].0.contains("provider=members"), "{choice}");
    let text = choice.text();
    let (before, after) = text.split_once("autofocus").expect("a focus");
    assert!(
        before.contains("provider=members") && !after.contains("autofocus"),
        "{text}"
    );

    // It is only a name: an unknown one has no effect, and no other is chosen for the user.
    for forged in ["nobody", "<script>", "login\"><b"] {
        let request = RequestSpec::new(Kind::Navigation, LOGIN)
            .header("cookie", &format!("doorward_provider={forged}"));
        let choice = wiki.browser().send(request).await;
        assert_eq!(choice.status(), 200, "{choice}");
        assert!(choice.links()[0].0.contains("provider=login"), "{choice}");
        assert!(!choice.text().contains("autofocus") && !choice.text().contains(forged));
    }
}

#[tokio::test]
async fn link_preselects_by_name_and_unknown_names_are_refused() {
    let wiki = several();
    let mut browser = wiki.browser();
    let page = browser
        .visit(&format!(
            "{LOGIN}?return_to=%2Fpage%3Fid%3D7&provider=members"
        ))
        .await;
    assert_eq!((page.status(), page.url.as_str()), (200, PAGE), "{page}");
    assert_eq!(wiki.code_exchanges(), [0, 1]);
    for query in [
        "provider=nobody",
        "provider=",
        "provider=Members",
        "provider=members&provider=login",
        // A provider of other apps.
        "provider=login%00",
    ] {
        let refused = wiki.browser().step(&format!("{LOGIN}?{query}")).await;
        assert_error_page(&refused, 400, "login_parameter_not_allowed");
    }
}

/// A login at another provider ends the session, so another site must not cause it.
#[tokio::test]
async fn link_of_another_site_does_not_replace_a_session() {
    let wiki = several();
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "login").await;
    let link = format!("{LOGIN}?provider=members");
    let elsewhere = url::Url::parse("https://elsewhere.example/").expect("a URL");
    let request = RequestSpec::new(Kind::Navigation, &link).from(&elsewhere);
    let choice = browser.send(request).await;
    assert_eq!(choice.status(), 200, "{choice}");
    assert!(choice.links().len() >= 2, "the user chooses: {choice}");
    assert!(wiki.is_signed_in(&mut browser).await);
    assert_eq!(wiki.code_exchanges(), [1, 0]);
}

#[tokio::test]
async fn domain_of_login_hint_preselects() {
    let allowed = "login_parameters = { login_hint = true }";
    let wiki = several_with(Setup::plain(), allowed);
    for (hint, provider) in [
        ("a%40staff.example", "login"),
        ("a%40MEMBERS.example", "members"),
    ] {
        let start = wiki
            .browser()
            .step(&format!("{LOGIN}?login_hint={hint}"))
            .await;
        let authorize = wiki.at(provider).url(Endpoint::Authorize);
        assert!(location(&start).starts_with(&authorize), "{start}");
        assert!(location(&start).contains("login_hint="), "{start}");
    }
    let other = wiki
        .browser()
        .step(&format!("{LOGIN}?login_hint=a%40other.example"))
        .await;
    assert_eq!(other.status(), 200, "{other}");
    assert!(link_to(&other, "members").contains("login_hint=a%40other.example"));
}

#[tokio::test]
async fn each_provider_has_its_own_callback_and_there_is_no_other() {
    let wiki = several();
    for (path, code) in [
        ("callback", "no_such_endpoint"),
        ("callback/", "no_such_endpoint"),
        ("callback/nobody", "no_such_endpoint"),
        ("callback/login/x", "no_such_endpoint"),
    ] {
        let page = wiki
            .browser()
            .step(&format!("{WIKI}/.doorward/{path}?code=a&state=b"))
            .await;
        assert_error_page(&page, 404, code);
    }
    // With one provider nothing changed.
    let url = wiki.store_url("/.doorward/callback/login?code=a&state=b");
    assert_error_page(&wiki.browser().step(&url).await, 404, "no_such_endpoint");
}

#[tokio::test]
async fn preserved_form_waits_for_the_choice() {
    let wiki = several();
    let mut browser = wiki.browser();
    let form = RequestSpec::new(Kind::Navigation, &format!("{WIKI}/comments"))
        .method("POST")
        .from(&url::Url::parse(PAGE).expect("a URL"))
        .body("application/x-www-form-urlencoded", "text=hello");
    let preserved = browser.send(form.following()).await;
    assert_eq!(
        (preserved.status(), preserved.url.path()),
        (200, "/.doorward/login"),
        "{preserved}"
    );
    let confirm = wiki.choose(&mut browser, &preserved, "members").await;
    assert_eq!(confirm.url.path(), "/.doorward/form", "{confirm}");
    let replayed = browser.submit(&confirm, &[]).await;
    assert_eq!(replayed.status(), 200, "{replayed}");
    let received = wiki.wiki.last();
    assert_eq!(
        (received.method.as_str(), received.target.as_str()),
        ("POST", "/comments")
    );
}
