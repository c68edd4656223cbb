//! Upstream with several addresses: one worker's client for each of them. Which addresses there are may
//! change at any time.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use prometheus::IntCounter;
use tokio::time::Instant;

use super::client::{ClientParts, Upstream};
use super::members::{Candidate, Known, Member, MemberSet, choose};
use super::request::ClientPin;
use super::target::UpstreamPlan;
use crate::lock::lock;
use crate::session::affinity::AddressHash;
use crate::types::split_mix::split_mix;

/// One worker's clients for the addresses of one plan.
#[derive(Debug)]
pub(super) struct Group {
    plan: Arc<UpstreamPlan>,
    connections: Arc<Connections>,
    /// The clients at the last request. `None` before the first one.
    view: ArcSwapOption<View>,
}

/// One worker's connections to the addresses, which all plans of the backend share.
#[derive(Debug)]
struct Connections {
    plan: Arc<UpstreamPlan>,
    parts: ClientParts,
    open: Mutex<Vec<MemberClient>>,
}

/// The clients for the addresses at one time.
#[derive(Debug)]
pub(super) struct View {
    set: Arc<MemberSet>,
    clients: Vec<Arc<MemberClient>>,
    /// The sequence of random numbers, and the position in it.
    seed: u64,
    choices: AtomicU64,
}

/// The client for one address.
#[derive(Debug)]
pub(super) struct MemberClient {
    pub(super) member: Arc<Member>,
    pub(super) upstream: Upstream,
    /// Counts ejections.
    ejections: IntCounter,
    /// Counts requests that were sent to another address after this one.
    pub(super) retries: IntCounter,
}

/// A request to one of several addresses.
#[derive(Debug)]
pub(super) struct Balanced {
    pub(super) view: Arc<View>,
    /// The address that the request is sent to.
    pub(super) chosen: Arc<MemberClient>,
    /// Whether the browser's address is on trial with another request, so that it stays the browser's.
    pub(super) is_known_on_trial: bool,
}

impl Group {
    pub(super) fn new(plan: &Arc<UpstreamPlan>, parts: &ClientParts) -> Self {
        Self {
            plan: Arc::clone(plan),
            connections: Arc::new(Connections {
                plan: Arc::clone(plan),
                parts: parts.clone(),
                open: Mutex::default(),
            }),
            view: ArcSwapOption::empty(),
        }
    }

    /// Clients with the same connections for `plan`, which differs in its headers only.
    pub(super) fn with_plan(&self, plan: &Arc<UpstreamPlan>) -> Self {
        Self {
            plan: Arc::clone(plan),
            connections: Arc::clone(&self.connections),
            view: ArcSwapOption::empty(),
        }
    }

    pub(super) const fn plan(&self) -> &Arc<UpstreamPlan> {
        &self.plan
    }

    /// The clients for the current addresses.
    pub(super) fn view(&self) -> Arc<View> {
        let set = self.plan.members.current();
        let known = self.view.load();
        if let Some(view) = known.as_ref().filter(|view| Arc::ptr_eq(&view.set, &set)) {
            return Arc::clone(view);
        }
        let view = Arc::new(View {
            clients: self.connections.clients(&set, &self.plan),
            set: Arc::clone(&set),
            seed: RandomState::new().hash_one(0),
            choices: AtomicU64::new(0),
        });
        self.view.store(Some(Arc::clone(&view)));
        view
    }
}

impl Connections {
    /// Clients for the addresses in `set`, with the headers of `plan`. Those for other addresses are
    /// closed.
    fn clients(&self, set: &MemberSet, plan: &UpstreamPlan) -> Vec<Arc<MemberClient>> {
        let mut open = lock(&self.open);
        open.retain(|client| set.contains(&client.member));
        let clients = set.all().iter().filter_map(|member| {
            let plan = plan.at_member(&member.id).ok()?;
            let known = open
                .iter()
                .find(|client| Arc::ptr_eq(&client.member, member));
            if let Some(client) = known {
                return Some(Arc::new(client.with_plan(plan)));
            }
            let client = self.client(member)?;
            let with_plan = client.with_plan(plan);
            open.push(client);
            Some(Arc::new(with_plan))
        });
        clients.collect()
    }

