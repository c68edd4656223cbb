//! The authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2): who asks, may
//! they, and is the person signed on already. What cannot be trusted with a redirect gets a page instead.

use http::{Method, StatusCode};
use url::Url;

use super::keys::random_word;
use super::params::Params;
use super::settings::{Client, User};
use super::state::{CodeRequest, SignOn};
use super::tokens::ID_TOKEN;
use super::{Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked, redirect};
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;

/// An authorization request that is in order.
pub(super) struct Request<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    scope: Vec<String>,
    nonce: Option<String>,
    challenge: String,
    prompt: Prompt,
    max_age: Option<u64>,
    /// The person that an ID token hint names; nobody else's session will do.
    expected: Option<Subject>,
    pub(super) login_hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prompt {
    IfNeeded,
    Never,
    Always,
}

/// Why a request is refused, and who is told.
pub(super) enum Refusal {
    /// The person, on a page: nothing vouches for the redirect URI.
    Page(&'static str),
    /// The client, at its redirect URI (RFC 6749 section 4.1.2.1).
    Client {
        redirect_uri: String,
        state: Option<String>,
        error: &'static str,
        description: &'static str,
    },
}

impl Provider {
    pub(super) fn authorize(&self, asked: &Asked) -> Result<Answer, Failure> {
        let params = if asked.method == Method::POST && asked.is_form() {
            Params::read(&asked.body)
        } else {
            Params::read(asked.query.as_bytes())
        };
        let request = match self.read_request(&params) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(refusal),
        };
        let now = self.now();
        match (self.reusable_sign_on(asked, &request, now), request.prompt) {
            (Some(session), _) => {
                let user = self.username(&session.subject);
                self.tell(Event::SignOnReused {
                    user,
                    client: request.client.name.clone(),
                });
                self.send_code(StatusCode::FOUND, request, &session, now)
            }
            (None, Prompt::Never) => self.refuse(Refusal::Client {
                redirect_uri: request.redirect_uri,
                state: request.state,
                error: "login_required",
                description: "nobody is signed on",
            }),
            (None, Prompt::IfNeeded | Prompt::Always) => {
                self.tell(Event::FormShown {
                    client: request.client.name.clone(),
                });
                self.show_form(asked, &request, &params, None)
            }
        }
    }

    fn reusable_sign_on(
        &self,
        asked: &Asked,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Option<SignOn> {
        let session = self.current_sign_on(asked, now)?;
        let age = now.since(session.auth_time).as_secs();
        let fresh = request.max_age.is_none_or(|max_age| age <= max_age);
        let expected = request
            .expected
            .as_ref()
            .is_none_or(|subject| *subject == session.subject);
        (fresh && expected && request.prompt != Prompt::Always).then_some(session)
    }

    /// Reads and checks an authorization request.
    pub(super) fn read_request(&self, params: &Params) -> Result<Request<'_>, Refusal> {
        if params.repeats_any(&["client_id", "redirect_uri", "state"]) {
            return Err(Refusal::Page(
                "The request names its client, its return address or its state twice.",
            ));
        }
        let client = params.get("client_id").and_then(|id| self.client(id));
        let client = client.ok_or(Refusal::Page(
            "The request comes from a client that is not registered here.",
        ))?;
        let redirect_uri = params.get("redirect_uri").unwrap_or_default().to_owned();
        if !client.redirect_uris.contains(&redirect_uri) {
            return Err(Refusal::Page(
                "The request wants an answer at an address that is not registered.",
            ));
        }
        let state = params.get("state").map(str::to_owned);
        check(params).map_err(|(error, description)| Refusal::Client {
            redirect_uri: redirect_uri.clone(),
            state: state.clone(),
            error,
            description,
        })?;
        let hint = params
            .get("id_token_hint")
            .map(|token| self.key.verify(ID_TOKEN, token));
        let expected = match hint.map(|claims| Some(Subject::new(claims?.get("sub")?.as_str()?))) {
            Some(None) => {
                let (error, description) = (
                    "invalid_request",
                    "id_token_hint is no ID token of this provider",
                );
                return Err(Refusal::Client {
                    redirect_uri,
                    state,
                    error,
                    description,
                });
            }
            Some(Some(subject)) => Some(subject),
            None => None,
        };
        let prompts = params.words("prompt");
        let asked_for = |word: &str| prompts.iter().any(|prompt| prompt == word);
        Ok(Request {
            client,
            redirect_uri,
            state,
            scope: params.words("scope"),
            nonce: params.get("nonce").map(str::to_owned),
            challenge: params.get("code_challenge").unwrap_or_default().to_owned(),
            prompt: match () {
                () if asked_for("none") => Prompt::Never,
                () if asked_for("login") || asked_for("select_account") => Prompt::Always,
                () => Prompt::IfNeeded,
            },
            max_age: params.get("max_age").and_then(|age| age.parse().ok()),
            expected,
            login_hint: params.get("login_hint").map(str::to_owned),
        })
    }

