//! Identity headers of other products. Apps that were behind one of them may still trust its
//! headers, so a client must not be able to send them. Names that clients use for something else,
//! such as `X-Auth-Token`, are not among them.

use http::HeaderName;

use super::folded_name::{folds_to, has_folded_prefix};

/// Folded names.
pub(super) const NAMES: [&str; 32] = [
    // Authelia, SSSD, and CGI's variable for the user.
    "remote-user",
    "remote-name",
    "remote-email",
    "remote-group",
    "remote-groups",
    // Kubernetes authenticating proxies.
    "x-remote-user",
    "x-remote-group",
    "x-remote-groups",
    "x-remote-email",
    // Louketo (Keycloak Gatekeeper).
    "x-auth-userid",
    "x-auth-username",
    "x-auth-email",
    "x-auth-roles",
    "x-auth-groups",
    "x-auth-subject",
    // Kong and APISIX.
    "x-userinfo",
    "x-credential-identifier",
    "x-anonymous-consumer",
    // Client certificates: RFC 9440, IIS and HAProxy examples.
    "client-cert",
    "client-cert-chain",
    "x-client-cert",
    "x-client-certificate",
    "x-client-dn",
    "x-client-verify",
    "x-arr-clientcert",
    "x-ssl-cert",
    // Google, Teleport, SiteMinder and WebSEAL.
    "x-goog-iap-jwt-assertion",
    "teleport-jwt-assertion",
    "sm-user",
    "sm-userdn",
    "iv-user",
    "iv-groups",
];

/// Prefixes of folded names.
const PREFIXES: [&str; 20] = [
    // oauth2-proxy.
    "x-auth-request-",
    // Grafana and Prometheus exporters behind any proxy.
    "x-webauth-",
    "x-authenticated-",
    "x-remote-extra-",
    "x-consumer-",
    // Client certificates: nginx, Traefik and AWS.
    "x-ssl-client-",
    "ssl-client-",
    "x-tls-client-",
    "x-amzn-mtls-",
    // mod_auth_openidc and Shibboleth.
    "oidc-",
    "shib-",
    // Cloud load balancers.
    "x-amzn-oidc-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-ms-token-",
    "cf-access-",
    // Pomerium, Vouch, authentik and Tailscale.
    "x-pomerium-",
    "x-vouch-",
    "x-authentik-",
    "tailscale-user-",
];

/// Whether a header is another product's identity header, and therefore removed unless the app
/// wants it.
pub fn is_foreign_identity(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    NAMES.iter().any(|known| folds_to(name, known.as_bytes())) || has_prefix(name)
}

/// Whether a lower-case name has one of the prefixes, in any spelling.
pub(super) fn has_prefix(name: &[u8]) -> bool {
    // The first letters of the prefixes, which few headers have.
    let may_have = match name {
        [b'x', separator, ..] => !separator.is_ascii_alphanumeric(),
        [b's', b's' | b'h', ..] | [b'o', b'i', ..] | [b'c', b'f', ..] | [b't', b'a', ..] => true,
        _ => false,
    };
    may_have
        && PREFIXES
            .iter()
            .any(|prefix| has_folded_prefix(name, prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_recognized() {
        for prefix in PREFIXES {
            assert!(has_prefix(format!("{prefix}a").as_bytes()), "{prefix}");
            let underscores = prefix.replace('-', "_");
            assert!(has_prefix(underscores.as_bytes()), "{underscores}");
        }
    }

    #[test]
    fn identity_headers_of_other_products_are_known_in_every_spelling() {
        for name in [
            "Remote-User",
            "remote_user",
            "X-Auth-Request-Email",
            "x_auth_request_groups",
            "X-SSL-Client-CN",
            "Client-Cert",
            "X-Webauth-User",
            "OIDC_CLAIM_sub",
            "X-MS-Client-Principal",
            "X-MS-Client-Principal-Name",
            "Cf-Access-Jwt-Assertion",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert!(is_foreign_identity(&name), "{name}");
        }
        for name in [
            "x-auth-token",
            "x-auth-key",
            "x-auth-user",
            "x-access-token",
            "x-user",
            "remote-person",
            "client-certificate-x",
            "authorization",
        ] {
            assert!(
                !is_foreign_identity(&HeaderName::from_static(name)),
                "{name}"
            );
        }
    }
}
