//! HTML pages without scripts or external resources.
//!
//! A flow describes a [`Page`]: its template and the values that it shows. The page is rendered when
//! everything else about the response is known. To add a page, add a template, a type that implements
//! [`PageContent`], an entry in `templates` and `samples`, and its messages in `messages/`.
//!
//! Every value is shortened, cleaned and escaped by one formatter, so that no input, from a path to
//! a claim, can become markup, reorder the surrounding text or flood the page. Each page has a
//! `Content-Security-Policy` that allows only its inline style, by hash.

mod accept_language;
mod branding;
mod catalog;
mod errors;
mod escaping;
mod href;
mod languages;
mod logout;
mod moving_on;
mod page_set;
mod provider_choice;
mod replay_post;
mod samples;
mod sessions;
mod templates;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, InvalidHeaderValue};
use minijinja::context;
use minijinja::value::{Serde, Value};
use serde::Serialize;

pub use branding::{Branding, Colors, Contact, LowContrast, OptionalShades};
pub use catalog::{CatalogError, CatalogErrorCause};
pub use errors::{Detail, ErrorPage, ForbiddenPage, FrameLoginPage, Link, PostNotPreservedPage};
pub(super) use href::MAX_LINK;
pub use href::{Href, ParseHrefError};
pub use languages::{Language, LanguageTag, Languages, LoadedLanguage, ParseLanguageTagError};
pub use logout::{LogoutConfirmPage, SignedInAppsPage, SignedOutPage};
pub use moving_on::MovingOnPage;
pub use page_set::PageSet;
pub use provider_choice::{ProviderChoice, ProviderChoicePage};
pub use replay_post::ReplayPostPage;
use samples::{Sample, SampleText, samples};
pub use sessions::{Age, SessionRow, SessionsPage};
pub use templates::TemplateFile;
use templates::Templates;

/// Shown if a template fails, which [`Pages::new`] excludes by rendering all of them.
const FALLBACK: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Something went wrong</title>\
    <main><h1>Something went wrong</h1><p>Please try again in a moment.</p></main></html>\n";

/// The values of a page, which its template shows.
pub trait PageContent: Serialize {
    /// The name of the template.
    const TEMPLATE: &'static str;

    /// The permissions of the page.
    fn kind(&self) -> PageKind;
}

/// The permissions of a page, by its `Content-Security-Policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// A page without a form, which no frame may contain (clickjacking).
    Plain,
    /// A plain page that contains images in `data:` URLs.
    PlainWithImages,
    /// A page with a form, which no frame may contain.
    Form,
    /// A page without a form, which is meant for a frame of any site.
    Framed,
}

/// A page that is not rendered yet.
#[derive(Clone, Debug)]
pub struct Page {
    template: &'static str,
    kind: PageKind,
    values: Value,
}

/// A rendered page, `text/html; charset=utf-8`.
#[derive(Clone, Debug)]
pub struct RenderedPage {
    /// The document.
    pub html: String,
    /// The `Content-Security-Policy` header of this document.
    pub content_security_policy: HeaderValue,
    /// The tag of its language.
    pub language: String,
}

/// A page with sample values.
#[derive(Clone, Debug)]
pub struct RenderedSample {
    /// The name of the template, and of the case if there are several.
    pub name: &'static str,
    /// The page.
    pub page: RenderedPage,
}

/// All pages with one branding, compiled once for each configuration and shared by all requests.
pub struct Pages {
    templates: Templates,
    languages: Languages,
    policies: Policies,
    style: Value,
    brand: Value,
}

/// The settings of the pages of an app.
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// The operator's branding.
    pub branding: Branding,
    /// Their languages.
    pub languages: Languages,
    /// Files in place of the shipped templates.
    pub templates: Arc<[TemplateFile]>,
}

