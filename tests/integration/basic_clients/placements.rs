//! Other placements: decisions for other proxies, and gRPC over HTTP/2.

use tonic::Code;

use super::{PASSWORD, RULES, basic, checks, started};
use crate::decisions::check::{Check, Dialect, decided_by};
use crate::support::doorward::Setup;
use crate::support::grpc::{Raw, Service, client};
use crate::support::provider::User;

#[tokio::test]
async fn decision_permits_and_removes_the_password() {
    let doorward = started(decided_by(Setup::plain()));
    for dialect in [
        Dialect::AuthRequest,
        Dialect::ForwardAuth,
        Dialect::ExtAuthz,
    ] {
        let response = Check::new(dialect, "/dav/x")
            .header("Authorization", &basic("alice", PASSWORD))
            .request(&doorward)
            .await;
        assert_eq!(response.status(), 200, "{dialect:?}: {}", response.text());
        assert_eq!(response.head.all("x-forwarded-user"), ["alice-id"]);
        let removed = response.head.header("doorward-remove-headers");
        let removed = removed.unwrap_or_default();
        assert!(removed.contains("authorization"), "{dialect:?}: {removed}");

        for (fields, code) in [
            (None, "password_missing"),
            (Some(basic("alice", "wrong")), "wrong_credentials"),
        ] {
            let mut check = Check::new(dialect, "/dav/x");
            if let Some(field) = &fields {
                check = check.header("Authorization", field);
            }
            let response = check.request(&doorward).await;
            assert_eq!(response.status(), 401, "{dialect:?}: {}", response.text());
            assert!(response.text().contains(code), "{}", response.text());
            assert_eq!(
                response.head.all("www-authenticate"),
                ["Basic realm=\"store.localhost\", charset=\"UTF-8\""],
                "{dialect:?}"
            );
        }
    }
    assert_eq!(
        checks(&doorward),
        4,
        "the right password once, the wrong one three times"
    );
}

#[tokio::test]
async fn grpc_client_gets_a_status() {
    const ORIGIN: &str = "http://echo.localhost:8080";
    let service = Service::start();
    let app = format!(
        "[apps.echo]\nprovider = \"login\"\npublic_url = \"{ORIGIN}\"\nclient_id = \"store\"\n\
         client_secret_file = \"store.secret\"\nupstream = \"{}\"\nupstream_protocol = \"http2\"\n\
         [[apps.echo.rules]]\npaths = [\"/**\"]\nallow = \"authenticated\"\n\
         auth_methods = [\"basic\"]\n",
        service.url()
    );
    let doorward = Setup::plain().store_rules(RULES).more(&app).start();
    doorward
        .provider
        .add_user("alice", PASSWORD, User::new("alice", &[]));
    let right = basic("alice", PASSWORD);
    let wrong = basic("alice", "wrong");
    let method = "/echo.Echo/Say";
    let mut statuses = Vec::new();
    for metadata in [
        &[("authorization", right.as_str())][..],
        &[("authorization", &wrong)],
        &[],
    ] {
        let mut client = client(doorward.address(), ORIGIN, metadata).await;
        client.ready().await.expect("a connection");
        let request = tonic::Request::new(bytes::Bytes::from_static(b"hello"));
        let path = http::uri::PathAndQuery::from_static(method);
        let said = client.unary(request, path, Raw).await;
        statuses.push(
            said.map(tonic::Response::into_inner)
                .map_err(|status| status.code()),
        );
    }
    assert_eq!(
        statuses,
        [
            Ok(bytes::Bytes::from_static(b"alice-id: hello")),
            Err(Code::Unauthenticated),
            Err(Code::Unauthenticated)
        ]
    );
    let head = service.heads().pop().expect("a call");
    assert!(!head.contains_key("authorization"));
}
