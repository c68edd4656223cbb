//! Login links: parses the query of the login endpoint, with the parameters that the app allows.

use std::time::Duration;

use super::app::App;
use crate::identity::authentication::AuthenticationRequirement;
use crate::identity::login_link::{LoginLink, LoginParameters};
use crate::identity::return_to::ReturnTo;
use crate::types::oauth::ProviderName;

/// Maximum length of `login_hint` in bytes: that of an email address.
const MAX_HINT: usize = 254;

/// Maximum length of `ui_locales` in bytes.
const MAX_LOCALES: usize = 100;

/// A login link has a parameter that is not allowed, or more than once, or with this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterNotAllowed(pub &'static str);

/// A parameter of a login link.
struct Parameter {
    name: &'static str,
    value: Option<String>,
}

impl Parameter {
    /// Its value, if it is allowed.
    fn checked(
        self,
        is_allowed: impl FnOnce(&str) -> bool,
    ) -> Result<Option<String>, ParameterNotAllowed> {
        match self.value {
            Some(value) if !is_allowed(&value) => Err(ParameterNotAllowed(self.name)),
            value => Ok(value),
        }
    }
}

impl App {
    /// Parses the query of a login link. Unknown parameters are ignored.
    ///
    /// # Errors
    /// A known one is not allowed.
    pub fn login_link(&self, query: &str) -> Result<LoginLink, ParameterNotAllowed> {
        let pairs = || url::form_urlencoded::parse(query.as_bytes());
        let mut found = LoginLink::NAMES.map(|name| Parameter { name, value: None });
        for (name, value) in pairs() {
            let known = found.iter_mut().find(|known| known.name == name);
            if let Some(known) = known
                && known.value.replace(value.into_owned()).is_some()
            {
                return Err(ParameterNotAllowed(known.name));
            }
        }
        let [
            prompt,
            login_hint,
            ui_locales,
            acr_values,
            max_age,
            provider,
        ] = found;
        let allowed = &self.login_parameters;
        let return_to = pairs()
            .find(|(name, _)| name == "return_to")
            .and_then(|(_, page)| ReturnTo::parse(&page, &self.paths));
        Ok(LoginLink {
            return_to: return_to.unwrap_or_else(|| ReturnTo::home(&self.paths)),
            provider: if self.providers.are_several() {
                provider
                    .checked(|name| self.providers.named(name).is_some())?
                    .map(ProviderName::new)
            } else {
                None
            },
            parameters: LoginParameters {
                prompt: prompt.checked(|prompts| are_listed(prompts, &allowed.prompts))?,
                login_hint: login_hint.checked(|hint| allowed.login_hint && is_hint(hint))?,
                ui_locales: ui_locales.checked(|tags| allowed.ui_locales && are_tags(tags))?,
                authentication: self.linked_authentication(acr_values, max_age)?,
            },
        })
    }

    /// The requirements of a link on the user's authentication: all that one of the rules requires, or
    /// allowed values of `acr_values`.
    fn linked_authentication(
        &self,
        acr_values: Parameter,
        max_age: Parameter,
    ) -> Result<AuthenticationRequirement, ParameterNotAllowed> {
        let not_allowed = if max_age.value.is_some() {
            ParameterNotAllowed(max_age.name)
        } else {
            ParameterNotAllowed(acr_values.name)
        };
        let seconds = max_age.value.map(|seconds| seconds.parse());
        let seconds = seconds.transpose().map_err(|_| not_allowed)?;
        let values = acr_values.value.as_deref();
        let required = AuthenticationRequirement {
            acr_values: values
                .unwrap_or_default()
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect(),
            max_age: seconds.map(Duration::from_secs),
        };
        let allowed = &self.login_parameters.acr_values;
        let is_listed = values.is_none_or(|values| are_listed(values, allowed));
        let is_allowed = (is_listed && required.max_age.is_none())
            || self.rules.require_authentication(&required);
        is_allowed.then_some(required).ok_or(not_allowed)
    }
}

/// Whether all `values`, separated by spaces, are in `allowed`.
fn are_listed(values: &str, allowed: &[String]) -> bool {
    let mut values = values.split(' ');
    values.all(|value| allowed.iter().any(|listed| listed == value))
}

fn is_hint(hint: &str) -> bool {
    (1..=MAX_HINT).contains(&hint.len()) && !hint.chars().any(char::is_control)
}

/// Language tags (BCP 47), separated by spaces.
fn are_tags(tags: &str) -> bool {
    let is_tag = |tag: &str| {
        !tag.is_empty()
            && tag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    tags.len() <= MAX_LOCALES && tags.split(' ').all(is_tag)
}
