//! `[server]`: listeners, limits and TLS.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::super::files::Folder;
use super::super::raw::{RawCertificate, RawServer, RawTls};
use super::super::report::{Location, quoted};
use super::super::settings::{ServerConfig, TlsConfig};
use super::super::values::HumanDuration;
use super::listeners::{self, ListenerContext, collide, listen};
use super::{elements, is_host, nonzero};
use crate::downstream::{CertificateFiles, Certificates, ListenerSettings};
use crate::limits::LimiterSettings;
use crate::types::net::ListenAddr;

const ADMIN_LISTEN: &str = "127.0.0.1:9090";
const MAX_CONNECTIONS: usize = 10_000;
const MAX_CONNECTIONS_PER_CLIENT: usize = 1000;
const MAX_WORKERS: usize = 1024;
const MAX_HTTP2_STREAMS: u32 = 100;
const HTTP2_RESET_BURST: u32 = 500;
const HTTP2_RESETS_PER_SECOND: u32 = 100;
const MAX_IN_FLIGHT_REQUESTS: u32 = 10_000;
const MAX_QUEUED_REQUESTS: u32 = 1000;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
const MIN_UPLOAD_RATE: u32 = 512;
const MAX_BYTES_IN_FLIGHT: u32 = 128 * 1024 * 1024;
const MAX_HEADER_BYTES: u32 = 64 * 1024;
const MAX_HEADER_COUNT: u32 = 100;
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(60);
const HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The default of `progressDeadlineSeconds` in Kubernetes.
const STARTUP_PROVIDER_TIMEOUT: Duration = Duration::from_secs(600);
/// Long enough for load balancers to stop sending requests. Kubernetes takes a second or two.
const SHUTDOWN_DELAY: Duration = Duration::from_secs(5);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn check(
    mut raw: RawServer,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<ServerConfig> {
    let trusted_proxies = trusted_proxies(raw.trusted_proxies.take(), &at.key("trusted_proxies"));
    let context = ListenerContext {
        has_tls: raw.tls.is_some(),
        trusts_networks: !trusted_proxies.networks.is_empty(),
        at,
    };
    let listeners = listeners::check(&mut raw, context);
    let admin_listen = listen(
        raw.admin_listen.as_deref().unwrap_or(ADMIN_LISTEN),
        &at.key("admin_listen"),
    );
    if let (Some(listeners), Some(admin)) = (&listeners, &admin_listen)
        && listeners.iter().any(|one| collide(&one.address, admin))
    {
        let key = if raw.admin_listen.is_some() {
            "admin_listen"
        } else {
            "listen"
        };
        at.key(key).error(
            "`listen` and `admin_listen` are the same address",
            "use a separate address for probes and metrics, which clients cannot reach",
        );
    }
    let decision_listen = raw
        .decision_listen
        .take()
        .map(|text| listen(&text, &at.key("decision_listen")));
    if let Some(Some(decision)) = &decision_listen
        && listeners
            .iter()
            .flatten()
            .map(|listener| &listener.address)
            .chain(&admin_listen)
            .any(|other| collide(decision, other))
    {
        at.key("decision_listen").error(
            "`decision_listen` is the address of another listener",
            "use a separate address, which only the proxies in `trusted_proxies` can reach",
        );
    }
    let tls = raw.tls.map(|raw| tls(raw, &at.key("tls"), folder));
    let workers = workers(raw.workers, &at.key("workers"));
    if raw.max_connections == Some(0) {
        at.key("max_connections")
            .error("the limit must not be zero", "the default is 10000");
    }
    if raw.max_connections_per_client == Some(0) {
        let hint = format!("the default is {MAX_CONNECTIONS_PER_CLIENT}");
        at.key("max_connections_per_client")
            .error("the limit must not be zero", hint);
    }
    let trusts_edges = match &decision_listen {
        Some(Some(ListenAddr::Tcp(_))) => !trusted_proxies.networks.is_empty(),
        Some(Some(ListenAddr::Unix(_))) => trusted_proxies.unix_peers,
        Some(None) | None => true,
    };
    if !trusts_edges {
        at.key("decision_listen").error(
            "`decision_listen` needs `trusted_proxies`",
            "list the proxies that may ask for decisions (`unix` for a Unix domain socket): \
             they name the host, the address and the session of each request",
        );
    }
    let admin_hosts = admin_hosts(raw.admin_hosts, &at.key("admin_hosts"));
    let default = ListenerSettings::default();
    let limits = ListenerSettings {
        max_connections: raw.max_connections.map_or(MAX_CONNECTIONS, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        }),
        max_connections_per_client: raw
            .max_connections_per_client
            .map_or(MAX_CONNECTIONS_PER_CLIENT, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            }),
        trusted_proxies: trusted_proxies.networks.clone(),
        max_header_bytes: size(bounded(
            raw.max_header_bytes,
            &at.key("max_header_bytes"),
            "bytes of a request head, cookies included",
            MAX_HEADER_BYTES,
            8192..=1024 * 1024,
        )),
        max_header_count: size(bounded(
            raw.max_header_count,
            &at.key("max_header_count"),
            "fields of a request head",
            MAX_HEADER_COUNT,
            20..=1000,
        )),
        max_http2_streams: bounded(
            raw.max_http2_streams,
            &at.key("max_http2_streams"),
            "concurrent streams",
            MAX_HTTP2_STREAMS,
            1..=1000,
        ),
        max_bytes_in_flight: size(bounded(
            raw.max_bytes_in_flight,
            &at.key("max_bytes_in_flight"),
            "bytes in flight",
            MAX_BYTES_IN_FLIGHT,
            16 * 1024 * 1024..=u32::MAX,
        )),
        http2_reset_burst: bounded(
            raw.http2_reset_burst,
            &at.key("http2_reset_burst"),
            "cancelled requests",
            HTTP2_RESET_BURST,
            20..=100_000,
        ),
        http2_resets_per_second: bounded(
            raw.http2_resets_per_second,
            &at.key("http2_resets_per_second"),
            "cancelled requests",
            HTTP2_RESETS_PER_SECOND,
            0..=10_000,
        ),
        write_stall_timeout: raw
            .write_stall_timeout
            .map_or(WRITE_STALL_TIMEOUT, |duration| {
                nonzero(duration, &at.key("write_stall_timeout"))
            }),
        half_close_timeout: raw
            .half_close_timeout
            .map_or(HALF_CLOSE_TIMEOUT, |HumanDuration(duration)| duration),
        first_byte_timeout: raw
            .first_byte_timeout
            .map_or(FIRST_BYTE_TIMEOUT, |duration| {
                nonzero(duration, &at.key("first_byte_timeout"))
            }),
        header_read_timeout: raw
            .header_read_timeout
            .map_or(HEADER_READ_TIMEOUT, |duration| {
                nonzero(duration, &at.key("header_read_timeout"))
            }),
        keep_alive_timeout: raw
            .keep_alive_timeout
            .map_or(KEEP_ALIVE_TIMEOUT, |duration| {
                nonzero(duration, &at.key("keep_alive_timeout"))
            }),
        tcp_keepalive: keepalive(raw.tcp_keepalive).unwrap_or(default.tcp_keepalive),
        drain_timeout: raw.drain_timeout.map_or(DRAIN_TIMEOUT, |duration| {
            nonzero(duration, &at.key("drain_timeout"))
        }),
        ..default
    };
    let trusts_any = !trusted_proxies.networks.is_empty() || trusted_proxies.unix_peers;
    let from_proxies = |value: Option<bool>, key: &str| {
        if value == Some(true) && !trusts_any {
            at.key(key).error(
                format!("`{key}` needs `trusted_proxies`"),
                "list the proxies in front: the header of any other peer is not read",
            );
        }
        value.unwrap_or(false)
    };
    let forwarded_host = from_proxies(raw.forwarded_host, "forwarded_host");
    let forwarded_proto = from_proxies(raw.forwarded_proto, "forwarded_proto");
    let requests = LimiterSettings {
        max_in_flight: max_in_flight_requests(
            raw.max_in_flight_requests,
            &at.key("max_in_flight_requests"),
        )
        .unwrap_or(size(MAX_IN_FLIGHT_REQUESTS)),
        max_queued: size(bounded(
            raw.max_queued_requests,
            &at.key("max_queued_requests"),
            "queued requests",
            MAX_QUEUED_REQUESTS,
            0..=100_000,
        )),
        queue_timeout: raw.queue_timeout.map_or(QUEUE_TIMEOUT, |duration| {
            nonzero(duration, &at.key("queue_timeout"))
        }),
    };
    let forwarded_header = raw.forwarded_header.unwrap_or_default();
    let tls = tls.map_or(Some(None), |tls| tls.map(Some))?;
    let decision_listen = decision_listen.map_or(Some(None), |address| address.map(Some))?;
    Some(ServerConfig {
        listeners: listeners?,
        admin_listen: admin_listen?,
        decision_listen,
        admin_hosts,
        tls,
        trusted_proxies: trusted_proxies.networks,
        trusts_unix_peers: trusted_proxies.unix_peers,
        forwarded_header,
        forwarded_host,
        forwarded_proto,
        workers,
        requests,
        min_upload_rate: bounded(
            raw.min_upload_rate,
            &at.key("min_upload_rate"),
            "bytes per second",
            MIN_UPLOAD_RATE,
            0..=1024 * 1024,
        ),
        watch_files: raw.watch_files.unwrap_or(true),
        startup_provider_timeout: or_default(
            raw.startup_provider_timeout,
            STARTUP_PROVIDER_TIMEOUT,
        ),
        shutdown_delay: or_default(raw.shutdown_delay, SHUTDOWN_DELAY),
        limits,
    })
}

