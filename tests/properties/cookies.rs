//! Cookies: chunked values round-trip, whatever other cookies the browser sends.

use doorward::session::cookie::{
    MAX_ALL, MAX_CHUNKS, MAX_VALUE, RequestCookies, chunk_name, chunks,
};
use doorward::session::jwt::PackedJwt;
use http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks;

const NAME: &str = "__Host-doorward_jwt";

/// Cookies that the app or other hosts can set.
const OTHERS: [&[u8]; 12] = [
    b"a=b",
    b"",
    b"=",
    b"=x",
    b"lone",
    b" ",
    b"name=Zo\xc3\xab",
    b"name=Zo\xeb",
    b"\xff\xfe=\x80",
    b"q=\"a, b\"",
    b"\xc2\xa0__Host-doorward_jwt=tossed",
    b"__host-doorward_jwt=tossed",
];

fn field(pairs: &[Vec<u8>]) -> HeaderValue {
    HeaderValue::from_bytes(&pairs.join(&b"; "[..])).unwrap()
}

proptest! {
    #[test]
    fn chunked_value_round_trips_among_other_cookies(
        value in "[A-Za-z0-9_-]{0,40}",
        length in 0..=MAX_CHUNKS * MAX_VALUE,
        others in vec(prop::sample::select(OTHERS.as_slice()), 0..8),
        left_over in vec("[A-Za-z0-9_-]{0,10}", MAX_CHUNKS),
        (order, two_fields) in any::<(u64, bool)>(),
    ) {
        let value: String = value.chars().chain("x".chars()).cycle().take(length).collect();
        let Some(parts) = chunks(&value) else {
            prop_assert!(length > MAX_ALL, "{} bytes cannot be cut", length);
            return Ok(());
        };
        prop_assert!(parts.len() <= MAX_CHUNKS && parts.iter().all(|part| part.len() <= MAX_VALUE));
        let all = parts.iter().chain(left_over.iter().skip(parts.len())).enumerate();
        let mut pairs: Vec<Vec<u8>> = all.map(|(at, part)| format!("{}={part}", chunk_name(NAME, at)).into()).collect();
        pairs.extend(others.iter().map(|other| other.to_vec()));
        let shift = usize::try_from(order).unwrap_or_default() % pairs.len();
        pairs.rotate_left(shift);
        let (first, second) = pairs.split_at(if two_fields { shift } else { 0 });
        let fields = [field(first), field(second)];
        let cookies = RequestCookies::read(&fields);
        prop_assert_eq!(cookies.get_chunked(NAME), Some(value.into()));
    }

    #[test]
    fn conflicting_values_count_as_none(values in ("[a-z]{1,5}", "[a-z]{1,5}")) {
        let fields = [field(&[format!("{NAME}={}", values.0).into(), format!("{NAME}={}", values.1).into()])];
        prop_assert_eq!(RequestCookies::read(&fields).get(NAME).is_some(), values.0 == values.1);
    }

    #[test]
    fn arbitrary_bytes_are_parsed_consistently(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(prop::sample::select(b"c=.;123 \t\n\xc3\xab\"".to_vec()), 0..60),
        ],
    ) {
        checks::cookies::check(&bytes);
    }

    #[test]
    fn packed_token_round_trips(
        token in prop_oneof![any::<String>(), "[A-Za-z0-9_-]{0,9}(\\.[A-Za-z0-9_=-]{0,9}){0,4}"],
    ) {
        prop_assert_eq!(PackedJwt::pack(&token).unpack(), token);
    }
}