    fn client(&self, member: &Arc<Member>) -> Option<MemberClient> {
        let plan = self.plan.at_member(&member.id).ok()?;
        let upstream = self.parts.client(plan);
        let metrics = &self.parts.metrics;
        let labels = [self.plan.app(), &upstream.telemetry().label];
        Some(MemberClient {
            member: Arc::clone(member),
            ejections: metrics.upstream_ejections.with_label_values(&labels),
            retries: metrics.upstream_retries.with_label_values(&labels),
            upstream,
        })
    }
}

impl MemberClient {
    fn with_plan(&self, plan: Arc<UpstreamPlan>) -> Self {
        Self {
            member: Arc::clone(&self.member),
            upstream: self.upstream.with_plan(plan),
            ejections: self.ejections.clone(),
            retries: self.retries.clone(),
        }
    }

    fn candidate(&self, index: usize, now: Instant) -> Candidate {
        Candidate {
            index,
            standing: self.member.standing(now),
            in_flight: self.member.in_flight(),
            rank: self.member.rank(),
        }
    }

    /// Records that a request failed with this code.
    pub(super) fn failed(&self, code: &str) {
        let members = &self.upstream.plan.members;
        if members.failed(&self.member, code, Instant::now()) {
            self.ejections.inc();
        }
    }

    /// Records that a request succeeded.
    pub(super) fn succeeded(&self) {
        self.upstream.plan.members.succeeded(&self.member);
    }
}

impl View {
    /// The only client, if there is one.
    pub(super) fn only(&self) -> Option<&Arc<MemberClient>> {
        match self.clients.as_slice() {
            [only] => Some(only),
            [..] => None,
        }
    }

    /// Chooses an address that is not one of those that were `tried`.
    pub(super) fn choose(&self, tried: &[Arc<MemberClient>]) -> Option<Arc<MemberClient>> {
        let now = Instant::now();
        let untried = self.clients.iter().enumerate().filter(|(_, client)| {
            let mut tried = tried.iter();
            !tried.any(|tried| Arc::ptr_eq(tried, client))
        });
        let candidates = untried.map(|(index, client)| client.candidate(index, now));
        let random = split_mix(self.seed, self.choices.fetch_add(1, Ordering::Relaxed));
        let index = choose(candidates, random)?;
        self.clients.get(index).map(Arc::clone)
    }

    /// The address with this hash, and whether it stays that of its browser.
    fn known(&self, address: AddressHash) -> Option<(&Arc<MemberClient>, Known)> {
        let mut clients = self.clients.iter();
        let client = clients.find(|client| client.member.hash == address)?;
        let now = Instant::now();
        let others = self.clients.iter().map(|other| other.candidate(0, now));
        Some((client, Known::of(client.candidate(0, now), others)))
    }

    /// The client with a connection that is pinned to `pin`.
    pub(super) fn pinned_to(&self, pin: ClientPin<'_>) -> Option<Arc<MemberClient>> {
        let mut clients = self.clients.iter();
        let client = clients.find(|client| client.upstream.pinned.has(pin));
        client.map(Arc::clone)
    }
}

impl Balanced {
    /// `None` if there is no address.
    pub(super) fn new(view: Arc<View>) -> Option<Self> {
        let chosen = view.choose(&[])?;
        Some(Self {
            view,
            chosen,
            is_known_on_trial: false,
        })
    }

    /// Chooses the address with this hash, if it works.
    pub(super) fn prefer(&mut self, address: AddressHash) {
        match self.view.known(address) {
            Some((client, Known::Usable)) => self.chosen = Arc::clone(client),
            Some((_, Known::OnTrial)) => self.is_known_on_trial = true,
            Some((_, Known::Replaced)) | None => {}
        }
    }
}
