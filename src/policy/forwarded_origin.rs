//! Forwarded origin: the host and scheme that a client used, as a trusted proxy reports them. A
//! repeated, contradictory or malformed report is an error, never a guess.

use http::{HeaderMap, HeaderName, header};

use super::client_address::{ForwardedHeader, TrustedProxies, outside_quotes};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The scheme of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The facts that a trusted proxy reports about a request. Headers that the settings ignore are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedOrigin<'h> {
    /// The requested host, with a port if there is one. Not checked yet.
    pub(super) host: Option<&'h str>,
    /// The scheme.
    pub(super) scheme: Option<Scheme>,
}

/// The report is repeated, contradictory or malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForwardedOriginError;

impl<'h> ForwardedOrigin<'h> {
    /// Reads the headers of a request from a trusted proxy. Both kinds of headers are compared,
    /// because a proxy that sets one of them may pass on the other as the client sent it.
    pub(super) fn read(
        headers: &'h HeaderMap,
        trusted: &TrustedProxies,
    ) -> Result<Self, ForwardedOriginError> {
        let mut origin = Self::default();
        if trusted.reads_host() {
            let listed = only_value(headers, &X_FORWARDED_HOST)?;
            let parameter = only_parameter(headers, "host")?;
            let (listed, parameter) = (listed.map(HostText), parameter.map(HostText));
            origin.host = one_of(trusted, listed, parameter)?.map(|host| host.0);
        }
        if trusted.reads_scheme() {
            let listed = only_value(headers, &X_FORWARDED_PROTO)?;
            let parameter = only_parameter(headers, "proto")?;
            let listed = listed.map(Scheme::parse).transpose()?;
            let parameter = parameter.map(Scheme::parse).transpose()?;
            origin.scheme = one_of(trusted, listed, parameter)?;
        }
        Ok(origin)
    }
}

/// A host, compared without regard to case.
struct HostText<'h>(&'h str);

impl PartialEq for HostText<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Scheme {
    /// Some proxies report the scheme of a WebSocket.
    fn parse(text: &str) -> Result<Self, ForwardedOriginError> {
        let is = |scheme: &str| text.eq_ignore_ascii_case(scheme);
        if is("https") || is("wss") {
            Ok(Self::Https)
        } else if is("http") || is("ws") {
            Ok(Self::Http)
        } else {
            Err(ForwardedOriginError)
        }
    }
}

/// The value of the configured header. The other header must not contradict it.
fn one_of<T: PartialEq>(
    trusted: &TrustedProxies,
    listed: Option<T>,
    parameter: Option<T>,
) -> Result<Option<T>, ForwardedOriginError> {
    if listed.is_some() && parameter.is_some() && listed != parameter {
        return Err(ForwardedOriginError);
    }
    Ok(match trusted.header() {
        ForwardedHeader::XForwardedFor => listed,
        ForwardedHeader::Forwarded => parameter,
    })
}

/// The value of a field that has exactly one.
fn only_value<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, ForwardedOriginError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let value = value.to_str().map_err(|_| ForwardedOriginError)?.trim();
    if values.next().is_some() || value.is_empty() || value.contains(',') {
        return Err(ForwardedOriginError);
    }
    Ok(Some(value))
}

/// The value of a parameter that occurs at most once in all elements of `Forwarded` (RFC 7239
/// section 4).
fn only_parameter<'h>(
    headers: &'h HeaderMap,
    name: &str,
) -> Result<Option<&'h str>, ForwardedOriginError> {
    let mut found = None;
    for field in headers.get_all(header::FORWARDED) {
        let field = field.to_str().map_err(|_| ForwardedOriginError)?;
        let elements = outside_quotes(field, ',').ok_or(ForwardedOriginError)?;
        for pair in elements
            .into_iter()
            .filter_map(|element| outside_quotes(element, ';'))
            .flatten()
        {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            if key.trim().eq_ignore_ascii_case(name)
                && found.replace(unquoted(value.trim())?).is_some()
            {
                return Err(ForwardedOriginError);
            }
        }
    }
    Ok(found)
}

/// A token, or the text of a quoted string. No host or scheme has an escaped character.
fn unquoted(value: &str) -> Result<&str, ForwardedOriginError> {
    let text = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').ok_or(ForwardedOriginError)?,
        None => value,
    };
    let is_plain = !text.is_empty() && !text.contains(['"', '\\']);
    is_plain.then_some(text).ok_or(ForwardedOriginError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        header: ForwardedHeader,
        fields: &[(&'static str, &str)],
    ) -> Result<(Option<String>, Option<Scheme>), ForwardedOriginError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = TrustedProxies::new(Vec::new())
            .reading(header)
            .reading_host(true)
            .reading_scheme(true);
        let origin = ForwardedOrigin::read(&headers, &trusted)?;
        Ok((origin.host.map(str::to_owned), origin.scheme))
    }

    #[test]
    fn read_takes_host_and_scheme_of_the_configured_header() {
        let (listed, parameter) = (ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded);
        let x = [
            ("x-forwarded-host", "a.example:8443"),
            ("x-forwarded-proto", "HTTPS"),
        ];
        let expected = (Some("a.example:8443".to_owned()), Some(Scheme::Https));
        assert_eq!(read(listed, &x), Ok(expected.clone()));
        assert_eq!(read(parameter, &x), Ok((None, None)));
        let websocket = [("x-forwarded-proto", "wss"), ("forwarded", "proto=https")];
        assert_eq!(read(listed, &websocket), Ok((None, Some(Scheme::Https))));
        let forwarded = [(
            "forwarded",
            "for=10.0.0.1;Host=\"a.example:8443\"; proto=https, for=10.0.0.2",
        )];
        assert_eq!(read(parameter, &forwarded), Ok(expected));
        assert_eq!(read(listed, &forwarded), Ok((None, None)));
        assert_eq!(read(listed, &[]), Ok((None, None)));
    }

    #[test]
    fn read_without_settings_reads_nothing() {
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_HOST, "a, b".parse().unwrap());
        let origin = ForwardedOrigin::read(&headers, &TrustedProxies::default());
        assert_eq!(origin, Ok(ForwardedOrigin::default()));
    }

    #[test]
    fn read_refuses_repeated_and_contradictory_values() {
        for fields in [
            &[("x-forwarded-host", "a.example, a.example")][..],
            &[("x-forwarded-host", "")],
            &[
                ("x-forwarded-host", "a.example"),
                ("x-forwarded-host", "a.example"),
            ],
            &[
                ("x-forwarded-host", "a.example"),
                ("forwarded", "host=b.example"),
            ],
            &[("x-forwarded-proto", "https"), ("forwarded", "proto=http")],
            &[("x-forwarded-proto", "https,http")],
            &[("x-forwarded-proto", "ftp")],
            &[("forwarded", "host=a.example, host=a.example")],
            &[("forwarded", "host=a.example;host=a.example")],
            &[
                ("forwarded", "host=a.example"),
                ("forwarded", "host=a.example"),
            ],
            &[("forwarded", "host=\"a.example")],
            &[("forwarded", "host=\"a\\.example\"")],
            &[("forwarded", "host=")],
        ] {
            for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                assert_eq!(
                    read(header, fields),
                    Err(ForwardedOriginError),
                    "{fields:?}"
                );
            }
        }
    }
}
