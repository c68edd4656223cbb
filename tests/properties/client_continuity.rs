//! Client continuity: what is compared changes no decision unless it is enforced.

use std::net::IpAddr;

use doorward::session::client_continuity::{
    ClientAssessment, KnownClient, OnClientChange, PresentedClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/145.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/146.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "AppleCoreMedia/1.0.0.22A3354 (iPhone; U; CPU OS 18_0 like Mac OS X; en_us)",
    "curl/8.5.0",
];

/// A client: its address, and the fields that it sends.
#[derive(Clone, Debug)]
struct Client {
    address: Option<IpAddr>,
    headers: HeaderMap,
}

impl Client {
    fn presented(&self) -> PresentedClient<'_> {
        PresentedClient {
            address: self.address,
            headers: &self.headers,
        }
    }
}

fn addresses() -> impl Strategy<Value = Option<IpAddr>> {
    let near = (0..4_u8, any::<u8>()).prop_map(|(net, host)| IpAddr::from([192, 0, net, host]));
    option::of(prop_oneof![
        near,
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))
    ])
}

fn clients() -> impl Strategy<Value = Client> {
    let text = || {
        let bytes = vec(any::<u8>(), 0..40);
        prop_oneof![
            select(AGENTS.map(|agent| agent.as_bytes().to_vec()).to_vec()),
            select(
                [&b"?0"[..], b"?1", b"\"Windows\"", b"\"Linux\""]
                    .map(<[u8]>::to_vec)
                    .to_vec()
            ),
            bytes,
        ]
    };
    let fields = (option::of(text()), option::of(text()), option::of(text()));
    (addresses(), fields).prop_map(|(address, (agent, platform, mobile))| {
        let mut headers = HeaderMap::new();
        let names = ["user-agent", "sec-ch-ua-platform", "sec-ch-ua-mobile"];
        for (name, value) in names.into_iter().zip([agent, platform, mobile]) {
            let value = value.and_then(|value| HeaderValue::from_bytes(&value).ok());
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Client { address, headers }
    })
}

proptest! {
    #[test]
    fn off_and_observe_never_refuse(login in option::of(clients()), request in clients()) {
        let known = login.as_ref().map(|login| KnownClient::of(login.presented()));
        let assess = |on_change: OnClientChange| {
            on_change.assess(|| known.as_ref()?.detect(request.presented()))
        };
        prop_assert_eq!(assess(OnClientChange::Off), ClientAssessment::Accepted);
        match (assess(OnClientChange::Observe), assess(OnClientChange::Enforce)) {
            (ClientAssessment::Accepted, enforced) => {
                prop_assert_eq!(enforced, ClientAssessment::Accepted);
            }
            (ClientAssessment::Observed(change), enforced) => {
                prop_assert_eq!(enforced, ClientAssessment::Refused(change));
                prop_assert!(login.is_some());
            }
            (observed @ ClientAssessment::Refused(_), _) => prop_assert!(false, "{:?}", observed),
        }
    }

    #[test]
    fn networks_of_all_logins_of_a_browser_are_accepted(
        login in clients(),
        others in vec(addresses(), 0..6),
    ) {
        let mut known = KnownClient::of(login.presented());
        let mut logins = vec![login.clone()];
        for address in others {
            let next = Client { address, ..login.clone() };
            known = KnownClient::of(next.presented()).after(&known);
            logins.push(next);
            for earlier in &logins {
                prop_assert_eq!(known.change(earlier.presented()), None);
            }
        }
        let bytes = postcard::to_allocvec(&known).unwrap();
        prop_assert_eq!(postcard::from_bytes::<KnownClient>(&bytes).unwrap(), known);
    }
}
