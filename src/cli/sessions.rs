//! `doorward sessions`: lists the sessions that a running server has seen, and ends them. Queries and
//! revocations are sealed here and sent to the admin listener.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::StatusCode;

use super::admin_client::{Response, admin_of, post};
use super::explain::Format;
use super::revoke::send;
use super::session_table::{details, table};
use super::{ConfigArgs, Exit, Output, count, fail};
use crate::admin::{NOT_PUBLISHED, SESSIONS_PATH};
use crate::auth::app::AppAuth;
use crate::auth::revocation::command::RevocationTarget;
use crate::auth::revocation::publication::Reach;
use crate::auth::session_list::query::{SessionEntry, SessionQuery, SessionReport};
use crate::config::{self, Config};
use crate::proxy::log_names::LoggedUser;
use crate::server;
use crate::types::net::ListenAddr;
use crate::types::oauth::SessionId;
use crate::types::time::{Clock as _, SystemClock, Timestamp};

/// The most sessions that one command shows or ends.
const MAX_SESSIONS: usize = 1_000_000;

/// The most sessions that one message ends.
const ENDED_AT_ONCE: usize = 500;

/// The options of `doorward sessions`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// List the sessions that were used within the idle timeout, the most recent first
    List(ListArgs),
    /// Show one session
    Show(ShowArgs),
    /// End sessions at all replicas
    End(EndArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The most sessions to show
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
    /// The format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The session: its name in the logs and in the list, or its `sid`
    #[arg(allow_hyphen_values = true)]
    session: String,
    #[command(flatten)]
    server: ServerArgs,
    /// The format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct EndArgs {
    /// A session: its name in the logs and in the list, or its `sid`
    #[arg(allow_hyphen_values = true)]
    session: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

/// The server that is asked.
#[derive(Debug, Args)]
struct ServerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin listener of a replica [default: `admin_listen` in the configuration]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<ListenAddr>,
}

/// Which sessions. All conditions must hold.
#[derive(Debug, Args)]
struct FilterArgs {
    /// Of a user, by `sub` or by the name in the list
    #[arg(long, value_name = "USER", allow_hyphen_values = true)]
    user: Option<String>,
    /// Of a user, by e-mail address, if `session.list.user` is `{email}`
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// At an app
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Of a provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// With a login at least so long ago, such as `8h`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Without activity for at least so long, such as `20m`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle_for: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .map_err(|_| "use a duration such as `20m`, `8h` or `30d`".to_owned())
}

impl FilterArgs {
    fn is_empty(&self) -> bool {
        self.query() == SessionQuery::default()
    }

    fn query(&self) -> SessionQuery {
        let seconds = |duration: Option<Duration>| duration.unwrap_or_default().as_secs();
        SessionQuery {
            user: self.user.clone(),
            email: self.email.clone(),
            app: self.app.clone(),
            provider: self.provider.clone(),
            min_age: seconds(self.older_than),
            min_idle: seconds(self.idle_for),
            ..SessionQuery::default()
        }
    }
}

/// `doorward sessions`: lists, shows or ends sessions.
///
/// # Errors
/// The output cannot be written.
pub fn sessions(
    arguments: &SessionsArgs,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    output: &mut Output<'_>,
) -> io::Result<Exit> {
    let server = match &arguments.command {
        SessionsCommand::List(arguments) => &arguments.server,
        SessionsCommand::Show(arguments) => &arguments.server,
        SessionsCommand::End(arguments) => &arguments.server,
    };
    let config = match super::load(server.config.config.as_deref(), variables, output)? {
        Ok(loaded) => loaded.config,
        Err(exit) => return Ok(exit),
    };
    let server = Server {
        admin: admin_of(server.admin.as_ref(), &config),
        config,
    };
    let email = match &arguments.command {
        SessionsCommand::List(arguments) => arguments.filter.email.as_ref(),
        SessionsCommand::Show(_) => None,
        SessionsCommand::End(arguments) => arguments.filter.email.as_ref(),
    };
    if email.is_some() && !server.lists_emails() {
        return fail(output, &"`--email` needs `session.list.user = \"{email}\"`");
    }
    match &arguments.command {
        SessionsCommand::List(arguments) => server.list(arguments, output),
        SessionsCommand::Show(arguments) => server.show(arguments, output),
        SessionsCommand::End(arguments) => server.end(arguments, output),
    }
}

