//! The schema of access rules and their conditions.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::keywords::{AuthMethod, ClaimMembers};
use super::values::{HumanDuration, List};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRule {
    pub(super) name: Option<String>,
    pub(super) paths: Option<List<String>>,
    pub(super) methods: Option<List<String>>,
    pub(super) allow: Option<RawAllow>,
    pub(super) auth_methods: Option<List<AuthMethod>>,
    pub(super) require: Option<RawRequire>,
    pub(super) cors_origins: Option<List<String>>,
    pub(super) cors_credentials: Option<bool>,
}

/// `require = { acr = "…", max_age = "5m" }`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawRequire {
    pub(super) acr: Option<RawTexts>,
    pub(super) max_age: Option<HumanDuration>,
}

/// A text, or a list of texts.
pub(super) struct RawTexts(pub(super) List<String>);

/// `allow = "public"`, or a condition such as `allow = { roles = […] }`.
pub(super) enum RawAllow {
    Public,
    Authenticated,
    Denied,
    If(Box<RawCondition>),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawCondition {
    pub(super) roles: Option<RawValues>,
    pub(super) scopes: Option<List<String>>,
    pub(super) claim: Option<String>,
    pub(super) any_of: Option<RawValues>,
    pub(super) members: Option<ClaimMembers>,
    pub(super) email_domains: Option<RawValues>,
    pub(super) emails: Option<RawValues>,
    pub(super) from: Option<RawValues>,
    pub(super) all: Option<List<RawAllow>>,
    pub(super) any: Option<List<RawAllow>>,
    pub(super) not: Option<RawAllow>,
}

/// A list, or `{ file = "…" }`.
pub(super) enum RawValues {
    Listed(List<String>),
    File(RawListFile),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawListFile {
    pub(super) file: Option<String>,
}

impl<'de> Deserialize<'de> for RawAllow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = RawAllow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a keyword or a condition; use `\"public\"`, `\"authenticated\"`, `\"deny\"`, ",
                )?;
                f.write_str("`{ roles = [\"…\"] }`, `{ scopes = [\"…\"] }` or `{ claim = \"…\", any_of = [\"…\"] }`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawAllow, E> {
                match text {
                    "public" => Ok(RawAllow::Public),
                    "authenticated" => Ok(RawAllow::Authenticated),
                    "deny" => Ok(RawAllow::Denied),
                    _ => Err(E::unknown_variant(
                        text,
                        &["public", "authenticated", "deny"],
                    )),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawAllow, A::Error> {
                let condition = RawCondition::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawAllow::If(Box::new(condition)))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for RawTexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = RawTexts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array; use `\"…\"` or `[\"…\"]`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawTexts, E> {
                Ok(RawTexts(vec![Some(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawTexts, A::Error> {
                List::deserialize(SeqAccessDeserializer::new(list)).map(RawTexts)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for RawValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = RawValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or a file; use `[\"…\"]` or `{ file = \"…\" }`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RawValues, A::Error> {
                List::deserialize(SeqAccessDeserializer::new(list)).map(RawValues::Listed)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawValues, A::Error> {
                RawListFile::deserialize(MapAccessDeserializer::new(map)).map(RawValues::File)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
