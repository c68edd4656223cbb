//! The provider's state: clients, the session, codes, refresh tokens and their families.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use doorward::types::time::{Clock, Timestamp};
use serde_json::{Map, Value, json};

use super::super::random_name;
use super::behaviour::{Behaviour, Endpoint, Fault};
use super::keys::Keys;
use super::record::{PresentedToken, Record, TokenStatus};

/// A registered client.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    /// `None` for a public client.
    pub secret: Option<String>,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
}

impl Client {
    /// The registration of an app behind Doorward at `public_url`, with the secret `ID-secret`.
    pub fn of_app(id: &str, public_url: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: Some(format!("{id}-secret")),
            redirect_uris: vec![format!("{public_url}/.doorward/callback")],
            post_logout_redirect_uris: vec![format!("{public_url}/.doorward/signed-out")],
        }
    }
}

/// A user and the claims of their tokens besides `sub`.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub sub: String,
    pub claims: Map<String, Value>,
}

impl User {
    /// A user with the usual claims, the group `customers`, and these roles.
    pub fn new(name: &str, roles: &[&str]) -> Self {
        let claims = json!({
            "email": format!("{name}@example.com"),
            "email_verified": true,
            "preferred_username": name,
            "groups": ["customers"],
            "roles": roles,
        });
        let Value::Object(claims) = claims else {
            panic!("an object")
        };
        Self {
            sub: format!("{name}-id"),
            claims,
        }
    }

    /// Adds or replaces a claim.
    pub fn with_claim(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }
}

/// A grant from a login. All tokens refreshed from it form one family.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) user: User,
    pub(super) sid: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) auth_time: Timestamp,
    pub(super) family: usize,
}

pub(super) struct Code {
    pub(super) grant: Grant,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) used: bool,
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) user: User,
    pub(super) sid: String,
    pub(super) since: Timestamp,
}

pub(super) struct State {
    pub(super) issuer: String,
    /// The origin of the endpoints. Differs from the issuer when a fixture sets the issuer.
    pub(super) address: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) behaviour: Behaviour,
    pub(super) faults: HashMap<Endpoint, Fault>,
    pub(super) next_faults: HashMap<Endpoint, VecDeque<Fault>>,
    pub(super) clients: HashMap<String, Client>,
    pub(super) session: Option<Session>,
    /// Users who can log in with a password, by name.
    pub(super) users: HashMap<String, (String, User)>,
    pub(super) codes: HashMap<String, Code>,
    pub(super) access_tokens: HashMap<String, User>,
    /// Opaque tokens with their introspection responses.
    pub(super) opaque_tokens: HashMap<String, Value>,
    pub(super) keys: Keys,
    pub(super) record: Record,
    refresh_tokens: HashMap<String, (Grant, TokenStatus)>,
    families: usize,
}

impl State {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            issuer: String::new(),
            address: String::new(),
            clock,
            behaviour: Behaviour::default(),
            faults: HashMap::new(),
            next_faults: HashMap::new(),
            clients: HashMap::new(),
            session: None,
            users: HashMap::new(),
            codes: HashMap::new(),
            access_tokens: HashMap::new(),
            opaque_tokens: HashMap::new(),
            keys: Keys::new(),
            record: Record::default(),
            refresh_tokens: HashMap::new(),
            families: 0,
        }
    }

    pub(super) fn sign_in(&mut self, user: User) {
        self.session = Some(Session {
            user,
            sid: random_name(9),
            since: self.clock.now(),
        });
    }

    pub(super) fn change_user(&mut self, sub: &str, change: impl Fn(&mut User)) {
        let sessions = self.session.iter_mut().map(|session| &mut session.user);
        let grants = self.refresh_tokens.values_mut();
        let users = sessions
            .chain(grants.map(|(grant, _)| &mut grant.user))
            .chain(self.access_tokens.values_mut());
        users.filter(|user| user.sub == sub).for_each(change);
    }

    pub(super) fn next_fault(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let once = self
            .next_faults
            .get_mut(&endpoint)
            .and_then(VecDeque::pop_front);
        once.or_else(|| self.faults.get(&endpoint).cloned())
    }

    /// A new random secret, recorded as a canary.
    pub(super) fn secret(&mut self) -> String {
        let secret = random_name(24);
        self.record.secrets.push(secret.clone());
        secret
    }

    pub(super) fn new_family(&mut self) -> usize {
        self.families += 1;
        self.families
    }

    pub(super) fn issue_refresh_token(&mut self, grant: &Grant) -> String {
        let token = self.secret();
        self.refresh_tokens
            .insert(token.clone(), (grant.clone(), TokenStatus::Live));
        token
    }

    /// Restores a refresh token that an earlier provider with the same keys issued.
    pub(super) fn restore(&mut self, token: &str, client_id: &str, user: User, sid: &str) {
        let grant = Grant {
            client_id: client_id.to_owned(),
            user,
            sid: sid.to_owned(),
            scope: "openid".to_owned(),
            nonce: None,
            auth_time: self.clock.now(),
            family: self.new_family(),
        };
        self.refresh_tokens
            .insert(token.to_owned(), (grant, TokenStatus::Live));
    }

    pub(super) fn status(&self, refresh_token: &str) -> TokenStatus {
        self.refresh_tokens
            .get(refresh_token)
            .map_or(TokenStatus::Unknown, |(_, status)| *status)
    }

    /// Records the presented token and returns its grant if the token is usable.
    pub(super) fn present(&mut self, token: &str, client_id: &str) -> Option<Grant> {
        let status = self.status(token);
        let presented = PresentedToken {
            token: token.to_owned(),
            client_id: client_id.to_owned(),
            status,
        };
        self.record.presented.push(presented);
        let grant = self.refresh_tokens.get(token)?.0.clone();
        if status == TokenStatus::Consumed && self.behaviour.detects_reuse {
            self.revoke_where(|other| other.family == grant.family);
        }
        let usable = match status {
            TokenStatus::Live => true,
            TokenStatus::Consumed => !self.behaviour.detects_reuse,
            TokenStatus::Revoked | TokenStatus::Unknown => false,
        };
        if usable && grant.client_id == client_id {
            Some(grant)
        } else {
            None
        }
    }

    pub(super) fn consume(&mut self, token: &str) {
        if let Some((_, status)) = self.refresh_tokens.get_mut(token) {
            *status = TokenStatus::Consumed;
        }
    }

    /// RFC 7009: revoking a token revokes the whole grant.
    pub(super) fn revoke(&mut self, token: &str) {
        self.record.revoked.push(token.to_owned());
        if let Some(family) = self
            .refresh_tokens
            .get(token)
            .map(|(grant, _)| grant.family)
        {
            self.revoke_where(|grant| grant.family == family);
        }
        self.access_tokens.remove(token);
    }

    pub(super) fn end_grants_of(&mut self, sub: &str) {
        self.revoke_where(|grant| grant.user.sub == sub);
    }

    pub(super) fn revoke_where(&mut self, which: impl Fn(&Grant) -> bool) {
        for (grant, status) in self.refresh_tokens.values_mut() {
            if which(grant) && *status == TokenStatus::Live {
                *status = TokenStatus::Revoked;
            }
        }
    }
}
