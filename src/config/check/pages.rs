//! `[pages]` and `[apps.NAME.pages]`: Doorward's own pages. A key of an app replaces that of the
//! deployment.

use std::sync::Arc;

use url::Url;

use super::super::files::Folder;
use super::super::logo;
use super::super::raw_pages::RawPages;
use super::super::report::{Location, quoted};
use super::super::template_folder;
use super::page_languages::PageLanguages;
use crate::proxy::pages::{
    Branding, Colors, Contact, OptionalShades, PageSet, PageSettings, Pages, TemplateFile,
};
use crate::types::color::Color;
use crate::types::oauth::AppName;

/// The longest name and address, in characters.
const MAX_TEXT: usize = 100;

/// The pages of the deployment, and those of its apps.
pub(super) struct PageChecks<'f> {
    folder: &'f Folder,
    /// Of the deployment. `None`: they are invalid.
    defaults: Option<CheckedPages>,
    pages: Option<PageSet>,
}

/// The keys of a table.
struct CheckedPages {
    branding: Branding,
    languages: PageLanguages,
    templates: Arc<[TemplateFile]>,
}

impl<'f> PageChecks<'f> {
    /// Checks `[pages]`.
    pub(super) fn new(raw: RawPages, at: &Location<'_>, folder: &'f Folder) -> Self {
        let shipped = match PageLanguages::shipped() {
            Ok(languages) => Some(CheckedPages {
                branding: Branding::default(),
                languages,
                templates: Arc::new([]),
            }),
            Err(error) => {
                at.error(format!("the shipped messages are invalid: {error}"), "");
                None
            }
        };
        let defaults = shipped.map(|shipped| shipped.with(raw, at, folder));
        let pages = defaults.as_ref().and_then(|defaults| {
            let english = defaults.languages.english()?;
            Some(PageSet::new(defaults.compile(at)?, Arc::clone(english)))
        });
        Self {
            folder,
            defaults,
            pages,
        }
    }

    /// Checks the table `pages` of an app.
    pub(super) fn add(&mut self, app: &str, raw: RawPages, at: &Location<'_>) {
        let Some(defaults) = &self.defaults else {
            return;
        };
        let own = defaults.with(raw, at, self.folder);
        if let (Some(pages), Some(set)) = (own.compile(at), &mut self.pages) {
            set.insert(AppName::new(app), pages);
        }
    }

    pub(super) fn into_pages(self) -> Option<PageSet> {
        self.pages
    }
}

impl CheckedPages {
    /// These pages with the keys of the table at `at`.
    fn with(&self, mut raw: RawPages, at: &Location<'_>, folder: &Folder) -> Self {
        let (languages, files) = (raw.languages.take(), raw.message_files.take());
        let templates = raw.template_folder.take().and_then(|name| {
            template_folder::read(folder, &at.key("template_folder"), &name).map(Arc::from)
        });
        Self {
            templates: templates.unwrap_or_else(|| Arc::clone(&self.templates)),
            languages: self.languages.clone().with(languages, files, at, folder),
            branding: branding(raw, at, folder, &self.branding),
        }
    }

    fn compile(&self, at: &Location<'_>) -> Option<Pages> {
        let settings = PageSettings {
            branding: self.branding.clone(),
            languages: self.languages.languages()?,
            templates: Arc::clone(&self.templates),
        };
        match Pages::new(settings) {
            Ok(pages) => Some(pages),
            Err(error) => {
                at.key("template_folder").error(
                    format!("a page cannot be rendered: {error}"),
                    "each page is rendered with sample values, in each language",
                );
                None
            }
        }
    }
}

fn branding(raw: RawPages, at: &Location<'_>, folder: &Folder, defaults: &Branding) -> Branding {
    let name = raw
        .name
        .and_then(|name| checked_name(name, &at.key("name")));
    let logo = raw
        .logo_file
        .and_then(|file| logo::read(folder, &at.key("logo_file"), &file));
    let contact = raw
        .contact
        .and_then(|contact| checked_contact(&contact, &at.key("contact")));
    let home = raw
        .home_url
        .and_then(|url| home_url(&url, &at.key("home_url")));
    let of = |key: &str, text: Option<String>| color(text.as_deref(), &at.key(key));
    let own = Colors {
        accent: OptionalShades {
            light: of("accent_color", raw.accent_color),
            dark: of("accent_color_dark", raw.accent_color_dark),
        },
        background: OptionalShades {
            light: of("background_color", raw.background_color),
            dark: of("background_color_dark", raw.background_color_dark),
        },
    };
    let darker = "choose a darker color";
    let lighter = "choose a lighter color";
    let low = own.low_contrast_of_accent();
    warn_of_contrast(low.light, darker, &at.key("accent_color"));
    warn_of_contrast(low.dark, lighter, &at.key("accent_color_dark"));
    let low = own.low_contrast_of_background();
    warn_of_contrast(low.light, lighter, &at.key("background_color"));
    warn_of_contrast(low.dark, darker, &at.key("background_color_dark"));
    Branding {
        name: name.or_else(|| defaults.name.clone()),
        logo: logo.or_else(|| defaults.logo.clone()),
        contact: contact.or_else(|| defaults.contact.clone()),
        home: home.or_else(|| defaults.home.clone()),
        colors: own.or(defaults.colors),
    }
}

fn checked_name(name: String, at: &Location<'_>) -> Option<String> {
    let is_valid = !name.trim().is_empty()
        && name.chars().count() <= MAX_TEXT
        && !name.chars().any(char::is_control);
    if !is_valid {
        at.error(
            format!("invalid name {}", quoted(&name)),
            "one line of 1 to 100 characters",
        );
    }
    is_valid.then_some(name)
}

/// An e-mail address, or a URL with the scheme `https` or `mailto`.
fn checked_contact(text: &str, at: &Location<'_>) -> Option<Contact> {
    let is_address = text.contains('@') && !text.contains(':');
    let href = if is_address {
        format!("mailto:{text}")
    } else {
        text.to_owned()
    };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= MAX_TEXT;
    let url = Url::parse(&href).ok().filter(|_| is_plain);
    let label = url.and_then(|url| match url.scheme() {
        "mailto" => Some(url.path().to_owned()).filter(|address| address.contains('@')),
        "https" => {
            let host = url.host_str()?;
            Some(format!("{host}{}", url.path().trim_end_matches('/')))
        }
        _ => None,
    });
    let Some(label) = label else {
        at.error(
            format!("{} is no contact", quoted(text)),
            "an e-mail address or an https URL, such as `help@example.com`",
        );
        return None;
    };
    Some(Contact { href, label })
}

fn home_url(text: &str, at: &Location<'_>) -> Option<Url> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    if url.is_none() {
        at.error(
            format!("{} is not a URL", quoted(text)),
            "for example `https://www.example.com/`",
        );
    }
    url
}

fn color(text: Option<&str>, at: &Location<'_>) -> Option<Color> {
    let text = text?;
    match Color::parse(text) {
        Ok(color) => Some(color),
        Err(error) => {
            let hint = "such as `#0b5c7a`";
            at.error(format!("{} is no color: {error}", quoted(text)), hint);
            None
        }
    }
}

/// Warns about a color on which text is hard to read.
fn warn_of_contrast(contrast: Option<f64>, hint: &str, at: &Location<'_>) {
    if let Some(contrast) = contrast {
        at.warning(
            format!("text has a contrast of {contrast:.1}:1 with this color; WCAG AA needs 4.5:1"),
            hint,
        );
    }
}
