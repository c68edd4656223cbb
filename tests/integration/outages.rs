//! Outages of the log sink, the provider and the store, each with the journey of a browser and that of
//! a native app: nobody is logged out, no request that was served is lost, and every outcome is in the
//! access log and the metrics. An outage is two events in the event log, however many requests meet it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use doorward::types::time::SystemClock;

use crate::mobile_workflow::{self, CART, PASSWORD, Phone};
use crate::support::assertions::SOON;
use crate::support::browser::Browser;
use crate::support::doorward::Doorward;
use crate::support::faulty_store::{FaultyStore, StoreFault};
use crate::support::folder::{ANY_PORTS, Folder, at, one_public_app};
use crate::support::log::SinkFault;
use crate::support::process::Process;
use crate::support::provider::{Endpoint, Fault, User as ProviderUser};
use crate::support::redis::RedisServer;
use crate::support::replicas::Replicas;
use crate::support::{eventually, eventually_async};

/// Requests of one kind in an outage.
const REQUESTS: usize = 5;
/// A time after which every JWT has expired.
const JWT_LIFETIME: u64 = 301;
/// A time after which every backoff has ended.
const BACKOFF: u64 = 61;

/// The dependency that fails.
#[derive(Clone, Debug)]
enum Outage {
    LogSink(SinkFault),
    /// The token endpoint.
    Provider(Fault),
    ProviderGone,
    Store(StoreFault),
    StoreForgets,
}

/// An outage, and how requests with an expired JWT are answered meanwhile.
struct Case {
    outage: Outage,
    refreshes: &'static [u16],
}

fn cases() -> Vec<Case> {
    let case = |outage, refreshes| Case { outage, refreshes };
    vec![
        case(Outage::LogSink(SinkFault::Blocks), &[200]),
        case(Outage::LogSink(SinkFault::Slow), &[200]),
        case(Outage::LogSink(SinkFault::Fails), &[200]),
        case(Outage::Provider(Fault::Status(503)), &[503]),
        case(Outage::Provider(Fault::CutBefore), &[503]),
        case(Outage::Provider(Fault::Html), &[503]),
        case(Outage::ProviderGone, &[503]),
        case(Outage::Store(StoreFault::Refused), &[503]),
        case(Outage::Store(StoreFault::Frozen), &[503]),
        // The lost response may be one that nobody waits for.
        case(Outage::Store(StoreFault::ResponsesLost), &[200, 503]),
        case(
            Outage::Store(StoreFault::Slow(Duration::from_millis(50))),
            &[200],
        ),
        // Replicas have two seconds to restore what was forgotten.
        case(Outage::StoreForgets, &[200, 503]),
    ]
}

/// A user of the store's app.
enum User {
    Web(Browser),
    Native(Box<Phone>),
}

impl User {
    async fn load(&mut self, doorward: &Doorward) -> u16 {
        match self {
            Self::Web(browser) => browser.step(&doorward.store_url(CART)).await.status(),
            Self::Native(phone) => phone.load(CART).await.status(),
        }
    }

    /// A request after the JWT has expired. A native app refreshes first, and loads the page with the
    /// new token.
    async fn renew(&mut self, doorward: &Doorward) -> u16 {
        match self {
            Self::Web(_) => self.load(doorward).await,
            Self::Native(phone) => match phone.refresh().await.status() {
                200 => phone.load(CART).await.status(),
                status => status,
            },
        }
    }
}

struct Journey {
    doorward: Doorward,
    store: FaultyStore,
    user: User,
    /// How many requests for the cart were sent, and how many of them were served.
    sent: usize,
    served: usize,
}

impl Journey {
    async fn begin(is_native: bool) -> Self {
        let store = FaultyStore::start();
        let setup = mobile_workflow::store("").remembering(&store.lines());
        let doorward = mobile_workflow::started(setup);
        let (user, served) = if is_native {
            (User::Native(Box::new(Phone::logged_in(&doorward).await)), 0)
        } else {
            // The login ends at the cart.
            (User::Web(doorward.logged_in("alice", CART).await), 1)
        };
        Self {
            doorward,
            store,
            user,
            sent: served,
            served,
        }
    }

    fn begin_outage(&mut self, outage: &Outage) {
        match outage {
            Outage::LogSink(fault) => self.doorward.log.fault(*fault),
            Outage::Provider(fault) => self.doorward.provider.fault(Endpoint::Token, fault.clone()),
            Outage::ProviderGone => self.doorward.provider.stop(),
            Outage::Store(fault) => self.store.fault(fault.clone()),
            Outage::StoreForgets => self.store.forget(),
        }
    }

    fn end_outage(&mut self, outage: &Outage) {
        match outage {
            Outage::LogSink(_) => self.doorward.log.heal(),
            Outage::Provider(_) => self.doorward.provider.heal(Endpoint::Token),
            Outage::ProviderGone => self.doorward.provider.restart(),
            Outage::Store(_) => self.store.heal(),
            Outage::StoreForgets => {}
        }
    }

    async fn load(&mut self) -> u16 {
        let status = self.user.load(&self.doorward).await;
        self.count(status);
        status
    }

    async fn renew(&mut self) -> u16 {
        let status = self.user.renew(&self.doorward).await;
        // A refresh that fails is no request for the cart.
        if status == 200 || matches!(self.user, User::Web(_)) {
            self.count(status);
        }
        status
    }

    fn count(&mut self, status: u16) {
        self.sent += 1;
        self.served += usize::from(status == 200);
    }

