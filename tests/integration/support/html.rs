//! A minimal HTML reader for forms, links and text.

/// A form with the fields it would send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub id: Option<String>,
    /// Upper case; `GET` by default.
    pub method: String,
    pub action: String,
    /// Inputs and text areas with their values.
    pub fields: Vec<(String, String)>,
    /// Named buttons with their values; a browser sends the one that was pressed.
    pub buttons: Vec<(String, String)>,
}

#[derive(Debug)]
struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
    /// The text up to the next tag.
    text: String,
}

/// All forms of a page, including controls associated by a `form` attribute.
pub fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut inside = false;
    for tag in tags(html) {
        match tag.name.as_str() {
            "form" => {
                inside = true;
                forms.push(Form {
                    id: tag.attribute("id"),
                    method: tag
                        .attribute("method")
                        .unwrap_or_else(|| "GET".to_owned())
                        .to_ascii_uppercase(),
                    action: tag.attribute("action").unwrap_or_default(),
                    fields: Vec::new(),
                    buttons: Vec::new(),
                });
            }
            "/form" => inside = false,
            "input" | "button" | "textarea" => {
                let owner = match tag.attribute("form") {
                    Some(id) => forms.iter_mut().find(|form| form.id.as_ref() == Some(&id)),
                    None if inside => forms.last_mut(),
                    None => None,
                };
                if let (Some(form), Some(name)) = (owner, tag.attribute("name")) {
                    let value = tag.attribute("value").unwrap_or_default();
                    match tag.name.as_str() {
                        "button" => form.buttons.push((name, value)),
                        "textarea" => form.fields.push((name, tag.text)),
                        _ => form.fields.push((name, value)),
                    }
                }
            }
            _ => {}
        }
    }
    forms
}

impl Form {
    /// Whether the form has a control of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields
            .iter()
            .chain(&self.buttons)
            .any(|(control, _)| control == name)
    }

    /// The fields that are sent with these values typed in, and the named button or else the first
    /// one.
    pub fn filled(&self, values: &[(&str, &str)]) -> Vec<(String, String)> {
        let typed = |name: &str| {
            values
                .iter()
                .find(|(field, _)| *field == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), typed(name).unwrap_or_else(|| value.clone())));
        let pressed = self
            .buttons
            .iter()
            .find(|(name, value)| values.contains(&(name.as_str(), value.as_str())));
        fields
            .chain(pressed.or(self.buttons.first()).cloned())
            .collect()
    }
}

/// All links of a page: target and text.
pub fn links(html: &str) -> Vec<(String, String)> {
    let tags = tags(html);
    let anchors = tags.iter().enumerate().filter(|(_, tag)| tag.name == "a");
    anchors
        .filter_map(|(index, anchor)| {
            let inside = tags[index..].iter().take_while(|tag| tag.name != "/a");
            let text: String = inside.map(|tag| tag.text.as_str()).collect();
            Some((anchor.attribute("href")?, text.trim().to_owned()))
        })
        .collect()
}

/// The text of a page without its tags.
pub fn text(html: &str) -> String {
    /// Elements within a line, which do not separate words.
    const INLINE: [&str; 4] = ["bdi", "/bdi", "strong", "/strong"];
    let mut text = String::new();
    for tag in tags(html) {
        if !INLINE.contains(&tag.name.as_str()) {
            text.push(' ');
        }
        text.push_str(&tag.text);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Tag {
    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.clone())
    }
}

fn tags(html: &str) -> Vec<Tag> {
    html.split('<')
        .skip(1)
        .filter_map(|piece| {
            let (inside, text) = piece.split_once('>')?;
            let (name, rest) = inside
                .split_once(char::is_whitespace)
                .unwrap_or((inside.trim_end_matches('/'), ""));
            Some(Tag {
                name: name.to_ascii_lowercase(),
                attributes: attributes(rest),
                text: unescape(text),
            })
        })
        .collect()
}

fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return found;
        }
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (value, after) = match after.strip_prefix('=') {
            Some(after) => attribute_value(after),
            None => ("", after),
        };
        found.push((name.to_ascii_lowercase(), unescape(value)));
        rest = after;
    }
}

fn attribute_value(after: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = after.strip_prefix(quote) {
            return quoted.split_once(quote).unwrap_or((quoted, ""));
        }
    }
    after.split_once(char::is_whitespace).unwrap_or((after, ""))
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let known = after
            .split_once(';')
            .and_then(|(entity, after)| Some((character(entity)?, after)));
        match known {
            Some((c, after)) => {
                plain.push(c);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain + rest
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}
