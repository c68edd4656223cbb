//! One canonical request: whatever bytes come in, either they are refused, or what was judged is
//! what the backend gets, in one framing that nobody can read in two ways. The bytes are files in
//! `raw`; `raw/cases.toml` says what may come of each.

mod capture;
mod frames;
mod framings;
mod http_1;
mod http_2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::capture::Capture;
use crate::support::doorward::{Doorward, Setup};

/// The bytes of one connection, and what may come of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The statuses, in order; none where the connection, or over HTTP/2 the stream, ends without
    /// an answer.
    answers: Vec<u16>,
    /// What the backend gets, in order.
    #[serde(default)]
    upstream: Vec<String>,
    /// Whether the connection ends; where it does not, the next request on it is served.
    #[serde(default)]
    ends: bool,
    /// Whether it may end as well: by how much of the body was there when the answer was.
    #[serde(default)]
    may_end: bool,
    /// Whether the client goes away after the bytes.
    #[serde(default)]
    cut: bool,
    /// Fields that the last of these requests has.
    #[serde(default)]
    fields: Vec<String>,
}

/// How long what must come may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// A name that no request may bring to the backend, nor any other word of a forger's.
const FORGED: &str = "forged";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/request_smuggling/raw")
}

/// The cases whose file has this ending, each with its bytes.
fn cases(ending: &str) -> Vec<(String, Case, Vec<u8>)> {
    let text = std::fs::read_to_string(folder().join("cases.toml")).expect("the list of cases");
    let cases: BTreeMap<String, Case> =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    let files = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("a file").file_name());
    for file in files
        .map(|name| name.into_string().expect("a name"))
        .filter(|name| name != "cases.toml")
    {
        assert!(cases.contains_key(&file), "{file} is in no list");
    }
    let of_kind = cases.into_iter().filter(|(name, _)| name.ends_with(ending));
    of_kind
        .map(|(name, case)| {
            let bytes = std::fs::read(folder().join(&name))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, case, bytes)
        })
        .collect()
}

/// Before a backend that reads strictly: `/public/**` is everyone's, the rest needs a login.
fn before(backend: &Capture) -> Doorward {
    let app = format!(
        "[apps.raw]\nprovider = \"login\"\npublic_url = \"http://raw.localhost:8080\"\nclient_id = \"raw\"\n\
         upstream = \"http://127.0.0.1:{}\"\n[[apps.raw.rules]]\npaths = [\"/public/**\"]\nallow = \"public\"\n",
        backend.port()
    );
    Setup::plain().more(&app).start()
}

/// What the backend got of a case, held against the list.
fn judge(case: &Case, backend: &Capture) -> Result<(), String> {
    let mut seen = backend.take()?;
    let probe = seen.pop().map(|probe| probe.told());
    let told: Vec<String> = seen.iter().map(capture::LastActivity::told).collect();
    if probe.as_deref() != Some("GET /public/probe") || told != case.upstream {
        return Err(format!(
            "{told:?} and then {probe:?} went upstream instead of {:?}",
            case.upstream
        ));
    }
    let mut fields = seen.iter().flat_map(|request| &request.fields);
    if let Some(forged) =
        fields.find(|(name, value)| name.contains(FORGED) || value.contains(FORGED))
    {
        return Err(format!("{forged:?} went upstream"));
    }
    for line in &case.fields {
        let (field, value) = line.split_once(": ").ok_or("no field")?;
        let last = seen.last().and_then(|request| request.field(field));
        if last != Some(value) {
            return Err(format!("{field} is {last:?} instead of {value:?}"));
        }
    }
    Ok(())
}
