//! W3C Trace Context: the trace that a request belongs to, in `traceparent` and `tracestate`.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::split_mix::split_mix;

/// The header of the trace and the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header of what tracing systems add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00. Later versions may append to it.
const LENGTH: usize = 55;

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// The flag of a trace ID that is random.
const RANDOM: u8 = 2;

/// The flags that version 00 defines.
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;

/// The limits of `tracestate`: those that every implementation must propagate.
const MAX_STATE_BYTES: usize = 512;
const MAX_STATE_MEMBERS: usize = 32;

/// The ID of a trace, as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

/// The ID of a span, as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 16]);

/// A trace and a span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that called.
    pub span_id: SpanId,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
    /// Whether the ID of the trace is random.
    pub is_random: bool,
}

/// The trace of a request that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedTrace {
    /// The content of `traceparent`.
    pub context: TraceContext,
    /// Whether the client's `tracestate` belongs to it.
    pub keeps_state: bool,
    /// Whether the trace begins with this request.
    pub is_new: bool,
}

/// Which trace a request belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceSource {
    /// The fields of clients are forwarded as they are, and not looked at.
    #[default]
    Off,
    /// The trace of a trusted proxy, otherwise a new one.
    Trusted,
    /// Always a new one.
    Restart,
}

/// How requests get their traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceSettings {
    /// Which trace it is.
    pub source: TraceSource,
    /// The part of new traces that is recorded, from 0 to 1.
    pub sampling_ratio: f64,
}

impl TraceSettings {
    /// The trace of a request. `number` is different for each request of all processes. `is_trusted`: the
    /// peer is a trusted proxy. `None` if traces are off.
    pub fn trace(
        &self,
        headers: &HeaderMap,
        is_trusted: bool,
        number: impl FnOnce() -> u64,
    ) -> Option<ForwardedTrace> {
        let given = match self.source {
            TraceSource::Off => return None,
            TraceSource::Trusted if is_trusted => TraceContext::read(headers),
            TraceSource::Trusted | TraceSource::Restart => None,
        };
        Some(match given {
            Some(context) => ForwardedTrace {
                context,
                keeps_state: is_valid_state(headers),
                is_new: false,
            },
            None => ForwardedTrace {
                context: TraceContext::new(number(), self.sampling_ratio),
                keeps_state: false,
                is_new: true,
            },
        })
    }
}

impl TraceContext {
    /// A new trace.
    fn new(number: u64, sampling_ratio: f64) -> Self {
        let [high, low, span] = [0, 1, 2].map(|at| split_mix(number, at));
        let mut trace_id = [0; 32];
        let (first, second) = trace_id.split_at_mut(16);
        write_hex(first, high);
        // All zeros would be invalid.
        write_hex(second, low | 1);
        let mut span_id = [0; 16];
        write_hex(&mut span_id, span | 1);
        Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            is_sampled: is_below(low, sampling_ratio),
            is_random: true,
        }
    }

    /// The context that a peer sent. `None` if there is not exactly one, or it is invalid.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(&TRACEPARENT).iter();
        let text = fields.next()?.as_bytes();
        if fields.next().is_some() {
            return None;
        }
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let version = known.get(..2)?;
        let is_complete = match version {
            b"00" => rest.is_empty(),
            b"ff" => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let mut parts = known.splitn(4, |byte| *byte == b'-').skip(1);
        let trace_id = hex_digits(parts.next()?)?;
        let span_id = hex_digits(parts.next()?)?;
        let flags = hex_digits::<2>(parts.next()?)?;
        hex_digits::<2>(version)?;
        if !is_complete || trace_id == [b'0'; 32] || span_id == [b'0'; 16] {
            return None;
        }
        let flags = u8::from_str_radix(std::str::from_utf8(&flags).ok()?, 16).ok()?;
        Some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            is_sampled: flags & SAMPLED != 0,
            is_random: flags & RANDOM != 0,
        })
    }

    /// As a `traceparent` of version 00.
    pub fn header_value(&self) -> HeaderValue {
        let mut flags = [b'0'; 2];
        if let Some(last) = flags.last_mut() {
            *last += (u8::from(self.is_sampled) + 2 * u8::from(self.is_random)) & KNOWN_FLAGS;
        }
        let mut text = Vec::with_capacity(LENGTH);
        text.extend_from_slice(b"00-");
        text.extend_from_slice(&self.trace_id.0);
        text.push(b'-');
        text.extend_from_slice(&self.span_id.0);
        text.push(b'-');
        text.extend_from_slice(&flags);
        HeaderValue::from_maybe_shared(text).unwrap_or(const { HeaderValue::from_static("") })
    }
}

impl TraceId {
    /// The ID itself.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        read_hex(&self.0, &mut bytes);
        bytes
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SpanId {
    /// An ID that looks random, different for each number.
    pub fn of_number(number: u64) -> Self {
        let mut digits = [0; 16];
        write_hex(&mut digits, split_mix(number, 0).max(1));
        Self(digits)
    }

    /// The ID itself.
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        read_hex(&self.0, &mut bytes);
        bytes
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `tracestate` is valid and within the limits. A list that is not must not be forwarded.
fn is_valid_state(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(&TRACESTATE);
    let bytes: usize = fields.iter().map(HeaderValue::len).sum();
    let members = fields.iter().flat_map(|field| {
        let members = field.as_bytes().split(|byte| *byte == b',');
        members.map(<[u8]>::trim_ascii)
    });
    let mut keys: Vec<&[u8]> = Vec::new();
    for member in members.filter(|member| !member.is_empty()) {
        let Some((key, value)) = key_and_value(member) else {
            return false;
        };
        if keys.contains(&key) || keys.len() == MAX_STATE_MEMBERS {
            return false;
        }
        if !is_state_key(key) || !is_state_value(value) {
            return false;
        }
        keys.push(key);
    }
    bytes <= MAX_STATE_BYTES
}

fn key_and_value(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = member.iter().position(|byte| *byte == b'=')?;
    Some((member.get(..at)?, member.get(at + 1..)?))
}

fn is_state_key(key: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_other = |byte: &u8| is_first(byte) || b"_-*/@".contains(byte);
    (1..=256).contains(&key.len()) && key.first().is_some_and(is_first) && key.iter().all(is_other)
}

fn is_state_value(value: &[u8]) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    (1..=256).contains(&value.len()) && value.iter().all(is_plain)
}

/// Exactly so many lower-case digits.
fn hex_digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = <[u8; N]>::try_from(text).ok()?;
    digits.iter().all(is_digit).then_some(digits)
}

