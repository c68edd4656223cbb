//! FusionAuth events with any combination of members and values.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::checks::event::check;

const TYPES: [&str; 6] = [
    "jwt.refresh-token.revoke",
    "jwt.refresh-token.revoke",
    "user.deactivate",
    "user.delete",
    "user.password.update",
    "jwt.refresh",
];

fn odd() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(""),
        json!("u-1"),
        json!("u-2"),
        json!(7),
        json!([]),
        json!({}),
        json!({"id": "u-1"}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn event_affects_only_sessions_that_it_names(
        kind in select(TYPES.as_slice()),
        instant in prop_oneof![any::<u64>().prop_map(|n| json!(n)), Just(json!(1_505_762_615_956_u64)), odd()],
        members in proptest::collection::btree_map(
            select(vec!["userId", "user", "applicationId", "refreshToken", "tenantId", "id"]), odd(), 0..6),
    ) {
        let mut event = Map::from_iter([("id".to_owned(), json!("e-1")), ("type".to_owned(), json!(kind))]);
        event.insert("createInstant".to_owned(), instant);
        event.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        check(json!({ "event": event }).to_string().as_bytes());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}
