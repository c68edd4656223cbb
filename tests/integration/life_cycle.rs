//! Model-based test of the session life cycle at two replicas with a shared real Redis:
//! random logins, clock changes, refreshes, rotations, copies, revocations, and store data loss.
//! A session that ended in the model is rejected by every replica for every copy; one that is valid
//! is never lost.

use std::time::Duration;

use doorward::auth::revocation::command::RevocationTarget;
use doorward::server;
use doorward::types::oauth::Subject;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use url::Url;

use crate::support::assertions::SOON;
use crate::support::browser::{Browser, Kind, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually;
use crate::support::redis::RedisServer;

const CART: &str = "/shopping-cart";
const IDLE: u64 = 1800;
const ABSOLUTE: u64 = 10_000;
/// The limit for the replication of a revocation.
const BOUND: Duration = Duration::from_secs(1);

/// The transitions.
#[derive(Clone, Copy, Debug)]
enum Move {
    Pass(u64),
    /// Loads a page at a replica.
    Load(usize),
    /// Loads several pages at once, at both replicas.
    LoadTogether,
    LogIn,
    LogOut(usize),
    /// An operator revokes the user's sessions at a replica.
    Revoke(usize),
    /// The provider revokes the user's refresh tokens.
    EndGrants,
    /// Copies the browser profile.
    Copy,
    /// Loads a page with the newest copy.
    LoadCopy(usize),
    /// The store loses its data.
    Forget,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let at = 0..2_usize;
    let secs = prop::sample::select(vec![
        1, 29, 31, 59, 240, 299, 300, 301, 1000, 1619, 1801, 5000,
    ]);
    let one = prop_oneof![
        8 => secs.prop_map(Move::Pass),
        8 => at.clone().prop_map(Move::Load),
        2 => Just(Move::LoadTogether),
        2 => Just(Move::LogIn),
        1 => at.clone().prop_map(Move::LogOut),
        1 => at.clone().prop_map(Move::Revoke),
        1 => Just(Move::EndGrants),
        2 => Just(Move::Copy),
        1 => at.prop_map(Move::LoadCopy),
        1 => Just(Move::Forget),
    ];
    vec(one, 5..30)
}

/// The expected response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Must {
    Show,
    Refuse,
    /// Either outcome is allowed: within the tolerance of a timeout, or after a reuse that may be
    /// detected.
    Either,
}

/// The model of the browser's session.
#[derive(Clone, Debug)]
struct Model {
    now: u64,
    started: u64,
    active: u64,
    jwt_until: u64,
    /// The session ended, or its end was observed.
    over: bool,
    grants_ended: bool,
    /// The session may be lost: a copy was used and may be detected, it started at the moment of a
    /// revocation, or the store lost tokens that the browser does not have yet.
    loose: bool,
    /// A proactive refresh started, so the JWT expiry is not known exactly.
    ahead: bool,
    /// Whether the browser has the refreshed tokens is unknown too.
    undelivered: bool,
    revoked_at: u64,
}

impl Model {
    fn must(&self) -> Must {
        let (age, idle) = (self.now - self.started, self.now - self.active);
        let refreshes = self.now >= self.jwt_until;
        // Tokens that a copy got earlier are returned to the browser too.
        let was_asked = self.ahead || self.loose;
        if self.over
            || age >= ABSOLUTE
            || idle >= IDLE
            || (refreshes && self.grants_ended && !was_asked)
        {
            return Must::Refuse;
        }
        // A session that a refused proactive refresh ends is over somewhat earlier.
        let ahead = self.grants_ended && (self.ahead || self.now + 60 >= self.jwt_until);
        if idle * 10 >= IDLE * 9 || self.loose || ahead {
            Must::Either
        } else {
            Must::Show
        }
    }

    fn shown(&mut self) {
        self.active = self.now;
        if self.now >= self.jwt_until {
            (self.jwt_until, self.undelivered) = (self.now + 300, false);
        } else if self.now + 60 >= self.jwt_until {
            (self.ahead, self.undelivered) = (true, true);
        }
    }
}

struct Deployment {
    doorward: Doorward,
    redis: RedisServer,
    browser: Browser,
    copies: Vec<Browser>,
    model: Model,
}

