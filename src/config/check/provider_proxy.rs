//! `[providers.NAME.proxy]`: the forward proxy to a provider.

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::files::Folder;
use super::super::raw::RawProxy;
use super::super::report::{Location, quoted};
use super::elements;
use crate::oidc::forward_proxy::{ForwardProxy, ProxyCredentials, ProxyServer};
use crate::types::secret::Secret;

/// The variables for https and for http URLs, the first one that is set.
const HTTPS_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const HTTP_VARIABLES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The form of a proxy's URL.
const EXAMPLE: &str = "for example `http://proxy.example.com:3128`";

pub(super) fn check(mut raw: RawProxy, at: &Location<'_>, folder: &Folder) -> ForwardProxy {
    if raw.from_environment == Some(true) {
        return from_environment(&raw, at, folder);
    }
    let no_proxy = no_proxy(&mut raw, &at.key("no_proxy"));
    let credentials = credentials(&mut raw, at, folder);
    let url = at.required("url", raw.url, EXAMPLE);
    let url = url.and_then(|text| server_url(&text, &at.key("url")));
    let Some(url) = url else {
        return ForwardProxy::default();
    };
    ForwardProxy::all(ProxyServer { url, credentials }, no_proxy)
}

fn server_url(text: &str, at: &Location<'_>) -> Option<Url> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        at.error(
            "the URL of a proxy begins with `http://` or `https://`",
            EXAMPLE,
        );
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "set `username` and `password_file`";
        at.error("the URL contains a user name or password", hint);
        return None;
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        let message = format!("{} has more than scheme, host and port", quoted(text));
        at.error(message, EXAMPLE);
        return None;
    }
    Some(url)
}

fn credentials(raw: &mut RawProxy, at: &Location<'_>, folder: &Folder) -> Option<ProxyCredentials> {
    let password_at = at.key("password_file");
    match (raw.username.take(), raw.password_file.take()) {
        (Some(username), Some(_)) if username.is_empty() || username.contains(':') => {
            let message = format!("{} is not a user name", quoted(&username));
            at.key("username")
                .error(message, "not empty, and without a colon (RFC 7617)");
            None
        }
        (Some(username), Some(file)) => {
            let password = folder.secret(&password_at, &file)?;
            Some(ProxyCredentials {
                username,
                password: Secret::new(password.to_string()),
            })
        }
        (Some(_), None) => {
            at.missing("password_file", "the password of the user at the proxy");
            None
        }
        (None, Some(_)) => {
            at.missing("username", "the user at the proxy");
            None
        }
        (None, None) => None,
    }
}

fn no_proxy(raw: &mut RawProxy, at: &Location<'_>) -> Vec<String> {
    let hosts = elements(raw.no_proxy.take(), at).filter(|(at, host)| {
        let is_one = !host.is_empty() && !host.contains([',', '/', ' ']) || is_network(host);
        if !is_one {
            let hint = "a domain, an address or a network, such as `\"10.0.0.0/8\"`";
            at.error(format!("{} is not a host", quoted(host)), hint);
        }
        is_one
    });
    hosts.map(|(_, host)| host).collect()
}

fn is_network(text: &str) -> bool {
    let parts = text.split_once('/');
    parts.is_some_and(|(address, bits)| {
        let address: Result<std::net::IpAddr, _> = address.parse();
        let bits: Result<u8, _> = bits.parse();
        match (address, bits) {
            (Ok(address), Ok(bits)) => bits <= if address.is_ipv4() { 32 } else { 128 },
            (Ok(_) | Err(_), _) => false,
        }
    })
}

/// The proxies that the variables of the process name, as with curl.
fn from_environment(raw: &RawProxy, at: &Location<'_>, folder: &Folder) -> ForwardProxy {
    let keys = [
        ("url", raw.url.is_some()),
        ("username", raw.username.is_some()),
        ("password_file", raw.password_file.is_some()),
        ("no_proxy", raw.no_proxy.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
        at.key(key)
            .error("`from_environment` is set too", "keep one of the two");
    }
    let at = at.key("from_environment");
    let server = |variables: &[&str]| {
        let variable = first_set(variables, folder)?;
        let server = server_of(&variable.value);
        if server.is_none() {
            let message = format!("the variable `{}` names no proxy", variable.name);
            at.error(message, EXAMPLE);
        }
        server
    };
    let proxy = ForwardProxy {
        http: server(&HTTP_VARIABLES),
        https: server(&HTTPS_VARIABLES),
        no_proxy: first_set(&NO_PROXY_VARIABLES, folder)
            .map(|variable| {
                variable
                    .value
                    .split(',')
                    .map(|host| host.trim().to_owned())
                    .collect()
            })
            .unwrap_or_default(),
    };
    let is_alone = keys.iter().all(|(_, is_set)| !is_set);
    if !proxy.is_set() && is_alone && !at.has_invalid() {
        let hint = "set `HTTPS_PROXY`, or remove the key";
        at.advice("no variable of the process names a proxy", hint);
    }
    proxy
}

/// A variable of the process.
struct Variable {
    name: String,
    value: String,
}

fn first_set(names: &[&str], folder: &Folder) -> Option<Variable> {
    let mut found = names.iter().filter_map(|name| {
        let value = folder.variable_value(name)?.to_owned();
        let name = (*name).to_owned();
        (!value.trim().is_empty()).then_some(Variable { name, value })
    });
    found.next()
}

/// A proxy as variables name it: the scheme may be missing, and there may be credentials.
fn server_of(value: &str) -> Option<ProxyServer> {
    let value = value.trim();
    let with_scheme = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let mut url = Url::parse(&with_scheme).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let credentials = (!url.username().is_empty()).then(|| ProxyCredentials {
        username: decoded(url.username()),
        password: Secret::new(decoded(url.password().unwrap_or_default())),
    });
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    url.set_path("");
    url.set_query(None);
    url.set_fragment(None);
    Some(ProxyServer { url, credentials })
}
