//! Decisions: who is authorized and who is sent to the login, for every combination of rule, caller
//! and request.

use std::sync::Arc;
use std::time::Duration;

use crate::decision_model::{CLIENT, PATHS, grants, holds};
use doorward::identity::authentication::{AuthenticationRequirement, UserAuthentication};
use doorward::identity::credentials::Scheme;
use doorward::identity::identity::{HeaderTemplate, Identity};
use doorward::identity::login_link::{LoginLink, LoginParameters};
use doorward::policy::app::{App, AppLogoutPolicy, BearerPolicy, OptionalEndpoints};
use doorward::policy::client_address::TrustedProxies;
use doorward::policy::client_kind::ClientKind;
use doorward::policy::condition::{Condition, NetworkList};
use doorward::policy::cors::CorsPolicy;
use doorward::policy::decide::{AccessContext, Caller, Decision, Reason, decide};
use doorward::policy::hosts::AppHosts;
use doorward::policy::login_parameters::AllowedParameters;
use doorward::policy::login_providers::{LoginProvider, LoginProviders, LoginSite, ProviderIndex};
use doorward::policy::path_pattern::PathPattern;
use doorward::policy::request_info::RequestInfo;
use doorward::policy::route::{AppRoute, Endpoint, HostRouter, Route};
use doorward::policy::rule_lists::{Networks, RuleLists};
use doorward::policy::rules::{Access, AccessRequirement, AuthMethods, Rule, Rules};
use doorward::session::client_continuity::{ClientChange, UnboundSessions};
use doorward::session::cookie::CookieNames;
use doorward::session::token::{TokenError, TokenRefusal};
use doorward::session::validity::{LiveSession, NoSessionReason, PasswordRefusal};
use doorward::types::app_paths::AppPaths;
use doorward::types::net::Origin;
use doorward::types::oauth::{AppName, ProviderName};
use doorward::types::public_url::BasePath;
use doorward::types::target::{PathAmbiguities, PathAmbiguity};
use http::{HeaderMap, Method, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::{option, sample::select};

use crate::callers::{CredentialKind, LIMITS, PresentedCredential, START, caller, native};

/// The network of the client.
const INSIDE: &str = "192.0.2.0/24";

const ORIGIN: &str = "https://store.example.com";
const LOGIN_ORIGIN: &str = "https://login.example.com";
const PREFIX: &str = "/.doorward";
/// A URL that a logout may lead to.
const LISTED: &str = "https://www.example.com/bye";
const ALLOWED_ORIGIN: &str = "capacitor://localhost";
/// An origin whose scripts may read Doorward's own responses.
const SCRIPTS_ORIGIN: &str = "https://spa.example.com";
const HEADERS: [(&str, &str); 22] = [
    ("accept", "text/html"),
    ("accept", "*/*"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-dest", "iframe"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-site", "same-site"),
    ("sec-fetch-site", "cross-site"),
    ("origin", ORIGIN),
    ("origin", LOGIN_ORIGIN),
    ("origin", "https://evil.example"),
    ("origin", "null"),
    ("origin", ALLOWED_ORIGIN),
    ("origin", SCRIPTS_ORIGIN),
    ("access-control-request-method", "PUT"),
    ("access-control-request-method", "GET"),
    ("x-requested-with", "XMLHttpRequest"),
    ("upgrade", "websocket"),
    ("sec-purpose", "prefetch"),
    ("referer", "https://store.example.com/.doorward/logout"),
    ("referer", "https://store.example.com.evil.example/a"),
];
const TOKEN_REFUSED: TokenRefusal = TokenRefusal {
    code: "token_expired",
    error: TokenError::InvalidToken,
    scheme: Scheme::Bearer,
};
const PASSWORD_REFUSED: PasswordRefusal = PasswordRefusal {
    code: "wrong_password",
    retry_after: None,
};
const REASONS: [NoSessionReason; 12] = [
    NoSessionReason::NoCookie,
    NoSessionReason::UnreadableCookie,
    NoSessionReason::CookieMismatch,
    NoSessionReason::Idle,
    NoSessionReason::AbsoluteTimeout,
    NoSessionReason::Revoked,
    NoSessionReason::Expired,
    NoSessionReason::RefreshRefused,
    NoSessionReason::RefreshTokenReused,
    NoSessionReason::ClientChanged(ClientChange::Network),
    NoSessionReason::TokenRefused(TOKEN_REFUSED),
    NoSessionReason::PasswordRefused(PASSWORD_REFUSED),
];

fn accesses() -> impl Strategy<Value = Access> {
    let condition = |role: &str| Condition::claim("roles", [role.to_owned()]);
    let not = |role: &str| Condition::Not(Box::new(condition(role)));
    let from = |network: &str| {
        let networks = Networks::new(&[network.parse().unwrap()]);
        Condition::From(NetworkList::Listed(networks))
    };
    select(vec![
        Access::Public,
        Access::Authenticated,
        Access::Denied,
        Access::If(condition("admin")),
        Access::If(Condition::All(vec![condition("admin"), condition("owner")])),
        Access::If(Condition::Any(vec![condition("admin"), not("owner")])),
        Access::If(Condition::All(vec![Condition::Authenticated, from(INSIDE)])),
        Access::If(from("203.0.113.0/24")),
    ])
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let patterns = select(vec!["/", "/**", "/a", "/a/**", "/b/*"]);
    let methods = select(vec![vec![], vec![Method::GET], vec![Method::POST]]);
    let auth_methods = select(vec![
        AuthMethods::BOTH,
        AuthMethods::SESSION,
        AuthMethods {
            bearer: true,
            ..AuthMethods::NONE
        },
        AuthMethods {
            basic: true,
            ..AuthMethods::NONE
        },
        AuthMethods {
            basic: true,
            ..AuthMethods::BOTH
        },
    ]);
    let authentications = select(vec![
        AuthenticationRequirement::default(),
        AuthenticationRequirement {
            acr_values: Vec::new(),
            max_age: Some(Duration::from_secs(60)),
        },
        AuthenticationRequirement {
            acr_values: vec!["gold".to_owned()],
            max_age: None,
        },
    ]);
    let rule = (patterns, methods, accesses(), auth_methods, authentications).prop_map(
        |(pattern, methods, access, auth_methods, authentication)| Rule {
            name: None,
            paths: vec![PathPattern::parse(pattern).unwrap()],
            methods,
            allow: AccessRequirement::new(access, auth_methods).requiring(authentication),
            cors: None,
        },
    );
    vec(rule, 0..4)
}

pub(crate) fn router(
    rules: Vec<Rule>,
    allowed_ambiguities: PathAmbiguities,
    optional_endpoints: OptionalEndpoints,
    several_providers: bool,
) -> HostRouter {
    let provider = |name: &str| LoginProvider::new(ProviderName::new(name));
    let others = several_providers.then(|| provider("members"));
    let origin = Origin::parse(ORIGIN).unwrap();
    let app = App {
        name: AppName::new("store"),
        aliases: vec![Origin::parse("https://shop.example.com").unwrap()],
        hsts: false,
        hosts: AppHosts::One,
        providers: LoginProviders::new(provider("login"), others.into_iter().collect()),
        login_parameters: AllowedParameters {
            prompts: vec!["login".to_owned()],
            ..AllowedParameters::default()
        },
        paths: AppPaths::new(BasePath::default(), PREFIX),
        rules: Arc::new(Rules::new(rules, false, AuthMethods::BOTH)),
        routes: Default::default(),
        background_paths: Default::default(),
        stream_activity: true,
        allowed_ambiguities,
        headers: Vec::new(),
        request_edits: Default::default(),
        response_edits: Default::default(),
        cookies: CookieNames::new("doorward", &origin, &BasePath::default()),
        native: Some(native(ALLOWED_ORIGIN)),
        limits: LIMITS,
        device_binding: None,
        unbound_sessions: UnboundSessions::as_all(LIMITS),
        strict_paths: Default::default(),
        optional_endpoints,
        origin,
        bearer: Some(BearerPolicy {
            client_header: HeaderTemplate::parse("X-Forwarded-Client", "{client_id}").unwrap(),
            dpop_required: false,
        }),
        logout_return_to: vec![LISTED.parse().unwrap()],
        basic: None,
        app_logout: AppLogoutPolicy::default(),
        max_preserved_post: 1024,
        websocket_origins: Vec::new(),
        cors: CorsPolicy {
            origins: vec![SCRIPTS_ORIGIN.to_owned()],
            credentials: true,
        },
        assertion: None,
        passed_token: None,
        token_exchange: None,
    };
    let origin = Origin::parse(LOGIN_ORIGIN).unwrap();
    let host = App {
        name: AppName::new("login.example.com"),
        aliases: Vec::new(),
        cookies: CookieNames::new("doorward", &origin, &BasePath::default()),
        origin,
        providers: LoginProviders::one(LoginProvider {
            site: LoginSite::Host,
            ..LoginProvider::new(ProviderName::new("login"))
        }),
        native: None,
        bearer: None,
        basic: None,
        ..app.clone()
    };
    HostRouter::new(vec![Arc::new(app), Arc::new(host)])
}

/// The accepted identity of the caller, and whether it is a user.
fn known<'c>(requirement: &AccessRequirement, caller: &'c Caller) -> Option<(&'c Identity, bool)> {
    match caller {
        Caller::Anonymous(_) => None,
        Caller::Authenticated(live) => {
            Some((&*live.session().identity, true)).filter(|_| requirement.auth_methods.session)
        }
        Caller::NativeSession(live) => Some((&*live.session().identity, true))
            .filter(|_| requirement.auth_methods.session || requirement.auth_methods.bearer),
        Caller::Bearer(live) => Some((&*live.token().identity, live.token().is_user))
            .filter(|_| requirement.auth_methods.bearer),
        Caller::Basic(live) => {
            Some((&*live.session().identity, true)).filter(|_| requirement.auth_methods.basic)
        }
    }
}

