//! The text forms of listed sessions.

use std::fmt::Write as _;
use std::time::Duration;

use crate::auth::session_list::query::SessionEntry;
use crate::types::time::Timestamp;

const HEADINGS: [&str; 8] = [
    "SESSION", "USER", "APP", "PROVIDER", "LOGIN", "ACTIVE", "BOUND", "CLIENT",
];

/// The longest text of a cell, in characters.
const MAX_CELL: usize = 60;

/// One line for each session, with times as ages.
pub(super) fn table(sessions: &[SessionEntry], now: Timestamp) -> String {
    let headings = HEADINGS.map(ToOwned::to_owned);
    let rows = sessions.iter().map(|session| row(session, now));
    let rows: Vec<[String; 8]> = std::iter::once(headings).chain(rows).collect();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One line for each value of a session.
pub(super) fn details(session: &SessionEntry, now: Timestamp) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("session", session.session.clone()),
        ("sid", session.sid.clone()),
        ("user", cell(session.user.as_deref())),
        ("app", session.app.clone()),
        ("host", session.host.clone()),
        ("provider", session.provider.clone()),
        ("login", format!("{} ago", age(session.started_at, now))),
        ("active", format!("{} ago", age(session.last_activity, now))),
        ("held by", session.holder.clone()),
        ("bound", is_bound(session).to_owned()),
        ("client", cell(session.program.as_deref())),
        ("network", cell(session.network.as_deref())),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:9} {}", cell(Some(&value)));
    }
    text
}

fn row(session: &SessionEntry, now: Timestamp) -> [String; 8] {
    let client = [session.program.as_deref(), session.network.as_deref()];
    let client: Vec<&str> = client.into_iter().flatten().collect();
    let client = (!client.is_empty()).then(|| client.join(", "));
    [
        cell(Some(&session.session)),
        cell(session.user.as_deref()),
        cell(Some(&session.app)),
        cell(Some(&session.provider)),
        age(session.started_at, now),
        age(session.last_activity, now),
        is_bound(session).to_owned(),
        cell(client.as_deref()),
    ]
}

/// Whether it is bound to a device. Those of native apps never are.
fn is_bound(session: &SessionEntry) -> &'static str {
    if session.device_bound { "yes" } else { "no" }
}

/// A value that cannot control a terminal.
fn cell(value: Option<&str>) -> String {
    let value = value.filter(|value| !value.is_empty()).unwrap_or("-");
    let is_shown =
        |char: char| char == ' ' || char.is_alphanumeric() || char.is_ascii_punctuation();
    let chars = value.chars().take(MAX_CELL);
    chars
        .map(|char| if is_shown(char) { char } else { '?' })
        .collect()
}

/// The time since `at`, in its two largest units.
fn age(at: u64, now: Timestamp) -> String {
    let age: Duration = now.since(Timestamp::from_secs(at));
    let minutes = age.as_secs() / 60;
    let (days, hours) = (minutes / 1440, minutes / 60 % 24);
    match (days, hours) {
        (0, 0) => format!("{minutes}m"),
        (0, hours) => format!("{hours}h{:02}m", minutes % 60),
        (days, hours) => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(user: &str) -> SessionEntry {
        SessionEntry {
            session: "0123456789abcdef".to_owned(),
            sid: "sid".to_owned(),
            user: Some(user.to_owned()),
            app: "store".to_owned(),
            host: "store.example.com".to_owned(),
            provider: "login".to_owned(),
            started_at: 1000,
            last_activity: 1000 + 3600,
            holder: "browser".to_owned(),
            device_bound: user == "alice",
            program: Some("Firefox on Linux".to_owned()),
            network: None,
        }
    }

    #[test]
    fn table_is_aligned_and_shows_no_control_characters() {
        let sessions = [session("alice"), session("b\u{1b}[31m\u{202e}\n")];
        let now = Timestamp::from_secs(1000 + 3600 + 90);
        assert_eq!(
            table(&sessions, now),
            "SESSION           USER      APP    PROVIDER  LOGIN  ACTIVE  BOUND  CLIENT\n\
             0123456789abcdef  alice     store  login     1h01m  1m      yes    Firefox on Linux\n\
             0123456789abcdef  b?[31m??  store  login     1h01m  1m      no     Firefox on Linux\n"
        );
        let text = details(&sessions[1], now);
        assert!(text.contains("user      b?[31m??\n"), "{text}");
        assert!(text.contains("network   -\n"), "{text}");
        assert!(text.contains("bound     no\n"), "{text}");
    }

    #[test]
    fn age_has_its_two_largest_units() {
        for (seconds, expected) in [
            (0, "0m"),
            (59 * 60, "59m"),
            (60 * 60, "1h00m"),
            (26 * 60 * 60 + 5, "1d02h"),
        ] {
            assert_eq!(age(0, Timestamp::from_secs(seconds)), expected);
        }
    }
}
