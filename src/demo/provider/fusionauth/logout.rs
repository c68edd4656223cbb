//! `/oauth2/logout`, which ends the provider session only, and the button that signs the user out
//! everywhere.

use http::StatusCode;
use url::Url;

use crate::demo::provider::core::Provider;
use crate::demo::provider::error::InternalError;
use crate::demo::provider::event::Event;
use crate::demo::provider::params::Params;
use crate::demo::provider::settings::FusionAuth;
use crate::demo::serve::{HttpRequest, HttpResponse, redirect};

impl Provider {
    /// Ends the browser's provider session. Its refresh tokens stay valid.
    pub(super) fn fusionauth_logout(&self, request: &HttpRequest) -> HttpResponse {
        let params = Params::read(if request.is_form() {
            &request.body
        } else {
            request.query.as_bytes()
        });
        let hinted = params.get("id_token_hint").and_then(|token| {
            let claims = self.key.verify("JWT", token)?;
            claims.get("aud")?.as_str().map(str::to_owned)
        });
        // The hint is used only without `client_id`.
        let id = params.get("client_id").map(str::to_owned).or(hinted);
        let client = id.and_then(|id| self.client(&id));
        let wanted = params.get("post_logout_redirect_uri");
        let registered = |uri: &&str| {
            client.is_some_and(|client| {
                client
                    .redirect_uris
                    .iter()
                    .chain(&client.post_logout_redirect_uris)
                    .any(|known| known == uri)
            })
        };
        let session = self.current_sign_on(request, self.now());
        if let Some(session) = session {
            self.state().end_sign_on(&session.sid);
            self.emit(Event::SignedOut {
                user: self.username(&session.subject),
            });
        }
        let mut response = redirect(
            StatusCode::FOUND,
            &target(wanted.filter(registered), params.get("state")),
        );
        self.forget_sign_on(&mut response);
        response
    }

    /// The button on the provider's page: ends all sessions and revokes all tokens of the user.
    pub(super) fn sign_out_everywhere(
        &self,
        fusionauth: &FusionAuth,
        request: &HttpRequest,
    ) -> Result<HttpResponse, InternalError> {
        if !request.is_form() || !self.is_own_form(request, &Params::read(&request.body)) {
            return self.pages.problem(
                StatusCode::BAD_REQUEST,
                "This form was shown in another browser, or has expired.",
            );
        }
        if let Some(session) = self.current_sign_on(request, self.now()) {
            self.revoke_user(fusionauth, &session.subject)?;
        }
        let mut response = redirect(StatusCode::SEE_OTHER, "/");
        self.forget_sign_on(&mut response);
        Ok(response)
    }
}

fn target(registered: Option<&str>, state: Option<&str>) -> String {
    let Some(mut url) = registered.and_then(|uri| Url::parse(uri).ok()) else {
        return "/".to_owned();
    };
    if let Some(state) = state {
        url.query_pairs_mut().append_pair("state", state);
    }
    url.into()
}
