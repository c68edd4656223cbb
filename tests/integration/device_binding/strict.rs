//! Strict paths: requests that need a proof that is at most some seconds old.

use super::{assert_shown, bound, offering_with, pending, thief};
use crate::support::assertions::{CART, fetched};
use crate::support::browser::{Kind, RequestSpec};
use crate::support::doorward::Setup;

const STRICT: &str = "strict = [\"POST /checkout\", \"/account/**\"]";

#[tokio::test]
async fn copied_jar_works_on_strict_paths_for_seconds() {
    let doorward = offering_with(STRICT);
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url("/account/card");
    // At ten moments, while the owner uses the session.
    for moment in 0..10 {
        doorward.advance_secs(7 + moment);
        assert_shown(&owner.fetch("GET", &url).await);
        let copy = thief(&owner);
        let mut last_success = 0;
        for second in 0..10 {
            if second > 0 {
                doorward.advance_secs(1);
            }
            let page = fetched(&mut copy.clone(), &url).await;
            match page.status() {
                200 => last_success = second,
                status => assert_eq!(status, 307, "{page}"),
            }
            let page = fetched(&mut copy.clone(), &doorward.store_url(CART)).await;
            assert_shown(&page);
        }
        assert!(last_success < 3, "{last_success} s");
    }
}

#[tokio::test]
async fn owner_proves_the_key_before_each_strict_request() {
    let doorward = offering_with(STRICT);
    let mut owner = bound(&doorward).await;
    let url = doorward.store_url("/checkout");
    let before = owner.signatures;
    for length in [9, 10 * 1024 * 1024] {
        doorward.advance_secs(10);
        let arrived = doorward.store.count();
        let request = RequestSpec::new(Kind::Fetch, &url)
            .method("POST")
            .from(&url.parse().expect("an URL"));
        let body = vec![b'x'; length];
        let page = owner
            .send(request.body("application/octet-stream", body))
            .await;
        let statuses: Vec<u16> = page.chain.iter().map(|hop| hop.status).collect();
        assert_eq!(statuses, [307, 200]);
        assert_eq!(doorward.store.count(), arrived + 1);
        assert_eq!(doorward.store.last().body.len(), length);
    }
    // Another method of the path is not strict.
    doorward.advance_secs(10);
    let page = owner.fetch("GET", &url).await;
    assert_eq!(page.chain.len(), 1, "{page}");
    // Attackers can open strict pages in the owner's browser, which must not use up its signatures.
    for _ in 0..20 {
        doorward.advance_secs(4);
        let page = owner
            .follow_link(&doorward.store_url("/account/card"))
            .await;
        assert_shown(&page);
    }
    assert!(owner.signatures <= before + 1, "{}", owner.signatures);
}

#[tokio::test]
async fn no_spelling_of_a_strict_path_avoids_it() {
    let start = |strict: &str| {
        let store = format!(
            "allow_ambiguous_paths = [\"double-slash\", \"encoded-slash\", \"semicolon\"]\n\
             device_binding = {{ mode = \"offer\", strict = [{strict}] }}"
        );
        Setup::over_tls().store(&store).start()
    };
    let doorward = start("\"/account/**\"");
    let owner = bound(&doorward).await;
    doorward.advance_secs(10);
    let without = start("");
    let owner_without = bound(&without).await;
    without.advance_secs(10);
    let mut accepted = 0;
    for spelling in [
        "/account/card",
        "/%61ccount/card",
        "/x/..;/account/card",
        "//account/card",
        "/account;v=1/card",
        "/x%2F..%2Faccount",
        "/account%2Fcard",
        "/account/./card",
        "/ACCOUNT/../account",
    ] {
        let url = without.store_url(spelling);
        let control = fetched(&mut thief(&owner_without), &url).await;
        let url = doorward.store_url(spelling);
        let page = fetched(&mut thief(&owner), &url).await;
        match control.status() {
            200 => assert_eq!(page.status(), 307, "{spelling}: {page}"),
            refused => assert!(
                [307, refused].contains(&page.status()),
                "{spelling}: {page}"
            ),
        }
        accepted += usize::from(control.status() == 200);
    }
    assert!(accepted >= 2, "{accepted} spellings");
}

#[tokio::test]
async fn sessions_without_a_key_pass_strict_paths() {
    let doorward = offering_with(STRICT);
    let mut browser = pending(&doorward).await.browser;
    for secs in [10, 200] {
        doorward.advance_secs(secs);
        let page = fetched(&mut browser, &doorward.store_url("/account/card")).await;
        assert_shown(&page);
    }
}
