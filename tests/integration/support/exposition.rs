//! Checks of the Prometheus exposition format.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs `promtool check metrics`, which also checks names, units and help texts.
///
/// # Errors
/// What promtool objects to.
pub fn promtool(metrics: &str) -> Result<(), String> {
    let mut process = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool does not start ({error}): run ./tests/run once"));
    let mut stdin = process.stdin.take().expect("a pipe");
    stdin
        .write_all(metrics.as_bytes())
        .expect("promtool reads its input");
    drop(stdin);
    let output = process.wait_with_output().expect("promtool ends");
    let text = [output.stdout, output.stderr].concat();
    match (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ) {
        (true, text) if text.is_empty() => Ok(()),
        (_, text) => Err(text),
    }
}

/// Series that would be counted twice by `sum()`: totals beside the series that they sum up.
///
/// An absent label and an empty one are the same to Prometheus.
pub fn totals_among_series(metrics: &str) -> Vec<String> {
    let mut values = BTreeMap::<(&str, &str), Vec<(&str, &str)>>::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((family, rest)) = line.split_once('{') else {
            continue;
        };
        let labels = rest.rsplit_once('}').map_or("", |(labels, _)| labels);
        for label in labels.split(',') {
            let (name, value) = label.split_once('=').expect("a label");
            values
                .entry((family, name))
                .or_default()
                .push((value.trim_matches('"'), line));
        }
    }
    let mut totals = Vec::new();
    for (_, series) in values {
        let is_total = |value: &str| ["", "all", "any", "sum", "total", "*"].contains(&value);
        let has_parts = series.iter().any(|(value, _)| !is_total(value));
        let found = series
            .iter()
            .filter(|(value, _)| has_parts && is_total(value));
        totals.extend(found.map(|(_, line)| (*line).to_owned()));
    }
    totals
}

#[test]
fn bad_metrics_are_rejected() {
    let good = "# HELP x_requests_total Requests.\n# TYPE x_requests_total counter\n\
                x_requests_total{app=\"store\"} 1\nx_requests_total{app=\"forum\"} 2\n";
    assert_eq!(promtool(good), Ok(()));
    assert_eq!(totals_among_series(good), Vec::<String>::new());
    for bad in [
        "# TYPE x_requests_total counter\nx_requests_total 1\n",
        "# HELP x_requests Requests.\n# TYPE x_requests counter\nx_requests 1\n",
        "# HELP x_total Requests.\n# TYPE x_total gauge\nx_total 1\n",
        "no metrics at all",
    ] {
        assert!(promtool(bad).is_err(), "{bad}");
    }
    for total in [
        "x_requests_total{app=\"\"} 3",
        "x_requests_total{app=\"all\"} 3",
    ] {
        assert_eq!(totals_among_series(&format!("{good}{total}\n")), [total]);
    }
}
