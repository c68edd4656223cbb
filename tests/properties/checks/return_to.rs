//! Return targets: an accepted target stays on the app's origin and is not an endpoint, by the URL
//! Standard's parser, which browsers use for `Location`.

use doorward::identity::return_to::{MAX_RETURN_TO, ReturnTo};
use doorward::types::app_paths::AppPaths;
use doorward::types::public_url::BasePath;
use doorward::types::target::Target;
use http::HeaderValue;
use url::Url;

const PREFIX: &str = "/.doorward";
const ORIGIN: &str = "https://store.example.com";

/// Panics if `text` is accepted and does not lead to a page of the app: one that has its origin, one
/// that has an origin without a path, and one that has only that path.
pub(crate) fn check(text: &str) {
    let base = |text: &str| BasePath::parse(text).unwrap_or_else(|| panic!("{text}"));
    check_at(text, &AppPaths::new(base(""), PREFIX));
    let without_shop = AppPaths {
        nested: vec![base("/shop")],
        ..AppPaths::new(base(""), PREFIX)
    };
    check_at(text, &without_shop);
    check_at(text, &AppPaths::new(base("/shop"), PREFIX));
    check_at(
        &format!("/shop{text}"),
        &AppPaths::new(base("/shop"), PREFIX),
    );
}

fn check_at(text: &str, paths: &AppPaths) {
    let Some(to) = ReturnTo::parse(text, paths) else {
        return;
    };
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        assert_eq!(to.as_str(), text, "the target must be unchanged");
    }
    assert_eq!(
        ReturnTo::parse(to.as_str(), paths).as_ref(),
        Some(&to),
        "{text:?} is accepted in one form only"
    );
    let text = to.as_str();
    assert!(
        text.len() < MAX_RETURN_TO && HeaderValue::from_str(text).is_ok(),
        "{text:?} cannot be a Location"
    );
    let AppPaths { endpoints, .. } = paths;
    let callback = Url::parse(&format!("{ORIGIN}{endpoints}/callback?code=c&state=s"));
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
        let mut rest = target.path().strip_prefix(endpoints.as_str()).into_iter();
        assert!(
            !rest.any(|rest| rest.is_empty() || rest.starts_with('/')),
            "{text:?} is an endpoint of Doorward: {url}"
        );
        let is_at = |base: &BasePath| {
            let mut url = target.path().split('/').skip(1);
            let mut segments = base.as_str().split('/').skip(1);
            segments.all(|segment| url.next() == Some(segment))
        };
        assert!(
            is_at(&paths.base) && !paths.nested.iter().any(is_at),
            "{text:?} belongs to another app: {url}"
        );
    }
}
