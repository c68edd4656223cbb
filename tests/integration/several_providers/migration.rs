//! An app whose second provider only issued access tokens, until users log in there too.

use std::sync::Arc;

use doorward::types::time::ManualClock;
use serde_json::json;

use super::WIKI;
use crate::support::assertions::SOON;
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{BEGIN, Doorward, Setup};
use crate::support::eventually_async;
use crate::support::provider::FakeProvider;
use crate::support::redis::RedisServer;

const ONLY_TOKENS: &str = r#"provider = "login"
client_id = "wiki"
client_secret = "wiki-secret"
bearer = { providers = ["login", "members"], audiences = ["wiki"] }
"#;

const LOGINS: &str = r#"providers = ["login", "members"]
bearer = { audiences = ["wiki"] }
[apps.wiki.registrations.login]
client_id = "wiki"
client_secret = "wiki-secret"
[apps.wiki.registrations.members]
client_id = "wiki"
client_secret = "wiki-secret"
"#;

async fn status(doorward: &Doorward, replica: usize, token: &str) -> u16 {
    let request = RequestSpec::new(Kind::Program, &format!("{WIKI}/api"))
        .header("Authorization", &format!("Bearer {token}"));
    let mut client = doorward.browser_of(replica);
    client.send(request).await.status()
}

/// Ends everything of alice at this provider.
async fn end_alice(doorward: &Doorward, provider: &FakeProvider) {
    let alice = json!({ "sub": "alice-id" });
    let logout = provider.logout_token("wiki", &alice, &[]);
    let url = format!("{WIKI}/.doorward/backchannel-logout");
    let request = RequestSpec::new(Kind::Program, &url).method("POST").body(
        "application/x-www-form-urlencoded",
        format!("logout_token={logout}"),
    );
    assert_eq!(doorward.browser().send(request).await.status(), 200);
}

/// The same names at the two providers are different users. A replica that starts with the new
/// configuration knows from the store what was revoked under the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_access_token_stays_revoked_when_its_issuer_gets_logins() {
    let redis = RedisServer::start();
    let clock = Arc::new(ManualClock::starting_at(BEGIN));
    let members = FakeProvider::start_as("members.localhost", clock);
    let mut doorward = Setup::plain()
        .remembering(&format!("url = \"{}\"", redis.url()))
        .more(&format!(
            "[providers.members]\nissuer = \"{}\"\n[apps.wiki]\npublic_url = \"{WIKI}\"\n\
             upstream = \"http://127.0.0.1:9\"\n\
             rules = [{{ paths = [\"/api\"], allow = {{ roles = [\"nobody\"] }} }}]\n{ONLY_TOKENS}",
            members.issuer(),
        ))
        .start();
    let tokens_of = |provider: &FakeProvider| {
        [
            json!({ "aud": "wiki" }),
            json!({ "aud": "wiki", "sub": "bob-id" }),
        ]
        .map(|claims| provider.access_token(&claims, &[]))
    };
    let [revoked, of_bob] = tokens_of(&members);
    let [of_login, _] = tokens_of(&doorward.provider);
    assert_eq!(status(&doorward, 0, &revoked).await, 403);
    end_alice(&doorward, &members).await;
    assert_eq!(status(&doorward, 0, &revoked).await, 401);

    let text = std::fs::read_to_string(doorward.file()).expect("the file");
    doorward.rewrite(&text.replace(ONLY_TOKENS, LOGINS));
    doorward.reload_changes().await;
    assert_eq!(status(&doorward, 0, &revoked).await, 401);
    let replica = doorward.add_replica();
    eventually_async("the revocation is known", SOON, async || {
        status(&doorward, replica, &revoked).await == 401
    })
    .await;
    for replica in [0, replica] {
        assert_eq!(status(&doorward, replica, &of_bob).await, 403);
        assert_eq!(status(&doorward, replica, &of_login).await, 403);
    }
}
