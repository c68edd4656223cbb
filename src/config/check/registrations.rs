//! The providers of an app's logins, and its registration at each: `provider`, or `providers` with
//! `[apps.NAME.registrations.PROVIDER]`.

use url::Url;

use super::super::files::Folder;
use super::super::logo;
use super::super::raw::{RawApp, RawProvider};
use super::super::report::{Location, did_you_mean, quoted};
use super::super::settings::{AppConfig, Registration};
use super::{client, elements, is_host};
use crate::oidc::{ClientSettings, ProviderSettings};
use crate::policy::login_providers::{LoginProvider, LoginProviders, ProviderIndex};
use crate::types::logo::Logo;
use crate::types::net::Origin;
use crate::types::oauth::ProviderName;

/// The most providers of an app.
const MAX_PROVIDERS: usize = 16;

/// The longest `title`, in characters.
const MAX_TITLE: usize = 100;

/// Where an app is reached.
pub(super) struct Site<'a> {
    pub(super) origin: Option<&'a Origin>,
    pub(super) prefix: &'a str,
}

/// The checked providers of an app.
pub(super) struct Logins {
    pub(super) providers: LoginProviders,
    pub(super) registrations: Vec<Registration>,
    /// The provider that checks passwords. `None`: the app has several, and names none.
    pub(super) password_provider: Option<ProviderIndex>,
}

/// The properties of a provider for pages and links.
pub(super) struct Described {
    name: ProviderName,
    title: Option<String>,
    logo: Option<Logo>,
    login_hint_domains: Vec<String>,
}

impl Logins {
    /// The registrations as OAuth clients.
    pub(super) fn clients(&self) -> Vec<&ClientSettings> {
        let registrations = self.registrations.iter();
        registrations.map(|one| &one.client).collect()
    }

    /// The client for passwords.
    pub(super) fn password_client(&self) -> Option<&ClientSettings> {
        let position = self.password_provider?.position();
        Some(&self.registrations.get(position)?.client)
    }
}

/// Takes the providers and registrations out of `raw`.
pub(super) fn check(
    raw: &mut RawApp,
    site: &Site<'_>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Logins> {
    if raw.providers.is_some() {
        return check_several(raw, site, at, folder);
    }
    let unused = [
        ("registrations", raw.registrations.is_some()),
        ("password_provider", raw.password_provider.is_some()),
    ];
    for (key, _) in unused.into_iter().filter(|(_, is_set)| *is_set) {
        at.key(key).error(
            "the app has one provider",
            "remove the key, or list several in `providers`",
        );
    }
    let name = at.required(
        "provider",
        raw.provider.take(),
        "the name of a table under `[providers]`",
    );
    let mut registration = raw.take_registration();
    let client = client::check(&mut registration, site.callback("callback"), at, folder);
    let (name, client) = (ProviderName::new(name?), client?);
    let providers = LoginProviders::one(LoginProvider::new(name.clone()));
    Some(Logins {
        password_provider: providers.only(),
        providers,
        registrations: vec![Registration::new(name, client)],
    })
}

fn check_several(
    raw: &mut RawApp,
    site: &Site<'_>,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<Logins> {
    if raw.provider.take().is_some() {
        at.key("provider")
            .error("`providers` is set too", "keep one of the two");
    }
    for key in raw.take_registration().keys() {
        at.key(key).error(
            "each of several providers has a registration of its own",
            "move it to a table such as `[apps.NAME.registrations.PROVIDER]`",
        );
    }
    let names = names(raw, at);
    let tables = at.key("registrations");
    let mut registrations = raw.registrations.take().unwrap_or_default();
    let mut checked = Vec::new();
    for name in &names {
        let Some(registration) = registrations.remove(name.as_str()) else {
            tables.missing(name.as_str(), "a table with `client_id`");
            continue;
        };
        let callback = site.callback(&format!("callback/{name}"));
        let at = tables.key(name.as_str());
        let client =
            registration.and_then(|mut raw| client::check(&mut raw, callback, &at, folder));
        checked.extend(client.map(|client| Registration::new(name.clone(), client)));
    }
    let known = || names.iter().map(ProviderName::as_str);
    for name in registrations.keys() {
        let message = format!("{} is not one of `providers`", quoted(name));
        tables
            .key(name)
            .key_error(message, did_you_mean(name, known()));
    }
    let mut listed = names.iter().cloned().map(LoginProvider::new);
    let providers = LoginProviders::new(listed.next()?, listed.collect());
    let password_provider = raw.password_provider.take();
    let password_provider = password_provider.and_then(|name| {
        let index = providers.named(&name);
        if index.is_none() {
            let message = format!("{} is not one of `providers`", quoted(&name));
            at.key("password_provider")
                .error(message, did_you_mean(&name, known()));
        }
        index
    });
    (checked.len() == names.len()).then_some(Logins {
        providers,
        registrations: checked,
        password_provider,
    })
}

