//! Several providers in every placement: wildcard hosts, a login host, replicas, native apps, and
//! decisions for other proxies.

use std::sync::Arc;

use doorward::types::time::ManualClock;
use url::Url;

use super::{PAGE, Several, WIKI, link_to, location, several_with};
use crate::decisions::check::{Check, Dialect, HTML, decided_by};
use crate::mobile_workflow::{PASSWORD, Phone};
use crate::support::assertions::{SOON, assert_problem};
use crate::support::backend::Backend;
use crate::support::browser::Browser;
use crate::support::cookies::CookieContext;
use crate::support::doorward::{BEGIN, Setup};
use crate::support::provider::{Client, Endpoint, FakeProvider, User};
use crate::support::redis::RedisServer;
use crate::support::{eventually_async, journey};

const BY_PROVIDER: &str = r#"headers = { X-Forwarded-User = "{doorward-provider}:{sub}" }
[[apps.wiki.rules]]
paths = ["/staff/**"]
allow = { claim = "doorward-provider", any_of = ["login"] }
"#;

fn cookies(wiki: &Several, browser: &Browser) -> String {
    let url = Url::parse(PAGE).expect("a URL");
    let context = CookieContext {
        same_site: true,
        top_level: true,
        safe_method: true,
    };
    let header = browser.jar.header(&url, wiki.now(), context);
    header.expect("cookies of a session")
}

#[tokio::test]
async fn other_proxy_is_told_the_provider_and_where_to_choose_one() {
    let wiki = several_with(decided_by(Setup::plain()), BY_PROVIDER);
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    let cookies = cookies(&wiki, &browser);
    let choice = format!("{WIKI}/.doorward/login?return_to=%2Fpage%3Fid%3D7");
    for (dialect, status) in [
        (Dialect::AuthRequest, 401),
        (Dialect::ForwardAuth, 302),
        (Dialect::ExtAuthz, 302),
    ] {
        let check = |target: &str| {
            let check = Check::new(dialect, target).host("wiki.localhost:8080");
            check.header("Accept", HTML)
        };
        let anonymous = check("/page?id=7").request(&wiki).await;
        assert_eq!(anonymous.status(), status, "{dialect:?}");
        assert_eq!(anonymous.head.header("location"), Some(choice.as_str()));
        let signed_in = check("/page").header("Cookie", &cookies);
        let signed_in = signed_in.request(&wiki).await;
        assert_eq!(signed_in.status(), 200, "{dialect:?}");
        let user = signed_in.head.all("x-forwarded-user");
        assert_eq!(user, ["members:alice-id"], "{dialect:?}");
        let staff = check("/staff/x").header("Cookie", &cookies);
        assert_eq!(staff.request(&wiki).await.status(), 403, "{dialect:?}");
    }
    let line = wiki.log.line("/staff/x", "forbidden").await;
    assert_eq!(line["provider"], "members", "{line}");
}

