//! Checks of the Prometheus exposition format.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs `promtool check metrics`, which also checks names, units and help texts.
///
/// # Errors
/// The problems that promtool reports.
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

/// Series that `sum()` would count twice: totals beside the series that they sum up.
///
/// An empty label is an absent one to Prometheus. Counters and histograms may have `app=""`:
/// requests that belong to no app. A gauge describes something that exists, which has a name.
pub fn totals_among_series(metrics: &str) -> Vec<String> {
    let mut gauges = Vec::new();
    let mut families = BTreeMap::<(&str, &str), Vec<Series<'_>>>::new();
    for line in metrics.lines() {
        let of_gauge = line.strip_prefix("# TYPE ");
        gauges.extend(of_gauge.and_then(|line| line.strip_suffix(" gauge")));
        let Some((family, rest)) = line.split_once('{') else {
            continue;
        };
        let (labels, value) = rest.rsplit_once("} ").expect("labels and a value");
        for label in labels.split(',') {
            let (name, label_value) = label.split_once('=').expect("a label");
            let series = Series {
                label: label_value.trim_matches('"'),
                others: labels.replace(label, ""),
                value: value.parse().expect("a number"),
                line,
            };
            families.entry((family, name)).or_default().push(series);
        }
    }
    let mut totals = Vec::new();
    for ((family, name), series) in &families {
        let named = ["all", "any", "sum", "total", "*"];
        for one in series {
            let siblings = series.iter().filter(|other| other.others == one.others);
            let others = siblings.filter(|other| other.label != one.label);
            let sum: f64 = others.map(|other| other.value).sum();
            let is_gauge = gauges.contains(family);
            let equals_sum = sum > 0.0 && (one.value - sum).abs() < f64::EPSILON;
            let is_total = one.label.is_empty() && (is_gauge || *name != "app" || equals_sum);
            if is_total || named.contains(&one.label) {
                totals.push(one.line.to_owned());
            }
        }
    }
    totals
}

/// A series of a family, seen from one of its labels.
struct Series<'a> {
    label: &'a str,
    /// All labels but that one.
    others: String,
    value: f64,
    line: &'a str,
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
    let no_app = format!("{good}x_requests_total{{app=\"\"}} 1\n");
    assert_eq!(totals_among_series(&no_app), Vec::<String>::new());
    for total in [
        "x_requests_total{app=\"\"} 3",
        "x_requests_total{app=\"all\"} 0",
    ] {
        assert_eq!(totals_among_series(&format!("{good}{total}\n")), [total]);
    }
    let gauge = "# TYPE x_requests gauge\nx_requests{app=\"\"} 0\nx_requests{app=\"store\"} 0\n";
    assert_eq!(totals_among_series(gauge), ["x_requests{app=\"\"} 0"]);
}
