//! `doorward revoke`: revokes sessions at all replicas. The command is sealed here and sent to the
//! admin listener of any replica.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use http::StatusCode;

use super::admin_client::{Response, admin_of, post};
use super::revoke_until::Until;
use super::{ConfigArgs, Exit, Output, count, fail};
use crate::admin::{NOT_PUBLISHED, REVOKE_PATH};
use crate::auth::app::AppAuth;
use crate::auth::revocation::command::RevocationTarget;
use crate::auth::revocation::publication::Reach;
use crate::config::Config;
use crate::server;
use crate::types::net::ListenAddr;
use crate::types::oauth::Subject;
use crate::types::time::{Clock as _, SystemClock, Timestamp};

/// The longest `sub` or `sid` that is replicated, in bytes.
const MAX_NAME: usize = 1024;

/// The options of `doorward revoke`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("sessions").required(true).multiple(true).args(["sub", "sid", "app"])))]
pub struct RevokeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A user, by `sub`: all sessions that started before now
    #[arg(
        long,
        value_name = "SUBJECT",
        allow_hyphen_values = true,
        conflicts_with = "sid"
    )]
    sub: Option<String>,
    /// A single session, by the `sid` or `provider_sid` of the event `session_started`
    #[arg(long, value_name = "SESSION", allow_hyphen_values = true)]
    sid: Option<String>,
    /// With `--sub`: the user may not log in until this time, such as `8h` from now
    #[arg(long, value_name = "TIME", requires = "sub", value_parser = Until::parse)]
    until: Option<Until>,
    /// With `--sub`: revoke nothing, and let a user log in again who was blocked by `--until`
    #[arg(long, requires = "sub", conflicts_with = "until")]
    unblock: bool,
    /// Only this app [default: all apps]. Alone: all its sessions that started before now
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Only sessions of this provider, for apps with several [default: all of them]
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// The admin listener of a replica [default: `admin_listen` in the configuration]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<ListenAddr>,
}

/// `doorward revoke`: revokes sessions.
///
/// # Errors
/// The output cannot be written.
pub fn revoke(
    arguments: &RevokeArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let config = match super::load(arguments.config.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded.config,
        Err(exit) => return Ok(exit),
    };
    let now = SystemClock.now();
    let target = target(arguments, now);
    if let RevocationTarget::Blocked(_, until) = &target
        && *until <= now
    {
        return fail(output, &"`--until` is not in the future");
    }
    if arguments
        .sub
        .iter()
        .chain(&arguments.sid)
        .any(|name| name.is_empty() || name.len() > MAX_NAME)
    {
        return fail(
            output,
            &format_args!("`--sub` and `--sid` must have 1 to {MAX_NAME} bytes"),
        );
    }
    let selection = Selection {
        app: arguments.app.as_deref(),
        provider: arguments.provider.as_deref(),
    };
    let command = match seal(&config, &target, &selection, now) {
        Ok(command) => command,
        Err(error) => return fail(output, &error),
    };
    let admin = admin_of(arguments.admin.as_ref(), &config);
    match send(&admin, command.message)? {
        Ok(reach) => {
            writeln!(
                output.out,
                "{} in {}",
                described(&target),
                count(command.apps, "app"),
            )?;
            if let Some(note) = note(&target) {
                writeln!(output.err, "note: {note}")?;
            }
            match reach {
                Reach::Published => Ok(Exit::Success),
                Reach::LocalOnly => {
                    writeln!(output.err, "warning: {admin}: {NOT_PUBLISHED}")?;
                    Ok(Exit::Pending)
                }
            }
        }
        Err(error) => fail(
            output,
            &format_args!("revocation not confirmed: {admin}: {error}"),
        ),
    }
}

/// A sealed command, with the number of its apps.
struct SealedCommand {
    message: String,
    apps: usize,
}

/// The apps of a command.
struct Selection<'a> {
    app: Option<&'a str>,
    provider: Option<&'a str>,
}