    /// The requests for the cart that the app has served.
    fn seen(&self) -> usize {
        let received = self.doorward.store.received();
        received
            .iter()
            .filter(|request| request.target == CART)
            .count()
    }

    /// The requests for the cart in the access log.
    fn logged(&self) -> usize {
        let log = self.doorward.log.text();
        let lines = log
            .lines()
            .filter(|line| line.contains("\"path\":\"/shopping-cart\""));
        lines
            .filter(|line| !line.contains("\"status\":302"))
            .count()
    }

    /// The requests that were forwarded, by the metrics.
    async fn forwarded(&self) -> f64 {
        let series =
            "doorward_requests_total{app=\"store\",decision=\"forward\",status_class=\"2xx\"}";
        self.doorward.metric(series).await
    }
}

/// One row of the matrix.
async fn survives(Case { outage, refreshes }: Case, is_native: bool) {
    let name = format!("{outage:?}, native: {is_native}");
    let mut journey = Journey::begin(is_native).await;
    journey.begin_outage(&outage);
    for _ in 0..REQUESTS {
        assert_eq!(journey.load().await, 200, "{name}: its JWT is live");
    }
    journey.doorward.advance_secs(JWT_LIFETIME);
    for _ in 0..REQUESTS {
        let status = journey.renew().await;
        assert!(refreshes.contains(&status), "{name}: {status}");
    }
    journey.end_outage(&outage);
    journey.doorward.advance_secs(BACKOFF);
    let begun = Instant::now();
    while journey.renew().await != 200 {
        assert!(begun.elapsed().as_secs() < 20, "{name}: it never recovers");
        journey.doorward.advance_secs(1);
    }
    let provider = &journey.doorward.provider;
    provider.assert_no_dead_refresh_token_was_sent();
    assert_eq!(
        journey.seen(),
        journey.served,
        "{name}: served and answered"
    );
    eventually_async(&format!("{name}: all in the metrics"), SOON, async || {
        journey.forwarded().await.to_string() == journey.served.to_string()
    })
    .await;
    // A sink that fails loses what it was given.
    if !matches!(outage, Outage::LogSink(SinkFault::Fails)) {
        eventually_async(&format!("{name}: all in the log"), SOON, async || {
            journey.logged() == journey.sent
        })
        .await;
    }
}

/// A login during which the outage begins, before the callback.
async fn login_survives(outage: Outage) {
    let name = format!("login in {outage:?}");
    let mut journey = Journey::begin(false).await;
    let cart = journey.doorward.store_url(CART);
    journey
        .doorward
        .provider
        .sign_in(ProviderUser::new("bob", &[]));
    let mut browser = journey.doorward.browser();
    let to_provider = browser.step(&cart).await;
    let to_callback = browser.next(&to_provider).await;
    journey.begin_outage(&outage);
    let page = browser.next(&to_callback).await;
    assert!(matches!(page.status(), 302 | 502 | 503), "{name}: {page}");
    assert_eq!(journey.load().await, 200, "{name}: the other user");
    journey.end_outage(&outage);
    let begun = Instant::now();
    while browser.visit(&cart).await.status() != 200 {
        assert!(begun.elapsed().as_secs() < 20, "{name}: it never ends");
        journey.doorward.advance_secs(1);
    }
    assert_eq!(journey.load().await, 200, "{name}: the other user");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_in_the_middle_of_a_login_end_with_a_login() {
    for case in cases() {
        login_survives(case.outage).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_log_no_browser_out() {
    for case in cases() {
        survives(case, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_log_no_native_app_out() {
    for case in cases() {
        survives(case, true).await;
    }
}

fn count(process: &Process, part: &str) -> usize {
    let said = process.said();
    said.iter().filter(|line| line.contains(part)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_requests_to_a_dead_app_are_one_event() {
    // Port 1 refuses connections.
    let folder = Folder::with("doorward.toml", &one_public_app("http://127.0.0.1:1"));
    let process = Process::run(folder.path("doorward.toml").as_os_str(), &ANY_PORTS);
    let port = process.port("address");
    for _ in 0..1000 {
        assert_eq!(at("store.localhost", port, "/public/x").await, 502);
    }
    // Lines of the access log begin with a brace.
    let is_event =
        |line: &String| line.contains("upstream_connect_refused") && !line.starts_with('{');
    let events = || {
        process
            .said()
            .into_iter()
            .filter(is_event)
            .collect::<Vec<_>>()
    };
    eventually("the outage is logged", || !events().is_empty()).await;
    let events = events();
    assert_eq!(events.len(), 1, "{events:?}");
    for part in ["WARN", "outage_began", "upstream", "store"] {
        assert!(events[0].contains(part), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_outage_is_two_events_and_nothing_of_the_library() {
    let mut redis = RedisServer::start_persistent();
    let setup = mobile_workflow::store("").remembering(&format!("url = \"{}\"", redis.url()));
    let replicas = Replicas::start(1, setup);
    let process = &replicas.processes[0];
    redis.stop();
    process.line_with("outage_began");
    let browser = replicas.moved_to(0, Browser::new(Arc::new(SystemClock)));
    let mut phone = Phone::at(Replicas::store_url(""), browser);
    for _ in 0..100 {
        let page = phone.log_in("alice", PASSWORD).await;
        assert_eq!(page.status(), 503, "{page}");
    }
    redis.restart();
    let line = process.line_with("outage_ended");
    for part in ["INFO", "store_unavailable", "seconds=", "suppressed="] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(count(process, "outage_began"), 1, "{:?}", process.said());
    for flood in ["throttle_write_failed", " redis::"] {
        assert_eq!(count(process, flood), 0, "{flood}");
    }
}
