//! Explanations: what the server would do with a request, and why. The same parser, router, decision
//! and header filter as for a request that is served, without a call to any other machine.

mod presumed;
mod request;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::StartError;
use super::compose::{log_names, trusted_proxies};
use super::upstreams::{ConfiguredRoute, header_policy};
use crate::auth::bearer::token_identity::{IdentityHeaders, TokenIdentity};
use crate::config::Config;
use crate::identity::claims::{ClaimSource, Claims, UnverifiedClaims};
use crate::identity::identity::Identity;
use crate::oidc::ProviderSettings;
use crate::oidc::presented_token::TokenSubject;
use crate::policy::canonical::canonical;
use crate::policy::client_address::TrustedProxies;
use crate::policy::condition::{CheckedCondition, Subjects};
use crate::policy::credential_use::CredentialUse;
use crate::policy::decide::{AccessContext, Caller, Decision, Permit, decide};
use crate::policy::explanation::{Denial, RuleCheck};
use crate::policy::path_routes::OwnResponse;
use crate::policy::request_info::RequestInfo;
use crate::policy::route::{AppRef, AppRoute, Endpoint, HostRouter, Route};
use crate::policy::rule_lists::RuleLists;
use crate::policy::rules::{Access, AppliedRule};
use crate::proxy::Responder;
use crate::proxy::log_names::{LogNames, identity_of};
use crate::session::validity::NoSessionReason;
use crate::types::net::ListenerKind;
use crate::types::oauth::{ProviderName, Subject};
use crate::types::request_id::{RequestId, X_REQUEST_ID};
use crate::types::time::{Clock, SystemClock, Timestamp};
use crate::upstream::{HeaderPolicy, UpstreamSettings, UpstreamUrl, app_headers};

use presumed::{session_of, token_of};

pub use request::{PresumedCaller, PresumedRequest, PresumedRequestError};

/// Explains requests to the apps of one configuration.
pub struct Explainer {
    router: HostRouter,
    trusted: TrustedProxies,
    lists: RuleLists,
    /// By index of the app. Login hosts have none.
    apps: Vec<AppSettings>,
    responder: Responder,
    names: LogNames,
    /// The kinds of the listeners for clients.
    listeners: Vec<ListenerKind>,
}

struct AppSettings {
    headers: HeaderPolicy,
    /// Those of its routes, by index.
    routes: Vec<RouteSettings>,
    unverified: UnverifiedClaims,
}

struct RouteSettings {
    headers: HeaderPolicy,
    /// The addresses. Empty if Doorward answers.
    upstreams: Vec<UpstreamUrl>,
}

/// The server's decision about a request, with its reasons.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The app, if the host has one.
    pub app: Option<String>,
    /// The target of the host and the path.
    pub route: String,
    /// The route of the path, if the app has one.
    pub path_route: Option<ExplainedRoute>,
    /// The address of the client, if it is known.
    pub client_ip: Option<IpAddr>,
    /// The kind of the client. `None` if the request is malformed.
    pub client_kind: Option<&'static str>,
    /// The user or OAuth client: `sub`, or the client ID.
    pub subject: Option<String>,
    /// The name of the user in the access log.
    pub user: Option<String>,
    /// The rule, for requests to an app.
    pub rule: Option<ExplainedRule>,
    /// The code of the decision.
    pub decision: &'static str,
    /// The status of the response. `None` if it depends on the app, the provider or the store.
    pub status: Option<u16>,
    /// The condition that the caller does not meet.
    pub missing: Option<String>,
    /// The header fields that the app gets, by name, if the request is forwarded.
    pub headers: BTreeMap<String, Vec<String>>,
}

/// A route by path.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedRoute {
    /// Its path.
    pub path: String,
    /// Where it leads: path and query at an upstream, a URL, or `response`.
    pub to: String,
}

/// A rule and what it requires.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedRule {
    /// Its name, or else its number.
    pub name: String,
    /// The pattern that matches.
    pub pattern: Option<String>,
    /// The methods that it is limited to.
    pub methods: Vec<String>,
    /// `public`, `authenticated`, `deny` or `condition`.
    pub allow: &'static str,
    /// The credentials that it accepts.
    pub auth_methods: Vec<&'static str>,
    /// Its condition, with the result of each part.
    pub condition: Option<CheckedCondition>,
}

