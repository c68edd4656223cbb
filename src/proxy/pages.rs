//! HTML pages without scripts or external resources.
//!
//! Every value is shortened, cleaned and escaped by one formatter, so that no input, from a path to
//! a claim, can become markup, reorder the surrounding text or flood the page. Each page has a
//! `Content-Security-Policy` that allows only its inline style, by hash.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{HeaderValue, InvalidHeaderValue};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Output, State, UndefinedBehavior, escape_formatter};
use serde::Serialize;

mod href;
mod provider_choice;
mod sessions;

pub(super) use href::MAX_LINK;
pub use href::{Href, ParseHrefError};
pub use provider_choice::{ProviderChoice, ProviderChoicePage};
pub use sessions::{Age, SessionRow, SessionsPage};

const STYLE: &str = include_str!("pages/style.css");
const TEMPLATES: [(&str, &str); 12] = [
    ("layout.html", include_str!("pages/layout.html")),
    ("error.html", include_str!("pages/error.html")),
    ("forbidden.html", include_str!("pages/forbidden.html")),
    ("moving_on.html", include_str!("pages/moving_on.html")),
    ("signed_out.html", include_str!("pages/signed_out.html")),
    (
        "logout_confirm.html",
        include_str!("pages/logout_confirm.html"),
    ),
    (
        "signed_in_apps.html",
        include_str!("pages/signed_in_apps.html"),
    ),
    (
        "post_not_preserved.html",
        include_str!("pages/post_not_preserved.html"),
    ),
    ("frame_login.html", include_str!("pages/frame_login.html")),
    ("replay_post.html", include_str!("pages/replay_post.html")),
    ("provider_choice.html", provider_choice::TEMPLATE),
    ("sessions.html", sessions::TEMPLATE),
];

/// Maximum number of characters of a value. The rest is cut.
const MAX_TEXT: usize = 300;

/// Shown if a template fails, which [`Pages::new`] excludes by rendering all of them.
const FALLBACK: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Something went wrong</title>\
    <main><h1>Something went wrong</h1><p>Please try again in a moment.</p></main></html>\n";

/// All pages, compiled once at start and shared by all requests.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    /// For the page that is meant for a frame of any site.
    framed_by_any_site: HeaderValue,
    /// For every other page: no frame may contain it (clickjacking). Pages with a form.
    never_framed: HeaderValue,
    /// The same for pages without a form.
    never_framed_without_form: HeaderValue,
    /// The same for pages with logos.
    never_framed_with_logos: HeaderValue,
}

/// A rendered page, `text/html; charset=utf-8`.
#[derive(Clone, Debug)]
pub struct Page {
    /// The document.
    pub html: String,
    /// The `Content-Security-Policy` header of this document.
    pub content_security_policy: HeaderValue,
}

/// Why the pages cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A template does not compile or render.
    #[error("a page template is invalid")]
    Template(#[from] minijinja::Error),
    /// The policy is not a valid header value.
    #[error("a page's content security policy is not a valid header value")]
    Policy(#[from] InvalidHeaderValue),
}

/// A link with a label.
#[derive(Clone, Debug, Serialize)]
pub struct Link<'a> {
    /// The label of the button, such as `Try again`.
    pub label: &'a str,
    /// The target, which replaces the whole window.
    pub href: &'a Href,
}

/// An error: what happened and what the user can do.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The status of the response.
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    /// The heading, such as `This site is busy`.
    pub title: &'a str,
    /// What happened, in one or two sentences.
    pub explanation: &'a str,
    /// Details of this case.
    pub detail: Option<&'a str>,
    /// What the user can do.
    pub advice: &'a str,
    /// A link to the next step.
    pub link: Option<Link<'a>>,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

/// 403: authenticated but not authorized. Does not lead to a login by itself.
#[derive(Clone, Debug, Serialize)]
pub struct ForbiddenPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user, such as an email address.
    pub user: &'a str,
    /// The login with another account, or the logout confirmation.
    pub switch_account: &'a Href,
    /// The app's start page.
    pub home: &'a Href,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

/// The page after a logout. It does not redirect to a login.
#[derive(Clone, Debug, Serialize)]
pub struct SignedOutPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// Whether the provider's session may still exist, so that the next login may show no form.
    pub provider_may_remember: bool,
    /// The app's start page, if it has one.
    pub home: Option<&'a Href>,
}

/// The page that sends a browser on to another host after a login or logout. Its response has a
/// `Refresh` header; the link is for browsers that do not follow it.
#[derive(Clone, Debug, Serialize)]
pub struct MovingOnPage<'a> {
    /// The host that the browser is at.
    pub site: &'a str,
    /// The heading: the result of the login or logout.
    pub title: &'a str,
    /// The other host.
    pub to: &'a str,
    /// The URL there, from the configuration.
    pub target: &'a str,
}

