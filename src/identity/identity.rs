//! Identity: verified claims as identity headers. A header template contains claims in braces. If
//! one of its claims is absent the header is not set, and the client's header of that name is still
//! removed.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::claims::Claims;
use crate::telemetry::caller_names::CallerNames;
use crate::types::host_label::HostLabel;
use crate::types::oauth::{ClientId, Subject};

/// The identity of a caller, created once per session.
#[derive(Debug)]
pub struct Identity {
    /// `sub`. For a client on its own behalf, its client ID.
    pub subject: Subject,
    /// The verified claims.
    pub claims: Claims,
    /// The identity headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The names in the logs.
    pub log_names: CallerNames,
}

impl Identity {
    /// The identity with these claims, and the headers of `templates`.
    pub fn new(subject: Subject, claims: Claims, templates: &[HeaderTemplate]) -> Self {
        let headers = templates
            .iter()
            .filter_map(|template| template.render(&claims))
            .collect();
        Self {
            subject,
            claims,
            headers,
            log_names: CallerNames::default(),
        }
    }

    /// The identity of a client on its own behalf, with the claims of [`Claims::of_client`].
    /// `client_header` contains the client ID.
    pub fn of_client(
        client_id: &ClientId,
        claims: Claims,
        templates: &[HeaderTemplate],
        client_header: &HeaderTemplate,
    ) -> Self {
        let subject = Subject::new(client_id.as_str());
        let headers = templates
            .iter()
            .chain([client_header])
            .filter_map(|template| template.render(&claims))
            .collect();
        Self {
            subject,
            claims,
            headers,
            log_names: CallerNames::default(),
        }
    }
}

/// In an app with a wildcard host, the name that stands for the label of the host, in place of a
/// claim.
pub const HOST_LABEL: &str = "label";

/// A header with claims, such as `X-Forwarded-User: {sub}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTemplate {
    name: HeaderName,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(String),
}

/// Why a header template is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The header name is invalid.
    #[error("not a header name")]
    Name,
    /// An unmatched `{` or `}`.
    #[error("unmatched brace; a template is text with claims in braces, as in `{{email}}`")]
    Braces,
    /// `{}`.
    #[error("the braces contain no claim")]
    Empty,
    /// The fixed text is not valid in a header.
    #[error("fixed text in a header must be visible ASCII")]
    Text,
}

