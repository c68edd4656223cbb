//! Conditions of access rules: combinations, verified addresses, networks, lists in files, and roles
//! in the shapes that providers write.

use serde_json::{Value, json};

use crate::support::assertions::{
    alice, assert_error_page, assert_login_starts, assert_problem, metric_reaches, signed_in,
};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::User;

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/domain/**"]
allow = { email_domains = ["example.com"] }

[[apps.store.rules]]
paths = ["/person/**"]
allow = { emails = ["Dora@Example.com"] }

[[apps.store.rules]]
paths = ["/office/**"]
allow = { all = [{ from = ["10.0.0.0/8", "2001:db8::/32"] }, "authenticated"] }

[[apps.store.rules]]
paths = ["/outside/**"]
allow = { all = [
    { any = [{ roles = ["clerk"] }, { claim = "org.department", any_of = ["sales"] }] },
    { not = { roles = ["suspended"] } },
] }

[[apps.store.rules]]
paths = ["/keys/**"]
allow = { claim = "urn:example:roles", any_of = ["admin"], members = "keys" }

[[apps.store.rules]]
paths = ["/objects/**"]
allow = { claim = "teams[].name", any_of = ["ops"] }

[[apps.store.rules]]
paths = ["/dotted/**"]
allow = { claim = 'resource_access.my\.client.roles', any_of = ["admin"] }

[[apps.store.rules]]
paths = ["/commas/**"]
allow = { claim = "departments", any_of = ["it"], members = "commas" }
"#;

fn doorward() -> Doorward {
    Setup::plain()
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .store_rules(RULES)
        .start()
}

fn dora() -> User {
    User::new("dora", &[])
}

#[tokio::test]
async fn condition_admits_exactly_the_described_users() {
    let doorward = doorward();
    let with = |name: &str, value: Value| dora().with_claim(name, value);
    let cases = [
        (dora(), "/domain/x", 200),
        (
            with("email", json!("dora@sub.example.com")),
            "/domain/x",
            403,
        ),
        (with("email_verified", json!(false)), "/domain/x", 403),
        (with("email_verified", Value::Null), "/domain/x", 403),
        (dora(), "/person/x", 200),
        (User::new("bob", &[]), "/person/x", 403),
        (User::new("carla", &["clerk"]), "/outside/x", 200),
        (
            User::new("carla", &["clerk", "suspended"]),
            "/outside/x",
            403,
        ),
        (
            with("org", json!({"department": "sales"})),
            "/outside/x",
            200,
        ),
        (dora(), "/outside/x", 403),
        (
            with("urn:example:roles", json!({"admin": {"7": "x"}})),
            "/keys/x",
            200,
        ),
        (
            with("urn:example:roles", json!({"admin": false})),
            "/keys/x",
            403,
        ),
        (
            with("teams", json!([{"name": "dev"}, {"name": "ops"}])),
            "/objects/x",
            200,
        ),
        (with("teams", json!(["ops"])), "/objects/x", 403),
        (
            with(
                "resource_access",
                json!({"my.client": {"roles": ["admin"]}}),
            ),
            "/dotted/x",
            200,
        ),
        (
            with(
                "resource_access",
                json!({"my": {"client": {"roles": ["admin"]}}}),
            ),
            "/dotted/x",
            403,
        ),
        (with("departments", json!("sales, it")), "/commas/x", 200),
        (with("departments", json!("sales,itsm")), "/commas/x", 403),
    ];
    for (user, path, expected) in cases {
        let who = format!("{} {:?}", user.sub, user.claims);
        let mut browser = signed_in(&doorward, user).await;
        let page = browser.step(&doorward.store_url(path)).await;
        assert_eq!(page.status(), expected, "{who}: {path}");
    }
}

#[tokio::test]
async fn network_is_that_of_the_client_behind_trusted_proxies() {
    let doorward = doorward();
    let url = doorward.store_url("/office/x");
    let mut browser = alice(&doorward).await;
    for (forwarded, expected) in [
        (Some("10.1.2.3"), 200),
        (Some("2001:db8::7"), 200),
        (Some("203.0.113.9"), 403),
        (Some("10.1.2.3, 203.0.113.9"), 403),
        (Some("unknown"), 403),
        // The proxy names no client.
        (None, 403),
    ] {
        let mut request = RequestSpec::new(Kind::Navigation, &url);
        if let Some(forwarded) = forwarded {
            request = request.header("x-forwarded-for", forwarded);
        }
        let page = browser.send(request).await;
        assert_eq!(page.status(), expected, "{forwarded:?}: {page}");
    }
    let mut stranger = doorward.browser();
    let from =
        |address: &str, kind| RequestSpec::new(kind, &url).header("x-forwarded-for", address);
    let inside = stranger.send(from("10.1.2.3", Kind::Navigation)).await;
    assert_login_starts(&doorward, &inside);
    // A login would not help.
    let outside = stranger.send(from("203.0.113.9", Kind::Navigation)).await;
    assert_error_page(&outside, 403, "forbidden");
    let program = stranger.send(from("203.0.113.9", Kind::Program)).await;
    assert_problem(&program, 403, "forbidden");
}

#[tokio::test]
async fn list_in_a_file_follows_the_file() {
    const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/staff/**"]
allow = { emails = { file = "staff.txt" } }
"#;
    let doorward = Setup::plain()
        .store_rules(RULES)
        .file("staff.txt", "# staff\nbob@example.com\n")
        .server("watch_files = true")
        .start();
    let url = doorward.store_url("/staff/x");
    let mut browser = alice(&doorward).await;
    assert_eq!(browser.step(&url).await.status(), 403);
    doorward.replace_file("staff.txt", "bob@example.com\nAlice@example.com\n");
    let reloads = |outcome: &str| {
        format!("doorward_config_reloads_total{{outcome=\"{outcome}\",trigger=\"files\"}}")
    };
    metric_reaches(&doorward, &reloads("applied"), 1.0).await;
    assert_eq!(browser.step(&url).await.status(), 200);
    doorward.replace_file("staff.txt", "alice at example.com\n");
    metric_reaches(&doorward, &reloads("refused"), 1.0).await;
    assert_eq!(browser.step(&url).await.status(), 200);
}
