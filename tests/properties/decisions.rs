//! Decisions: who is let through, and who is sent to log in, over every mix of rule, caller and request.

use std::sync::Arc;

use doorward::policy::app::{App, BearerPolicy, Leaving, Offers};
use doorward::policy::asker::Asker;
use doorward::policy::claims::{ClaimCondition, Claims};
use doorward::policy::client_address::TrustedProxies;
use doorward::policy::credentials::Scheme;
use doorward::policy::decide::{Caller, Decision, Reason, decide};
use doorward::policy::facts::Facts;
use doorward::policy::identity::{HeaderTemplate, Identity};
use doorward::policy::native::{Native, Throttle, Tokens};
use doorward::policy::polling::PollingPaths;
use doorward::policy::route::{Endpoint, Route, Sites};
use doorward::policy::rules::{Access, Admission, PathPattern, Rule, Rules, Via};
use doorward::policy::target::{Oddities, Oddity};
use doorward::policy::throttle::{Calls, Failures};
use doorward::session::assess::{Limits, LiveSession, Outside, Session, Why};
use doorward::session::cookie::CookieNames;
use doorward::session::token::{Token, TokenError, TokenLimits, TokenRefusal, assess};
use doorward::types::net::Origin;
use doorward::types::oauth::{
    AppName, ClientId, Generation, KeyFingerprint, ProviderSid, SessionId, Subject,
};
use doorward::types::time::Timestamp;
use http::{HeaderMap, Method, Request};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, json};

const ORIGIN: &str = "https://store.example.com";
const PREFIX: &str = "/.doorward";
const PATHS: [&str; 21] = [
    "/",
    "/a",
    "/a/b",
    "/a;x",
    "//a",
    "/b/c?d=e",
    "/.doorward/login?return_to=/a",
    "/.doorward/login?return_to=//evil",
    "/.doorward/login?return_to=%2F%252edoorward%2Flogout",
    "/.doorward/callback?code=c&state=s",
    "/.doorward/logout",
    "/.doorward/signed-out",
    "/.doorward/session",
    "/.doorward/backchannel-logout",
    "/.doorward/frontchannel-logout?sid=s",
    "/.doorward/webhooks/fusionauth",
    "/.doorward/token",
    "/.doorward/native/login",
    "/.doorward/native/logout",
    "/.doorward/else",
    "/.doorward",
];
const LISTED: &str = "capacitor://localhost";
const HEADERS: [(&str, &str); 18] = [
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
    ("origin", "https://evil.example"),
    ("origin", "null"),
    ("origin", LISTED),
    ("x-requested-with", "XMLHttpRequest"),
    ("upgrade", "websocket"),
    ("sec-purpose", "prefetch"),
    ("referer", "https://store.example.com/.doorward/logout"),
    ("referer", "https://store.example.com.evil.example/a"),
];
const LIMITS: Limits = Limits {
    idle: std::time::Duration::from_secs(1800),
    absolute: std::time::Duration::from_secs(43200),
};
const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const TOKEN_REFUSED: TokenRefusal = TokenRefusal {
    code: "token_expired",
    error: TokenError::InvalidToken,
    scheme: Scheme::Bearer,
};
const WHYS: [Why; 10] = [
    Why::NoCookie,
    Why::Unreadable,
    Why::Mixed,
    Why::Idle,
    Why::TooOld,
    Why::Revoked,
    Why::Expired,
    Why::RefreshRefused,
    Why::Reused,
    Why::TokenRefused(TOKEN_REFUSED),
];

fn accesses() -> impl Strategy<Value = Access> {
    let condition = |role: &str| ClaimCondition {
        claim: "roles".into(),
        any_of: vec![role.into()],
    };
    select(vec![
        Access::Everyone,
        Access::SignedIn,
        Access::Nobody,
        Access::Claims(vec![condition("admin")]),
        Access::Claims(vec![condition("admin"), condition("owner")]),
    ])
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let patterns = select(vec!["/", "/**", "/a", "/a/**", "/b/*"]);
    let methods = select(vec![vec![], vec![Method::GET], vec![Method::POST]]);
    let ways = select(vec![
        Via::BOTH,
        Via::BROWSER,
        Via {
            browser: false,
            bearer: true,
        },
    ]);
    let rule =
        (patterns, methods, accesses(), ways).prop_map(|(pattern, methods, access, via)| Rule {
            paths: vec![PathPattern::parse(pattern).unwrap()],
            methods,
            allow: Admission { access, via },
        });
    vec(rule, 0..4)
}

