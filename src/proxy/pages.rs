//! The pages that people see from Doorward itself: plain HTML, no script, nothing loaded from anywhere.
//!
//! Whatever is shown goes through one formatter that cuts, cleans and escapes it, so that no input, from a path to a
//! claim, can become markup, reorder the text around it or flood the page. Each page comes with its own
//! `Content-Security-Policy`, which names the one inline style by its hash and forbids everything else.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{HeaderValue, InvalidHeaderValue};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Output, State, UndefinedBehavior, escape_formatter};
use serde::Serialize;

const STYLE: &str = include_str!("pages/style.css");
const TEMPLATES: [(&str, &str); 8] = [
    ("layout.html", include_str!("pages/layout.html")),
    ("error.html", include_str!("pages/error.html")),
    ("forbidden.html", include_str!("pages/forbidden.html")),
    ("signed_out.html", include_str!("pages/signed_out.html")),
    (
        "logout_confirm.html",
        include_str!("pages/logout_confirm.html"),
    ),
    (
        "post_not_preserved.html",
        include_str!("pages/post_not_preserved.html"),
    ),
    ("frame_login.html", include_str!("pages/frame_login.html")),
    ("replay_post.html", include_str!("pages/replay_post.html")),
];

/// Characters of one text that are shown; the rest is cut.
const MAX_TEXT: usize = 300;
/// Bytes of a link; a login link carries a return target.
const MAX_LINK: usize = 8192;

/// What is shown if a template fails, which [`Pages::new`] has tried: the reference is then in the log only.
const LAST_RESORT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Something went wrong</title>\
    <main><h1>Something went wrong</h1><p>Please try again in a moment.</p></main></html>\n";

/// All pages, compiled once at start and shared by every request.
#[derive(Debug)]
pub struct Pages {
    templates: Environment<'static>,
    /// For pages that ask for nothing dangerous: the app may show them in its own frames.
    framed_by_app: HeaderValue,
    /// For the page whose purpose is to be shown in anybody's frame.
    framed_by_anybody: HeaderValue,
    /// For pages that no frame may show, since a press on them does something.
    never_framed: HeaderValue,
}

/// A page to answer with, as `text/html; charset=utf-8`.
#[derive(Clone, Debug)]
pub struct Page {
    /// The whole document.
    pub html: String,
    /// The value of the `Content-Security-Policy` field that belongs to this document.
    pub content_security_policy: HeaderValue,
}

/// Why the pages could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// A template does not compile or render.
    #[error("a page template is broken")]
    Template(#[from] minijinja::Error),
    /// The policy is not a legal header value.
    #[error("a page's content security policy is not a header value")]
    Policy(#[from] InvalidHeaderValue),
}

/// A link or form target on our own origin: a path with an optional query, such as `/.doorward/logout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Href(String);

/// Why a text is not an [`Href`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseHrefError {
    /// It does not begin with exactly one `/`, so a browser could take it for another origin.
    #[error("a link must begin with one `/`")]
    NotAPath,
    /// It has a byte that a browser drops or rewrites: white space, a control, `\`, or anything beyond ASCII.
    #[error("a link must be visible ASCII without a backslash")]
    Byte,
    /// It is longer than 8 KiB.
    #[error("a link must be at most {MAX_LINK} bytes long")]
    TooLong,
}

/// A labelled [`Href`].
#[derive(Clone, Debug, Serialize)]
pub struct Link<'a> {
    /// What the button says, such as `Try again`.
    pub label: &'a str,
    /// Where it leads; always in the whole window.
    pub href: &'a Href,
}

/// Something failed: what it was and what the person can do.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// The status of the answer.
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    /// The page's one heading, such as `The store does not answer`.
    pub title: &'a str,
    /// What happened, in a sentence or two.
    pub explanation: &'a str,
    /// What this very case is about, if that is known.
    pub detail: Option<&'a str>,
    /// What the person can do about it.
    pub advice: &'a str,
    /// One way on, if there is one.
    pub link: Option<Link<'a>>,
    /// What the log line of this request is found by.
    pub request_id: &'a str,
}

/// 403: signed in, and not allowed. Never leads to a login by itself.
#[derive(Clone, Debug, Serialize)]
pub struct ForbiddenPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// Whom the app would have been told, such as an email address.
    pub user: &'a str,
    /// The logout confirmation.
    pub log_out: &'a Href,
    /// The app's start page.
    pub home: &'a Href,
    /// What the log line of this request is found by.
    pub request_id: &'a str,
}

/// Where a logout ends. Bounces nobody back into a login.
#[derive(Clone, Debug, Serialize)]
pub struct SignedOutPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// Whether the provider's own session was *not* ended, so that the next login may show no form.
    pub provider_may_remember: bool,
    /// The app's start page.
    pub home: &'a Href,
}

/// The form that `GET {prefix}/logout` answers with.
#[derive(Clone, Debug, Serialize)]
pub struct LogoutConfirmPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// Who is signed in, if it is known.
    pub user: Option<&'a str>,
    /// Where the form is posted: `{prefix}/logout`.
    pub action: &'a Href,
    /// The app's start page, for those who stay.
    pub home: &'a Href,
}

