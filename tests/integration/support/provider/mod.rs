//! An OpenID provider that does what it is told: correct until a test says otherwise, with a switch for every
//! misbehaviour, and a record of everything it was asked. It shares no code with Doorward's own verification.

mod authorize;
mod behaviour;
mod http;
mod keys;
mod record;
mod state;
mod token;
mod tokens;

use std::sync::{Arc, Mutex, MutexGuard};

use doorward::types::time::Clock;
use serde_json::Value;

pub use behaviour::{Behaviour, Endpoint, ExpiresIn, Fault, Flaw, IssParameter, RefreshRefusal};
pub use keys::SigningKey;
pub use record::{PresentedSession, SessionStatus, Visit};
pub use state::{Client, Person};

use super::deployment::Deployment;
use super::listening::Listening;
use state::State;

/// The provider and all that a test can ask of it.
pub struct FakeProvider {
    issuer: String,
    /// The origin of its endpoints.
    address: String,
    listening: Listening,
    state: Arc<Mutex<State>>,
}

impl FakeProvider {
    /// Starts on a free port; `iat` and `exp` come from `clock`. Nobody is signed in.
    pub fn start(clock: Arc<dyn Clock>) -> Self {
        Self::start_as("127.0.0.1", clock)
    }

    /// The same under a loopback name such as `login.localhost`.
    pub fn start_as(host: &str, clock: Arc<dyn Clock>) -> Self {
        let state = Arc::new(Mutex::new(State::new(clock)));
        let listening = listen(0, &state);
        let address = format!("http://{host}:{}", listening.port());
        let provider = Self {
            issuer: address.clone(),
            address,
            listening,
            state,
        };
        provider.state().issuer.clone_from(&provider.issuer);
        provider.state().address.clone_from(&provider.address);
        provider
    }

    /// The issuer identifier, without a slash at the end.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The address of an endpoint.
    pub fn url(&self, endpoint: Endpoint) -> String {
        format!("{}{}", self.address, endpoint.path())
    }

    /// Issues and signs from now on as the provider that a fixture was recorded with.
    pub fn continue_as(&mut self, deployment: &Deployment) {
        self.issuer.clone_from(&deployment.issuer);
        let mut state = self.state();
        state.issuer.clone_from(&deployment.issuer);
        state.keys.replace(deployment.signing_key());
    }

    /// Accepts a refresh token that a fixture's provider gave to this client for this person.
    pub fn restore_refresh_token(&self, token: &str, client_id: &str, person: Person, sid: &str) {
        self.state().restore(token, client_id, person, sid);
    }

    /// Makes a client known.
    pub fn register(&self, client: Client) {
        self.state().clients.insert(client.id.clone(), client);
    }

    /// Whoever comes to the authorization endpoint from now on is this person.
    pub fn sign_in(&self, user: Person) {
        self.state().sign_in(user);
    }

    /// This person can log in with this name and password.
    pub fn knows(&self, name: &str, password: &str, user: Person) {
        self.state()
            .people
            .insert(name.to_owned(), (password.to_owned(), user));
    }

    /// Nobody is signed in: the authorization endpoint shows a form.
    pub fn sign_out(&self) {
        self.state().session = None;
    }

