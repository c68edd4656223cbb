//! Step-up: rules that require a recent login or a certain way to log in (RFC 9470).

use serde_json::{Value, json};

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::provider::{Endpoint, Flaw};

mod api_clients;
mod browsers;
mod placements;

/// Needs a login of the last five minutes.
const ACCOUNT: &str = "/account/email";
/// Needs a login with a second factor.
const VAULT: &str = "/vault/x";

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/public/**"]
allow = "public"

[[apps.store.rules]]
paths = ["/account/**"]
allow = "authenticated"
require = { max_age = "5m" }

[[apps.store.rules]]
paths = ["/vault/**"]
allow = "authenticated"
require = { acr = ["gold", "silver"] }
"#;

fn with_rules(setup: Setup) -> Setup {
    setup.store_rules(RULES)
}

fn doorward() -> Doorward {
    with_rules(Setup::plain()).start()
}

/// The provider's next ID tokens have this `acr`.
fn provider_grants(doorward: &Doorward, acr: &str) {
    doorward
        .provider
        .behave(|provider| provider.id_token_flaws = vec![Flaw::Claim("acr", json!(acr))]);
}

/// A parameter of the latest authorization request.
fn requested(doorward: &Doorward, name: &str) -> Option<String> {
    let visits = doorward.provider.visits(Endpoint::Authorize);
    let latest = visits.last().expect("an authorization request");
    latest.parameter(name).map(str::to_owned)
}

/// The response to a navigation, after at most `redirects` redirects.
async fn opened(browser: &mut Browser, url: &str, redirects: usize) -> Page {
    let page = browser.visit(url).await;
    assert!(page.chain.len() <= redirects + 1, "too many: {page}");
    page
}

/// A request of a client that is not a browser.
fn by_token(url: &str, token: &str) -> RequestSpec {
    RequestSpec::new(Kind::Program, url).header("Authorization", &format!("Bearer {token}"))
}

fn challenges(page: &Page) -> Vec<String> {
    let all = page.head.all("www-authenticate").into_iter();
    all.map(str::to_owned).collect()
}

fn member<'p>(problem: &'p Value, name: &str) -> &'p str {
    problem[name].as_str().unwrap_or_default()
}
