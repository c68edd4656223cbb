//! Warnings about the certificates of `[server.tls]`: those that are not valid now, and hosts of
//! apps that none is valid for.

use super::super::report::{Location, quoted};
use super::super::settings::{AppConfig, LoginHostConfig, ServerConfig, TlsConfig};
use crate::types::net::Origin;
use crate::types::time::{Clock as _, SystemClock};
use crate::types::x509::{Validity, ValidityProblem};

/// Also notes the hosts that need a certificate.
pub(super) fn check(server: &mut ServerConfig, apps: &[AppConfig], root: &Location<'_>) {
    let reached_by_clients = is_reached_by_clients(server);
    let Some(tls) = &mut server.tls else { return };
    let at = root.key("server").key("tls");
    for (index, certificate) in tls.certificates.validities().iter().enumerate() {
        let at = match index.checked_sub(1) {
            None => at.key("cert_file"),
            Some(further) => at.key("certificates").index(further).key("cert_file"),
        };
        check_validity(certificate.validity, &at);
    }
    if !reached_by_clients {
        return;
    }
    for app in apps {
        let at = root.key("apps").key(app.policy.name.as_str());
        let aliases = app.policy.aliases.iter().enumerate();
        let aliases = aliases.map(|(index, alias)| (at.key("aliases").index(index), alias));
        let hosts = std::iter::once((at.key("public_url"), &app.policy.origin)).chain(aliases);
        for (at, origin) in hosts.filter(|(_, origin)| origin.is_secure()) {
            check_host(tls, origin, &at);
        }
    }
}

/// The same for the hosts that complete logins.
pub(super) fn check_login_hosts(
    server: &mut ServerConfig,
    hosts: &[LoginHostConfig],
    root: &Location<'_>,
) {
    let reached_by_clients = is_reached_by_clients(server);
    let Some(tls) = server.tls.as_mut().filter(|_| reached_by_clients) else {
        return;
    };
    for host in hosts {
        let at = root.key("providers").key(host.provider.as_str());
        if host.policy.origin.is_secure() {
            check_host(tls, &host.policy.origin, &at.key("login_url"));
        }
    }
}

/// A proxy in front may end TLS and use names of its own.
fn is_reached_by_clients(server: &ServerConfig) -> bool {
    server.trusted_proxies.is_empty()
        || server
            .listeners
            .iter()
            .any(|listener| listener.tls && listener.proxy_protocol)
}

/// Warns if no certificate is valid for a host, and notes it.
fn check_host(tls: &mut TlsConfig, origin: &Origin, at: &Location<'_>) {
    let host = bare_host(origin);
    if !tls.certificates.covers(&host) {
        at.warning(
            format!("no certificate is valid for {}", quoted(&host)),
            "browsers will not connect: add one to `[[server.tls.certificates]]`",
        );
    }
    tls.hosts.push(host);
}

/// Warns if a certificate is not valid now, or not for long.
pub(super) fn check_validity(validity: Validity, at: &Location<'_>) {
    match validity.problem(SystemClock.now()) {
        None => {}
        Some(ValidityProblem::Expired) => {
            at.warning("the certificate has expired", "clients reject it: renew it")
        }
        Some(ValidityProblem::NotYetValid) => at.warning(
            "the certificate is not valid yet",
            "clients reject it: check the clock of this machine",
        ),
        Some(ValidityProblem::ExpiresSoon(remaining)) => at.warning(
            format!(
                "the certificate expires in {} hours",
                remaining.as_secs() / 3600
            ),
            "renew it: a changed file is loaded within seconds",
        ),
    }
}

/// The host as certificates name it, without the brackets of an IPv6 address.
fn bare_host(origin: &Origin) -> String {
    origin.host().trim_matches(['[', ']']).to_owned()
}
