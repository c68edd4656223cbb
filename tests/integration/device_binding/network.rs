//! The network hint: a proof counts in the networks and by the program that it was made in. The owner's
//! browser proves its key in another network by itself.

use std::net::Ipv4Addr;

use super::{assert_shown, bound, offering, offering_with, refreshes, thief};
use crate::support::assertions::{CART, assert_login_starts, fetched};
use crate::support::bound_browser::BoundBrowser;
use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::Doorward;

/// An address in one of many networks. The first is that of all browsers.
const fn address(network: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, network, 1)
}

async fn fetched_as(browser: &mut Browser, url: &str, agent: &str) -> Page {
    let request = RequestSpec::new(Kind::Fetch, url).from(&url.parse().expect("an URL"));
    browser.send(request.header("User-Agent", agent)).await
}

async fn proofs(doorward: &Doorward, outcome: &str) -> f64 {
    let series = format!("doorward_device_proofs_total{{app=\"store\",outcome=\"{outcome}\"}}");
    doorward.metric(&series).await
}

fn statuses(page: &Page) -> Vec<u16> {
    page.chain.iter().map(|hop| hop.status).collect()
}

#[tokio::test]
async fn copied_jar_in_another_network_or_program_gets_nothing() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    // At ten moments, while the owner uses the session.
    for moment in 0..10 {
        doorward.advance_secs(7 + moment);
        assert_shown(&owner.fetch("GET", &url).await);
        let copy = thief(&owner);
        for second in [0, 10, 20, 30, 40, 50] {
            let mut elsewhere = copy.clone().from_address(address(7));
            let page = fetched(&mut elsewhere, &url).await;
            assert_eq!(page.status(), 307, "{second} s: {page}");
            let page = fetched_as(&mut copy.clone(), &url, "curl/8.0").await;
            assert_eq!(page.status(), 307, "{second} s: {page}");
            doorward.advance_secs(10);
        }
    }
    let before = refreshes(&doorward);
    let mut elsewhere = thief(&owner).from_address(address(7));
    doorward.provider.sign_out();
    let refused = elsewhere.step(&url).await;
    assert_eq!(refused.status(), 307, "{refused}");
    let page = elsewhere.next(&refused).await;
    assert_login_starts(&doorward, &page);
    assert_eq!(refreshes(&doorward), before);
    let log = doorward.log.text();
    for code in ["device_network_changed", "device_agent_changed"] {
        assert!(log.contains(code), "{code}");
        // Each client is recorded once.
        assert_eq!(proofs(&doorward, code).await, 1.0, "{code}");
    }
}

#[tokio::test]
async fn signed_challenge_that_was_copied_is_of_no_use_elsewhere() {
    let doorward = offering();
    let owner = bound(&doorward).await;
    let session = owner.session.clone().expect("a session");
    let challenge = session.challenge.expect("a challenge");
    let url = doorward.store_url("/.doorward/device-binding/refresh");
    let renew = || {
        RequestSpec::new(Kind::Fetch, &url)
            .method("POST")
            .from(&url.parse().expect("an URL"))
            .header("Sec-Secure-Session-Id", &session.id)
            .header(
                "Secure-Session-Response",
                &owner.key.proof(&challenge, false),
            )
    };
    let mut elsewhere = thief(&owner).from_address(address(7));
    let page = elsewhere.send(renew()).await;
    assert_eq!(page.status(), 403, "{page}");
    assert!(page.header("set-cookie").is_none(), "{page}");
    let page = thief(&owner).send(renew()).await;
    assert_eq!(page.status(), 200, "{page}");
}

#[tokio::test]
async fn owner_in_another_network_proves_the_key_once_and_notices_nothing() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url("/upload");
    doorward.advance_secs(60);
    assert_shown(&owner.fetch("GET", &doorward.store_url(CART)).await);
    owner.move_to(address(1));
    let before = owner.signatures;
    let request = RequestSpec::new(Kind::Fetch, &url)
        .method("POST")
        .from(&url.parse().expect("an URL"));
    let page = owner.send(request.body("text/plain", "some body")).await;
    assert_eq!(statuses(&page), [307, 200], "{page}");
    assert_eq!(doorward.store.last().body, b"some body");
    assert_eq!(owner.signatures, before + 1);
    assert_eq!(proofs(&doorward, "device_network_challenge").await, 1.0);
    // Both networks are known now.
    for network in [0, 1, 0, 1] {
        owner.move_to(address(network));
        let page = owner.fetch("GET", &doorward.store_url(CART)).await;
        assert_eq!(statuses(&page), [200], "{page}");
        doorward.advance_secs(20);
    }
    assert_eq!(owner.signatures, before + 1);
}

#[tokio::test]
async fn client_with_two_addresses_at_once_is_not_redirected_in_circles() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    owner.move_to(address(1));
    owner.renews_from = Some(address(2));
    let page = owner.fetch("GET", &doorward.store_url(CART)).await;
    assert_shown(&page);
    assert!(page.chain.len() <= 3, "{page}");
    for _ in 0..6 {
        doorward.advance_secs(20);
        let page = owner.fetch("GET", &doorward.store_url(CART)).await;
        assert_eq!(statuses(&page), [200], "{page}");
    }
}

/// Browses for nine minutes with an address that changes with each request.
async fn browse_with_changing_address(doorward: &Doorward, owner: &mut BoundBrowser) {
    for step in 0..54 {
        doorward.advance_secs(10);
        owner.move_to(address(1 + step));
        assert_shown(&owner.fetch("GET", &doorward.store_url(CART)).await);
    }
}

#[tokio::test]
async fn flapping_address_leaves_chromiums_quota() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    browse_with_changing_address(&doorward, &mut owner).await;
    // Chromium's quota: six signatures in nine minutes, of which one was the registration.
    assert!(owner.signatures <= 6, "{} signatures", owner.signatures);
    assert_eq!(proofs(&doorward, "device_network_budget_used").await, 1.0);
    let log = doorward.log.text();
    assert!(log.contains("device_network_budget_used"));
    // Networks are not compared now, but programs are.
    let url = doorward.store_url(CART);
    let mut elsewhere = thief(&owner).from_address(address(200));
    assert_shown(&fetched(&mut elsewhere, &url).await);
    let page = fetched_as(&mut elsewhere, &url, "curl/8.0").await;
    assert_eq!(page.status(), 307, "{page}");
}

#[tokio::test]
async fn networks_count_again_when_the_budget_has_recovered() {
    let doorward = offering();
    let mut owner = bound(&doorward).await;
    browse_with_changing_address(&doorward, &mut owner).await;
    let url = doorward.store_url(CART);
    for _ in 0..60 {
        doorward.advance_secs(20);
        assert_shown(&owner.fetch("GET", &url).await);
    }
    let mut elsewhere = thief(&owner).from_address(address(200));
    let page = fetched(&mut elsewhere, &url).await;
    assert_eq!(page.status(), 307, "{page}");
}

#[tokio::test]
async fn network_counts_for_nothing_without_the_hint() {
    let doorward = offering_with("network_hint = false");
    let owner = bound(&doorward).await;
    let url = doorward.store_url(CART);
    let mut elsewhere = thief(&owner).from_address(address(7));
    assert_shown(&fetched(&mut elsewhere, &url).await);
    assert_shown(&fetched_as(&mut elsewhere, &url, "curl/8.0").await);
    doorward.advance_secs(45);
    let page = fetched(&mut elsewhere, &url).await;
    assert_eq!(page.status(), 307, "{page}");
}