/// A running server, with the configuration that has its keys.
struct Server {
    admin: ListenAddr,
    config: Config,
}

impl Server {
    /// Whether the list names users by their e-mail addresses.
    fn lists_emails(&self) -> bool {
        let user = self.config.session_list.user.as_ref();
        match user.unwrap_or(&self.config.log.user) {
            LoggedUser::Claims(template) => template.claims().any(|claim| claim == "email"),
            LoggedUser::Hash | LoggedUser::None => false,
        }
    }

    fn list(&self, arguments: &ListArgs, output: &mut Output<'_>) -> io::Result<Exit> {
        let mut found = match self.find(arguments.filter.query(), MAX_SESSIONS)? {
            Ok(found) => found,
            Err(error) => return fail(output, &error),
        };
        found.is_cut = found.sessions.len() > arguments.limit;
        found.sessions.truncate(arguments.limit);
        match arguments.format {
            Format::Json => write_json(&found, output)?,
            Format::Text => {
                let now = SystemClock.now();
                let table = table(&found.sessions, now);
                output.out.write_all(table.as_bytes())?;
                self.write_notes(&found, now, output)?;
            }
        }
        Ok(Exit::Success)
    }

    fn show(&self, arguments: &ShowArgs, output: &mut Output<'_>) -> io::Result<Exit> {
        let query = SessionQuery {
            session: Some(arguments.session.clone()),
            ..SessionQuery::default()
        };
        let found = match self.find(query, 1)? {
            Ok(found) => found,
            Err(error) => return fail(output, &error),
        };
        let Some(session) = found.sessions.first() else {
            self.write_notes(&found, SystemClock.now(), output)?;
            return fail(output, &NoSuchSession(&arguments.session));
        };
        match arguments.format {
            Format::Json => write_json(session, output)?,
            Format::Text => {
                let text = details(session, SystemClock.now());
                output.out.write_all(text.as_bytes())?;
            }
        }
        Ok(Exit::Success)
    }

    fn end(&self, arguments: &EndArgs, output: &mut Output<'_>) -> io::Result<Exit> {
        if arguments.session.is_none() && arguments.filter.is_empty() {
            writeln!(
                output.err,
                "error: name a session, or a condition such as `--user`; `doorward revoke --app` ends all sessions of an app"
            )?;
            return Ok(Exit::Usage);
        }
        let query = SessionQuery {
            session: arguments.session.clone(),
            ..arguments.filter.query()
        };
        let found = match self.find(query, MAX_SESSIONS)? {
            Ok(found) => found,
            Err(error) => return fail(output, &error),
        };
        if let (Some(session), true) = (&arguments.session, found.sessions.is_empty()) {
            self.write_notes(&found, SystemClock.now(), output)?;
            return fail(output, &NoSuchSession(session));
        }
        let mut reach = Reach::Published;
        for part in found.sessions.chunks(ENDED_AT_ONCE) {
            let message = match self.revocations(part) {
                Ok(message) => message,
                Err(error) => return fail(output, &error),
            };
            match send(&self.admin, message)? {
                Ok(of_part) => reach = reach.and(of_part),
                Err(error) => {
                    let admin = &self.admin;
                    return fail(output, &format_args!("not confirmed: {admin}: {error}"));
                }
            }
        }
        writeln!(
            output.out,
            "ended: {}",
            count(found.sessions.len(), "session")
        )?;
        if arguments.session.is_none() {
            self.write_notes(&found, SystemClock.now(), output)?;
            writeln!(
                output.err,
                "note: sessions that are not in the list go on; `doorward revoke` ends those of a \
                 user or an app too"
            )?;
        }
        match reach {
            Reach::Published => Ok(Exit::Success),
            Reach::LocalOnly => {
                writeln!(output.err, "warning: {}: {NOT_PUBLISHED}", self.admin)?;
                Ok(Exit::Pending)
            }
        }
    }

