//! `/oauth2/logout`, which ends the session at the provider and nothing else; and the page's own way to end all.

use http::StatusCode;
use url::Url;

use super::FusionAuth;
use crate::demo::provider::params::Params;
use crate::demo::provider::{Event, Failure, Provider};
use crate::demo::serve::{Answer, Asked, redirect};

impl Provider {
    /// The browser's session at the provider ends, its refresh tokens live on.
    pub(super) fn fusionauth_logout(&self, asked: &Asked) -> Answer {
        let params = Params::read(if asked.is_form() {
            &asked.body
        } else {
            asked.query.as_bytes()
        });
        let hinted = params.get("id_token_hint").and_then(|token| {
            let claims = self.key.verify("JWT", token)?;
            claims.get("aud")?.as_str().map(str::to_owned)
        });
        // The hint counts without `client_id` only.
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
        let session = self.current_sign_on(asked, self.now());
        if let Some(session) = session {
            self.state().end_sign_on(&session.sid);
            self.tell(Event::SignedOut {
                user: self.username(&session.subject),
            });
        }
        let mut answer = redirect(
            StatusCode::FOUND,
            &target(wanted.filter(registered), params.get("state")),
        );
        self.forget_sign_on(&mut answer);
        answer
    }

    /// The button on the provider's own page: everything that the person has anywhere ends.
    pub(super) fn sign_out_everywhere(
        &self,
        own: &FusionAuth,
        asked: &Asked,
    ) -> Result<Answer, Failure> {
        if !asked.is_form() || !self.is_own_form(asked, &Params::read(&asked.body)) {
            return self.pages.problem(
                StatusCode::BAD_REQUEST,
                "This form was not for this browser, or is too old.",
            );
        }
        if let Some(session) = self.current_sign_on(asked, self.now()) {
            self.revoke_person(own, &session.subject)?;
        }
        let mut answer = redirect(StatusCode::SEE_OTHER, "/");
        self.forget_sign_on(&mut answer);
        Ok(answer)
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
