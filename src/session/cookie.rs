//! Cookies (RFC 6265bis): names, the parser of `Cookie` headers, and the `Set-Cookie` headers that
//! set and expire them. A long value is split into a limited number of chunks. Name prefixes, seals and
//! the rule that two different values count as none are the protection against cookie tossing.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderValue;

use crate::types::net::Origin;
use crate::types::public_url::BasePath;

/// Maximum length of a cookie's value, in bytes: with name and attributes it stays below the 4096
/// bytes that browsers accept.
pub const MAX_VALUE: usize = 3800;

/// Maximum number of chunks of a value.
pub const MAX_CHUNKS: usize = 3;

/// Maximum size of all of Doorward's cookies for one app in a request, in bytes, with names and
/// separators. A header line of nginx is at most 8 KiB.
pub const MAX_ALL: usize = 7 * 1024;

/// The names of Doorward's cookies for one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    /// The sealed JWT.
    pub jwt: String,
    /// The sealed refresh token.
    pub refresh: String,
    /// The time of the last activity.
    pub activity: String,
    /// The browser binding.
    pub browser: String,
    /// The proof that the browser possesses the key of its session.
    pub device: String,
    /// The network of a request with a proof of another one, for the renewal of the proof.
    pub device_network: String,
    /// The prefix of a login attempt's name; its ID follows.
    pub login: String,
    /// The ID token hint for logout.
    pub hint: String,
    /// The login loop count.
    pub login_loop: String,
    /// The last logged-in user.
    pub user: String,
    /// The provider of the last login, by its name. Not sealed: it only orders a list.
    pub provider: String,
    /// The upstream address that serves the browser.
    pub upstream: String,
    /// At a login host: the apps that the browser is signed in at.
    pub signed_in: String,
    /// The path of those that the whole app gets.
    pub path: String,
    /// The names of the other apps at the host, up to the separator that follows.
    pub others: Vec<String>,
    stem: String,
    secure: bool,
}

impl CookieNames {
    /// Names that begin with `stem`. Over https they have the prefixes that bind them to the host
    /// (RFC 6265bis section 4.1.3); plain http cannot. Nor can an app below a path: `__Host-` demands
    /// the path `/`.
    pub fn new(stem: &str, origin: &Origin, base: &BasePath) -> Self {
        let secure = origin.is_secure();
        let path = if secure { "__Secure-" } else { "" };
        let host = if secure && base.is_root() {
            "__Host-"
        } else {
            path
        };
        Self {
            jwt: format!("{host}{stem}_jwt"),
            refresh: format!("{host}{stem}_refresh"),
            activity: format!("{host}{stem}_activity"),
            browser: format!("{host}{stem}_browser"),
            device: format!("{host}{stem}_device"),
            device_network: format!("{path}{stem}_device_network"),
            login: format!("{path}{stem}_login_"),
            hint: format!("{path}{stem}_id_token_hint"),
            login_loop: format!("{host}{stem}_login_loop"),
            user: format!("{host}{stem}_last_user"),
            provider: format!("{host}{stem}_provider"),
            upstream: format!("{host}{stem}_upstream"),
            signed_in: format!("{path}{stem}_signed_in"),
            path: base.cookie_path().to_owned(),
            others: Vec::new(),
            stem: stem.to_owned(),
            secure,
        }
    }

    /// The beginnings of the names of Doorward's cookies for all apps at the host, with and without the
    /// `__Host-` and `__Secure-` prefixes. Such cookies are removed from requests to the app and from
    /// its responses.
    pub fn beginnings(&self) -> Vec<String> {
        let own = format!("{}_", self.stem);
        let stems = std::iter::once(own.as_str()).chain(self.others.iter().map(String::as_str));
        let prefixes = ["", "__Host-", "__Secure-"];
        let named = stems.flat_map(|stem| prefixes.map(|prefix| format!("{prefix}{stem}")));
        named.collect()
    }

    /// The beginning that the names have in common.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// The `Set-Cookie` value for a cookie at `path`. Without `max_age` it is a browser session
    /// cookie.
    pub fn set(
        &self,
        name: &str,
        value: &str,
        path: &str,
        max_age: Option<Duration>,
    ) -> Option<HeaderValue> {
        let age = max_age.map_or_else(String::new, |age| format!("; Max-Age={}", age.as_secs()));
        let attributes = self.attributes(path);
        HeaderValue::try_from(format!("{name}={value}{age}; {attributes}")).ok()
    }