/// The apps that a browser is signed in at through a login host, with a form that ends their
/// sessions.
#[derive(Clone, Debug, Serialize)]
pub struct SignedInAppsPage<'a> {
    /// The login host.
    pub site: &'a str,
    /// The hosts of the apps.
    pub sites: &'a [&'a str],
    /// The target of the form: `{prefix}/logout`.
    pub action: &'a Href,
}

/// The form that `GET {prefix}/logout` returns.
#[derive(Clone, Debug, Serialize)]
pub struct LogoutConfirmPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user, if there is a session.
    pub user: Option<&'a str>,
    /// The target of the form: `{prefix}/logout`.
    pub action: &'a Href,
    /// The app's start page, for users who cancel.
    pub home: &'a Href,
}

/// Asks whether to send a form that was preserved during a login.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayPostPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user.
    pub user: &'a str,
    /// The target of the preserved form, as text.
    pub target: &'a str,
    /// The age of the preserved form in minutes.
    pub minutes: u64,
    /// Whether no user was known when it was submitted, so that it may be another user's.
    pub is_anonymous: bool,
    /// The names of its first fields.
    pub fields: &'a [&'a str],
    /// The number of further fields.
    pub more: usize,
    /// The target of this page's form: the same target.
    pub action: &'a Href,
    /// The field of this page's form.
    pub field_name: &'a str,
    /// The value of that field: the identifier of the preserved form.
    pub id: &'a str,
    /// The app's start page, for users who cancel.
    pub home: &'a Href,
}

/// 401 for a form without a session: the app did not receive it.
#[derive(Clone, Debug, Serialize)]
pub struct PostNotPreservedPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// Why it was not preserved.
    pub because: &'a str,
    /// The login, which opens in a new tab so that the user can return to the filled-in form in
    /// this tab.
    pub login: &'a Href,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

/// 401 in a frame: the login needs the whole window.
#[derive(Clone, Debug, Serialize)]
pub struct FrameLoginPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The login.
    pub login: &'a Href,
    /// The code, and the request ID that the log entry has.
    pub request_id: &'a str,
}

