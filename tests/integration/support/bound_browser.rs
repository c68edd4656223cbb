//! A simulated browser with device-bound sessions (W3C Device Bound Session Credentials), as Chromium was
//! seen to behave: registers a key that a response offers, renews a missing cookie before the request and
//! one that ends soon beside it, signs a challenge once, and keeps its session after 403 and 5xx only.
//! It shares no code with Doorward's verification.

use std::net::Ipv4Addr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorward::types::time::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::browser::{Browser, Kind, Page, RequestSpec};
use super::cookies::same_site;

const MAX_STEPS: usize = 20;
/// Chromium challenges and signs at most this often for one renewal.
const MAX_ROUNDS: usize = 5;
/// A cookie that lives for at most this long is renewed beside the request.
const RENEWAL_SECS: u64 = 120;

/// A key in a device.
pub struct DeviceKey(EcdsaKeyPair);

/// The browser's device-bound session.
#[derive(Clone, Debug)]
pub struct BoundSession {
    pub id: String,
    pub refresh_url: Url,
    pub cookie: String,
    pub challenge: Option<String>,
    /// The last challenge that was signed, and its proof.
    signed: Option<(String, String)>,
}

/// A browser, its key, and what it did.
pub struct BoundBrowser {
    pub browser: Browser,
    pub key: DeviceKey,
    pub session: Option<BoundSession>,
    /// Renewals come from this address, as with several addresses at once.
    pub renews_from: Option<Ipv4Addr>,
    /// Requests to the endpoint of renewals.
    pub renewals: usize,
    /// Signatures, of which Chromium makes at most six in nine minutes.
    pub signatures: usize,
    /// The responses of all requests, without those of renewals.
    pub statuses: Vec<u16>,
}

/// The result of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    Done,
    /// The server failed: the request is sent without the cookie and says so.
    ServerError,
    /// The session is gone.
    Ended,
}

impl DeviceKey {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    /// The proof of a challenge. A registration contains the key.
    pub fn proof(&self, challenge: &str, is_registration: bool) -> String {
        let mut header = json!({ "alg": "ES256", "typ": "dbsc+jwt" });
        if is_registration {
            header["jwk"] = self.jwk();
        }
        let message = [header, json!({ "jti": challenge })]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Default for DeviceKey {
    fn default() -> Self {
        Self::new()
    }
}

/// A parameter of a structured header, such as `path="/x"`.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    let (_, rest) = header.split_once(&format!(";{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

impl BoundBrowser {
    pub fn new(browser: Browser) -> Self {
        Self {
            browser,
            key: DeviceKey::new(),
            session: None,
            renews_from: None,
            renewals: 0,
            signatures: 0,
            statuses: Vec::new(),
        }
    }

    /// Opens a typed address and follows redirects.
    pub async fn visit(&mut self, url: &str) -> Page {
        self.send(RequestSpec::new(Kind::Navigation, url)).await
    }

    /// Follows a link of another site.
    pub async fn follow_link(&mut self, url: &str) -> Page {
        let elsewhere = Url::parse("https://mail.example.net/").expect("an URL");
        let link = RequestSpec::new(Kind::Navigation, url).from(&elsewhere);
        self.send(link).await
    }

    /// Sends a script's request from a page of the same origin.
    pub async fn fetch(&mut self, method: &str, url: &str) -> Page {
        let page = Url::parse(url).expect("an URL");
        let request = RequestSpec::new(Kind::Fetch, url)
            .method(method)
            .from(&page);
        self.send(request).await
    }

    /// Sends a request and follows redirects, each with the cookie of the session.
    pub async fn send(&mut self, request: RequestSpec) -> Page {
        let mut request = request;
        let mut chain = Vec::new();
        loop {
            let mut page = self.step(request).await;
            chain.append(&mut page.chain);
            page.chain.clone_from(&chain);
            assert!(chain.len() <= MAX_STEPS, "redirected in circles: {page}");
            match page.redirect().or_else(|| page.refresh()) {
                Some(next) => request = next,
                None => return page,
            }
        }
    }

    /// Sends one request.
    pub async fn step(&mut self, request: RequestSpec) -> Page {
        let mut request = RequestSpec {
            follow: false,
            ..request
        };
        request
            .headers
            .retain(|(name, _)| !name.starts_with("Secure-Session"));
        let may_renew = |initiator: &Option<Url>| {
            let initiator = initiator.as_ref();
            initiator.is_none_or(|initiator| initiator.origin() == request.url.origin())
        };
        let is_renewed = may_renew(&request.initiator) && self.has_session_at(&request.url);
        if is_renewed && self.cookie_ends(&request.url).is_none() {
            let id = self.session.as_ref().map(|session| session.id.clone());
            if self.renew().await == Renewal::ServerError {
                let skipped = format!(
                    "server_error;session_identifier=\"{}\"",
                    id.unwrap_or_default()
                );
                request = request.header("Secure-Session-Skipped", &skipped);
            }
        }
        let now = self.browser.now();
        let ends_soon = self.cookie_ends(&request.url);
        let ends_soon = ends_soon.is_some_and(|end| end.since(now).as_secs() <= RENEWAL_SECS);
        let page = self.browser.send(request.clone()).await;
        self.statuses.push(page.status());
        self.take_challenge(&page);
        if let Some(offer) = page.header("secure-session-registration") {
            let is_own = request
                .initiator
                .as_ref()
                .is_none_or(|initiator| same_site(initiator, &page.url));
            let offer = offer.to_owned();
            self.register(&page.url, &offer, is_own).await;
        } else if is_renewed && ends_soon {
            self.renew().await;
        }
        page
    }

    fn has_session_at(&self, url: &Url) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.refresh_url.origin() == url.origin())
    }

