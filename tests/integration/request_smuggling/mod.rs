//! Request smuggling: any bytes are either refused, or forwarded as the one canonical request that
//! was authorized, with unambiguous framing. The corpus is in
//! `raw`; `raw/cases.toml` has the expected result of each case.

mod capture;
mod frames;
mod framings;
mod http_1;
mod http_2;
mod routes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::capture::Capture;
use crate::support::doorward::{Doorward, Setup};

/// The bytes of one connection and their expected results.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The expected statuses in order. None where the connection or HTTP/2 stream ends without
    /// a response.
    responses: Vec<u16>,
    /// The requests at the backend, in order.
    #[serde(default)]
    upstream: Vec<String>,
    /// Whether the connection ends. If not, the next request on it is served.
    #[serde(default)]
    ends: bool,
    /// Whether it may end, depending on how much of the body had arrived.
    #[serde(default)]
    may_end: bool,
    /// Whether the client disconnects after the bytes.
    #[serde(default)]
    cut: bool,
    /// Fields of the last of these requests.
    #[serde(default)]
    fields: Vec<String>,
}

/// The timeout for an expected response.
const TIMEOUT: Duration = Duration::from_secs(8);
/// A forged identity that must never reach the backend.
const FORGED: &str = "forged";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/request_smuggling/raw")
}

/// The cases with this file extension, with their bytes.
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

/// Doorward in front of the strict backend: `/public/**` is public, the rest needs a login.
fn before(backend: &Capture) -> Doorward {
    let app = app("raw", "", backend);
    Setup::plain().more(&format!("{app}{PUBLIC}")).start()
}

/// The rule of the app `raw`.
const PUBLIC: &str = "[[apps.raw.rules]]\npaths = [\"/public/**\"]\nallow = \"public\"\n";

/// An app in front of the strict backend, which begins at `base`.
fn app(name: &str, base: &str, backend: &Capture) -> String {
    format!(
        "[apps.{name}]\nprovider = \"login\"\npublic_url = \"http://raw.localhost:8080{base}\"\n\
         client_id = \"{name}\"\nupstream = \"http://127.0.0.1:{}\"\n",
        backend.port()
    )
}

/// Compares the requests at the backend with the case. The last one is the probe.
fn judge(case: &Case, backend: &Capture) -> Result<(), String> {
    judge_with_probe(case, backend, "/public/probe")
}

/// The same for another path of the probe.
fn judge_with_probe(case: &Case, backend: &Capture, target: &str) -> Result<(), String> {
    let mut seen = backend.take()?;
    let probe = seen.pop().map(|probe| probe.told());
    let told: Vec<String> = seen.iter().map(capture::CapturedRequest::told).collect();
    if probe != Some(format!("GET {target}")) || told != case.upstream {
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
