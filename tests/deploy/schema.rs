//! The manifests match the Kubernetes schemas of the oldest version that the library supports. Later
//! versions accept the same manifests.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{DOORWARD, POD, cut, document, documents, put, text};

#[test]
fn manifests_match_the_kubernetes_schemas() {
    let documents = documents();
    let kinds: Vec<_> = documents
        .iter()
        .map(|document| text(document, "/kind"))
        .collect();
    assert_eq!(
        kinds,
        [
            "ConfigMap",
            "Secret",
            "Deployment",
            "Service",
            "NetworkPolicy"
        ]
    );
    for document in &documents {
        assert_eq!(
            against_schema(document),
            Vec::<String>::new(),
            "{}",
            text(document, "/kind")
        );
    }
}

#[test]
fn schema_check_finds_unknown_missing_and_mistyped_fields() {
    let broken = [
        (
            put(document("Deployment"), POD, "hostNetwrok", json!(true)),
            "/spec/template/spec/hostNetwrok is unknown",
        ),
        (
            put(document("Deployment"), DOORWARD, "startupprobe", json!({})),
            "/startupprobe is unknown",
        ),
        (
            put(document("Service"), "/spec/ports/0", "node_port", json!(1)),
            "/spec/ports/0/node_port is unknown",
        ),
        (
            cut(document("Deployment"), "/spec", "selector"),
            "/spec/selector is missing",
        ),
        (
            cut(document("Service"), "/spec/ports/0", "port"),
            "/spec/ports/0/port is missing",
        ),
        (
            put(document("Deployment"), "/spec", "replicas", json!("one")),
            "invalid type",
        ),
        (
            put(
                document("NetworkPolicy"),
                "",
                "apiVersion",
                json!("networking.k8s.io/v1beta1"),
            ),
            "networking.k8s.io/v1",
        ),
    ];
    for (document, complaint) in broken {
        let found = against_schema(&document);
        assert!(
            found.iter().any(|found| found.contains(complaint)),
            "{complaint}: {found:?}"
        );
    }
}

/// The keys that are unknown to, or required by, the schema of the document's kind.
pub(crate) fn against_schema(document: &Value) -> Vec<String> {
    match (text(document, "/apiVersion"), text(document, "/kind")) {
        ("v1", "ConfigMap") => round_trip::<ConfigMap>(document),
        ("v1", "Secret") => round_trip::<Secret>(document),
        ("v1", "Service") => round_trip::<Service>(document),
        ("apps/v1", "Deployment") => round_trip::<Deployment>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => round_trip::<NetworkPolicy>(document),
        (version, kind) => vec![format!(
            "no schema for {kind} of {version}: not networking.k8s.io/v1, apps/v1 or v1"
        )],
    }
}

/// Deserializes and serializes again, and compares: the types drop unknown fields and add missing
/// required ones.
fn round_trip<T: DeserializeOwned + Serialize>(document: &Value) -> Vec<String> {
    let typed: T = match serde_json::from_value(document.clone()) {
        Ok(typed) => typed,
        Err(error) => return vec![error.to_string()],
    };
    let mut complaints = Vec::new();
    compare(
        document,
        &serde_json::to_value(typed).unwrap(),
        "",
        &mut complaints,
    );
    complaints
}

fn compare(written: &Value, understood: &Value, at: &str, complaints: &mut Vec<String>) {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            for (key, value) in written {
                match understood.get(key) {
                    Some(understood) => {
                        compare(value, understood, &format!("{at}/{key}"), complaints)
                    }
                    None => complaints.push(format!("{at}/{key} is unknown")),
                }
            }
            let missing = understood.keys().filter(|key| !written.contains_key(*key));
            complaints.extend(missing.map(|key| format!("{at}/{key} is missing")));
        }
        (Value::Array(written), Value::Array(understood)) if written.len() == understood.len() => {
            for (index, (written, understood)) in written.iter().zip(understood).enumerate() {
                compare(written, understood, &format!("{at}/{index}"), complaints);
            }
        }
        _ if written == understood => {}
        _ => complaints.push(format!("{at} is {written}, understood as {understood}")),
    }
}
