//! `doorward revoke`: an operator revokes sessions; the deployment's key authenticates the command.

use doorward::auth::revocation::command::RevocationTarget;
use doorward::server;
use doorward::types::oauth::Subject;

use crate::support::browser::{Browser, Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};
use crate::support::replicas::Replicas;

const CART: &str = "/shopping-cart";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoke_ends_sessions_by_user_session_and_app() {
    let names = "\n[log]\nuser = \"{sub}\"\n";
    let replicas = Replicas::start(1, Setup::plain().more(names));
    let admin = format!("127.0.0.1:{}", replicas.processes[0].port("admin"));
    let revoke =
        |words: &[&str]| replicas.command(&[&["revoke", "--admin", &admin], words].concat());
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    let mut bob = replicas.logged_in(0, "bob", CART).await;

    let said = revoke(&["--sub", "alice-id"]).expect("an order that is followed");
    assert!(
        said.contains("`alice-id`") && said.contains("2 apps"),
        "{said}"
    );
    assert!(said.contains("straight in again"), "{said}");
    is_over(&mut alice, 1).await;
    // The provider's session logs her in again, unless she is blocked.
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    revoke(&["--sub", "alice-id", "--until", "8h"]).expect("an order that is followed");
    is_over(&mut alice, 2).await;
    let page = alice.visit(&Replicas::store_url(CART)).await;
    assert_eq!(page.status(), 403, "{page}");
    assert!(page.words().contains("user_blocked"), "{page}");
    revoke(&["--sub", "alice-id", "--unblock"]).expect("an order that is followed");
    let mut alice = replicas.logged_in(0, "alice", CART).await;
    assert_session_valid(&mut alice).await;
    revoke(&["--sub", "alice-id"]).expect("an order that is followed");
    is_over(&mut alice, 3).await;
    assert_session_valid(&mut bob).await;

    let mut carol = replicas.logged_in(0, "carol", CART).await;
    let line = replicas.processes[0].line_with("user=\"carol-id\"");
    assert!(
        line.contains(" request_id=") && line.contains(" client_ip=127.0.0.1"),
        "{line}"
    );
    let sid = line.split_once("sid=").map(|(_, rest)| {
        rest.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    revoke(&["--sid", &sid.expect("a session in the line")]).expect("an order that is followed");
    is_over(&mut carol, 4).await;

    revoke(&["--app", "forum"]).expect("an order that is followed");
    assert_session_valid(&mut bob).await;
    revoke(&["--app", "store"]).expect("an order that is followed");
    is_over(&mut bob, 5).await;

    for (words, told) in [
        (&["--app", "shop"][..], "unknown app `shop`"),
        (
            &["--sub", "a", "--provider", "shop"][..],
            "no app uses the provider `shop`",
        ),
        (&[][..], "required"),
        (&["--sub", "a", "--sid", "b"][..], "cannot be used with"),
        (&["--app", "store", "--until", "8h"][..], "--sub"),
        (&["--sub", "a", "--until", "tomorrow"][..], "`8h`"),
        (&["--sub", "a", "--until", "0s"][..], "not in the future"),
    ] {
        let said = revoke(words).expect_err("no order");
        assert!(said.contains(told), "{words:?}: {said}");
    }
    // Names of sessions and users may begin with a hyphen.
    for words in [["--sid", "-5Qk"], ["--sub", "-5Qk"]] {
        revoke(&words).expect("an order that is followed");
    }
    let unreachable = replicas.command(&["revoke", "--admin", "127.0.0.1:1", "--sub", "alice-id"]);
    assert!(
        unreachable
            .expect_err("nobody is there")
            .contains("revocation not confirmed")
    );
}

#[tokio::test]
async fn forged_or_stale_command_ends_nothing() {
    let mut doorward = Setup::plain().start();
    let mut alice = doorward.logged_in("alice", CART).await;
    let order = |doorward: &Doorward| {
        let apps = server::apps(&doorward.config()).expect("apps");
        let store = apps
            .iter()
            .find(|app| app.app.name.as_str() == "store")
            .expect("the store");
        RevocationTarget::Subject(Subject::new("alice-id"))
            .sealed_commands(store, doorward.now())
            .expect("a command")
    };
    let old = order(&doorward);
    doorward.advance_secs(61);
    let foreign = {
        let stranger = Setup::plain().start();
        order(&stranger)
    };
    for (order, told) in [
        (old, "more than a minute"),
        (foreign, "not sealed"),
        ("junk".to_owned(), "not sealed"),
    ] {
        let page = post(&doorward, order).await;
        assert_eq!(page.status(), 403, "{page}");
        assert!(page.text().contains(told), "{page}");
    }
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 200);

    let replica = doorward.add_replica();
    let mut elsewhere = doorward.moved_to(replica, alice.clone());
    let page = post(&doorward, order(&doorward)).await;
    assert_eq!(
        (page.status(), page.text().as_str()),
        (200, "applied: 1\n"),
        "{page}"
    );
    assert_eq!(alice.step(&doorward.store_url(CART)).await.status(), 302);
    assert_eq!(
        elsewhere.step(&doorward.store_url(CART)).await.status(),
        200,
        "`memory:` is each replica's own"
    );
}

async fn post(doorward: &Doorward, order: String) -> Page {
    let url = format!("http://{}/revoke", doorward.admin_address());
    let request = RequestSpec::new(Kind::Program, &url)
        .method("POST")
        .body("text/plain", order);
    Browser::new(doorward.clock.clone()).send(request).await
}

/// `number` tells the calls of this function apart.
async fn is_over(browser: &mut Browser, number: usize) {
    let page = browser.step(&Replicas::store_url(CART)).await;
    assert_eq!(page.status(), 302, "{number}: {page}");
}

async fn assert_session_valid(browser: &mut Browser) {
    let page = browser.step(&Replicas::store_url(CART)).await;
    assert_eq!(page.status(), 200, "{page}");
}
