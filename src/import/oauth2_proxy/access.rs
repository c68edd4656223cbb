//! The access rule for all users: e-mail addresses, groups and roles.

use toml::Table;

use super::super::Import;
use super::super::document::list;
use super::super::rules::{Allow, Rule, file};
use super::super::settings::SettingValue;
use super::provider::ProviderKind;

/// Options that admit fewer users and have no equivalent: without a decision nobody is admitted.
const RESTRICTIONS: [&str; 9] = [
    "bitbucket-repository",
    "bitbucket-team",
    "entra-id-allowed-tenant",
    "github-org",
    "github-repo",
    "github-team",
    "github-user",
    "gitlab-project",
    "google-group",
];

/// Maps the restrictions of users to access rules.
pub(super) fn map(import: &mut Import, app: &str, provider: ProviderKind) {
    let everything = vec!["/**".to_owned()];
    let closed = || Rule::new(everything.clone(), Allow::Denied);
    let restriction = RESTRICTIONS
        .iter()
        .find_map(|name| import.settings.peek(name));
    let restriction = restriction.map(|setting| setting.at.clone());
    let allow = Allow::all(vec![addresses(import, provider), groups(import)]);
    if restriction.is_some() {
        let message = "nobody is admitted until you say who is: a restriction is not mapped";
        import.rule_to_decide(app, closed(), restriction.as_ref(), message);
        return;
    }
    match allow {
        // The default.
        Allow::Authenticated | Allow::Public => {}
        Allow::Denied => {
            let message = "nobody is admitted until you say who is: no domain or address is left";
            import.rule_to_decide(app, closed(), None, message);
        }
        Allow::If(_) => import.rule(app, Rule::new(everything, allow)),
    }
}

/// Users by their address. Without an option for it, oauth2-proxy does not start.
fn addresses(import: &mut Import, provider: ProviderKind) -> Allow {
    let claim = import.settings.take_value("oidc-email-claim");
    let claim = claim.map_or_else(|| "email".to_owned(), |value| value.text);
    let domains = import.settings.take_values("email-domain");
    let addresses = import.settings.take_value("authenticated-emails-file");
    if domains.iter().any(|domain| domain.text == "*") {
        return Allow::Authenticated;
    }
    let first = domains.first().cloned().or_else(|| addresses.clone());
    let mut choices = Vec::new();
    let mut names = Vec::new();
    for domain in domains {
        if domain.text.starts_with(['.', '*']) {
            import.not_mapped(
                &domain,
                "a domain does not include its subdomains; list each",
            );
        } else if claim != "email" {
            import.not_mapped(&domain, "domains are compared with the claim `email` only");
        } else {
            names.push(domain.text);
        }
    }
    if !names.is_empty() {
        let names = list(names);
        choices.push(Allow::condition("email_domains", names));
    }
    if let Some(value) = addresses {
        choices.push(if claim == "email" {
            Allow::condition("emails", file(&value.text))
        } else {
            import.changed(
                &value,
                "the values of the claim are compared exactly, also their case",
            );
            Allow::If(Table::from_iter([
                ("claim".to_owned(), claim.into()),
                ("any_of".to_owned(), file(&value.text)),
            ]))
        });
    }
    if let (Some(first), ProviderKind::LeavesAddressesUnmarked) = (first, provider) {
        let message =
            "only addresses with `email_verified` count, which this provider may leave out";
        import.changed(&first, message);
    }
    Allow::any(choices)
}

/// Users by their groups and roles, of which one is enough.
fn groups(import: &mut Import) -> Allow {
    let claim = import.settings.take_value("oidc-groups-claim");
    let claim = claim.map_or_else(|| "groups".to_owned(), |value| value.text);
    let mut groups: Vec<SettingValue> = Vec::new();
    for flag in ["allowed-group", "keycloak-group", "gitlab-group"] {
        groups.extend(import.settings.take_values(flag));
    }
    let mut choices = Vec::new();
    if !groups.is_empty() {
        choices.push(Allow::claim(
            &claim,
            groups.into_iter().map(|value| value.text),
        ));
    }
    let mut realm_roles = Vec::new();
    for role in import.settings.take_values("allowed-role") {
        import.changed(
            &role,
            "the ID token needs the claim: see the guide for Keycloak",
        );
        match role.text.split_once(':') {
            None => realm_roles.push(role.text),
            Some((client, name)) => {
                let client = client.replace('.', "\\.");
                choices.push(Allow::claim(
                    &format!("resource_access.{client}.roles"),
                    [name],
                ));
            }
        }
    }
    if !realm_roles.is_empty() {
        choices.push(Allow::claim("realm_access.roles", realm_roles));
    }
    if choices.is_empty() {
        return Allow::Authenticated;
    }
    Allow::any(choices)
}
