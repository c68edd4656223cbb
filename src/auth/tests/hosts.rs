//! Seals and revocations of an app at the hosts of its wildcard.

use std::sync::Arc;

use crate::auth::app::AppAuth;
use crate::auth::random;
use crate::auth::tests::{Options, Setup, closed_port};
use crate::policy::hosts::{AppHosts, Wildcard};
use crate::session::grant::LastActivity;
use crate::store::{Revocation, RevocationEvent};
use crate::types::host_label::HostLabel;
use crate::types::net::Origin;
use crate::types::oauth::{Generation, SessionId, Subject};

/// The app of `setup` with a wildcard, and at two of its hosts.
pub(super) fn at_hosts(app: &AppAuth) -> [AppAuth; 2] {
    let mut wildcard = (*app.app).clone();
    wildcard.origin = Origin::parse("https://*.apps.example.com").unwrap();
    wildcard.hosts = AppHosts::Wildcard(Wildcard {
        labels: None,
        max_hosts: 10,
    });
    ["blue", "green"].map(|label| {
        let label = HostLabel::parse(label).unwrap();
        let app_at_host = wildcard.at_label(&label).unwrap();
        app.at_host(Arc::new(app_at_host)).unwrap()
    })
}

#[tokio::test]
async fn seals_of_a_host_open_at_that_host_only() {
    let setup = Setup::with(closed_port().await, Options::default());
    let [blue, green] = at_hosts(&setup.app);
    let activity = LastActivity {
        sid: SessionId::new("sid"),
        generation: Generation::FIRST,
        last_activity: setup.context.now(),
    };
    let sealed = blue
        .seals
        .activity
        .seal(&activity, random::bytes().unwrap())
        .unwrap();
    assert!(blue.seals.activity.open(&sealed).is_some());
    assert!(green.seals.activity.open(&sealed).is_none());
    assert!(setup.app.seals.activity.open(&sealed).is_none());
    assert_eq!(
        green.client.redirect_uri.as_str(),
        "https://green.apps.example.com/.doorward/callback"
    );
}

#[tokio::test]
async fn revocation_at_one_host_holds_and_is_replicated_for_all() {
    let setup = Setup::with(closed_port().await, Options::default());
    let [blue, green] = at_hosts(&setup.app);
    let now = setup.context.now();
    let revocation = Revocation::User(Subject::new("alice"), now);
    let event = RevocationEvent::new(revocation, now);
    let sealed = blue
        .seals
        .revocation_event
        .seal(&event, random::bytes().unwrap())
        .unwrap();
    let opened = setup.app.seals.revocation_event.open(&sealed).unwrap();
    assert_eq!(opened, event);
    assert!(Arc::ptr_eq(&blue.revocations, &green.revocations));
    assert!(Arc::ptr_eq(&blue.revocations, &setup.app.revocations));
}
