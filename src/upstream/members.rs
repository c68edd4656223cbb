//! Members of an upstream: its addresses, each with the health that its requests show. All workers share
//! them. A URL is one member, or, if its name has several addresses, each of those is.

mod choice;
mod health;
mod resolution;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use self::health::Health;
use self::resolution::Names;
use super::address::UpstreamUrl;
use super::settings::UpstreamSettings;
use crate::lock::lock;
use crate::session::affinity::AddressHash;

pub(super) use self::choice::{Candidate, Known, Rank, choose};
pub(super) use self::health::Standing;

/// Maximum number of members of one upstream.
const MAX_MEMBERS: usize = 256;

/// The members of an upstream.
#[derive(Debug)]
pub(super) struct Members {
    app: String,
    max_ejected_percent: u8,
    current: ArcSwap<MemberSet>,
    names: Names,
    /// Held while it is decided whether a member is ejected, so that two workers do not eject too many.
    ejecting: Mutex<()>,
    /// Whether the members are checked.
    has_checks: AtomicBool,
}

/// The members at one time.
#[derive(Debug)]
pub(super) struct MemberSet(Vec<Arc<Member>>);

/// One address of an upstream.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    /// The hash of its address, which affinity cookies have.
    pub(super) hash: AddressHash,
    /// A [`Rank`].
    rank: AtomicU32,
    /// Requests of all workers whose response is not complete.
    in_flight: AtomicUsize,
    /// Whether `health` has nothing to tell, so that requests usually take no lock.
    is_clean: AtomicBool,
    health: Mutex<Health>,
}

/// Identifies a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MemberId {
    /// The URL in the configuration.
    pub(super) url: UpstreamUrl,
    /// The only address that is used of those that the name has. `None` if it has one, or one of each
    /// family, of which whichever accepts a connection first is used.
    pub(super) ip: Option<IpAddr>,
}

/// A member that there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: MemberId,
    pub(super) rank: Rank,
}

/// A member, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its address.
    pub address: String,
    /// `working`, `on_trial`, `ejected` or `unhealthy`.
    pub state: &'static str,
    /// Whether it gets requests.
    pub is_up: bool,
    /// Requests whose response is not complete.
    pub in_flight: usize,
}

