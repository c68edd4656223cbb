//! The demo's output: addresses and users at the start, then one line for each event.

use std::io::{self, Write};

use tokio::sync::mpsc::Receiver;

use super::Demo;
use super::provider::Event;

/// The provider's events as lines of text.
pub struct EventLog(Receiver<Event>);

impl EventLog {
    pub(super) const fn new(events: Receiver<Event>) -> Self {
        Self(events)
    }

    /// The next line, without a line break. `None`: the provider has stopped.
    pub async fn next_line(&mut self) -> Option<String> {
        self.0.recv().await.map(|event| line(&event))
    }

    /// Writes each event to `out`, until the provider stops.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub async fn write_to(mut self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        while let Some(line) = self.next_line().await {
            writeln!(out, "{line}")?;
            out.flush()?;
        }
        Ok(())
    }
}

impl Demo {
    /// The text shown at the start: addresses, users, and what to try.
    pub fn greeting(&self) -> String {
        let users: Vec<String> = self
            .users
            .iter()
            .map(|user| match user.roles.as_slice() {
                [] => format!("  {0} / {0}   not registered for any app", user.username),
                roles => format!("  {0} / {0}   roles: {1}", user.username, roles.join(", ")),
            })
            .collect();
        let by_webhook = match &self.fusionauth {
            Some(_) => format!(
                "The provider emulates FusionAuth, according to its documentation. Sign out everywhere at {}/: a webhook\n\
                 ends the sessions of both apps.\n",
                self.issuer
            ),
            None => String::new(),
        };
        format!(
            "The store     {store}/\n\
             The forum     {forum}/\n\
             The provider  {issuer}/\n\
             \n\
             Names and passwords:\n{users}\n\
             \n\
             Sign in at {store}/shopping-cart, then open {forum}/posts: single sign-on, without a form.\n\
             JWTs expire after {seconds} s: reload then to see a refresh. Only bob can open {store}/admin.\n\
             To act as a native app, run tests/native/journey {store} alice alice {seconds}\n\
             {by_webhook}",
            store = self.links.store,
            forum = self.links.forum,
            issuer = self.issuer,
            users = users.join("\n"),
            seconds = self.jwt_lifetime.as_secs(),
        )
    }
}

fn line(event: &Event) -> String {
    let (name, text) = match event {
        Event::FormShown { client } => ("form", format!("the login form was shown for {client}")),
        Event::SignInRefused { client } => (
            "rejected",
            format!("a login for {client} failed: wrong name or password"),
        ),
        Event::SignedIn { user, client } => ("login", format!("{user} signed in for {client}")),
        Event::SignOnReused { user, client } => (
            "sign-on",
            format!("{user} was signed in already: {client} got a code without a form"),
        ),
        Event::CodeExchanged { user, client } => (
            "code",
            format!("{client} exchanged its code for {user}'s tokens"),
        ),
        Event::CodeRefused { client, reason } => (
            "rejected",
            format!("a code of {client} was rejected: {reason}"),
        ),
        Event::PasswordGranted { user, client } => (
            "password",
            format!("{client} got {user}'s tokens by password"),
        ),
        Event::Refreshed { user, client } => {
            ("refresh", format!("{client} refreshed {user}'s tokens"))
        }
        Event::RefreshRefused { client, reason } => (
            "rejected",
            format!("a refresh token of {client} was rejected: {reason}"),
        ),
        Event::ReuseDetected { user, client } => (
            "reuse",
            format!("{client} reused a refresh token of {user}: the token family is revoked"),
        ),
        Event::Revoked { user, client } => (
            "revoked",
            format!("{client} revoked {user}'s refresh token"),
        ),
        Event::SignedOut { user } => ("logout", format!("{user} signed out")),
        Event::WebhookSent => (
            "webhook",
            "sent to the apps: tokens were revoked".to_owned(),
        ),
        Event::WebhookLost => ("webhook", "dropped: the queue is full".to_owned()),
    };
    format!("{name:<9} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_a_column_for_the_event_name() {
        let event = Event::SignedIn {
            user: "alice".into(),
            client: "store".into(),
        };
        assert_eq!(line(&event), "login     alice signed in for store");
        assert_eq!(
            line(&Event::SignedOut { user: "bob".into() }),
            "logout    bob signed out"
        );
    }
}
