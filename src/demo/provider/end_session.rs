//! The end session endpoint (OpenID Connect RP-Initiated Logout 1.0). An ID token names the session
//! to end. Without one the user has to confirm, which prevents logout CSRF.

use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::core::Provider;
use super::error::InternalError;
use super::event::Event;
use super::login::set_cookie;
use super::params::Params;
use super::tokens::ID_TOKEN;
use crate::demo::serve::{HttpRequest, HttpResponse, redirect};

impl Provider {
    pub(super) fn end_session(&self, request: &HttpRequest) -> Result<HttpResponse, InternalError> {
        let params = if request.method == Method::POST && request.is_form() {
            Params::read(&request.body)
        } else {
            Params::read(request.query.as_bytes())
        };
        let hint = match params
            .get("id_token_hint")
            .map(|token| self.key.verify(ID_TOKEN, token))
        {
            Some(None) => {
                return self
                    .refuse_logout("The ID token hint is not an ID token of this provider.");
            }
            Some(Some(claims)) => Some(claims),
            None => None,
        };
        let hint = hint.as_ref();
        let target = match self.logout_target(&params, hint) {
            Ok(target) => target,
            Err(why) => return self.refuse_logout(why),
        };
        let hinted = hint.and_then(|claims| claims.get("sid")?.as_str());
        // An expired ID token is accepted: it only identifies the session (section 2).
        if let Some(sid) = hinted {
            self.end(sid);
        }
        match self.current_sign_on(request, self.now()) {
            Some(session) if hinted != Some(&session.sid) => {
                let (token, cookie) = self.form_token(request)?;
                let action = format!("/end_session/confirm?{}", params.to_query());
                let user = self.username(&session.subject);
                let origin = target
                    .as_deref()
                    .and_then(|url| Some(Url::parse(url).ok()?.origin()));
                let origin = origin
                    .map(|origin| origin.ascii_serialization())
                    .unwrap_or_default();
                let mut response = self
                    .pages
                    .confirm_sign_out(&user, &action, &token, &origin)?;
                set_cookie(&mut response, cookie);
                Ok(response)
            }
            Some(_) | None => self.signed_out(target),
        }
    }

    /// `POST /end_session/confirm`: the user confirmed.
    pub(super) fn confirm_end_session(
        &self,
        request: &HttpRequest,
    ) -> Result<HttpResponse, InternalError> {
        let params = Params::read(request.query.as_bytes());
        let hint = params
            .get("id_token_hint")
            .and_then(|token| self.key.verify(ID_TOKEN, token));
        let target = match self.logout_target(&params, hint.as_ref()) {
            Ok(target) => target,
            Err(why) => return self.refuse_logout(why),
        };
        if !request.is_form() || !self.is_own_form(request, &Params::read(&request.body)) {
            return self.refuse_logout("This form was shown in another browser, or has expired.");
        }
        if let Some(session) = self.current_sign_on(request, self.now()) {
            self.end(&session.sid);
        }
        self.signed_out(target)
    }

    fn end(&self, sid: &str) {
        let ended = self.state().end_session(sid);
        if let Some(subject) = ended {
            self.emit(Event::SignedOut {
                user: self.username(&subject),
            });
        }
    }

    /// The post-logout redirect URI with `state`. It must be registered by the client that the hint
    /// or `client_id` names.
    fn logout_target(
        &self,
        params: &Params,
        hint: Option<&Value>,
    ) -> Result<Option<String>, &'static str> {
        if params.repeats() {
            return Err("A parameter of the request is repeated.");
        }
        let audience = hint.and_then(|claims| claims.get("aud")?.as_str());
        let id = match (params.get("client_id"), audience) {
            (Some(named), Some(audience)) if named != audience => {
                return Err("The ID token hint belongs to another client.");
            }
            (named, audience) => named.or(audience),
        };
        let Some(wanted) = params.get("post_logout_redirect_uri") else {
            return Ok(None);
        };
        let client = id
            .and_then(|id| self.client(id))
            .ok_or("The request does not name a registered client.")?;
        if !client
            .post_logout_redirect_uris
            .iter()
            .any(|uri| uri == wanted)
        {
            return Err("The post-logout redirect URI is not registered.");
        }
        let Some(state) = params.get("state") else {
            return Ok(Some(wanted.to_owned()));
        };
        let mut url =
            Url::parse(wanted).map_err(|_| "The post-logout redirect URI is not a URL.")?;
        url.query_pairs_mut().append_pair("state", state);
        Ok(Some(url.into()))
    }

    fn signed_out(&self, target: Option<String>) -> Result<HttpResponse, InternalError> {
        let mut response = match target {
            Some(url) => redirect(StatusCode::SEE_OTHER, &url),
            None => self.pages.signed_out()?,
        };
        self.forget_sign_on(&mut response);
        Ok(response)
    }

    fn refuse_logout(&self, why: &str) -> Result<HttpResponse, InternalError> {
        self.pages.problem(StatusCode::BAD_REQUEST, why)
    }
}
