//! The listeners for clients: `[[server.listeners]]`, or the keys of `[server]` that are the short
//! form of one listener.

use super::super::raw::{RawListener, RawServer};
use super::super::report::{Location, quoted};
use super::super::settings::{AppConfig, ListenerConfig, ServerConfig};
use super::unix_socket::{self, RawSocketAccess};
use super::{List, elements};
use crate::types::net::ListenAddr;

/// The default of `listen`.
pub(super) const LISTEN: &str = "127.0.0.1:8080";

const SHORT_FORM: &str =
    "move it into a table `[[server.listeners]]`, whose tables are all listeners";

/// The settings outside of a listener's own keys that affect it.
#[derive(Clone, Copy)]
pub(super) struct ListenerContext<'a> {
    /// Whether `[server.tls]` is there.
    pub(super) has_tls: bool,
    /// Whether `trusted_proxies` lists a network.
    pub(super) trusts_networks: bool,
    /// The location of `[server]`.
    pub(super) at: &'a Location<'a>,
}

/// Takes the keys of listeners out of `raw`.
pub(super) fn check(
    raw: &mut RawServer,
    context: ListenerContext<'_>,
) -> Option<Vec<ListenerConfig>> {
    let short = ShortForm::take(raw);
    match raw.listeners.take() {
        None => Some(vec![short.check(context)?]),
        Some(listed) => {
            short.refuse(context.at);
            check_listed(listed, context)
        }
    }
}

/// The keys of `[server]` for its only listener.
struct ShortForm {
    listen: Option<String>,
    proxy_protocol: Option<bool>,
    socket: RawSocketAccess,
}

impl ShortForm {
    fn take(raw: &mut RawServer) -> Self {
        Self {
            listen: raw.listen.take(),
            proxy_protocol: raw.proxy_protocol.take(),
            socket: RawSocketAccess {
                mode: raw.unix_socket_mode.take(),
                owner: raw.unix_socket_owner.take(),
                group: raw.unix_socket_group.take(),
            },
        }
    }

    fn check(self, context: ListenerContext<'_>) -> Option<ListenerConfig> {
        let at = context.at;
        let address = listen(self.listen.as_deref().unwrap_or(LISTEN), &at.key("listen"));
        let socket_access = unix_socket::check(self.socket, address.as_ref(), at);
        let listener = ListenerConfig {
            address: address?,
            tls: context.has_tls,
            proxy_protocol: self.proxy_protocol.unwrap_or(false),
            redirects_to_https: false,
            socket_access,
        };
        check_proxy_protocol(&listener, context, at);
        Some(listener)
    }

    fn refuse(&self, at: &Location<'_>) {
        let keys = [
            ("listen", self.listen.is_some()),
            ("proxy_protocol", self.proxy_protocol.is_some()),
            ("unix_socket_mode", self.socket.mode.is_some()),
            ("unix_socket_owner", self.socket.owner.is_some()),
            ("unix_socket_group", self.socket.group.is_some()),
        ];
        for (key, _) in keys.iter().filter(|(_, is_set)| *is_set) {
            let message = format!("`{key}` is for a single listener, but `listeners` is set");
            at.key(key).error(message, SHORT_FORM);
        }
    }
}

fn check_listed(
    listed: List<RawListener>,
    context: ListenerContext<'_>,
) -> Option<Vec<ListenerConfig>> {
    let at = context.at.key("listeners");
    let count = listed.len();
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    for (at, raw) in elements(Some(listed), &at) {
        let Some(listener) = check_one(raw, &at, context) else {
            continue;
        };
        if listeners
            .iter()
            .any(|other| collide(&other.address, &listener.address))
        {
            let message = format!("two listeners have the address `{}`", listener.address);
            at.key("address")
                .error(message, "use another port or address");
        }
        listeners.push(listener);
    }
    if listeners.len() == count && listeners.iter().all(|one| one.redirects_to_https) {
        let hint = "add one without `redirect_to_https`";
        at.error("no listener serves requests", hint);
    }
    if context.has_tls && listeners.len() == count && !listeners.iter().any(|one| one.tls) {
        let hint = "set `tls = true` for a listener, or remove the table";
        let at = context.at.key("tls");
        at.warning("no listener uses `[server.tls]`", hint);
    }
    (listeners.len() == count && count > 0).then_some(listeners)
}

