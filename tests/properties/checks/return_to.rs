//! Return targets: an accepted target stays on the app's origin and is not an endpoint, by the URL
//! Standard's parser, which browsers use for `Location`.

use doorward::identity::return_to::{MAX_RETURN_TO, ReturnTo};
use doorward::types::target::Target;
use http::HeaderValue;
use url::Url;

const PREFIX: &str = "/.doorward";
const ORIGIN: &str = "https://store.example.com";

/// Panics if `text` is accepted and does not lead to a page of the app.
pub(crate) fn check(text: &str) {
    let Some(to) = ReturnTo::parse(text, PREFIX) else {
        return;
    };
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        assert_eq!(to.as_str(), text, "the target must be unchanged");
    }
    assert_eq!(
        ReturnTo::parse(to.as_str(), PREFIX).as_ref(),
        Some(&to),
        "{text:?} is accepted in one form only"
    );
    let text = to.as_str();
    assert!(
        text.len() < MAX_RETURN_TO && HeaderValue::from_str(text).is_ok(),
        "{text:?} cannot be a Location"
    );
    let callback = Url::parse(&format!("{ORIGIN}{PREFIX}/callback?code=c&state=s"));
    let relative = callback.and_then(|callback| callback.join(text));
    for url in [relative, Url::parse(&format!("{ORIGIN}{to}"))] {
        let url = url.unwrap_or_else(|error| panic!("{text:?} is no URL to a browser: {error}"));
        assert_eq!(
            url.origin().ascii_serialization(),
            ORIGIN,
            "{text:?} leads to {url}"
        );
        assert!(
            url.username().is_empty() && url.password().is_none(),
            "{text:?} leads to {url}"
        );
        let target = Target::parse(url.path(), url.query());
        let target = target.unwrap_or_else(|error| {
            panic!("{text:?} is {url} to a browser, which is refused: {error}")
        });
        let mut rest = target.path().strip_prefix(PREFIX).into_iter();
        assert!(
            !rest.any(|rest| rest.is_empty() || rest.starts_with('/')),
            "{text:?} is an endpoint of Doorward: {url}"
        );
    }
}
