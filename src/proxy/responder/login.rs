//! Responses to failed logins.

use http::StatusCode;

use super::Responder;
use super::error::{EndpointLink, ErrorResponse, href};
use super::response::TaggedResponse;
use crate::auth::login::LoginFailure;
use crate::identity::login_link::LoginLink;
use crate::identity::return_to::ReturnTo;
use crate::policy::app::App;
use crate::policy::client_kind::ClientKind;
use crate::policy::login_providers::ProviderIndex;
use crate::proxy::messages;
use crate::proxy::pages::{MAX_LINK, Page, ProviderChoice, ProviderChoicePage};
use crate::session::login_loop::LoginLoopCause;
use crate::types::app_paths::AppPaths;
use crate::types::logo::Logo;
use crate::types::request_id::RequestId;

impl Responder {
    /// The response to a failed login, with a link that starts another login.
    pub fn login_failed(
        &self,
        app: &App,
        failure: &LoginFailure,
        link: &LoginLink,
        request_id: RequestId,
    ) -> TaggedResponse {
        self.failed_login_page(FailedLoginPage {
            app,
            failure,
            login: Some(login_path(app, &retry_link(app, failure, link))),
            request_id,
        })
    }

    /// The page on which the user chooses a provider. `last` is that of the browser's last login.
    pub fn provider_choice(
        &self,
        app: &App,
        link: &LoginLink,
        last: Option<ProviderIndex>,
        code: &'static str,
    ) -> TaggedResponse {
        let choice = |index: ProviderIndex| {
            let provider = app.providers.get(index);
            let link = LoginLink {
                provider: Some(provider.name.clone()),
                ..link.clone()
            };
            Some(ProviderChoice {
                title: &provider.title,
                logo: provider.logo.as_ref().map(Logo::data_url),
                href: href(&login_path(app, &link))?,
                is_last: last == Some(index),
            })
        };
        let mut choices: Option<Vec<_>> = app.providers.indices().map(choice).collect();
        if let Some(choices) = &mut choices {
            choices.sort_by_key(|choice| !choice.is_last);
        }
        self.page_or_error(code, choices, |choices| {
            Page::new(&ProviderChoicePage {
                site: &app.site(),
                choices: &choices,
            })
        })
    }

    /// The page of a failed login.
    pub(super) fn failed_login_page(&self, page: FailedLoginPage<'_>) -> TaggedResponse {
        let FailedLoginPage {
            app,
            failure,
            login,
            request_id,
        } = page;
        let status = status_of_login_failure(failure);
        let retry_after = if let LoginFailure::Unavailable(unavailable) = failure {
            Some(unavailable.retry_after)
        } else {
            None
        };
        let link =
            (*failure == LoginFailure::Loop(LoginLoopCause::NotAllowed)).then_some(EndpointLink {
                label: "action.log_out",
                endpoint: "logout",
            });
        let error = ErrorResponse::new(
            status,
            failure.code(),
            messages::login_failure_text(failure),
            Some(app),
            request_id,
        );
        let detail = messages::login_failure_detail(failure, app);
        // Only browsers are redirected to the callback.
        self.render(
            ClientKind::Navigation,
            &ErrorResponse {
                detail,
                retry_after,
                login,
                link,
                ..error
            },
        )
    }
}

/// A failed login as its page shows it.
pub(super) struct FailedLoginPage<'p> {
    /// The site of the page.
    pub(super) app: &'p App,
    /// Why it failed.
    pub(super) failure: &'p LoginFailure,
    /// The path that starts another login.
    pub(super) login: Option<String>,
    pub(super) request_id: RequestId,
}

/// The link to another login of `app`. After an insufficient one, the provider must ask the user again:
/// otherwise its session may give the same result.
pub(super) fn retry_link(app: &App, failure: &LoginFailure, link: &LoginLink) -> LoginLink {
    const PROMPT: &str = "login";
    let mut link = link.clone();
    if matches!(failure, LoginFailure::InsufficientAuthentication(_))
        && app.login_parameters.allows_prompt(PROMPT)
    {
        link.parameters.prompt = Some(PROMPT.to_owned());
    }
    link
}

