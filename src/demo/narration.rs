//! What the demonstration says: where things are and who may sign in, then one line for each event.

use std::io::{self, Write};

use tokio::sync::mpsc::Receiver;

use super::Demo;
use super::provider::Event;

/// Tells what happens at the provider, line by line.
pub struct Narration(Receiver<Event>);

impl Narration {
    pub(super) const fn new(events: Receiver<Event>) -> Self {
        Self(events)
    }

    /// The next line, without a line break; `None` when the provider has stopped.
    pub async fn next_line(&mut self) -> Option<String> {
        self.0.recv().await.map(|event| line(&event))
    }

    /// Writes each line to `out` as its event happens, until the provider stops.
    ///
    /// # Errors
    /// `out` cannot be written to.
    pub async fn write_to(mut self, out: &mut (dyn Write + Send)) -> io::Result<()> {
        while let Some(line) = self.next_line().await {
            writeln!(out, "{line}")?;
            out.flush()?;
        }
        Ok(())
    }
}

impl Demo {
    /// What to read before anything has happened: addresses, people, and what to try.
    pub fn greeting(&self) -> String {
        let people: Vec<String> = self
            .users
            .iter()
            .map(|user| match user.roles.as_slice() {
                [] => format!("  {0} / {0}   not registered for any app", user.username),
                roles => format!("  {0} / {0}   roles: {1}", user.username, roles.join(", ")),
            })
            .collect();
        let by_webhook = match &self.fusionauth {
            Some(_) => format!(
                "The provider emulates FusionAuth, from its documentation. Sign out everywhere at {}/: a webhook\n\
                 ends the sessions of both apps at once.\n",
                self.issuer
            ),
            None => String::new(),
        };
        format!(
            "The store     {store}/\n\
             The forum     {forum}/\n\
             The provider  {issuer}/\n\
             \n\
             Names and passwords:\n{people}\n\
             \n\
             Sign in at {store}/shopping-cart, then open {forum}/posts: no form this time.\n\
             A JWT lives {seconds} s, so reload after that to see a refresh. Only bob may see {store}/admin.\n\
             As a native app would: tests/native/journey {store} alice alice {seconds}\n\
             {by_webhook}",
            store = self.links.store,
            forum = self.links.forum,
            issuer = self.issuer,
            people = people.join("\n"),
            seconds = self.jwt_lifetime.as_secs(),
        )
    }
}

fn line(event: &Event) -> String {
    let (word, text) = match event {
        Event::FormShown { client } => ("form", format!("the login form was shown for {client}")),
        Event::SignInRefused { client } => (
            "refused",
            format!("a wrong name or password was given for {client}"),
        ),
        Event::SignedIn { user, client } => ("login", format!("{user} signed in for {client}")),
        Event::SignOnReused { user, client } => (
            "sign-on",
            format!("{user} was signed in already, so {client} got its answer without a form"),
        ),
        Event::CodeExchanged { user, client } => (
            "code",
            format!("{client} exchanged its code for {user}'s tokens"),
        ),
        Event::CodeRefused { client, reason } => (
            "refused",
            format!("a code from {client} was refused: {reason}"),
        ),
        Event::PasswordGranted { user, client } => (
            "password",
            format!("{client} got {user}'s tokens by password"),
        ),
        Event::Refreshed { user, client } => {
            ("refresh", format!("{client} renewed {user}'s tokens"))
        }
        Event::RefreshRefused { client, reason } => (
            "refused",
            format!("a refresh token from {client} was refused: {reason}"),
        ),
        Event::ReuseDetected { user, client } => (
            "reuse",
            format!("{client} sent a refresh token of {user} twice: the whole family is revoked"),
        ),
        Event::Revoked { user, client } => (
            "revoked",
            format!("{client} gave {user}'s refresh token back"),
        ),
        Event::SignedOut { user } => ("logout", format!("{user} signed out")),
        Event::WebhookSent => (
            "webhook",
            "the apps are told that tokens were revoked".to_owned(),
        ),
        Event::WebhookLost => (
            "webhook",
            "too many wait to be sent: this one is lost".to_owned(),
        ),
    };
    format!("{word:<9} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_one_word_in_a_column_of_its_own() {
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
