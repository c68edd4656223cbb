//! Upstreams with several addresses: which one gets a request, what operators see, and what a reload
//! keeps. Failures under load are in `faults`.

mod affinity;
mod faults;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::assertions::{Dialogue, Reply};
use crate::support::backend::{Answer, Backend};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::websocket::WebSocket;

/// Health checks are a second apart.
const LIMIT: Duration = Duration::from_secs(20);

const RULES: &str = r#"
[[apps.store.rules]]
paths = ["/public/**"]
allow = "public"
"#;

/// A store with two instances, on a route.
struct Instances {
    doorward: Doorward,
    instances: [Backend; 2],
}

impl Instances {
    fn start() -> Self {
        Self::with_route("")
    }

    /// With further lines of the route.
    fn with_route(lines: &str) -> Self {
        let instances = [Backend::start(), Backend::start()];
        let route = format!(
            "\n[[apps.store.routes]]\npath = \"/public/**\"\nupstream = {}\n{lines}",
            list(&instances)
        );
        let doorward = Setup::plain().store_rules(RULES).more(&route).start();
        Self {
            doorward,
            instances,
        }
    }

    async fn get(&self, path: &str) -> Reply {
        let store = &self.doorward.site().store;
        let mut dialogue = Dialogue::with(&self.doorward.browser(), store).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: store.localhost:8080\r\n\r\n");
        dialogue.request("GET", request).await
    }

    /// Sends requests until the first instance is ejected.
    async fn eject_first(&mut self) {
        let [first, _] = &mut self.instances;
        first.stop();
        for _ in 0..40 {
            assert_eq!(self.get("/public/x").await.status(), 200);
        }
    }

    async fn reaches(&self, instance: &Backend, expected: &str) {
        eventually_async("the state", LIMIT, async || {
            self.state(instance).await == expected
        })
        .await;
    }

    async fn state(&self, instance: &Backend) -> String {
        let (_, report) = self.doorward.readiness_of(0).await;
        let state = &report["upstreams"]["store"]["addresses"][instance.url()]["state"];
        state.as_str().unwrap_or_default().to_owned()
    }
}

fn list(instances: &[Backend]) -> String {
    let urls: Vec<_> = instances
        .iter()
        .map(|one| format!("\"{}\"", one.url()))
        .collect();
    format!("[{}]", urls.join(", "))
}

#[tokio::test]
async fn both_instances_get_requests_and_the_log_names_them() {
    let with = Instances::start();
    let mut named = BTreeSet::new();
    for number in 0..40 {
        let path = format!("/public/{number}");
        assert_eq!(with.get(&path).await.status(), 200);
        let line = with.doorward.log.line(&path, "forward").await;
        named.insert(line["upstream"].as_str().expect("an address").to_owned());
    }
    let urls = with.instances.each_ref().map(Backend::url);
    assert_eq!(named, BTreeSet::from(urls));
    for instance in &with.instances {
        assert!(instance.count() > 0);
    }
}

#[tokio::test]
async fn operators_see_the_state_of_each_address() {
    let mut with = Instances::start();
    for instance in &with.instances {
        assert_eq!(with.state(instance).await, "working");
    }
    with.eject_first().await;
    let urls = with.instances.each_ref().map(Backend::url);
    let [first, second] = &with.instances;
    // After a second it is on trial, and ejected again by the next request.
    assert_ne!(with.state(first).await, "working");
    assert_eq!(with.state(second).await, "working");
    let doorward = &with.doorward;
    let [gone, works] = &urls;
    let up = format!("doorward_upstream_address_up{{address=\"{works}\",app=\"store\"}}");
    assert!((doorward.metric(&up).await - 1.0).abs() < f64::EPSILON);
    let retries = format!("doorward_upstream_retries_total{{app=\"store\",upstream=\"{gone}\"}}");
    assert!(doorward.metric(&retries).await >= 5.0);
    let ejections =
        format!("doorward_upstream_ejections_total{{app=\"store\",upstream=\"{gone}\"}}");
    assert!(doorward.metric(&ejections).await >= 1.0);
}

#[tokio::test]
async fn reload_keeps_what_is_known_of_addresses_that_stay() {
    let mut with = Instances::start();
    with.eject_first().await;
    let third = Backend::start();
    let before = list(&with.instances);
    let after = before.replace(']', &format!(", \"{}\"]", third.url()));
    with.doorward.edit(&before, &after);
    with.doorward.reload_changes().await;
    let [first, second] = &with.instances;
    assert_ne!(with.state(first).await, "working");
    assert_eq!(with.state(second).await, "working");
    assert_eq!(with.state(&third).await, "working");
    for _ in 0..40 {
        assert_eq!(with.get("/public/x").await.status(), 200);
    }
    assert!(third.count() > 0);
}