impl HeaderTemplate {
    /// Parses a header name and template.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(name: &str, template: &str) -> Result<Self, TemplateError> {
        let name = HeaderName::try_from(name).map_err(|_| TemplateError::Name)?;
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or(TemplateError::Braces)?;
            if claim.contains('{') {
                return Err(TemplateError::Braces);
            }
            if claim.is_empty() {
                return Err(TemplateError::Empty);
            }
            push_text(&mut parts, text)?;
            parts.push(Part::Claim(claim.to_owned()));
            rest = after;
        }
        push_text(&mut parts, rest)?;
        Ok(Self { name, parts })
    }

    /// The template with `label` in place of `{label}`, at a host of a wildcard.
    #[must_use]
    pub fn at_label(&self, label: &HostLabel) -> Self {
        let parts = self.parts.iter().map(|part| match part {
            Part::Claim(name) if name == HOST_LABEL => Part::Text(label.as_str().to_owned()),
            Part::Claim(_) | Part::Text(_) => part.clone(),
        });
        Self {
            name: self.name.clone(),
            parts: parts.collect(),
        }
    }

    /// The header name.
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The claims in the template.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Claim(claim) => Some(claim.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with these claims. `None` if one has no value.
    pub fn rendered(&self, claims: &Claims) -> Option<String> {
        let (_, value) = self.render(claims)?;
        value.to_str().ok().map(str::to_owned)
    }

    fn render(&self, claims: &Claims) -> Option<(HeaderName, HeaderValue)> {
        let value = self.value(|claim| joined(claims, claim))?;
        Some((self.name.clone(), value))
    }

    /// The header value, with `of` in place of each name in braces. `None` if one has no value.
    pub(super) fn value(&self, of: impl Fn(&str) -> Option<String>) -> Option<HeaderValue> {
        let mut value = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Claim(name) => value.push_str(&of(name)?),
            }
        }
        HeaderValue::try_from(value).ok()
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    if text.contains('}') {
        return Err(TemplateError::Braces);
    }
    if text.bytes().any(|byte| !matches!(byte, b' '..=b'~')) {
        return Err(TemplateError::Text);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

/// Claims of OpenID Connect Core section 5.1 that are text for people, such as `Doe, Jane`. Nobody
/// reads them as lists.
const DISPLAY_TEXT: [&str; 9] = [
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "address.formatted",
    "address.street_address",
    "address.locality",
    "address.region",
];

/// The values of the claim, separated by commas. `None` without values. A comma inside a value is
/// encoded, so that a single value cannot look like two.
pub(super) fn joined(claims: &Claims, claim: &str) -> Option<String> {
    let is_text = claims.get(claim).is_some_and(Value::is_string);
    let keeps_commas = is_text && DISPLAY_TEXT.contains(&claim);
    let encoded: Vec<String> = claims
        .texts(claim)
        .iter()
        .map(|text| encoded(text, keeps_commas))
        .collect();
    if encoded.iter().all(String::is_empty) {
        None
    } else {
        Some(encoded.join(","))
    }
}

/// Percent-encodes (as UTF-8, RFC 3986 section 2.1) characters that are not visible ASCII, `%`, a
/// space at either end, and commas, which separate values.
fn encoded(text: &str, keeps_commas: bool) -> String {
    let last = text.len().saturating_sub(1);
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let plain = match byte {
            b' ' => at != 0 && at != last,
            b'%' => false,
            b',' => keeps_commas,
            b'!'..=b'~' => true,
            _ => false,
        };
        if plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn render(template: &str, claims: Value) -> Option<String> {
        let claims = Claims::new(claims.as_object().unwrap().clone(), Map::new());
        let template = HeaderTemplate::parse("X-Test", template).unwrap();
        template
            .render(&claims)
            .map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn template_renders_claims() {
        assert_eq!(render("{sub}", json!({"sub": "alice"})).unwrap(), "alice");
        assert_eq!(
            render("user:{sub} <{email}>", json!({"sub": 7, "email": "a@b"})).unwrap(),
            "user:7 <a@b>"
        );
        assert_eq!(
            render("{groups}", json!({"groups": ["a", "b,c"]})).unwrap(),
            "a,b%2Cc"
        );
        assert_eq!(
            render("{groups}", json!({"groups": ["a,admin"]})).unwrap(),
            "a%2Cadmin"
        );
        assert_eq!(
            render("{name}", json!({"name": "Doe, Jane"})).unwrap(),
            "Doe, Jane"
        );
        assert_eq!(
            render("{name}", json!({"name": ["Doe, Jane"]})).unwrap(),
            "Doe%2C Jane"
        );
        assert_eq!(
            render("{name}", json!({"name": "Zo\u{eb} 100%"})).unwrap(),
            "Zo%C3%AB 100%25"
        );
        assert_eq!(
            render("{name}", json!({"name": "a\r\nX-Admin: 1"})).unwrap(),
            "a%0D%0AX-Admin: 1"
        );
        assert_eq!(
            render("{name}", json!({"name": " padded "})).unwrap(),
            "%20padded%20"
        );
    }

    #[test]
    fn text_with_a_comma_differs_from_a_list() {
        for claim in ["groups", "roles", "sub", "realm.groups", "department"] {
            let template = format!("{{{claim}}}");
            let value = |value: Value| render(&template, json!({ claim: value })).unwrap();
            assert_eq!(value(json!("staff,admins")), "staff%2Cadmins", "{claim}");
            assert_eq!(value(json!(["staff", "admins"])), "staff,admins", "{claim}");
        }
    }

    #[test]
    fn absent_claim_sets_no_header() {
        for claims in [
            json!({}),
            json!({"email": null}),
            json!({"email": ""}),
            json!({"email": []}),
            json!({"email": {}}),
        ] {
            assert_eq!(render("<{email}>", claims.clone()), None, "{claims}");
        }
    }

    #[test]
    fn client_identity_sets_client_header_and_no_user_header() {
        let template = |name, text| HeaderTemplate::parse(name, text).unwrap();
        let templates = [template("X-User", "{sub}"), template("X-Roles", "{roles}")];
        let claims = json!({"sub": "reports", "roles": ["clerk"], "client_id": "alice"});
        let client_id = ClientId::new("reports");
        let claims = Claims::of_client(&client_id, claims.as_object().unwrap().clone());
        let identity = Identity::of_client(
            &client_id,
            claims,
            &templates,
            &template("X-Client", "{client_id}"),
        );
        let headers: Vec<_> = identity
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(headers, [("x-roles", "clerk"), ("x-client", "reports")]);
        assert!(identity.claims.get("sub").is_none());
    }

    #[test]
    fn invalid_templates_have_distinct_errors() {
        let parse = |text| HeaderTemplate::parse("X-Test", text).unwrap_err();
        assert_eq!(parse("{sub"), TemplateError::Braces);
        assert_eq!(parse("sub}"), TemplateError::Braces);
        assert_eq!(parse("{a{b}}"), TemplateError::Braces);
        assert_eq!(parse("{}"), TemplateError::Empty);
        assert_eq!(parse("a\nb"), TemplateError::Text);
        assert_eq!(
            HeaderTemplate::parse("X Test", "a"),
            Err(TemplateError::Name)
        );
    }
}
