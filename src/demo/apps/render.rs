//! HTML rendering for both apps: one page inside the app's layout.

use http::StatusCode;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use super::Links;
use super::current_user::{CurrentUser, fields};
use crate::demo::serve::{HttpRequest, HttpResponse, StartError, empty, page};

const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// An app's compiled templates, and the values that every page uses.
pub(super) struct Pages {
    environment: Environment<'static>,
    links: Links,
}

impl Pages {
    /// Compiles `templates`. One of them must be named `layout.html`.
    pub(super) fn new(
        templates: &[(&'static str, &'static str)],
        links: Links,
    ) -> Result<Self, StartError> {
        let mut environment = Environment::new();
        for (name, source) in templates {
            environment
                .add_template(name, source)
                .map_err(|_| StartError::Page)?;
        }
        environment
            .add_template("headers.html", include_str!("pages/headers.html"))
            .map_err(|_| StartError::Page)?;
        Ok(Self { environment, links })
    }

    /// Renders `template` with `values` inside the layout.
    pub(super) fn show(
        &self,
        status: StatusCode,
        title: &str,
        template: &str,
        user: Option<&CurrentUser>,
        values: Value,
    ) -> HttpResponse {
        let user = Value::from(Serde(user));
        let links = context! { store => &self.links.store, forum => &self.links.forum };
        let fill = |name: &str, values: Value| self.environment.get_template(name)?.render(values);
        let content = fill(
            template,
            context! { user => user.clone(), links => links.clone(), ..values },
        );
        let html = content.and_then(|content| {
            let content = Value::from_safe_string(content);
            fill(
                "layout.html",
                context! { title, template, content, user, links },
            )
        });
        match html {
            Ok(html) => page(status, html, POLICY),
            Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// `/headers`: shows all request headers.
    pub(super) fn show_headers(
        &self,
        request: &HttpRequest,
        user: Option<&CurrentUser>,
    ) -> HttpResponse {
        let query = if request.query.is_empty() {
            String::new()
        } else {
            format!("?{}", request.query)
        };
        let line = format!("{} {}{query}", request.method, request.path);
        let values = context! { line, fields => Value::from(Serde(fields(request))) };
        self.show(StatusCode::OK, "Headers", "headers.html", user, values)
    }
}
