//! Whether a webhook was sent by this FusionAuth. Everything that is configured has to be right, and is told before
//! the body is read, so that nobody else makes Doorward read one. PURE.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, header};
use serde_json::{Map, Value};

use super::shared_secret;
use crate::oidc::error::TokenRejected;
use crate::types::secret::{Secret, same_bytes};

const SIGNATURE: &str = "x-fusionauth-signature-jwt";

/// How webhooks prove where they come from: each that is given is required. Never none of them.
#[derive(Clone, Debug)]
pub struct SenderProofs {
    /// `X-FusionAuth-Signature-JWT`, over the body.
    pub signature: Option<SignatureKey>,
    /// HTTP Basic: user name and password, with a `:` between.
    pub basic: Option<Secret<String>>,
    /// A header of the operator's choice with this value.
    pub header: Option<(HeaderName, Secret<String>)>,
}

/// What signatures are checked with. One family only: a key of one kind is never taken for one of the other.
#[derive(Clone, Debug)]
pub enum SignatureKey {
    /// The provider's published keys, by `kid`; asymmetric only.
    KeySet,
    /// A secret that both sides have; HMAC only.
    Shared(Secret<Vec<u8>>),
}

/// A webhook is not from this FusionAuth, or that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// No webhooks are expected from it.
    #[error("no webhooks are configured for this provider")]
    NotExpected,
    /// No signature, or more than one.
    #[error("the webhook has not exactly one X-FusionAuth-Signature-JWT")]
    NoSignature,
    /// A signature that the provider's keys do not verify, or that they could not be fetched for.
    #[error("the webhook's signature was not accepted: {0}")]
    Signature(#[from] TokenRejected),
    /// A signature that the shared secret does not verify.
    #[error("the webhook is not signed with the shared secret")]
    NotShared,
    /// A good signature over something that is not a body: some other token of the provider.
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

/// Proof that a webhook comes from this FusionAuth, provided that its body is the one that was signed.
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

    /// Whether the provider is to blame and the webhook may yet be good.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Signature(rejected) if rejected.is_outage())
    }
}

impl SenderProofs {
    /// Checks everything but a signature by the provider's published keys, which is returned to be checked.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn check(&self, headers: &HeaderMap) -> Result<Checked, SenderError> {
        if let Some(expected) = &self.basic {
            let given = only(headers, &header::AUTHORIZATION)
                .and_then(basic)
                .ok_or(SenderError::Basic)?;
            if !same_bytes(&given, expected.expose().as_bytes()) {
                return Err(SenderError::Basic);
            }
        }
        if let Some((name, expected)) = &self.header {
            let given = only(headers, name).ok_or(SenderError::Header)?;
            if !same_bytes(given.as_bytes(), expected.expose().as_bytes()) {
                return Err(SenderError::Header);
            }
        }
        let Some(key) = &self.signature else {
            return Ok(Checked::Sender(Sender { body_sha256: None }));
        };
        let token =
            only(headers, &HeaderName::from_static(SIGNATURE)).ok_or(SenderError::NoSignature)?;
        match key {
            SignatureKey::KeySet => Ok(Checked::ToVerify(token.to_owned())),
            SignatureKey::Shared(secret) => {
                let claims =
                    shared_secret::verify(token, secret.expose()).ok_or(SenderError::NotShared)?;
                Sender::of_claims(&claims).map(Checked::Sender)
            }
        }
    }
}

/// How far [`SenderProofs::check`] came.
#[derive(Debug)]
pub enum Checked {
    /// To the end.
    Sender(Sender),
    /// To the signature, which is this.
    ToVerify(String),
}

impl Sender {
    /// From the claims of a signature that was verified.
    pub(in crate::oidc) fn of_claims(claims: &Map<String, Value>) -> Result<Self, SenderError> {
        let hash = claims.get("request_body_sha256").and_then(Value::as_str);
        let hash = hash
            .and_then(|hash| STANDARD.decode(hash).ok())
            .and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        Ok(Self {
            body_sha256: Some(hash.ok_or(SenderError::NoBodyHash)?),
        })
    }

    /// Whether `body` is the one that the proof is about.
    ///
    /// # Errors
    /// [`SenderError::OtherBody`].
    pub fn vouches_for(&self, body: &[u8]) -> Result<(), SenderError> {
        let sent = digest::digest(&digest::SHA256, body);
        match &self.body_sha256 {
            Some(signed) if !same_bytes(signed, sent.as_ref()) => Err(SenderError::OtherBody),
            Some(_) | None => Ok(()),
        }
    }
}

/// The header of this name, if there is exactly one, in ASCII.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
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
            Ok(Checked::Sender(_)) => "",
            Ok(Checked::ToVerify(_)) => "to_verify",
            Err(error) => error.code(),
        }
    }

    #[test]
    fn basic_credentials_are_compared_whole() {
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
    fn everything_that_is_configured_is_required() {
        let name = HeaderName::from_static("x-hook");
        let both = SenderProofs {
            header: Some((name, Secret::new("key".into()))),
            signature: Some(SignatureKey::KeySet),
            ..proofs()
        };
        assert_eq!(
            code(&both, &[("x-hook", "key"), (SIGNATURE, "a.b.c")]),
            "to_verify"
        );
        assert_eq!(
            code(&both, &[("x-hook", "key")]),
            "webhook_signature_missing"
        );
        assert_eq!(
            code(
                &both,
                &[("x-hook", "key"), (SIGNATURE, "a"), (SIGNATURE, "a")]
            ),
            "webhook_signature_missing"
        );
        for wrong in ["", "kex", "key2", "KEY"] {
            assert_eq!(
                code(&both, &[("x-hook", wrong), (SIGNATURE, "a.b.c")]),
                "webhook_header_wrong",
                "{wrong}"
            );
        }
        assert_eq!(code(&both, &[(SIGNATURE, "a.b.c")]), "webhook_header_wrong");
    }

    #[test]
    fn a_signature_is_about_one_body_and_no_login_is_a_signature() {
        let hash = |body: &[u8]| STANDARD.encode(digest::digest(&digest::SHA256, body));
        let claims = |hash: Value| {
            json!({ "request_body_sha256": hash })
                .as_object()
                .unwrap()
                .clone()
        };
        let sender = Sender::of_claims(&claims(json!(hash(b"{}")))).unwrap();
        assert_eq!(sender.vouches_for(b"{}"), Ok(()));
        assert_eq!(sender.vouches_for(b"{} "), Err(SenderError::OtherBody));
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([0xfb; 32]);
        for wrong in [
            json!(url_safe),
            json!(""),
            json!("AAAA"),
            json!(7),
            json!(null),
        ] {
            assert_eq!(
                Sender::of_claims(&claims(wrong)).unwrap_err(),
                SenderError::NoBodyHash
            );
        }
        let login = json!({"sub": "alice", "iss": "acme.com"});
        assert_eq!(
            Sender::of_claims(login.as_object().unwrap()).unwrap_err(),
            SenderError::NoBodyHash
        );
    }

    #[test]
    fn without_a_signature_any_body_will_do() {
        let Ok(Checked::Sender(sender)) = proofs().check(&HeaderMap::new()) else {
            panic!("nothing is wanted")
        };
        assert_eq!(sender.vouches_for(b"anything"), Ok(()));
    }
}
