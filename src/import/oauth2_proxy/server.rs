//! `[server]` and `[log]`: listeners, certificates, proxies in front.

use super::super::Import;
use super::super::document::{Element, list};
use super::super::settings::{SettingValue, is_true};
use crate::types::net::ListenAddr;

const SERVER: [&str; 1] = ["server"];
const TLS: [&str; 2] = ["server", "tls"];
/// Where oauth2-proxy listens by default.
const HTTP: &str = "127.0.0.1:4180";
const HTTPS: &str = "0.0.0.0:443";

/// Maps the listeners, the proxies in front and the access log.
pub(super) fn map(import: &mut Import) {
    listeners(import);
    if let Some(value) = import.settings.take_value("metrics-address") {
        match address(&value.text) {
            Some(address) => import.document.set(&SERVER, "admin_listen", address),
            None => not_an_address(import, &value, "admin_listen"),
        }
    }
    trusted_proxies(import);
    if !import.settings.take_switch("request-logging", true) {
        import.document.set(&["log"], "access", false);
    }
}

fn listeners(import: &mut Import) {
    let http = import.settings.take_value("http-address");
    let has_certificate = import.settings.peek("tls-cert-file").is_some()
        && import.settings.peek("tls-key-file").is_some();
    if !has_certificate {
        // Without a certificate `https-address` and `force-https` are left over, and reported.
        match http.as_ref().map(|value| (value, address(&value.text))) {
            None => import.document.set(&SERVER, "listen", HTTP),
            Some((_, Some(address))) => import.document.set(&SERVER, "listen", address),
            Some((value, None)) => not_an_address(import, value, "listen"),
        }
        return;
    }
    let https = import.settings.take_value("https-address");
    let redirects = import.settings.take_switch("force-https", false);
    let secure = https
        .as_ref()
        .map_or(Some(HTTPS.to_owned()), |value| address(&value.text));
    if let (None, Some(value)) = (&secure, &https) {
        not_an_address(import, value, "listen");
    }
    let plain = http.as_ref().and_then(|value| address(&value.text));
    match (secure, plain) {
        (Some(secure), None) => import.document.set(&SERVER, "listen", secure),
        (Some(secure), Some(plain)) => {
            let mut entries = vec![("address", plain.into()), ("tls", false.into())];
            if redirects {
                entries.push(("redirect_to_https", true.into()));
            }
            let listeners = [
                vec![("address", secure.into()), ("tls", true.into())],
                entries,
            ];
            for entries in listeners {
                let comments = Vec::new();
                let element = Element { comments, entries };
                import.document.push(&["server", "listeners"], element);
            }
        }
        (None, _) => {}
    }
    for (flag, key) in [("tls-cert-file", "cert_file"), ("tls-key-file", "key_file")] {
        if let Some(value) = import.settings.take_value(flag) {
            import.document.set(&TLS, key, value.text);
        }
    }
}

fn not_an_address(import: &mut Import, value: &SettingValue, key: &str) {
    let message = "set an IP address and a port, or `unix:/path`";
    import.decide(&SERVER, key, Some(&value.at), message);
}

/// An address as the configuration has it: `http://` in front and a missing host are allowed there.
fn address(text: &str) -> Option<String> {
    let text = ["http://", "https://", "tcp://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    let text = match text.strip_prefix("unix:") {
        Some(path) => {
            // Permissions may follow a comma.
            let path = path.trim_start_matches('/').split(',').next()?;
            format!("unix:/{path}")
        }
        None if text.starts_with(':') => format!("0.0.0.0{text}"),
        None => text.replacen("localhost:", "127.0.0.1:", 1),
    };
    let address: ListenAddr = text.parse().ok()?;
    Some(address.to_string())
}

fn trusted_proxies(import: &mut Import) {
    let reverse_proxy = import.settings.take("reverse-proxy");
    let is_behind = reverse_proxy
        .as_ref()
        .is_some_and(|setting| is_true(setting.text()));
    if !is_behind {
        // Without `reverse-proxy` these have no effect there either, and are reported.
        return;
    }
    let at = reverse_proxy.map(|setting| setting.at);
    let networks = import.settings.take_values("trusted-proxy-ip");
    if networks.is_empty() {
        let message = "list the networks of your proxies. oauth2-proxy trusts every address, \
                       which lets any client choose its address";
        import
            .document
            .set(&SERVER, "trusted_proxies", list::<String>([]));
        import.decide(&SERVER, "trusted_proxies", at.as_ref(), message);
    } else {
        let networks = networks.into_iter().map(|value| value.text);
        import
            .document
            .set(&SERVER, "trusted_proxies", list(networks));
    }
    let header = import.settings.take_value("real-client-ip-header");
    match header {
        Some(value) if value.text.eq_ignore_ascii_case("X-Forwarded-For") => {}
        Some(value) => {
            import.not_mapped(
                &value,
                "the client's address is read from X-Forwarded-For only, or from Forwarded; let your proxy set one",
            );
        }
        None => import.left_to_do(
            "server.forwarded_header",
            at.as_ref(),
            "let your proxy set X-Forwarded-For; oauth2-proxy reads X-Real-IP by default"
                .to_owned(),
        ),
    }
}
