//! Whether the provider can bind the tokens of a client: to its DPoP keys, or to its certificate.

use super::super::finding::{Explained, Findings};
use crate::oidc::{Algorithm, Announced, ClientSettings, ProviderSettings, SecurityProfile};

const CODE: &str = "bound_tokens_not_announced";

/// Compares the keys of `client` with the announced algorithms. Without keys, the profile requires tokens
/// that are bound to the certificate.
pub(super) fn judge(
    client: &ClientSettings,
    provider: &ProviderSettings,
    announced: &Announced,
    findings: &mut Findings,
) {
    let has_profile = provider.profile.is_some();
    let Some(keys) = &client.dpop_keys else {
        if has_profile && !announced.certificate_bound_tokens {
            let message = "the provider does not announce tokens that are bound to a certificate \
                           (`tls_client_certificate_bound_access_tokens`)";
            let hint = "set `dpop_key_files`, or turn it on at the provider";
            findings.error(CODE, "dpop_key_files", Explained::new(message, hint));
        }
        return;
    };
    let names = announced.dpop_algorithms.iter().flatten();
    let algorithms: Vec<Algorithm> = names
        .filter_map(|name| Algorithm::from_name(name))
        .filter(|algorithm| !has_profile || SecurityProfile::ALGORITHMS.contains(algorithm))
        .collect();
    if keys.iter().all(|key| key.fits(&algorithms)) {
        return;
    }
    let message = "the provider announces no algorithm of a key for DPoP \
                   (`dpop_signing_alg_values_supported`)";
    let hint = "turn DPoP on at the provider, use a key of another type, or remove the keys";
    let explained = Explained::new(message, hint);
    if has_profile {
        findings.error(CODE, "dpop_key_files", explained);
    } else {
        findings.warning(CODE, "dpop_key_files", explained);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use url::Url;

    use super::*;
    use crate::doctor::testing::found;
    use crate::oidc::testing::client_key;
    use crate::oidc::{ClientAuth, DpopKeys};
    use crate::types::oauth::{ClientId, Issuer, ProviderName};

    #[test]
    fn tokens_must_be_bound_to_the_key_or_the_certificate() {
        let error = "error bound_tokens_not_announced dpop_key_files";
        let warning = "warning bound_tokens_not_announced dpop_key_files";
        let profile = Some(SecurityProfile::Fapi2);
        let dpop = |name: &str| Announced {
            dpop_algorithms: Some(vec![name.to_owned()]),
            ..Announced::default()
        };
        let certificate = || Announced {
            certificate_bound_tokens: true,
            ..Announced::default()
        };
        for (has_key, profile, announced, expected) in [
            (true, profile, dpop("ES256"), ""),
            (true, profile, dpop("PS256"), error),
            (true, profile, certificate(), error),
            (true, None, dpop("ES256"), ""),
            (true, None, Announced::default(), warning),
            (false, profile, certificate(), ""),
            (false, profile, dpop("ES256"), error),
            (false, None, Announced::default(), ""),
        ] {
            let issuer = Issuer::new("https://login.example.com");
            let mut provider = ProviderSettings::new(ProviderName::new("login"), issuer).unwrap();
            provider.profile = profile;
            let redirect_uri = Url::parse("https://store.example.com/cb").unwrap();
            let mut client =
                ClientSettings::new(ClientId::new("store"), ClientAuth::None, redirect_uri);
            let key = || DpopKeys::new(Arc::new(client_key()), Vec::new());
            client.dpop_keys = has_key.then(key);
            let found = found(|findings| judge(&client, &provider, &announced, findings));
            assert_eq!(
                found.concat(),
                expected,
                "{has_key} {profile:?} {announced:?}"
            );
        }
    }
}
