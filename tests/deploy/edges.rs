//! Manifests of gateways that ask Doorward: only paths of Doorward's endpoints reach anything without a
//! decision, and what a manifest refers to is there.

use serde_json::Value;

use super::{array, text};

const DOORWARD: &str = include_str!("../../deploy/edges/kubernetes/doorward.yaml");
const GATEWAYS: [(&str, &str); 4] = [
    (
        "gateway-api",
        include_str!("../../deploy/edges/kubernetes/gateway-api.yaml"),
    ),
    (
        "nginx-gateway-fabric",
        include_str!("../../deploy/edges/kubernetes/nginx-gateway-fabric.yaml"),
    ),
    (
        "envoy-gateway",
        include_str!("../../deploy/edges/kubernetes/envoy-gateway.yaml"),
    ),
    (
        "istio",
        include_str!("../../deploy/edges/kubernetes/istio.yaml"),
    ),
];

fn documents(manifest: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(manifest).unwrap()
}

fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    documents
        .iter()
        .find(|document| document["kind"] == kind && document["metadata"]["name"] == name)
}

/// Whether doorward.yaml has a Service with this port.
fn has_service(reference: &Value) -> bool {
    let documents = documents(DOORWARD);
    let service = find(&documents, "Service", reference["name"].as_str().unwrap());
    service.is_some_and(|service| {
        let mut ports = array(service, "/spec/ports").iter();
        ports.any(|port| port["port"] == reference["port"])
    })
}

fn complaints(manifest: &str) -> Vec<String> {
    let documents = documents(manifest);
    let mut complaints = Vec::new();
    let (Some(own), Some(app)) = (
        find(&documents, "HTTPRoute", "doorward"),
        find(&documents, "HTTPRoute", "app"),
    ) else {
        return vec!["a route is missing".to_owned()];
    };
    if text(own, "/spec/rules/0/matches/0/path/value") != "/.doorward"
        || !has_service(&own["spec"]["rules"][0]["backendRefs"][0])
    {
        complaints.push("the route of the endpoints is wrong".to_owned());
    }
    let filter = &app["spec"]["rules"][0]["filters"][0];
    let decision = if filter["type"] == "ExternalAuth" {
        Some(&filter["externalAuth"]["backendRef"])
    } else if let Some(policy) = find(&documents, "SecurityPolicy", "doorward") {
        if policy["spec"]["extAuth"]["failOpen"] != false {
            complaints.push("it fails open".to_owned());
        }
        if text(policy, "/spec/targetRefs/0/name") != "app" {
            complaints.push("the policy is for another route".to_owned());
        }
        Some(&policy["spec"]["extAuth"]["grpc"]["backendRefs"][0])
    } else {
        let policy = find(&documents, "AuthorizationPolicy", "doorward");
        let paths =
            policy.map(|policy| &policy["spec"]["rules"][0]["to"][0]["operation"]["notPaths"]);
        if paths != Some(&serde_json::json!(["/.doorward", "/.doorward/*"])) {
            complaints.push("paths of the app need no decision".to_owned());
        }
        None
    };
    if decision.is_some_and(|service| !has_service(service)) {
        complaints.push("the decision listener is no Service".to_owned());
    }
    complaints
}

#[test]
fn gateways_ask_about_every_path_of_the_app() {
    for (name, manifest) in GATEWAYS {
        assert_eq!(complaints(manifest), Vec::<String>::new(), "{name}");
        let other = manifest.replace("value: /.doorward", "value: /");
        assert_ne!(complaints(&other), Vec::<String>::new(), "{name}");
        let open = manifest
            .replace("failOpen: false", "failOpen: true")
            .replace("type: ExternalAuth", "type: RequestMirror")
            .replace("notPaths: [", "notPaths: [/public, ");
        assert_ne!(complaints(&open), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn decision_listener_is_reached_by_gateways_only() {
    let documents = documents(DOORWARD);
    let policy = find(&documents, "NetworkPolicy", "doorward-decisions").unwrap();
    let rules = array(policy, "/spec/ingress");
    let decisions = rules.iter().find(|rule| rule["ports"][0]["port"] == 8082);
    assert!(decisions.is_some_and(|rule| rule["from"].is_array()));
    for document in &documents {
        assert_eq!(
            super::schema::against_schema(document),
            Vec::<String>::new()
        );
    }
}
