//! Client continuity: whether a request of a session that is bound to no device comes from the browser
//! and a network of its user. PURE.

use std::net::IpAddr;

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};

use super::context::Limits;
use crate::types::network_prefix::NetworkPrefix;
use crate::types::user_agent::program_name;

/// How many networks of a session are known. A client with IPv4 and IPv6 uses two at once.
const MAX_NETWORKS: usize = 8;

/// Client hints that browsers send with every request over https.
const PLATFORM: HeaderName = HeaderName::from_static("sec-ch-ua-platform");
const MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");

/// Browsers let these fetch audio and video. They send the cookies, and their own `User-Agent`.
const MEDIA_PLAYERS: [&str; 2] = ["AppleCoreMedia", "stagefright"];

/// The reaction to a request of another client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnClientChange {
    /// Nothing: clients are not compared.
    Off,
    /// It is recorded.
    #[default]
    Observe,
    /// The user must authenticate again.
    Enforce,
}

impl OnClientChange {
    /// Whether a request with this change of the client may use its session. `None`: it has not changed,
    /// or it is not known with which client the session began.
    pub fn assess(self, change: impl FnOnce() -> Option<DetectedChange>) -> ClientAssessment {
        match self {
            Self::Off => ClientAssessment::Accepted,
            Self::Observe => {
                change().map_or(ClientAssessment::Accepted, ClientAssessment::Observed)
            }
            Self::Enforce => change().map_or(ClientAssessment::Accepted, ClientAssessment::Refused),
        }
    }
}

/// Whether a request may use its session, as far as its client is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAssessment {
    /// It may.
    Accepted,
    /// It may, and the change is recorded.
    Observed(DetectedChange),
    /// It may not.
    Refused(DetectedChange),
}

/// How browser sessions are treated that are bound to no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnboundSessions {
    /// The reaction to a request of another client.
    pub on_client_change: OnClientChange,
    /// Their timeouts.
    pub limits: Limits,
}

impl UnboundSessions {
    /// Those of an app that makes no difference between bound and unbound sessions.
    pub const fn as_all(limits: Limits) -> Self {
        Self {
            on_client_change: OnClientChange::Off,
            limits,
        }
    }
}

/// The client that sends a request.
#[derive(Clone, Copy, Debug)]
pub struct PresentedClient<'r> {
    /// Its address. `None`: it is unknown.
    pub address: Option<IpAddr>,
    /// The headers of the request.
    pub headers: &'r HeaderMap,
}

impl<'r> PresentedClient<'r> {
    /// The fields of the request that are compared.
    fn fields(self) -> [Option<&'r [u8]>; 3] {
        [header::USER_AGENT, PLATFORM, MOBILE].map(|name| field(self.headers, &name))
    }
}

/// The features of a browser. Each absent one is not compared. Its fields are fixed, as it is part of sealed
/// payloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct BrowserFeatures {
    /// `User-Agent`: a hash. Another one may be of the same program.
    agent: Option<u32>,
    /// Product and operating system by `User-Agent`, without versions: a hash.
    program: Option<u32>,
    /// `Sec-CH-UA-Platform`: a hash.
    platform: Option<u32>,
    /// `Sec-CH-UA-Mobile`.
    is_mobile: Option<bool>,
}

impl BrowserFeatures {
    fn read(headers: &HeaderMap) -> Self {
        let agent = field(headers, &header::USER_AGENT);
        Self {
            agent: agent.map(hash),
            program: agent.and_then(program),
            platform: field(headers, &PLATFORM).map(hash),
            is_mobile: field(headers, &MOBILE).and_then(is_mobile),
        }
    }

    /// Whether a request with these headers may come from this browser.
    fn fit(&self, headers: &HeaderMap) -> bool {
        let agent = field(headers, &header::USER_AGENT);
        // Nearly all requests have the same one, which need not be parsed.
        let is_same_program =
            agent.map(hash) == self.agent || are_compatible(self.program, agent.and_then(program));
        is_same_program
            && are_compatible(self.platform, field(headers, &PLATFORM).map(hash))
            && are_compatible(self.is_mobile, field(headers, &MOBILE).and_then(is_mobile))
    }
}

fn field<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    headers.get(name).map(|value| value.as_bytes().trim_ascii())
}