/// A form that was kept while its sender logged in: whether to send it now.
#[derive(Clone, Debug, Serialize)]
pub struct SendFormPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// Who is signed in.
    pub user: &'a str,
    /// Where the form goes, as text.
    pub target: &'a str,
    /// How long ago it came, in minutes.
    pub minutes: u64,
    /// Whether nobody was known to be signed in before: the form may be of anybody who sat there.
    pub of_nobody: bool,
    /// The names of its first fields.
    pub fields: &'a [&'a str],
    /// How many more there are.
    pub more: usize,
    /// Where the page's own form is posted: the same.
    pub action: &'a Href,
    /// The one field of the page's own form.
    pub field_name: &'a str,
    /// Its value: the name of the kept form.
    pub id: &'a str,
    /// The app's start page, for those who think better of it.
    pub home: &'a Href,
}

/// 401 to a form's POST that met no session: its content was not passed on.
#[derive(Clone, Debug, Serialize)]
pub struct FormNotSentPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// Why it was not kept to be sent after the login.
    pub because: &'a str,
    /// The login, opened in a new tab so that this tab can go back to the filled form.
    pub login: &'a Href,
    /// What the log line of this request is found by.
    pub request_id: &'a str,
}

/// 401 in a frame: a login needs the whole window.
#[derive(Clone, Debug, Serialize)]
pub struct FrameLoginPage<'a> {
    /// The app's host, as people know it.
    pub site: &'a str,
    /// The login.
    pub login: &'a Href,
    /// What the log line of this request is found by.
    pub request_id: &'a str,
}

impl Pages {
    /// Compiles the templates and renders each page once, so that a broken one is found at start and not in an outage.
    ///
    /// # Errors
    /// A template that does not compile or render.
    pub fn new() -> Result<Self, PagesError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_formatter(write_clean);
        templates.add_global("style", Value::from_safe_string(STYLE.to_owned()));
        for (name, source) in TEMPLATES {
            templates.add_template(name, source)?;
        }
        let pages = Self {
            templates,
            framed_by_app: policy("form-action 'none'; frame-ancestors 'self'")?,
            framed_by_anybody: policy("form-action 'none'")?,
            // No form-action: Chromium applies it to every redirect after the POST, and this one is sent on to the
            // provider, which may send it on to hosts that nobody here knows of.
            never_framed: policy("frame-ancestors 'none'")?,
        };
        pages.try_each()?;
        Ok(pages)
    }

    /// Something failed.
    pub fn error(&self, page: &ErrorPage<'_>) -> Page {
        self.page("error.html", page, &self.framed_by_app)
    }

    /// 403: signed in as somebody who may not.
    pub fn forbidden(&self, page: &ForbiddenPage<'_>) -> Page {
        self.page("forbidden.html", page, &self.framed_by_app)
    }

    /// The end of a logout.
    pub fn signed_out(&self, page: &SignedOutPage<'_>) -> Page {
        self.page("signed_out.html", page, &self.never_framed)
    }

    /// The question before a logout.
    ///
    /// Its answer must not carry `Referrer-Policy: no-referrer`: browsers then send the form with `Origin: null`.
    pub fn logout_confirm(&self, page: &LogoutConfirmPage<'_>) -> Page {
        self.page("logout_confirm.html", page, &self.never_framed)
    }

    /// 401 to a form that was sent without a session.
    pub fn form_not_sent(&self, page: &FormNotSentPage<'_>) -> Page {
        self.page("post_not_preserved.html", page, &self.framed_by_app)
    }

    /// The question before a kept form is sent.
    pub fn replay_post(&self, page: &SendFormPage<'_>) -> Page {
        self.page("replay_post.html", page, &self.never_framed)
    }

    /// 401 inside a frame.
    pub fn frame_login(&self, page: &FrameLoginPage<'_>) -> Page {
        self.page("frame_login.html", page, &self.framed_by_anybody)
    }

    fn page(&self, template: &str, content: &impl Serialize, policy: &HeaderValue) -> Page {
        let html = self.render(template, content).unwrap_or_else(|error| {
            tracing::error!(template, %error, "page_not_rendered");
            LAST_RESORT.to_owned()
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

    fn try_each(&self) -> Result<(), minijinja::Error> {
        let (site, user, request_id) = ("store.example.com", "alice", "r");
        let home = &Href("/".to_owned());
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
                log_out: home,
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
                    home,
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
            &FormNotSentPage {
                site,
                because,
                login: home,
                request_id,
            },
        )?;
        for (fields, more, of_nobody) in [(&["a", "b"][..], 1, true), (&[], 0, false)] {
            let (target, field_name, id) = ("/cart", "field", "id");
            let minutes = 2;
            let page = SendFormPage {
                site,
                user,
                target,
                minutes,
                of_nobody,
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

impl Href {
    /// Takes a path and query that cannot lead away from our own origin, in the reading of any browser.
    ///
    /// # Errors
    /// Anything else: see [`ParseHrefError`].
    pub fn on_our_origin(path: impl Into<String>) -> Result<Self, ParseHrefError> {
        let path = path.into();
        if path.len() > MAX_LINK {
            return Err(ParseHrefError::TooLong);
        }
        if !path.starts_with('/') || path.starts_with("//") {
            return Err(ParseHrefError::NotAPath);
        }
        if path
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || byte == b'\\')
        {
            return Err(ParseHrefError::Byte);
        }
        Ok(Self(path))
    }

    /// The path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn policy(and: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    HeaderValue::from_str(&format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; {and}"
    ))
}

/// Every value that a template shows passes here; only the style and links (which are bounded already) come escaped.
fn write_clean(
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

/// Controls, line separators, and the marks that turn the direction of writing (Unicode UAX #9 section 2).
fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests;
