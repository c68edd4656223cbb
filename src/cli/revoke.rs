//! `doorward revoke`: ends sessions before their time, at every replica, whatever the provider says of them. The order is
//! sealed here and carried to the admin listener of any replica.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{ArgGroup, Args};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{ConfigArgs, Exit, Output, count, fail};
use crate::admin::ORDERS;
use crate::auth::logout::command::RevocationTarget;
use crate::config::Config;
use crate::server;
use crate::types::net::ListenAddr;
use crate::types::oauth::Subject;
use crate::types::time::{Clock as _, SystemClock};

/// How long the admin listener may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest `sub` or `sid` that replicas tell each other, in bytes.
const MAX_NAME: usize = 1024;

/// Most bytes of its answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// What `revoke` takes.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true).multiple(true).args(["sub", "sid", "app"])))]
pub struct RevokeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The person, by `sub`: every session that began before now
    #[arg(long, value_name = "SUBJECT", conflicts_with = "sid")]
    sub: Option<String>,
    /// One session, by Doorward's or the provider's name of it, as the logs have them
    #[arg(long, value_name = "SESSION")]
    sid: Option<String>,
    /// The app; alone: every session of it that began before now. Without it: all apps
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// The admin listener of a replica; default: the one in the configuration
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<ListenAddr>,
}

/// `doorward revoke`: ends sessions.
///
/// # Errors
/// Nothing can be written any more.
pub fn revoke(
    arguments: &RevokeArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let config = match super::load(&arguments.config.config, variables, output)? {
        Ok(config) => config,
        Err(exit) => return Ok(exit),
    };
    let named = match (&arguments.sub, &arguments.sid) {
        (Some(subject), _) => RevocationTarget::Subject(Subject::new(subject.clone())),
        (None, Some(session)) => RevocationTarget::Session(session.clone()),
        (None, None) => RevocationTarget::Everyone,
    };
    if arguments
        .sub
        .iter()
        .chain(&arguments.sid)
        .any(|name| name.is_empty() || name.len() > MAX_NAME)
    {
        return fail(output, &format_args!("a name has 1 to {MAX_NAME} bytes"));
    }
    let (message, apps) = match orders(&config, &named, arguments.app.as_deref()) {
        Ok(orders) => orders,
        Err(error) => return fail(output, &error),
    };
    let admin = arguments
        .admin
        .clone()
        .unwrap_or_else(|| reachable(&config.server.admin_listen));
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(carry(&admin, message))
    {
        Ok(()) => {
            writeln!(
                output.out,
                "ended in {}: {}",
                count(apps, "app"),
                told(&named)
            )?;
            Ok(Exit::Success)
        }
        Err(error) => fail(
            output,
            &format_args!("nothing is known to have ended: {admin}: {error}"),
        ),
    }
}

fn orders(
    config: &Config,
    named: &RevocationTarget,
    app: Option<&str>,
) -> Result<(String, usize), String> {
    let apps = server::guarded_apps(config).map_err(|error| error.to_string())?;
    let now = SystemClock.now();
    let meant: Vec<_> = apps
        .iter()
        .filter(|candidate| app.is_none_or(|app| candidate.app.name.as_str() == app))
        .collect();
    if let (Some(app), true) = (app, meant.is_empty()) {
        return Err(format!("there is no app `{app}` in the configuration"));
    }
    let messages = meant.iter().map(|app| {
        app.order(named, now)
            .ok_or("the system gives no randomness")
    });
    Ok((messages.collect::<Result<String, _>>()?, meant.len()))
}

fn told(named: &RevocationTarget) -> String {
    match named {
        RevocationTarget::Subject(subject) => format!("all sessions of `{subject}` until now"),
        RevocationTarget::Session(session) => format!("session `{session}`"),
        RevocationTarget::Everyone => "all sessions until now".to_owned(),
    }
}

/// Where a listener on all addresses is found from here.
fn reachable(listen: &ListenAddr) -> ListenAddr {
    match listen {
        ListenAddr::Tcp(address) if address.ip().is_unspecified() => {
            let here = match address.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            ListenAddr::Tcp(SocketAddr::new(here, address.port()))
        }
        ListenAddr::Tcp(_) | ListenAddr::Unix(_) => listen.clone(),
    }
}

async fn carry(admin: &ListenAddr, message: String) -> Result<(), String> {
    let carried = async {
        match admin {
            ListenAddr::Tcp(address) => post(TcpStream::connect(address).await, message).await,
            ListenAddr::Unix(path) => post(UnixStream::connect(path).await, message).await,
        }
    };
    tokio::time::timeout(TIMEOUT, carried)
        .await
        .unwrap_or_else(|_| Err("it takes too long".to_owned()))
}

async fn post<S>(stream: io::Result<S>, message: String) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = stream.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(ORDERS)
        .header(header::HOST, "doorward")
        .body(Full::new(bytes::Bytes::from(message)))
        .map_err(|error| error.to_string())?;
    let asked = async {
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(format!("{status}: {text}"))
        }
    };
    tokio::select! {
        answer = asked => answer,
        Err(error) = connection => Err(error.to_string()),
    }
}
