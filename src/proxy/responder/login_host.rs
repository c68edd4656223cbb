//! Responses that lead to another host after a login or logout, and the pages of a login host.

use std::sync::Arc;

use http::{StatusCode, header};
use url::form_urlencoded::byte_serialize;

use super::Responder;
use super::error::href;
use super::login::{FailedLoginPage, login_path, login_url, retry_link};
use super::response::{TaggedResponse, insert, page_response};
use crate::auth::login_host::FailedHostLogin;
use crate::identity::login_link::LoginLink;
use crate::policy::app::App;
use crate::policy::logout_target::LogoutTarget;
use crate::proxy::pages::{MovingOnPage, Page, SignedInAppsPage};
use crate::types::request_id::RequestId;

/// A step to another host.
pub struct MovingOn<'s> {
    /// The login host or app that the browser is at.
    pub from: &'s App,
    /// The name of the other host.
    pub to: &'s str,
    /// The URL there.
    pub target: &'s str,
    /// The key of the heading of the page.
    pub title: &'static str,
    /// The stable code.
    pub code: &'static str,
}

impl Responder {
    /// A redirect to the login endpoint of an app.
    pub fn redirect_to_login(
        &self,
        app: &App,
        link: &LoginLink,
        code: &'static str,
    ) -> TaggedResponse {
        self.redirect(StatusCode::FOUND, &login_url(app, link), code)
    }

    /// The page that sends the browser on to another host.
    ///
    /// It is no redirect: Chromium applies the `form-action` of the provider's page to every
    /// redirect after its form, and the provider lists the host of the redirect URI only.
    pub fn moving_on(&self, step: &MovingOn<'_>) -> TaggedResponse {
        let page = Page::new(&MovingOnPage {
            site: &step.from.site(),
            title: step.title,
            to: step.to,
            target: step.target,
        });
        let mut response = page_response(StatusCode::OK, page);
        let headers = response.headers_mut();
        insert(headers, header::REFRESH, &format!("0; url={}", step.target));
        // The address of this page contains the provider's authorization code.
        insert(headers, header::REFERRER_POLICY, "no-referrer");
        TaggedResponse {
            code: step.code,
            response,
        }
    }

    /// Leads to the target of a logout.
    pub fn return_from_logout(
        &self,
        app: &App,
        target: &LogoutTarget,
        code: &'static str,
    ) -> TaggedResponse {
        match target {
            LogoutTarget::Page(_) => self.redirect(StatusCode::FOUND, &target.location(app), code),
            LogoutTarget::Listed(url) => self.moving_on(&MovingOn {
                from: app,
                to: url.host_str().unwrap_or_default(),
                target: url.as_str(),
                title: "moving_on.signed_out",
                code,
            }),
        }
    }

    /// The response to a login that a login host did not complete. Its link leads to the login
    /// endpoint of the app, by way of the login host.
    pub fn host_login_failed(
        &self,
        host: &App,
        failed: &FailedHostLogin,
        request_id: RequestId,
    ) -> TaggedResponse {
        let login = failed.target.as_ref().map(|target| {
            let name = target.app.login_name();
            let name: String = byte_serialize(name.as_str().as_bytes()).collect();
            let link = retry_link(&target.app, &failed.failure, &target.link);
            let path = format!("{}&app={name}", login_path(host, &link));
            if href(&path).is_some() {
                path
            } else {
                format!("{}?app={name}", host.endpoint_path("login"))
            }
        });
        self.failed_login_page(FailedLoginPage {
            app: host,
            failure: &failed.failure,
            login,
            request_id,
        })
    }

    /// The page that lists the apps of a browser and asks whether to log out of them.
    pub fn signed_in_apps(
        &self,
        host: &App,
        apps: &[Arc<App>],
        code: &'static str,
    ) -> TaggedResponse {
        let site =
            |app: &Arc<App>| format!("{}{}", app.origin.authority(), app.paths.base.as_str());
        let sites: Vec<String> = apps.iter().map(site).collect();
        let sites: Vec<&str> = sites.iter().map(String::as_str).collect();
        self.page_or_error(code, href(&host.endpoint_path("logout")), |action| {
            Page::new(&SignedInAppsPage {
                site: &host.site(),
                sites: &sites,
                action: &action,
            })
        })
    }
}
