//! Identity headers: the app receives verified claims only. No token, Doorward cookie or forged
//! header reaches it, in any session state.

use serde_json::json;

use crate::support::assertions::{CART, Dialogue, alice, signed_in};
use crate::support::backend::Received;
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::User;

const TEMPLATES: &str = r#"
[apps.store.headers]
X-Forwarded-User = "{sub}"
X-Name = "{name}"
X-Groups = "{groups}"
X-Roles = "{roles}"
X-Line = "{preferred_username} <{email}>"
X-City = "{address.city}"
X-Age = "{age}"
X-Flag = "{email_verified}"
X-Absent = "{nothing}"
X-Half = "{sub} {nothing}"
"#;

#[tokio::test]
async fn claims_are_rendered_by_template() {
    let doorward = Setup::plain().store_rules(TEMPLATES).start();
    let user = User::new("alice", &["a,b", "c"])
        .with_claim("name", json!("Zoë 李\r\nX-Evil: 1"))
        .with_claim("groups", json!(["staff", "Köln"]))
        .with_claim("address", json!({"city": "Aix 100%"}))
        .with_claim("age", json!(42));
    signed_in(&doorward, user).await;
    let seen = doorward.store.last();
    let expected = [
        ("x-forwarded-user", Some("alice-id")),
        ("x-name", Some("Zo%C3%AB %E6%9D%8E%0D%0AX-Evil: 1")),
        ("x-groups", Some("staff,K%C3%B6ln")),
        ("x-roles", Some("a%2Cb,c")),
        ("x-line", Some("alice <alice@example.com>")),
        ("x-city", Some("Aix 100%25")),
        ("x-age", Some("42")),
        ("x-flag", Some("true")),
        ("x-absent", None),
        ("x-half", None),
        ("x-evil", None),
        ("x-forwarded-email", None),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), value, "{name}");
        assert!(seen.head.all(name).len() <= 1, "{name}");
    }
}

#[tokio::test]
async fn default_headers_need_no_configuration() {
    let doorward = Setup::plain().start();
    let mut browser = alice(&doorward).await;
    let expected = [
        ("x-forwarded-user", "alice-id"),
        ("x-forwarded-email", "alice@example.com"),
        ("x-forwarded-preferred-username", "alice"),
        ("x-forwarded-groups", "customers"),
    ];
    let seen = doorward.store.last();
    for (name, value) in expected {
        assert_eq!(seen.head.all(name), [value]);
    }
    let page = browser.step(&doorward.store_url("/public/page")).await;
    assert_eq!(
        (
            page.status(),
            doorward.store.last().header("x-forwarded-user")
        ),
        (200, Some("alice-id"))
    );
    let page = doorward
        .browser()
        .step(&doorward.store_url("/public/page"))
        .await;
    assert_eq!(
        (
            page.status(),
            doorward.store.last().header("x-forwarded-user")
        ),
        (200, None)
    );
}

async fn forwarded(doorward: &Doorward, fields: &str) -> Received {
    let mut dialogue = Dialogue::with(&doorward.browser(), &doorward.site().store).await;
    let request = format!("GET /public/x HTTP/1.1\r\nHost: store.localhost:8080\r\n{fields}\r\n");
    let reply = dialogue.request("GET", request).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    doorward.store.last()
}

const CLAIMED: &str = "X-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                       Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Prefix: /evil\r\n\
                       X-Forwarded-Port: 666\r\n";