fn site(rules: Vec<Rule>, tolerates: Oddities, offers: Offers) -> Sites {
    let origin = Origin::parse(ORIGIN).unwrap();
    Sites::new(vec![Arc::new(App {
        name: AppName::new("store"),
        aliases: vec![Origin::parse("https://shop.example.com").unwrap()],
        prefix: PREFIX.to_owned(),
        rules: Rules::new(rules, false, Via::BOTH),
        polling: PollingPaths::default(),
        tolerates,
        headers: Vec::new(),
        cookies: CookieNames::new("doorward", &origin),
        native: Some(native()),
        limits: LIMITS,
        offers,
        origin,
        bearer: Some(BearerPolicy {
            client_header: HeaderTemplate::parse("X-Forwarded-Client", "{client_id}").unwrap(),
            dpop_required: false,
        }),
        leaving: Leaving::default(),
        max_kept_form: 1024,
        websocket_origins: Vec::new(),
    })])
}

fn native() -> Native {
    let failures = Failures {
        free: 5,
        longest_wait: std::time::Duration::from_secs(900),
    };
    Native {
        client_id: ClientId::new("store"),
        tokens: Tokens::Sealed,
        inline_refresh: true,
        cors_origins: vec![LISTED.to_owned()],
        throttle: Throttle {
            account: failures,
            address: failures,
            all: Calls { per_minute: 600 },
        },
    }
}

/// How somebody shows who they are.
#[derive(Clone, Copy, Debug)]
enum Shows {
    Cookies,
    NativeToken,
    PersonsToken,
    ClientsToken,
}

struct World;

impl Outside for World {
    fn is_revoked(
        &self,
        _: &SessionId,
        _: &Subject,
        _: Option<&ProviderSid>,
        _: Timestamp,
    ) -> bool {
        false
    }
    fn knows_key(&self, _: &KeyFingerprint) -> bool {
        true
    }
}

fn caller(shows: Option<Shows>, roles: &[&str], why: Why) -> Caller {
    let Some(shows) = shows else {
        return Caller::Anonymous(why);
    };
    let claims = Claims::new(
        Map::from_iter([("roles".to_owned(), json!(roles))]),
        Map::new(),
    );
    let identity = Arc::new(Identity::new(Subject::new("alice"), claims, &[]));
    let (key, until) = (
        Some(KeyFingerprint::new([0; 16])),
        START.plus(std::time::Duration::from_secs(300)),
    );
    let token = |is_persons| {
        let token = Token {
            identity: Arc::clone(&identity),
            is_persons,
            key,
            valid_until: until,
            ends_at: until,
            issued_at: START,
            provider_sid: None,
            name: SessionId::new("t"),
            bound_to: None,
        };
        let limits = TokenLimits {
            sessions: LIMITS,
            dpop_required: false,
        };
        Caller::WithToken(assess(&Arc::new(token), Scheme::Bearer, START, &limits, &World).unwrap())
    };
    match shows {
        Shows::PersonsToken => token(true),
        Shows::ClientsToken => token(false),
        Shows::Cookies | Shows::NativeToken => {
            let session = Session {
                identity,
                key,
                valid_until: until,
                provider_sid: None,
                sid: SessionId::new("s"),
                generation: Generation::FIRST,
                started_at: START,
                sealed_at: START,
                active_at: START,
                bound_to: None,
            };
            let live = LiveSession::just_verified(Arc::new(session), START);
            match shows {
                Shows::NativeToken => Caller::WithNativeToken(live),
                Shows::Cookies | Shows::PersonsToken | Shows::ClientsToken => {
                    Caller::Authenticated(live)
                }
            }
        }
    }
}

