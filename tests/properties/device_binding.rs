//! Decisions about requests of device-bound sessions without a valid proof: one test for each row of the
//! table in the documentation.

use doorward::policy::client_address::TrustedProxies;
use doorward::policy::decide::{AccessContext, Caller, Decision, decide};
use doorward::policy::path_pattern::PathPattern;
use doorward::policy::request_info::RequestInfo;
use doorward::policy::route::Route;
use doorward::policy::rule_lists::RuleLists;
use doorward::policy::rules::{Access, AccessRequirement, AuthMethods, Rule};
use doorward::session::device_binding::Unproven;
use doorward::session::validity::NoSessionReason;
use doorward::types::target::PathAmbiguities;
use doorward::types::time::Timestamp;
use http::Request;

use crate::decisions::router;

const NAVIGATION: [(&str, &str); 2] = [
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];
const SKIPPED: (&str, &str) = ("secure-session-skipped", "unreachable");

fn site(site: &'static str) -> (&'static str, &'static str) {
    ("sec-fetch-site", site)
}

/// The decision about a `GET`, by its code, with how the browser repeats a request.
fn decided(path: &str, fields: &[&[(&str, &str)]], unproven: Unproven) -> String {
    let rule = |pattern: &str, access| Rule {
        name: None,
        paths: vec![PathPattern::parse(pattern).unwrap()],
        methods: Vec::new(),
        allow: AccessRequirement::new(access, AuthMethods::SESSION),
        cors: None,
    };
    let rules = vec![
        rule("/public/**", Access::Public),
        rule("/denied", Access::Denied),
    ];
    let router = router(rules, PathAmbiguities::NONE, Default::default(), false);
    let request = Request::get(path).header("host", "store.example.com");
    let mut fields = fields.iter().copied().flatten();
    let request = fields.try_fold(request, |request, (name, value)| {
        Some(request.header(*name, *value))
    });
    let (parts, ()) = request.unwrap().body(()).unwrap().into_parts();
    let info = RequestInfo::read(&parts, None, &TrustedProxies::default()).unwrap();
    let found = router.find(&info);
    let route = Route::of(found.as_ref(), &info);
    let caller = Caller::Anonymous(NoSessionReason::DeviceUnproven(unproven));
    let context = AccessContext {
        lists: RuleLists::NONE,
        now: Timestamp::from_secs(0),
    };
    let decision = decide(&info, &parts.headers, route, caller, &context);
    let is_refused = matches!(
        decision,
        Decision::RequireDeviceProof {
            by_redirect: false,
            ..
        }
    );
    let code = decision.code();
    if is_refused {
        format!("{code} without redirect")
    } else {
        code.to_owned()
    }
}

#[test]
fn proof_that_does_not_count_is_renewed_by_a_redirect() {
    for (unproven, code) in [
        (Unproven::Stale, "device_proof_stale"),
        (Unproven::OtherNetwork, "device_network_changed"),
        (Unproven::OtherAgent, "device_agent_changed"),
        (Unproven::Invalid, "device_proof_invalid"),
    ] {
        for path in [
            "/cart",
            "/public/x",
            "/.doorward/session",
            "/.doorward/login",
        ] {
            for fields in [
                &[&NAVIGATION[..], &[site("cross-site")]][..],
                &[&[("sec-fetch-mode", "cors"), site("same-origin")]],
                &[&[SKIPPED]],
                &[],
            ] {
                assert_eq!(decided(path, fields, unproven), code, "{path} {fields:?}");
            }
        }
        let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
        assert_eq!(
            decided("/chat", &[&upgrade], unproven),
            format!("{code} without redirect")
        );
    }
}

#[test]
fn missing_proof_at_link_of_other_origin_is_renewed_by_a_page() {
    for other in ["cross-site", "same-site"] {
        for path in ["/cart", "/public/x", "/.doorward/login"] {
            let fields = [&NAVIGATION[..], &[site(other)]];
            let code = decided(path, &fields, Unproven::Missing);
            assert_eq!(code, "device_proof_reload", "{path} {other}");
        }
        let script = [("sec-fetch-mode", "cors"), site(other)];
        assert_eq!(
            decided("/cart", &[&script], Unproven::Missing),
            "device_proof_missing"
        );
    }
}

#[test]
fn missing_proof_that_could_not_be_renewed_is_unavailable() {
    for own in ["same-origin", "none"] {
        let fields = [&NAVIGATION[..], &[site(own), SKIPPED]];
        let code = |path| decided(path, &fields, Unproven::Missing);
        assert_eq!(code("/cart"), "device_proof_unavailable");
        assert_eq!(code("/.doorward/session"), "device_proof_unavailable");
        assert_eq!(code("/.doorward/login"), "start_login");
        assert_eq!(code("/public/x"), "forward");
    }
}

#[test]
fn missing_proof_otherwise_needs_a_login() {
    for own in ["same-origin", "none"] {
        let navigation = [&NAVIGATION[..], &[site(own)]];
        assert_eq!(
            decided("/cart", &navigation, Unproven::Missing),
            "start_login"
        );
        let script = [("sec-fetch-mode", "cors"), site(own)];
        assert_eq!(
            decided("/cart", &[&script], Unproven::Missing),
            "device_proof_missing"
        );
    }
    assert_eq!(decided("/public/x", &[], Unproven::Missing), "forward");
}

#[test]
fn unbound_session_is_refused_where_binding_is_required() {
    let code = |path| decided(path, &[&NAVIGATION], Unproven::NotBound);
    assert_eq!(code("/cart"), "device_not_bound");
    assert_eq!(code("/.doorward/session"), "device_not_bound");
    assert_eq!(code("/.doorward/login"), "start_login");
    assert_eq!(code("/public/x"), "forward");
}

#[test]
fn denied_path_stays_denied() {
    for unproven in [
        Unproven::Stale,
        Unproven::OtherNetwork,
        Unproven::OtherAgent,
        Unproven::Invalid,
        Unproven::Missing,
        Unproven::NotBound,
    ] {
        assert_eq!(decided("/denied", &[&[SKIPPED]], unproven), "denied");
    }
}
