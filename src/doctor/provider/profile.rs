//! Members of a provider's metadata that the security profile of its clients requires.

use super::super::finding::{Explained, Findings};
use crate::oidc::discovery::Metadata;
use crate::oidc::{Algorithm, SecurityProfile};

const CODE: &str = "profile_not_supported";

/// Compares the metadata with `profile`.
pub(super) fn judge(profile: SecurityProfile, metadata: &Metadata, findings: &mut Findings) {
    let announced = &metadata.announced;
    let offers = |names: &Option<Vec<String>>, wanted: &[&str]| {
        let mut names = names.iter().flatten();
        names.any(|name| wanted.contains(&name.as_str()))
    };
    let permits = |names: &Option<Vec<String>>| {
        let mut names = names.iter().flatten();
        names.any(|name| {
            let known = Algorithm::from_name(name);
            known.is_some_and(|found| SecurityProfile::ALGORITHMS.contains(&found))
        })
    };
    let methods = [
        "private_key_jwt",
        "tls_client_auth",
        "self_signed_tls_client_auth",
    ];
    let responses = ["jwt", "query.jwt", "form_post.jwt"];
    let signs = profile.signs_messages();
    let requirements = [
        (
            metadata.par_endpoint.is_some(),
            "`pushed_authorization_request_endpoint`: pushed authorization requests",
        ),
        (
            metadata.authorization_response_iss_parameter_supported,
            "`authorization_response_iss_parameter_supported`: `iss` in its responses",
        ),
        (
            offers(&announced.client_auth_methods, &methods),
            "`token_endpoint_auth_methods_supported`: clients with a key or a certificate",
        ),
        (
            !signs || permits(&announced.request_object_algorithms),
            "`request_object_signing_alg_values_supported`: signed requests",
        ),
        (
            !signs || offers(&announced.response_modes, &responses),
            "`response_modes_supported`: signed responses",
        ),
        (
            !signs || permits(&announced.response_algorithms),
            "`authorization_signing_alg_values_supported`: its algorithms in signed responses",
        ),
    ];
    for (_, lacks) in requirements.into_iter().filter(|(is_met, _)| !is_met) {
        let message = format!("the provider does not announce what `profile` requires: {lacks}");
        let hint = "turn it on at the provider, or remove `profile`";
        findings.error(CODE, "profile", Explained::new(message, hint));
    }
}
