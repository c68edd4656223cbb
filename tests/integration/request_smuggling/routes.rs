//! The corpora on every kind of route, of an app with a host and of one under a path. Where a route forwards, the
//! upstream gets the canonical requests. Where Doorward answers, no byte of a body is read as a request.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::capture::Capture;
use super::frames::Message;
use super::http_1::{Trial, dialogue, try_out};
use super::{Case, PUBLIC, TIMEOUT, app, cases, judge_with_probe};
use crate::routes::kinds::{ELSEWHERE, FIXED, PREFIX, RouteKind};
use crate::support::doorward::{Doorward, Setup};

const PROBE: &str =
    "GET /public/probe HTTP/1.1\r\nHost: raw.localhost:8080\r\nConnection: close\r\n\r\n";
const PROBE_HTTP_2: &str =
    ":method: GET\n:scheme: http\n:authority: raw.localhost:8080\n:path: /public/probe\n";

/// Where the app with the route begins.
const BASES: [&str; 2] = ["", PREFIX];

struct Routed {
    kind: RouteKind,
    backend: Capture,
    doorward: Doorward,
}

impl Routed {
    fn start(kind: RouteKind, base: &str) -> Self {
        let backend = Capture::start();
        let mut apps = app("raw", base, &backend);
        // Another name, since the app has the address too.
        let upstream = format!("http://localhost:{}", backend.port());
        apps.push_str(&kind.table("raw", &upstream));
        apps.push_str(PUBLIC);
        if !base.is_empty() {
            apps.push_str(&app("rest", "", &backend));
        }
        let doorward = RouteKind::files(Setup::plain()).more(&apps).start();
        Self {
            kind,
            backend,
            doorward,
        }
    }

    /// The case with the requests that the upstream gets on this route. Those that Doorward answers are left out.
    fn expected(&self, case: &Case) -> Case {
        let told = case.upstream.iter().filter_map(|told| {
            let mut words = told.splitn(3, ' ');
            let (method, target) = (words.next()?, words.next()?);
            let rest = words.next().map(|rest| format!(" {rest}"));
            let target = self.kind.forwarded(target)?;
            Some(format!("{method} {target}{}", rest.unwrap_or_default()))
        });
        Case {
            responses: case.responses.clone(),
            upstream: told.collect(),
            fields: case.fields.clone(),
            ..*case
        }
    }
}

/// Sends a case to a route that Doorward answers, and then a probe, if the connection does not end. Each response
/// is one to a request of the case.
async fn try_answered(routed: &Routed, case: &Case, bytes: &[u8]) -> Result<(), String> {
    let mut dialogue = dialogue(&routed.doorward).await;
    let method = if bytes.starts_with(b"HEAD ") {
        "HEAD"
    } else {
        "GET"
    };
    let _may_be_refused = dialogue.0.write(bytes).await;
    if case.cut {
        let _may_be_closed = dialogue.0.shut().await;
    }
    let mut statuses = Vec::new();
    // A body that is broken or late is not read.
    while statuses.len() < case.responses.len().max(1) {
        match timeout(TIMEOUT, dialogue.try_hear(method)).await {
            Ok(Some(reply)) => statuses.push(reply.status()),
            Ok(None) => break,
            Err(_) => return Err(format!("nothing after {statuses:?}")),
        }
    }
    let is_refused = statuses.iter().any(|status| *status >= 400);
    if !case.ends && !case.cut && dialogue.0.write(PROBE.as_bytes()).await.is_ok() {
        let probe = timeout(TIMEOUT, dialogue.try_hear("GET")).await;
        let probe = probe.map_err(|_| "no answer to the next request")?;
        if let Some(probe) = probe {
            let location = probe.head.header("location").map(str::to_owned);
            let is_right = match routed.kind {
                RouteKind::Redirect => location == Some(format!("{ELSEWHERE}/probe")),
                RouteKind::Respond => probe.text() == FIXED,
                RouteKind::App
                | RouteKind::Upstream
                | RouteKind::Stripping
                | RouteKind::Adding
                | RouteKind::Replacing
                | RouteKind::Files => probe.text() == "probe",
            };
            if !is_right {
                return Err(format!(
                    "{statuses:?}, and the next got {:?}",
                    probe.head.start
                ));
            }
        }
    }
    let rest = timeout(TIMEOUT, dialogue.hear_end()).await;
    let rest = rest.map_err(|_| format!("answered {statuses:?} and did not end"))?;
    if !rest.is_empty() {
        return Err(format!("{statuses:?}, and more: {}", rest.escape_ascii()));
    }
    let expected = routed.expected(case);
    let seen = routed.backend.take()?;
    let told: Vec<String> = seen.iter().map(|request| request.told()).collect();
    let is_prefix = expected.upstream.starts_with(&told);
    if !is_prefix || (told.len() < expected.upstream.len() && !is_refused && !case.ends) {
        return Err(format!(
            "{told:?} went upstream instead of {:?}",
            expected.upstream
        ));
    }
    Ok(())
}

