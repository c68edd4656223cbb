//! Decisions about requests that require a login.

use http::{HeaderMap, Method, header};

use super::decision::{Decision, Refusal};
use super::reason::Reason;
use crate::identity::login_link::{LoginLink, LoginParameters};
use crate::identity::return_to::ReturnTo;
use crate::policy::client_kind::{ClientKind, is_script};
use crate::policy::post_replay::{PreservePostError, check_preservable};
use crate::policy::request_info::RequestInfo;
use crate::policy::route::AppRef;
use crate::policy::rules::AccessRequirement;
use crate::session::validity::NoSessionReason;

/// A login that a request requires.
pub(super) struct LoginRequest<'a> {
    /// Where the login leads, and what it asks for.
    pub(super) link: LoginLink,
    /// Why there is no session, or not a sufficient one.
    pub(super) reason: NoSessionReason,
    /// The requirements of the route.
    pub(super) requirement: Option<&'a AccessRequirement>,
}

/// Requires a login for a request to the app. It leads to the requested page, or to the page that
/// contains the script or form.
pub(super) fn require_app_login<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    requirement: &'a AccessRequirement,
    reason: NoSessionReason,
) -> Decision<'a> {
    let link = LoginLink {
        parameters: LoginParameters::requiring(requirement.authentication.clone()),
        ..LoginLink::to(requesting_page(info, headers, app_ref))
    };
    if info.client_kind == ClientKind::FormSubmission
        && check_preservable(info, headers, app_ref.app).is_ok()
    {
        return Decision::PreservePost {
            app_ref: at_chosen_provider(app_ref, &link),
            link,
            reason,
            requirement,
        };
    }
    let login = LoginRequest {
        link,
        reason,
        requirement: Some(requirement),
    };
    require_login(info, headers, app_ref, login)
}

/// The link with which the user of a refused page can switch to another account. `None`: the client
/// reads no pages, or the app allows no such link.
pub(super) fn account_switch(
    info: &RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'_>,
) -> Option<LoginLink> {
    let prompt = app_ref.app.login_parameters.account_switch()?;
    info.client_kind.reads_pages().then(|| LoginLink {
        parameters: LoginParameters {
            prompt: Some(prompt.to_owned()),
            ..LoginParameters::default()
        },
        ..LoginLink::to(requesting_page(info, headers, app_ref))
    })
}

/// The app at the provider of a login: that of the link, or that of the session. Without either the
/// user chooses. A link with `prompt`, which may ask for another account, does not keep the session's.
fn at_chosen_provider<'a>(app_ref: AppRef<'a>, link: &LoginLink) -> AppRef<'a> {
    let of_session = app_ref.provider;
    let of_session = of_session.filter(|_| link.parameters.prompt.is_none());
    AppRef {
        provider: app_ref.app.providers.of_link(link).or(of_session),
        ..app_ref
    }
}

/// The requested page, or the page that contains the script or form.
pub(super) fn requesting_page(
    info: &RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'_>,
) -> ReturnTo {
    let page = match info.client_kind {
        ClientKind::Navigation | ClientKind::EmbeddedFrame => Some(info.target.as_str()),
        // A service worker fetches the page that the browser shows.
        ClientKind::HtmlFetch if info.method == Method::GET && !is_script(headers) => {
            Some(info.target.as_str())
        }
        ClientKind::FormSubmission
        | ClientKind::HtmlFetch
        | ClientKind::NonBrowser
        | ClientKind::Grpc => referring_page(headers, app_ref),
    };
    page.and_then(|page| ReturnTo::parse(page, &app_ref.app.paths))
        .unwrap_or_else(|| ReturnTo::home(&app_ref.app.paths))
}

/// Path and query of the app's own page that sent the request. A script or a style sheet may send
/// one too.
fn referring_page<'h>(headers: &'h HeaderMap, app_ref: AppRef<'_>) -> Option<&'h str> {
    let referer = headers.get(header::REFERER)?.to_str().ok()?;
    referer
        .strip_prefix(app_ref.app.origin.to_string().as_str())
        .filter(|page| page.starts_with('/') && !is_asset(page))
}

/// Whether a path has the extension of a file that is part of pages and is no page itself.
fn is_asset(page: &str) -> bool {
    const EXTENSIONS: [&str; 24] = [
        "js",
        "mjs",
        "cjs",
        "css",
        "map",
        "json",
        "webmanifest",
        "wasm",
        "ico",
        "svg",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "avif",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "mp3",
        "mp4",
        "webm",
        "vtt",
    ];
    let path = page.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(_, extension)| {
        EXTENSIONS
            .iter()
            .any(|asset| extension.eq_ignore_ascii_case(asset))
    })
}

/// Starts the login for a navigation, and refuses every other request.
pub(super) fn require_login<'a>(
    info: &'a RequestInfo,
    headers: &HeaderMap,
    app_ref: AppRef<'a>,
    login: LoginRequest<'a>,
) -> Decision<'a> {
    let LoginRequest {
        link,
        reason,
        requirement,
    } = login;
    let refused_because = match info.client_kind {
        ClientKind::Navigation => {
            let app_ref = at_chosen_provider(app_ref, &link);
            return match app_ref.provider {
                Some(_) => Decision::StartLogin {
                    app_ref,
                    link,
                    reason,
                },
                None => Decision::ChooseProvider {
                    app_ref,
                    link,
                    is_login_endpoint: info.target.path() == app_ref.app.endpoint_path("login"),
                },
            };
        }
        ClientKind::FormSubmission => {
            let error = check_preservable(info, headers, app_ref.app).err();
            let error = error.unwrap_or(PreservePostError::UnsupportedContentType);
            Reason::PostNotPreserved(reason, error)
        }
        ClientKind::EmbeddedFrame => Reason::LoginBlockedInFrame(reason),
        ClientKind::HtmlFetch | ClientKind::NonBrowser | ClientKind::Grpc => {
            Reason::LoginRequired(reason)
        }
    };
    Decision::Refuse(Refusal {
        login: Some(link),
        requirement,
        ..Refusal::new(refused_because, Some(app_ref), info.client_kind)
    })
}
