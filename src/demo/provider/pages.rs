//! The provider's HTML pages: no scripts, no external resources, all values escaped by the
//! templates.

use http::StatusCode;
use minijinja::{Environment, Value, context};

use super::error::InternalError;
use super::settings::{Settings, User};
use crate::demo::serve::{HttpResponse, page, with_body};

const TEMPLATES: [(&str, &str); 6] = [
    ("layout.html", include_str!("pages/layout.html")),
    ("login.html", include_str!("pages/login.html")),
    ("problem.html", include_str!("pages/problem.html")),
    ("sign_out.html", include_str!("pages/sign_out.html")),
    ("signed_out.html", include_str!("pages/signed_out.html")),
    ("welcome.html", include_str!("pages/welcome.html")),
];

/// The compiled templates.
pub(super) struct Pages(Environment<'static>);

impl Pages {
    pub(super) fn new() -> Result<Self, InternalError> {
        let mut environment = Environment::new();
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .map_err(|_| InternalError::Page)?;
        }
        Ok(Self(environment))
    }

    #[expect(clippy::too_many_arguments, reason = "each is a value of the template")]
    pub(super) fn login(
        &self,
        status: StatusCode,
        client: &str,
        action: &str,
        token: &str,
        username: &str,
        problem: Option<&str>,
        target: &str,
    ) -> Result<HttpResponse, InternalError> {
        let values = context! { client, action, token, username, problem };
        self.render(status, "Sign in", "login.html", values, target)
    }

    pub(super) fn confirm_sign_out(
        &self,
        user: &str,
        action: &str,
        token: &str,
        target: &str,
    ) -> Result<HttpResponse, InternalError> {
        self.render(
            StatusCode::OK,
            "Sign out?",
            "sign_out.html",
            context! { user, action, token },
            target,
        )
    }

    pub(super) fn signed_out(&self) -> Result<HttpResponse, InternalError> {
        self.render(
            StatusCode::OK,
            "Signed out",
            "signed_out.html",
            context! {},
            "",
        )
    }

    pub(super) fn problem(
        &self,
        status: StatusCode,
        why: &str,
    ) -> Result<HttpResponse, InternalError> {
        self.render(
            status,
            "Invalid request",
            "problem.html",
            context! { why },
            "",
        )
    }

    /// The page at `/`, with the signed-in user, if any.
    pub(super) fn welcome(
        &self,
        settings: &Settings,
        user: Option<&User>,
        token: &str,
    ) -> Result<HttpResponse, InternalError> {
        let values = context! {
            name => user.map(|user| &user.name),
            username => user.map(|user| &user.username),
            issuer => settings.issuer.to_string(),
            fusionauth => settings.fusionauth.is_some(),
            token,
        };
        self.render(StatusCode::OK, "Gatehouse", "welcome.html", values, "")
    }

    /// `form_target` is the other origin that the page's form may redirect to.
    fn render(
        &self,
        status: StatusCode,
        title: &str,
        template: &str,
        values: Value,
        form_target: &str,
    ) -> Result<HttpResponse, InternalError> {
        let fill = |name: &str, values: Value| {
            self.0
                .get_template(name)
                .and_then(|template| template.render(values))
                .map_err(|_| InternalError::Page)
        };
        let content = Value::from_safe_string(fill(template, values)?);
        let html = fill("layout.html", context! { title, content })?;
        let policy = format!(
            "default-src 'none'; style-src 'self'; img-src data:; form-action 'self' {form_target}; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        Ok(page(status, html, &policy))
    }
}

pub(super) fn style() -> HttpResponse {
    with_body(
        StatusCode::OK,
        "text/css; charset=utf-8",
        include_str!("pages/provider.css"),
    )
}