#[tokio::test]
async fn log_names_the_provider_of_a_request() {
    let wiki = several_with(Setup::plain(), "");
    let mut browser = wiki.browser();
    wiki.log_in(&mut browser, "members").await;
    let line = wiki.log.line("/page", "forward").await;
    assert_eq!(line["provider"], "members", "{line}");
    // Before the choice the request belongs to no provider.
    let line = wiki.log.line("/page", "choose_provider").await;
    assert!(line.get("provider").is_none(), "{line}");
    let finished = "/.doorward/callback/members";
    let line = wiki.log.line(finished, "signed_in").await;
    assert_eq!(line["provider"], "members", "{line}");
    for (provider, count) in [("members", 1.0), ("login", 0.0)] {
        let series = format!(
            "doorward_logins_total{{app=\"wiki\",outcome=\"signed_in\",provider=\"{provider}\"}}"
        );
        assert_eq!(wiki.metric(&series).await, count, "{provider}");
    }
    // An app with one provider needs no such field.
    wiki.doorward.logged_in("alice", "/cart").await;
    let line = wiki.log.line("/cart", "forward").await;
    assert!(line.get("provider").is_none(), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_sessions_of_each_provider() {
    let redis = RedisServer::start();
    let store = format!("url = \"{}\"", redis.url());
    let mut wiki = several_with(Setup::plain().remembering(&store), "");
    let other = wiki.doorward.add_replica();
    // The callback reaches another replica than the start of the login.
    let mut browser = wiki.browser();
    let redirect = wiki.before_callback(&mut browser, "members").await;
    let mut browser = wiki.moved_to(other, browser);
    let page = browser.next(&redirect).await;
    assert!(super::sets_session(&page), "{page}");
    let mut staff = wiki.browser();
    wiki.log_in(&mut staff, "login").await;

    wiki.advance_secs(600);
    assert!(wiki.is_signed_in(&mut browser).await);
    let mut staff = wiki.moved_to(other, staff);
    assert!(wiki.is_signed_in(&mut staff).await);
    let refreshed = [&wiki.provider, &wiki.members].map(|at| at.grants("refresh_token"));
    assert_eq!(refreshed, [1, 1]);

    let mut elsewhere = wiki.moved_to(0, browser.clone());
    journey::log_out(&mut elsewhere, WIKI).await;
    eventually_async("the other replica knows the logout", SOON, async || {
        !wiki.is_signed_in(&mut browser).await
    })
    .await;
    assert!(
        wiki.is_signed_in(&mut staff).await,
        "the same sub, elsewhere"
    );
}

#[tokio::test]
async fn native_app_logs_in_at_the_password_provider_only() {
    let lines = "password_provider = \"members\"\nnative = { password_grant = true }\n\
                 headers = { X-Forwarded-User = \"{doorward-provider}:{sub}\" }";
    let wiki = several_with(Setup::plain(), lines);
    let alice = || User::new("alice", &[]);
    wiki.members.add_user("alice", PASSWORD, alice());
    wiki.provider.add_user("alice", "other", alice());
    let mut phone = Phone::at(WIKI.to_owned(), wiki.browser());
    let refused = phone.log_in("alice", "other").await;
    assert_problem(&refused, 401, "wrong_credentials");
    let page = phone.log_in("alice", PASSWORD).await;
    assert_eq!(page.status(), 200, "{page}");
    let page = phone.load("/page").await;
    assert_eq!(page.status(), 200, "{page}");
    let user = wiki
        .wiki
        .last()
        .header("x-forwarded-user")
        .map(str::to_owned);
    assert_eq!(user.as_deref(), Some("members:alice-id"));
    let line = wiki.log.line("/page", "forward").await;
    assert_eq!(line["provider"], "members", "{line}");
    let page = phone.refresh().await;
    assert_eq!(page.status(), 200, "{page}");
    assert_eq!(wiki.members.grants("refresh_token"), 1);
    assert_eq!(wiki.provider.grants("password"), 0);

    // A logout at the other provider, where alice has the same `sub`, does not end it.
    for (at, status) in [("login", 200), ("members", 401)] {
        let user = serde_json::json!({ "sub": "alice-id" });
        let token = wiki.at(at).logout_token("wiki", &user, &[]);
        let request = crate::support::browser::RequestSpec::new(
            crate::support::browser::Kind::Program,
            &format!("{WIKI}/.doorward/backchannel-logout"),
        )
        .method("POST")
        .body(
            "application/x-www-form-urlencoded",
            format!("logout_token={token}"),
        );
        assert_eq!(wiki.browser().send(request).await.status(), 200);
        assert_eq!(phone.load("/page").await.status(), status, "{at}");
    }
}

#[tokio::test]
async fn each_host_of_a_wildcard_has_its_own_choice_and_callbacks() {
    let clock = Arc::new(ManualClock::starting_at(BEGIN));
    let members = FakeProvider::start_as("members.localhost", clock);
    let backend = Backend::start();
    let registration = |name: &str| {
        format!(
            "[apps.tenants.registrations.{name}]\nclient_id = \"tenants\"\nclient_secret = \"tenants-secret\"\n"
        )
    };
    let doorward = Setup::plain()
        .more(&format!(
            "[providers.members]\nissuer = \"{}\"\n[apps.tenants]\nproviders = [\"login\", \"members\"]\n\
             public_url = \"http://*.tenants.localhost:8080\"\nupstream = \"{}\"\n{}{}",
            members.issuer(),
            backend.url(),
            registration("login"),
            registration("members"),
        ))
        .start();
    let origin = |label: &str| format!("http://{label}.tenants.localhost:8080");
    for (provider, name) in [(&doorward.provider, "login"), (&members, "members")] {
        let mut client = Client::of_app("tenants", &origin("blue"));
        let callbacks = ["blue", "green"].map(|label| {
            let origin = origin(label);
            format!("{origin}/.doorward/callback/{name}")
        });
        client.redirect_uris = callbacks.into();
        provider.register(client);
        provider.sign_in(User::new("alice", &[]));
    }
    let mut browser = doorward.browser();
    for (label, name) in [("blue", "members"), ("green", "login")] {
        let url = format!("{}/page", origin(label));
        let choice = browser.visit(&url).await;
        assert_eq!(choice.links().len(), 2, "{choice}");
        let link = link_to(&choice, name);
        let page = browser.click(&choice, &link).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, url.as_str()),
            "{page}"
        );
    }
    for (label, name) in [("blue", "members"), ("green", "login")] {
        let host = format!("{label}.tenants.localhost");
        let last = journey::cookie(&browser, &host, "provider");
        assert_eq!(last.as_deref(), Some(name));
    }
    // A session of one host does not count at the other, and neither does a callback.
    let mut thief = doorward.browser();
    let start = thief
        .step(&format!(
            "{}/.doorward/login?provider=members",
            origin("blue")
        ))
        .await;
    let redirect = thief.next(&start).await;
    let moved = location(&redirect).replace("blue", "green");
    let page = thief.step(&moved).await;
    assert!(
        !super::sets_session(&page) && page.status() >= 400,
        "{page}"
    );
}

