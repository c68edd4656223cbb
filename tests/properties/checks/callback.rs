//! Callback query: accepted parameters are valid and safe to show.

use doorward::oidc::callback::{Callback, Outcome};
use doorward::oidc::{ClientAuth, ClientSettings};
use doorward::types::oauth::{ClientId, Issuer};
use url::Url;

const ISSUER: &str = "https://login.example.com";

/// Panics if `query` is parsed as a response that it is not.
pub(crate) fn check(query: &str) {
    let issuer = Issuer::new(ISSUER);
    let promised = Callback::parse(query, &issuer, true).is_ok();
    let Ok(callback) = Callback::parse(query, &issuer, false) else {
        assert!(!promised, "a promise of `iss` made an answer of {query:?}");
        return;
    };
    let all = |name: &str| -> Vec<String> {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    };
    assert_eq!(all("state"), [callback.state.expose()], "{query:?}");
    assert_eq!(promised, all("iss") == [ISSUER], "{query:?}");
    let redirect_uri = Url::parse("https://store.example.com/.doorward/callback").unwrap();
    let client = ClientSettings::new(ClientId::new("store"), ClientAuth::None, redirect_uri);
    let outcome = callback.outcome(&client);
    let outcome = outcome.unwrap_or_else(|error| panic!("{query:?}: {error}"));
    match outcome {
        Outcome::Code(code) => {
            assert_eq!(all("code"), [code.expose()], "{query:?}");
            assert!(all("error").is_empty(), "{query:?}");
        }
        Outcome::Refused(refused) => {
            assert!(all("code").is_empty(), "{query:?}");
            let shown = [refused.error, refused.description.unwrap_or_default()].concat();
            assert!(
                shown.chars().count() <= 380 && !shown.chars().any(char::is_control),
                "{shown:?}"
            );
        }
    }
}
