//! Readiness: the report of `/readyz`, a start without the provider, and a rolling update to a
//! revision with a wrong issuer.

use doorward::types::time::SystemClock;

use crate::support::assertions::{CART, SOON};
use crate::support::browser::Browser;
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::folder::{ANY_PORTS, Folder, one_public_app};
use crate::support::process::Process;
use crate::support::provider::FakeProvider;

/// Waits until the first replica has this status and its report fits.
async fn report_becomes(
    doorward: &Doorward,
    replica: usize,
    what: &str,
    fits: impl Fn(u16, &serde_json::Value) -> bool,
) {
    eventually_async(what, SOON, async || {
        let (status, report) = doorward.readiness_of(replica).await;
        fits(status, &report)
    })
    .await;
}

#[tokio::test]
async fn unreached_provider_is_not_ready_until_the_timeout() {
    let doorward = Setup::plain()
        .without_provider()
        .server("startup_provider_timeout = \"5m\"")
        .start();
    report_becomes(&doorward, 0, "the failure is reported", |status, report| {
        let failure = &report["providers"]["login"]["failure"];
        status == 503
            && report["unmet"] == serde_json::json!(["provider:login"])
            && failure["code"] == "provider_unreachable"
            && failure["message"]
                .as_str()
                .is_some_and(|text| text.contains(doorward.provider.issuer()))
    })
    .await;
    doorward.advance_secs(299);
    assert_eq!(doorward.readiness_of(0).await.0, 503);
    doorward.advance_secs(1);
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!((status, &report["status"]), (200, &"ready".into()));
    assert_eq!(report["providers"]["login"]["reached"], false);
}

#[tokio::test]
async fn provider_outage_after_the_start_makes_no_replica_unready() {
    let doorward = Setup::plain().start();
    report_becomes(&doorward, 0, "the provider is reached", |status, _| {
        status == 200
    })
    .await;
    doorward.provider.stop();
    doorward.advance_secs(3600);
    let (status, report) = doorward.readiness_of(0).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["providers"]["login"]["reached"], true, "{report}");
}

#[tokio::test]
async fn report_names_upstreams_of_routes() {
    let route = "[[apps.store.routes]]\npath = \"/public/wiki/**\"\nupstream = \"http://127.0.0.1:1\"\n\
                 [[apps.store.routes]]\npath = \"/public/slow/**\"\nresponse_timeout = \"5m\"\n";
    let doorward = Setup::plain().more(route).start();
    let mut browser = doorward.browser();
    browser.step(&doorward.store_url("/public/wiki/x")).await;
    report_becomes(&doorward, 0, "the provider is reached", |status, _| {
        status == 200
    })
    .await;
    let (_, report) = doorward.readiness_of(0).await;
    let routes = &report["upstreams"]["store"]["routes"];
    assert_eq!(
        routes.as_object().map(serde_json::Map::len),
        Some(1),
        "{report}"
    );
    let dial = &routes["http://127.0.0.1:1"]["last_dial"];
    assert_eq!(dial, "upstream_connect_refused", "{report}");
}

#[tokio::test]
async fn report_names_upstreams_by_their_last_dial() {
    let doorward = Setup::plain().store_upstream("http://127.0.0.1:1").start();
    let (_, report) = doorward.readiness_of(0).await;
    assert!(
        report["upstreams"]["store"]["last_dial"].is_null(),
        "{report}"
    );
    assert_eq!(report["configuration"]["apps"], 2);
    doorward.sign_in("alice");
    let mut browser = doorward.browser();
    for (url, app, dial) in [
        (
            doorward.store_url("/public/x"),
            "store",
            "upstream_connect_refused",
        ),
        (doorward.forum_url("/"), "forum", "ok"),
    ] {
        browser.visit(&url).await;
        let (_, report) = doorward.readiness_of(0).await;
        let upstream = &report["upstreams"][app];
        assert_eq!(upstream["last_dial"], dial, "{report}");
        assert!(upstream["seconds_ago"].is_u64(), "{report}");
    }
    assert_eq!(report["revocations"]["synced"], true);
}

/// A deployment with two replicas at most: the old one ends only when the new one is ready.
struct RollingUpdate {
    /// The replica that gets requests.
    serving: usize,
    /// The replica that waits until it is ready.
    surge: usize,
}

impl RollingUpdate {
    /// The kubelet probes the new replica. Only a ready one takes the place of the old one.
    async fn probe(&mut self, doorward: &Doorward) {
        if doorward.readiness_of(self.surge).await.0 == 200 {
            self.serving = self.surge;
        }
    }
}

#[tokio::test]
async fn wrong_issuer_stops_a_rolling_update_and_the_old_revision_serves_on() {
    let mut doorward = Setup::plain().start();
    report_becomes(&doorward, 0, "the old revision is ready", |status, _| {
        status == 200
    })
    .await;
    let mut alice = doorward.logged_in("alice", CART).await;
    let discovery = format!(
        "{}/.well-known/openid-configuration",
        doorward.provider.issuer()
    );
    let wrong = format!("{}/", doorward.provider.issuer());
    let surge = doorward.add_replica_with(&[
        ("DOORWARD_PROVIDERS__LOGIN__ISSUER", &wrong),
        ("DOORWARD_PROVIDERS__LOGIN__DISCOVERY_URL", &discovery),
    ]);
    report_becomes(
        &doorward,
        surge,
        "the mismatch is reported",
        |status, report| {
            let failure = &report["providers"]["login"]["failure"];
            status == 503 && failure["code"] == "discovery_issuer_mismatch"
        },
    )
    .await;
    let mut update = RollingUpdate { serving: 0, surge };
    // Twice the default `progressDeadlineSeconds`, with a probe every ten seconds.
    for _ in 0..120 {
        update.probe(&doorward).await;
        assert_eq!(update.serving, 0, "the rollout went on");
        let mut user = doorward.moved_to(update.serving, alice);
        let page = user.visit(&doorward.store_url(CART)).await;
        assert_eq!(page.status(), 200, "{page}");
        alice = user;
        doorward.advance_secs(10);
    }
    // The corrected revision is rolled out.
    update.surge = doorward.add_replica();
    report_becomes(
        &doorward,
        update.surge,
        "the right revision is ready",
        |status, _| status == 200,
    )
    .await;
    update.probe(&doorward).await;
    assert_eq!(update.serving, update.surge);
    let mut user = doorward.moved_to(update.serving, alice);
    assert_eq!(user.visit(&doorward.store_url(CART)).await.status(), 200);
}

#[tokio::test]
async fn failed_discovery_is_logged_with_its_url() {
    let provider = FakeProvider::start(std::sync::Arc::new(SystemClock));
    provider.behave(|behaviour| behaviour.discovery_issuer = Some("https://other.test".to_owned()));
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let mut variables = ANY_PORTS.to_vec();
    let discovery = format!("{}/.well-known/openid-configuration", provider.issuer());
    variables.push(("DOORWARD_PROVIDERS__LOGIN__ISSUER", provider.issuer()));
    let process = Process::run(folder.path("doorward.toml").as_os_str(), &variables);
    let line = process.line_with("outage_began");
    for part in [
        discovery.as_str(),
        "https://other.test",
        "discovery_issuer_mismatch",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let mut probe = Browser::new(std::sync::Arc::new(SystemClock));
    let admin = process.port("admin");
    let page = probe
        .step(&format!("http://127.0.0.1:{admin}/readyz"))
        .await;
    assert_eq!(page.status(), 200, "this start does not wait: {page}");
}