/// Who is known there, if anybody; and whether that is a person.
fn known<'c>(admission: &Admission, caller: &'c Caller) -> Option<(&'c Identity, bool)> {
    match caller {
        Caller::Anonymous(_) => None,
        Caller::Authenticated(live) => {
            Some((&*live.session().identity, true)).filter(|_| admission.via.browser)
        }
        Caller::WithNativeToken(live) => Some((&*live.session().identity, true)),
        Caller::WithToken(live) => Some((&*live.token().identity, live.token().is_persons))
            .filter(|_| admission.via.bearer),
    }
}

fn fulfils(admission: &Admission, caller: &Caller) -> bool {
    match (&admission.access, known(admission, caller)) {
        (Access::Everyone, _) => true,
        (Access::Nobody, _) | (Access::SignedIn | Access::Claims(_), None) => false,
        (Access::SignedIn, Some((_, is_person))) => is_person,
        (Access::Claims(conditions), Some((identity, _))) => {
            let roles = identity.claims.texts("roles");
            conditions
                .iter()
                .all(|condition| roles.contains(&condition.any_of[0]))
        }
    }
}

/// What must hold of a decision about `route`, which is the same as the one that was decided about.
fn check(
    decision: &Decision<'_>,
    route: &Route<'_>,
    facts: &Facts,
    headers: &HeaderMap,
    caller: &Caller,
) {
    let is_signed_in = matches!(
        caller,
        Caller::Authenticated(_) | Caller::WithNativeToken(_)
    );
    let mut is_known = is_signed_in;
    if let Route::Page(_, admission) = route {
        let forwards = matches!(decision, Decision::Forward(_));
        let is_strangers = doorward::policy::asker::is_strangers_socket(headers, ORIGIN, &[]);
        assert_eq!(
            forwards,
            fulfils(admission, caller) && !is_strangers,
            "{admission:?} {decision:?}"
        );
        is_known = known(admission, caller).is_some();
    }
    match decision {
        Decision::Forward(permit) => {
            assert!(
                matches!(route, Route::Page(..)),
                "only pages are forwarded: {route:?}"
            );
            assert_eq!(
                permit.identity().is_some(),
                is_known,
                "who asked is who is told"
            );
            assert!(
                std::ptr::eq(permit.facts(), facts),
                "what was judged is what is sent"
            );
        }
        Decision::StartLogin(_, to, _) => {
            assert!(
                !is_known && facts.asker == Asker::Navigation && facts.method == Method::GET,
                "{facts:?}"
            );
            if let (Route::Page(_, admission), Caller::Anonymous(why)) = (route, caller) {
                assert!(
                    admission.via.browser && *why != Why::TokenRefused(TOKEN_REFUSED),
                    "a login helps no program"
                );
            }
            crate::checks::return_to::check(to.as_str());
            assert!(!to.as_str().starts_with(PREFIX));
        }
        Decision::KeepForm(_, to, _) => {
            assert!(
                !is_signed_in
                    && facts.asker == Asker::FormNavigation
                    && facts.method == Method::POST,
                "{facts:?}"
            );
            assert!(
                doorward::policy::asker::is_same_origin(headers, ORIGIN),
                "{headers:?}"
            );
            crate::checks::return_to::check(to.as_str());
        }
        Decision::ShowForm(..) => {
            assert!(is_signed_in && matches!(route, Route::Own(_, Endpoint::Form)))
        }
        Decision::AlreadySignedIn(_, to) => {
            assert!(is_signed_in);
            crate::checks::return_to::check(to.as_str());
        }
        Decision::Logout(_) => {
            assert_eq!(facts.method, Method::POST);
            let said: Vec<_> = headers.get_all("origin").iter().collect();
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            assert!(
                said == [ORIGIN] || (said.is_empty() && site == Some(b"same-origin")),
                "{headers:?}"
            );
        }
        Decision::Native(_, _, _, listed) => {
            assert!(
                matches!(route, Route::Own(_, Endpoint::Native(_))) && facts.method == Method::POST
            );
            let said: Vec<_> = headers.get_all("origin").iter().collect();
            assert!(
                said.is_empty() || said == [ORIGIN] || (said == [LISTED] && listed.is_some()),
                "{headers:?}"
            );
            let elsewhere = headers
                .get("sec-fetch-site")
                .is_some_and(|site| site != "same-origin");
            assert!(said == [LISTED] || !elsewhere, "{headers:?}");
        }
        Decision::AllowOrigin(_, origin) => {
            assert!(matches!(route, Route::Own(_, Endpoint::Native(_))) && origin == LISTED);
        }
        Decision::ShowSession(..) => assert!(is_signed_in),
        Decision::FinishLogin(..) => assert!(matches!(route, Route::Own(_, Endpoint::Callback))),
        Decision::ConfirmLogout(_, person) => assert_eq!(person.is_some(), is_signed_in),
        Decision::EndSessions(_) => {
            assert!(
                matches!(route, Route::Own(_, Endpoint::BackchannelLogout))
                    && facts.method == Method::POST
            );
        }
        Decision::EndOwnSession(place) => {
            let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
            assert!(
                facts.method == Method::GET
                    && facts.asker == Asker::Frame
                    && site != Some(b"cross-site")
            );
            assert!(place.app.offers.frontchannel_logout && site.is_some());
        }
        Decision::ReceiveWebhook(place) => {
            assert!(place.app.offers.fusionauth_webhooks && facts.method == Method::POST);
        }
        Decision::ShowSignedOut(_) => assert!(matches!(route, Route::Own(_, Endpoint::SignedOut))),
        Decision::MoveToOrigin(_) => {
            assert!(matches!(route, Route::Alias(_)) && facts.method == Method::GET);
        }
        Decision::Refuse(refusal) => {
            assert!(
                refusal.reason.status().is_client_error(),
                "{:?}",
                refusal.reason
            );
            let wants_login = matches!(
                refusal.reason,
                Reason::SignInFirst(_) | Reason::FormNotSent(..) | Reason::SignInOutsideFrame(_)
            );
            assert!(
                !wants_login || !is_known,
                "a login for somebody who is known"
            );
            let may_not = matches!(refusal.reason, Reason::Forbidden | Reason::PersonRequired);
            assert_eq!(refusal.person.is_some(), may_not);
            assert_eq!(
                refusal.token.is_some(),
                may_not && matches!(caller, Caller::WithToken(_))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nobody_is_let_through_or_sent_to_log_in_who_should_not_be(
        rules in rules(),
        (tolerant, offered) in any::<(bool, bool)>(),
        host in select(&["store.example.com", "STORE.example.com:443", "shop.example.com", "evil.example"][..]),
        path in prop_oneof![4 => select(PATHS.as_slice()).prop_map(str::to_owned), 1 => crate::nasty::paths()],
        method in select(&["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "get"][..]),
        lines in vec(select(HEADERS.as_slice()), 0..6),
        shows in option::of(select(vec![Shows::Cookies, Shows::NativeToken, Shows::PersonsToken, Shows::ClientsToken])),
        roles in select(vec![vec![], vec!["admin"], vec!["admin", "owner"]]),
        why in select(WHYS.as_slice()),
    ) {
        let oddities = [Oddity::DoubleSlash, Oddity::Semicolon, Oddity::EncodedPercent];
        let tolerated = if tolerant { &oddities[..] } else { &[] };
        let tolerated = tolerated.iter().fold(Oddities::NONE, |all, oddity| all.with(*oddity));
        let sites = site(rules, tolerated, Offers { fusionauth_webhooks: offered, frontchannel_logout: offered });
        let mut request = Request::builder().method(method).uri(&path).header("host", host);
        for (name, value) in lines {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(()) else { return Ok(()) };
        let (parts, ()) = request.into_parts();
        let Ok(facts) = Facts::read(&parts, None, &TrustedProxies::default()) else { return Ok(()) };
        let caller = caller(shows, &roles, why);
        let decision = decide(&facts, &parts.headers, sites.route(&facts), caller.clone());
        check(&decision, &sites.route(&facts), &facts, &parts.headers, &caller);
    }
}