#[tokio::test]
async fn forwarded_headers_of_untrusted_peers_are_removed() {
    let doorward = Setup::plain().start();
    let seen = forwarded(&doorward, CLAIMED).await;
    assert_eq!(seen.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.head.all("x-forwarded-host"), ["store.localhost:8080"]);
    for name in [
        "forwarded",
        "x-real-ip",
        "x-forwarded-prefix",
        "x-forwarded-port",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(
        doorward.log.line("/public/x", "forward").await["client_ip"],
        "127.0.0.1"
    );
}

#[tokio::test]
async fn trusted_proxy_sets_the_address_only() {
    let doorward = Setup::plain()
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .start();
    let seen = forwarded(&doorward, CLAIMED).await;
    assert_eq!(
        seen.head.all("x-forwarded-for"),
        ["198.51.100.7, 127.0.0.1"]
    );
    assert_eq!(seen.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.head.all("x-forwarded-host"), ["store.localhost:8080"]);
    assert_eq!(
        doorward.log.line("/public/x", "forward").await["client_ip"],
        "198.51.100.7"
    );
    for junk in [
        "X-Forwarded-For: nonsense\r\n",
        "X-Forwarded-For: 198.51.100.7, nonsense\r\n",
        "X-Forwarded-For:\r\n",
    ] {
        assert_eq!(
            forwarded(&doorward, junk).await.head.all("x-forwarded-for"),
            ["127.0.0.1"],
            "{junk}"
        );
    }
}

/// A small generator (SplitMix64): the same requests in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(sides).expect("few sides"))
            .expect("few sides")
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }

    /// Variants of the name that some backends normalize to it: other case, and `_`, `.` or similar
    /// for `-`.
    fn spelling(&mut self, name: &str) -> String {
        let style = self.roll(4);
        let separator = self.pick(&["-", "_", ".", "~", "!", "+", "^", "|", "'", "*"]);
        let mut spelled = String::new();
        for letter in name.chars() {
            match letter {
                '-' if style == 3 => spelled.push_str(self.pick(&["-", "_", "."])),
                '-' => spelled.push_str(separator),
                _ if style == 0 => spelled.push(letter.to_ascii_uppercase()),
                _ if style == 1 && self.roll(2) == 0 => spelled.push(letter.to_ascii_uppercase()),
                _ => spelled.push(letter.to_ascii_lowercase()),
            }
        }
        spelled
    }
}

const FORGED: &str = "forged-by-eve";
const NAMES: [&str; 14] = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Groups",
    "X-Department",
    "Remote-Person",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-HTTP-Method-Override",
    "Proxy-Authorization",
];
const PATHS: [&str; 16] = [
    "/",
    "/public/x",
    "/public/%7Euser?a=b",
    CART,
    "/admin",
    "/%61dmin",
    "/public/../admin",
    "//public/x",
    "/public/a;b",
    "/.doorward/session",
    "/.doorward/login",
    "/.doorward/logout",
    "/.doorward/signed-out",
    "/.doorward/callback?code=x&state=y",
    "/.doorward/nothing",
    "/.Doorward/session",
];

/// One request with forged headers and the `cookies` of its session state.
fn request(dice: &mut Dice, cookies: &str) -> (String, String) {
    let method = dice.pick(&["GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PUT"]);
    let mut fields = vec!["Host: store.localhost:8080".to_owned()];
    for _ in 0..=dice.roll(6) {
        let name = dice.pick(&NAMES);
        let spelled = dice.spelling(name);
        fields.push(format!("{spelled}: {FORGED}"));
        match dice.roll(5) {
            0 => fields.push(format!("{spelled}: {FORGED}, {FORGED}")),
            1 => fields.push(format!("Connection: {spelled}")),
            2 => fields.push(format!("connection: close, {name}, keep-alive")),
            3 => fields.push(format!("{}: {FORGED}", dice.spelling(name))),
            _ => {}
        }
    }
    fields.push(
        dice.pick(&[
            "Accept: */*",
            "Accept: text/html",
            "Sec-Fetch-Mode: navigate",
            "X-Nothing: 1",
        ])
        .to_owned(),
    );
    match dice.roll(4) {
        0 if !cookies.is_empty() => {
            fields.extend(cookies.split("; ").map(|pair| format!("Cookie: {pair}")))
        }
        1 => fields.push(format!("Cookie: mine=1; {cookies}; other=2")),
        _ if !cookies.is_empty() => fields.push(format!("Cookie: {cookies}")),
        _ => {}
    }
    if matches!(method, "POST" | "PUT") {
        fields.push("Content-Length: 0".to_owned());
    }
    // The position of `Host` must not matter either.
    let at = dice.roll(fields.len());
    fields.swap(0, at);
    (
        method.to_owned(),
        format!(
            "{method} {} HTTP/1.1\r\n{}\r\n\r\n",
            dice.pick(&PATHS),
            fields.join("\r\n")
        ),
    )
}