#[tokio::test]
async fn http_1_corpus_leaks_nothing_on_any_kind_of_route() {
    let cases = cases(".http");
    let mut complaints = Vec::new();
    for (kind, base) in on_every_route() {
        let routed = Routed::start(kind, base);
        let probe = kind.forwarded("/public/probe");
        for (name, case, bytes) in &cases {
            let tried = match &probe {
                Some(probe) => {
                    let trial = Trial {
                        doorward: &routed.doorward,
                        backend: &routed.backend,
                        case: &routed.expected(case),
                        bytes,
                        piece: usize::MAX,
                        probe,
                        shares_host: !base.is_empty(),
                    };
                    try_out(trial).await
                }
                None => try_answered(&routed, case, bytes).await,
            };
            if let Err(why) = tried {
                complaints.push(format!("{name} on {kind:?} below {base:?}: {why}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn http_2_corpus_leaks_nothing_on_any_kind_of_route() {
    let cases = cases(".h2");
    let mut complaints = Vec::new();
    for (kind, base) in on_every_route() {
        let routed = Routed::start(kind, base);
        let probe = kind.forwarded("/public/probe");
        for (name, case, bytes) in &cases {
            let text = std::str::from_utf8(bytes).expect("text");
            let mut responses = Vec::new();
            for text in [text, PROBE_HTTP_2] {
                let stream = TcpStream::connect(routed.doorward.address()).await;
                let message = Message::read(text);
                let request = message.request(stream.expect("a connection"));
                responses.push(timeout(TIMEOUT, request).await.ok().flatten());
            }
            let expected = routed.expected(case);
            let went = match &probe {
                Some(probe) => {
                    let first = case.responses.first().copied();
                    if let Some(Some(status)) = responses.first_mut()
                        && *status == 404
                        && !base.is_empty()
                    {
                        *status = first.filter(|first| *first >= 400).unwrap_or(404);
                    }
                    if responses == [first, Some(200)] {
                        judge_with_probe(&expected, &routed.backend, probe)
                    } else {
                        Err(format!("answered {responses:?}"))
                    }
                }
                None => routed.backend.take().and_then(|seen| {
                    let told: Vec<String> = seen.iter().map(|request| request.told()).collect();
                    if told == expected.upstream && responses.last() != Some(&None) {
                        Ok(())
                    } else {
                        Err(format!("answered {responses:?}, upstream: {told:?}"))
                    }
                }),
            };
            if let Err(why) = went {
                complaints.push(format!("{name} on {kind:?} below {base:?}: {why}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn on_every_route() -> impl Iterator<Item = (RouteKind, &'static str)> {
    let kinds = RouteKind::ALL.into_iter();
    kinds.flat_map(|kind| BASES.map(|base| (kind, base)))
}
