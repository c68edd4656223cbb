//! Where a logout leads: a page of the app, or a URL that its configuration lists. This is the
//! protection against open redirects by logout links.

use url::Url;

use crate::identity::return_to::ReturnTo;

use super::app::App;

/// Where a logout leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogoutTarget {
    /// A page of the app.
    Page(ReturnTo),
    /// A listed URL.
    Listed(Url),
}

impl LogoutTarget {
    /// In a parameter, from which [`App::logout_target`] reads it again.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Page(page) => page.as_str(),
            Self::Listed(url) => url.as_str(),
        }
    }

    /// The URL.
    pub fn location(&self, app: &App) -> String {
        match self {
            Self::Page(page) => format!("{}{page}", app.origin),
            Self::Listed(url) => url.as_str().to_owned(),
        }
    }

    /// The query that carries it.
    pub fn query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair(PARAMETER, self.as_str()).finish()
    }
}

/// The parameter of logout links, and of the page after a logout.
const PARAMETER: &str = "return_to";

impl App {
    /// Where the query of a logout link leads. `None`: nowhere, or to a URL that is not allowed.
    pub fn logout_target(&self, query: &str) -> Option<LogoutTarget> {
        self.named_target(query, &[PARAMETER])
    }

    /// The same for the page after a logout. The provider returns the target as `state`.
    pub fn target_after_logout(&self, query: &str) -> Option<LogoutTarget> {
        self.named_target(query, &[PARAMETER, "state"])
    }

    fn named_target(&self, query: &str, parameters: &[&str]) -> Option<LogoutTarget> {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let (_, text) = pairs.find(|(name, _)| parameters.contains(&name.as_ref()))?;
        self.allowed_target(&text)
    }

    /// The target `text`: a page of the app, or a URL that the configuration lists.
    pub fn allowed_target(&self, text: &str) -> Option<LogoutTarget> {
        let page = ReturnTo::parse(text, &self.paths).map(LogoutTarget::Page);
        page.or_else(|| {
            let url = Url::parse(text).ok()?;
            let is_listed = self.logout_return_to.contains(&url);
            is_listed.then_some(LogoutTarget::Listed(url))
        })
    }
}