/// Why the pages cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A template does not compile.
    #[error("{}", templates::describe(.0))]
    Template(#[from] minijinja::Error),
    /// A page does not render.
    #[error(
        "{}, in the page \"{page}\" in `{language}`",
        templates::describe(source)
    )]
    Sample {
        /// The case that the page shows.
        page: &'static str,
        /// The language.
        language: String,
        /// Why.
        source: minijinja::Error,
    },
    /// A shipped file of messages is invalid.
    #[error("the shipped messages are invalid")]
    Messages(#[from] CatalogError),
    /// There is no language.
    #[error("there is no language")]
    NoLanguage,
    /// The style would end its element in the page.
    #[error("the style contains `</`")]
    Style,
    /// The policy is not a valid header value.
    #[error("a page's content security policy is not a valid header value")]
    Policy(#[from] InvalidHeaderValue),
}

impl Page {
    /// The page that shows `content`.
    pub fn new<C: PageContent>(content: &C) -> Self {
        Self {
            template: C::TEMPLATE,
            kind: content.kind(),
            values: Value::from(Serde(content)),
        }
    }
}

impl Pages {
    /// The shipped pages.
    ///
    /// # Errors
    /// A shipped template is invalid, which tests exclude.
    pub fn shipped() -> Result<Self, PagesError> {
        let languages = Language::shipped()?.into_iter().map(Arc::new);
        Self::new(PageSettings {
            branding: Branding::default(),
            languages: Languages::new(languages.collect()).ok_or(PagesError::NoLanguage)?,
            templates: Arc::new([]),
        })
    }

    /// Compiles the templates and renders each page once in each language, so that a broken template
    /// is found at start.
    ///
    /// # Errors
    /// A template does not compile or render.
    pub fn new(settings: PageSettings) -> Result<Self, PagesError> {
        let PageSettings {
            branding,
            languages,
            templates: files,
        } = settings;
        let style = format!("{}{}", templates::style(&files), branding.colors.style());
        if style.contains("</") {
            return Err(PagesError::Style);
        }
        let templates = Templates::new(&files)?;
        let policies = Policies::new(&style, branding.logo.is_some())?;
        let pages = Self {
            templates,
            languages,
            policies,
            style: Value::from_safe_string(style),
            brand: branding.values(),
        };
        for sample in samples(&SampleText::default()) {
            for language in pages.languages.all() {
                let rendered = pages.try_render(&sample.page, language);
                rendered.map_err(|source| PagesError::Sample {
                    page: sample.name,
                    language: language.name().to_owned(),
                    source,
                })?;
            }
        }
        Ok(pages)
    }

    /// Renders a page in the language that a client with this `Accept-Language` prefers.
    pub fn render(&self, page: &Page, accept_language: Option<&str>) -> RenderedPage {
        let language = self.languages.choose(accept_language);
        let html = self.try_render(page, language).unwrap_or_else(|error| {
            tracing::error!(template = page.template, %error, "page_not_rendered");
            FALLBACK.to_owned()
        });
        RenderedPage {
            html,
            content_security_policy: self.policies.of(page.kind).clone(),
            language: language.name().to_owned(),
        }
    }

    /// Each page with sample values in each of its cases, in each language.
    pub fn render_samples(&self) -> Vec<RenderedSample> {
        let samples = samples(&SampleText::default());
        let languages = self.languages.all().iter();
        let in_language = |language: &Arc<Language>| {
            let samples = samples.iter();
            let render = |sample: &Sample| RenderedSample {
                name: sample.name,
                page: self.render(&sample.page, Some(language.name())),
            };
            samples.map(render).collect::<Vec<_>>()
        };
        languages.flat_map(in_language).collect()
    }

    fn try_render(
        &self,
        page: &Page,
        language: &Arc<Language>,
    ) -> Result<String, minijinja::Error> {
        let host = page.values.get_attr("site")?;
        let name = self.brand.get_attr("name")?;
        let values = context! {
            t => Value::from_dyn_object(Arc::clone(language)),
            language => language.name(),
            style => self.style.clone(),
            brand => self.brand.clone(),
            host => host.clone(),
            site => if name.is_none() { host } else { name },
            ..page.values.clone()
        };
        self.templates.render(page.template, values)
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// The `Content-Security-Policy` of each kind of page.
#[derive(Debug)]
struct Policies {
    plain: HeaderValue,
    plain_with_images: HeaderValue,
    form: HeaderValue,
    framed: HeaderValue,
}

impl Policies {
    /// Those of pages with this inline style, and with a logo in a `data:` URL if `has_logo`.
    fn new(style: &str, has_logo: bool) -> Result<Self, InvalidHeaderValue> {
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        let policy = |has_images: bool, and: &str| {
            let images = if has_images { " img-src data:;" } else { "" };
            HeaderValue::from_str(&format!(
                "default-src 'none'; style-src 'sha256-{hash}';{images} base-uri 'none'; {and}"
            ))
        };
        let plain = "form-action 'none'; frame-ancestors 'none'";
        Ok(Self {
            plain: policy(has_logo, plain)?,
            plain_with_images: policy(true, plain)?,
            // No `form-action`: Chromium applies it to every redirect after the POST, and this one
            // leads to the provider, which may redirect to unknown hosts.
            form: policy(has_logo, "frame-ancestors 'none'")?,
            framed: policy(has_logo, "form-action 'none'")?,
        })
    }

    const fn of(&self, kind: PageKind) -> &HeaderValue {
        match kind {
            PageKind::Plain => &self.plain,
            PageKind::PlainWithImages => &self.plain_with_images,
            PageKind::Form => &self.form,
            PageKind::Framed => &self.framed,
        }
    }
}

#[cfg(test)]
pub(super) use templates::keys_in_templates;

#[cfg(test)]
mod tests;
