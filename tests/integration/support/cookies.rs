//! A cookie jar (RFC 6265bis): prefixes, host-only, SameSite, Secure, Max-Age.

use std::time::Duration;

use doorward::types::time::Timestamp;
use url::{Host, Url};

/// `SameSite`; a missing attribute counts as `Lax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

/// A stored cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub domain: String,
    /// No `Domain` attribute: sent to exactly this host.
    pub host_only: bool,
    pub path: String,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    /// `None`: a session cookie.
    pub expires: Option<Timestamp>,
}

/// The properties of a request that decide which cookies it carries and may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieContext {
    /// The request was not initiated by another site.
    pub same_site: bool,
    /// A top-level navigation.
    pub top_level: bool,
    /// GET, HEAD, OPTIONS or TRACE.
    pub safe_method: bool,
}

/// A browser's cookies, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Jar(Vec<Cookie>);

impl Jar {
    /// Stores one `Set-Cookie` value; the error says why a browser would reject it.
    pub fn take(
        &mut self,
        url: &Url,
        line: &str,
        now: Timestamp,
        situation: CookieContext,
    ) -> Result<(), &'static str> {
        let cookie = parse(url, line, now)?;
        if cookie.same_site != SameSite::None && !situation.same_site && !situation.top_level {
            return Err("a SameSite cookie on a cross-site answer that is no top-level navigation");
        }
        if url.scheme() != "https"
            && self
                .0
                .iter()
                .any(|old| old.secure && old.name == cookie.name && related(old, &cookie))
        {
            return Err("would overlay a Secure cookie from an insecure origin");
        }
        let known = self.0.iter().position(|old| {
            old.name == cookie.name
                && old.domain == cookie.domain
                && old.path == cookie.path
                && old.host_only == cookie.host_only
        });
        let dead = cookie.expires.is_some_and(|end| end <= now);
        match (known, dead) {
            (Some(at), true) => drop(self.0.remove(at)),
            (Some(at), false) => self.0[at] = cookie,
            (None, true) => {}
            (None, false) => self.0.push(cookie),
        }
        Ok(())
    }

    /// The `Cookie` header for a request, if any: longer paths first, then older cookies.
    pub fn header(&self, url: &Url, now: Timestamp, situation: CookieContext) -> Option<String> {
        let mut sent: Vec<&Cookie> = self
            .0
            .iter()
            .filter(|cookie| goes_to(cookie, url, now, situation))
            .collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = sent
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        if pairs.is_empty() {
            None
        } else {
            Some(pairs.join("; "))
        }
    }

    /// The cookie of this name that this host can read: its own or a parent domain's.
    pub fn get(&self, host: &str, name: &str) -> Option<&Cookie> {
        self.0
            .iter()
            .find(|cookie| cookie.name == name && covers(cookie, host))
    }

    /// All cookies that requests to this host may carry.
    pub fn of(&self, host: &str) -> Vec<&Cookie> {
        self.0
            .iter()
            .filter(|cookie| covers(cookie, host))
            .collect()
    }

    /// Changes the value of a cookie, which must exist.
    pub fn tamper(&mut self, host: &str, name: &str, change: impl FnOnce(&str) -> String) {
        let found = self
            .0
            .iter_mut()
            .find(|cookie| cookie.name == name && covers(cookie, host));
        let cookie = found.unwrap_or_else(|| panic!("no cookie {name} for {host}"));
        cookie.value = change(&cookie.value);
    }

    /// Inserts a cookie without checks, as an attacker or a sibling host could.
    pub fn plant(&mut self, cookie: Cookie) {
        self.0.push(cookie);
    }

    /// Removes the cookies of this host for which `which` holds.
    pub fn remove(&mut self, host: &str, which: impl Fn(&Cookie) -> bool) {
        self.0
            .retain(|cookie| !(covers(cookie, host) && which(cookie)));
    }

    /// Removes session cookies, as closing the browser does.
    pub fn remove_session_cookies(&mut self) {
        self.0.retain(|cookie| cookie.expires.is_some());
    }
}

impl Cookie {
    /// A host-only session cookie for every path of `host`.
    pub fn host_only(host: &str, name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: host.to_owned(),
            host_only: true,
            path: "/".to_owned(),
            secure: false,
            http_only: true,
            same_site: SameSite::Lax,
            expires: None,
        }
    }
}

/// Whether two URLs are same-site: equal scheme and registrable domain (here the last two labels).
pub fn same_site(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && site(one) == site(other)
}

