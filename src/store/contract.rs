//! The contract of a store as tests, run against every one that there is.

use bytes::Bytes;

use super::{Memory, Store, StoreError};
use crate::types::time::Timestamp;

const fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn values_end(store: &dyn Store) {
    store.put("a", value("1"), at(10), at(0)).await.unwrap();
    assert_eq!(store.get("a", at(9)).await.unwrap().unwrap(), "1");
    assert_eq!(store.get("a", at(10)).await, Ok(None));
    store.sweep(at(10));
    assert_eq!(store.get("a", at(9)).await, Ok(None));
}

async fn only_the_first_is_kept_until_it_ends(store: &dyn Store) {
    let claim = |text, now| store.put_if_absent("b", value(text), at(10), at(now));
    assert_eq!(claim("1", 0).await, Ok(None));
    assert_eq!(claim("2", 1).await, Ok(Some(value("1"))));
    assert_eq!(claim("3", 10).await, Ok(None));
}

async fn a_swap_takes_place_only_where_the_old_value_is(store: &dyn Store) {
    let swap = |before: &'static str, after, now| store.swap("c", before.as_bytes(), value(after), at(10), at(now));
    assert_eq!(swap("", "1", 0).await, Ok(false));
    store.put("c", value("1"), at(5), at(0)).await.unwrap();
    assert_eq!(swap("2", "3", 1).await, Ok(false));
    assert_eq!(swap("1", "2", 1).await, Ok(true));
    assert_eq!(store.get("c", at(9)).await, Ok(Some(value("2"))));
    assert_eq!(swap("2", "3", 10).await, Ok(false));
    assert_eq!(store.remove("c", b"1", at(9)).await, Ok(false));
    assert_eq!(store.remove("c", b"2", at(9)).await, Ok(true));
    assert_eq!(store.get("c", at(0)).await, Ok(None));
}

#[tokio::test]
async fn memory_keeps_it() {
    let store = Memory::new(10);
    values_end(&store).await;
    only_the_first_is_kept_until_it_ends(&store).await;
    a_swap_takes_place_only_where_the_old_value_is(&store).await;
}

#[tokio::test]
async fn a_full_memory_refuses_and_forgets_nothing_that_lives() {
    let store = Memory::new(2);
    store.put("a", Bytes::new(), at(10), at(0)).await.unwrap();
    store.put("b", Bytes::new(), at(20), at(0)).await.unwrap();
    assert_eq!(store.put("c", Bytes::new(), at(20), at(5)).await, Err(StoreError::Full));
    assert_eq!(store.put("b", value("2"), at(20), at(5)).await, Ok(()));
    assert_eq!(store.put("c", Bytes::new(), at(20), at(10)).await, Ok(()));
    assert_eq!(store.get("a", at(5)).await, Ok(None));
    assert!(store.get("b", at(5)).await.unwrap().is_some());
}
