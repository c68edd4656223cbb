//! Webhook authentication: verifies that a webhook was sent by this FusionAuth. All configured
//! methods are required. They are checked before the body is read, so that bodies of other senders
//! are not read. PURE.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, header};
use serde_json::{Map, Value};

use super::shared_secret;
use crate::oidc::error::TokenRejected;
use crate::types::secret::{Secret, same_bytes};

const SIGNATURE_HEADER: &str = "x-fusionauth-signature-jwt";

/// The authentication methods of webhooks. Each one that is set is required; at least one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderProofs {
    /// `X-FusionAuth-Signature-JWT`, over the body.
    pub signature: Option<SignatureKey>,
    /// HTTP Basic: user name and password, separated by `:`.
    pub basic: Option<Secret<String>>,
    /// A configured header with this value.
    pub header: Option<(HeaderName, Secret<String>)>,
}

/// The key for signatures. Only one kind is accepted, so that a key of one kind is never used as
/// the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureKey {
    /// The provider's published keys, by `kid`; asymmetric exactly_one.
    KeySet,
    /// A shared secret; HMAC exactly_one.
    Shared(Secret<Vec<u8>>),
}

/// Why a webhook's sender is not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// No webhooks are configured.
    #[error("no webhooks are configured for this provider")]
    NotExpected,
    /// No signature, or more than one.
    #[error("the webhook has not exactly one X-FusionAuth-Signature-JWT")]
    NoSignature,
    /// The signature is invalid, or the provider's keys could not be fetched.
    #[error("the webhook's signature was not accepted: {0}")]
    Signature(#[from] TokenRejected),
    /// The signature was not made with the shared secret.
    #[error("the webhook is not signed with the shared secret")]
    NotShared,
    /// The signature is valid, but not about a body: it is another token of the provider.
    #[error("the webhook's signature has no `request_body_sha256`")]
    NoBodyHash,
    /// The body is not the one that was signed.
    #[error("the webhook's body is not the one that was signed")]
    OtherBody,
    /// The credentials of HTTP Basic are missing or wrong.
    #[error("the webhook's Basic credentials are missing or wrong")]
    Basic,
    /// The secret header is missing or wrong.
    #[error("the webhook's secret header is missing or wrong")]
    Header,
}

/// A verified sender. Its signature, if any, covers one body.
#[derive(Debug)]
pub struct Sender {
    body_sha256: Option<[u8; 32]>,
}

impl SenderError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotExpected => "webhook_not_configured",
            Self::NoSignature => "webhook_signature_missing",
            Self::Signature(rejected) => rejected.code(),
            Self::NotShared => "webhook_signature_invalid",
            Self::NoBodyHash => "webhook_body_hash_missing",
            Self::OtherBody => "webhook_body_mismatch",
            Self::Basic => "webhook_basic_wrong",
            Self::Header => "webhook_header_wrong",
        }
    }

    /// Whether the provider is unavailable and the webhook may be valid.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Signature(rejected) if rejected.is_outage())
    }
}

impl SenderProofs {
    /// Checks everything except a signature by the provider's published keys, which is returned for
    /// verification.
    ///
    /// # Errors
    /// The missing or invalid part.
    pub fn check(&self, headers: &HeaderMap) -> Result<SenderCheck, SenderError> {
        if let Some(expected) = &self.basic {
            let given = exactly_one(headers, &header::AUTHORIZATION)
                .and_then(basic)
                .ok_or(SenderError::Basic)?;
            if !same_bytes(&given, expected.expose().as_bytes()) {
                return Err(SenderError::Basic);
            }
        }
        if let Some((name, expected)) = &self.header {
            let given = exactly_one(headers, name).ok_or(SenderError::Header)?;
            if !same_bytes(given.as_bytes(), expected.expose().as_bytes()) {
                return Err(SenderError::Header);
            }
        }
        let Some(key) = &self.signature else {
            return Ok(SenderCheck::Verified(Sender { body_sha256: None }));
        };
        let token = exactly_one(headers, &HeaderName::from_static(SIGNATURE_HEADER))
            .ok_or(SenderError::NoSignature)?;
        match key {
            SignatureKey::KeySet => Ok(SenderCheck::SignaturePending(token.to_owned())),
            SignatureKey::Shared(secret) => {
                let claims =
                    shared_secret::verify(token, secret.expose()).ok_or(SenderError::NotShared)?;
                Sender::from_claims(&claims).map(SenderCheck::Verified)
            }
        }
    }
}

/// The result of [`SenderProofs::check`].
#[derive(Debug)]
pub enum SenderCheck {
    /// The sender is verified.
    Verified(Sender),
    /// This signature must still be verified with the provider's keys.
    SignaturePending(String),
}

impl Sender {
    /// Creates a sender from the claims of a verified signature.
    pub(in crate::oidc) fn from_claims(claims: &Map<String, Value>) -> Result<Self, SenderError> {
        let hash = claims.get("request_body_sha256").and_then(Value::as_str);
        let hash = hash
            .and_then(|hash| STANDARD.decode(hash).ok())
            .and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        Ok(Self {
            body_sha256: Some(hash.ok_or(SenderError::NoBodyHash)?),
        })
    }

