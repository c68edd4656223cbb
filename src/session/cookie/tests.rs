//! Tests of reading and writing cookies.

use proptest::prelude::*;

use super::*;

fn names(origin: &str) -> CookieNames {
    CookieNames::new(
        "doorward",
        &Origin::parse(origin).unwrap(),
        &BasePath::default(),
    )
}

fn headers(fields: &[&str]) -> Vec<HeaderValue> {
    fields
        .iter()
        .map(|field| HeaderValue::from_str(field).unwrap())
        .collect()
}

#[test]
fn set_over_https_uses_host_prefix_and_secure() {
    let names = names("https://store.example.com");
    let header = names
        .set(&names.jwt, "v", "/", Some(Duration::from_secs(60)))
        .unwrap();
    assert_eq!(
        header,
        "__Host-doorward_jwt=v; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    let expired = names.expire(&names.jwt, "/").unwrap();
    assert_eq!(
        expired,
        "__Host-doorward_jwt=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
}

#[test]
fn set_over_http_has_no_prefix_and_no_secure() {
    let names = names("http://store.localhost:8080");
    assert_eq!(
        names.set(&names.activity, "v", "/", None).unwrap(),
        "doorward_activity=v; Path=/; HttpOnly; SameSite=Lax"
    );
}

#[test]
fn names_below_a_path_are_secure_and_have_the_path() {
    let origin = Origin::parse("https://a.example").unwrap();
    let base = BasePath::parse("/shop").unwrap();
    let names = CookieNames::new("doorward-shop", &origin, &base);
    assert_eq!(
        names.set(&names.jwt, "v", &names.path, None).unwrap(),
        "__Secure-doorward-shop_jwt=v; Path=/shop; Secure; HttpOnly; SameSite=Lax"
    );
    assert_eq!(names.login, "__Secure-doorward-shop_login_");
}

#[test]
fn beginnings_cover_every_cookie_name() {
    for origin in ["https://a.example", "http://a.localhost"] {
        let names = names(origin);
        let CookieNames {
            jwt,
            refresh,
            activity,
            browser,
            device,
            device_network,
            login,
            hint,
            login_loop,
            user,
            provider,
            upstream,
            signed_in,
            path: _,
            others: _,
            stem: _,
            secure: _,
        } = &names;
        for name in [
            jwt,
            refresh,
            activity,
            browser,
            device,
            device_network,
            login,
            hint,
            login_loop,
            user,
            provider,
            upstream,
            signed_in,
        ] {
            assert!(
                names
                    .beginnings()
                    .iter()
                    .any(|beginning| name.starts_with(beginning)),
                "{name}"
            );
        }
    }
}

#[test]
fn is_named_after_ignores_case() {
    for name in [
        "doorward_jwt",
        "__Host-doorward_activity",
        "__secure-DOORWARD_id_token_hint",
        "doorward_",
    ] {
        assert!(is_named_after("doorward", name), "{name}");
    }
    for name in [
        "doorward",
        "doorwardly_jwt",
        "xdoorward_jwt",
        "__Host-PHPSESSID",
        "forum_jwt",
    ] {
        assert!(!is_named_after("doorward", name), "{name}");
    }
}

#[test]
fn get_chunked_joins_chunks() {
    for length in [
        0,
        1,
        MAX_VALUE,
        MAX_VALUE + 1,
        2 * MAX_VALUE - 2,
        2 * MAX_VALUE - 1,
        3 * MAX_VALUE - 2,
    ] {
        let value: String = ('a'..='z').cycle().take(length).collect();
        let chunks = chunks(&value).unwrap();
        assert!(chunks.iter().all(|chunk| chunk.len() <= MAX_VALUE));
        let field = chunks
            .iter()
            .enumerate()
            .map(|(at, chunk)| format!("{}={chunk}", chunk_name("c", at)));
        let headers = headers(&[&field.collect::<Vec<_>>().join("; ")]);
        assert_eq!(
            RequestCookies::read(&headers).get_chunked("c").unwrap(),
            value,
            "{length}"
        );
    }
    assert_eq!(chunks(&"a".repeat(3 * MAX_VALUE)), None);
}

#[test]
fn get_chunked_checks_count_and_ignores_extra_chunks() {
    for bad in [
        "c=99999999999999999999.a",
        "c=4.a; c.1=b; c.2=c; c.3=d",
        "c=2.a",
        "c=1.a",
        "c=-1.a",
        "c=.a",
        "c=x.a",
    ] {
        assert_eq!(
            RequestCookies::read(&headers(&[bad])).get_chunked("c"),
            None,
            "{bad}"
        );
    }
    assert_eq!(
        RequestCookies::read(&headers(&["c=a; c.1=old"]))
            .get_chunked("c")
            .unwrap(),
        "a"
    );
}

#[test]
fn read_invalid_pair_does_not_affect_others() {
    for field in [
        &b"name=Zo\xc3\xab; c=ours"[..],
        b"name=Zo\xeb; c=ours",
        b"c=ours; \xff=\x80",
        b"\t c=ours\t;x",
    ] {
        let headers = [HeaderValue::from_bytes(field).unwrap()];
        assert_eq!(
            RequestCookies::read(&headers).get("c"),
            Some("ours"),
            "{}",
            field.escape_ascii()
        );
    }
}

#[test]
fn read_keeps_non_ascii_whitespace_in_names() {
    for space in ["\u{a0}", "\u{85}", "\u{2000}", "\u{3000}"] {
        let headers =
            [HeaderValue::from_bytes(format!("{space}__Host-c=tossed").as_bytes()).unwrap()];
        assert!(!RequestCookies::read(&headers).has("__Host-c"), "{space:?}");
    }
}

#[test]
fn open_ignores_planted_values_and_refuses_two_that_open() {
    let open = |field: &str| {
        let headers = headers(&[field]);
        let cookies = RequestCookies::read(&headers);
        cookies.open("c", |value| {
            value.starts_with("ok").then(|| value.to_owned())
        })
    };
    for (field, expected) in [
        ("c=ok", Some("ok")),
        ("c=x; c=ok; c=y", Some("ok")),
        ("c=ok; c=ok", Some("ok")),
        ("c=ok1; c=ok2", None),
        ("c=2.ok; c.1=a", Some("oka")),
        ("c=9.ok; c=2.ok; c=2.x; c.1=a; c.2=z", Some("oka")),
        ("c=2.ok; c.1=a; c.1=b", None),
        ("c=2.ok; c=ok", Some("ok")),
        ("c=x", None),
        ("d=ok", None),
    ] {
        assert_eq!(open(field).as_deref(), expected, "{field}");
    }
    let planted: String = (0..MAX_VALUES).map(|n| format!("c=x{n}; ")).collect();
    assert_eq!(open(&format!("{planted}c=ok")), None);
    let chunks: String = (0..50).map(|n| format!("c.1={n}; c.2={n}; ")).collect();
    assert_eq!(open(&format!("c=3.x; {chunks}")), None);
}

#[test]
fn get_conflicting_duplicates_count_as_none() {
    let headers = headers(&[";;=; a; =x; b=1=2;c=3 ; d", "e=4; b=1=2; c=5"]);
    let cookies = RequestCookies::read(&headers);
    assert_eq!(cookies.get("b"), Some("1=2"));
    assert_eq!(cookies.get("c"), None);
    assert!(cookies.has("c"));
    assert_eq!(cookies.get("e"), Some("4"));
    assert_eq!(cookies.get("a"), None);
}

/// The cookies as text, without those that are not UTF-8.
fn as_text(fields: &[HeaderValue]) -> Vec<(String, String)> {
    let fields = fields.iter().map(HeaderValue::as_bytes);
    let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
    let texts = pairs.filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok());
    let split = texts.filter_map(|text| text.split_once('='));
    split
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

proptest! {
    #[test]
    fn cookies_of_any_bytes_are_found_as_in_text(
        fields in prop::collection::vec("((a|c|c[.]1)=(2[.])?(a|\u{e9}|\\?){0,3}( ?; ?)?){0,4}", 0..4),
    ) {
        let value = |field: String| {
            let bytes = field.into_bytes().into_iter();
            let bytes = bytes.map(|byte| if byte == b'?' { 0xff } else { byte });
            HeaderValue::from_bytes(&bytes.collect::<Vec<_>>()).unwrap()
        };
        let fields: Vec<HeaderValue> = fields.into_iter().map(value).collect();
        let (cookies, expected) = (RequestCookies::read(&fields), as_text(&fields));
        for name in ["a", "c", "c.1", ""] {
            let named = expected.iter().filter(|(found, _)| found == name);
            let mut values: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
            prop_assert_eq!(cookies.has(name), !values.is_empty());
            values.sort_unstable();
            values.dedup();
            let text = cookies.get(name);
            prop_assert_eq!(text, (values.len() == 1).then(|| values[0]));
            if let Some(text) = text {
                let bytes = cookies.get_bytes(name);
                prop_assert!(bytes.is_none() || bytes == Some(text.as_bytes()));
            }
            let read = |value: &[u8]| std::str::from_utf8(value).ok().map(str::to_owned);
            let whole = cookies.open_bytes(name, read);
            let chunked = cookies.get_chunked(name);
            prop_assert_eq!(whole.as_deref(), chunked.as_deref());
        }
    }

    #[test]
    fn cookies_in_several_fields_are_those_of_one_field(
        pairs in prop::collection::vec("(a|c|c[.]1)=(2[.])?[a-z]{0,3}", 0..8),
    ) {
        let field = headers(&[&pairs.join("; ")]);
        let fields = headers(&pairs.iter().map(String::as_str).collect::<Vec<_>>());
        let one = RequestCookies::read(&field);
        let several = RequestCookies::read(&fields);
        for name in ["a", "c", "c.1"] {
            prop_assert_eq!(one.get_chunked(name), several.get_chunked(name));
            prop_assert_eq!(one.has(name), several.has(name));
        }
    }
}
