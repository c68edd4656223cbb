//! Tests for parsing the requests of native clients.

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";

fn read_as(
    call: NativeCall,
    head: Head<'_>,
    body: &str,
) -> Result<NativeRequest, NativeRequestError> {
    NativeRequest::read(call, head, body.as_bytes(), &ClientId::new("the store"))
}

fn form(body: &str) -> Result<NativeRequest, NativeRequestError> {
    read_as(
        NativeCall::Token,
        Head {
            content_type: FORM,
            authorization: None,
        },
        body,
    )
}

fn json(call: NativeCall, body: &str) -> Result<NativeRequest, NativeRequestError> {
    read_as(
        call,
        Head {
            content_type: JSON,
            authorization: None,
        },
        body,
    )
}

fn credentials(read: Result<NativeRequest, NativeRequestError>) -> PasswordLogin {
    match read {
        Ok(NativeRequest::Login(credentials)) => credentials,
        other => panic!("{other:?}"),
    }
}

#[test]
fn login_is_parsed_from_form_and_json() {
    let by_form = form(
        "grant_type=password&username=alice%40example.com&password=p%26+%C3%A9&scope=openid+email&x=y",
    );
    let by_json = json(
        NativeCall::Login,
        r#"{"username":"alice@example.com","password":"p& \u00e9","scope":"openid email","grant_type":"other"}"#,
    );
    for login in [credentials(by_form), credentials(by_json)] {
        assert_eq!(
            (login.username.as_str(), login.password.expose()),
            ("alice@example.com", "p& é")
        );
        assert_eq!(
            (login.scope.as_deref(), login.mode),
            (Some("openid email"), Mode::Tokens)
        );
        assert!(login.device_token.is_none());
        assert!(!format!("{login:?}").contains("p&"));
    }
    let web_view = json(
        NativeCall::Login,
        r#"{"username":"a","password":"b","mode":"cookies","scope":null}"#,
    );
    assert_eq!(credentials(web_view).mode, Mode::Cookies);
}

