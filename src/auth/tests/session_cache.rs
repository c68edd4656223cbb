//! Session cache: an entry answers for the text that was opened, at its app and for its purpose only,
//! and its session is judged at each request.

use std::time::Duration;

use super::Setup;
use super::browser::Browser;
use super::hosts::at_hosts;
use super::provider::ScriptedProvider;
use crate::auth::random;
use crate::auth::refresh::revoke::SessionKey;
use crate::auth::session::cache::SessionCache;
use crate::auth::session::open::open_jwt;
use crate::policy::route::ResumeMode;
use crate::session::cookie::RequestCookies;
use crate::session::jwt::SessionJwt;
use crate::session::seal::KeyAge;

async fn logged_in() -> (Setup, Browser) {
    let provider = ScriptedProvider::start([]).await;
    let setup = Setup::new(provider.address());
    let mut browser = Browser::default();
    browser.log_in(&setup, &provider, 300).await;
    (setup, browser)
}

fn jwt_of(setup: &Setup, browser: &Browser) -> SessionJwt {
    let header = browser.header();
    open_jwt(&setup.app, &RequestCookies::read(&header)).unwrap()
}

#[tokio::test]
async fn entry_is_of_one_text_app_host_and_purpose() {
    let (setup, browser) = logged_in().await;
    let jwt = jwt_of(&setup, &browser);
    let [blue, green] = at_hosts(&setup.app);
    let text = blue.seals.jwt.seal(&jwt, random::bytes().unwrap()).unwrap();
    let cache = SessionCache::new(10);
    let session = blue.session_of(&jwt).unwrap();
    cache.insert(0, &blue.seals.jwt, &text, session, KeyAge::Current);

    let bytes = text.as_bytes();
    let found = cache.get(0, &blue.seals.jwt, bytes).unwrap();
    assert_eq!(found.session.sid, jwt.sid);
    assert!(cache.get(1, &blue.seals.jwt, bytes).is_none());
    assert!(cache.get(0, &green.seals.jwt, bytes).is_none());
    assert!(cache.get(0, &blue.seals.native_access, bytes).is_none());
    // The end of the text, which is the key, is the same.
    let mut changed = text.clone().into_bytes();
    changed[0] ^= 1;
    assert!(cache.get(0, &blue.seals.jwt, &changed).is_none());
    assert!(cache.get(0, &blue.seals.jwt, &bytes[1..]).is_none());
    assert!(cache.get(0, &blue.seals.jwt, b"").is_none());
}

#[tokio::test]
async fn cached_session_is_judged_at_each_request() {
    let (setup, mut browser) = logged_in().await;
    let mode = ResumeMode::ReadOnly;
    for _ in 0..2 {
        assert_eq!(browser.request(&setup, mode).await, "authenticated");
    }
    let name = setup.app.app.cookies.jwt.clone();
    let text = browser.cookies[&name].clone();
    let (rest, last) = text.split_at(text.len() - 1);
    let changed = format!("{rest}{}", if last == "A" { "B" } else { "A" });
    let (_, shortened) = text.split_at(1);
    for other in [changed, shortened.to_owned()] {
        browser.cookies.insert(name.clone(), other);
        assert_eq!(browser.request(&setup, mode).await, "cookie_unreadable");
    }
    browser.cookies.insert(name, text);
    assert_eq!(browser.request(&setup, mode).await, "authenticated");

    let jwt = jwt_of(&setup, &browser);
    setup.clock.advance(Duration::from_secs(301));
    assert_ne!(browser.request(&setup, mode).await, "authenticated");
    setup.clock.set_back(Duration::from_secs(301));
    assert_eq!(browser.request(&setup, mode).await, "authenticated");
    setup.revoker.revoke(&setup.app, &SessionKey::from(&jwt));
    assert_eq!(browser.request(&setup, mode).await, "session_revoked");
}

#[tokio::test]
async fn activity_cookie_of_another_session_is_not_that_of_the_cached_one() {
    let (setup, browser) = logged_in().await;
    let header = browser.header();
    let cookies = RequestCookies::read(&header);
    let jwt = jwt_of(&setup, &browser);
    let session = setup.app.session_of(&jwt).unwrap();
    let cached = setup
        .cache
        .insert(0, &setup.app.seals.jwt, "text", session, KeyAge::Current);
    let seal = &setup.app.seals.activity;
    let value = cookies.get_bytes(&setup.app.app.cookies.activity).unwrap();
    let opened = seal.open(std::str::from_utf8(value).unwrap());
    for _ in 0..2 {
        assert_eq!(cached.activity(seal, value), opened);
    }
    let mut forged = value.to_vec();
    forged[30] ^= 1;
    assert_eq!(cached.activity(seal, &forged), None);
    let [blue, _] = at_hosts(&setup.app);
    assert_eq!(cached.activity(&blue.seals.activity, value), None);
}