    /// Checks that the signature covers `body`.
    ///
    /// # Errors
    /// [`SenderError::OtherBody`].
    pub fn check_body(&self, body: &[u8]) -> Result<(), SenderError> {
        let sent = digest::digest(&digest::SHA256, body);
        match &self.body_sha256 {
            Some(signed) if !same_bytes(signed, sent.as_ref()) => Err(SenderError::OtherBody),
            Some(_) | None => Ok(()),
        }
    }
}

/// The header of this name, if there is exactly one, in ASCII.
fn exactly_one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn basic(field: &str) -> Option<Vec<u8>> {
    let (scheme, credentials) = field.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| STANDARD.decode(credentials.trim()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn proofs() -> SenderProofs {
        SenderProofs {
            signature: None,
            basic: None,
            header: None,
        }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn code(proofs: &SenderProofs, lines: &[(&'static str, &str)]) -> &'static str {
        match proofs.check(&headers(lines)) {
            Ok(SenderCheck::Verified(_)) => "",
            Ok(SenderCheck::SignaturePending(_)) => "to_verify",
            Err(error) => error.code(),
        }
    }

    #[test]
    fn check_requires_exact_basic_credentials() {
        let field = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let wanted = SenderProofs {
            basic: Some(Secret::new("hook:s3:cret".into())),
            ..proofs()
        };
        for right in [
            field("hook:s3:cret"),
            format!("bAsIc {}", STANDARD.encode("hook:s3:cret")),
        ] {
            assert_eq!(code(&wanted, &[("authorization", &right)]), "");
        }
        for wrong in [
            field("hook:s3:cre"),
            field("hook:s3:cret "),
            field(""),
            "Basic".into(),
            "Basic !".into(),
        ] {
            assert_eq!(
                code(&wanted, &[("authorization", &wrong)]),
                "webhook_basic_wrong",
                "{wrong}"
            );
        }
        let twice = [
            ("authorization", field("hook:s3:cret")),
            ("authorization", field("hook:s3:cret")),
        ];
        assert_eq!(
            code(&wanted, &twice.each_ref().map(|(n, v)| (*n, v.as_str()))),
            "webhook_basic_wrong"
        );
        assert_eq!(code(&wanted, &[]), "webhook_basic_wrong");
    }

    #[test]
    fn check_requires_every_configured_method() {
        let name = HeaderName::from_static("x-hook");
        let both = SenderProofs {
            header: Some((name, Secret::new("key".into()))),
            signature: Some(SignatureKey::KeySet),
            ..proofs()
        };
        assert_eq!(
            code(&both, &[("x-hook", "key"), (SIGNATURE_HEADER, "a.b.c")]),
            "to_verify"
        );
        assert_eq!(
            code(&both, &[("x-hook", "key")]),
            "webhook_signature_missing"
        );
        assert_eq!(
            code(
                &both,
                &[
                    ("x-hook", "key"),
                    (SIGNATURE_HEADER, "a"),
                    (SIGNATURE_HEADER, "a")
                ]
            ),
            "webhook_signature_missing"
        );
        for wrong in ["", "kex", "key2", "KEY"] {
            assert_eq!(
                code(&both, &[("x-hook", wrong), (SIGNATURE_HEADER, "a.b.c")]),
                "webhook_header_wrong",
                "{wrong}"
            );
        }
        assert_eq!(
            code(&both, &[(SIGNATURE_HEADER, "a.b.c")]),
            "webhook_header_wrong"
        );
    }

    #[test]
    fn signature_covers_one_body_and_other_tokens_fail() {
        let hash = |body: &[u8]| STANDARD.encode(digest::digest(&digest::SHA256, body));
        let claims = |hash: Value| {
            json!({ "request_body_sha256": hash })
                .as_object()
                .unwrap()
                .clone()
        };
        let sender = Sender::from_claims(&claims(json!(hash(b"{}")))).unwrap();
        assert_eq!(sender.check_body(b"{}"), Ok(()));
        assert_eq!(sender.check_body(b"{} "), Err(SenderError::OtherBody));
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([0xfb; 32]);
        for wrong in [
            json!(url_safe),
            json!(""),
            json!("AAAA"),
            json!(7),
            json!(null),
        ] {
            assert_eq!(
                Sender::from_claims(&claims(wrong)).unwrap_err(),
                SenderError::NoBodyHash
            );
        }
        let login = json!({"sub": "alice", "iss": "acme.com"});
        assert_eq!(
            Sender::from_claims(login.as_object().unwrap()).unwrap_err(),
            SenderError::NoBodyHash
        );
    }

    #[test]
    fn sender_without_signature_accepts_any_body() {
        let Ok(SenderCheck::Verified(sender)) = proofs().check(&HeaderMap::new()) else {
            panic!("nothing is wanted")
        };
        assert_eq!(sender.check_body(b"anything"), Ok(()));
    }
}
