//! A session keeps its provider.

use doorward::auth::revocation::command::RevocationTarget;
use doorward::server;
use doorward::types::oauth::Subject;
use serde_json::json;

use super::{LOGIN, PAGE, WIKI, cookie, location, several, several_with};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;
use crate::support::provider::{Endpoint, User};

#[tokio::test]
async fn session_is_refreshed_at_its_own_provider() {
    let wiki = several();
    let (mut at_login, mut at_members) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut at_login, "login").await;
    wiki.log_in(&mut at_members, "members").await;
    // Another tab begins a login at the other provider.
    wiki.before_callback(&mut at_login, "members").await;
    wiki.advance_secs(600);
    assert!(wiki.is_signed_in(&mut at_login).await);
    assert_eq!(
        [
            wiki.provider.grants("refresh_token"),
            wiki.members.grants("refresh_token")
        ],
        [1, 0]
    );
    assert!(wiki.is_signed_in(&mut at_members).await);
    assert_eq!(
        [
            wiki.provider.grants("refresh_token"),
            wiki.members.grants("refresh_token")
        ],
        [1, 1]
    );
    wiki.provider.assert_no_dead_refresh_token_was_sent();
    wiki.members.assert_no_dead_refresh_token_was_sent();
}

#[tokio::test]
async fn login_at_another_provider_replaces_and_revokes_the_session() {
    let wiki = several();
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "login").await;
    let mut copied = browser.clone();
    // A link that names the session's provider needs no login, one with another does.
    let page = browser.step(&format!("{LOGIN}?provider=login")).await;
    assert_eq!(location(&page), "http://wiki.localhost:8080/", "{page}");
    let page = browser
        .visit(&format!(
            "{LOGIN}?return_to=%2Fpage%3Fid%3D7&provider=members"
        ))
        .await;
    assert_eq!((page.status(), page.url.as_str()), (200, PAGE), "{page}");
    assert_eq!(wiki.code_exchanges(), [1, 1]);
    assert!(wiki.is_signed_in(&mut browser).await);
    assert!(!wiki.is_signed_in(&mut copied).await, "no session survives");
}

#[tokio::test]
async fn ended_session_leads_back_to_its_provider() {
    let wiki = several_with(Setup::plain(), "idle_timeout = \"10m\"");
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    wiki.advance_secs(700);
    let start = browser.step(PAGE).await;
    let authorize = wiki.members.url(Endpoint::Authorize);
    assert!(location(&start).starts_with(&authorize), "{start}");
    // A link for another account lets the user choose.
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    let choice = browser.step(&format!("{LOGIN}?prompt=login")).await;
    assert_eq!(choice.links().len(), 2, "{choice}");
}

#[tokio::test]
async fn user_of_another_provider_with_the_same_sub_is_another_user() {
    let wiki = several_with(
        Setup::plain(),
        "app_cookies = [{ name = \"wiki_session\" }]",
    );
    let mut browser = wiki.browser();
    let clears = |page: &crate::support::page::Page| {
        let mut hops = page.chain.iter().flat_map(|hop| &hop.set_cookies);
        hops.any(|line| line.starts_with("wiki_session=;"))
    };
    let page = wiki.log_in(&mut browser, "login").await;
    assert!(!clears(&page), "{page}");
    let again = browser
        .visit(&format!("{LOGIN}?provider=login&prompt=login"))
        .await;
    assert!(!clears(&again), "{again}");
    let page = browser.visit(&format!("{LOGIN}?provider=members")).await;
    assert!(clears(&page), "{page}");
}

#[tokio::test]
async fn reload_keeps_the_sessions_of_both_providers() {
    let wiki = several();
    let (mut at_login, mut at_members) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut at_login, "login").await;
    wiki.log_in(&mut at_members, "members").await;
    wiki.doorward
        .edit("[\"login\", \"members\"]", "[\"members\", \"login\"]");
    wiki.reload_changes().await;
    for browser in [&mut at_login, &mut at_members] {
        assert!(wiki.is_signed_in(browser).await);
    }
    assert_eq!(cookie(&at_members, "provider").as_deref(), Some("members"));
}

#[tokio::test]
async fn rules_and_headers_know_the_provider_and_no_claim_can_forge_it() {
    let wiki = several_with(
        Setup::plain(),
        "[apps.wiki.headers]\nX-Provider = \"{doorward-provider}\"\n\
         [[apps.wiki.rules]]\npaths = [\"/staff/**\"]\n\
         allow = { claim = \"doorward-provider\", any_of = [\"login\"] }\n",
    );
    let forger = User::new("alice", &[]).with_claim("doorward-provider", json!("login"));
    wiki.members.sign_in(forger);
    for (provider, status) in [("login", 200), ("members", 403)] {
        let mut browser = wiki.browser();
        wiki.log_in(&mut browser, provider).await;
        assert_eq!(wiki.wiki.last().header("x-provider"), Some(provider));
        let page = browser.step(&format!("{WIKI}/staff/x")).await;
        assert_eq!(page.status(), status, "{page}");
    }
    assert_eq!(wiki.members.calls(Endpoint::Userinfo), 0);
}

#[tokio::test]
async fn operator_ends_the_sessions_of_one_provider() {
    let wiki = several();
    let (mut at_login, mut at_members) = (wiki.browser(), wiki.browser());
    wiki.log_in(&mut at_login, "login").await;
    wiki.log_in(&mut at_members, "members").await;
    let apps = server::apps(&wiki.config()).expect("apps");
    let mut of_wiki = apps.iter().filter(|app| app.app.name.as_str() == "wiki");
    let at = of_wiki.find(|app| app.provider.settings().name.as_str() == "members");
    let user = RevocationTarget::Subject(Subject::new("alice-id"));
    let command = user.sealed_commands(at.expect("the app"), wiki.now());
    let url = format!("http://{}/revoke", wiki.admin_address());
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", command.expect("a command"));
    let response = wiki.browser().send(request).await;
    assert_eq!(response.status(), 200, "{response}");
    assert!(wiki.is_signed_in(&mut at_login).await);
    assert!(!wiki.is_signed_in(&mut at_members).await);
}
