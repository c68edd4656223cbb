//! The provider's pages: no script, nothing from elsewhere, everything escaped by the templates.

use http::StatusCode;
use minijinja::{Environment, Value, context};

use super::login::set_cookie;
use super::{Failure, Provider};
use crate::demo::serve::{Answer, Asked, page, whole};

const TEMPLATES: [(&str, &str); 6] = [
    ("layout.html", include_str!("pages/layout.html")),
    ("login.html", include_str!("pages/login.html")),
    ("problem.html", include_str!("pages/problem.html")),
    ("sign_out.html", include_str!("pages/sign_out.html")),
    ("signed_out.html", include_str!("pages/signed_out.html")),
    ("welcome.html", include_str!("pages/welcome.html")),
];

/// The templates, compiled.
pub(super) struct Pages(Environment<'static>);

impl Pages {
    pub(super) fn new() -> Result<Self, Failure> {
        let mut environment = Environment::new();
        for (name, source) in TEMPLATES {
            environment
                .add_template(name, source)
                .map_err(|_| Failure::Page)?;
        }
        Ok(Self(environment))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is one place of the form, named in the template"
    )]
    pub(super) fn login(
        &self,
        status: StatusCode,
        client: &str,
        action: &str,
        token: &str,
        username: &str,
        problem: Option<&str>,
        target: &str,
    ) -> Result<Answer, Failure> {
        let values = context! { client, action, token, username, problem };
        self.render(status, "Sign in", "login.html", values, target)
    }

    pub(super) fn confirm_sign_out(
        &self,
        user: &str,
        action: &str,
        token: &str,
        target: &str,
    ) -> Result<Answer, Failure> {
        self.render(
            StatusCode::OK,
            "Sign out?",
            "sign_out.html",
            context! { user, action, token },
            target,
        )
    }

    pub(super) fn signed_out(&self) -> Result<Answer, Failure> {
        self.render(
            StatusCode::OK,
            "Signed out",
            "signed_out.html",
            context! {},
            "",
        )
    }

    pub(super) fn problem(&self, status: StatusCode, why: &str) -> Result<Answer, Failure> {
        self.render(
            status,
            "This does not work",
            "problem.html",
            context! { why },
            "",
        )
    }

    /// `form_target` is the one other origin that this page's form may lead to.
    fn render(
        &self,
        status: StatusCode,
        title: &str,
        template: &str,
        values: Value,
        form_target: &str,
    ) -> Result<Answer, Failure> {
        let fill = |name: &str, values: Value| {
            self.0
                .get_template(name)
                .and_then(|template| template.render(values))
                .map_err(|_| Failure::Page)
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

impl Provider {
    /// `/`: who is signed on here.
    pub(super) fn welcome(&self, asked: &Asked) -> Result<Answer, Failure> {
        let session = self.current_sign_on(asked, self.now());
        let user = session.and_then(|session| self.user(&session.subject));
        let (token, cookie) = self.form_token(asked)?;
        let values = context! {
            name => user.map(|user| &user.name),
            username => user.map(|user| &user.username),
            issuer => self.settings.issuer.to_string(),
            fusionauth => self.settings.fusionauth.is_some(),
            token,
        };
        let mut answer =
            self.pages
                .render(StatusCode::OK, "Gatehouse", "welcome.html", values, "")?;
        set_cookie(&mut answer, cookie);
        Ok(answer)
    }
}

pub(super) fn style() -> Answer {
    whole(
        StatusCode::OK,
        "text/css; charset=utf-8",
        include_str!("pages/provider.css"),
    )
}
