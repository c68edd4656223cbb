//! Causes of failed TLS handshakes, recognized by the messages of rustls, which providers, apps and
//! Redis have in common. PURE.

/// Why a peer's certificate, or its answer to a TLS handshake, was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsFault {
    UnknownAuthority,
    Expired,
    NotYetValid,
    OtherName,
    NotTls,
}

impl TlsFault {
    /// The fault that the text of an error names.
    pub(super) fn in_text(text: &str) -> Option<Self> {
        let has = |terms: &[&str]| terms.iter().any(|term| text.contains(term));
        // Another authority of the same name has another key.
        if has(&["UnknownIssuer", "BadSignature", "CaUsedAsEndEntity"]) {
            Some(Self::UnknownAuthority)
        } else if has(&["certificate expired", "Expired"]) {
            Some(Self::Expired)
        } else if has(&["not valid yet", "NotValidYet"]) {
            Some(Self::NotYetValid)
        } else if has(&["not valid for name", "NotValidForName"]) {
            Some(Self::OtherName)
        } else if has(&["InvalidContentType", "corrupt message"]) {
            Some(Self::NotTls)
        } else {
            None
        }
    }

    pub(super) const fn finding_code(self) -> &'static str {
        match self {
            Self::UnknownAuthority => "certificate_authority_unknown",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::OtherName => "certificate_name_mismatch",
            Self::NotTls => "tls_not_spoken",
        }
    }

    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "if the certificate is from a private authority, set its certificate as the \
                 authority to trust"
            }
            Self::Expired => "renew the certificate there, or correct the clock of this machine",
            Self::NotYetValid => "correct the clock of this machine",
            Self::OtherName => "use a name that the certificate has",
            Self::NotTls => "the port does not speak TLS: is it the port for plain connections?",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_rustls_are_recognized() {
        use rustls::{CertificateError, Error, InvalidMessage};
        let certificate = Error::InvalidCertificate;
        for (error, fault) in [
            (
                certificate(CertificateError::UnknownIssuer),
                Some(TlsFault::UnknownAuthority),
            ),
            (
                certificate(CertificateError::BadSignature),
                Some(TlsFault::UnknownAuthority),
            ),
            (
                certificate(CertificateError::Expired),
                Some(TlsFault::Expired),
            ),
            (
                certificate(CertificateError::NotValidYet),
                Some(TlsFault::NotYetValid),
            ),
            (
                certificate(CertificateError::NotValidForName),
                Some(TlsFault::OtherName),
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                Some(TlsFault::NotTls),
            ),
            (certificate(CertificateError::Revoked), None),
        ] {
            assert_eq!(TlsFault::in_text(&error.to_string()), fault, "{error}");
        }
    }
}
