//! Templates: the shipped files, compiled, with one formatter for all values.

use minijinja::value::Value;
use minijinja::{Environment, Error, UndefinedBehavior};

use super::escaping::{format_value, strong};

/// The style of all pages.
pub(super) const STYLE: &str = include_str!("style.css");

const SHIPPED: [(&str, &str); 12] = [
    ("layout.html", include_str!("layout.html")),
    ("error.html", include_str!("error.html")),
    ("forbidden.html", include_str!("forbidden.html")),
    ("frame_login.html", include_str!("frame_login.html")),
    ("logout_confirm.html", include_str!("logout_confirm.html")),
    ("moving_on.html", include_str!("moving_on.html")),
    (
        "post_not_preserved.html",
        include_str!("post_not_preserved.html"),
    ),
    ("provider_choice.html", include_str!("provider_choice.html")),
    ("replay_post.html", include_str!("replay_post.html")),
    ("sessions.html", include_str!("sessions.html")),
    ("signed_in_apps.html", include_str!("signed_in_apps.html")),
    ("signed_out.html", include_str!("signed_out.html")),
];

/// The file that replaces the style.
const STYLE_FILE: &str = "style.css";
/// The prefix of the names of templates that only others use.
const PARTIAL: char = '_';
/// How many instructions the rendering of a page may take.
const MAX_INSTRUCTIONS: u64 = 100_000;
/// The filter that would turn a value into markup.
const UNSAFE_FILTER: &str = "safe";

/// A file that replaces or adds a template, or replaces the style.
#[derive(Clone, Debug)]
pub struct TemplateFile {
    /// Its name, which [`Self::is_known`] accepts.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The compiled templates.
pub(super) struct Templates(Environment<'static>);

impl TemplateFile {
    /// Whether pages use a file with this name: a template, a part of templates, or the style.
    pub fn is_known(name: &str) -> bool {
        let is_template = SHIPPED.iter().any(|(shipped, _)| *shipped == name);
        is_template || name == STYLE_FILE || (name.starts_with(PARTIAL) && is_html(name))
    }

    /// Whether a folder of templates can have a file with this name for another reason.
    pub fn is_ignored(name: &str) -> bool {
        !is_html(name) && name != STYLE_FILE
    }
}

fn is_html(name: &str) -> bool {
    name.ends_with(".html")
}

/// The style, if one of `files` does not replace it.
pub(super) fn style(files: &[TemplateFile]) -> &str {
    let own = files.iter().find(|file| file.name == STYLE_FILE);
    own.map_or(STYLE, |file| &file.text)
}

impl Templates {
    /// Compiles the shipped templates, and `files` in place of those with the same names.
    ///
    /// Templates see the values of their page only. They cannot turn a value into markup: every
    /// value is escaped, also where a template turns that off.
    pub(super) fn new(files: &[TemplateFile]) -> Result<Self, Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_formatter(format_value);
        environment.set_fuel(Some(MAX_INSTRUCTIONS));
        environment.remove_filter(UNSAFE_FILTER);
        environment.add_filter("strong", strong);
        for (name, source) in SHIPPED {
            environment.add_template(name, source)?;
        }
        for file in files.iter().filter(|file| is_html(&file.name)) {
            environment.add_template_owned(file.name.clone(), file.text.clone())?;
        }
        Ok(Self(environment))
    }

    pub(super) fn render(&self, template: &str, values: Value) -> Result<String, Error> {
        self.0.get_template(template)?.render(values)
    }
}

/// The position and cause of an error in a template.
pub(super) fn describe(error: &Error) -> String {
    let mut innermost = error;
    while let Some(source) =
        std::error::Error::source(innermost).and_then(|source| source.downcast_ref::<Error>())
    {
        innermost = source;
    }
    let cause = match innermost.detail() {
        Some(detail) => format!("{}: {detail}", innermost.kind()),
        None => innermost.kind().to_string(),
    };
    match (innermost.name(), innermost.line()) {
        (Some(name), Some(line)) => format!("{name}, line {line}: {cause}"),
        (Some(name), None) => format!("{name}: {cause}"),
        (None, _) => cause,
    }
}

/// The keys of messages in the shipped templates.
#[cfg(test)]
pub(in crate::proxy) fn keys_in_templates() -> Vec<String> {
    let calls = SHIPPED
        .iter()
        .flat_map(|(_, source)| source.split("t(").skip(1));
    let quoted = calls.filter_map(|call| call.strip_prefix(['"', '\'']));
    let keys = quoted.filter_map(|call| call.split(['"', '\'']).next());
    keys.map(str::to_owned).collect()
}
