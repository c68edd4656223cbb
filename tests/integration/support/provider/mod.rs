//! A fake OpenID provider. It is correct by default, has a switch for every fault, and records
//! every call. It shares no code with Doorward's verification.

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
pub use record::{PresentedToken, TokenStatus, Visit};
pub use state::{Client, User};

use super::deployment::Deployment;
use super::listening::Listening;
use state::State;

/// The provider and its test API.
pub struct FakeProvider {
    issuer: String,
    /// The origin of the endpoints.
    address: String,
    listening: Listening,
    state: Arc<Mutex<State>>,
}

impl FakeProvider {
    /// Starts on a free port. `iat` and `exp` come from `clock`. No user is signed in.
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

    /// The URL of an endpoint.
    pub fn url(&self, endpoint: Endpoint) -> String {
        format!("{}{}", self.address, endpoint.path())
    }

    /// Takes over the issuer and signing key of a recorded deployment.
    pub fn continue_as(&mut self, deployment: &Deployment) {
        self.issuer.clone_from(&deployment.issuer);
        let mut state = self.state();
        state.issuer.clone_from(&deployment.issuer);
        state.keys.replace(deployment.signing_key());
    }

    /// Accepts a refresh token that the recorded provider issued to this client for this user.
    pub fn restore_refresh_token(&self, token: &str, client_id: &str, user: User, sid: &str) {
        self.state().restore(token, client_id, user, sid);
    }

    /// Registers a client.
    pub fn register(&self, client: Client) {
        self.state().clients.insert(client.id.clone(), client);
    }

    /// Signs this user in: the authorization endpoint redirects without a form.
    pub fn sign_in(&self, user: User) {
        self.state().sign_in(user);
    }

    /// Lets this user log in with this name and password.
    pub fn add_user(&self, name: &str, password: &str, user: User) {
        self.state()
            .users
            .insert(name.to_owned(), (password.to_owned(), user));
    }

    /// Changes the claims of the user with this `sub`, as an administrator would: tokens that are
    /// issued from now on have them, and userinfo responses.
    pub fn change_user(&self, sub: &str, change: impl Fn(&mut User)) {
        self.state().change_user(sub, change);
    }

    /// Signs the user out: the authorization endpoint shows a form.
    pub fn sign_out(&self) {
        self.state().session = None;
    }

    /// Changes the provider's behaviour.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state().behaviour);
    }

    /// Makes every call of `endpoint` fail until [`Self::heal`].
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.state().faults.insert(endpoint, fault);
    }

    /// Makes the next call of `endpoint` fail. Several faults apply in order.
    pub fn fault_once(&self, endpoint: Endpoint, fault: Fault) {
        self.state()
            .next_faults
            .entry(endpoint)
            .or_default()
            .push_back(fault);
    }

    /// Removes the faults of `endpoint`.
    pub fn heal(&self, endpoint: Endpoint) {
        let mut state = self.state();
        state.faults.remove(&endpoint);
        state.next_faults.remove(&endpoint);
    }

    /// Refuses new connections and closes the open ones.
    pub fn stop(&self) {
        self.listening.stop();
    }

    /// Listens on the same port again, with the same state.
    pub fn restart(&mut self) {
        self.listening = listen(self.listening.port(), &self.state);
    }

    /// Signs with a new key. The old key stays in the key set if `keep_old`.
    pub fn rotate_keys(&self, keep_old: bool) {
        self.state().keys.rotate(keep_old);
    }

    /// The `sid` of the current session.
    pub fn session(&self) -> String {
        self.state()
            .session
            .as_ref()
            .map(|session| session.sid.clone())
            .expect("somebody is signed in")
    }

    /// Creates a logout token for this client with these claims and flaws.
    pub fn logout_token(&self, client_id: &str, claims: &Value, flaws: &[Flaw]) -> String {
        tokens::logout_token(&self.state(), client_id, claims, flaws)
    }

    /// Issues an access token for alice and the store to a mobile client, as a JWT, with these
    /// claims merged in (`null` omits one) and these flaws.
    pub fn access_token(&self, claims: &Value, flaws: &[Flaw]) -> String {
        let mut state = self.state();
        let token = tokens::presented_token(&state, claims, flaws);
        state.record.secrets.push(token.clone());
        token
    }

    /// Issues the same as an opaque token.
    pub fn opaque_token(&self, claims: &Value) -> String {
        let mut state = self.state();
        let said = Value::Object(tokens::presented_claims(&state, claims));
        let token = state.secret();
        state.opaque_tokens.insert(token.clone(), said);
        token
    }

    /// Deactivates an opaque token.
    pub fn forget_opaque_token(&self, token: &str) {
        self.state().opaque_tokens.remove(token);
    }

    /// Signs a webhook body as FusionAuth does, with these flaws.
    pub fn webhook_signature(&self, body: &str, flaws: &[Flaw]) -> String {
        tokens::webhook_signature(&self.state(), body, flaws)
    }

    /// Revokes every refresh token of this user, as an administrator would.
    pub fn end_grants_of(&self, sub: &str) {
        self.state().end_grants_of(sub);
    }

    /// The number of calls of an endpoint, including failed ones.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.visits(endpoint).len()
    }

    /// The calls of an endpoint, in order.
    pub fn visits(&self, endpoint: Endpoint) -> Vec<Visit> {
        self.state()
            .record
            .visits
            .iter()
            .filter(|visit| visit.endpoint == endpoint)
            .cloned()
            .collect()
    }

    /// The number of token requests with this grant type.
    pub fn grants(&self, grant_type: &str) -> usize {
        self.visits(Endpoint::Token)
            .iter()
            .filter(|visit| visit.parameter("grant_type") == Some(grant_type))
            .count()
    }

    /// The number of times that the login form was shown.
    pub fn forms_shown(&self) -> usize {
        self.state().record.forms_shown
    }

    /// The presented refresh tokens with their status at that time.
    pub fn presented(&self) -> Vec<PresentedToken> {
        self.state().record.presented.clone()
    }

    /// Asserts that no consumed or revoked refresh token was presented.
    pub fn assert_no_dead_refresh_token_was_sent(&self) {
        let presented = self.presented();
        let dead: Vec<&PresentedToken> = presented
            .iter()
            .filter(|one| one.status != TokenStatus::Live)
            .collect();
        assert!(
            dead.is_empty(),
            "refresh tokens sent although dead: {dead:?}"
        );
    }

    /// The tokens revoked through the revocation endpoint.
    pub fn revoked(&self) -> Vec<String> {
        self.state().record.revoked.clone()
    }

    /// Whether the grant of this refresh token is still valid.
    pub fn is_live(&self, refresh_token: &str) -> bool {
        self.state().status(refresh_token) == TokenStatus::Live
    }

    /// All issued JWTs, opaque tokens, refresh tokens and codes, as canaries for backend and logs.
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