#[tokio::test]
async fn address_whose_health_checks_fail_gets_no_requests() {
    let instances = [Backend::start(), Backend::start()];
    let status = |status| Answer {
        status,
        ..Answer::default()
    };
    instances[0].response("/health", status(404));
    let first = instances[0].url();
    let check =
        "\n[apps.store.health_check]\npath = \"/health\"\ninterval = \"1s\"\nstatus = 200\n";
    let setup = Setup::plain().store_rules(RULES).store_upstream(&first);
    let doorward = setup.more(check).start();
    doorward.edit(
        &format!("upstream = \"{first}\""),
        &format!("upstream = {}", list(&instances)),
    );
    doorward.reload_changes().await;
    let with = Instances {
        doorward,
        instances,
    };
    let [first, second] = &with.instances;
    with.reaches(first, "unhealthy").await;
    assert_eq!(with.state(second).await, "working");
    for number in 0..20 {
        let path = format!("/public/{number}");
        assert_eq!(with.get(&path).await.status(), 200);
    }
    let seen = first.received();
    assert!(seen.iter().all(|seen| seen.target == "/health"));
    let check = first.last();
    assert_eq!(check.head.all("host"), ["store.localhost:8080"]);
    assert_eq!(check.head.all("x-forwarded-user"), [""; 0]);
    first.response("/health", status(200));
    with.reaches(first, "working").await;
}

#[tokio::test]
async fn route_with_addresses_of_its_own_has_a_health_check_of_its_own() {
    let with = Instances::with_route(
        "health_check = { path = \"/ready\", interval = \"1s\", status = 200 }\n",
    );
    let [first, second] = &with.instances;
    first.response(
        "/ready",
        Answer {
            status: 404,
            ..Answer::default()
        },
    );
    with.reaches(first, "unhealthy").await;
    assert_eq!(with.state(second).await, "working");
    let checks = |instance: &Backend| {
        let received = instance.received();
        received
            .iter()
            .filter(|seen| seen.target == "/ready")
            .count()
    };
    assert!(checks(first) > 0 && checks(second) > 0);
    // The check is one of the route: the app's own address gets none.
    assert_eq!(checks(&with.doorward.store), 0);
    for number in 0..20 {
        assert_eq!(with.get(&format!("/public/{number}")).await.status(), 200);
    }
    let seen = first.received();
    assert!(seen.iter().all(|seen| seen.target == "/ready"));
}

#[tokio::test]
async fn websocket_is_in_flight_at_its_address_until_it_ends() {
    let with = Instances::start();
    let [first, second] = &with.instances;
    let in_flight = async |instance: &Backend| {
        let address = instance.url();
        let series = format!(
            "doorward_upstream_address_requests_in_flight{{address=\"{address}\",app=\"store\"}}"
        );
        with.doorward.metric(&series).await
    };
    let mut sockets = Vec::new();
    for number in 1..=4 {
        let mut browser = with.doorward.browser();
        let request = RequestSpec::new(Kind::Fetch, &with.doorward.store_url("/public/chat"));
        let socket = WebSocket::open(&mut browser, request).await;
        sockets.push(socket.expect("a socket"));
        let both = in_flight(first).await + in_flight(second).await;
        assert!((both - f64::from(number)).abs() < f64::EPSILON, "{both}");
    }
    // The address with fewer of them gets the next one.
    assert!((in_flight(first).await - 2.0).abs() < f64::EPSILON);
    drop(sockets);
    eventually_async("no request is in flight", LIMIT, async || {
        in_flight(first).await + in_flight(second).await < 0.5
    })
    .await;
}

#[tokio::test]
async fn response_of_an_instance_is_passed_on_whatever_its_status() {
    let with = Instances::start();
    for instance in &with.instances {
        instance.respond_to_all(Answer {
            status: 503,
            ..Answer::default()
        });
    }
    for _ in 0..20 {
        assert_eq!(with.get("/public/x").await.status(), 503);
    }
    let requests: usize = with.instances.iter().map(Backend::count).sum();
    assert_eq!(requests, 20, "none is repeated");
}
