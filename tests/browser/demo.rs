//! `doorward demo`, run as the real binary in its default state.

use std::time::Duration;

use crate::chromium::Chromium;
use crate::journey::{self, Site};
use crate::support::process::DemoProcess;

const JWT_LIFETIME: u64 = 3;

#[tokio::test]
async fn demo_journey_succeeds_in_chromium() {
    let demo = DemoProcess::start(JWT_LIFETIME);
    let chromium = Chromium::start(&[]).await;
    let site = Site {
        store_url: demo.store.clone(),
        forum_url: demo.forum.clone(),
        user: "alice".to_owned(),
        past_the_jwt: Duration::from_millis(JWT_LIFETIME * 1000 + 200),
        artefacts: "demo".to_owned(),
    };
    journey::whole(&chromium, &site).await;
    chromium.close().await;

    // The form was shown only at the start and after the logout.
    for line in [
        "alice signed in for store",
        "alice was signed in already: forum got a code without a form",
        "store refreshed alice's tokens",
        "store revoked alice's refresh token",
        "alice signed out",
    ] {
        demo.process.line_with(line);
    }
    let forms = demo
        .process
        .said()
        .iter()
        .filter(|line| line.starts_with("form "))
        .count();
    assert_eq!(forms, 2, "{}", demo.process.said().join("\n"));
}