/// The names in `providers`.
fn names(raw: &mut RawApp, at: &Location<'_>) -> Vec<ProviderName> {
    let at = at.key("providers");
    let mut names: Vec<ProviderName> = Vec::new();
    for (at, name) in elements(raw.providers.take(), &at) {
        let name = ProviderName::new(name);
        if names.contains(&name) {
            at.error(
                format!("duplicate provider {}", quoted(name.as_str())),
                "list each provider once",
            );
        } else {
            names.push(name);
        }
    }
    if names.len() < 2 && !at.has_invalid() {
        at.error(
            "fewer than two providers",
            "use `provider` for a single one",
        );
    } else if names.len() > MAX_PROVIDERS {
        let message = format!("more than {MAX_PROVIDERS} providers");
        at.error(message, "users choose one of them on a page");
    }
    names
}

impl Site<'_> {
    /// The redirect URI.
    fn callback(&self, endpoint: &str) -> Option<Url> {
        let (origin, prefix) = (self.origin?, self.prefix);
        Url::parse(&format!("{origin}{prefix}/{endpoint}")).ok()
    }
}

/// Takes the keys for pages and links out of `raw`.
pub(super) fn describe(
    name: &str,
    raw: &mut RawProvider,
    at: &Location<'_>,
    folder: &Folder,
) -> Described {
    let title = raw.title.take().inspect(|title| {
        let is_text = !title.trim().is_empty() && !title.chars().any(char::is_control);
        if !is_text || title.chars().count() > MAX_TITLE {
            at.key("title").error(
                format!("{} is not a title", quoted(title)),
                format!("one line of at most {MAX_TITLE} characters"),
            );
        }
    });
    let logo = raw.logo_file.take();
    let logo = logo.and_then(|name| logo::read(folder, &at.key("logo_file"), &name));
    let at = at.key("login_hint_domains");
    let domains = elements(raw.login_hint_domains.take(), &at);
    Described {
        name: ProviderName::new(name),
        title,
        logo,
        login_hint_domains: domains
            .inspect(|(at, domain)| {
                if !is_host(domain) {
                    at.error(
                        format!("{} is not a domain", quoted(domain)),
                        "the part of an email address after the `@`, such as `\"example.com\"`",
                    );
                }
            })
            .map(|(_, domain)| domain)
            .collect(),
    }
}

/// Offers the callback to forms if a provider sends them.
pub(super) fn offer_posted_callback(app: &mut AppConfig) {
    let mut registrations = app.registrations.iter();
    app.policy.optional_endpoints.posted_callback =
        registrations.any(|one| one.client.response_mode.is_posted());
}

/// Completes the providers of an app with what their own tables say.
pub(super) fn complete(
    app: &mut AppConfig,
    settings: &[ProviderSettings],
    described: &[Described],
) {
    for provider in app.policy.providers.iter_mut() {
        let mut known = settings.iter();
        if let Some(settings) = known.find(|settings| settings.name == provider.name) {
            provider.leeway = settings.leeway;
        }
        let mut known = described.iter();
        if let Some(described) = known.find(|described| described.name == provider.name) {
            if let Some(title) = &described.title {
                provider.title.clone_from(title);
            }
            provider.logo.clone_from(&described.logo);
            let domains = &described.login_hint_domains;
            provider.login_hint_domains.clone_from(domains);
        }
    }
}
