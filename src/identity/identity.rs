//! Verified claims as header values. A template names claims in braces; a header whose claims are not all
//! there is not set, and what the client sent under its name is removed all the same.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::claims::Claims;
use crate::types::oauth::{ClientId, Subject};

/// Who a request comes from, in the form the backend is told: made once a session, used for every request.
#[derive(Debug)]
pub struct Identity {
    /// `sub`; of a client that acts for nobody but itself its name.
    pub subject: Subject,
    /// Everything verified about whom.
    pub claims: Claims,
    /// The headers that tell the backend.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Identity {
    /// The identity that `claims` give, with the headers of `templates`.
    pub fn new(subject: Subject, claims: Claims, templates: &[HeaderTemplate]) -> Self {
        let headers = templates
            .iter()
            .filter_map(|template| template.render(&claims))
            .collect();
        Self {
            subject,
            claims,
            headers,
        }
    }

    /// The identity of a client that acts for nobody but itself. It has no `sub`, so no header and no rule can take it
    /// for a person of that name; `client_header` tells which client it is.
    pub fn of_client(
        client_id: &ClientId,
        mut claims: Map<String, Value>,
        templates: &[HeaderTemplate],
        client_header: &HeaderTemplate,
    ) -> Self {
        claims.remove("sub");
        claims.insert("client_id".to_owned(), client_id.as_str().into());
        let claims = Claims::new(claims, Map::new());
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
        }
    }
}

/// A header made of claims: `X-Forwarded-User: {sub}`.
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

/// Why a text is not a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The header's name is none.
    #[error("not a header name")]
    Name,
    /// A `{` without its `}`, or the other way round.
    #[error("a brace has no partner; a template is text with claims in braces, as in `{{email}}`")]
    Braces,
    /// `{}`.
    #[error("the braces name no claim")]
    Empty,
    /// Fixed text that cannot stand in a header.
    #[error("fixed text in a header must be visible ASCII")]
    Text,
}

impl HeaderTemplate {
    /// Reads a header's name and template.
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

    /// The header's name.
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The claims that the template names.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Claim(claim) => Some(claim.as_str()),
            Part::Text(_) => None,
        })
    }

    fn render(&self, claims: &Claims) -> Option<(HeaderName, HeaderValue)> {
        let mut value = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Claim(claim) => value.push_str(&joined(claims, claim)?),
            }
        }
        Some((self.name.clone(), HeaderValue::try_from(value).ok()?))
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

/// The claim's values with commas between them; `None` when there is none. A list of one is still a list: its member
/// must not look like two.
fn joined(claims: &Claims, claim: &str) -> Option<String> {
    let in_list = claims.get(claim).is_some_and(Value::is_array);
    let encoded: Vec<String> = claims
        .texts(claim)
        .iter()
        .map(|text| encoded(text, in_list))
        .collect();
    if encoded.iter().all(String::is_empty) {
        None
    } else {
        Some(encoded.join(","))
    }
}

/// Percent-encodes (as UTF-8, RFC 3986 section 2.1) what is not visible ASCII, `%` itself, a space at either end,
/// and a comma within a list, whose values are joined by commas. Everything else stands as it is.
fn encoded(text: &str, in_list: bool) -> String {
    let last = text.len().saturating_sub(1);
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let plain = match byte {
            b' ' => at != 0 && at != last,
            b'%' => false,
            b',' => !in_list,
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
    use serde_json::json;

    fn render(template: &str, claims: Value) -> Option<String> {
        let claims = Claims::new(claims.as_object().unwrap().clone(), Map::new());
        let template = HeaderTemplate::parse("X-Test", template).unwrap();
        template
            .render(&claims)
            .map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn templates_render_claims() {
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
    fn an_absent_claim_sets_no_header() {
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
    fn a_client_is_told_by_its_own_header_and_never_as_a_person() {
        let template = |name, text| HeaderTemplate::parse(name, text).unwrap();
        let templates = [template("X-User", "{sub}"), template("X-Roles", "{roles}")];
        let claims = json!({"sub": "reports", "roles": ["clerk"], "client_id": "alice"});
        let claims = claims.as_object().unwrap().clone();
        let identity = Identity::of_client(
            &ClientId::new("reports"),
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
    fn bad_templates_are_told_apart() {
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
