//! Public URLs: header fields of a response in which the backend of a route names itself get the
//! URLs that clients know. Other hosts, other paths and bodies stay as they are.

use std::net::IpAddr;

use http::header::{CONTENT_LOCATION, LINK, LOCATION, REFRESH, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::path_routes::PathRoute;

/// The names of a backend and of its route.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicUrls<'a> {
    /// The authorities that the backend may take for its own: its address, and the `Host` field
    /// that it gets.
    pub(super) own: [&'a str; 2],
    /// The scheme of the app's public URL.
    pub(super) scheme: &'a str,
    /// Its host and port.
    pub(super) authority: &'a str,
    /// The route.
    pub(super) route: &'a PathRoute,
}

impl PublicUrls<'_> {
    /// Rewrites the fields of a response.
    pub(super) fn rewrite(&self, headers: &mut HeaderMap) {
        self.rewrite_field(headers, &LOCATION, |value| self.url(value));
        self.rewrite_field(headers, &CONTENT_LOCATION, |value| self.url(value));
        self.rewrite_field(headers, &REFRESH, |value| self.refresh(value));
        self.rewrite_field(headers, &LINK, |value| self.links(value));
        self.rewrite_field(headers, &SET_COOKIE, |value| self.cookie(value));
    }

    fn rewrite_field(
        &self,
        headers: &mut HeaderMap,
        name: &HeaderName,
        rewrite: impl Fn(&str) -> Option<String>,
    ) {
        let http::header::Entry::Occupied(mut field) = headers.entry(name) else {
            return;
        };
        for value in field.iter_mut() {
            let rewritten = std::str::from_utf8(value.as_bytes())
                .ok()
                .and_then(&rewrite);
            if let Some(rewritten) = rewritten.and_then(|text| HeaderValue::try_from(text).ok()) {
                *value = rewritten;
            }
        }
    }

    /// The public form of a URL reference. `None`: it stays as it is.
    fn url(&self, reference: &str) -> Option<String> {
        // Browsers remove tabs and line ends before they parse.
        if reference.bytes().any(|byte| byte.is_ascii_control()) {
            return None;
        }
        // Path, query and fragment may contain another URL.
        let is_scheme = |scheme: &str| !scheme.contains(['/', '?', '#', '\\']);
        let absolute = reference.split_once("://");
        let (scheme, after_scheme) = match absolute.filter(|(scheme, _)| is_scheme(scheme)) {
            Some((scheme, rest)) => (scheme, Some(rest)),
            None => ("", reference.strip_prefix("//")),
        };
        let Some(after_scheme) = after_scheme else {
            return self.path_reference(reference);
        };
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "http" => ":80",
            "https" => ":443",
            "" => "",
            _ => return None,
        };
        let end = after_scheme.find(['/', '\\', '?', '#']);
        let (authority, rest) = after_scheme.split_at(end.unwrap_or(after_scheme.len()));
        let is_own = |own: &str| {
            own.eq_ignore_ascii_case(authority)
                || authority
                    .strip_suffix(default_port)
                    .is_some_and(|bare| own.eq_ignore_ascii_case(bare))
        };
        if !self.own.iter().any(|own| is_own(own)) && !is_own(self.authority) {
            return None;
        }
        let path = if rest.starts_with('/') {
            self.path_reference(rest)?
        } else {
            self.path_reference(&format!("/{rest}"))?
        };
        Some(format!("{}://{}{path}", self.scheme, self.authority))
    }

    /// The public form of an absolute path with query and fragment.
    fn path_reference(&self, reference: &str) -> Option<String> {
        let end = reference.find(['?', '#']).unwrap_or(reference.len());
        let (path, rest) = reference.split_at(end);
        Some(format!("{}{rest}", self.path(path)?))
    }

    /// The public form of an absolute path. A path that begins with the public prefix is one already:
    /// the app knows its prefix.
    fn path(&self, path: &str) -> Option<String> {
        if !is_absolute_path(path) {
            return None;
        }
        let PathRoute {
            strip_prefix: public,
            add_prefix: own,
            endpoints,
            ..
        } = self.route;
        if !endpoints.is_empty() && endpoints.rest(path).is_some() {
            return Some(path.to_owned());
        }
        let is_public = !public.is_empty() && public.rest(path).is_some();
        if is_public && (public.as_str().len() > own.as_str().len() || own.rest(path).is_none()) {
            return Some(path.to_owned());
        }
        let rewritten = format!("{}{}", public.as_str(), own.rest(path)?);
        if rewritten.is_empty() {
            return Some("/".to_owned());
        }
        is_absolute_path(&rewritten).then_some(rewritten)
    }

    /// `5; url=/path`, as browsers read it.
    fn refresh(&self, value: &str) -> Option<String> {
        let is_blank = |char: char| char.is_ascii_whitespace();
        let (_, after) = value.split_at_checked(value.find([';', ','])? + 1)?;
        let mut rest = after.trim_start_matches(is_blank);
        if let Some((name, named)) = rest.split_once('=')
            && name.trim_end_matches(is_blank).eq_ignore_ascii_case("url")
        {
            rest = named.trim_start_matches(is_blank);
        }
        let quote = rest
            .chars()
            .next()
            .filter(|char| matches!(char, '"' | '\''));
        let url = match quote {
            Some(quote) => {
                rest = rest.strip_prefix(quote)?;
                rest.split(quote).next()?
            }
            None => rest.trim_end_matches(is_blank),
        };
        let before = value.strip_suffix(rest)?;
        let after = rest.strip_prefix(url)?;
        Some(format!("{before}{}{after}", self.url(url)?))
    }

    /// `</path>; rel=preload, <https://host/>; title="<no link>"`
    fn links(&self, value: &str) -> Option<String> {
        let mut rewritten = String::with_capacity(value.len() + 32);
        let mut rest = value;
        let mut is_quoted = false;
        while let Some(at) = rest.find(['"', '\\', '<']) {
            let (before, from) = rest.split_at(at);
            rewritten.push_str(before);
            let (length, link) = match from.chars().next() {
                Some('"') => {
                    is_quoted = !is_quoted;
                    (1, None)
                }
                // Within quotes, the next character is literal.
                Some('\\') if is_quoted => {
                    let next = from.chars().nth(1);
                    (1 + next.map_or(0, char::len_utf8), None)
                }
                Some('<') if !is_quoted => {
                    let end = from.find('>')?;
                    let link = self.url(from.get(1..end)?);
                    let length = if link.is_some() { end } else { 1 };
                    (length, link)
                }
                Some(_) | None => (1, None),
            };
            let (kept, after) = from.split_at_checked(length)?;
            match link {
                Some(link) => {
                    rewritten.push('<');
                    rewritten.push_str(&link);
                }
                None => rewritten.push_str(kept),
            }
            rest = after;
        }
        rewritten.push_str(rest);
        Some(rewritten)
    }

    /// `Path` and `Domain` of a `Set-Cookie` field. Browsers require `/` of a `__Host-` cookie.
    fn cookie(&self, value: &str) -> Option<String> {
        let name = value.trim_start().get(..7);
        if name.is_some_and(|name| name.eq_ignore_ascii_case("__Host-")) {
            return None;
        }
        let mut parts = value.split(';');
        let mut rewritten = parts.next()?.to_owned();
        for part in parts {
            rewritten.push(';');
            let Some((name, value)) = part.split_once('=') else {
                rewritten.push_str(part);
                continue;
            };
            let public = if name.trim().eq_ignore_ascii_case("path") {
                self.cookie_path(value.trim())
            } else if name.trim().eq_ignore_ascii_case("domain") {
                self.cookie_domain(value.trim())
            } else {
                None
            };
            match public {
                Some(public) => rewritten.push_str(&format!("{name}={public}")),
                None => rewritten.push_str(part),
            }
        }
        Some(rewritten)
    }

    /// A cookie for the whole backend, or for all below its prefix, is one for all below the route's.
    fn cookie_path(&self, path: &str) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        let own = self.route.add_prefix.as_str();
        let parent = path.strip_suffix('/').unwrap_or(path);
        let is_root = path == "/"
            || parent == own
            || own
                .strip_prefix(parent)
                .is_some_and(|rest| rest.starts_with('/'));
        if !is_root {
            return self.path(path);
        }
        let public = self.route.strip_prefix.as_str();
        Some(if public.is_empty() { "/" } else { public }.to_owned())
    }

    fn cookie_domain(&self, domain: &str) -> Option<String> {
        let domain = domain.strip_prefix('.').unwrap_or(domain);
        let mut own = self.own.iter().map(|authority| host_of(authority));
        let own = own.find(|host| host.eq_ignore_ascii_case(domain))?;
        // An address has no hosts below it: without a value, the cookie stays with one host.
        let is_address = own.parse::<IpAddr>().is_ok() || !own.contains('.');
        let public = if is_address {
            ""
        } else {
            host_of(self.authority)
        };
        Some(public.to_owned())
    }
}

