//! The OpenMetrics text format 1.0, which carries exemplars. The `prometheus` crate writes the older
//! text format only, which has none.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::HeaderMap;
use http::header::ACCEPT;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, SeriesExemplars};

/// The media type of the format.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a client reads the format (RFC 9110 section 12.5.1). Prometheus servers name it.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).iter();
    let fields = fields.filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_format = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        let mut is_version = false;
        let mut is_wanted = true;
        for parameter in parts {
            match parameter.split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("version") => {
                    is_version = value.trim_matches('"') == "1.0.0";
                }
                Some((name, value)) if name.eq_ignore_ascii_case("q") => {
                    is_wanted = value.parse::<f32>().is_ok_and(|quality| quality > 0.0);
                }
                Some(_) | None => {}
            }
        }
        is_format && is_version && is_wanted
    })
}

/// The exemplars of the histogram family `name`.
pub(super) struct FamilyExemplars<'a> {
    pub(super) name: &'a str,
    pub(super) series: &'a [Arc<SeriesExemplars>],
}

/// All families as text. Summaries and untyped metrics, which Doorward does not have, are left out.
pub(super) fn text(families: &[MetricFamily], exemplars: &FamilyExemplars<'_>) -> String {
    let mut out = String::new();
    for family in families {
        let name = family.name();
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        // A counter's family has the name without the suffix of its samples.
        let described = name.strip_suffix("_total").unwrap_or(name);
        push(&mut out, format_args!("# TYPE {described} {kind}\n"));
        push(&mut out, format_args!("# HELP {described} "));
        escape(family.help(), &mut out);
        out.push('\n');
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => {
                    sample(&mut out, name, metric, metric.get_counter().get_value());
                }
                MetricType::GAUGE => sample(&mut out, name, metric, metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => {
                    let series = exemplars.series.iter().find(|series| {
                        name == exemplars.name
                            && series.is_of(metric.get_label().iter().map(LabelPair::value))
                    });
                    histogram(&mut out, name, metric, series.map(Arc::as_ref));
                }
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

fn sample(out: &mut String, name: &str, metric: &Metric, value: f64) {
    out.push_str(name);
    labels(out, metric, None);
    push(out, format_args!(" {value}\n"));
}

fn histogram(out: &mut String, name: &str, metric: &Metric, exemplars: Option<&SeriesExemplars>) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    let bounded = histogram.get_bucket().iter();
    let bounded = bounded
        .filter(|bucket| bucket.upper_bound().is_finite())
        .map(|bucket| (bucket.upper_bound().to_string(), bucket.cumulative_count()));
    let all = bounded.chain([("+Inf".to_owned(), count)]);
    for (index, (bound, cumulative)) in all.enumerate() {
        push(out, format_args!("{name}_bucket"));
        labels(out, metric, Some(&bound));
        push(out, format_args!(" {cumulative}"));
        if let Some(exemplar) = exemplars.and_then(|series| series.bucket(index)) {
            let Exemplar { trace, value, time } = exemplar;
            let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            let trace = trace.as_str();
            push(
                out,
                format_args!(
                    " # {{trace_id=\"{trace}\"}} {value} {:.3}",
                    time.as_secs_f64()
                ),
            );
        }
        out.push('\n');
    }
    push(out, format_args!("{name}_count"));
    labels(out, metric, None);
    push(out, format_args!(" {count}\n{name}_sum"));
    labels(out, metric, None);
    push(out, format_args!(" {}\n", histogram.get_sample_sum()));
}

/// The labels in braces, with the bound of a bucket as the last one.
fn labels(out: &mut String, metric: &Metric, bound: Option<&str>) {
    let own = metric.get_label().iter();
    let own = own.map(|label| (label.name(), label.value()));
    let mut separator = '{';
    for (name, value) in own.chain(bound.map(|bound| ("le", bound))) {
        out.push(separator);
        separator = ',';
        push(out, format_args!("{name}=\""));
        escape(value, out);
        out.push('"');
    }
    if separator == ',' {
        out.push('}');
    }
}

/// Escapes as help texts and values of labels need it.
fn escape(text: &str, out: &mut String) {
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            char => out.push(char),
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::telemetry::exemplars::Exemplars;
    use crate::types::trace_context::{TRACEPARENT, TraceContext};

    fn accepts(value: &'static str) -> bool {
        let headers = [(ACCEPT, HeaderValue::from_static(value))];
        is_accepted(&HeaderMap::from_iter(headers))
    }

    #[test]
    fn format_is_for_clients_that_name_its_version() {
        for named in [
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8;q=0.75,text/plain;version=0.0.4;q=0.5",
            "text/plain, Application/OpenMetrics-Text; Version=\"1.0.0\"",
        ] {
            assert!(accepts(named), "{named}");
        }
        for other in [
            "*/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text",
            "application/openmetrics-text;version=0.0.1",
            "application/openmetrics-text;version=1.0.0;q=0",
            "application/openmetrics-text;version=1.0.0;q=x",
        ] {
            assert!(!accepts(other), "{other}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn families_of_each_type_are_written() {
        use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "Counts \"a\"."), &["app"]).unwrap();
        let gauge = IntGauge::new("b", "A\\B.").unwrap();
        const BOUNDS: &[f64] = &[0.5, 1.0];
        let options = HistogramOpts::new("c_seconds", "Time.").buckets(BOUNDS.to_vec());
        let histogram = HistogramVec::new(options, &["app"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(gauge.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        counter.with_label_values(&["x\"\n"]).inc();
        gauge.set(-3);
        let exemplars = Exemplars::default();
        let series = exemplars.series(&["x"], BOUNDS);
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = [(TRACEPARENT, HeaderValue::from_static(parent))];
        let trace = TraceContext::read(&HeaderMap::from_iter(headers))
            .unwrap()
            .trace_id;
        for seconds in [1.0, 7.0] {
            histogram.with_label_values(&["x"]).observe(seconds);
            let time = UNIX_EPOCH + Duration::from_millis(1_500_250);
            series.observe(Duration::from_secs_f64(seconds), trace, time);
        }
        histogram.with_label_values(&["y"]).observe(0.25);
        let families = FamilyExemplars {
            name: "c_seconds",
            series: &exemplars.all(),
        };
        let expected = r##"# TYPE a counter
# HELP a Counts \"a\".
a_total{app="x\"\n"} 1
# TYPE b gauge
# HELP b A\\B.
b -3
# TYPE c_seconds histogram
# HELP c_seconds Time.
c_seconds_bucket{app="x",le="0.5"} 0
c_seconds_bucket{app="x",le="1"} 1 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 1 1500.250
c_seconds_bucket{app="x",le="+Inf"} 2 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 7 1500.250
c_seconds_count{app="x"} 2
c_seconds_sum{app="x"} 8
c_seconds_bucket{app="y",le="0.5"} 1
c_seconds_bucket{app="y",le="1"} 1
c_seconds_bucket{app="y",le="+Inf"} 1
c_seconds_count{app="y"} 1
c_seconds_sum{app="y"} 0.25
# EOF
"##;
        assert_eq!(text(&registry.gather(), &families), expected);
    }
}
