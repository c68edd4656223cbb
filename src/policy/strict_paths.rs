//! Strict paths: requests of device-bound sessions that need a recent proof of the device.

use http::Method;

use super::path_pattern::PathPattern;
use super::request_info::RequestInfo;
use crate::types::target::PathAmbiguities;

/// The strict paths of one app.
#[derive(Clone, Debug, Default)]
pub struct StrictPaths {
    paths: Vec<StrictPath>,
    case_insensitive: bool,
}

/// Requests with this method, or any, and a path that matches.
#[derive(Clone, Debug)]
pub struct StrictPath {
    /// The method. `GET` includes `HEAD`. `None`: any.
    pub method: Option<Method>,
    /// The pattern.
    pub pattern: PathPattern,
}

impl StrictPaths {
    /// Requests that match one of `paths`.
    pub const fn new(paths: Vec<StrictPath>, case_insensitive: bool) -> Self {
        Self {
            paths,
            case_insensitive,
        }
    }

    /// Whether the request is strict. One with an ambiguous path is, because the backend may read it as
    /// any path.
    pub fn contain(&self, info: &RequestInfo) -> bool {
        let target = &info.target;
        let matches = |path: &StrictPath| {
            path.names(&info.method) && path.pattern.matches(target.path(), self.case_insensitive)
        };
        !self.paths.is_empty()
            && (target.ambiguities() != PathAmbiguities::NONE || self.paths.iter().any(matches))
    }
}

impl StrictPath {
    fn names(&self, method: &Method) -> bool {
        self.method.as_ref().is_none_or(|named| {
            named == method || (*named == Method::GET && *method == Method::HEAD)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::policy::client_address::TrustedProxies;

    fn is_strict(paths: &StrictPaths, method: &str, path: &str) -> bool {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "store.example.com").body(());
        let (parts, ()) = request.unwrap().into_parts();
        paths.contain(&RequestInfo::read(&parts, None, &TrustedProxies::default()).unwrap())
    }

    fn paths(case_insensitive: bool) -> StrictPaths {
        let path = |method, pattern| StrictPath {
            method,
            pattern: PathPattern::parse(pattern).unwrap(),
        };
        let paths = vec![
            path(Some(Method::POST), "/checkout"),
            path(Some(Method::GET), "/invoices/*"),
            path(None, "/account/**"),
        ];
        StrictPaths::new(paths, case_insensitive)
    }

    #[test]
    fn method_and_pattern_decide() {
        for (method, path, expected) in [
            ("POST", "/checkout", true),
            ("POST", "/checkout/", true),
            ("POST", "/checkout?step=2", true),
            ("GET", "/checkout", false),
            ("POST", "/checkout/done", false),
            ("GET", "/invoices/7", true),
            ("HEAD", "/invoices/7", true),
            ("DELETE", "/invoices/7", false),
            ("GET", "/account", true),
            ("PATCH", "/account/a/b", true),
            ("GET", "/cart", false),
            ("POST", "/CHECKOUT", false),
        ] {
            assert_eq!(
                is_strict(&paths(false), method, path),
                expected,
                "{method} {path}"
            );
        }
        assert!(is_strict(&paths(true), "POST", "/CHECKOUT"));
        assert!(!is_strict(&StrictPaths::default(), "POST", "/a//checkout"));
    }

    #[test]
    fn no_spelling_avoids_it() {
        for path in [
            "/%63heckout",
            "//checkout",
            "/a/..;/checkout",
            "/checkout;x=1",
            "/x%2Fcheckout",
            "/checkout.",
            "/checkout%20",
            "/%2563heckout",
            "/checkout::$DATA",
        ] {
            let request = Request::builder().method("POST").uri(path);
            let request = request.header("host", "store.example.com").body(());
            let (parts, ()) = request.unwrap().into_parts();
            let info = RequestInfo::read(&parts, None, &TrustedProxies::default());
            // A refused request reaches no app.
            assert!(
                info.is_err() || paths(false).contain(&info.unwrap()),
                "{path}"
            );
        }
    }
}