fn site(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.host() {
        Some(Host::Domain(name)) => {
            let labels: Vec<&str> = name.rsplit('.').take(2).collect();
            labels.join(".")
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => host.to_owned(),
    }
}

fn goes_to(cookie: &Cookie, url: &Url, now: Timestamp, situation: CookieContext) -> bool {
    let lax = situation.same_site || (situation.top_level && situation.safe_method);
    covers(cookie, url.host_str().unwrap_or_default())
        && path_matches(&cookie.path, url.path())
        && (!cookie.secure || url.scheme() == "https")
        && cookie.expires.is_none_or(|end| end > now)
        && match cookie.same_site {
            SameSite::Strict => situation.same_site,
            SameSite::Lax => lax,
            SameSite::None => true,
        }
}

fn covers(cookie: &Cookie, host: &str) -> bool {
    host == cookie.domain || (!cookie.host_only && is_below(host, &cookie.domain))
}

fn related(one: &Cookie, other: &Cookie) -> bool {
    one.domain == other.domain
        || is_below(&one.domain, &other.domain)
        || is_below(&other.domain, &one.domain)
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'))
}

fn path_matches(cookie: &str, path: &str) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

fn parse(url: &Url, line: &str, now: Timestamp) -> Result<Cookie, &'static str> {
    let host = url.host_str().ok_or("an URL without a host")?;
    let mut parts = line.split(';');
    let (name, value) = parts
        .next()
        .and_then(|pair| pair.split_once('='))
        .ok_or("no name and value")?;
    let mut cookie = Cookie::host_only(host, name.trim(), value.trim());
    cookie.http_only = false;
    cookie.path = default_path(url.path());
    if cookie.name.len() + cookie.value.len() > 4096 {
        return Err("name and value longer than 4096 bytes");
    }
    if line.chars().any(|c| c.is_ascii_control() && c != '\t') {
        return Err("a control character");
    }
    let mut max_age = None;
    let mut expires = None;
    for attribute in parts {
        let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" => take_domain(&mut cookie, host, value.trim())?,
            "path" if value.trim().starts_with('/') => cookie.path = value.trim().to_owned(),
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "max-age" => max_age = value.trim().parse::<i64>().ok(),
            "expires" => expires = http_date(value.trim()),
            "samesite" => cookie.same_site = same_site_word(value.trim()),
            _ => {}
        }
    }
    cookie.expires = match max_age {
        Some(age) => Some(now.plus(Duration::from_secs(u64::try_from(age).unwrap_or(0)))),
        None => expires,
    };
    if cookie.secure && url.scheme() != "https" {
        return Err("Secure on plain http");
    }
    if cookie.same_site == SameSite::None && !cookie.secure {
        return Err("SameSite=None without Secure");
    }
    let lower = cookie.name.to_ascii_lowercase();
    if lower.starts_with("__secure-") && !cookie.secure {
        return Err("__Secure- without Secure");
    }
    if lower.starts_with("__host-")
        && !(cookie.secure && cookie.host_only && path_attribute_is_root(line))
    {
        return Err("__Host- needs Secure, Path=/ and no Domain");
    }
    Ok(cookie)
}

fn take_domain(cookie: &mut Cookie, host: &str, domain: &str) -> Result<(), &'static str> {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    if domain.is_empty() {
        return Ok(());
    }
    if domain != host && !is_below(host, &domain) {
        return Err("Domain of somebody else");
    }
    if !domain.contains('.') && domain != host {
        return Err("Domain of a whole top level");
    }
    cookie.domain = domain;
    cookie.host_only = false;
    Ok(())
}

fn path_attribute_is_root(line: &str) -> bool {
    let mut attributes = line
        .split(';')
        .skip(1)
        .filter_map(|attribute| attribute.split_once('='));
    attributes.any(|(key, value)| key.trim().eq_ignore_ascii_case("path") && value.trim() == "/")
}

fn same_site_word(word: &str) -> SameSite {
    match word.to_ascii_lowercase().as_str() {
        "strict" => SameSite::Strict,
        "none" => SameSite::None,
        _ => SameSite::Lax,
    }
}

fn default_path(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder.to_owned(),
        _ => "/".to_owned(),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7), also with dashes.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split_once(", ")?.1.split([' ', '-', ':']).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let (day, year) = (number(0)?, number(2)?);
    let month = MONTHS.iter().position(|name| Some(name) == words.get(1))? as u64 + 1;
    // Days since 1970 after Howard Hinnant's civil calendar; the year begins in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(Timestamp::from_secs(
        days * 86_400 + number(3)? * 3600 + number(4)? * 60 + number(5)?,
    ))
}