fn target(arguments: &RevokeArgs, now: Timestamp) -> RevocationTarget {
    let subject = |subject: &String| Subject::new(subject.clone());
    match (&arguments.sub, &arguments.sid, arguments.until) {
        (Some(sub), _, _) if arguments.unblock => RevocationTarget::Unblocked(subject(sub)),
        (Some(sub), _, Some(until)) => RevocationTarget::Blocked(subject(sub), until.at(now)),
        (Some(sub), _, None) => RevocationTarget::Subject(subject(sub)),
        (None, Some(session), _) => RevocationTarget::Session(session.clone()),
        (None, None, _) => RevocationTarget::Everyone,
    }
}

fn seal(
    config: &Config,
    target: &RevocationTarget,
    selection: &Selection<'_>,
    now: Timestamp,
) -> Result<SealedCommand, String> {
    let apps = server::apps(config).map_err(|error| error.to_string())?;
    let Selection { app, provider } = selection;
    let named = apps
        .iter()
        .filter(|candidate| app.is_none_or(|app| candidate.app.name.as_str() == app));
    let named: Vec<_> = named.collect();
    if let (Some(app), true) = (app, named.is_empty()) {
        return Err(format!("unknown app `{app}`"));
    }
    let is_at = |candidate: &&Arc<AppAuth>| {
        let name = candidate.provider.settings().name.as_str();
        provider.is_none_or(|provider| name == provider)
    };
    let selected: Vec<_> = named.into_iter().filter(is_at).collect();
    if let (Some(provider), true) = (provider, selected.is_empty()) {
        return Err(format!("no app uses the provider `{provider}`"));
    }
    let messages = selected.iter().map(|app| {
        target
            .sealed_commands(app, now)
            .ok_or("the random number generator failed")
    });
    let names: BTreeSet<&str> = selected.iter().map(|app| app.app.name.as_str()).collect();
    Ok(SealedCommand {
        message: messages.collect::<Result<String, _>>()?,
        apps: names.len(),
    })
}

fn described(target: &RevocationTarget) -> String {
    match target {
        RevocationTarget::Subject(subject) => {
            format!("revoked: all sessions of `{subject}` until now,")
        }
        RevocationTarget::Blocked(subject, _) => {
            format!("revoked and blocked: all sessions of `{subject}`,")
        }
        RevocationTarget::Unblocked(subject) => format!("`{subject}` may log in again"),
        RevocationTarget::Session(session) => format!("revoked: session `{session}`"),
        RevocationTarget::Listed(session) => format!("revoked: session `{session}`"),
        RevocationTarget::Everyone => "revoked: all sessions until now".to_owned(),
    }
}

/// The limits of a revocation.
const fn note(target: &RevocationTarget) -> Option<&'static str> {
    match target {
        RevocationTarget::Subject(_) => Some(
            "a name without sessions is accepted too. A session at the provider can log the user \
             straight in again; end it there, or block the user with `--until`",
        ),
        RevocationTarget::Session(_) => Some(
            "a name without a session is accepted too. A session at the provider can log the user \
             straight in again; end it there",
        ),
        RevocationTarget::Listed(_) => {
            Some("a session at the provider can log the user straight in again; end it there")
        }
        RevocationTarget::Blocked(..)
        | RevocationTarget::Unblocked(_)
        | RevocationTarget::Everyone => None,
    }
}

/// Sends a command. The error says why it was not applied.
pub(super) fn send(admin: &ListenAddr, message: String) -> io::Result<Result<Reach, String>> {
    let response = match post(admin, REVOKE_PATH, message)? {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    Ok(match response {
        Response {
            status: StatusCode::OK,
            ..
        } => Ok(Reach::Published),
        Response {
            status: StatusCode::ACCEPTED,
            ..
        } => Ok(Reach::LocalOnly),
        Response { status, text } => Err(format!("{status}: {text}")),
    })
}
