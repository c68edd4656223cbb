//! The providers at which the users of an app log in: one, or several among which a login chooses.

use std::time::Duration;

use crate::identity::login_link::LoginLink;
use crate::types::logo::Logo;
use crate::types::net::Origin;
use crate::types::oauth::ProviderName;

/// The providers of an app, at least one, in the order in which the page of a login lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginProviders {
    first: LoginProvider,
    others: Vec<LoginProvider>,
}

/// A provider of an app. Only [`LoginProviders`] makes one, from its own list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProviderIndex(usize);

/// A provider at which users log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginProvider {
    /// Its name in the configuration.
    pub name: ProviderName,
    /// Its name on pages.
    pub title: String,
    /// Its logo on pages.
    pub logo: Option<Logo>,
    /// The domains whose users log in here, by the address in `login_hint`.
    pub login_hint_domains: Vec<String>,
    /// The accepted difference between its clock and this one.
    pub leeway: Duration,
    /// Where logins here are completed.
    pub site: LoginSite,
}

/// Where the logins of an app are completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoginSite {
    /// At its own host.
    #[default]
    Own,
    /// At the login host with this origin, which hands the session over to the app's host.
    Through(Origin),
    /// This is such a login host. It has no backend and no sessions of its own.
    Host,
}

impl ProviderIndex {
    /// The position in the list.
    pub const fn position(self) -> usize {
        self.0
    }
}

impl LoginProvider {
    /// A provider with the default settings.
    pub fn new(name: ProviderName) -> Self {
        Self {
            title: name.to_string(),
            name,
            logo: None,
            login_hint_domains: Vec::new(),
            leeway: Duration::ZERO,
            site: LoginSite::Own,
        }
    }
}

impl LoginProviders {
    /// A single provider.
    pub const fn one(provider: LoginProvider) -> Self {
        Self::new(provider, Vec::new())
    }

    /// Several providers.
    pub const fn new(first: LoginProvider, others: Vec<LoginProvider>) -> Self {
        Self { first, others }
    }

    /// The only provider. `None`: there are several.
    pub fn only(&self) -> Option<ProviderIndex> {
        self.others.is_empty().then_some(ProviderIndex(0))
    }

    /// Whether a login chooses among several.
    pub const fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// The provider with this index.
    pub fn get(&self, index: ProviderIndex) -> &LoginProvider {
        let other = index.0.checked_sub(1);
        let other = other.and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    /// The providers.
    pub fn iter(&self) -> impl Iterator<Item = &LoginProvider> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The same for changes.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut LoginProvider> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// The indices of the providers.
    pub fn indices(&self) -> impl Iterator<Item = ProviderIndex> + use<> {
        (0..=self.others.len()).map(ProviderIndex)
    }

    /// The provider with this name.
    pub fn named(&self, name: &str) -> Option<ProviderIndex> {
        let position = self.iter().position(|one| one.name.as_str() == name);
        position.map(ProviderIndex)
    }

    /// The endpoint to which a provider redirects after a login. Each of several has its own, so that
    /// a response says by its address who gave it (RFC 9700 section 4.4.2.2).
    pub fn callback(&self, index: ProviderIndex) -> String {
        match self.only() {
            Some(_) => "callback".to_owned(),
            None => format!("callback/{}", self.get(index).name),
        }
    }

    /// The provider that a login link determines: by its name, or by the domain of its `login_hint`.
    pub fn of_link(&self, link: &LoginLink) -> Option<ProviderIndex> {
        let named = link.provider.as_ref();
        let named = named.and_then(|name| self.named(name.as_str()));
        let hinted = || self.of_hint(link.parameters.login_hint.as_deref()?);
        self.only().or(named).or_else(hinted)
    }

    fn of_hint(&self, hint: &str) -> Option<ProviderIndex> {
        let (_, domain) = hint.rsplit_once('@')?;
        let has_domain = |provider: &LoginProvider| {
            let mut domains = provider.login_hint_domains.iter();
            domains.any(|listed| listed.eq_ignore_ascii_case(domain))
        };
        self.iter().position(has_domain).map(ProviderIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::return_to::ReturnTo;
    use crate::types::app_paths::AppPaths;

    fn providers() -> LoginProviders {
        let provider = |name: &str, domains: &[&str]| LoginProvider {
            login_hint_domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            ..LoginProvider::new(ProviderName::new(name))
        };
        LoginProviders::new(
            provider("staff", &["example.com", "example.org"]),
            vec![provider("members", &["example.net"])],
        )
    }

    fn chosen(name: Option<&str>, hint: Option<&str>) -> Option<String> {
        let mut link = LoginLink::to(ReturnTo::home(&AppPaths::default()));
        link.provider = name.map(ProviderName::new);
        link.parameters.login_hint = hint.map(str::to_owned);
        let providers = providers();
        let index = providers.of_link(&link)?;
        Some(providers.get(index).name.to_string())
    }

    #[test]
    fn link_chooses_by_name_then_by_domain_of_the_hint() {
        assert_eq!(chosen(None, None), None);
        assert_eq!(chosen(Some("members"), None).as_deref(), Some("members"));
        assert_eq!(
            chosen(None, Some("a@EXAMPLE.org")).as_deref(),
            Some("staff")
        );
        assert_eq!(
            chosen(None, Some("\"a@example.com\"@example.net")).as_deref(),
            Some("members")
        );
        let both = chosen(Some("staff"), Some("a@example.net"));
        assert_eq!(both.as_deref(), Some("staff"));
        for other in [
            "a@example.net.example",
            "a@sub.example.net",
            "example.net",
            "@",
        ] {
            assert_eq!(chosen(None, Some(other)), None, "{other}");
        }
    }

    #[test]
    fn each_of_several_providers_has_its_own_callback() {
        let several = providers();
        let callbacks = several.indices().map(|index| several.callback(index));
        assert!(callbacks.eq(["callback/staff", "callback/members"]));
        let one = LoginProviders::one(LoginProvider::new(ProviderName::new("staff")));
        assert_eq!(one.callback(ProviderIndex::default()), "callback");
        assert_eq!(one.only(), Some(ProviderIndex(0)));
        assert_eq!(several.only(), None);
    }
}