    /// When the cookie of the session ends, if there is one.
    fn cookie_ends(&self, url: &Url) -> Option<Timestamp> {
        let session = self.session.as_ref()?;
        let cookie = self.browser.jar.get(url.host_str()?, &session.cookie)?;
        cookie.expires.filter(|end| *end > self.browser.now())
    }

    /// Registers the key. Without cookies if another site caused the request that was answered.
    async fn register(&mut self, page: &Url, offer: &str, is_own: bool) {
        assert!(offer.starts_with("(ES256 RS256);"), "{offer}");
        let path = parameter(offer, "path").expect("a path");
        let challenge = parameter(offer, "challenge").expect("a challenge");
        let url = page.join(&path).expect("an URL");
        self.signatures += 1;
        let request = RequestSpec::new(Kind::Fetch, url.as_str())
            .method("POST")
            .from(page)
            .header("Secure-Session-Response", &self.key.proof(&challenge, true));
        let jar = self.browser.jar.clone();
        if !is_own {
            self.browser.jar = super::cookies::Jar::default();
        }
        let registered = self.browser.send(request).await;
        if !is_own {
            self.browser.jar = jar;
        }
        if registered.status() != 200 || registered.body.is_empty() {
            return;
        }
        let session = registered.json();
        let credential = &session["credentials"][0];
        let cookie = credential["name"].as_str().expect("a name").to_owned();
        let set = registered.head.all("set-cookie");
        let set = set.iter().find(|line| line.starts_with(&cookie));
        let set = set.expect("the cookie that is announced");
        let attributes = credential["attributes"].as_str().expect("attributes");
        for attribute in attributes.split("; ") {
            assert!(set.contains(attribute), "{set} lacks {attribute}");
        }
        let refresh_url = session["refresh_url"].as_str().expect("an URL");
        self.session = Some(BoundSession {
            id: session["session_identifier"]
                .as_str()
                .expect("an identifier")
                .to_owned(),
            refresh_url: page.join(refresh_url).expect("an URL"),
            cookie,
            challenge: None,
            signed: None,
        });
        self.take_challenge(&registered);
    }

    fn take_challenge(&mut self, page: &Page) {
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(header) = page.header("secure-session-challenge") else {
            return;
        };
        if parameter(header, "id").as_deref() == Some(&session.id) {
            let challenge = header
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'));
            session.challenge = challenge.map(|(challenge, _)| challenge.to_owned());
        }
    }

    async fn renew(&mut self) -> Renewal {
        for _ in 0..MAX_ROUNDS {
            let request = self.renewal();
            self.renewals += 1;
            let page = self.send_renewal(request).await;
            self.take_challenge(&page);
            match page.status() {
                403 => {}
                500.. => return Renewal::ServerError,
                200 | 204 => {
                    let ends = !page.body.is_empty() && page.json()["continue"] == json!(false);
                    if ends {
                        self.session = None;
                        return Renewal::Ended;
                    }
                    return Renewal::Done;
                }
                _ => break,
            }
        }
        self.session = None;
        Renewal::Ended
    }

    async fn send_renewal(&mut self, request: RequestSpec) -> Page {
        let Some(address) = self.renews_from else {
            return self.browser.send(request).await;
        };
        let mut elsewhere = self.browser.clone().from_address(address);
        let page = elsewhere.send(request).await;
        self.browser.jar = elsewhere.jar;
        page
    }

    /// Sends all further requests from this address.
    pub fn move_to(&mut self, address: Ipv4Addr) {
        self.browser = self.browser.clone().from_address(address);
    }

    /// The request that renews the cookie.
    fn renewal(&mut self) -> RequestSpec {
        let session = self.session.as_mut().expect("a session");
        let proof = session.challenge.clone().map(|challenge| {
            let known = session
                .signed
                .take()
                .filter(|(known, _)| *known == challenge);
            let (_, proof) = session.signed.insert(known.unwrap_or_else(|| {
                self.signatures += 1;
                (challenge.clone(), self.key.proof(&challenge, false))
            }));
            proof.clone()
        });
        let url = session.refresh_url.clone();
        let request = RequestSpec::new(Kind::Fetch, url.as_str())
            .method("POST")
            .from(&url)
            .header("Sec-Secure-Session-Id", &session.id);
        match proof {
            Some(proof) => request.header("Secure-Session-Response", &proof),
            None => request,
        }
    }
}