/// A request that counts for a member until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Member>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Members {
    /// The members of an upstream of `app`, before their names are resolved.
    pub(super) fn new(app: &str, settings: &UpstreamSettings) -> Self {
        let names = Names::of(settings.urls());
        let targets = names.targets();
        Self {
            app: app.to_owned(),
            max_ejected_percent: settings.max_ejected_percent,
            current: ArcSwap::from_pointee(MemberSet::empty().with(targets)),
            names,
            ejecting: Mutex::default(),
            has_checks: AtomicBool::new(false),
        }
    }

    /// Takes over the members of `previous` that stay, with their health.
    pub(super) fn continue_from(&self, previous: &Self) {
        self.names.continue_from(&previous.names);
        let (known, before) = (self.current.load(), previous.current.load());
        let known = before.0.iter().chain(&known.0).map(Arc::clone);
        let known = MemberSet(known.collect());
        self.current
            .store(Arc::new(known.with(self.names.targets())));
    }

    /// Whether there is always one member.
    pub(super) fn is_always_one(&self) -> bool {
        self.names.are_resolved_to_one()
    }

    pub(super) fn current(&self) -> arc_swap::Guard<Arc<MemberSet>> {
        self.current.load()
    }

    /// Updates the members, if the names have other addresses now.
    fn update(&self) {
        let before = self.current.load();
        let targets = self.names.targets();
        if before.ids().eq(targets.iter().map(|target| &target.id)) {
            for (member, target) in before.0.iter().zip(&targets) {
                member.set_rank(target.rank);
            }
            return;
        }
        tracing::info!(
            app = self.app,
            addresses = targets.len(),
            "upstream_addresses_changed"
        );
        self.current.store(Arc::new(before.with(targets)));
    }

    /// Records that a request to `member` failed with this code. Returns whether it is ejected now.
    pub(super) fn failed(&self, member: &Member, code: &str, now: Instant) -> bool {
        let _ejecting = lock(&self.ejecting);
        let may_eject = self.may_eject(member, now);
        let mut health = lock(&member.health);
        member.is_clean.store(false, Ordering::Relaxed);
        let Some(backoff) = health.failed(now, may_eject) else {
            return false;
        };
        let seconds = backoff.as_secs();
        tracing::warn!(app = self.app, address = %member.id, code, seconds, "upstream_ejected");
        true
    }

    /// Whether `member` may be ejected: those of its priority have to carry the load, unless one of a
    /// larger priority works.
    fn may_eject(&self, member: &Member, now: Instant) -> bool {
        let members = &self.current.load().0;
        let percent = usize::from(self.max_ejected_percent);
        let priority = member.rank().priority;
        let is_substitute = |other: &Arc<Member>| {
            other.rank().priority > priority && other.standing(now) == Standing::Working
        };
        if members.iter().any(is_substitute) {
            return percent > 0;
        }
        let peers = members.iter();
        let peers = peers.filter(|peer| peer.rank().priority == priority);
        let count = peers.clone().count();
        let ejected = peers.filter(|peer| peer.standing(now) == Standing::Ejected);
        // Of few members one may always be ejected.
        let max = (count * percent / 100).max(usize::from(percent > 0));
        count > 1 && ejected.count() < max
    }

    /// Records that a request to `member` succeeded.
    pub(super) fn succeeded(&self, member: &Member) {
        if member.is_clean.load(Ordering::Relaxed) {
            return;
        }
        let mut health = lock(&member.health);
        if health.succeeded() {
            tracing::info!(app = self.app, address = %member.id, "upstream_returned");
        }
        member.is_clean.store(health.is_clean(), Ordering::Relaxed);
    }

    /// Records a health check of `member`, which failed with this code or passed.
    pub(super) fn checked(&self, member: &Member, failure: Option<&str>) {
        let mut health = lock(&member.health);
        if health.checked(failure.is_none()) {
            let (app, address) = (&self.app, &member.id);
            match failure {
                Some(code) => tracing::warn!(app, %address, code, "upstream_unhealthy"),
                None => tracing::info!(app, %address, "upstream_healthy"),
            }
        }
        member.is_clean.store(health.is_clean(), Ordering::Relaxed);
    }

    /// Whether health checks begin by this call.
    pub(super) fn begin_checks(&self) -> bool {
        !self.has_checks.swap(true, Ordering::Relaxed)
    }

    /// The members, if there are several.
    pub(super) fn statuses(&self) -> Vec<MemberStatus> {
        let members = &self.current.load().0;
        if members.len() < 2 {
            return Vec::new();
        }
        let now = Instant::now();
        let status = |member: &Arc<Member>| {
            let standing = member.standing(now);
            MemberStatus {
                address: member.id.to_string(),
                state: match standing {
                    Standing::Working => "working",
                    Standing::OnTrial => "on_trial",
                    Standing::Ejected => "ejected",
                    Standing::Unhealthy => "unhealthy",
                },
                is_up: matches!(standing, Standing::Working | Standing::OnTrial),
                in_flight: member.in_flight(),
            }
        };
        members.iter().map(status).collect()
    }
}

impl MemberSet {
    const fn empty() -> Self {
        Self(Vec::new())
    }

    /// The members at these targets: those of this set if it has them, or else new ones.
    fn with(&self, targets: Vec<Target>) -> Self {
        let members = targets.into_iter().map(|Target { id, rank }| {
            let known = self.0.iter().find(|member| member.id == id);
            let member = known.map_or_else(|| Arc::new(Member::new(id)), Arc::clone);
            member.set_rank(rank);
            member
        });
        Self(members.collect())
    }

