//! Which clients count as those of a session, and how many of their networks are known.

use super::*;

const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36";
const CHROME_UPDATED: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36";
const EDGE: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36 Edg/145.0.0.0";
const CHROME_ON_LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
const SAFARI_VIDEO: &str =
    "AppleCoreMedia/1.0.0.22A3354 (iPhone; U; CPU OS 18_0 like Mac OS X; en_us)";

/// A request of a client.
#[derive(Clone, Debug, Default)]
struct Client {
    address: Option<IpAddr>,
    headers: HeaderMap,
}

impl Client {
    fn new(address: &str, agent: &str) -> Self {
        let client = Self {
            address: Some(address.parse().unwrap()),
            headers: HeaderMap::new(),
        };
        client.with("user-agent", agent)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    fn at(self, address: &str) -> Self {
        let address = Some(address.parse().unwrap());
        Self { address, ..self }
    }

    fn presented(&self) -> PresentedClient<'_> {
        PresentedClient {
            address: self.address,
            headers: &self.headers,
        }
    }

    fn known(&self) -> KnownClient {
        KnownClient::of(self.presented())
    }
}

fn windows() -> Client {
    Client::new("192.0.2.7", CHROME)
        .with("sec-ch-ua-platform", "\"Windows\"")
        .with("sec-ch-ua-mobile", "?0")
}

#[test]
fn update_address_in_the_network_and_absent_features_are_no_change() {
    let known = windows().known();
    let video = Client::new("192.0.2.7", SAFARI_VIDEO);
    let mut without_hints = windows();
    without_hints.headers.remove("sec-ch-ua-platform");
    without_hints.headers.remove("sec-ch-ua-mobile");
    let mut without_agent = windows();
    without_agent.headers.remove("user-agent");
    let unknown_address = Client {
        address: None,
        ..windows()
    };
    for same in [
        windows(),
        windows().with("user-agent", CHROME_UPDATED),
        windows().with("user-agent", "Mozilla/5.0"),
        windows().with("sec-ch-ua-mobile", "yes"),
        windows().at("192.0.2.250"),
        windows().at("::ffff:192.0.2.9"),
        without_hints,
        without_agent,
        unknown_address,
    ] {
        assert_eq!(known.change(same.presented()), None);
    }
    let iphone = Client::new("192.0.2.7", SAFARI).known();
    assert_eq!(iphone.change(video.presented()), None);
    let nothing = Client::default();
    assert_eq!(nothing.known().change(windows().presented()), None);
    assert_eq!(known.change(nothing.presented()), None);
}

#[test]
fn other_product_system_or_hint_is_another_browser() {
    let known = windows().known();
    for other in [
        windows().with("user-agent", EDGE),
        windows().with("user-agent", CHROME_ON_LINUX),
        windows().with("user-agent", "curl/8.5.0"),
        windows().with("sec-ch-ua-platform", "\"Linux\""),
        windows().with("sec-ch-ua-mobile", "?1"),
        windows().with("user-agent", EDGE).at("198.51.100.7"),
    ] {
        let change = known.change(other.presented());
        assert_eq!(change, Some(ClientChange::Browser));
    }
}

#[test]
fn other_prefix_is_another_network() {
    for (login, request, is_changed) in [
        ("192.0.2.7", "192.0.3.7", true),
        ("192.0.2.7", "198.51.100.7", true),
        ("192.0.2.7", "2001:db8:1::7", true),
        ("2001:db8:1::7", "2001:db8:1:ffff::9", false),
        ("2001:db8:1::7", "2001:db8:2::7", true),
        ("2001:db8:1::7", "192.0.2.7", true),
        ("0.0.0.1", "::1", true),
    ] {
        let known = windows().at(login).known();
        let change = known.change(windows().at(request).presented());
        let expected = is_changed.then_some(ClientChange::Network);
        assert_eq!(change, expected, "{login} {request}");
    }
}

#[test]
fn networks_of_the_same_browser_stay_known_up_to_a_limit() {
    let at = |network: usize| windows().at(&format!("10.0.{network}.1"));
    let mut known = at(0).known();
    for network in 1..=MAX_NETWORKS {
        known = at(network).known().after(&known);
        known = at(network).known().after(&known);
    }
    assert_eq!(known.networks.len(), MAX_NETWORKS);
    for network in 1..=MAX_NETWORKS {
        assert_eq!(known.change(at(network).presented()), None);
    }
    let oldest = known.change(at(0).presented());
    assert_eq!(oldest, Some(ClientChange::Network));
    let other = at(9).with("user-agent", EDGE).known().after(&known);
    assert_eq!(other.networks.len(), 1);
}

#[test]
fn known_client_is_small() {
    let mut known = windows().at("2001:db8:ff::1").known();
    for network in 1..MAX_NETWORKS {
        let next = windows().at(&format!("2001:db8:{network}::1"));
        known = next.known().after(&known);
    }
    let bytes = postcard::to_allocvec(&known).unwrap();
    assert!(bytes.len() <= 80, "{} bytes", bytes.len());
    let read: KnownClient = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(read, known);
}

#[test]
fn compared_client_is_the_same_with_equal_address_and_fields_only() {
    let known = windows().known();
    let compared = ComparedClient::new(&known, windows().presented());
    assert!(compared.is(windows().with("accept", "*/*").presented()));
    let mut without_hint = windows();
    without_hint.headers.remove("sec-ch-ua-mobile");
    for other in [
        windows().at("192.0.2.8"),
        windows().with("user-agent", CHROME_UPDATED),
        windows().with("sec-ch-ua-platform", "\"Linux\""),
        without_hint,
    ] {
        assert!(!compared.is(other.presented()), "{other:?}");
    }
    let elsewhere = ComparedClient::new(&known, windows().at("198.51.100.7").presented());
    let change = elsewhere.change().map(|change| change.kind);
    assert_eq!(change, Some(ClientChange::Network));
}

#[test]
fn change_is_the_same_for_other_versions_and_addresses() {
    let known = windows().known();
    let detect = |client: Client| known.detect(client.presented());
    let elsewhere = || windows().at("198.51.100.7");
    let change = detect(elsewhere());
    assert!(change.is_some());
    assert_eq!(
        detect(elsewhere().with("user-agent", CHROME_UPDATED)),
        change
    );
    assert_eq!(detect(windows().at("198.51.100.9")), change);
    assert_ne!(detect(windows().at("203.0.113.7")), change);
    assert_ne!(detect(elsewhere().with("user-agent", EDGE)), change);
}