fn check_one(
    raw: RawListener,
    at: &Location<'_>,
    context: ListenerContext<'_>,
) -> Option<ListenerConfig> {
    let address = at.required(
        "address",
        raw.address,
        "an IP address and port, or `unix:/run/doorward.sock`",
    );
    let address = address.and_then(|text| listen(&text, &at.key("address")));
    let redirects_to_https = raw.redirect_to_https.unwrap_or(false);
    if raw.tls == Some(true) && redirects_to_https {
        at.key("redirect_to_https").error(
            "a listener with TLS cannot redirect to https",
            "remove `tls` or `redirect_to_https`",
        );
    } else if raw.tls == Some(true) && !context.has_tls {
        at.key("tls").error(
            "`tls` needs a table `[server.tls]`",
            "add one with `cert_file` and `key_file`",
        );
    }
    let socket = RawSocketAccess {
        mode: raw.unix_socket_mode,
        owner: raw.unix_socket_owner,
        group: raw.unix_socket_group,
    };
    let socket_access = unix_socket::check(socket, address.as_ref(), at);
    let listener = ListenerConfig {
        address: address?,
        tls: raw.tls.unwrap_or(context.has_tls) && !redirects_to_https,
        proxy_protocol: raw.proxy_protocol.unwrap_or(false),
        redirects_to_https,
        socket_access,
    };
    check_proxy_protocol(&listener, context, at);
    Some(listener)
}

fn check_proxy_protocol(
    listener: &ListenerConfig,
    context: ListenerContext<'_>,
    at: &Location<'_>,
) {
    let is_tcp = matches!(listener.address, ListenAddr::Tcp(_));
    if listener.proxy_protocol && is_tcp && !context.trusts_networks {
        at.key("proxy_protocol").error(
            "`proxy_protocol` needs `trusted_proxies`",
            "list the load balancers: a PROXY header from any other address is rejected",
        );
    }
}

/// Warns of `hsts` if the scheme that clients use can never be known.
pub(super) fn check_hsts(server: &ServerConfig, apps: &[AppConfig], root: &Location<'_>) {
    if server.forwarded_proto || server.listeners.iter().any(|listener| listener.tls) {
        return;
    }
    let with_hsts = |app: &&AppConfig| app.policy.hsts && app.policy.origin.is_secure();
    for app in apps.iter().filter(with_hsts) {
        let at = root.key("apps").key(app.policy.name.as_str());
        at.key("hsts").warning(
            "the header is never sent: doorward does not know that clients use https",
            "let the proxy that terminates TLS send the header, or set `server.forwarded_proto`",
        );
    }
}

/// Parses a listen address.
pub(super) fn listen(text: &str, at: &Location<'_>) -> Option<ListenAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        let hint = "an IP address and port such as `127.0.0.1:8080` or `[::]:8080`, or a socket such as `unix:/run/doorward.sock`";
        at.error(format!("invalid listen address {}", quoted(text)), hint);
    }
    address
}

/// Whether both cannot be bound.
pub(super) fn collide(one: &ListenAddr, other: &ListenAddr) -> bool {
    match (one, other) {
        (ListenAddr::Tcp(one), ListenAddr::Tcp(other)) => {
            let same_host =
                one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() != 0 && one.port() == other.port() && same_host
        }
        (ListenAddr::Unix(one), ListenAddr::Unix(other)) => one == other,
        (ListenAddr::Tcp(_), ListenAddr::Unix(_)) | (ListenAddr::Unix(_), ListenAddr::Tcp(_)) => {
            false
        }
    }
}
