//! Every page with sample values, for a check of the templates.

use http::StatusCode;

use super::{
    Age, Detail, ErrorPage, ForbiddenPage, FrameLoginPage, Href, Link, LogoutConfirmPage,
    MovingOnPage, Page, PostNotPreservedPage, ProviderChoice, ProviderChoicePage, ReplayPostPage,
    SessionRow, SessionsPage, SignedInAppsPage, SignedOutPage,
};

/// A green square.
const LOGO: &str = "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmci\
    IHZpZXdCb3g9IjAgMCA4IDgiPjxwYXRoIGZpbGw9IiMwODAiIGQ9Ik0wIDBoOHY4SDB6Ii8+PC9zdmc+";

/// A page with sample values.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// The case that it shows.
    pub(super) name: &'static str,
    /// The page.
    pub(super) page: Page,
}

/// The values of sample pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleText<'t> {
    /// The host of the app, and of other apps.
    pub(super) site: &'t str,
    /// The user.
    pub(super) user: &'t str,
    /// The names of fields, providers and the like.
    pub(super) name: &'t str,
    /// The code and the request ID.
    pub(super) request_id: &'t str,
}

impl Default for SampleText<'static> {
    fn default() -> Self {
        Self {
            site: "store.example.com",
            user: "alice@example.com",
            name: "example",
            request_id: "example 0123456789abcdef",
        }
    }
}

/// Every page, in each of its variants.
pub(super) fn samples(text: &SampleText<'_>) -> Vec<Sample> {
    let home = &Href::root();
    let mut samples = errors(text, home);
    samples.extend(logins(text, home));
    samples.extend(logouts(text, home));
    samples.extend(sessions(text, home));
    samples
}

const fn sample(name: &'static str, page: Page) -> Sample {
    Sample { name, page }
}

fn errors(values: &SampleText<'_>, home: &Href) -> Vec<Sample> {
    let SampleText {
        site,
        user,
        name,
        request_id,
    } = *values;
    let detail = &Detail {
        message: "detail.parameter",
        value: name.to_owned(),
    };
    let error = ErrorPage {
        site,
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "unavailable.provider.title",
        explanation: "unavailable.provider.login",
        detail: Some(detail),
        advice: "advice.try_later",
        link: Some(Link {
            label: "action.log_in",
            href: home,
        }),
        home: Some(home),
        reloads: true,
        request_id,
    };
    let not_found = ErrorPage {
        status: StatusCode::NOT_FOUND,
        title: "error.not_found.title",
        explanation: "error.not_found.explanation",
        detail: None,
        advice: "error.not_found.advice",
        link: None,
        reloads: false,
        ..error.clone()
    };
    let bare = ErrorPage {
        site: "",
        status: StatusCode::MISDIRECTED_REQUEST,
        title: "error.unknown_site.title",
        explanation: "error.unknown_site.explanation",
        advice: "error.unknown_site.advice",
        detail: None,
        link: None,
        home: None,
        reloads: false,
        ..error.clone()
    };
    let forbidden = ForbiddenPage {
        site,
        user,
        switch_account: home,
        home,
        request_id,
    };
    let not_preserved = PostNotPreservedPage {
        site,
        because: Some("post_not_preserved.too_large"),
        login: home,
        request_id,
    };
    let frame = FrameLoginPage {
        site,
        login: home,
        request_id,
    };
    vec![
        sample("error", Page::new(&error)),
        sample("not-found", Page::new(&not_found)),
        sample("unknown-site", Page::new(&bare)),
        sample("forbidden", Page::new(&forbidden)),
        sample("post-not-preserved", Page::new(&not_preserved)),
        sample("frame-login", Page::new(&frame)),
    ]
}

fn logins(values: &SampleText<'_>, home: &Href) -> Vec<Sample> {
    let SampleText {
        site, user, name, ..
    } = *values;
    let moving_on = MovingOnPage {
        site,
        title: "moving_on.signed_in",
        to: site,
        target: "https://store.example.com/",
    };
    let choices = [true, false].map(|is_last| ProviderChoice {
        title: name,
        logo: is_last.then_some(LOGO),
        href: home.clone(),
        is_last,
    });
    let choice = ProviderChoicePage {
        site,
        choices: &choices,
    };
    let replay = ReplayPostPage {
        site,
        user,
        target: name,
        minutes: 2,
        is_anonymous: true,
        fields: &[name, name],
        more: 3,
        action: home,
        field_name: "field",
        id: "id",
        home,
    };
    let with_fields = ReplayPostPage {
        minutes: 1,
        more: 0,
        ..replay.clone()
    };
    let without_fields = ReplayPostPage {
        minutes: 0,
        is_anonymous: false,
        fields: &[],
        more: 0,
        ..replay.clone()
    };
    vec![
        sample("moving-on", Page::new(&moving_on)),
        sample("provider-choice", Page::new(&choice)),
        sample("replay-post-anonymous", Page::new(&replay)),
        sample("replay-post", Page::new(&with_fields)),
        sample("replay-post-without-fields", Page::new(&without_fields)),
    ]
}

fn logouts(values: &SampleText<'_>, home: &Href) -> Vec<Sample> {
    let SampleText { site, user, .. } = *values;
    let confirm = LogoutConfirmPage {
        site,
        user: Some(user),
        action: home,
        home,
    };
    let without_user = LogoutConfirmPage {
        user: None,
        ..confirm.clone()
    };
    let apps = SignedInAppsPage {
        site,
        sites: &[site],
        action: home,
    };
    let no_apps = SignedInAppsPage {
        sites: &[],
        ..apps.clone()
    };
    let signed_out = SignedOutPage {
        site,
        provider_may_remember: false,
        home: Some(home),
    };
    let at_app_only = SignedOutPage {
        provider_may_remember: true,
        home: None,
        ..signed_out.clone()
    };
    vec![
        sample("logout-confirm", Page::new(&confirm)),
        sample("logout-confirm-without-user", Page::new(&without_user)),
        sample("signed-in-apps", Page::new(&apps)),
        sample("signed-in-apps-none", Page::new(&no_apps)),
        sample("signed-out", Page::new(&signed_out)),
        sample("signed-out-at-app-only", Page::new(&at_app_only)),
    ]
}

fn sessions(values: &SampleText<'_>, home: &Href) -> Vec<Sample> {
    let SampleText {
        site, user, name, ..
    } = *values;
    let browser = SessionRow {
        name: name.to_owned(),
        site,
        program: Some(name),
        system: Some(name),
        network: Some(name),
        is_native: false,
        is_device_bound: true,
        login: Age::of_secs(3600),
        activity: Age::of_secs(0),
    };
    let app = SessionRow {
        program: None,
        system: None,
        network: None,
        is_native: true,
        is_device_bound: false,
        login: Age::of_secs(3 * 24 * 3600),
        activity: Age::of_secs(120),
        ..browser.clone()
    };
    let without_program = SessionRow {
        is_native: false,
        is_device_bound: false,
        ..app.clone()
    };
    let without_system = SessionRow {
        system: None,
        ..browser.clone()
    };
    let page = SessionsPage {
        site,
        user,
        sessions: &[browser, app],
        is_incomplete: false,
        action: home,
        logout: home,
        field_name: "field",
        everywhere: "all",
        home,
    };
    let incomplete = SessionsPage {
        sessions: &[without_program, without_system],
        is_incomplete: true,
        ..page.clone()
    };
    vec![
        sample("sessions", Page::new(&page)),
        sample("sessions-incomplete", Page::new(&incomplete)),
    ]
}
