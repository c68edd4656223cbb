//! The login form and the provider session that it starts. The form token is bound to a cookie,
//! which prevents login CSRF.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode, header};
use url::Url;

use super::authorize::AuthorizationRequest;
use super::core::{Counters, Provider};
use super::error::InternalError;
use super::event::Event;
use super::keys::{random_token, sha256};
use super::params::Params;
use super::settings::User;
use super::state::SignOn;
use crate::demo::serve::{HttpRequest, HttpResponse};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

const SIGN_ON_COOKIE: &str = "provider_session";
const FORM_COOKIE: &str = "provider_form";

/// Shown for an unknown name and for a wrong password, which must look the same.
const WRONG: &str = "Wrong user name or password.";
const STALE: &str = "This form was shown in another browser, or has expired. Please try again.";

impl Provider {
    /// `/`: shows which user is signed in.
    pub(super) fn welcome(&self, request: &HttpRequest) -> Result<HttpResponse, InternalError> {
        let session = self.current_sign_on(request, self.now());
        let user = session.and_then(|session| self.user(&session.subject));
        let (token, cookie) = self.form_token(request)?;
        let mut response = self.pages.welcome(&self.settings, user, &token)?;
        set_cookie(&mut response, cookie);
        Ok(response)
    }

    pub(super) fn show_form(
        &self,
        request: &HttpRequest,
        authorization: &AuthorizationRequest<'_>,
        params: &Params,
        problem: Option<(StatusCode, &str)>,
    ) -> Result<HttpResponse, InternalError> {
        Counters::count(&self.counters.forms);
        let (token, cookie) = self.form_token(request)?;
        let action = format!("/login?{}", params.to_query());
        let (status, problem) = problem.map_or((StatusCode::OK, None), |(status, text)| {
            (status, Some(text))
        });
        let hint = authorization.login_hint.as_deref().unwrap_or_default();
        // Browsers apply `form-action` to the redirect that follows the form too.
        let target =
            Url::parse(&authorization.redirect_uri).map(|url| url.origin().ascii_serialization());
        let target = target.unwrap_or_default();
        let mut response = self.pages.login(
            status,
            &authorization.client.name,
            &action,
            &token,
            hint,
            problem,
            &target,
        )?;
        set_cookie(&mut response, cookie);
        Ok(response)
    }

    /// `POST /login`: the submitted form. The query contains the authorization request.
    pub(super) fn sign_in(&self, request: &HttpRequest) -> Result<HttpResponse, InternalError> {
        let params = Params::read(request.query.as_bytes());
        let authorization = match self.read_authorization(&params) {
            Ok(authorization) => authorization,
            Err(refusal) => return self.refuse(refusal),
        };
        let form = Params::read(&request.body);
        if !request.is_form() || !self.is_own_form(request, &form) {
            return self.show_form(
                request,
                &authorization,
                &params,
                Some((StatusCode::FORBIDDEN, STALE)),
            );
        }
        let (username, password) = (
            form.get("username").unwrap_or_default(),
            form.get("password").unwrap_or_default(),
        );
        let Some(user) = self.check_password(username, password) else {
            self.emit(Event::SignInRefused {
                client: authorization.client.name.clone(),
            });
            return self.show_form(
                request,
                &authorization,
                &params,
                Some((StatusCode::UNPROCESSABLE_ENTITY, WRONG)),
            );
        };
        let now = self.now();
        let current = self.current_sign_on(request, now);
        let list = [self.new_id()?, random_token()?];
        let lifetime = self.settings.sign_on_lifetime;
        let (session, cookie) =
            self.state()
                .start_sign_on(current.as_ref(), &user.subject, list, now, lifetime);
        self.emit(Event::SignedIn {
            user: user.username.clone(),
            client: authorization.client.name.clone(),
        });
        // 303: the browser must not send the password to the client (RFC 9700 section 4.12).
        let mut response = self.send_code(StatusCode::SEE_OTHER, authorization, &session, now)?;
        set_cookie(&mut response, self.cookie(SIGN_ON_COOKIE, &cookie));
        Ok(response)
    }

    /// The user with this name and password. The comparison takes constant time for all users.
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

    /// The browser's provider session.
    pub(super) fn current_sign_on(&self, request: &HttpRequest, now: Timestamp) -> Option<SignOn> {
        self.state().sign_on(request.cookie(SIGN_ON_COOKIE)?, now)
    }

    /// Deletes the session cookie.
    pub(super) fn forget_sign_on(&self, response: &mut HttpResponse) {
        set_cookie(response, self.cookie(SIGN_ON_COOKIE, "; Max-Age=0"));
    }

    /// A form token, and the cookie that it is bound to, unless the browser has it already.
    pub(super) fn form_token(
        &self,
        request: &HttpRequest,
    ) -> Result<(String, Option<HeaderValue>), InternalError> {
        if let Some(value) = request.cookie(FORM_COOKIE) {
            return Ok((self.mac(value), None));
        }
        let value = random_token()?;
        Ok((self.mac(&value), self.cookie(FORM_COOKIE, &value)))
    }

    /// Whether the form was shown in the browser that submits it.
    pub(super) fn is_own_form(&self, request: &HttpRequest, form: &Params) -> bool {
        match (request.cookie(FORM_COOKIE), form.get("form_token")) {
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

pub(super) fn set_cookie(response: &mut HttpResponse, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
