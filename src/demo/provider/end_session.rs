//! RP-initiated logout 1.0. An ID token of ours names the session to end; without one the person is
//! asked first, so that no link can sign anybody out.

use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::login::set_cookie;
use super::params::Params;
use super::tokens::ID_TOKEN;
use super::{Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked, redirect};

impl Provider {
    pub(super) fn end_session(&self, asked: &Asked) -> Result<Answer, Failure> {
        let params = if asked.method == Method::POST && asked.is_form() {
            Params::read(&asked.body)
        } else {
            Params::read(asked.query.as_bytes())
        };
        let hint = match params
            .get("id_token_hint")
            .map(|token| self.key.verify(ID_TOKEN, token))
        {
            Some(None) => {
                return self.refuse_logout("The request has a hint that is no ID token of ours.");
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
        // An expired ID token will do: it only says which session is meant (section 2).
        if let Some(sid) = hinted {
            self.end(sid);
        }
        match self.current_sign_on(asked, self.now()) {
            Some(session) if hinted != Some(&session.sid) => {
                let (token, cookie) = self.form_token(asked)?;
                let action = format!("/end_session/confirm?{}", params.to_query());
                let user = self.username(&session.subject);
                let origin = target
                    .as_deref()
                    .and_then(|url| Some(Url::parse(url).ok()?.origin()));
                let origin = origin
                    .map(|origin| origin.ascii_serialization())
                    .unwrap_or_default();
                let mut answer = self
                    .pages
                    .confirm_sign_out(&user, &action, &token, &origin)?;
                set_cookie(&mut answer, cookie);
                Ok(answer)
            }
            Some(_) | None => self.signed_out(target),
        }
    }

    /// `POST /end_session/confirm`: the person said yes.
    pub(super) fn confirm_end_session(&self, asked: &Asked) -> Result<Answer, Failure> {
        let params = Params::read(asked.query.as_bytes());
        let hint = params
            .get("id_token_hint")
            .and_then(|token| self.key.verify(ID_TOKEN, token));
        let target = match self.logout_target(&params, hint.as_ref()) {
            Ok(target) => target,
            Err(why) => return self.refuse_logout(why),
        };
        if !asked.is_form() || !self.is_own_form(asked, &Params::read(&asked.body)) {
            return self.refuse_logout("This form was not for this browser, or is too old.");
        }
        if let Some(session) = self.current_sign_on(asked, self.now()) {
            self.end(&session.sid);
        }
        self.signed_out(target)
    }

    fn end(&self, sid: &str) {
        let ended = self.state().end_session(sid);
        if let Some(subject) = ended {
            self.tell(Event::SignedOut {
                user: self.username(&subject),
            });
        }
    }

    /// Where to land, with `state`: an address registered by the client that the hint or `client_id` names.
    fn logout_target(
        &self,
        params: &Params,
        hint: Option<&Value>,
    ) -> Result<Option<String>, &'static str> {
        if params.repeats() {
            return Err("The request says something twice.");
        }
        let audience = hint.and_then(|claims| claims.get("aud")?.as_str());
        let id = match (params.get("client_id"), audience) {
            (Some(named), Some(audience)) if named != audience => {
                return Err("The request names one client and brings the ID token of another.");
            }
            (named, audience) => named.or(audience),
        };
        let Some(wanted) = params.get("post_logout_redirect_uri") else {
            return Ok(None);
        };
        let client = id
            .and_then(|id| self.client(id))
            .ok_or("The request does not say which client it comes from.")?;
        if !client
            .post_logout_redirect_uris
            .iter()
            .any(|uri| uri == wanted)
        {
            return Err("The request wants to land at an address that is not registered.");
        }
        let Some(state) = params.get("state") else {
            return Ok(Some(wanted.to_owned()));
        };
        let mut url = Url::parse(wanted).map_err(|_| "The registered address is no URL.")?;
        url.query_pairs_mut().append_pair("state", state);
        Ok(Some(url.into()))
    }

    fn signed_out(&self, target: Option<String>) -> Result<Answer, Failure> {
        let mut answer = match target {
            Some(url) => redirect(StatusCode::SEE_OTHER, &url),
            None => self.pages.signed_out()?,
        };
        self.forget_sign_on(&mut answer);
        Ok(answer)
    }

    fn refuse_logout(&self, why: &str) -> Result<Answer, Failure> {
        self.pages.problem(StatusCode::BAD_REQUEST, why)
    }
}