#[test]
fn refresh_and_logout_are_parsed() {
    let read = form("grant_type=refresh_token&refresh_token=r&client_id=the+store&scope=");
    assert!(
        matches!(read, Ok(NativeRequest::Refresh(refresh)) if refresh.refresh_token.as_str() == "r" && refresh.scope.is_none())
    );
    let read = json(NativeCall::Refresh, r#"{"refresh_token":"r"}"#);
    assert!(
        matches!(read, Ok(NativeRequest::Refresh(refresh)) if refresh.refresh_token.as_str() == "r")
    );
    for body in [
        r#"{"refresh_token":"r","access_token":"a"}"#,
        r#"{"access_token":"r"}"#,
    ] {
        let read = json(NativeCall::Logout, body);
        assert!(
            matches!(read, Ok(NativeRequest::Logout(LogoutRequest::Token(token))) if token.as_str() == "r")
        );
    }
    let read = json(NativeCall::Logout, r#"{"mode":"cookies"}"#);
    assert!(matches!(
        read,
        Ok(NativeRequest::Logout(LogoutRequest::Cookies))
    ));
    assert_eq!(
        json(NativeCall::Logout, "{}").unwrap_err(),
        NativeRequestError::Missing("refresh_token")
    );
}

#[test]
fn invalid_request_is_rejected_with_its_cause() {
    let long = |name: &str, length: usize| {
        format!(
            "grant_type=password&username=a&password=b&{name}={}",
            "x".repeat(length)
        )
    };
    let forms = [
        ("", NativeRequestError::Missing("grant_type")),
        ("grant_type=", NativeRequestError::Missing("grant_type")),
        (
            "grant_type=authorization_code&code=x",
            NativeRequestError::GrantType,
        ),
        (
            "grant_type=password&password=b",
            NativeRequestError::Missing("username"),
        ),
        (
            "grant_type=password&username=+%C2%A0&password=b",
            NativeRequestError::Missing("username"),
        ),
        (
            "grant_type=password&username=%E2%80%8B&password=b",
            NativeRequestError::Missing("username"),
        ),
        (
            "grant_type=password&username=a&password=",
            NativeRequestError::Missing("password"),
        ),
        (
            "grant_type=refresh_token",
            NativeRequestError::Missing("refresh_token"),
        ),
        (
            "grant_type=password&username=a&username=a&password=b",
            NativeRequestError::Repeated,
        ),
        (
            "grant_type=password&username=a&password=b&password=c",
            NativeRequestError::Repeated,
        ),
        (
            "grant_type=password&username=a%0D%0Ax&password=b",
            NativeRequestError::Invalid("username"),
        ),
        (
            "grant_type=password&username=a&password=b%00",
            NativeRequestError::Invalid("password"),
        ),
        (&long("scope", 1025), NativeRequestError::Invalid("scope")),
        (
            "grant_type=password&username=a&password=b&scope=%22",
            NativeRequestError::Invalid("scope"),
        ),
        (
            "grant_type=password&username=a&password=b&client_id=forum",
            NativeRequestError::Client,
        ),
        (
            "grant_type=password&username=a&password=b&client_id=the+store&client_secret=s",
            NativeRequestError::Client,
        ),
    ];
    for (body, error) in forms {
        assert_eq!(form(body).unwrap_err(), error, "{body}");
    }
    for (name, max_len, error) in [
        ("username", 320, "username"),
        ("password", 1024, "password"),
    ] {
        let others = if name == "username" {
            "password=b"
        } else {
            "username=a"
        };
        let of = |length| {
            form(&format!(
                "grant_type=password&{others}&{name}={}",
                "x".repeat(length)
            ))
        };
        assert!(of(max_len).is_ok());
        assert_eq!(
            of(max_len + 1).unwrap_err(),
            NativeRequestError::Invalid(error)
        );
    }
    for body in [
        "",
        "[]",
        "{",
        "null",
        r#""x""#,
        r#"{"username":7,"password":"b"}"#,
        r#"{"mode":"cookie"}"#,
    ] {
        assert_eq!(
            json(NativeCall::Login, body).unwrap_err(),
            NativeRequestError::Malformed,
            "{body}"
        );
    }
    let twice = r#"{"username":"a","password":"b","password":"c"}"#;
    assert_eq!(
        json(NativeCall::Login, twice).unwrap_err(),
        NativeRequestError::Malformed
    );
}

#[test]
fn media_type_must_match_endpoint() {
    let head = |content_type| Head {
        content_type,
        authorization: None,
    };
    let body = "grant_type=refresh_token&refresh_token=r";
    for (call, wrong) in [
        (NativeCall::Token, "application/json"),
        (NativeCall::Token, ""),
        (NativeCall::Token, "text/plain"),
        (NativeCall::Login, FORM),
        (NativeCall::Refresh, "text/plain"),
        (NativeCall::Logout, "multipart/form-data"),
    ] {
        assert_eq!(
            read_as(call, head(wrong), body).unwrap_err(),
            NativeRequestError::MediaType,
            "{call:?} {wrong}"
        );
    }
    assert!(
        read_as(
            NativeCall::Token,
            head("Application/X-WWW-Form-Urlencoded ;charset=UTF-8"),
            body
        )
        .is_ok()
    );
}

#[test]
fn public_client_may_send_id_but_no_secret() {
    let with = |authorization: &str| {
        let head = Head {
            content_type: FORM,
            authorization: Some(authorization),
        };
        read_as(
            NativeCall::Token,
            head,
            "grant_type=refresh_token&refresh_token=r",
        )
    };
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for good in [
        basic("the+store:"),
        basic("the store:"),
        basic("the%20store:").replace("Basic", "basic"),
    ] {
        assert!(with(&good).is_ok(), "{good}");
    }
    for bad in [
        basic("the store:secret"),
        basic("forum:"),
        basic("the store"),
        basic(""),
        "Bearer x".into(),
        "x".into(),
    ] {
        assert_eq!(with(&bad).unwrap_err(), NativeRequestError::Client, "{bad}");
    }
}