    fn ids(&self) -> impl Iterator<Item = &MemberId> {
        self.0.iter().map(|member| &member.id)
    }

    pub(super) fn all(&self) -> &[Arc<Member>] {
        &self.0
    }

    pub(super) fn contains(&self, member: &Arc<Member>) -> bool {
        self.0.iter().any(|other| Arc::ptr_eq(other, member))
    }
}

impl Member {
    fn new(id: MemberId) -> Self {
        Self {
            hash: AddressHash::of(&id.to_string()),
            id,
            rank: AtomicU32::default(),
            in_flight: AtomicUsize::new(0),
            is_clean: AtomicBool::new(true),
            health: Mutex::default(),
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.is_clean.load(Ordering::Relaxed) {
            Standing::Working
        } else {
            lock(&self.health).standing(now)
        }
    }

    pub(super) fn rank(&self) -> Rank {
        Rank::from_bits(self.rank.load(Ordering::Relaxed))
    }

    fn set_rank(&self, rank: Rank) {
        self.rank.store(rank.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => self.url.at_ip(ip).fmt(f),
            None => self.url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::resolution::Found;
    use super::*;
    use crate::dns::{LookupError, Resolver, Service};
    use crate::types::time::{ManualClock, Timestamp};

    fn settings(urls: &[&str]) -> UpstreamSettings {
        let mut urls = urls.iter().map(|url| url.parse().unwrap());
        let mut settings = UpstreamSettings::at(urls.next().unwrap());
        settings.other_urls = urls.collect();
        settings
    }

    fn members(urls: &[&str], max_ejected_percent: u8) -> Members {
        let mut settings = settings(urls);
        settings.max_ejected_percent = max_ejected_percent;
        Members::new("store", &settings)
    }

    fn addresses(members: &Members) -> Vec<String> {
        let current = members.current();
        current.ids().map(ToString::to_string).collect()
    }

    /// How many of the members can be ejected.
    fn ejected(members: &Members, now: Instant) -> usize {
        let current = members.current();
        for member in current.all() {
            for _ in 0..100 {
                members.failed(member, "code", now);
            }
        }
        let states = current.all().iter().map(|member| member.standing(now));
        states.filter(|state| *state == Standing::Ejected).count()
    }

    #[test]
    fn share_of_addresses_is_never_ejected() {
        let urls = [
            "http://a.test:1",
            "http://a.test:2",
            "http://a.test:3",
            "http://a.test:4",
        ];
        let now = Instant::now();
        for (count, percent, expected) in [
            (1, 100, 0),
            (2, 50, 1),
            (2, 1, 1),
            (2, 100, 2),
            (3, 50, 1),
            (3, 67, 2),
            (4, 50, 2),
            (4, 100, 4),
            (4, 0, 0),
        ] {
            let members = members(&urls[..count], percent);
            assert_eq!(ejected(&members, now), expected, "{count} {percent}");
        }
    }

    #[test]
    fn all_of_a_priority_are_ejected_while_a_larger_one_works() {
        let now = Instant::now();
        for (percent, expected) in [(50, 3), (1, 3), (0, 0)] {
            let members = members(&["srv+http://_web._tcp.shop.test"], percent);
            let records = vec![
                service(1, 1, "a.test", 81),
                service(1, 1, "b.test", 81),
                service(2, 1, "c.test", 81),
                service(2, 1, "d.test", 81),
            ];
            members.resolved(0, Ok(Found::services(records)));
            assert_eq!(ejected(&members, now), expected, "{percent}");
        }
    }

    #[test]
    fn place_of_an_address_that_returned_is_free_for_another() {
        let members = members(&["http://a.test:1", "http://a.test:2"], 50);
        let now = Instant::now();
        assert_eq!(ejected(&members, now), 1);
        let current = members.current();
        let [first, second] = current.all() else {
            panic!("two")
        };
        assert_eq!(second.standing(now), Standing::Working);
        members.succeeded(first);
        assert_eq!(first.standing(now), Standing::Working);
        assert!(members.failed(second, "code", now));
    }

    #[tokio::test]
    async fn names_are_resolved_to_members() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = |text: &str| std::fs::write(folder.path().join("hosts"), text).unwrap();
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_secs(1_000_000)));
        let resolver = Resolver::in_folder(folder.path(), Arc::clone(&clock) as _);
        let members = members(&["http://app.test:80", "http://10.9.9.9:81"], 50);
        for (text, expected) in [
            ("", &["http://app.test"][..]),
            ("10.0.0.1 app.test", &["http://app.test"]),
            ("10.0.0.1 app.test\nfd00::1 app.test", &["http://app.test"]),
            (
                "10.0.0.2 app.test\n10.0.0.1 app.test\nfd00::1 app.test",
                &["http://10.0.0.1", "http://10.0.0.2", "http://[fd00::1]"],
            ),
            (
                "10.0.0.3 app.test\n10.0.0.2 app.test",
                &["http://10.0.0.2", "http://10.0.0.3"],
            ),
            // A name that cannot be resolved keeps its addresses.
            ("", &["http://10.0.0.2", "http://10.0.0.3"]),
        ] {
            hosts(text);
            clock.advance(Duration::from_secs(60));
            members.resolve(&resolver).await;
            let found = addresses(&members);
            assert_eq!(
                found,
                [expected, &["http://10.9.9.9:81"]].concat(),
                "{text}"
            );
        }
    }

