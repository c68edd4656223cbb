//! Requirements of access rules on the user's authentication, and the parameters of login links.

use super::super::raw::{List, RawApp};
use super::super::raw_rules::{RawRequire, RawTexts};
use super::super::report::{Location, quoted};
use super::{elements, nonzero};
use crate::identity::authentication::{AuthenticationRequirement, MAX_ACR};
use crate::oidc::ClientSettings;
use crate::policy::login_parameters::AllowedParameters;
use crate::policy::rules::{Access, Rule};

/// The values of `prompt` that a link may have.
const PROMPTS: [&str; 4] = ["login", "select_account", "consent", "create"];

/// Checks `require` of a rule with this access.
pub(super) fn check_rule(
    raw: RawRequire,
    access: Option<&Access>,
    at: &Location<'_>,
) -> AuthenticationRequirement {
    let RawRequire { acr, max_age } = raw;
    if acr.is_none() && max_age.is_none() && !at.has_invalid() {
        at.error(
            "nothing is required",
            "for example `require = { max_age = \"5m\" }`",
        );
    }
    if matches!(access, Some(Access::Public | Access::Denied)) {
        at.error(
            "only authenticated users can fulfil it",
            "use it with `allow = \"authenticated\"` or a condition",
        );
    }
    AuthenticationRequirement {
        acr_values: acr
            .map(|RawTexts(values)| acr_values(values, &at.key("acr")))
            .unwrap_or_default(),
        max_age: max_age.map(|max_age| nonzero(max_age, &at.key("max_age"))),
    }
}

/// Values of `acr`, which are parts of URLs and of challenges.
fn acr_values(values: List<String>, at: &Location<'_>) -> Vec<String> {
    if values.is_empty() {
        at.error(
            "no value is listed",
            "remove the key if every value will do",
        );
    }
    let is_valid = |acr: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        (1..=MAX_ACR).contains(&acr.len()) && acr.bytes().all(is_allowed)
    };
    let valid = elements(Some(values), at).filter_map(|(at, acr)| {
        if !is_valid(&acr) {
            at.error(
                format!("{} is not a value of `acr`", quoted(&acr)),
                "visible ASCII without blanks and quotation marks; list several in an array",
            );
            return None;
        }
        Some(acr)
    });
    valid.collect()
}

/// Reports rules that no login of one of `clients` fulfils.
pub(super) fn check_reachable(rules: &[Rule], clients: &[&ClientSettings], at: &Location<'_>) {
    for (index, rule) in rules.iter().enumerate() {
        if rule.allow.auth_methods.basic && !rule.allow.authentication.is_empty() {
            at.index(index).key("require").error(
                "a password cannot fulfil it: the provider does not check it at each request",
                "remove `\"basic\"` from `auth_methods`, or remove `require`",
            );
        }
    }
    for client in clients {
        check_reachable_by(rules, client, at);
    }
}

fn check_reachable_by(rules: &[Rule], client: &ClientSettings, at: &Location<'_>) {
    let of_every_login = client.required_authentication();
    let mut extra = client.extra_authorization_params.iter();
    let is_silent = extra.any(|(name, value)| name == "prompt" && value == "none");
    for (index, rule) in rules.iter().enumerate() {
        let required = &rule.allow.authentication;
        let at = at.index(index).key("require");
        if required.is_empty() || !rule.allow.auth_methods.session {
            continue;
        }
        if required.and(&of_every_login).is_none() {
            at.key("acr").error(
                "no login can fulfil it: `extra_authorization_params` accepts other values only",
                "add one of the values to its `acr_values`, or remove that parameter",
            );
        }
        if is_silent {
            at.warning(
                "a login cannot fulfil it: with `prompt` = `none` the provider never asks the user",
                "remove `prompt` from `extra_authorization_params`",
            );
        }
    }
}

/// `[apps.NAME.login_parameters]`
pub(super) fn check_parameters(
    raw: &mut RawApp,
    clients: &[&ClientSettings],
    at: &Location<'_>,
) -> AllowedParameters {
    let at = at.key("login_parameters");
    let raw = raw.login_parameters.take().unwrap_or_default();
    let prompts = match raw.prompt {
        Some(prompts) => elements(Some(prompts), &at.key("prompt"))
            .filter_map(|(at, prompt)| known_prompt(prompt, &at))
            .collect(),
        None => vec!["login".to_owned()],
    };
    let at = at.key("acr_values");
    let acr_values: Vec<String> = elements(raw.acr_values, &at)
        .filter_map(|(at, acr)| acr_values(vec![Some(acr)], &at).pop())
        .collect();
    for client in clients {
        let accepted = client.required_authentication().acr_values;
        if let Some(other) = acr_values.iter().find(|acr| !accepted.contains(acr))
            && !accepted.is_empty()
        {
            at.error(
                format!(
                    "a login with {} fails: `extra_authorization_params` accepts other values only",
                    quoted(other)
                ),
                "list only its values, or remove its `acr_values`",
            );
        }
    }
    AllowedParameters {
        prompts,
        acr_values,
        login_hint: raw.login_hint.unwrap_or(false),
        ui_locales: raw.ui_locales.unwrap_or(false),
    }
}

fn known_prompt(prompt: String, at: &Location<'_>) -> Option<String> {
    if PROMPTS.contains(&prompt.as_str()) {
        return Some(prompt);
    }
    at.error(
        format!("{} is not a prompt for links", quoted(&prompt)),
        "`\"login\"`, `\"select_account\"`, `\"consent\"` or `\"create\"`",
    );
    None
}
