//! Access rules: which requests are admitted, how the others are refused, and that no spelling of a
//! path bypasses a rule.

use crate::support::assertions::{
    CART, Dialogue, alice, assert_error_page, assert_login_starts, assert_problem, fetched,
    signed_in,
};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::journey::cookie;
use crate::support::provider::User;
use serde_json::json;

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/", "/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/orders/**"]
methods = ["GET"]
allow = "authenticated"

[[apps.store.rules]]
paths = ["/orders/**"]
allow = { roles = ["clerk", "admin"] }

[[apps.store.rules]]
paths = ["/admin/**"]
allow = { roles = ["admin"] }

[[apps.store.rules]]
paths = ["/reports/**"]
allow = { claim = "org.department", any_of = ["sales", "finance"] }

[[apps.store.rules]]
paths = ["/closed/**"]
allow = "deny"
"#;

fn doorward() -> Doorward {
    Setup::plain().store_rules(RULES).start()
}

async fn status(doorward: &Doorward, user: Option<User>, method: &str, path: &str) -> u16 {
    let mut browser = match user {
        Some(user) => signed_in(doorward, user).await,
        None => doorward.browser(),
    };
    let url = doorward.store_url(path);
    let page = url.parse().expect("an URL");
    browser
        .send(
            RequestSpec::new(Kind::Fetch, &url)
                .method(method)
                .from(&page),
        )
        .await
        .status()
}

#[tokio::test]
async fn rule_admits_exactly_the_named_users() {
    let doorward = doorward();
    let alice = || Some(User::new("alice", &[]));
    let clerk = || Some(User::new("carla", &["clerk"]));
    let admin = || Some(User::new("bob", &["admin", "other"]));
    let of = |org: serde_json::Value| Some(User::new("dora", &[]).with_claim("org", org));
    let cases = [
        (None, "GET", "/", 200),
        (None, "POST", "/public/deep/er", 200),
        (None, "GET", "/orders/1", 401),
        (None, "GET", "/anything", 401),
        (None, "GET", "/closed/door", 403),
        (alice(), "GET", "/orders/1", 200),
        (alice(), "HEAD", "/orders/1", 200),
        (alice(), "POST", "/orders/1", 403),
        (alice(), "get", "/orders/1", 501),
        (alice(), "DELETE", "/orders/1", 403),
        (clerk(), "POST", "/orders/1", 200),
        (clerk(), "GET", "/admin", 403),
        (admin(), "GET", "/admin", 200),
        (admin(), "GET", "/admin/users", 200),
        (admin(), "GET", "/closed/door", 403),
        (alice(), "GET", "/administration", 200),
        (of(json!({"department": "sales"})), "GET", "/reports/1", 200),
        (
            of(json!({"department": ["it", "finance"]})),
            "GET",
            "/reports/1",
            200,
        ),
        (
            of(json!({"department": "salesforce"})),
            "GET",
            "/reports/1",
            403,
        ),
        (of(json!({"department": ["it"]})), "GET", "/reports/1", 403),
        (of(json!({})), "GET", "/reports/1", 403),
        (of(json!("sales")), "GET", "/reports/1", 403),
        (alice(), "GET", "/reports/1", 403),
    ];
    for (user, method, path, expected) in cases {
        let who = user.as_ref().map_or("nobody".to_owned(), |user| {
            format!("{} {:?}", user.sub, user.claims)
        });
        assert_eq!(
            status(&doorward, user, method, path).await,
            expected,
            "{who}: {method} {path}"
        );
    }
}

#[tokio::test]
async fn forbidden_user_gets_403_and_no_login() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let reached = doorward.store.count();
    let page = browser.step(&doorward.store_url("/admin")).await;
    assert_eq!(page.status(), 403, "{page}");
    assert!(
        page.words().contains("alice"),
        "the page says as whom one is signed in: {}",
        page.words()
    );
    assert!(
        page.links()
            .iter()
            .any(|(href, _)| href == "/.doorward/login?return_to=%2Fadmin&prompt=login"),
        "{page}"
    );
    let reference = assert_error_page(&page, 403, "forbidden");
    assert_eq!(
        doorward.log.line("/admin", "forbidden").await["request_id"],
        reference.as_str()
    );
    let response = fetched(&mut browser, &doorward.store_url("/admin")).await;
    assert_problem(&response, 403, "forbidden");
    assert_eq!(response.json().get("login_url"), None, "{response}");
    assert_error_page(
        &browser.step(&doorward.store_url("/closed/door")).await,
        403,
        "denied",
    );
    assert_problem(
        &fetched(&mut browser, &doorward.store_url("/closed/door")).await,
        403,
        "denied",
    );
    assert_eq!(doorward.store.count(), reached, "a request reached the app");
    assert!(
        cookie(&browser, doorward.store_host(), "jwt").is_some(),
        "the session stays"
    );
}

#[tokio::test]
async fn anonymous_request_is_refused_in_fitting_form() {
    let doorward = doorward();
    let mut browser = doorward.browser();
    let url = doorward.store_url("/orders/1?page=2");
    assert_login_starts(&doorward, &browser.step(&url).await);
    let script = fetched(&mut browser, &url).await;
    assert_problem(&script, 401, "no_session");
    let login = script.json()["login_url"]
        .as_str()
        .expect("a login URL")
        .to_owned();
    assert!(
        login.starts_with(&doorward.store_url("/.doorward/login?return_to=")),
        "{login}"
    );
    assert!(script.header("www-authenticate").is_some(), "{script}");
    let program = browser.send(RequestSpec::new(Kind::Program, &url)).await;
    assert_problem(&program, 401, "no_session");
    let frame = browser.send(RequestSpec::new(Kind::Frame, &url)).await;
    assert_eq!((frame.status(), frame.links().len()), (401, 1), "{frame}");
    assert_error_page(&frame, 401, "login_blocked_in_frame");
    let form = RequestSpec::new(Kind::Navigation, &doorward.store_url("/orders/1")).method("POST");
    let form = browser
        .send(form.body("application/x-www-form-urlencoded", "amount=1"))
        .await;
    assert_error_page(&form, 401, "post_not_preserved");
    for kind in [Kind::Image, Kind::Fetch, Kind::Program] {
        let response = browser.send(RequestSpec::new(kind, &url)).await;
        assert_eq!(response.status(), 401, "{kind:?}: {response}");
        assert!(
            response.head.all("set-cookie").is_empty(),
            "{kind:?} begins no login"
        );
    }
    assert_eq!(doorward.store.count(), 0, "a request reached the app");
}

#[tokio::test]
async fn path_spelling_never_bypasses_a_rule() {
    let doorward = doorward();
    let browser = alice(&doorward).await;
    let cookies = cookie(&browser, doorward.store_host(), "jwt").expect("a session");
    let refused = [
        "/%61dmin",
        "/adm%69n",
        "/%61%64%6D%69%6e",
        "/admin/",
        "/admin/%75sers",
        "/%41dmin/../admin",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/.%2e/admin",
        "/public/%2E./admin",
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f..%2fadmin",
        "/public/..\\admin",
        "/public/..%5cadmin",
        "//admin",
        "/public//../admin",
        "/./admin",
        "/admin/.",
        "/%2e/admin",
        "/admin;x=1",
        "/admin%3bx",
        "/;/admin",
        "/public/..;/admin",
        "/public/.%00./admin",
        "/admin%00",
        "/%2561dmin",
        "/public/%252e%252e/admin",
        "/%c0%afadmin",
        "/public/%c0%ae%c0%ae/admin",
        "/admin#x",
        "/admin%23",
        "/public/%23/../admin",
        "/admin%3f",
        "/%",
        "/admin%2",
        "/admin%zz",
        "/public/\tadmin",
        "/public/%0d%0aX:y",
        "/public/..%c1%9cadmin",
        "/public/%uff0e%uff0e/admin",
        "/%ef%bc%8fadmin/../admin",
        "http://store.localhost:8080/admin",
        "http://STORE.localhost:8080/public/../admin",
        "/.doorward/../admin",
        "/.doorward/%2e%2e/admin",
        "/public/x/../../admin",
        "*",
        "admin",
        "?/admin",
        "/admin?",
        "/admin?/public/x",
    ];
    let reached = doorward.store.count();
    for target in refused {
        let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: store.localhost:8080\r\nAccept: */*\r\nCookie: doorward_jwt={cookies}\r\n\r\n"
        );
        let reply = dialogue.request("GET", request).await;
        assert!(
            matches!(reply.status(), 400 | 403),
            "{target}: {} {}",
            reply.status(),
            reply.text()
        );
        assert_eq!(doorward.store.count(), reached, "{target} reached the app");
    }
}