    /// Changes how the provider behaves from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state().behaviour);
    }

    /// Every call of `endpoint` fails like this until [`Self::heal`].
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.state().faults.insert(endpoint, fault);
    }

    /// The next call of `endpoint` fails like this; several are served in order.
    pub fn fault_once(&self, endpoint: Endpoint, fault: Fault) {
        self.state()
            .next_faults
            .entry(endpoint)
            .or_default()
            .push_back(fault);
    }

    /// Ends the faults of `endpoint`.
    pub fn heal(&self, endpoint: Endpoint) {
        let mut state = self.state();
        state.faults.remove(&endpoint);
        state.next_faults.remove(&endpoint);
    }

    /// Refuses connections from now on; those that are open are cut.
    pub fn stop(&self) {
        self.listening.stop();
    }

    /// Listens again where it did before, remembering everything.
    pub fn restart(&mut self) {
        self.listening = listen(self.listening.port(), &self.state);
    }

    /// Signs with a new key from now on; the old one stays in the key set if `keep_old`.
    pub fn rotate_keys(&self, keep_old: bool) {
        self.state().keys.rotate(keep_old);
    }

    /// The `sid` of whoever is signed in.
    pub fn session(&self) -> String {
        self.state()
            .session
            .as_ref()
            .map(|session| session.sid.clone())
            .expect("somebody is signed in")
    }

    /// A logout token for this client, with the claims that say who it is about, and what is wrong with it.
    /// It is not sent to anybody.
    pub fn logout_token(&self, client_id: &str, claims: &Value, flaws: &[Flaw]) -> String {
        tokens::logout_token(&self.state(), client_id, claims, flaws)
    }

    /// An access token that a client on a phone got for alice and the store, as a JWT: with these claims over its own,
    /// of which `null` leaves one out, and what is wrong with it.
    pub fn access_token(&self, claims: &Value, flaws: &[Flaw]) -> String {
        let mut state = self.state();
        let token = tokens::presented_token(&state, claims, flaws);
        state.record.secrets.push(token.clone());
        token
    }

    /// The same as an opaque token.
    pub fn opaque_token(&self, claims: &Value) -> String {
        let mut state = self.state();
        let said = Value::Object(tokens::presented_claims(&state, claims));
        let token = state.secret();
        state.opaque_tokens.insert(token.clone(), said);
        token
    }

    /// An opaque token is not active any more.
    pub fn forget_opaque_token(&self, token: &str) {
        self.state().opaque_tokens.remove(token);
    }

    /// FusionAuth's signature over a webhook's body, and what is wrong with it.
    pub fn webhook_signature(&self, body: &str, flaws: &[Flaw]) -> String {
        tokens::webhook_signature(&self.state(), body, flaws)
    }

    /// Makes every refresh token of this person invalid, as an administrator would.
    pub fn end_grants_of(&self, sub: &str) {
        self.state().end_grants_of(sub);
    }

    /// How often an endpoint was called, faults included.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.visits(endpoint).len()
    }

    /// Every call of an endpoint, in order.
    pub fn visits(&self, endpoint: Endpoint) -> Vec<Visit> {
        self.state()
            .record
            .visits
            .iter()
            .filter(|visit| visit.endpoint == endpoint)
            .cloned()
            .collect()
    }

    /// How often the token endpoint was asked for this grant type.
    pub fn grants(&self, grant_type: &str) -> usize {
        self.visits(Endpoint::Token)
            .iter()
            .filter(|visit| visit.parameter("grant_type") == Some(grant_type))
            .count()
    }

    /// How often the login form was shown.
    pub fn forms_shown(&self) -> usize {
        self.state().record.forms_shown
    }

    /// Every refresh token that was presented, with what it was worth then.
    pub fn presented(&self) -> Vec<PresentedSession> {
        self.state().record.presented.clone()
    }

    /// No refresh token was presented after it had been consumed or revoked.
    pub fn assert_no_dead_refresh_token_was_sent(&self) {
        let presented = self.presented();
        let dead: Vec<&PresentedSession> = presented
            .iter()
            .filter(|one| one.standing != SessionStatus::Live)
            .collect();
        assert!(
            dead.is_empty(),
            "refresh tokens sent although dead: {dead:?}"
        );
    }

    /// The tokens that were revoked through the revocation endpoint.
    pub fn revoked(&self) -> Vec<String> {
        self.state().record.revoked.clone()
    }

    /// Whether the grant behind this refresh token still lives.
    pub fn is_live(&self, refresh_token: &str) -> bool {
        self.state().standing(refresh_token) == SessionStatus::Live
    }

    /// Every JWT, opaque token, refresh token and code that was ever given out: canaries for backend and logs.
    pub fn secrets(&self) -> Vec<String> {
        self.state().record.secrets.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked inside")
    }
}

fn listen(port: u16, state: &Arc<Mutex<State>>) -> Listening {
    let state = Arc::clone(state);
    Listening::start(port, move |stream| http::serve(stream, Arc::clone(&state)))
}