    /// The attributes of a cookie at `path`, without its lifetime.
    pub fn attributes(&self, path: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("Path={path}{secure}; HttpOnly; SameSite=Lax")
    }

    /// The `Set-Cookie` value that deletes a cookie. Name, path and attributes must be the same, or
    /// the browser keeps it.
    pub fn expire(&self, name: &str, path: &str) -> Option<HeaderValue> {
        self.set(name, "", path, Some(Duration::ZERO))
    }
}

/// Whether a name is reserved for Doorward's cookies with this `stem`. Case is ignored, because
/// browsers ignore it in the prefixes.
pub fn is_named_after(stem: &str, name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let unprefixed = ["__host-", "__secure-"]
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))
        .unwrap_or(&lower);
    unprefixed
        .strip_prefix(stem)
        .is_some_and(|rest| rest.starts_with('_'))
}

/// The name of chunk `index` of a cookie; the first chunk has the cookie's name.
pub fn chunk_name(name: &str, index: usize) -> String {
    if index == 0 {
        name.to_owned()
    } else {
        format!("{name}.{index}")
    }
}

/// Splits a value into the chunks of a cookie. A value that does not fit into one is preceded by
/// the number of chunks and a dot. `None` if it needs more than [`MAX_CHUNKS`].
pub fn chunks(value: &str) -> Option<Vec<String>> {
    if value.len() <= MAX_VALUE {
        return Some(vec![value.to_owned()]);
    }
    let count = (value.len() + 2).div_ceil(MAX_VALUE);
    if count > MAX_CHUNKS || !value.is_ascii() {
        return None;
    }
    let marked = format!("{count}.{value}");
    Some(
        marked
            .as_bytes()
            .chunks(MAX_VALUE)
            .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
            .collect(),
    )
}

/// The parts of a `Cookie` header between its semicolons, without surrounding ASCII whitespace.
/// Uses `memchr`, because Doorward's cookies are some KiB of every request.
pub fn pairs(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(field.as_bytes());
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        let Some((pair, after)) =
            memchr::memchr(b';', bytes).and_then(|at| bytes.split_at_checked(at))
        else {
            return Some(bytes.trim_ascii());
        };
        rest = after.get(1..);
        Some(pair.trim_ascii())
    })
}

/// The cookies of a request, parsed once.
#[derive(Debug)]
pub struct RequestCookies<'r> {
    pairs: Vec<Cookie<'r>>,
}

/// A cookie. Its value may be no text, because browsers send an app's own cookies as they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cookie<'r> {
    name: &'r str,
    value: &'r [u8],
}

impl<'r> Cookie<'r> {
    fn parse(pair: &'r [u8]) -> Option<Self> {
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        Some(Self {
            name: std::str::from_utf8(name).ok()?,
            value: value.get(1..)?,
        })
    }

    fn text(self) -> Option<&'r str> {
        std::str::from_utf8(self.value).ok()
    }
}

/// Maximum number of cookies that are parsed; more are ignored.
const MAX_COOKIES: usize = 256;

/// The usual number of cookies.
const USUAL_COOKIES: usize = 8;

/// Maximum number of different values of one name that are tried.
const MAX_VALUES: usize = 16;

impl<'r> RequestCookies<'r> {
    /// Parses the `Cookie` headers. A pair that is not `name=value` is skipped. Only ASCII whitespace
    /// is trimmed: to browsers, a name that begins with other whitespace is a different name, without
    /// the protection of a `__Host-` prefix.
    pub fn read(fields: impl IntoIterator<Item = &'r HeaderValue>) -> Self {
        let mut parsed = Vec::new();
        for pair in fields.into_iter().flat_map(pairs) {
            let Some(cookie) = Cookie::parse(pair) else {
                continue;
            };
            if parsed.len() == MAX_COOKIES {
                break;
            }
            if parsed.is_empty() {
                parsed.reserve(USUAL_COOKIES);
            }
            parsed.push(cookie);
        }
        Self { pairs: parsed }
    }

    /// No cookies.
    pub const fn none() -> Self {
        Self { pairs: Vec::new() }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = Cookie<'r>> {
        let pairs = self.pairs.iter().copied();
        pairs.filter(move |cookie| cookie.name == name)
    }