    /// Sends the person back to the client with a code.
    pub(super) fn send_code(
        &self,
        status: StatusCode,
        request: Request<'_>,
        session: &SignOn,
        now: Timestamp,
    ) -> Result<Answer, Failure> {
        let code = random_word()?;
        let Request {
            client,
            redirect_uri,
            state,
            scope,
            nonce,
            challenge,
            ..
        } = request;
        let user = self.user(&session.subject);
        let location = self.answer_url(&redirect_uri, state.as_deref(), &[("code", &code)], user);
        let (client, sid) = (client.id.clone(), session.sid.clone());
        self.state().issue_code(
            code,
            CodeRequest {
                client,
                redirect_uri,
                challenge,
                nonce,
                scope,
                sid,
            },
            now,
        );
        Ok(redirect(status, &location))
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Result<Answer, Failure> {
        match refusal {
            Refusal::Page(why) => self.pages.problem(StatusCode::BAD_REQUEST, why),
            Refusal::Client {
                redirect_uri,
                state,
                error,
                description,
            } => {
                let answer = [("error", error), ("error_description", description)];
                let location = self.answer_url(&redirect_uri, state.as_deref(), &answer, None);
                Ok(redirect(StatusCode::SEE_OTHER, &location))
            }
        }
    }

    /// The redirect URI with an answer, the state that was sent, and our name (RFC 9207) or what a dialect has instead.
    fn answer_url(
        &self,
        redirect_uri: &str,
        state: Option<&str>,
        answer: &[(&str, &str)],
        user: Option<&User>,
    ) -> String {
        let Ok(mut url) = Url::parse(redirect_uri) else {
            return redirect_uri.to_owned();
        };
        url.query_pairs_mut()
            .extend_pairs(answer)
            .extend_pairs(state.map(|state| ("state", state)))
            .extend_pairs(self.answer_extras(user));
        url.into()
    }
}

/// The checks whose outcome the client may be told.
fn check(params: &Params) -> Result<(), (&'static str, &'static str)> {
    if params.repeats() {
        return Err(("invalid_request", "a parameter is there twice"));
    }
    if params.get("request").is_some() {
        return Err(("request_not_supported", "request objects are not supported"));
    }
    if params.get("request_uri").is_some() {
        return Err((
            "request_uri_not_supported",
            "request objects are not supported",
        ));
    }
    if params.get("registration").is_some() {
        return Err((
            "registration_not_supported",
            "clients are registered by hand",
        ));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "response_type must be code")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    if params
        .get("response_mode")
        .is_some_and(|mode| mode != "query")
    {
        return Err(("invalid_request", "response_mode must be query"));
    }
    if !params.words("scope").iter().any(|word| word == "openid") {
        return Err(("invalid_scope", "scope must contain openid"));
    }
    // RFC 7636 section 4.4.1; a challenge without a method would mean `plain`.
    if params.get("code_challenge_method") != Some("S256")
        || !params.get("code_challenge").is_some_and(is_challenge)
    {
        return Err(("invalid_request", "PKCE with the method S256 is required"));
    }
    let prompts = params.words("prompt");
    if prompts.len() > 1 && prompts.iter().any(|prompt| prompt == "none") {
        return Err(("invalid_request", "prompt=none goes with nothing else"));
    }
    if prompts
        .iter()
        .any(|prompt| !["none", "login", "select_account", "consent"].contains(&prompt.as_str()))
    {
        return Err(("invalid_request", "prompt is not known"));
    }
    if params
        .get("max_age")
        .is_some_and(|age| age.parse::<u64>().is_err())
    {
        return Err(("invalid_request", "max_age must be a number of seconds"));
    }
    Ok(())
}

/// Whether this is base64url of 256 bits.
fn is_challenge(text: &str) -> bool {
    text.len() == 43
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