/// Whether a reference is a path, which browsers do not read as a host.
fn is_absolute_path(reference: &str) -> bool {
    reference.starts_with('/') && !reference.starts_with("//") && !reference.starts_with("/\\")
}

/// The host of an authority without user information.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::path_routes::{PathPrefix, RoutePath};

    /// A route from the public `/shop` to the backend's `own`.
    fn route(public: &str, own: &str) -> PathRoute {
        let prefix = |text: &str| match text {
            "" => PathPrefix::default(),
            text => PathPrefix::parse(text).unwrap(),
        };
        PathRoute {
            strip_prefix: prefix(public),
            endpoints: prefix("/.doorward"),
            add_prefix: prefix(own),
            ..PathRoute::new(RoutePath::parse("/shop/**").unwrap())
        }
    }

    fn rewritten(route: &PathRoute, name: &HeaderName, value: &str) -> String {
        let urls = PublicUrls {
            own: ["app.internal:3000", "store.test"],
            scheme: "https",
            authority: "store.test",
            route,
        };
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(value).unwrap();
        headers.append(name, HeaderValue::from_static("/first"));
        headers.append(name, value);
        urls.rewrite(&mut headers);
        let last = headers.get_all(name).iter().next_back().unwrap();
        String::from_utf8(last.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn own_urls_are_rewritten_and_others_are_not() {
        let stripping = route("/shop", "");
        let replacing = route("/shop", "/app");
        let adding = route("", "/app");
        let same = route("", "");
        for (route, url, expected) in [
            (&stripping, "/", "/shop/"),
            (&stripping, "/login?next=/x#a", "/shop/login?next=/x#a"),
            (&stripping, "/caf\u{e9}", "/shop/caf\u{e9}"),
            (&stripping, "/shop", "/shop"),
            (&stripping, "/shop/x", "/shop/x"),
            (&stripping, "/.doorward/logout", "/.doorward/logout"),
            (
                &replacing,
                "http://store.test/.doorward/logout",
                "https://store.test/.doorward/logout",
            ),
            (
                &stripping,
                "/login?next=https://store.test/x",
                "/shop/login?next=https://store.test/x",
            ),
            (&stripping, "/#://x", "/shop/#://x"),
            (
                &stripping,
                "//app.internal:3000/x?u=http://y",
                "https://store.test/shop/x?u=http://y",
            ),
            (&stripping, "/shopping", "/shop/shopping"),
            (&stripping, "login", "login"),
            (&stripping, "?page=2", "?page=2"),
            (
                &stripping,
                "http://app.internal:3000/x",
                "https://store.test/shop/x",
            ),
            (
                &stripping,
                "HTTP://APP.internal:3000",
                "https://store.test/shop/",
            ),
            (
                &stripping,
                "http://app.internal:3000?x",
                "https://store.test/shop/?x",
            ),
            (
                &stripping,
                "//app.internal:3000/x",
                "https://store.test/shop/x",
            ),
            (
                &stripping,
                "http://store.test/x",
                "https://store.test/shop/x",
            ),
            (
                &stripping,
                "https://store.test:443/x",
                "https://store.test/shop/x",
            ),
            (
                &stripping,
                "https://store.test/shop/x",
                "https://store.test/shop/x",
            ),
            (
                &stripping,
                "https://store.test:8443/x",
                "https://store.test:8443/x",
            ),
            (&stripping, "http://app.internal/x", "http://app.internal/x"),
            (
                &stripping,
                "http://a@app.internal:3000/x",
                "http://a@app.internal:3000/x",
            ),
            (
                &stripping,
                "http://app.internal:3000.evil/x",
                "http://app.internal:3000.evil/x",
            ),
            (
                &stripping,
                "https://evil.test/?u=://store.test/",
                "https://evil.test/?u=://store.test/",
            ),
            (
                &stripping,
                "ftp://app.internal:3000/x",
                "ftp://app.internal:3000/x",
            ),
            (&stripping, "//evil.test/x", "//evil.test/x"),
            (&stripping, "/\\evil.test", "/\\evil.test"),
            (&stripping, "/\t/evil.test", "/\t/evil.test"),
            (
                &stripping,
                "http://app.internal:3000//evil.test",
                "http://app.internal:3000//evil.test",
            ),
            (&replacing, "/app", "/shop"),
            (&replacing, "/app/x", "/shop/x"),
            (&replacing, "/other", "/other"),
            (&replacing, "/apple", "/apple"),
            (
                &replacing,
                "http://app.internal:3000/other",
                "http://app.internal:3000/other",
            ),
            (&adding, "/app/x", "/x"),
            (&adding, "/app", "/"),
            // Without the prefix it would name a host.
            (&adding, "/app//evil.test", "/app//evil.test"),
            (&adding, "/app/\\evil.test", "/app/\\evil.test"),
            (&same, "/x", "/x"),
            (&same, "http://app.internal:3000/x", "https://store.test/x"),
        ] {
            for name in [LOCATION, CONTENT_LOCATION] {
                assert_eq!(rewritten(route, &name, url), expected, "{url}");
            }
        }
    }

    #[test]
    fn refresh_and_links_keep_their_form() {
        let route = route("/shop", "");
        for (value, expected) in [
            ("5", "5"),
            ("5; url=/x", "5; url=/shop/x"),
            ("0;URL = '/x' ", "0;URL = '/shop/x' "),
            ("0, \"/x\"; more", "0, \"/shop/x\"; more"),
            ("0;/x?url=/y", "0;/shop/x?url=/y"),
            ("0; url=https://evil.test/", "0; url=https://evil.test/"),
        ] {
            assert_eq!(rewritten(&route, &REFRESH, value), expected);
        }
        for (value, expected) in [
            ("</a.css>; rel=preload", "</shop/a.css>; rel=preload"),
            (
                "<https://cdn.test/a>; title=\"</b>, \\\"<c>\", </d>; rel=next",
                "<https://cdn.test/a>; title=\"</b>, \\\"<c>\", </shop/d>; rel=next",
            ),
            (
                "<b>; rel=next, <http://app.internal:3000/c>",
                "<b>; rel=next, <https://store.test/shop/c>",
            ),
            ("</broken", "</broken"),
        ] {
            assert_eq!(rewritten(&route, &LINK, value), expected);
        }
    }

    #[test]
    fn cookies_get_the_public_path_and_domain() {
        let stripping = route("/shop", "");
        let replacing = route("/shop", "/app");
        let adding = route("", "/app");
        for (route, value, expected) in [
            (
                &stripping,
                "a=/x; Path=/; Secure",
                "a=/x; Path=/shop; Secure",
            ),
            (
                &stripping,
                "a=b;path=/x ;HttpOnly",
                "a=b;path=/shop/x;HttpOnly",
            ),
            (&stripping, "a=b; Path=/shop/x", "a=b; Path=/shop/x"),
            (&stripping, "a=b; Path=; Path=x", "a=b; Path=; Path=x"),
            (&stripping, "a=b", "a=b"),
            (&stripping, "__Host-a=b; Path=/", "__Host-a=b; Path=/"),
            (&stripping, "__host-a=b; Path=/", "__host-a=b; Path=/"),
            (
                &stripping,
                "a=b; Domain=app.internal",
                "a=b; Domain=store.test",
            ),
            (
                &stripping,
                "a=b; domain=.APP.internal",
                "a=b; domain=store.test",
            ),
            (&stripping, "a=b; Domain=internal", "a=b; Domain=internal"),
            (&stripping, "a=b; Domain=evil.test", "a=b; Domain=evil.test"),
            (&replacing, "a=b; Path=/", "a=b; Path=/shop"),
            (&replacing, "a=b; Path=/app/", "a=b; Path=/shop"),
            (&replacing, "a=b; Path=/app/x/", "a=b; Path=/shop/x/"),
            (&replacing, "a=b; Path=/other", "a=b; Path=/other"),
            (&adding, "a=b; Path=/app", "a=b; Path=/"),
        ] {
            assert_eq!(rewritten(route, &SET_COOKIE, value), expected);
        }
    }
}