fn read_hex(digits: &[u8], out: &mut [u8]) {
    let value = |digit: &u8| match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.saturating_sub(b'0'),
    };
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | value(digit));
    }
}

fn write_hex(out: &mut [u8], number: u64) {
    for (at, digit) in out.iter_mut().rev().enumerate() {
        let half = u8::try_from(number >> (4 * at) & 0xf).unwrap_or_default();
        *digit = if half < 10 {
            b'0' + half
        } else {
            b'a' + half - 10
        };
    }
}

/// Whether random `bits` are in the first `ratio` of all.
fn is_below(bits: u64, ratio: f64) -> bool {
    const STEPS: u32 = 1_000_000;
    let step = u32::try_from(bits % u64::from(STEPS)).unwrap_or_default();
    f64::from(step) < ratio * f64::from(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn parent(text: &str) -> Option<TraceContext> {
        TraceContext::read(&fields(&[("traceparent", text)]))
    }

    #[test]
    fn valid_context_is_read_and_written() {
        let context = parent(GIVEN).unwrap();
        assert_eq!(
            context.trace_id.as_str(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(context.span_id.as_str(), "00f067aa0ba902b7");
        assert!(context.is_sampled && !context.is_random);
        assert_eq!(context.header_value(), GIVEN);
        let later = GIVEN.replacen("00-", "cc-", 1).replace("-01", "-0b") + "-what-follows";
        let later = parent(&later).unwrap();
        assert!(later.is_sampled && later.is_random);
        assert_eq!(
            later.header_value(),
            GIVEN.replace("-01", "-03"),
            "flags of version 00"
        );
    }

    /// The invalid values of the specification.
    #[test]
    fn invalid_contexts_are_not_read() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        for text in [
            "",
            "00",
            zero_trace,
            zero_span,
            &GIVEN.replace("00-", "ff-"),
            &GIVEN.replace("00-", "0x-"),
            &GIVEN.replace('f', "F"),
            &GIVEN.replace("-01", "-0g"),
            &GIVEN.replace("-01", "-1"),
            &GIVEN.replace("a3ce", "a3-e"),
            &format!("{GIVEN}-extra"),
            &format!("{}extra", GIVEN.replacen("00-", "cc-", 1)),
            &format!(" {GIVEN}"),
        ] {
            assert_eq!(parent(text), None, "{text}");
        }
        let twice = fields(&[("traceparent", GIVEN), ("traceparent", GIVEN)]);
        assert_eq!(TraceContext::read(&twice), None);
    }

    #[test]
    fn state_is_kept_if_it_is_valid() {
        let is_valid = |values: &[&str]| {
            let values = values.iter().map(|value| ("tracestate", *value));
            is_valid_state(&fields(&values.collect::<Vec<_>>()))
        };
        let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>();
        for values in [
            &["a=1"][..],
            &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"],
            &["a=1 , b=2", ",", "tenant@vendor=x y"],
            &[],
            &[&many[..32].join(",")],
        ] {
            assert!(is_valid(values), "{values:?}");
        }
        for values in [
            &["a"][..],
            &["a="],
            &["=1"],
            &["A=1"],
            &["a=1", "a=2"],
            &["a=b=c"],
            &[&many.join(",")],
            &[&format!("a={}", "x".repeat(257))],
            &[
                &format!("a={},b={}", "x".repeat(250), "x".repeat(256)),
                "c=12345",
            ],
        ] {
            assert!(!is_valid(values), "{values:?}");
        }
    }

    #[test]
    fn trace_is_kept_from_trusted_peers_only() {
        let headers = fields(&[("traceparent", GIVEN), ("tracestate", "a=1")]);
        let with = |source, is_trusted| {
            let settings = TraceSettings {
                source,
                sampling_ratio: 1.0,
            };
            settings.trace(&headers, is_trusted, || 7)
        };
        assert_eq!(with(TraceSource::Off, true), None);
        let kept = with(TraceSource::Trusted, true).unwrap();
        assert_eq!(
            (kept.context.header_value(), kept.keeps_state),
            (HeaderValue::from_static(GIVEN), true)
        );
        let made = with(TraceSource::Trusted, false).unwrap();
        assert_eq!(Some(made), with(TraceSource::Restart, true));
        assert_ne!(made.context.trace_id, kept.context.trace_id);
        assert!(!made.keeps_state && made.context.is_sampled);
        let text = made.context.header_value();
        assert_eq!(parent(text.to_str().unwrap()), Some(made.context));
    }

    #[test]
    fn ratio_of_new_traces_is_sampled() {
        let sampled = |ratio| {
            let traces = (0..10_000).map(|number| TraceContext::new(number, ratio));
            traces.filter(|trace| trace.is_sampled).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((800..1200).contains(&sampled(0.1)), "{}", sampled(0.1));
    }
}
