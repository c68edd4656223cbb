//! The values of the configuration file that are more than text: durations with a unit and words from a fixed list.
//! Each refuses what it cannot read in words that an operator understands, never in those of the parser.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Longest duration that is read: ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// What a duration looks like. What stands behind `; ` in an `expecting` text is shown as its hint.
const DURATION: &str = "a duration; write it as text with a unit, such as `\"90s\"`, `\"30m\"`, `\"12h\"` or `\"1d\"` (ten years at most)";

/// A span of time as it stands in the file: a whole number and one of the units `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HumanDuration(pub(super) Duration);

impl HumanDuration {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unit = text.chars().next_back()?;
        let seconds_each: u64 = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        let digits = text.strip_suffix(unit)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let span = Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(seconds_each)?);
        (span <= LONGEST).then_some(Self(span))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DURATION)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
                HumanDuration::parse(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// Declares an enum that stands in the file as one of a few words, and in no other way.
macro_rules! keyword {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $text:literal => $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Reader;

                impl Visitor<'_> for Reader {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("one of" $(, " `\"", $text, "\"`")+))
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        match text {
                            $($text => Ok($name::$variant),)+
                            _ => Err(E::unknown_variant(text, &[$($text),+])),
                        }
                    }
                }

                deserializer.deserialize_any(Reader)
            }
        }
    };
}

keyword! {
    /// Where trusted proxies say who the client is.
    ForwardedHeader {
        "x-forwarded-for" => XForwardedFor,
        "forwarded" => Forwarded,
    }
}

keyword! {
    /// What is spoken with an app.
    UpstreamProtocol {
        "http1" => Http1,
        "http2" => Http2,
    }
}

keyword! {
    /// The form of the log's lines.
    LogFormat {
        /// For a person at a terminal.
        "text" => Text,
        /// One JSON object a line.
        "json" => Json,
    }
}
keyword! {
    /// The least important event that is logged.
    LogLevel {
        /// What stopped something from working.
        "error" => Error,
        /// What an operator should look into.
        "warn" => Warn,
        /// What happens once in a session's life.
        "info" => Info,
        /// What helps to find a fault.
        "debug" => Debug,
        /// Everything.
        "trace" => Trace,
    }
}
keyword! {
    /// How the app's own logout is asked for.
    AppLogoutMethod {
        /// As a link does.
        "GET" => Get,
        /// As a form does.
        "POST" => Post,
    }
}
keyword! {
    /// The provider's dialect.
    ProviderKind {
        /// Any OpenID provider.
        "oidc" => Oidc,
        /// FusionAuth.
        "fusionauth" => FusionAuth,
    }
}
keyword! {
    /// Which of FusionAuth's endpoints refreshes.
    RefreshBy {
        /// `/oauth2/token`.
        "token" => Token,
        /// `/api/jwt/refresh`.
        "jwt-refresh" => JwtRefresh,
    }
}
keyword! {
    /// What FusionAuth signs its webhooks with.
    WebhookSignature {
        /// A key of its key set.
        "jwks" => Jwks,
        /// A secret that Doorward has too.
        "hmac" => Hmac,
    }
}
keyword! {
    /// How an app's registration proves itself at the token endpoint (OpenID Connect Core section 9).
    TokenEndpointAuthMethod {
        /// `client_secret_basic`.
        "client_secret_basic" => Basic,
        /// `client_secret_post`.
        "client_secret_post" => Post,
        /// A public client: no secret, PKCE only.
        "none" => None,
    }
}
keyword! {
    /// Which of the provider's tokens is the JWT of a session.
    SessionTokenSource {
        /// The access token: the provider must issue it as a JWT for this app's audience.
        "access" => Access,
        /// The ID token: every OpenID provider issues it as a JWT for this app.
        "id" => Id,
    }
}
keyword! {
    /// Whether the UserInfo endpoint is asked for claims that the tokens lack (OpenID Connect Core section 5.3).
    Userinfo {
        /// At login, when a header or a rule names a claim that the ID token lacks.
        "when-needed" => WhenNeeded,
        /// Never.
        "never" => Never,
    }
}
keyword! {
    /// What becomes of a session whose refresh token comes again long after it was replaced.
    OnReuse {
        /// It ends, for everybody who has it.
        "end-session" => EndSession,
        /// The request is refused, and the session goes on.
        "refuse" => Refuse,
    }
}
keyword! {
    /// What counts while the store cannot be heard.
    RevocationMode {
        /// Sessions go on.
        "fail-open" => FailOpen,
        /// Every request of a session gets 503.
        "fail-closed" => FailClosed,
    }
}
keyword! {
    /// What becomes of refreshes while the store is away.
    OnStoreOutage {
        /// They wait.
        "refuse" => Refuse,
        /// Each replica goes on by itself.
        "local-lease" => LocalLease,
    }
}
keyword! {
    /// A way in which a rule lets somebody show who they are.
    AuthMethods {
        /// The cookies of a session.
        "session" => Session,
        /// An access token.
        "bearer" => Bearer,
    }
}
keyword! {
    /// What becomes of access tokens that are no JWTs.
    OpaqueTokens {
        /// They are refused.
        "refuse" => Refuse,
        /// The app's provider is asked about them (RFC 7662).
        "introspect" => Introspect,
    }
}
keyword! {
    /// Whether access tokens have to be bound to a key (RFC 9449).
    Dpop {
        /// Those that are must come with a proof; others need none.
        "optional" => Optional,
        /// Others are refused.
        "required" => Required,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("12h", 43_200),
            ("1d", 86_400),
            ("0s", 0),
            ("3650d", 315_360_000),
        ] {
            assert_eq!(
                HumanDuration::parse(text),
                Some(HumanDuration(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "90",
            "1.5h",
            "-1s",
            "+1s",
            "1 h",
            "1w",
            "1S",
            "1ms",
            "3651d",
            "99999999999999999999s",
            "1é",
        ] {
            assert_eq!(HumanDuration::parse(text), None, "{text}");
        }
    }
}