#[tokio::test]
async fn forwarded_path_equals_judged_path() {
    let doorward = doorward();
    let mut browser = alice(&doorward).await;
    let cases = [
        (
            "/public/%7Euser/%61?q=%61&x=//..",
            "/public/~user/a?q=%61&x=//..",
        ),
        ("/public/a%20b%e4%bd%a0", "/public/a%20b%E4%BD%A0"),
        ("/public/trailing/", "/public/trailing/"),
        ("/public/,:@!$&'()*+=-._~", "/public/,:@!$&'()*+=-._~"),
        ("/public/x?", "/public/x?"),
        (
            "/public/x?a=%2e%2e&b='|{}^`\\;c",
            "/public/x?a=%2e%2e&b='|{}^`\\;c",
        ),
    ];
    for (target, sent) in cases {
        let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
        let reply = dialogue
            .request(
                "GET",
                format!("GET {target} HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n"),
            )
            .await;
        assert_eq!(reply.status(), 200, "{target}: {}", reply.text());
        assert_eq!(doorward.store.last().target, sent);
    }
    assert_eq!(browser.step(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn unknown_host_is_misdirected() {
    let doorward = Setup::plain()
        .store("aliases = [\"http://www.store.localhost:8080\"]")
        .start();
    let browser = doorward.browser();
    let fetch = async |host: &str, more: &str| {
        let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
        dialogue
            .request(
                "GET",
                format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"),
            )
            .await
    };
    for host in ["store.localhost:8080", "STORE.localhost:8080"] {
        assert_eq!(fetch(host, "").await.status(), 200, "{host}");
    }
    for host in [
        "store.localhost",
        "store.localhost:80",
        "localhost:8080",
        "127.0.0.1:8080",
        "evil.example",
    ] {
        assert_eq!(fetch(host, "").await.status(), 421, "{host}");
    }
    for host in [
        "",
        "a b",
        "store.localhost:8080, evil.example",
        "user@store.localhost:8080",
        "store.localhost:x",
    ] {
        assert_eq!(fetch(host, "").await.status(), 400, "{host}");
    }
    assert_eq!(
        fetch("store.localhost:8080", "Host: forum.localhost:8080\r\n")
            .await
            .status(),
        400
    );
    let moved = fetch("www.store.localhost:8080", "Accept: text/html\r\n").await;
    let expected = doorward.store_url("/public/x");
    assert_eq!(
        (moved.status(), moved.head.header("location")),
        (308, Some(expected.as_str()))
    );
    assert_eq!(
        fetch("www.store.localhost:8080", "Accept: */*\r\n")
            .await
            .status(),
        421
    );
}