    fn service(priority: u16, weight: u16, target: &str, port: u16) -> Service {
        Service {
            priority,
            weight,
            target: target.to_owned(),
            port,
        }
    }

    #[test]
    fn targets_of_srv_records_are_members_with_their_rank() {
        let members = members(&["srv+http://_web._tcp.shop.test"], 50);
        let unresolved = ["srv+http://_web._tcp.shop.test"];
        assert_eq!(addresses(&members), unresolved);
        let records = vec![
            service(1, 10, "a.test", 81),
            service(1, 30, "a.test", 82),
            service(2, 0, "b.test", 81),
            service(3, 0, "a.test", 81),
            service(3, 0, "no host", 81),
        ];
        members.resolved(0, Ok(Found::services(records)));
        let found = ["http://a.test:81", "http://a.test:82", "http://b.test:81"];
        assert_eq!(addresses(&members), found);
        let first = Arc::clone(&members.current().all()[0]);
        members.failed(&first, "code", Instant::now());
        // Another weight is the same member.
        let records = vec![service(1, 20, "a.test", 81), service(1, 30, "a.test", 82)];
        members.resolved(0, Ok(Found::services(records.clone())));
        let current = members.current();
        assert!(Arc::ptr_eq(&first, &current.all()[0]) && first.rank().weight == 20);
        // A failure changes nothing. No target means that there is no service.
        members.resolved(0, Err(LookupError::NotFound));
        assert_eq!(addresses(&members), &found[..2]);
        members.resolved(0, Ok(Found::services(Vec::new())));
        assert_eq!(addresses(&members), unresolved);
    }

    #[test]
    fn addresses_that_stay_keep_their_health() {
        let now = Instant::now();
        let before = members(&["http://a.test:1", "http://a.test:2"], 50);
        assert_eq!(ejected(&before, now), 1);
        let after = members(&["http://a.test:3", "http://a.test:1"], 50);
        after.continue_from(&before);
        let current = after.current();
        let states = current.all().iter().map(|member| member.standing(now));
        let states: Vec<_> = states.collect();
        assert_eq!(states, [Standing::Working, Standing::Ejected]);
    }

    #[test]
    fn number_of_addresses_is_bounded() {
        let members = members(&["http://app.test"], 50);
        let many = (0..1000_u32).map(|number| Ipv4Addr::from(number).into());
        members.resolved(0, Ok(Found::addresses(many.collect())));
        assert_eq!(addresses(&members).len(), MAX_MEMBERS);
    }
}