/// The program of a `User-Agent`, unless that is a media player.
fn program(agent: &[u8]) -> Option<u32> {
    let name = program_name(agent)?;
    let mut players = MEDIA_PLAYERS.iter();
    let is_player = players.any(|player| name.starts_with(player));
    (!is_player).then(|| hash(name.as_bytes()))
}

fn is_mobile(hint: &[u8]) -> Option<bool> {
    match hint {
        b"?1" => Some(true),
        b"?0" => Some(false),
        _ => None,
    }
}

fn are_compatible<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// Distinguishes the few values that browsers send. A client can choose another's anyway.
fn hash(value: &[u8]) -> u32 {
    let hash = digest::digest(&digest::SHA256, value);
    let first = hash.as_ref().first_chunk().copied();
    u32::from_be_bytes(first.unwrap_or_default())
}

/// The client of a session. Its fields are fixed: with another one, the fields after it could not be
/// read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KnownClient {
    /// Networks from which the user logged in with this browser, the most recent first.
    networks: Vec<NetworkPrefix>,
    browser: BrowserFeatures,
}

impl KnownClient {
    /// The client of a login.
    pub fn of(client: PresentedClient<'_>) -> Self {
        Self {
            networks: client.address.map(NetworkPrefix::of).into_iter().collect(),
            browser: BrowserFeatures::read(client.headers),
        }
    }

    /// The client of a login in a browser that had a session of the same user with the client `before`. Its
    /// networks are added, so that a client that alternates between some of them logs in once in each.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        let is_same_browser = are_compatible(self.browser.program, before.browser.program)
            && are_compatible(self.browser.platform, before.browser.platform)
            && are_compatible(self.browser.is_mobile, before.browser.is_mobile);
        if is_same_browser {
            for network in &before.networks {
                if !self.networks.contains(network) && self.networks.len() < MAX_NETWORKS {
                    self.networks.push(*network);
                }
            }
        }
        self
    }

    /// How `client` differs from this one, if it does. A feature that either lacks is not compared.
    pub fn change(&self, client: PresentedClient<'_>) -> Option<ClientChange> {
        if !self.browser.fit(client.headers) {
            return Some(ClientChange::Browser);
        }
        let network = client.address.map(NetworkPrefix::of)?;
        let is_known = self.networks.is_empty() || self.networks.contains(&network);
        (!is_known).then_some(ClientChange::Network)
    }

    /// The same change with the client.
    pub fn detect(&self, client: PresentedClient<'_>) -> Option<DetectedChange> {
        let kind = self.change(client)?;
        let browser = BrowserFeatures::read(client.headers);
        Some(DetectedChange {
            kind,
            network: client.address.map(NetworkPrefix::of),
            program: browser.program,
            platform: browser.platform,
            is_mobile: browser.is_mobile,
        })
    }
}

/// A change of the client. It is the same for other versions of the program, and other addresses of the
/// network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetectedChange {
    /// How the client differs.
    pub kind: ClientChange,
    network: Option<NetworkPrefix>,
    program: Option<u32>,
    platform: Option<u32>,
    is_mobile: Option<bool>,
}

/// A client that was compared with that of a session, and the result.
#[derive(Debug)]
pub struct ComparedClient {
    address: Option<IpAddr>,
    fields: [Option<Box<[u8]>>; 3],
    change: Option<DetectedChange>,
}

impl ComparedClient {
    /// Compares `client` with the client of a session.
    pub fn new(known: &KnownClient, client: PresentedClient<'_>) -> Self {
        Self {
            address: client.address,
            fields: client.fields().map(|field| field.map(Box::from)),
            change: known.detect(client),
        }
    }

    /// Whether it is this one.
    pub fn is(&self, client: PresentedClient<'_>) -> bool {
        let mut fields = self.fields.iter().zip(client.fields());
        self.address == client.address && fields.all(|(known, field)| known.as_deref() == field)
    }

    /// How it differs from the client of the session.
    pub const fn change(&self) -> Option<DetectedChange> {
        self.change
    }
}

/// How the client of a request differs from that of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientChange {
    /// It is another browser, perhaps in another network too.
    Browser,
    /// It is the same browser in another network.
    Network,
}

impl ClientChange {
    /// The stable code in logs, metrics and responses.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Browser => "browser_changed",
            Self::Network => "network_changed",
        }
    }
}

#[cfg(test)]
mod tests;
