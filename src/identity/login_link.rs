//! Login links: where a login leads, and what it asks of the provider.

use serde::{Deserialize, Serialize};

use super::authentication::AuthenticationRequirement;
use super::return_to::ReturnTo;

/// Where a login leads, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginLink {
    /// The page.
    pub return_to: ReturnTo,
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
    /// To a page, without parameters.
    pub fn to(return_to: ReturnTo) -> Self {
        Self {
            return_to,
            parameters: LoginParameters::default(),
        }
    }
}

impl LoginParameters {
    /// The names of all parameters.
    pub const NAMES: [&str; 5] = [
        "prompt",
        "login_hint",
        "ui_locales",
        "acr_values",
        "max_age",
    ];

    /// By an access rule.
    pub fn requiring(authentication: AuthenticationRequirement) -> Self {
        Self {
            authentication,
            ..Self::default()
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
