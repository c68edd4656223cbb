//! Host check of the admin listener. A web page whose name resolves to the listener's address (DNS
//! rebinding) could read metrics, so public names need a setting. A page cannot choose an IP
//! address, a name without a dot, or a name that the public DNS does not have.

use std::net::IpAddr;

use crate::types::net::is_loopback_host;

/// Suffixes that the public DNS does not delegate: the reserved private one, and those of
/// Kubernetes.
const PRIVATE_SUFFIXES: [&str; 3] = [".internal", ".svc", ".cluster.local"];

/// Whether a request for this authority (a host with an optional port) is answered. `configured`
/// are further names, in lower case.
pub(super) fn is_permitted(authority: &str, configured: &[String]) -> bool {
    let host = without_port(authority);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || is_loopback_host(&name)
        || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
        || configured.contains(&name)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (host.ends_with(']') || !host.contains(':')) =>
        {
            host
        }
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_permitted_rejects_names_of_the_public_dns() {
        let configured = ["metrics.example.com".to_owned()];
        for authority in [
            "127.0.0.1:9090",
            "10.1.2.3",
            "[::1]:9090",
            "[fd00::7]",
            "::1",
            "localhost",
            "a.localhost:9090",
            "doorward",
            "doorward:9090",
            "doorward.login.svc",
            "doorward.login.svc.cluster.local.",
            "ip-10-0-0-1.ec2.internal:9090",
            "Metrics.Example.com:9090",
        ] {
            assert!(is_permitted(authority, &configured), "{authority}");
        }
        for authority in [
            "rebound.example.com:9090",
            "metrics.example.com.evil.test",
            "127.0.0.1.example.com",
            "127.0.0.1:9090.example.com",
            "svc.example.com",
            "internal.example.com",
            "example.com:x",
        ] {
            assert!(!is_permitted(authority, &configured), "{authority}");
        }
    }
}