    /// The value of a cookie. Two different values of one name count as none, against cookie
    /// tossing. A value that is not UTF-8 counts as no cookie.
    pub fn get(&self, name: &str) -> Option<&'r str> {
        only(self.values(name))
    }

    /// The different values of a cookie that are UTF-8. Where another host or path can plant cookies,
    /// only their content tells which one is Doorward's.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'r str> {
        let values = self.different_values(name);
        values.filter_map(|value| std::str::from_utf8(value).ok())
    }

    fn different_values(&self, name: &str) -> impl Iterator<Item = &'r [u8]> {
        let pairs = self.pairs.iter().enumerate();
        let named = pairs.filter(move |(_, cookie)| cookie.name == name);
        let different =
            named.filter(|(at, cookie)| !self.pairs.iter().take(*at).any(|other| other == *cookie));
        different.map(|(_, cookie)| cookie.value).take(MAX_VALUES)
    }

    /// The only value of a cookie, which need not be UTF-8.
    pub fn get_bytes(&self, name: &str) -> Option<&'r [u8]> {
        only(self.different_values(name))
    }

    /// Whether there is a cookie of this name, also if it has several values.
    pub fn has(&self, name: &str) -> bool {
        self.named(name).any(|cookie| cookie.text().is_some())
    }

    /// The cookies whose names start with `prefix`, in the order of the request.
    pub fn beginning_with(
        &self,
        prefix: &str,
    ) -> impl DoubleEndedIterator<Item = (&'r str, &'r str)> {
        let pairs = self.pairs.iter();
        pairs
            .filter(move |cookie| cookie.name.starts_with(prefix))
            .filter_map(|cookie| Some((cookie.name, cookie.text()?)))
    }

    /// The content of a sealed cookie that may be chunked. `open` reads a value; those that it does not
    /// read are ignored, and two that it reads count as none, against cookie tossing.
    pub fn open<T>(&self, name: &str, open: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let mut open = open;
        self.open_bytes(name, |value| open(std::str::from_utf8(value).ok()?))
    }

    /// As [`Self::open`], except that `open` may get a value that is not UTF-8.
    pub fn open_bytes<T>(&self, name: &str, open: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let mut open = open;
        let values = self
            .different_values(name)
            .flat_map(|first| self.whole_values(name, first));
        only(values.filter_map(|value| open(&value)))
    }

    /// The value of a cookie that may be chunked. See [`Self::get`].
    pub fn get_chunked(&self, name: &str) -> Option<Cow<'r, str>> {
        let values = self
            .different_values(name)
            .flat_map(|first| self.whole_values(name, first));
        only(values.filter_map(text))
    }

    /// The values whose first chunk is `first`: one, unless there are several chunks of one name. A
    /// value in one chunk is borrowed.
    fn whole_values(&self, name: &str, first: &'r [u8]) -> impl Iterator<Item = Cow<'r, [u8]>> {
        let dot = memchr::memchr(b'.', first);
        let single = dot.is_none().then_some(Cow::Borrowed(first));
        let chunked = dot.and_then(|dot| {
            let (count, start) = first.split_at_checked(dot)?;
            let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
            let start = start.strip_prefix(b".")?;
            (2..=MAX_CHUNKS).contains(&count).then(|| {
                let mut values = vec![start.to_owned()];
                for chunk in (1..count).map(|index| chunk_name(name, index)) {
                    let longer = values.iter().flat_map(|value| {
                        let chunks = self.different_values(&chunk);
                        chunks.map(move |chunk| [value, chunk].concat())
                    });
                    values = longer.take(MAX_VALUES).collect();
                }
                values
            })
        });
        let chunked = chunked.into_iter().flatten().map(Cow::Owned);
        single.into_iter().chain(chunked)
    }
}

/// The value as text. `None` if it is not UTF-8.
fn text(value: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match value {
        Cow::Borrowed(value) => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        Cow::Owned(value) => String::from_utf8(value).ok().map(Cow::Owned),
    }
}

/// The only element. `None` if there are two.
fn only<T>(elements: impl Iterator<Item = T>) -> Option<T> {
    let mut elements = elements;
    let first = elements.next()?;
    elements.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests;