fn fulfils(requirement: &AccessRequirement, caller: &Caller) -> bool {
    match (&requirement.access, known(requirement, caller)) {
        (Access::Public, _) => true,
        (Access::Denied, _) | (Access::Authenticated | Access::If(_), None) => false,
        (Access::Authenticated, Some((_, is_user))) => is_user,
        (Access::If(condition), Some((identity, is_user))) => {
            let roles = identity.claims.texts("roles");
            holds(condition, &roles, is_user) && (is_user || grants(condition, &roles))
        }
    }
}

/// Whether the caller authenticated as the route requires.
fn is_sufficient(requirement: &AccessRequirement, caller: &Caller) -> bool {
    let of_session = |live: &LiveSession| live.session().authentication.clone();
    let found = match caller {
        Caller::Anonymous(_) => return true,
        Caller::Authenticated(live) | Caller::NativeSession(live) | Caller::Basic(live) => {
            of_session(live)
        }
        Caller::Bearer(live) => UserAuthentication::of_claims(&live.token().identity.claims),
    };
    let AuthenticationRequirement {
        acr_values,
        max_age,
    } = &requirement.authentication;
    let is_recent = max_age.is_none_or(|max_age| START.since(found.time.unwrap()) <= max_age);
    is_recent && (acr_values.is_empty() || acr_values.first() == found.acr.as_ref())
}

