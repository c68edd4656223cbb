//! Prometheus rules and the Grafana dashboard: promtool tests the rules, and both name only metrics and
//! labels that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use doorward::telemetry::metrics::Metrics;
use serde_json::Value;

const RULES: &str = include_str!("../../deploy/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/dashboard.json");

#[test]
fn promtool_accepts_and_tests_the_rules() {
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir("deploy/prometheus")
            .output()
            .unwrap_or_else(|error| {
                panic!("promtool does not start ({error}): run ./tests/run once")
            });
        let text = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
}

#[test]
fn every_alert_is_tested() {
    let tests = include_str!("../../deploy/prometheus/alerts.test.yaml");
    let alerts: Vec<&str> = RULES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        let named = format!("alertname: {alert}\n        exp_alerts:");
        assert!(tests.contains(&named), "no test raises {alert}");
    }
}

#[test]
fn rules_and_dashboard_name_existing_metrics() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let expressions: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(expressions.len() > 15, "{expressions:?}");
    for text in expressions.into_iter().chain([RULES]) {
        assert_eq!(complaints(text), Vec::<String>::new());
    }
    let made_up = r#"sum by (app) (doorward_made_up_total{app="store"})"#;
    assert_eq!(
        complaints(made_up),
        ["there is no metric doorward_made_up_total"]
    );
    let no_label = r#"rate(doorward_request_duration_seconds_bucket{le="1",colour="red"}[5m])"#;
    let expected = "doorward_request_duration_seconds_bucket has no label colour";
    assert_eq!(complaints(no_label), [expected]);
}

/// The metrics and labels of an expression that do not exist.
fn complaints(text: &str) -> Vec<String> {
    let known = known();
    let mut complaints = Vec::new();
    for (at, _) in text.match_indices("doorward_") {
        let rest = text.get(at..).unwrap();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(labels) = known.get(name) else {
            complaints.push(format!("there is no metric {name}"));
            continue;
        };
        let matchers = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next());
        let used = matchers
            .into_iter()
            .flat_map(|matchers| matchers.split(','));
        let used = used.filter_map(|matcher| matcher.split(['=', '!']).next());
        let unknown = used.filter(|label| !labels.contains(label));
        complaints.extend(unknown.map(|label| format!("{name} has no label {label}")));
    }
    complaints
}

/// The series of all families, each with its labels and those of every scrape.
fn known() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut known = BTreeMap::new();
    for family in Metrics::FAMILIES {
        let mut labels = BTreeSet::from(["instance", "job"]);
        labels.extend(family.labels);
        if family.holder.contains("Histogram") {
            for part in ["sum", "count"] {
                known.insert(format!("{}_{part}", family.name), labels.clone());
            }
            labels.insert("le");
            known.insert(format!("{}_bucket", family.name), labels);
        } else {
            known.insert(family.name.to_owned(), labels);
        }
    }
    known
}