/// Why the claims do not describe a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// They do not say who it is.
    #[error("the claims need `sub`, a text that names the user")]
    NoSubject,
    /// Those of an access token do not say it.
    #[error("the claims of an access token need `sub`, or `client_id` of an OAuth client")]
    NoTokenSubject,
}

impl Explainer {
    /// Explains requests to these apps.
    ///
    /// # Errors
    /// The configuration has no key.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let policies = config.apps.iter().map(|app| app.policy.clone());
        let login_hosts = config.login_hosts.iter().map(|host| host.policy.clone());
        let apps = config.apps.iter().map(|app| {
            let routes = app.policy.routes.all().iter().zip(&app.routes);
            let routes = routes.map(|(route, config)| RouteSettings {
                headers: header_policy(&app.policy, app, Some(ConfiguredRoute { route, config })),
                upstreams: config
                    .upstream
                    .iter()
                    .flat_map(UpstreamSettings::urls)
                    .cloned()
                    .collect(),
            });
            // By the provider of the app. Of several, each has its own.
            let registrations = app.registrations.iter();
            let providers = || registrations.filter_map(|one| config.provider(&one.provider));
            let accepts =
                |one: &ProviderSettings| one.unverified_claims == UnverifiedClaims::Accepted;
            let unverified = if providers().all(accepts) {
                UnverifiedClaims::Accepted
            } else {
                UnverifiedClaims::Absent
            };
            AppSettings {
                headers: header_policy(&app.policy, app, None),
                routes: routes.collect(),
                unverified,
            }
        });
        let lists = config.rule_lists.iter();
        let listeners = config.server.listeners.iter().map(|listener| {
            if listener.redirects_to_https {
                ListenerKind::RedirectToHttps
            } else if listener.tls {
                ListenerKind::Tls
            } else {
                ListenerKind::Plain
            }
        });
        Ok(Self {
            router: HostRouter::new(policies.chain(login_hosts).map(Arc::new).collect()),
            trusted: trusted_proxies(config),
            lists: RuleLists::new(lists.map(|list| Arc::clone(&list.content)).collect()),
            apps: apps.collect(),
            responder: Responder::new(config.pages.clone()),
            names: log_names(config)?,
            listeners: listeners.collect(),
        })
    }

    /// Explains a request.
    ///
    /// # Errors
    /// [`ExplainError`].
    pub fn explain(&self, request: PresumedRequest) -> Result<Explanation, ExplainError> {
        let PresumedRequest {
            mut parts,
            is_https,
            peer,
            caller,
        } = request;
        let parsed = canonical(&mut parts)
            .and_then(|()| RequestInfo::read(&parts, peer, &self.trusted))
            .map(|info| info.arriving_at(self.listener(is_https)));
        let info = match parsed {
            Ok(info) => info,
            Err(error) => {
                let refused = self
                    .responder
                    .invalid_request(&parts, error, RequestId::new(0));
                return Ok(Explanation {
                    status: Some(refused.response.status().as_u16()),
                    missing: Some(error.to_string()),
                    ..Explanation::new("none", error.code())
                });
            }
        };
        let found = self.router.find(&info);
        let route = Route::of(found.as_ref(), &info);
        let app_ref = route.app_ref();
        let backend_app = route.backend_app();
        let name = name_of(&route);
        let path_route = self.path_route(&route, &info);
        let now = SystemClock.now();
        let caller = self.caller(caller, &route, &parts.headers, now)?;
        let identity = identity_of(&caller).cloned();
        let is_user = !matches!(&caller, Caller::Bearer(live) if !live.token().is_user);
        let context = AccessContext {
            lists: &self.lists,
            now,
        };
        let decision = decide(&info, &parts.headers, route, caller, &context);
        let anonymous = Claims::default();
        let rule = backend_app.map(|app_ref| RuleCheck {
            app_ref,
            rule: app_ref.app.rules.applied(&info.method, &info.target),
            subjects: Subjects {
                claims: identity
                    .as_ref()
                    .map_or(&anonymous, |identity| &identity.claims),
                is_user,
                client: info.address.end_client,
                lists: &self.lists,
            },
            is_anonymous: identity.is_none(),
        });
        let denial =
            backend_app.and_then(|app_ref| Denial::of(&decision, &info, app_ref, &context));
        let mut headers = BTreeMap::new();
        if let Decision::Forward(permit) = &decision
            && permit.own_response().is_none()
        {
            headers = self.headers(permit, &parts.headers);
        }
        Ok(Explanation {
            app: app_ref.map(|app_ref| app_ref.app.name.to_string()),
            path_route,
            client_ip: info.address.client,
            client_kind: Some(info.client_kind.name()),
            subject: identity
                .as_ref()
                .map(|identity| identity.subject.to_string()),
            user: identity
                .as_ref()
                .and_then(|identity| self.names.user(&identity.subject, Some(&identity.claims))),
            rule: rule.as_ref().map(explained_rule),
            status: self
                .responder
                .expected_status(&decision)
                .map(|status| status.as_u16()),
            missing: denial.and_then(|denial| denial.missing),
            headers,
            ..Explanation::new(name, decision.code())
        })
    }

    /// The listener that such a request reaches. A proxy may terminate TLS.
    fn listener(&self, is_https: bool) -> ListenerKind {
        let wanted = if is_https {
            ListenerKind::Tls
        } else if self.listeners.contains(&ListenerKind::Plain) {
            ListenerKind::Plain
        } else {
            ListenerKind::RedirectToHttps
        };
        if self.listeners.contains(&wanted) {
            wanted
        } else {
            ListenerKind::Plain
        }
    }

    /// The caller, as authentication would establish it on this route.
    fn caller(
        &self,
        presumed: PresumedCaller,
        route: &Route<'_>,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Caller, ExplainError> {
        let anonymous = Caller::Anonymous(NoSessionReason::NoCookie);
        let Some(app_ref) = route.session_app() else {
            return Ok(anonymous);
        };
        let unverified = self.apps.get(app_ref.index).map(|app| app.unverified);
        let unverified = unverified.unwrap_or_default();
        let source = |claims: &Map<String, Value>| ClaimSource {
            provider: presumed_provider(claims, app_ref),
            unverified,
        };
        match presumed {
            PresumedCaller::Anonymous => Ok(anonymous),
            PresumedCaller::Session(claims) => {
                let subject = claims.get("sub").and_then(|sub| sub.as_str());
                let subject = Subject::new(subject.ok_or(ExplainError::NoSubject)?);
                let source = source(&claims);
                let claims = Claims::new(claims, Map::new()).from_source(source);
                let identity = Identity::new(subject, claims, &app_ref.app.headers);
                Ok(if route.accepts_session() {
                    Caller::Authenticated(session_of(identity, app_ref.app, now))
                } else {
                    anonymous
                })
            }
            PresumedCaller::Token(claims) => {
                let subject =
                    TokenSubject::of(&claims).map_err(|_| ExplainError::NoTokenSubject)?;
                let used = route.bearer_use(headers) != CredentialUse::Ignored;
                let Some(policy) = app_ref.app.bearer.as_ref().filter(|_| used) else {
                    return Ok(anonymous);
                };
                let identity_headers = IdentityHeaders {
                    templates: &app_ref.app.headers,
                    client: &policy.client_header,
                };
                let source = source(&claims);
                let identity = TokenIdentity::new(&subject, claims, source, identity_headers);
                let token = token_of(identity, app_ref.app, policy, now);
                Ok(token.map_or(anonymous, Caller::Bearer))
            }
        }
    }

    /// The route of the path, and where it leads.
    fn path_route(&self, route: &Route<'_>, info: &RequestInfo) -> Option<ExplainedRoute> {
        let Route::App(AppRoute {
            app_ref,
            path_route,
            ..
        }) = route
        else {
            return None;
        };
        let matched = path_route.as_ref()?;
        let origin = &app_ref.app.origin;
        let to = match matched.own_response(&info.target, origin) {
            Some(OwnResponse::Redirect { location, .. }) => location,
            Some(OwnResponse::Respond(_)) => "response".to_owned(),
            Some(OwnResponse::File(folder)) => {
                let path = matched.forwarded(&info.target);
                let path = path.split('?').next().unwrap_or_default();
                format!("{}{path}", folder.display())
            }
            None => {
                let app = self.apps.get(app_ref.index)?;
                let upstreams = app.routes.get(matched.index)?.upstreams.iter();
                let path = matched.forwarded(&info.target);
                let urls: Vec<_> = upstreams.map(|url| format!("{url}{path}")).collect();
                urls.join(" or ")
            }
        };
        Some(ExplainedRoute {
            path: matched.route.path.as_str().to_owned(),
            to,
        })
    }

    /// The fields that the app gets. A request ID is only known if a proxy chose it.
    fn headers(&self, permit: &Permit<'_>, client: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let Some(app) = self.apps.get(permit.app_ref().index) else {
            return BTreeMap::new();
        };
        let chosen = if permit.info().is_proxied {
            RequestId::read(client)
        } else {
            None
        };
        let request_id = chosen.unwrap_or(RequestId::new(0));
        let route = permit.path_route();
        let route = route.and_then(|matched| app.routes.get(matched.index));
        let policy = route.map_or(&app.headers, |route| &route.headers);
        let fields = app_headers(policy, permit, client, request_id);
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &fields {
            if *name != X_REQUEST_ID || chosen.is_some() {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                headers.entry(name.to_string()).or_default().push(value);
            }
        }
        headers
    }
}

