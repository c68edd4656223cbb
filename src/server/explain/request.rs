//! Presumed requests: what `doorward explain` and `doorward test` ask about.

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde_json::{Map, Value};

/// A request as it would arrive over HTTP/1.1.
#[derive(Clone, Debug)]
pub struct PresumedRequest {
    /// The head. Its target is a path and a query.
    pub parts: Parts,
    /// Whether the URL is `https`.
    pub is_https: bool,
    /// The address of the peer. `None` is a peer on a Unix domain socket.
    pub peer: Option<IpAddr>,
    /// The presumed caller.
    pub caller: PresumedCaller,
}

/// The presumed caller of a request. Its credential is taken as valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresumedCaller {
    /// No credential.
    Anonymous,
    /// A user with a session with these claims.
    Session(Map<String, Value>),
    /// A client with an access token with these claims.
    Token(Map<String, Value>),
}

/// Why there is no such request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresumedRequestError {
    /// The method is not a token.
    #[error("`{0}` is not a method")]
    Method(String),
    /// Not an `http` or `https` URL.
    #[error("`{0}` is not a URL such as `https://store.example.com/cart`")]
    Url(String),
    /// A header field is not valid.
    #[error("`{0}` is not a header field such as `Accept: text/html`")]
    Header(String),
}

impl PresumedRequest {
    /// An anonymous request with this method, URL and no header field but `Host`.
    ///
    /// # Errors
    /// [`PresumedRequestError`].
    pub fn new(method: &str, url: &str) -> Result<Self, PresumedRequestError> {
        let invalid = || PresumedRequestError::Url(url.to_owned());
        let (is_https, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(invalid());
        };
        // The path stays as it is: an attacker's client would not normalize it either.
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("/{target}")
        };
        let host = HeaderValue::from_str(authority).map_err(|_| invalid())?;
        if authority.is_empty() {
            return Err(invalid());
        }
        let target = PathAndQuery::try_from(target).map_err(|_| invalid())?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| PresumedRequestError::Method(method.to_owned()))?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = method;
        parts.uri = Uri::from(target);
        parts.headers.insert(HOST, host);
        Ok(Self {
            parts,
            is_https,
            peer: None,
            caller: PresumedCaller::Anonymous,
        })
    }

    /// Adds a header field. `Host` replaces that of the URL.
    ///
    /// # Errors
    /// [`PresumedRequestError::Header`].
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<(), PresumedRequestError> {
        let invalid = || PresumedRequestError::Header(format!("{name}: {value}"));
        let field = HeaderName::try_from(name.trim()).map_err(|_| invalid())?;
        let content = HeaderValue::from_str(value.trim()).map_err(|_| invalid())?;
        let headers: &mut HeaderMap = &mut self.parts.headers;
        if field == HOST {
            headers.insert(field, content);
        } else {
            headers.append(field, content);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_as_it_is_written() {
        let parts = |url: &str| {
            let request = PresumedRequest::new("GET", url).unwrap();
            let host = request.parts.headers[HOST].to_str().unwrap().to_owned();
            format!("{host} {}", request.parts.uri)
        };
        for (url, expected) in [
            ("https://a.test", "a.test /"),
            ("https://a.test?b=c", "a.test /?b=c"),
            ("http://A.test:8080/x/../y#z", "A.test:8080 /x/../y"),
            ("https://a.test/%2e%2e//;x?y=/", "a.test /%2e%2e//;x?y=/"),
        ] {
            assert_eq!(parts(url), expected);
        }
        for url in [
            "a.test/x",
            "ftp://a.test/",
            "https:///x",
            "https://a.test/a b",
        ] {
            assert!(PresumedRequest::new("GET", url).is_err(), "{url}");
        }
        assert!(PresumedRequest::new("G T", "https://a.test/").is_err());
    }
}
