//! The login form and the session it starts. The form's token is bound to a cookie, so that no other
//! site can sign a browser on as somebody else.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::authorize::Request;
use super::keys::{random_word, sha256};
use super::params::Params;
use super::settings::User;
use super::state::SignOn;
use super::{Counters, Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

const SIGN_ON_COOKIE: &str = "provider_session";
const FORM_COOKIE: &str = "provider_form";

/// The same for an unknown name and a wrong password.
const WRONG: &str = "The user name or the password is not right.";
const STALE: &str = "This form was not for this browser, or is too old. Please try again.";

impl Provider {
    pub(super) fn show_form(
        &self,
        asked: &Asked,
        request: &Request<'_>,
        params: &Params,
        problem: Option<(StatusCode, &str)>,
    ) -> Result<Answer, Failure> {
        Counters::count(&self.counters.forms);
        let (token, cookie) = self.form_token(asked)?;
        let action = format!("/login?{}", params.to_query());
        let (status, problem) = problem.map_or((StatusCode::OK, None), |(status, text)| {
            (status, Some(text))
        });
        let hint = request.login_hint.as_deref().unwrap_or_default();
        // Browsers hold the redirect after a form to `form-action` too.
        let target =
            Url::parse(&request.redirect_uri).map(|url| url.origin().ascii_serialization());
        let target = target.unwrap_or_default();
        let mut answer = self.pages.login(
            status,
            &request.client.name,
            &action,
            &token,
            hint,
            problem,
            &target,
        )?;
        set_cookie(&mut answer, cookie);
        Ok(answer)
    }

    /// `POST /login`: the form, with the authorization request still in the query.
    pub(super) fn sign_in(&self, asked: &Asked) -> Result<Answer, Failure> {
        let params = Params::read(asked.query.as_bytes());
        let request = match self.read_request(&params) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(refusal),
        };
        let form = Params::read(&asked.body);
        if !asked.is_form() || !self.is_own_form(asked, &form) {
            return self.show_form(
                asked,
                &request,
                &params,
                Some((StatusCode::FORBIDDEN, STALE)),
            );
        }
        let (username, password) = (
            form.get("username").unwrap_or_default(),
            form.get("password").unwrap_or_default(),
        );
        let Some(user) = self.check_password(username, password) else {
            self.tell(Event::SignInRefused {
                client: request.client.name.clone(),
            });
            return self.show_form(
                asked,
                &request,
                &params,
                Some((StatusCode::UNPROCESSABLE_ENTITY, WRONG)),
            );
        };
        let now = self.now();
        let current = self.current_sign_on(asked, now);
        let words = [self.new_id()?, random_word()?];
        let lifetime = self.settings.sign_on_lifetime;
        let (session, cookie) =
            self.state()
                .start_sign_on(current.as_ref(), &user.subject, words, now, lifetime);
        self.tell(Event::SignedIn {
            user: user.username.clone(),
            client: request.client.name.clone(),
        });
        // 303, so that no browser can send the password on (RFC 9700 section 4.12).
        let mut answer = self.send_code(StatusCode::SEE_OTHER, request, &session, now)?;
        set_cookie(&mut answer, self.cookie(SIGN_ON_COOKIE, &cookie));
        Ok(answer)
    }

    /// The person with this name and password; takes the same time whoever is asked for.
    pub(super) fn check_password(&self, username: &str, password: &str) -> Option<&User> {
        let given = sha256(password.as_bytes());
        let mut found = None;
        for user in &self.settings.users {
            let right = same_bytes(&sha256(user.password.expose().as_bytes()), &given);
            if right & same_bytes(user.username.as_bytes(), username.as_bytes()) {
                found = Some(user);
            }
        }
        found
    }

    /// The session of the browser that asks.
    pub(super) fn current_sign_on(&self, asked: &Asked, now: Timestamp) -> Option<SignOn> {
        self.state().sign_on(asked.cookie(SIGN_ON_COOKIE)?, now)
    }

    /// Takes the session's cookie out of the browser.
    pub(super) fn forget_sign_on(&self, answer: &mut Answer) {
        set_cookie(answer, self.cookie(SIGN_ON_COOKIE, "; Max-Age=0"));
    }

    /// A token for a form, and the cookie it belongs to where the browser has none yet.
    pub(super) fn form_token(
        &self,
        asked: &Asked,
    ) -> Result<(String, Option<HeaderValue>), Failure> {
        if let Some(value) = asked.cookie(FORM_COOKIE) {
            return Ok((self.mac(value), None));
        }
        let value = random_word()?;
        Ok((self.mac(&value), self.cookie(FORM_COOKIE, &value)))
    }

    /// Whether a form was shown in the browser that sends it.
    pub(super) fn is_own_form(&self, asked: &Asked, form: &Params) -> bool {
        match (asked.cookie(FORM_COOKIE), form.get("form_token")) {
            (Some(cookie), Some(token)) => {
                same_bytes(self.mac(cookie).as_bytes(), token.as_bytes())
            }
            (None | Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn mac(&self, value: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.form_key.as_bytes());
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, value.as_bytes()))
    }

    fn cookie(&self, name: &str, value: &str) -> Option<HeaderValue> {
        let secure = if self.settings.issuer.is_secure() {
            "; Secure"
        } else {
            ""
        };
        HeaderValue::from_str(&format!(
            "{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"
        ))
        .ok()
    }
}

pub(super) fn set_cookie(answer: &mut Answer, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