fn or_default(value: Option<HumanDuration>, default: Duration) -> Duration {
    value.map_or(default, |HumanDuration(duration)| duration)
}

fn workers(raw: Option<u32>, at: &Location<'_>) -> NonZeroUsize {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let Some(number) = raw else { return cores };
    match usize::try_from(number)
        .ok()
        .filter(|number| *number <= MAX_WORKERS)
        .and_then(NonZeroUsize::new)
    {
        Some(workers) => workers,
        None => {
            let hint = format!(
                "from 1 to {MAX_WORKERS}; the default is the number of cores, here {cores}"
            );
            at.error(
                format!("{} is not a valid number of workers", quoted(number)),
                hint,
            );
            cores
        }
    }
}

/// A number within `bounds`. `what` names it in the message.
pub(super) fn bounded(
    raw: Option<u32>,
    at: &Location<'_>,
    what: &str,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> u32 {
    match raw {
        Some(number) if !bounds.contains(&number) => {
            let hint = format!(
                "from {} to {}; the default is {default}",
                bounds.start(),
                bounds.end()
            );
            at.error(
                format!("{} is not a valid number of {what}", quoted(number)),
                hint,
            );
            default
        }
        Some(number) => number,
        None => default,
    }
}

/// The idle time before TCP keepalive probes. `Some(None)` if they are switched off.
pub(super) fn keepalive(raw: Option<HumanDuration>) -> Option<Option<Duration>> {
    raw.map(|HumanDuration(idle)| (!idle.is_zero()).then_some(idle))
}

/// The limit of requests in flight, of the server or of an app.
pub(super) fn max_in_flight_requests(raw: Option<u32>, at: &Location<'_>) -> Option<usize> {
    let bounds = 1..=1_000_000;
    raw.map(|limit| {
        size(bounded(
            Some(limit),
            at,
            "requests in flight",
            MAX_IN_FLIGHT_REQUESTS,
            bounds,
        ))
    })
}

pub(super) fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn admin_hosts(raw: Option<super::List<String>>, at: &Location<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (at, host) in elements(raw, at) {
        if is_host(&host) {
            hosts.push(host.to_ascii_lowercase());
        } else {
            let hint = "a host name without a port, such as `doorward.example.com`";
            at.error(format!("{} is not a host name", quoted(&host)), hint);
        }
    }
    hosts
}

/// The proxies that are trusted.
#[derive(Default)]
struct Trusted {
    networks: Vec<IpNet>,
    unix_peers: bool,
}

fn trusted_proxies(raw: Option<super::List<String>>, at: &Location<'_>) -> Trusted {
    let mut trusted = Trusted::default();
    for (at, text) in elements(raw, at) {
        if text == "unix" {
            trusted.unix_peers = true;
            continue;
        }
        match text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        {
            Ok(network) if network.prefix_len() == 0 => at.error(
                format!("{} matches every address", quoted(&text)),
                "list only the addresses of your proxies: a trusted proxy can claim any client address",
            ),
            Ok(network) if network.trunc() != network => at.error(
                format!("{} has bits set beyond its prefix", quoted(&text)),
                format!("did you mean `{}`?", network.trunc()),
            ),
            Ok(network) => trusted.networks.push(network),
            Err(_) => at.error(
                format!("{} is not a network", quoted(&text)),
                "for example `10.0.0.0/8` or `fd00::/8`, or `unix` for a Unix domain socket",
            ),
        }
    }
    trusted
}

fn tls(raw: RawTls, at: &Location<'_>, folder: &Folder) -> Option<TlsConfig> {
    let first = certificate_files(
        RawCertificate {
            cert_file: raw.cert_file,
            key_file: raw.key_file,
        },
        at,
        folder,
    );
    let more: Vec<_> = elements(raw.certificates, &at.key("certificates"))
        .map(|(at, certificate)| certificate_files(certificate, &at, folder))
        .collect();
    let client_ca_file = raw.client_ca_file.map(|name| {
        let at = at.key("client_ca_file");
        let path = folder.file_path(&at, &name)?;
        folder.certificates(&at, &name)?;
        Some(path)
    });
    let files = std::iter::once(first)
        .chain(more)
        .collect::<Option<Vec<_>>>()?;
    let client_ca_file = client_ca_file.map_or(Some(None), |file| file.map(Some))?;
    let read = Certificates::read_with(files, client_ca_file).and_then(|certificates| {
        let config = certificates.server_config()?;
        Ok(TlsConfig {
            certificates,
            config,
            // Set when the apps are known.
            hosts: Vec::new(),
        })
    });
    read.map_err(|error| {
        at.error(
            error.to_string(),
            "the files may have changed while they were read: try again",
        )
    })
    .ok()
}

/// A certificate with its matching key.
fn certificate_files(
    raw: RawCertificate,
    at: &Location<'_>,
    folder: &Folder,
) -> Option<CertificateFiles> {
    let cert_file = at.required(
        "cert_file",
        raw.cert_file,
        "the certificate with its chain, in PEM",
    );
    let key_file = at.required(
        "key_file",
        raw.key_file,
        "the private key of the certificate, in PEM",
    );
    let chain = cert_file
        .as_deref()
        .and_then(|name| folder.certificates(&at.key("cert_file"), name));
    let key = key_file
        .as_deref()
        .and_then(|name| check_private_key(&at.key("key_file"), name, folder));
    chain?;
    key?;
    let files = CertificateFiles {
        cert_file: folder.file_path(&at.key("cert_file"), &cert_file?)?,
        key_file: folder.file_path(&at.key("key_file"), &key_file?)?,
    };
    match Certificates::read(vec![files.clone()]) {
        Ok(_) => Some(files),
        Err(error) => {
            at.key("key_file").error(
                error.to_string(),
                "use the key that the certificate was issued for",
            );
            None
        }
    }
}

/// Checks that a file holds a valid private key.
pub(super) fn check_private_key(at: &Location<'_>, name: &str, folder: &Folder) -> Option<()> {
    let text = folder.private_text(at, name)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) if provider.load_private_key(key.clone_key()).is_ok() => Some(()),
        Ok(_) => {
            at.error(
                format!(
                    "the key in the file {} cannot be used for TLS",
                    quoted(name)
                ),
                "use RSA with 2048 to 8192 bits, ECDSA with P-256, P-384 or P-521, or Ed25519",
            );
            None
        }
        Err(_) => {
            let hint = "a key in PEM without a password begins with `-----BEGIN PRIVATE KEY-----`";
            at.error(
                format!("the file {} holds no valid private key", quoted(name)),
                hint,
            );
            None
        }
    }
}
