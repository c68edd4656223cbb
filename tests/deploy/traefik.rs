//! Traefik's configuration, which no test starts: its keys and types are those of Traefik's reference
//! of the file provider, what it refers to is there, and no route to the app goes without a decision.

use std::collections::BTreeMap;

use serde::Deserialize;

const DYNAMIC: &str = include_str!("../../deploy/edges/traefik/dynamic.yaml");

/// The part of the reference that is used. Other keys are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dynamic {
    http: Http,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    routers: BTreeMap<String, Router>,
    middlewares: BTreeMap<String, Middleware>,
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Router {
    rule: String,
    service: String,
    #[serde(default)]
    middlewares: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Middleware {
    Headers(Headers),
    ForwardAuth(ForwardAuth),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Headers {
    custom_request_headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ForwardAuth {
    address: String,
    trust_forward_header: bool,
    auth_response_headers: Vec<String>,
    add_auth_cookies_to_response: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Service {
    load_balancer: LoadBalancer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadBalancer {
    servers: Vec<Server>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    url: String,
}

/// The matchers of a rule with their arguments: `Host`, `app.example.com`. `None`: the rule does not
/// consist of matchers that are joined by `&&` and `||`. No argument may contain `|` or `&`.
fn matchers(rule: &str) -> Option<Vec<(&str, Vec<&str>)>> {
    let parts = rule
        .split(['&', '|'])
        .map(|part| part.trim_matches(['(', ' ']));
    let parts = parts.filter(|part| !part.is_empty()).map(|part| {
        let (name, arguments) = part.split_once('(')?;
        let arguments = arguments.split_once(')')?.0.split(',');
        let quoted = arguments.map(|one| one.trim().strip_prefix('`')?.strip_suffix('`'));
        Some((name, quoted.collect::<Option<_>>()?))
    });
    let is_balanced = rule.matches('(').count() == rule.matches(')').count();
    parts.collect::<Option<_>>().filter(|_| is_balanced)
}

/// The number of arguments of a matcher of HTTP routers (rule syntax v3).
fn arguments_of(matcher: &str) -> Option<usize> {
    match matcher {
        "Host" | "Path" | "PathPrefix" | "Method" => Some(1),
        "HeaderRegexp" => Some(2),
        _ => None,
    }
}

fn complaints(text: &str) -> Vec<String> {
    let document: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    let Dynamic { http } = match serde_json::from_value(document) {
        Ok(dynamic) => dynamic,
        Err(error) => return vec![error.to_string()],
    };
    let mut complaints = Vec::new();
    let mut complain_if = |is_wrong: bool, what: String| {
        if is_wrong {
            complaints.push(what);
        }
    };
    for (name, router) in &http.routers {
        let known = matchers(&router.rule).is_some_and(|matchers| {
            let mut matchers = matchers.iter();
            matchers.all(|(name, arguments)| arguments_of(name) == Some(arguments.len()))
        });
        complain_if(!known, format!("the rule of {name} is invalid"));
        let is_there = http.services.contains_key(&router.service);
        complain_if(!is_there, format!("{name} has no service"));
        for middleware in &router.middlewares {
            let is_there = http.middlewares.contains_key(middleware);
            complain_if(!is_there, format!("{middleware} is missing"));
        }
        // The last middleware decides about the request as the app gets it.
        let decides = router.middlewares.last().is_some_and(|last| {
            matches!(http.middlewares.get(last), Some(Middleware::ForwardAuth(_)))
        });
        complain_if(
            router.service == "app" && !decides,
            format!("{name} reaches the app without a decision"),
        );
        // A longer rule comes first. Those of Doorward must win over that of the app.
        let of_app = http.routers.values().filter(|other| other.service == "app");
        let longest = of_app
            .map(|other| other.rule.len())
            .max()
            .unwrap_or_default();
        complain_if(
            router.service == "doorward" && router.rule.len() <= longest,
            format!("the app's rule comes before {name}"),
        );
    }
    for (name, middleware) in &http.middlewares {
        match middleware {
            Middleware::Headers(headers) => {
                let mut set = headers.custom_request_headers.values();
                complain_if(
                    set.any(|value| !value.is_empty()),
                    format!("{name} sets a field"),
                );
            }
            Middleware::ForwardAuth(auth) => {
                let is_check = auth.address.ends_with("/forward-auth");
                complain_if(!is_check, format!("{name} asks elsewhere"));
                complain_if(auth.trust_forward_header, format!("{name} trusts clients"));
                for field in ["Cookie", "X-Forwarded-User"] {
                    let replaced = auth.auth_response_headers.iter().any(|one| one == field);
                    complain_if(!replaced, format!("{field} is the client's"));
                }
                let cookies = &auth.add_auth_cookies_to_response;
                let is_own = |name: &String| name.starts_with("__Host-doorward_");
                complain_if(
                    !cookies.iter().all(is_own),
                    format!("{name} passes other cookies"),
                );
            }
        }
    }
    for (name, service) in &http.services {
        let servers = &service.load_balancer.servers;
        let is_url = |server: &Server| server.url.starts_with("http://");
        complain_if(
            servers.is_empty() || !servers.iter().all(is_url),
            format!("{name} has no valid server"),
        );
    }
    complaints
}

#[test]
fn traefik_configuration_follows_the_reference() {
    assert_eq!(complaints(DYNAMIC), Vec::<String>::new());
}

#[test]
fn check_of_traefik_configuration_finds_mistakes() {
    for (right, wrong, complaint) in [
        ("trustForwardHeader", "trustForwardHeaders", "unknown"),
        (
            "trustForwardHeader: false",
            "trustForwardHeader: true",
            "trusts",
        ),
        (
            "middlewares: [without-forged-fields, decision]",
            "",
            "without a decision",
        ),
        ("decision]", "decisions]", "is missing"),
        ("          - Cookie\n", "", "Cookie is the client's"),
        ("service: app\n", "service: apps\n", "no service"),
        (
            "HeaderRegexp(`Origin`, `.+`)",
            "HeaderRegexp(`Origin`)",
            "rule of preflight",
        ),
        (
            "Method(`OPTIONS`)",
            "Methods(`OPTIONS`)",
            "rule of preflight",
        ),
        (
            "url: http://127.0.0.1:3000",
            "address: http://127.0.0.1:3000",
            "unknown",
        ),
        ("/forward-auth", "/ext-authz", "elsewhere"),
        (
            "Host(`app.example.com`) && (Path(`/.doorward`) || PathPrefix(`/.doorward/`))",
            "Path(`/.doorward`)",
            "comes before doorward",
        ),
    ] {
        assert!(DYNAMIC.contains(right), "{right}");
        let found = complaints(&DYNAMIC.replace(right, wrong)).join("; ");
        assert!(found.contains(complaint), "{wrong:?}: {found:?}");
    }
}