impl Deployment {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let limits = format!("idle_timeout = \"{IDLE}s\"\nabsolute_timeout = \"{ABSOLUTE}s\"");
        let setup = Setup::plain()
            .session(&limits)
            .remembering(&format!("url = \"{}\"", redis.url()));
        let mut doorward = setup.start();
        doorward.add_replica();
        let browser = doorward.logged_in("alice", CART).await;
        let now = doorward.now().secs();
        let model = Model {
            now,
            started: now,
            active: now,
            jwt_until: now + 300,
            over: false,
            grants_ended: false,
            loose: false,
            ahead: false,
            undelivered: false,
            revoked_at: 0,
        };
        Self {
            doorward,
            redis,
            browser,
            copies: Vec::new(),
            model,
        }
    }

    async fn make(&mut self, step: Move) {
        match step {
            Move::Pass(secs) => {
                // Leases expire by the clock, so it must not jump by hours while a call is in
                // flight.
                self.refreshes_end().await;
                self.doorward.advance_secs(secs);
                self.model.now += secs;
            }
            Move::Load(at) => self.load(at).await,
            Move::LoadTogether => self.load_together().await,
            Move::LogIn => self.log_in().await,
            Move::LogOut(at) => self.log_out(at).await,
            Move::Revoke(at) => self.revoke(at).await,
            Move::EndGrants => {
                self.doorward.provider.end_grants_of("alice-id");
                self.model.grants_ended = true;
            }
            Move::Copy => self.copies.push(self.browser.clone()),
            Move::LoadCopy(at) => self.load_copy(at).await,
            Move::Forget => {
                self.redis.command(&["FLUSHALL"]);
                self.model.loose |= self.model.undelivered;
            }
        }
    }

    /// Waits until no replica refreshes, also ahead of time, and no lease is held.
    async fn refreshes_end(&self) {
        let refreshes_end = async {
            for replica in 0..2 {
                let in_flight = "doorward_refreshes_in_flight";
                while self.doorward.metric_of(replica, in_flight).await > 0.0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let in_time = tokio::time::timeout(SOON, refreshes_end).await;
        assert!(in_time.is_ok(), "a refresh is in flight for too long");
        eventually("no lease is held", || !self.is_refreshing()).await;
    }

    /// Whether a refresh lease is held. A released lease leaves an expired entry.
    fn is_refreshing(&self) -> bool {
        let leases = self.redis.command(&["--scan", "--pattern", "*:refresh/*"]);
        leases.lines().any(|lease| {
            !self
                .redis
                .command(&["GETRANGE", lease, "0", "19"])
                .starts_with("00000000000000000000")
        })
    }

    async fn load(&mut self, at: usize) {
        let must = self.model.must();
        let shown = if must == Must::Refuse {
            self.is_shown_at_last(at).await
        } else {
            self.is_shown(at).await
        };
        self.judge(must, shown);
    }

    fn judge(&mut self, must: Must, shown: bool) {
        assert!(
            must == Must::Either || shown == (must == Must::Show),
            "{must:?}, but shown: {shown}; {:?}",
            self.model
        );
        if shown {
            self.model.shown();
        } else {
            self.model.over = true;
        }
    }

    async fn is_shown(&mut self, at: usize) -> bool {
        let mut browser = self.doorward.moved_to(at, self.browser.clone());
        let page = browser.step(&self.doorward.store_url(CART)).await;
        assert!(matches!(page.status(), 200 | 302), "{page}");
        self.browser = browser;
        page.status() == 200
    }

    /// Waits until revocations are replicated.
    async fn is_shown_at_last(&mut self, at: usize) -> bool {
        let begun = std::time::Instant::now();
        while self.is_shown(at).await {
            if begun.elapsed() > BOUND {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn load_together(&mut self) {
        let must = self.model.must();
        let url = self.doorward.store_url(CART);
        let mut tabs: Vec<_> = (0..6)
            .map(|tab| self.doorward.moved_to(tab % 2, self.browser.clone()))
            .collect();
        let pages = futures_of(&mut tabs, &url).await;
        if must == Must::Show {
            assert!(
                pages.iter().all(|status| *status == 200),
                "{pages:?} {:?}",
                self.model
            );
        }
        // The browser ends up with the cookies of the last tab.
        if let Some(last) = tabs.pop() {
            self.browser = last;
        }
        if must == Must::Show {
            self.model.shown();
        } else {
            self.load(0).await;
        }
    }

    async fn log_in(&mut self) {
        let lives = self.model.must();
        if lives == Must::Refuse {
            // After a login the previous session is over at every replica.
            self.load(0).await;
        }
        let page = self
            .browser
            .visit(
                &self
                    .doorward
                    .store_url("/.doorward/login?return_to=/shopping-cart"),
            )
            .await;
        if page.status() == 200 && page.chain.len() > 2 {
            let now = self.model.now;
            self.copies.clear();
            self.model = Model {
                started: now,
                active: now,
                jwt_until: now + 300,
                over: false,
                ..self.model.clone()
            };
            (
                self.model.grants_ended,
                self.model.ahead,
                self.model.undelivered,
            ) = (false, false, false);
            self.model.loose = self.model.revoked_at == now;
        } else if page.status() == 200 {
            self.judge(lives, true);
        } else if page.words().contains("login_loop_not_allowed") {
            // A logged-in user asked for the login five times within a minute, and stays logged in.
            self.load(0).await;
        } else {
            // A login at the moment of a revocation is refused, so that it does not loop.
            assert_eq!(page.status(), 403, "{page}");
            self.model.over = true;
        }
    }

    async fn log_out(&mut self, at: usize) {
        let url = self.doorward.store_url("/.doorward/logout");
        let page = Url::parse(&url).expect("an URL");
        let request = RequestSpec::new(Kind::Navigation, &url)
            .method("POST")
            .from(&page);
        self.copies.push(self.browser.clone());
        let mut browser = self.doorward.moved_to(at, self.browser.clone());
        let page = browser.send(request).await;
        assert_eq!(page.status(), 303, "{page}");
        self.browser = browser;
        self.model.over = true;
    }

    async fn revoke(&mut self, at: usize) {
        let apps = server::apps(&self.doorward.config()).expect("apps");
        let store = apps
            .iter()
            .find(|app| app.app.name.as_str() == "store")
            .expect("the store");
        let order = RevocationTarget::Subject(Subject::new("alice-id"))
            .sealed_commands(store, self.doorward.now())
            .expect("a command");
        let url = format!("http://{}/revoke", self.doorward.admin_address_of(at));
        let request = RequestSpec::new(Kind::Program, &url)
            .method("POST")
            .body("text/plain", order);
        let page = Browser::new(self.doorward.clock.clone())
            .send(request)
            .await;
        assert_eq!(page.status(), 200, "{page}");
        (self.model.over, self.model.revoked_at) = (true, self.model.now);
    }

    /// A copy never gets more access than the session itself.
    async fn load_copy(&mut self, at: usize) {
        let Some(copy) = self.copies.pop() else {
            return;
        };
        let must = self.model.must();
        let mut copy = self.doorward.moved_to(at, copy);
        let begun = std::time::Instant::now();
        loop {
            let page = copy.step(&self.doorward.store_url(CART)).await;
            if page.status() != 200 || must != Must::Refuse {
                break;
            }
            assert!(
                begun.elapsed() <= BOUND,
                "a copy of what is over is shown; {:?}",
                self.model
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.model.loose = true;
    }
}

async fn futures_of(tabs: &mut [Browser], url: &str) -> Vec<u16> {
    let mut running = tokio::task::JoinSet::new();
    for (number, tab) in tabs.iter().enumerate() {
        let (mut tab, url) = (tab.clone(), url.to_owned());
        running.spawn(async move {
            let status = tab.step(&url).await.status();
            (number, tab, status)
        });
    }
    let mut statuses = vec![0; tabs.len()];
    while let Some(ended) = running.join_next().await {
        let (number, tab, status) = ended.expect("a tab");
        tabs[number] = tab;
        statuses[number] = status;
    }
    statuses
}

#[test]
fn session_life_cycle_matches_the_reference_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut runner = TestRunner::new(Config {
        cases: 100,
        max_shrink_iters: 20,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&moves(), |steps| {
        let told = format!("{steps:?}");
        let walked = runtime.block_on(runtime.spawn(async move {
            let mut deployment = Deployment::new().await;
            for step in steps {
                deployment.make(step).await;
            }
        }));
        walked.map_err(|error| TestCaseError::fail(format!("{told}: {error}")))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
