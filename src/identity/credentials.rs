//! Credentials in `Authorization`: access tokens with the scheme `Bearer` or `DPoP`, and the scheme
//! `Basic`. All other schemes belong to the app, and so does `Basic` unless a rule accepts it.

use http::{HeaderMap, HeaderValue, header};

/// The authentication scheme of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A bearer token (RFC 6750 section 2.1).
    Bearer,
    /// A token with a proof of possession (RFC 9449 section 7.1).
    DPoP,
}

/// An access token as presented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'r> {
    /// The scheme.
    pub scheme: Scheme,
    /// The token. `None` if its syntax is invalid.
    pub token: Option<&'r str>,
}

impl Scheme {
    /// The scheme's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::DPoP => "DPoP",
        }
    }

    /// The scheme at the start of a field, in any case (RFC 9110 section 11.1) and whatever follows
    /// it, so that nothing a lenient parser would accept is passed on.
    pub fn of(field: &HeaderValue) -> Option<Self> {
        let word = scheme_word(field);
        [Self::Bearer, Self::DPoP]
            .into_iter()
            .find(|scheme| word.eq_ignore_ascii_case(scheme.name().as_bytes()))
    }
}

impl<'r> Credentials<'r> {
    /// The access token in `headers`. The request parser has rejected repeated `Authorization`
    /// headers.
    pub fn read(headers: &'r HeaderMap) -> Option<Self> {
        let field = headers.get(header::AUTHORIZATION)?;
        let scheme = Scheme::of(field)?;
        let behind = field.to_str().ok().and_then(|field| field.split_once(' '));
        let token = behind
            .map(|(_, token)| token.trim_matches(' '))
            .filter(|token| is_token(token));
        Some(Self { scheme, token })
    }
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, [redacted])", self.scheme)
    }
}

/// Whether a field has the scheme `Basic` (RFC 7617), in any case and whatever follows it.
pub fn is_basic(field: &HeaderValue) -> bool {
    scheme_word(field).eq_ignore_ascii_case(b"Basic")
}

fn scheme_word(field: &HeaderValue) -> &[u8] {
    let bytes = field.as_bytes().trim_ascii_start();
    let mut words = bytes.split(|byte| !byte.is_ascii_alphanumeric());
    words.next().unwrap_or_default()
}

/// `b64token` (RFC 6750 section 2.1).
fn is_token(text: &str) -> bool {
    let token = text.trim_end_matches('=').as_bytes();
    // Tokens have some KiB. Without an early exit the compiler checks many bytes at once.
    let is_plain = token
        .iter()
        .fold(true, |all, byte| all & is_token_byte(*byte));
    !token.is_empty() && is_plain
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(field: &[u8]) -> Option<(Scheme, Option<String>)> {
        let headers = HeaderMap::from_iter([(
            header::AUTHORIZATION,
            HeaderValue::from_bytes(field).unwrap(),
        )]);
        let credentials = Credentials::read(&headers)?;
        Some((credentials.scheme, credentials.token.map(str::to_owned)))
    }

    #[test]
    fn token_is_read_with_either_scheme_in_any_case() {
        for field in [
            "Bearer a.b-_~+/==",
            "bearer a.b-_~+/==",
            "BEARER   a.b-_~+/==",
        ] {
            assert_eq!(
                read(field.as_bytes()),
                Some((Scheme::Bearer, Some("a.b-_~+/==".to_owned()))),
                "{field}"
            );
        }
        assert_eq!(read(b"dpop x"), Some((Scheme::DPoP, Some("x".to_owned()))));
    }

    #[test]
    fn malformed_token_is_recognized_by_its_scheme() {
        for field in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer\tx",
            b"bearer=x",
            b"Bearer,x",
            b"Bearer a b",
            b"Bearer =",
            b"Bearer \xe9",
        ] {
            assert_eq!(
                read(field),
                Some((Scheme::Bearer, None)),
                "{}",
                field.escape_ascii()
            );
        }
        assert_eq!(read(b"DPoP:x"), Some((Scheme::DPoP, None)));
    }

    #[test]
    fn byte_outside_the_alphabet_is_found_at_any_position() {
        for length in [1, 15, 16, 17, 63, 64, 65, 1000] {
            let token = "a".repeat(length);
            assert!(is_token(&token) && is_token(&format!("{token}=")));
            for position in [0, length / 2, length - 1] {
                for other in ['=', ' ', '!', ',', ':', '@', '[', '`', '{', '\u{7f}'] {
                    let mut token = token.clone();
                    token.replace_range(position..=position, &other.to_string());
                    let is_padding = other == '=' && length > 1 && position == length - 1;
                    assert_eq!(
                        is_token(&token),
                        is_padding,
                        "{length} {position} {other:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_schemes_belong_to_the_app() {
        for field in [
            "Basic eDp5",
            "Bearers x",
            "xBearer x",
            "Digest username=\"Bearer x\"",
            "Negotiate x",
            "JWT x",
            "",
        ] {
            assert_eq!(read(field.as_bytes()), None, "{field}");
        }
        assert_eq!(Credentials::read(&HeaderMap::new()), None);
    }
}
