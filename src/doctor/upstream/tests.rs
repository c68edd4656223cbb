//! Tables of what is concluded from the responses of an app.

use std::io;

use super::*;
use crate::doctor::testing::found;

fn tls(text: &str) -> UpstreamError {
    UpstreamError::Tls(io::Error::other(text.to_owned()))
}

#[test]
fn responses_and_failures_are_judged() {
    let refused = UpstreamError::ConnectRefused(io::ErrorKind::ConnectionRefused.into());
    for (response, expected) in [
        (Ok(200), ""),
        (Ok(302), ""),
        (Ok(401), ""),
        (Ok(404), ""),
        (Ok(400), "warning upstream_rejects_host upstream_host"),
        (Ok(421), "warning upstream_rejects_host upstream_host"),
        (Ok(502), "warning upstream_failing upstream"),
        (Err(refused), "error upstream_connect_refused upstream"),
        (
            Err(tls("invalid peer certificate: UnknownIssuer")),
            "error certificate_authority_unknown upstream_ca_file",
        ),
        (
            Err(tls("invalid peer certificate: certificate expired: …")),
            "error certificate_expired upstream",
        ),
        (
            Err(tls("received fatal alert: CertificateRequired")),
            "error upstream_tls upstream",
        ),
    ] {
        let text = format!("{response:?}");
        let response = response.map(|status| StatusCode::from_u16(status).unwrap());
        let found = found(|findings| judge_response(&response, findings));
        assert_eq!(found.concat(), expected, "{text}");
    }
}

#[test]
fn bypass_matters_if_the_app_answers() {
    let certificate = "warning upstream_certificate_not_required upstream_cert_file";
    for (bypass, has_certificate, expected) in [
        (Ok(200), false, "advice upstream_open upstream"),
        (Ok(200), true, certificate),
        (Ok(401), false, ""),
        (Ok(403), true, ""),
        (
            Err(tls("received fatal alert: CertificateRequired")),
            true,
            "",
        ),
    ] {
        let text = format!("{bypass:?}");
        let bypass = bypass.map(|status| StatusCode::from_u16(status).unwrap());
        let found = found(|findings| judge_bypass(&bypass, has_certificate, findings));
        assert_eq!(found.concat(), expected, "{text}");
    }
}

#[test]
fn loopback_and_sockets_are_local() {
    for (url, expected) in [
        ("http://127.0.0.1:3000", true),
        ("http://[::1]:3000", true),
        ("https://app.localhost", true),
        ("unix:/run/app.sock", true),
        ("http://10.0.0.1:3000", false),
        ("https://app.internal", false),
    ] {
        assert_eq!(is_local(&url.parse().unwrap()), expected, "{url}");
    }
}