impl Pages {
    /// Compiles the templates and renders each page once, so that a broken template is found at
    /// start.
    ///
    /// # Errors
    /// A template does not compile or render.
    pub fn new() -> Result<Self, PagesError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_formatter(format_value);
        templates.add_global("style", Value::from_safe_string(STYLE.to_owned()));
        for (name, source) in TEMPLATES {
            templates.add_template(name, source)?;
        }
        let pages = Self {
            templates,
            never_framed_without_form: policy("form-action 'none'; frame-ancestors 'none'")?,
            never_framed_with_logos: policy(
                "img-src data:; form-action 'none'; frame-ancestors 'none'",
            )?,
            framed_by_any_site: policy("form-action 'none'")?,
            // No `form-action`: Chromium applies it to every redirect after the POST, and this one
            // leads to the provider, which may redirect to unknown hosts.
            never_framed: policy("frame-ancestors 'none'")?,
        };
        pages.render_all()?;
        Ok(pages)
    }

    /// The page for an error.
    pub fn error(&self, page: &ErrorPage<'_>) -> Page {
        self.page("error.html", page, &self.never_framed_without_form)
    }

    /// The page for 403.
    pub fn forbidden(&self, page: &ForbiddenPage<'_>) -> Page {
        self.page("forbidden.html", page, &self.never_framed_without_form)
    }

    /// The page after a logout.
    pub fn signed_out(&self, page: &SignedOutPage<'_>) -> Page {
        self.page("signed_out.html", page, &self.never_framed)
    }

    /// The page that leads to another host.
    pub fn moving_on(&self, page: &MovingOnPage<'_>) -> Page {
        self.page("moving_on.html", page, &self.never_framed_without_form)
    }

    /// The page before a logout of all apps of a login host. See [`Self::logout_confirm`].
    pub fn signed_in_apps(&self, page: &SignedInAppsPage<'_>) -> Page {
        self.page("signed_in_apps.html", page, &self.never_framed)
    }

    /// The page before a logout.
    ///
    /// Its response must not have `Referrer-Policy: no-referrer`, because browsers would then
    /// submit the form with `Origin: null`.
    pub fn logout_confirm(&self, page: &LogoutConfirmPage<'_>) -> Page {
        self.page("logout_confirm.html", page, &self.never_framed)
    }

    /// The page for a form that was not preserved.
    pub fn post_not_preserved(&self, page: &PostNotPreservedPage<'_>) -> Page {
        self.page(
            "post_not_preserved.html",
            page,
            &self.never_framed_without_form,
        )
    }

    /// The page before a preserved form is replayed.
    pub fn replay_post(&self, page: &ReplayPostPage<'_>) -> Page {
        self.page("replay_post.html", page, &self.never_framed)
    }

    /// The page for 401 in a frame.
    pub fn frame_login(&self, page: &FrameLoginPage<'_>) -> Page {
        self.page("frame_login.html", page, &self.framed_by_any_site)
    }

    fn page(&self, template: &str, content: &impl Serialize, policy: &HeaderValue) -> Page {
        let html = self.render(template, content).unwrap_or_else(|error| {
            tracing::error!(template, %error, "page_not_rendered");
            FALLBACK.to_owned()
        });
        Page {
            html,
            content_security_policy: policy.clone(),
        }
    }

    fn render(&self, template: &str, content: &impl Serialize) -> Result<String, minijinja::Error> {
        self.templates
            .get_template(template)?
            .render(Value::from(Serde(content)))
    }

    fn render_all(&self) -> Result<(), minijinja::Error> {
        let (site, user, request_id) = ("store.example.com", "alice", "r");
        let home = &Href::root();
        let link = Some(Link {
            label: "Try again",
            href: home,
        });
        let (title, explanation, advice) = ("Title", "Explanation", "Advice");
        let status = StatusCode::BAD_GATEWAY;
        for detail in [Some("Detail"), None] {
            let page = ErrorPage {
                site,
                status,
                title,
                explanation,
                detail,
                advice,
                link: link.clone(),
                request_id,
            };
            self.render("error.html", &page)?;
        }
        self.render(
            "forbidden.html",
            &ForbiddenPage {
                site,
                user,
                switch_account: home,
                home,
                request_id,
            },
        )?;
        for provider_may_remember in [true, false] {
            self.render(
                "signed_out.html",
                &SignedOutPage {
                    site,
                    provider_may_remember,
                    home: Some(home),
                },
            )?;
        }
        self.render(
            "moving_on.html",
            &MovingOnPage {
                site,
                title: "Title",
                to: site,
                target: "https://store.example.com/",
            },
        )?;
        let choices = &provider_choice::samples();
        let choice = ProviderChoicePage { site, choices };
        self.render("provider_choice.html", &choice)?;
        let rows = sessions::samples(site);
        for is_incomplete in [true, false] {
            let page = sessions::sample(&rows, home, is_incomplete);
            self.render("sessions.html", &page)?;
        }
        for sites in [&[][..], &[site]] {
            self.render(
                "signed_in_apps.html",
                &SignedInAppsPage {
                    site,
                    sites,
                    action: home,
                },
            )?;
        }
        for user in [Some(user), None] {
            self.render(
                "logout_confirm.html",
                &LogoutConfirmPage {
                    site,
                    user,
                    action: home,
                    home,
                },
            )?;
        }
        let because = "Because";
        self.render(
            "post_not_preserved.html",
            &PostNotPreservedPage {
                site,
                because,
                login: home,
                request_id,
            },
        )?;
        for (fields, more, is_anonymous) in [(&["a", "b"][..], 1, true), (&[], 0, false)] {
            let (target, field_name, id) = ("/cart", "field", "id");
            let minutes = 2;
            let page = ReplayPostPage {
                site,
                user,
                target,
                minutes,
                is_anonymous,
                fields,
                more,
                action: home,
                field_name,
                id,
                home,
            };
            self.render("replay_post.html", &page)?;
        }
        self.render(
            "frame_login.html",
            &FrameLoginPage {
                site,
                login: home,
                request_id,
            },
        )?;
        Ok(())
    }
}

fn policy(and: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    HeaderValue::from_str(&format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; {and}"
    ))
}

/// Formats every value of a template. Only the style and links, whose length is limited, are
/// already escaped.
fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() => escape_formatter(out, state, &Value::from(clean(text))),
        _ => escape_formatter(out, state, value),
    }
}

/// Cuts `text` to its first [`MAX_TEXT`] characters and replaces invisible ones that change how
/// their surroundings are displayed.
fn clean(text: &str) -> String {
    let mut chars = text.chars();
    let mut clean: String = chars
        .by_ref()
        .take(MAX_TEXT)
        .map(|c| if is_disruptive(c) { '\u{FFFD}' } else { c })
        .collect();
    if chars.next().is_some() {
        clean.push('…');
    }
    clean
}

/// Control characters, line separators, and marks that change the text direction (Unicode UAX #9
/// section 2).
fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests;