fn cookies_of(browser: &Browser, doorward: &Doorward) -> String {
    let cookies = browser.jar.of(doorward.store_host());
    cookies
        .iter()
        .map(|cookie| format!("{}={}", cookie.name, cookie.value))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Asserts that neither app received a secret, a Doorward cookie or a forged value.
fn assert_clean(doorward: &Doorward, canaries: &[String]) {
    let canaries: Vec<&str> = canaries
        .iter()
        .map(String::as_str)
        .chain([FORGED, "doorward_"])
        .collect();
    doorward.store.assert_never_saw(&canaries);
    doorward.forum.assert_never_saw(&canaries);
    for seen in doorward.store.received() {
        let folded = |name: &str| {
            name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
                .to_ascii_lowercase()
        };
        let mut names: Vec<String> = seen
            .head
            .headers
            .iter()
            .map(|(name, _)| folded(name))
            .collect();
        names.sort_unstable();
        let total = names.len();
        names.dedup();
        assert_eq!(
            names.len(),
            total,
            "two fields that a backend may take for one: {:?}",
            seen.head.headers
        );
        let user = seen.header("x-forwarded-user");
        assert!(user.is_none_or(|user| user == "alice-id"), "{user:?}");
        let path = seen.target.split('?').next().unwrap_or_default();
        let is_public = path == "/" || path.starts_with("/public/");
        assert!(is_public || user.is_some(), "{path} was reached by nobody");
        assert!(path != "/admin", "{path} was reached by alice");
    }
}

#[tokio::test]
async fn no_secret_or_forged_header_reaches_the_app() {
    let setup = Setup::plain().store_rules(
        "[apps.store.headers]\nX-Forwarded-User = \"{sub}\"\nX-Department = \"{nothing}\"\nRemote-Person = \"{email}\"\n\
         [[apps.store.rules]]\npaths = [\"/\", \"/public/**\"]\nallow = \"public\"\n\
         [[apps.store.rules]]\npaths = [\"/admin/**\"]\nallow = { roles = [\"admin\"] }\n",
    );
    let doorward = setup.start();
    let mut dice = Dice(20_271_115);
    let mut canaries = Vec::new();
    for round in 0..4 {
        let mut browser = alice(&doorward).await;
        let live = cookies_of(&browser, &doorward);
        let garbage = live.replace('A', "B");
        let half = live
            .split("; ")
            .filter(|pair| !pair.contains("_refresh"))
            .collect::<Vec<_>>()
            .join("; ");
        for number in 0..120 {
            // From the middle on the JWT is expired, so that the first protected page refreshes.
            if number == 60 {
                doorward.advance_secs(301);
            }
            let state = match dice.roll(6) {
                0 => String::new(),
                1 => garbage.clone(),
                2 => half.clone(),
                3 => format!("{live}; doorward_jwt=planted"),
                _ => live.clone(),
            };
            canaries.extend(
                state
                    .split("; ")
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(_, value)| value.to_owned()),
            );
            let (method, bytes) = request(&mut dice, &state);
            let mut dialogue = Dialogue::with(&browser, &doorward.site().store).await;
            let reply = dialogue.request(&method, &bytes).await;
            assert!(
                reply.status() < 500,
                "round {round}, {number}: {bytes}\n{}",
                reply.text()
            );
            assert!(
                !reply.text().contains(FORGED)
                    || reply.head.header("content-type") != Some("text/html; charset=utf-8")
            );
        }
        assert_eq!(
            browser.step(&doorward.store_url(CART)).await.status(),
            200,
            "round {round}: the session lives"
        );
        canaries.extend(
            cookies_of(&browser, &doorward)
                .split("; ")
                .filter_map(|pair| pair.split_once('='))
                .map(|(_, v)| v.to_owned()),
        );
        doorward.advance_secs(61);
    }
    canaries.extend(doorward.provider.secrets());
    canaries.retain(|canary| canary.len() >= 16);
    canaries.sort_unstable();
    canaries.dedup();
    assert!(
        doorward.store.count() > 100 && canaries.len() > 20,
        "{} requests, {} secrets",
        doorward.store.count(),
        canaries.len()
    );
    assert!(
        doorward.provider.grants("refresh_token") > 0,
        "nothing was refreshed"
    );
    assert_clean(&doorward, &canaries);
}