impl Explanation {
    fn new(route: impl Into<String>, decision: &'static str) -> Self {
        Self {
            app: None,
            route: route.into(),
            path_route: None,
            client_ip: None,
            client_kind: None,
            subject: None,
            user: None,
            rule: None,
            decision,
            status: None,
            missing: None,
            headers: BTreeMap::new(),
        }
    }
}

/// The provider of presumed claims, which may say it.
fn presumed_provider<'a>(
    claims: &Map<String, Value>,
    app_ref: AppRef<'a>,
) -> Option<&'a ProviderName> {
    let providers = &app_ref.app.providers;
    let named = claims.get(Claims::PROVIDER).and_then(Value::as_str);
    let named = named.and_then(|name| providers.named(name));
    let provider = named.or(app_ref.provider)?;
    Some(&providers.get(provider).name)
}

fn name_of(route: &Route<'_>) -> String {
    match route {
        Route::App(..) => "app".to_owned(),
        Route::Endpoint(_, endpoint) => {
            let mut paths = Endpoint::PATHS.iter();
            match paths.find(|(_, known)| known == endpoint) {
                Some((path, _)) => format!("endpoint {path}"),
                None => "no endpoint".to_owned(),
            }
        }
        Route::Alias(_) => "alias".to_owned(),
        Route::PlainHttp(_) => "plain http".to_owned(),
        Route::UnsupportedPath(_) => "ambiguous path".to_owned(),
        Route::Misdirected | Route::NoAppAtPath => "no app".to_owned(),
    }
}

fn explained_rule(check: &RuleCheck<'_>) -> ExplainedRule {
    let requirement = check.app_ref.app.rules.required_by(check.rule);
    let (pattern, methods) = match check.rule {
        AppliedRule::Matched { rule, pattern, .. } => {
            let methods = rule.methods.iter().map(ToString::to_string).collect();
            (Some(pattern.as_str().to_owned()), methods)
        }
        AppliedRule::Default | AppliedRule::Combined => (None, Vec::new()),
    };
    let auth_methods = [
        requirement.auth_methods.session.then_some("session"),
        requirement.auth_methods.bearer.then_some("bearer"),
        requirement.auth_methods.basic.then_some("basic"),
    ];
    ExplainedRule {
        name: check.rule.label(),
        pattern,
        methods,
        allow: match requirement.access {
            Access::Public => "public",
            Access::Authenticated => "authenticated",
            Access::Denied => "deny",
            Access::If(_) => "condition",
        },
        auth_methods: auth_methods.into_iter().flatten().collect(),
        condition: check.condition(),
    }
}
