//! Copied access tokens that are bound to no key. For bound ones see `dpop`.

use serde_json::json;

use super::{PROFILE, doorward, request_with, token};

#[tokio::test]
async fn copied_token_works_anywhere_until_it_expires() {
    let doorward = doorward();
    let exp = doorward.now().plus(std::time::Duration::from_secs(300));
    let token = token(&doorward, json!({ "exp": exp.secs() }));
    let mut thief = doorward.browser().from_address([127, 0, 9, 1].into());
    for (secs, status) in [(0, 200), (299, 200), (40, 401)] {
        doorward.advance_secs(secs);
        let request = request_with(&doorward, PROFILE, &format!("Bearer {token}"));
        let page = thief.send(request.header("user-agent", "curl/8.5.0")).await;
        assert_eq!(page.status(), status, "{page}");
    }
}
