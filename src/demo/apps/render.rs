//! How both apps make their pages: a layout of their own, and inside it one page.

use http::StatusCode;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use super::Links;
use super::visitor::{Visitor, fields};
use crate::demo::serve::{Answer, Asked, StartError, bare, page};

const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// An app's templates, compiled, with what every page of it knows.
pub(super) struct Pages {
    environment: Environment<'static>,
    links: Links,
}

impl Pages {
    /// Compiles `templates`, one of which must be called `layout.html`.
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

    /// The page `template` filled with `values`, inside the layout.
    pub(super) fn show(
        &self,
        status: StatusCode,
        title: &str,
        template: &str,
        visitor: Option<&Visitor>,
        values: Value,
    ) -> Answer {
        let visitor = Value::from(Serde(visitor));
        let links = context! { store => &self.links.store, forum => &self.links.forum };
        let fill = |name: &str, values: Value| self.environment.get_template(name)?.render(values);
        let content = fill(
            template,
            context! { visitor => visitor.clone(), links => links.clone(), ..values },
        );
        let html = content.and_then(|content| {
            let content = Value::from_safe_string(content);
            fill(
                "layout.html",
                context! { title, template, content, visitor, links },
            )
        });
        match html {
            Ok(html) => page(status, html, POLICY),
            Err(_) => bare(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// `/headers`: everything that was received.
    pub(super) fn show_headers(&self, asked: &Asked, visitor: Option<&Visitor>) -> Answer {
        let query = if asked.query.is_empty() {
            String::new()
        } else {
            format!("?{}", asked.query)
        };
        let line = format!("{} {}{query}", asked.method, asked.path);
        let values = context! { line, fields => Value::from(Serde(fields(asked))) };
        self.show(StatusCode::OK, "Headers", "headers.html", visitor, values)
    }
}