/// Checks a login that starts although there may be a session.
fn check_login_link(link: &LoginLink, reason: NoSessionReason, route: &Route<'_>, caller: &Caller) {
    if !matches!(route, Route::Endpoint(_, Endpoint::Sessions)) {
        crate::checks::return_to::check(link.return_to.as_str());
    }
    if let Route::App(AppRoute { requirement, .. }) = route {
        assert_eq!(
            link.parameters,
            LoginParameters::requiring(requirement.authentication.clone())
        );
        assert_eq!(
            reason == NoSessionReason::InsufficientAuthentication,
            matches!(caller, Caller::Authenticated(_))
                && fulfils(requirement, caller)
                && !is_sufficient(requirement, caller)
        );
    }
    assert!(
        reason != NoSessionReason::InsufficientAuthentication
            || link.parameters != LoginParameters::default(),
        "a login that asks for nothing would go in circles"
    );
}

/// Whether a page of another site sent the request, and it is no link to a page.
fn is_foreign(info: &RequestInfo, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let is_own = matches!(site, None | Some(b"none" | b"same-origin"));
    let mut origins = headers.get_all("origin").iter();
    origins.any(|origin| origin != ORIGIN)
        || (!is_own && info.client_kind != ClientKind::Navigation)
}

/// Checks the properties of a decision about `route`.
fn check(
    decision: &Decision<'_>,
    route: &Route<'_>,
    info: &RequestInfo,
    headers: &HeaderMap,
    caller: &Caller,
) {
    // Another site's page cannot use the password that a browser adds.
    let nobody = Caller::Anonymous(NoSessionReason::NoCookie);
    let is_foreign = matches!(caller, Caller::Basic(_)) && is_foreign(info, headers);
    let caller = if is_foreign { &nobody } else { caller };
    let is_signed_in = matches!(caller, Caller::Authenticated(_) | Caller::NativeSession(_));
    // The page of a user's sessions is for browsers.
    let is_page = matches!(route, Route::Endpoint(_, Endpoint::Sessions));
    let mut is_known = is_signed_in && !(is_page && matches!(caller, Caller::NativeSession(_)));
    if let Route::App(AppRoute { requirement, .. }) = route {
        let forwards = matches!(decision, Decision::Forward(_));
        let is_cross_origin =
            doorward::policy::client_kind::is_cross_origin_websocket(headers, ORIGIN, &[]);
        assert_eq!(
            forwards,
            fulfils(requirement, caller)
                && (requirement.access == Access::Public || is_sufficient(requirement, caller))
                && !is_cross_origin,
            "{requirement:?} {decision:?}"
        );
        is_known = known(requirement, caller).is_some();
    }
    if route
        .app_ref()
        .is_some_and(|app_ref| app_ref.app.is_login_host())
    {
        assert!(
            matches!(
                decision,
                Decision::StartHostLogin { .. }
                    | Decision::FinishHostLogin { .. }
                    | Decision::ListSignedInApps { .. }
                    | Decision::LogoutEverywhere { .. }
                    | Decision::ShowSignedOut { .. }
                    | Decision::BackchannelLogout { .. }
                    | Decision::RelayLoginResponse { .. }
                    | Decision::Refuse(_)
            ),
            "a login host has no app and no session: {decision:?}"
        );
    }
    match decision {
        Decision::Forward(permit) => {
            assert!(
                matches!(route, Route::App(..)),
                "only app routes are forwarded: {route:?}"
            );
            assert_eq!(
                permit.identity().is_some(),
                is_known,
                "the identity must be the caller's"
            );
            assert!(
                std::ptr::eq(permit.info(), info),
                "the forwarded request must be the authorized one"
            );
        }
        Decision::ChooseProvider { app_ref, link, .. } => {
            assert!(app_ref.app.providers.are_several() && app_ref.provider.is_none());
            assert!(!is_signed_in || link.parameters.prompt.is_some());
        }
        Decision::StartLogin { app_ref, .. } if app_ref.provider.is_none() => panic!("no choice"),
        Decision::StartLogin { link, reason, .. } => {
            assert!(
                (!is_known || *reason == NoSessionReason::InsufficientAuthentication)
                    && info.client_kind == ClientKind::Navigation
                    && info.method == Method::GET,
                "{info:?}"
            );
            if let (Route::App(AppRoute { requirement, .. }), Caller::Anonymous(why)) =
                (route, caller)
            {
                assert!(
                    requirement.auth_methods.session
                        && *why != NoSessionReason::TokenRefused(TOKEN_REFUSED)
                        && *why != NoSessionReason::PasswordRefused(PASSWORD_REFUSED),
                    "a login does not help a client with a token or a password"
                );
            }
            check_login_link(link, *reason, route, caller);
            assert_eq!(link.return_to.as_str().starts_with(PREFIX), is_page);
        }
        Decision::PreservePost { link, reason, .. } => {
            assert!(
                (!is_signed_in || *reason == NoSessionReason::InsufficientAuthentication)
                    && info.client_kind == ClientKind::FormSubmission
                    && info.method == Method::POST,
                "{info:?}"
            );
            assert!(
                doorward::policy::client_kind::is_same_origin(headers, ORIGIN),
                "{headers:?}"
            );
            check_login_link(link, *reason, route, caller);
        }
        Decision::RelayLoginResponse { app_ref } => assert!(
            info.method == Method::POST
                && app_ref.app.optional_endpoints.posted_callback
                && matches!(route, Route::Endpoint(_, Endpoint::Callback))
        ),
        Decision::ConfirmPostReplay { .. } => {
            assert!(is_signed_in && matches!(route, Route::Endpoint(_, Endpoint::PostReplay)))
        }
        Decision::AlreadySignedIn { return_to, .. } => {
            assert!(is_signed_in);
            crate::checks::return_to::check(return_to.as_str());
        }
        Decision::ReturnFromLogout { app_ref, target } => {
            assert!(matches!(route, Route::Endpoint(_, Endpoint::SignedOut)));
            let location = target.location(app_ref.app);
            assert!(location == LISTED || location.starts_with(&format!("{ORIGIN}/")));
        }
        Decision::Logout { app_ref, .. }
        | Decision::LogoutEverywhere { app_ref }
        | Decision::EndSessions { app_ref, .. } => {
            assert!(is_signed_in || !matches!(decision, Decision::EndSessions { .. }));
            assert_eq!(info.method, Method::POST);
            let is_everywhere = matches!(decision, Decision::LogoutEverywhere { .. });
            assert_eq!(app_ref.app.is_login_host(), is_everywhere);
            let own = if is_everywhere { LOGIN_ORIGIN } else { ORIGIN };
            let origins: Vec<_> = headers.get_all("origin").iter().collect();
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            assert!(
                origins == [own] || (origins.is_empty() && site == Some(b"same-origin")),
                "{headers:?}"
            );
        }
        Decision::Native {
            origin: allowed, ..
        } => {
            assert!(
                matches!(route, Route::Endpoint(_, Endpoint::Native(_)))
                    && info.method == Method::POST
            );
            let origins: Vec<_> = headers.get_all("origin").iter().collect();
            assert!(
                origins.is_empty()
                    || origins == [ORIGIN]
                    || (origins == [ALLOWED_ORIGIN] && allowed.is_some()),
                "{headers:?}"
            );
            let is_other_site = headers
                .get("sec-fetch-site")
                .is_some_and(|site| site != "same-origin");
            assert!(origins == [ALLOWED_ORIGIN] || !is_other_site, "{headers:?}");
        }
        Decision::CorsPreflight { allowed, .. } => {
            assert_eq!(info.method, Method::OPTIONS);
            let origins: Vec<_> = headers.get_all("origin").iter().collect();
            assert_eq!(origins, [allowed.origin.origin.as_str()]);
            match route {
                Route::Endpoint(_, Endpoint::Native(_)) => assert_eq!(origins, [ALLOWED_ORIGIN]),
                Route::App(..) => assert!(origins == [SCRIPTS_ORIGIN] && !is_known),
                Route::Endpoint(..)
                | Route::Alias(_)
                | Route::PlainHttp(_)
                | Route::UnsupportedPath(_)
                | Route::Misdirected
                | Route::NoAppAtPath => panic!("{route:?}"),
            }
        }
        Decision::ShowSession { .. } | Decision::ShowSessions { .. } => assert!(is_signed_in),
        Decision::FinishLogin { .. } => {
            assert!(matches!(route, Route::Endpoint(_, Endpoint::Callback)))
        }
        Decision::StartHostLogin { app_ref } => {
            assert!(app_ref.app.is_login_host() && info.client_kind == ClientKind::Navigation);
            assert!(matches!(route, Route::Endpoint(_, Endpoint::Login)));
        }
        Decision::FinishHostLogin { app_ref } => {
            assert!(app_ref.app.is_login_host() && info.method == Method::GET);
            assert!(matches!(route, Route::Endpoint(_, Endpoint::Callback)));
        }
        Decision::ListSignedInApps { app_ref } => {
            assert!(app_ref.app.is_login_host() && info.method != Method::POST);
        }
        Decision::ConfirmLogout { user, .. } => assert_eq!(user.is_some(), is_signed_in),
        Decision::BackchannelLogout { .. } => {
            assert!(
                matches!(route, Route::Endpoint(_, Endpoint::BackchannelLogout))
                    && info.method == Method::POST
            );
        }
        Decision::FrontchannelLogout { app_ref } => {
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            assert!(
                info.method == Method::GET
                    && info.client_kind == ClientKind::EmbeddedFrame
                    && site != Some(b"cross-site")
            );
            assert!(app_ref.app.optional_endpoints.frontchannel_logout && site.is_some());
        }
        Decision::ReceiveWebhook { app_ref } => {
            assert!(
                app_ref.app.optional_endpoints.fusionauth_webhooks.is_some()
                    && info.method == Method::POST
            );
        }
        Decision::RegisterDevice { .. }
        | Decision::RenewDeviceProof { .. }
        | Decision::RequireDeviceProof { .. }
        | Decision::ReloadFromApp { .. } => panic!("the app binds no session"),
        Decision::ShowAssertionKeys { .. } => panic!("the app gets no assertion"),
        Decision::ShowSignedOut { .. } => {
            assert!(matches!(route, Route::Endpoint(_, Endpoint::SignedOut)))
        }
        Decision::RedirectToCanonicalOrigin { .. } => {
            assert!(matches!(route, Route::Alias(_)) && info.method == Method::GET);
        }
        Decision::Refuse(refusal) => {
            assert!(
                refusal.reason.status().is_client_error(),
                "{:?}",
                refusal.reason
            );
            let wants_login = matches!(
                refusal.reason,
                Reason::LoginRequired(_)
                    | Reason::PostNotPreserved(..)
                    | Reason::LoginBlockedInFrame(_)
            );
            let is_insufficient = matches!(
                refusal.reason,
                Reason::LoginRequired(NoSessionReason::InsufficientAuthentication)
                    | Reason::PostNotPreserved(NoSessionReason::InsufficientAuthentication, _)
                    | Reason::LoginBlockedInFrame(NoSessionReason::InsufficientAuthentication)
            );
            assert!(
                !wants_login || !is_known || is_insufficient,
                "an authenticated caller needs no login"
            );
            let may_not = matches!(refusal.reason, Reason::Forbidden | Reason::UserRequired);
            // Nobody is known where the address alone decides.
            assert_eq!(refusal.user.is_some(), may_not && is_known);
            let has_scheme = match caller {
                Caller::Bearer(_) => (may_not && is_known) || is_insufficient,
                Caller::NativeSession(_) => is_insufficient && matches!(route, Route::App(..)),
                Caller::Anonymous(_) | Caller::Authenticated(_) | Caller::Basic(_) => false,
            };
            assert_eq!(refusal.scheme.is_some(), has_scheme, "{refusal:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn decision_matches_rule_caller_and_request(
        rules in rules(),
        (allows_ambiguities, has_endpoints, several_providers) in any::<(bool, bool, bool)>(),
        host in select(&["store.example.com", "STORE.example.com:443", "shop.example.com", "login.example.com", "evil.example"][..]),
        path in prop_oneof![4 => select(PATHS.as_slice()).prop_map(str::to_owned), 1 => crate::adversarial_inputs::paths()],
        method in select(&["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "get"][..]),
        lines in vec(select(HEADERS.as_slice()), 0..6),
        credential in option::of((
            select(vec![CredentialKind::Cookies, CredentialKind::NativeToken, CredentialKind::UserToken, CredentialKind::ClientToken, CredentialKind::Password]),
            select(vec![0, 60, 61]),
            select(vec![None, Some("gold"), Some("bronze")]),
        ).prop_map(|(kind, age, acr)| PresentedCredential { kind, age, acr })),
        roles in select(vec![vec![], vec!["admin"], vec!["admin", "owner"]]),
        why in select(REASONS.as_slice()),
    ) {
        let ambiguities = [PathAmbiguity::DoubleSlash, PathAmbiguity::Semicolon, PathAmbiguity::EncodedPercent];
        let allowed = if allows_ambiguities { &ambiguities[..] } else { &[] };
        let allowed = allowed.iter().fold(PathAmbiguities::NONE, |all, ambiguity| all.with(*ambiguity));
        let router = router(rules, allowed, OptionalEndpoints { fusionauth_webhooks: has_endpoints.then(ProviderIndex::default), frontchannel_logout: has_endpoints, sessions: has_endpoints, posted_callback: has_endpoints }, several_providers);
        let mut request = Request::builder().method(method).uri(&path).header("host", host);
        for (name, value) in lines { request = request.header(name, value); }
        let Ok((parts, ())) = request.body(()).map(Request::into_parts) else { return Ok(()) };
        let Ok(info) = RequestInfo::read(&parts, Some(CLIENT.into()), &TrustedProxies::default()) else { return Ok(()) };
        let found = router.find(&info);
        let app_ref = Route::of(found.as_ref(), &info).app_ref();
        let has_sessions = !app_ref.is_some_and(|app_ref| app_ref.app.is_login_host());
        let caller = caller(credential.filter(|_| has_sessions), &roles, why);
        let of_caller = (!matches!(caller, Caller::Anonymous(_))).then(ProviderIndex::default);
        let route = Route::of(found.as_ref(), &info).at_provider(of_caller);
        let decision = decide(&info, &parts.headers, route, caller.clone(), &AccessContext { lists: RuleLists::NONE, now: START });
        check(&decision, &Route::of(found.as_ref(), &info), &info, &parts.headers, &caller);
    }
}
