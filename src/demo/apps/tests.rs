//! Both apps over HTTP, with the identity headers that a proxy sets.

use tokio::net::TcpListener;

use super::{Links, RunningApp, forum, store};
use crate::demo::serve::StartError;
use crate::demo::test_client::Browser;

fn links() -> Links {
    Links {
        store: "http://store.localhost:8080".into(),
        forum: "http://forum.localhost:8080".into(),
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn visit(app: &RunningApp, username: Option<&str>) -> Browser {
    let mut browser = Browser::new(app.address());
    if let Some(name) = username {
        browser.headers = vec![
            ("x-forwarded-user", format!("id-of-{name}")),
            ("x-forwarded-preferred-username", name.to_owned()),
            ("x-forwarded-email", format!("{name}@example.com")),
            ("x-forwarded-groups", "customer,admin".to_owned()),
        ];
    }
    browser
}

#[tokio::test]
async fn store_keeps_a_cart_per_user() {
    let store = store::start(listener().await, links()).unwrap();
    let (mut alice, mut bob) = (visit(&store, Some("alice")), visit(&store, Some("bob")));
    for action in ["add", "add", "remove", "add"] {
        let reply = alice
            .post("/shopping-cart", &[("product", "key"), ("action", action)])
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("location")),
            (303, "/shopping-cart")
        );
    }
    let cart = alice.get("/shopping-cart").await.text;
    assert!(
        cart.contains("id=\"total\">€ 13.00<") && cart.contains("alice@example.com"),
        "{cart}"
    );
    assert!(
        bob.get("/shopping-cart")
            .await
            .text
            .contains("Your cart is empty")
    );
    assert!(
        bob.get("/admin")
            .await
            .text
            .contains("<th scope=\"row\">alice</th><td>2</td>")
    );
    for form in [
        [("product", "moon"), ("action", "add")],
        [("product", "key"), ("action", "burn")],
    ] {
        assert_eq!(alice.post("/shopping-cart", &form).await.status, 400);
    }
}

#[tokio::test]
async fn pages_show_the_user_of_the_identity_headers() {
    let store = store::start(listener().await, links()).unwrap();
    let forum = forum::start(listener().await, links()).unwrap();
    for (app, paths, other) in [
        (
            &store,
            &["/", "/shopping-cart", "/admin", "/clock", "/headers"][..],
            "http://forum.localhost:8080/",
        ),
        (
            &forum,
            &["/", "/posts", "/headers"],
            "http://store.localhost:8080/",
        ),
    ] {
        for path in paths {
            let page = visit(app, Some("alice")).get(path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(
                page.text.contains("<strong id=\"visitor\">alice</strong>"),
                "{path}"
            );
            assert!(page.text.contains("href=\"/.doorward/logout\""), "{path}");
            assert!(
                page.text
                    .replace("&#x2f;", "/")
                    .contains(&format!("href=\"{other}\"")),
                "{path}: {}",
                page.text
            );
        }
        assert!(
            visit(app, None)
                .get("/")
                .await
                .text
                .contains("Not signed in")
        );
    }
    for (app, path) in [
        (&store, "/shopping-cart"),
        (&store, "/admin"),
        (&forum, "/posts"),
    ] {
        assert_eq!(visit(app, None).get(path).await.status, 403, "{path}");
        assert_eq!(
            visit(app, None).post(path, &[]).await.status,
            if path == "/admin" { 405 } else { 403 },
            "{path}"
        );
    }
}

#[tokio::test]
async fn headers_page_shows_all_headers_escaped() {
    let store = store::start(listener().await, links()).unwrap();
    let mut browser = visit(&store, Some("<b>alice</b>"));
    browser.headers.push(("x-odd", "<script>\"&".to_owned()));
    let page = browser.get("/headers?a=1&b=2").await.text;
    assert!(
        page.contains("<code>x-odd</code>") && page.contains("&lt;script&gt;&quot;&amp;"),
        "{page}"
    );
    for raw in ["<script>\"", "<b>alice", "&b=2"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert_eq!(page.matches("<tr class=\"identity\">").count(), 4);
}

#[tokio::test]
async fn forum_keeps_a_limited_number_of_posts() {
    let forum = forum::start(listener().await, links()).unwrap();
    let mut alice = visit(&forum, Some("alice"));
    let reply = alice
        .post(
            "/posts",
            &[("title", "A <fine> day"), ("text", "Is it not?")],
        )
        .await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("location")),
        (303, "/posts")
    );
    assert!(
        visit(&forum, Some("bob"))
            .get("/posts")
            .await
            .text
            .contains("A &lt;fine&gt; day")
    );
    let long = "x".repeat(121);
    for (title, text) in [("", "text"), ("title", " "), (long.as_str(), "text")] {
        assert_eq!(
            alice
                .post("/posts", &[("title", title), ("text", text)])
                .await
                .status,
            422
        );
    }
    for number in 0..210 {
        alice
            .post(
                "/posts",
                &[("title", &format!("post {number}")), ("text", "text")],
            )
            .await;
    }
    let page = alice.get("/posts").await.text;
    assert_eq!(page.matches("<article>").count(), 200);
    assert!(page.contains("post 209") && !page.contains("fine"));
}

#[tokio::test]
async fn ticker_streams_events() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let store = store::start(listener().await, links()).unwrap();
    let mut stream = tokio::net::TcpStream::connect(store.address())
        .await
        .unwrap();
    stream
        .write_all(b"GET /ticker HTTP/1.1\r\nhost: a\r\nx-forwarded-user: alice\r\n\r\n")
        .await
        .unwrap();
    let mut received = String::new();
    while !received.contains("\"tick\":1") {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the stream ended: {received}");
        received.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    assert!(
        received.contains("text/event-stream") && received.contains("\"note\":\"alice\""),
        "{received}"
    );
}

#[tokio::test]
async fn start_rejects_a_non_loopback_listener() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(matches!(
        store::start(listener, links()),
        Err(StartError::NotLoopback(_))
    ));
}
