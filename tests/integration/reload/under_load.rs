//! Reloads under load, half of them invalid: no request fails, nobody is logged out, and no request
//! is handled by a mixture of two configurations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doorward::admin::ReloadError;

use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, User};

/// How many reloads. `DOORWARD_RELOADS=1000` for the full test.
const RELOADS: usize = 60;

const USERS: usize = 4;

/// In each variant, a rule, a request header, a response header and a key that seals belong
/// together. The request header is set by the policy of the app, the response header by the plan of
/// its upstream.
fn variant(letter: char) -> String {
    format!(
        "[[apps.store.rules]]\npaths = [\"/{letter}/**\"]\nallow = \"deny\"\n\
         [apps.store.headers]\nX-Forwarded-User = \"{{sub}}\"\nX-Variant = \"{{sub}} {letter}\"\n\
         [apps.store.response_headers]\nset = {{ X-Variant = \"{letter}\" }}\n"
    )
}

/// The file in one variant, with these keys.
fn file(text: &str, letter: char, keys: &[&str]) -> String {
    let text = text.replace(&variant('a'), &variant(letter));
    let text = text.replace(
        "key_files = [\"doorward.key\"]",
        &format!("key_files = {keys:?}"),
    );
    assert!(text.contains(&variant(letter)), "{text}");
    text
}

/// Sends requests of one user until `stop` is set, checks each response, and returns their number.
async fn click(mut browser: Browser, site: String, name: String, stop: Arc<AtomicBool>) -> usize {
    let mut clicks = 0;
    while !stop.load(Ordering::SeqCst) {
        let (denied, page) = if clicks % 3 == 2 {
            // Exactly one variant denies it.
            ('a', browser.step(&format!("{site}/a/{clicks}")).await)
        } else {
            ('-', browser.step(&format!("{site}/page/{clicks}")).await)
        };
        clicks += 1;
        if page.status() == 403 {
            assert_eq!(denied, 'a', "{page}");
            continue;
        }
        assert_eq!(page.status(), 200, "{name} after {clicks} clicks: {page}");
        let letter = page.header("x-variant").expect("the variant").to_owned();
        assert_ne!(letter.chars().next(), Some(denied), "{page}");
        let echoed = page.json();
        let fields = echoed["headers"].as_array().expect("the fields");
        let of = |name: &str| {
            let mut values = fields.iter().filter(|field| field[0] == name);
            values.next().and_then(|field| field[1].as_str())
        };
        assert_eq!(of("x-forwarded-user"), Some(&*name), "{page}");
        assert_eq!(
            of("x-variant"),
            Some(&*format!("{name} {letter}")),
            "{page}"
        );
    }
    clicks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request_and_mix_nothing() {
    let reloads = reloads();
    let setup = Setup::plain().store_rules("").more(&variant('a'));
    let doorward = setup.start();
    let text = std::fs::read_to_string(doorward.file()).expect("the file");
    let stop = Arc::new(AtomicBool::new(false));
    let mut users = Vec::new();
    for number in 0..USERS {
        let name = format!("user-{number}");
        doorward.provider.sign_in(User::new(&name, &[]));
        let mut browser = doorward.browser();
        let page = browser.visit(&doorward.store_url("/page")).await;
        assert_eq!(page.status(), 200, "{page}");
        let (site, stop) = (doorward.site().store, Arc::clone(&stop));
        users.push(tokio::spawn(click(
            browser,
            site,
            format!("{name}-id"),
            stop,
        )));
    }
    let logins = doorward.provider.calls(Endpoint::Authorize);
    let discoveries = doorward.provider.calls(Endpoint::Discovery);

    doorward.add_key("new.key");
    let (old, both, new) = (
        &["doorward.key"][..],
        &["new.key", "doorward.key"][..],
        &["new.key"][..],
    );
    for number in 0..reloads {
        if number % 2 == 1 {
            doorward.rewrite(&text.replace("[session]", "[session]\nidle_timeout = \"soon\""));
            let refused = doorward.reload().await;
            assert!(
                matches!(refused, Err(ReloadError::Invalid(_))),
                "{refused:?}"
            );
            continue;
        }
        // The new key seals from the third part on. The old one is removed in the last, when every
        // user has got a new seal.
        let keys = match number * 4 / reloads {
            0 | 1 => old,
            2 => both,
            _ => new,
        };
        if number * 4 / reloads == 3 && (number - 2) * 4 / reloads < 3 {
            old_seals_are_gone(&doorward).await;
        }
        let letter = if number % 4 == 0 { 'b' } else { 'a' };
        doorward.rewrite(&file(&text, letter, keys));
        doorward.reload_changes().await;
    }
    // The rule is removed altogether.
    doorward.rewrite(&file(&text, 'b', new).replace("paths = [\"/b/**\"]", "paths = [\"/c/**\"]"));
    doorward.reload_changes().await;
    stop.store(true, Ordering::SeqCst);
    for user in users {
        assert!(user.await.expect("every response was right") > 0);
    }
    assert_eq!(doorward.provider.calls(Endpoint::Authorize), logins);
    assert_eq!(doorward.provider.calls(Endpoint::Discovery), discoveries);
    let refused = "doorward_config_reloads_total{outcome=\"refused\",trigger=\"signal\"}";
    assert_eq!(doorward.metric(refused).await, (reloads / 2) as f64);
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long this test runs is up to whoever runs it"
)]
fn reloads() -> usize {
    let number = std::env::var("DOORWARD_RELOADS").ok();
    number.map_or(RELOADS, |number| number.parse().expect("a number"))
}

/// Waits until no session is sealed with a previous key.
async fn old_seals_are_gone(doorward: &Doorward) {
    crate::support::eventually_async("new seals", crate::support::assertions::SOON, async || {
        doorward.metric("doorward_sessions_on_previous_keys").await == 0.0
    })
    .await;
}