/// The path that starts a login, which leads to the page without its query, or to the start page, where the
/// path would be too long.
pub(super) fn login_path(app: &App, link: &LoginLink) -> String {
    login_link(&app.paths, link)
}

/// The URL that starts a login.
pub(in crate::proxy) fn login_url(app: &App, link: &LoginLink) -> String {
    format!("{}{}", app.origin, login_path(app, link))
}

fn login_link(paths: &AppPaths, link: &LoginLink) -> String {
    let path_to = |page: &ReturnTo| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let link = LoginLink {
            return_to: page.clone(),
            ..link.clone()
        };
        query.extend_pairs(link.pairs());
        format!("{}/login?{}", paths.endpoints, query.finish())
    };
    let pages = [&link.return_to, &link.return_to.without_query()];
    let mut links = pages.into_iter().map(path_to);
    let fitting = links.find(|link| link.len() <= MAX_LINK);
    fitting.unwrap_or_else(|| path_to(&ReturnTo::home(paths)))
}

/// 502 only if the provider is the cause. Anyone can send an invalid code.
fn status_of_login_failure(failure: &LoginFailure) -> StatusCode {
    match failure {
        LoginFailure::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        LoginFailure::Declined { error, .. } => match error.as_str() {
            "server_error" | "temporarily_unavailable" => StatusCode::BAD_GATEWAY,
            _ => StatusCode::FORBIDDEN,
        },
        LoginFailure::NotRegistered | LoginFailure::InsufficientAuthentication(_) => {
            StatusCode::FORBIDDEN
        }
        LoginFailure::CodeNotRedeemed(_)
        | LoginFailure::TokensRejected(_)
        | LoginFailure::ClockSkew(_)
        | LoginFailure::TooLarge(_) => StatusCode::BAD_GATEWAY,
        LoginFailure::Loop(cause) => match cause {
            LoginLoopCause::CookieNotReturned
            | LoginLoopCause::WrongHost
            | LoginLoopCause::SecureOverHttp => StatusCode::BAD_REQUEST,
            LoginLoopCause::SessionEnded
            | LoginLoopCause::ClientChanges
            | LoginLoopCause::NotAllowed => StatusCode::FORBIDDEN,
            LoginLoopCause::TooLarge
            | LoginLoopCause::ClockSkew
            | LoginLoopCause::UnreadableCookie => StatusCode::INTERNAL_SERVER_ERROR,
        },
        LoginFailure::SessionRevoked | LoginFailure::UserBlocked => StatusCode::FORBIDDEN,
        LoginFailure::Malformed(_)
        | LoginFailure::StateInvalid
        | LoginFailure::RequestInvalid
        | LoginFailure::HandoverInvalid
        | LoginFailure::HandoverGone
        | LoginFailure::CookieMissing
        | LoginFailure::BrowserMismatch
        | LoginFailure::AttemptExpired
        | LoginFailure::CodeRejected
        | LoginFailure::Replayed => StatusCode::BAD_REQUEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::public_url::BasePath;

    #[test]
    fn long_login_link_loses_its_query_and_then_its_page() {
        let paths = AppPaths::new(BasePath::default(), "/.doorward");
        let link = |page: &str| {
            let page = ReturnTo::parse(page, &paths).unwrap();
            login_link(&paths, &LoginLink::to(page))
        };
        assert_eq!(link("/a?b=c"), "/.doorward/login?return_to=%2Fa%3Fb%3Dc");
        let long = "x".repeat(9000);
        assert_eq!(
            link(&format!("/a?{long}")),
            "/.doorward/login?return_to=%2Fa"
        );
        assert_eq!(link(&format!("/{long}")), "/.doorward/login?return_to=%2F");
    }

    #[test]
    fn unknown_code_is_400_and_rejected_client_is_502() {
        assert_eq!(
            status_of_login_failure(&LoginFailure::CodeRejected),
            StatusCode::BAD_REQUEST
        );
        let by_provider = LoginFailure::CodeNotRedeemed("client_rejected");
        assert_eq!(
            status_of_login_failure(&by_provider),
            StatusCode::BAD_GATEWAY
        );
    }
}
