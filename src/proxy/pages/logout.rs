//! Pages before and after a logout.
//!
//! The response of a page with a form must not have `Referrer-Policy: no-referrer`, because browsers
//! would then submit the form with `Origin: null`.

use serde::Serialize;

use super::{Href, PageContent, PageKind};

/// The page after a logout. It does not redirect to a login.
#[derive(Clone, Debug, Serialize)]
pub struct SignedOutPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// Whether the provider's session may still exist, so that the next login may show no form.
    pub provider_may_remember: bool,
    /// The app's start page, if it has one.
    pub home: Option<&'a Href>,
}

impl PageContent for SignedOutPage<'_> {
    const TEMPLATE: &'static str = "signed_out.html";

    fn kind(&self) -> PageKind {
        PageKind::Plain
    }
}

/// The form that `GET {prefix}/logout` returns.
#[derive(Clone, Debug, Serialize)]
pub struct LogoutConfirmPage<'a> {
    /// The app's host.
    pub site: &'a str,
    /// The user, if there is a session.
    pub user: Option<&'a str>,
    /// The target of the form: `{prefix}/logout`.
    pub action: &'a Href,
    /// The app's start page, for users who cancel.
    pub home: &'a Href,
}

impl PageContent for LogoutConfirmPage<'_> {
    const TEMPLATE: &'static str = "logout_confirm.html";

    fn kind(&self) -> PageKind {
        PageKind::Form
    }
}

/// The apps that a browser is signed in at through a login host, with a form that ends their
/// sessions.
#[derive(Clone, Debug, Serialize)]
pub struct SignedInAppsPage<'a> {
    /// The login host.
    pub site: &'a str,
    /// The hosts of the apps.
    pub sites: &'a [&'a str],
    /// The target of the form: `{prefix}/logout`.
    pub action: &'a Href,
}

impl PageContent for SignedInAppsPage<'_> {
    const TEMPLATE: &'static str = "signed_in_apps.html";

    fn kind(&self) -> PageKind {
        PageKind::Form
    }
}