/// One provider completes its logins at a login host, the other at the app.
#[tokio::test]
async fn login_host_of_one_provider_is_not_used_by_the_other() {
    const LOGIN_HOST: &str = "https://signin.example.test";
    const APP: &str = "https://wiki.other.test";
    let clock = Arc::new(ManualClock::starting_at(BEGIN));
    let members = FakeProvider::start_as("members.localhost", clock);
    let backend = Backend::start();
    let registration = |name: &str| {
        format!(
            "[apps.wiki.registrations.{name}]\nclient_id = \"wiki\"\nclient_secret = \"wiki-secret\"\n"
        )
    };
    let doorward = Setup::over_tls()
        .provider(&format!("login_url = \"{LOGIN_HOST}\""))
        .more(&format!(
            "[providers.members]\nissuer = \"{}\"\n[apps.wiki]\nproviders = [\"login\", \"members\"]\n\
             public_url = \"{APP}\"\nupstream = \"{}\"\n\
             headers = {{ X-Forwarded-User = \"{{doorward-provider}}:{{sub}}\" }}\n{}{}",
            members.issuer(),
            backend.url(),
            registration("login"),
            registration("members"),
        ))
        .start();
    let at_host = Client::of_app("wiki", LOGIN_HOST);
    let mut at_app = Client::of_app("wiki", APP);
    at_app.redirect_uris = vec![format!("{APP}/.doorward/callback/members")];
    for (provider, client) in [(&doorward.provider, at_host), (&members, at_app)] {
        provider.register(client);
        provider.sign_in(User::new("alice", &[]));
    }
    let page_url = format!("{APP}/page");
    let seen = || backend.last().header("x-forwarded-user").map(str::to_owned);
    let mut browsers = ["login", "members"].map(|name| (name, doorward.browser()));
    for (name, browser) in &mut browsers {
        let choice = browser.visit(&page_url).await;
        assert_eq!(
            choice.url.as_str().split('?').next(),
            Some("https://wiki.other.test/.doorward/login")
        );
        let link = link_to(&choice, name);
        let page = browser.click(&choice, &link).await;
        assert_eq!(
            (page.status(), page.url.as_str()),
            (200, page_url.as_str()),
            "{page}"
        );
        assert_eq!(seen(), Some(format!("{name}:alice-id")));
        let through_host = page
            .chain
            .iter()
            .any(|hop| hop.url.as_str().starts_with(LOGIN_HOST));
        assert_eq!(through_host, *name == "login", "{page}");
    }
    assert_eq!(members.visits(Endpoint::Authorize).len(), 1);
    // The logout at the login host ends the sessions of its provider.
    for (name, browser) in &mut browsers {
        let page = browser
            .step(&format!("{LOGIN_HOST}/.doorward/logout"))
            .await;
        browser.submit(&page, &[]).await;
        let page = browser.step(&page_url).await;
        let status = if *name == "login" { 302 } else { 200 };
        assert_eq!(page.status(), status, "{name} {page}");
    }
}

#[tokio::test]
async fn page_of_choice_contains_the_logos() {
    const CIRCLE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><circle r=\"4\"/></svg>";
    let setup = Setup::plain()
        .file("staff.svg", CIRCLE)
        .provider("logo_file = \"staff.svg\"");
    let wiki = several_with(setup, "");
    let choice = wiki.browser().visit(PAGE).await;
    // A slash may be written as an entity.
    let text = choice.text().replace("&#x2f;", "/");
    let policy = choice.header("content-security-policy").unwrap_or_default();
    assert!(
        text.contains("<img src=\"data:image/svg+xml;base64,PHN2Zy")
            && text.matches("<img").count() == 1,
        "{text}"
    );
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("img-src data:"),
        "{policy}"
    );
    // A page without logos allows no images.
    let other = several_with(Setup::plain(), "").browser().visit(PAGE).await;
    let policy = other.header("content-security-policy").unwrap_or_default();
    assert!(
        !policy.contains("img-src") && !other.text().contains("<img"),
        "{policy}"
    );
}
