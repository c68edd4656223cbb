//! Identity headers: a header contains exactly the claim and nothing that ends it early.

use doorward::identity::claims::Claims;
use doorward::identity::identity::{HeaderTemplate, Identity};
use doorward::types::oauth::Subject;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn header(template: &str, claim: Value) -> Option<String> {
    let claims = Claims::new(Map::from_iter([("c".to_owned(), claim)]), Map::new());
    let templates = [HeaderTemplate::parse("X-Test", template).unwrap()];
    let identity = Identity::new(Subject::new("alice"), claims, &templates);
    identity
        .headers
        .first()
        .map(|(_, value)| String::from_utf8(value.as_bytes().to_vec()).unwrap())
}

fn is_valid_header_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim() == value
}

fn decoded(value: &str) -> String {
    let pairs =
        value
            .split('%')
            .enumerate()
            .map(|(at, part)| match (at, part.split_at_checked(2)) {
                (0, _) => part.as_bytes().to_vec(),
                (_, Some((hex, rest))) => {
                    [&[u8::from_str_radix(hex, 16).unwrap()], rest.as_bytes()].concat()
                }
                (_, None) => panic!("an incomplete escape in {value:?}"),
            });
    String::from_utf8(pairs.collect::<Vec<_>>().concat()).unwrap()
}

/// Texts with characters that are special in lists, escapes and headers.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a, %\r\n\t\u{e9}\u{0}:;=\"]{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn text_round_trips_through_header(text in texts()) {
        let Some(value) = header("{c}", json!(text)) else {
            prop_assert!(text.is_empty());
            return Ok(());
        };
        prop_assert!(is_valid_header_value(&value), "{:?}", value);
        prop_assert_eq!(decoded(&value), text);
    }

    #[test]
    fn list_round_trips_member_by_member(members in vec(texts(), 0..5)) {
        let Some(value) = header("{c}", json!(members)) else {
            prop_assert!(members.iter().all(String::is_empty));
            return Ok(());
        };
        prop_assert!(is_valid_header_value(&value), "{:?}", value);
        prop_assert_eq!(value.split(',').map(decoded).collect::<Vec<_>>(), members);
    }

    #[test]
    fn arbitrary_template_is_accepted_or_rejected(name in any::<String>(), template in "[{}c a:\r\n\u{e9}.]{0,12}", text in texts()) {
        if let Ok(parsed) = HeaderTemplate::parse("X-Test", &template) {
            prop_assert!(parsed.claims().all(|claim| !claim.is_empty()));
            if let Some(value) = header(&template, json!(text)) {
                prop_assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", value);
            }
        }
        prop_assert_eq!(HeaderTemplate::parse(&name, "a").is_ok(), http::HeaderName::try_from(&name).is_ok());
    }
}
