//! The authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2). A
//! request with an invalid client or redirect URI gets an error page instead of a redirect.

use http::{Method, StatusCode};
use url::Url;

use super::core::Provider;
use super::error::InternalError;
use super::event::Event;
use super::keys::random_token;
use super::params::Params;
use super::settings::{Client, User};
use super::state::{CodeRequest, SignOn};
use super::tokens::ID_TOKEN;
use crate::demo::serve::{HttpRequest, HttpResponse, redirect};
use crate::types::oauth::Subject;
use crate::types::time::Timestamp;

/// A valid authorization request.
pub(super) struct AuthorizationRequest<'a> {
    pub(super) client: &'a Client,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    scope: Vec<String>,
    nonce: Option<String>,
    challenge: String,
    prompt: Prompt,
    max_age: Option<u64>,
    /// The user that `id_token_hint` names: no other user's session is used.
    expected: Option<Subject>,
    pub(super) login_hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prompt {
    IfNeeded,
    Never,
    Always,
}

/// An authorization error, by its recipient.
pub(super) enum Refusal {
    /// Shown to the user: the redirect URI is not verified.
    Page(&'static str),
    /// Sent to the client's redirect URI (RFC 6749 section 4.1.2.1).
    Client {
        redirect_uri: String,
        state: Option<String>,
        error: &'static str,
        description: &'static str,
    },
}

impl Provider {
    pub(super) fn authorize(&self, request: &HttpRequest) -> Result<HttpResponse, InternalError> {
        let params = if request.method == Method::POST && request.is_form() {
            Params::read(&request.body)
        } else {
            Params::read(request.query.as_bytes())
        };
        let authorization = match self.read_authorization(&params) {
            Ok(authorization) => authorization,
            Err(refusal) => return self.refuse(refusal),
        };
        let now = self.now();
        match (
            self.reusable_sign_on(request, &authorization, now),
            authorization.prompt,
        ) {
            (Some(session), _) => {
                let user = self.username(&session.subject);
                self.emit(Event::SignOnReused {
                    user,
                    client: authorization.client.name.clone(),
                });
                self.send_code(StatusCode::FOUND, authorization, &session, now)
            }
            (None, Prompt::Never) => self.refuse(Refusal::Client {
                redirect_uri: authorization.redirect_uri,
                state: authorization.state,
                error: "login_required",
                description: "no user is signed in",
            }),
            (None, Prompt::IfNeeded | Prompt::Always) => {
                self.emit(Event::FormShown {
                    client: authorization.client.name.clone(),
                });
                self.show_form(request, &authorization, &params, None)
            }
        }
    }

    fn reusable_sign_on(
        &self,
        request: &HttpRequest,
        authorization: &AuthorizationRequest<'_>,
        now: Timestamp,
    ) -> Option<SignOn> {
        let session = self.current_sign_on(request, now)?;
        let age = now.since(session.auth_time).as_secs();
        let fresh = authorization.max_age.is_none_or(|max_age| age <= max_age);
        let expected = authorization
            .expected
            .as_ref()
            .is_none_or(|subject| *subject == session.subject);
        (fresh && expected && authorization.prompt != Prompt::Always).then_some(session)
    }

    /// Reads and checks an authorization request.
    pub(super) fn read_authorization(
        &self,
        params: &Params,
    ) -> Result<AuthorizationRequest<'_>, Refusal> {
        if params.repeats_any(&["client_id", "redirect_uri", "state"]) {
            return Err(Refusal::Page(
                "The client id, redirect URI or state of the request is repeated.",
            ));
        }
        let client = params.get("client_id").and_then(|id| self.client(id));
        let client = client.ok_or(Refusal::Page(
            "The client of the request is not registered.",
        ))?;
        let redirect_uri = params.get("redirect_uri").unwrap_or_default().to_owned();
        if !client.redirect_uris.contains(&redirect_uri) {
            return Err(Refusal::Page("The redirect URI is not registered."));
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
                    "id_token_hint is not an ID token of this provider",
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
        let prompts = params.list("prompt");
        let asked_for = |item: &str| prompts.iter().any(|prompt| prompt == item);
        Ok(AuthorizationRequest {
            client,
            redirect_uri,
            state,
            scope: params.list("scope"),
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

    /// Redirects the user to the client with a code.
    pub(super) fn send_code(
        &self,
        status: StatusCode,
        authorization: AuthorizationRequest<'_>,
        session: &SignOn,
        now: Timestamp,
    ) -> Result<HttpResponse, InternalError> {
        let code = random_token()?;
        let AuthorizationRequest {
            client,
            redirect_uri,
            state,
            scope,
            nonce,
            challenge,
            ..
        } = authorization;
        let user = self.user(&session.subject);
        let location = self.redirect_url(&redirect_uri, state.as_deref(), &[("code", &code)], user);
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

    pub(super) fn refuse(&self, refusal: Refusal) -> Result<HttpResponse, InternalError> {
        match refusal {
            Refusal::Page(why) => self.pages.problem(StatusCode::BAD_REQUEST, why),
            Refusal::Client {
                redirect_uri,
                state,
                error,
                description,
            } => {
                let response = [("error", error), ("error_description", description)];
                let location = self.redirect_url(&redirect_uri, state.as_deref(), &response, None);
                Ok(redirect(StatusCode::SEE_OTHER, &location))
            }
        }
    }

    /// The redirect URI with the response parameters, `state`, and `iss` (RFC 9207) or FusionAuth's
    /// parameters.
    fn redirect_url(
        &self,
        redirect_uri: &str,
        state: Option<&str>,
        response: &[(&str, &str)],
        user: Option<&User>,
    ) -> String {
        let Ok(mut url) = Url::parse(redirect_uri) else {
            return redirect_uri.to_owned();
        };
        url.query_pairs_mut()
            .extend_pairs(response)
            .extend_pairs(state.map(|state| ("state", state)))
            .extend_pairs(self.redirect_extras(user));
        url.into()
    }
}

/// The checks whose errors are sent to the client.
fn check(params: &Params) -> Result<(), (&'static str, &'static str)> {
    if params.repeats() {
        return Err(("invalid_request", "a parameter is repeated"));
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
            "client registration is not supported",
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
    if !params.list("scope").iter().any(|item| item == "openid") {
        return Err(("invalid_scope", "scope must contain openid"));
    }
    // RFC 7636 section 4.3: without a method, the challenge would be `plain`.
    if params.get("code_challenge_method") != Some("S256")
        || !params.get("code_challenge").is_some_and(is_challenge)
    {
        return Err(("invalid_request", "PKCE with the method S256 is required"));
    }
    let prompts = params.list("prompt");
    if prompts.len() > 1 && prompts.iter().any(|prompt| prompt == "none") {
        return Err(("invalid_request", "prompt=none excludes other values"));
    }
    if prompts
        .iter()
        .any(|prompt| !["none", "login", "select_account", "consent"].contains(&prompt.as_str()))
    {
        return Err(("invalid_request", "unknown prompt value"));
    }
    if params
        .get("max_age")
        .is_some_and(|age| age.parse::<u64>().is_err())
    {
        return Err(("invalid_request", "max_age must be a number of seconds"));
    }
    Ok(())
}

/// Whether `text` is 256 bits in base64url.
fn is_challenge(text: &str) -> bool {
    text.len() == 43
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