    /// The sessions of a query, the most recent first. Not all of them if there are more than `enough`.
    /// The inner error says why there is no list.
    fn find(
        &self,
        mut query: SessionQuery,
        enough: usize,
    ) -> io::Result<Result<SessionReport, String>> {
        // By ID: a session may be seen again while the pages are read.
        let mut sessions = BTreeMap::new();
        loop {
            query.given_at = SystemClock.now();
            let report = match self.page(&query)? {
                Ok(report) => report,
                Err(error) => return Ok(Err(error)),
            };
            for session in report.sessions {
                sessions.insert(session.sid.clone(), session);
            }
            query.after = report.next;
            if query.after.is_none() || sessions.len() >= enough {
                let mut sessions: Vec<SessionEntry> = sessions.into_values().collect();
                sessions.sort_by_key(|session| std::cmp::Reverse(session.last_activity));
                return Ok(Ok(SessionReport {
                    sessions,
                    next: query.after,
                    ..report
                }));
            }
        }
    }

    fn page(&self, query: &SessionQuery) -> io::Result<Result<SessionReport, String>> {
        let message = match server::session_query(&self.config, query) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Err("the random number generator failed".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let admin = &self.admin;
        let response = match post(admin, SESSIONS_PATH, message)? {
            Ok(response) => response,
            Err(error) => return Ok(Err(format!("no list: {admin}: {error}"))),
        };
        let Response { status, text } = response;
        if status != StatusCode::OK {
            return Ok(Err(format!("no list: {admin}: {status}: {text}")));
        }
        let report = serde_json::from_str(&text);
        Ok(report.map_err(|error| format!("no list: {admin}: {error}")))
    }

    /// The message that ends these sessions.
    fn revocations(&self, sessions: &[SessionEntry]) -> Result<String, String> {
        let apps = server::apps(&self.config).map_err(|error| error.to_string())?;
        let named = apps.iter().map(|app| {
            let provider = app.provider.settings().name.as_str();
            ((app.app.name.as_str(), provider), app)
        });
        let named: HashMap<_, &Arc<AppAuth>> = named.collect();
        let now = SystemClock.now();
        let messages = sessions.iter().map(|session| {
            let SessionEntry {
                app, provider, sid, ..
            } = session;
            let found = named.get(&(app.as_str(), provider.as_str()));
            let found =
                found.ok_or_else(|| format!("unknown app `{app}` at provider `{provider}`"))?;
            let target = RevocationTarget::Listed(SessionId::new(sid.as_str()));
            let message = target.sealed_commands(found, now);
            message.ok_or_else(|| "the random number generator failed".to_owned())
        });
        messages.collect()
    }

    /// The limits of the list.
    fn write_notes(
        &self,
        found: &SessionReport,
        now: Timestamp,
        output: &mut Output<'_>,
    ) -> io::Result<()> {
        let admin = &self.admin;
        if !found.enabled {
            return writeln!(
                output.err,
                "note: {admin} lists no sessions: `session.list.max_sessions` is 0"
            );
        }
        if !found.is_complete {
            writeln!(
                output.err,
                "warning: the store does not answer {admin}: sessions of other replicas are missing"
            )?;
        }
        if found.is_shared {
            return write_cut(found, output);
        }
        let minutes = now.since(Timestamp::from_secs(found.since)).as_secs() / 60;
        writeln!(
            output.err,
            "note: {admin} lists what it has seen within {minutes} minutes since its start"
        )?;
        write_cut(found, output)
    }
}

/// Whether there are more sessions than were asked for.
fn write_cut(found: &SessionReport, output: &mut Output<'_>) -> io::Result<()> {
    if found.is_cut || found.next.is_some() {
        writeln!(output.err, "note: there are more sessions; see `--limit`")?;
    }
    Ok(())
}

/// No session has this name.
struct NoSuchSession<'s>(&'s str);

impl std::fmt::Display for NoSuchSession<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the list has no session `{}`", self.0.escape_debug())
    }
}

fn write_json(value: &impl serde::Serialize, output: &mut Output<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *output.out, value)?;
    writeln!(output.out)
}
