//! Login links: where a login leads, and what it asks of the provider.

use serde::{Deserialize, Serialize};

use super::authentication::AuthenticationRequirement;
use super::return_to::ReturnTo;
use crate::types::oauth::ProviderName;

/// Where a login leads, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginLink {
    /// The page.
    pub return_to: ReturnTo,
    /// The provider. `None`: the only one, or the user chooses.
    pub provider: Option<ProviderName>,
    /// Parameters of the authorization request.
    pub parameters: LoginParameters,
}

/// Parameters of one authorization request, which an access rule or a link determines. Its fields are
/// fixed, because it is part of sealed payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginParameters {
    /// `prompt`: the pages that the provider must show.
    pub prompt: Option<String>,
    /// `login_hint`: the account.
    pub login_hint: Option<String>,
    /// `ui_locales`: the languages of the provider's pages.
    pub ui_locales: Option<String>,
    /// `acr_values` and `max_age`. The result of the login is checked against them.
    pub authentication: AuthenticationRequirement,
}

impl LoginLink {
    /// The names of the parameters of a link, without `return_to`.
    pub const NAMES: [&str; 6] = [
        "prompt",
        "login_hint",
        "ui_locales",
        "acr_values",
        "max_age",
        Self::PROVIDER,
    ];

    /// The name of the parameter that names the provider.
    pub const PROVIDER: &str = "provider";

    /// To a page, without parameters.
    pub fn to(return_to: ReturnTo) -> Self {
        Self {
            return_to,
            provider: None,
            parameters: LoginParameters::default(),
        }
    }

    /// The query parameters of a link with these contents.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let provider = self.provider.iter();
        let provider = provider.map(|name| (Self::PROVIDER, name.to_string()));
        let page = ("return_to", self.return_to.as_str().to_owned());
        let parameters = self.parameters.pairs().into_iter();
        std::iter::once(page).chain(provider).chain(parameters)
    }
}

impl LoginParameters {
    /// `prompt` of a login without pages (OpenID Connect Core section 3.1.2.1).
    const NO_PAGES: &str = "none";

    /// By an access rule.
    pub fn requiring(authentication: AuthenticationRequirement) -> Self {
        Self {
            authentication,
            ..Self::default()
        }
    }

    /// The login without pages of the provider, by its own session. Unless some are asked for.
    #[must_use]
    pub fn silent(self) -> Self {
        Self {
            prompt: self.prompt.or_else(|| Some(Self::NO_PAGES.to_owned())),
            ..self
        }
    }

    /// Whether it is without pages of the provider. No link can ask for that.
    pub fn is_silent(&self) -> bool {
        self.prompt.as_deref() == Some(Self::NO_PAGES)
    }

    /// A silent login with pages of the provider.
    #[must_use]
    pub fn with_pages(self) -> Self {
        Self {
            prompt: self.prompt.filter(|prompt| prompt != Self::NO_PAGES),
            ..self
        }
    }

    /// The parameters with their names.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let chosen = [
            ("prompt", &self.prompt),
            ("login_hint", &self.login_hint),
            ("ui_locales", &self.ui_locales),
        ];
        let chosen = chosen
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)));
        chosen.chain(self.authentication.parameters()).collect()
    }
}
