//! Requests with client authentication.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use url::Url;
use zeroize::Zeroizing;

use super::Provider;
use super::dpop::ProvenRequest;
use super::signing::random_jti;
use crate::oidc::client::ClientSettings;
use crate::oidc::client_auth::{
    AssertionAudience, AssertionClaims, AssertionType, ClientAuth, ClientCredentials,
    SignedAssertion, is_jwt,
};
use crate::oidc::client_key::ClientKey;
use crate::oidc::discovery::Metadata;
use crate::oidc::error::{Endpoint, ProviderError};
use crate::oidc::http::{FormRequest, ProviderResponse};

/// The largest assertion in a file, in bytes.
const MAX_ASSERTION: u64 = 16 * 1024;

/// A form that is sent to the provider as a client.
pub(super) struct ClientRequest<'r> {
    pub(super) endpoint: Endpoint,
    pub(super) client: &'r ClientSettings,
    pub(super) url: &'r Url,
    pub(super) form: &'r [(&'r str, &'r str)],
    /// The key that the tokens of the response are to be bound to.
    pub(super) dpop_key: Option<&'r ClientKey>,
    pub(super) timeout: Duration,
}

impl Provider {
    /// Sends a form with client authentication. A client with a certificate is served at the alias of
    /// the endpoint (RFC 8705 section 5), if there is one. A request without the provider's DPoP nonce had
    /// no effect, so it is sent once more with it, before the same deadline.
    pub(super) async fn send_as_client(
        &self,
        request: ClientRequest<'_>,
    ) -> Result<ProviderResponse, ProviderError> {
        let started = Instant::now();
        let response = self.send_once(&request).await?;
        if request.dpop_key.is_some() && response.requires_dpop_nonce() {
            let timeout = request.timeout.saturating_sub(started.elapsed());
            return self.send_once(&ClientRequest { timeout, ..request }).await;
        }
        Ok(response)
    }

    async fn send_once(
        &self,
        request: &ClientRequest<'_>,
    ) -> Result<ProviderResponse, ProviderError> {
        let metadata = self.metadata().await?;
        let client = request.client;
        let credentials = self.credentials(client, &metadata).await?;
        let identity = client.token_auth.identity();
        let member = identity.and_then(|_| request.endpoint.client_member());
        let alias = member.and_then(|member| metadata.mtls_aliases.get(member));
        let authorization = credentials.authorization.as_ref();
        let url = alias.unwrap_or(request.url);
        let proof = request.dpop_key.map(|key| {
            self.dpop_proof(&ProvenRequest {
                key,
                method: "POST",
                url,
                access_token: None,
            })
        });
        let proof = proof.transpose()?;
        let form = FormRequest {
            endpoint: request.endpoint,
            url,
            form: &credentials.form(request.form),
            authorization: authorization.map(|value| value.as_str()),
            dpop: proof.as_deref(),
            identity,
            timeout: request.timeout,
        };
        let response = self.http.post(form).await?;
        self.record_dpop_nonce(url, &response);
        Ok(response)
    }

    /// The method by which a client authenticates, for messages.
    pub(super) fn client_auth_method(&self, client: &ClientSettings) -> &'static str {
        let metadata = self.known_metadata();
        let announced = metadata.as_ref().map(|known| &known.announced);
        let methods = announced.and_then(|announced| announced.client_auth_methods.as_deref());
        client.token_auth.method(methods)
    }

    async fn credentials(
        &self,
        client: &ClientSettings,
        metadata: &Metadata,
    ) -> Result<ClientCredentials, ProviderError> {
        let id = &client.client_id;
        let methods = metadata.announced.client_auth_methods.as_deref();
        Ok(match &client.token_auth {
            ClientAuth::Secret(secret) => match client.token_auth.method(methods) {
                "client_secret_post" => ClientCredentials::post(id, secret),
                _ => ClientCredentials::basic(id, secret),
            },
            ClientAuth::Basic(secret) => ClientCredentials::basic(id, secret),
            ClientAuth::Post(secret) => ClientCredentials::post(id, secret),
            ClientAuth::SignedAssertion(signed) => {
                let assertion = self.sign_assertion(client, signed, metadata)?;
                ClientCredentials::assertion(id, AssertionType::JwtBearer, &assertion)
            }
            ClientAuth::AssertionFile(file) => {
                let assertion = read_assertion(&file.path).await?;
                ClientCredentials::assertion(id, file.kind, &assertion)
            }
            ClientAuth::Tls(_) | ClientAuth::None => ClientCredentials::public(id),
        })
    }

    fn sign_assertion(
        &self,
        client: &ClientSettings,
        signed: &SignedAssertion,
        metadata: &Metadata,
    ) -> Result<Zeroizing<String>, ProviderError> {
        let audience = match signed.audience {
            AssertionAudience::Issuer => self.settings.issuer.as_str().to_owned(),
            AssertionAudience::TokenEndpoint => {
                let endpoints = &self.settings.endpoints;
                endpoints.published(&metadata.token_endpoint).into()
            }
        };
        let jti = random_jti()?;
        let claims = AssertionClaims {
            client_id: &client.client_id,
            audience: &audience,
            now: self.provider_time(),
            jti: &jti,
        };
        let algorithms = metadata.announced.client_auth_algorithms.as_deref();
        Ok(signed.sign(&claims, self.rsa_padding(algorithms))?)
    }
}

/// Reads an assertion. The file is small, and replaced while it is in use.
async fn read_assertion(path: &Path) -> Result<Zeroizing<String>, ProviderError> {
    let failed = |cause: &str| {
        let path = path.display();
        ProviderError::ClientAssertion(format!("the file {path}: {cause}"))
    };
    let opened = tokio::fs::File::open(path).await;
    let opened = opened.map_err(|error| failed(&error.to_string()))?;
    let mut text = Zeroizing::new(String::new());
    let mut limited = opened.take(MAX_ASSERTION + 1);
    let read = limited.read_to_string(&mut text).await;
    read.map_err(|error| failed(&error.to_string()))?;
    let assertion = text.trim();
    if text.len() as u64 > MAX_ASSERTION || !is_jwt(assertion) {
        return Err(failed("it does not hold a JWT"));
    }
    Ok(Zeroizing::new(assertion.to_owned()))
}
