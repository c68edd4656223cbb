//! A static site at `/`, Django at `/shop` and Radicale at `/dav` of one host, in a real Chromium: links,
//! redirects, cookies, forms and uploads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chromium::{Chromium, Launch};
use crate::support::doorward::{Doorward, Setup};
use crate::support::eventually_async;
use crate::support::provider::{Client, User};
use crate::support::real_server::{RealServer, tool};
use crate::support::redis::free_port;

const ORIGIN: &str = "https://store.example.test";
const HOST: &str = "store.example.test";
const SOON: Duration = Duration::from_secs(20);

struct OneHost {
    doorward: Doorward,
    folder: TempDir,
    _shop: RealServer,
    _dav: RealServer,
}

/// The folder of a package of Python.
fn package(name: &str) -> String {
    let mut python = tool("python");
    python.args(["-c", &format!("import {name}; print({name}.__path__[0])")]);
    let output = python.output().expect("Python");
    String::from_utf8(output.stdout)
        .expect("a path")
        .trim()
        .to_owned()
}

impl OneHost {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let site = folder.path().join("site");
        fs::create_dir(&site).expect("a folder");
        for (name, text) in [
            (
                "index.html",
                "<!doctype html><link rel=icon href=data:,><link rel=stylesheet href=site.css><h1>Home</h1>\
                 <a id=shop href=shop/upload/>Shop</a> <a id=dav href=dav/>Calendar</a>",
            ),
            ("site.css", "h1 { color: rgb(1, 2, 3) }"),
        ] {
            fs::write(site.join(name), text).expect("a file");
        }
        let port = free_port();
        let mut shop = tool("python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/one_host/shop.py");
        shop.arg(script).arg(port.to_string()).arg(folder.path());
        let shop = RealServer::start(shop, port).await;
        let port = free_port();
        let mut dav = tool("radicale");
        dav.args(["--config", "", "--auth-type", "http_x_remote_user"]);
        dav.args(["--server-hosts", &format!("127.0.0.1:{port}")]);
        dav.arg("--storage-filesystem-folder");
        dav.arg(folder.path().join("storage"));
        let dav = RealServer::start(dav, port).await;
        let app = |name: &str, server: &RealServer, more: &str| {
            format!(
                "[apps.{name}]\nprovider = \"login\"\npublic_url = \"{ORIGIN}/{name}\"\n\
                 upstream = \"http://127.0.0.1:{}\"\nclient_id = \"{name}\"\nclient_secret = \"{name}-secret\"\n{more}\
                 [[apps.{name}.routes]]\npath = \"/{name}/**\"\nstrip_prefix = \"/{name}\"\n",
                server.port
            )
        };
        let tables = format!(
            "[[apps.store.rules]]\npaths = [\"/site.css\"]\nallow = \"public\"\n\
             [[apps.store.routes]]\npath = \"/**\"\nfiles = \"{}\"\n\
             {}[[apps.shop.routes]]\npath = \"/shop/static/**\"\nfiles = \"{}/static\"\nstrip_prefix = \"/shop/static\"\n\
             {}request_headers.set = {{ X-Script-Name = \"/dav\" }}\n",
            site.display(),
            app("shop", &shop, ""),
            package("django.contrib.admin"),
            app(
                "dav",
                &dav,
                "[apps.dav.headers]\nX-Remote-User = \"{preferred_username}\"\n"
            ),
        );
        let doorward = Setup::over_tls().more(&tables).start();
        for name in ["shop", "dav"] {
            let client = Client::of_app(name, &format!("{ORIGIN}/{name}"));
            doorward.provider.register(client);
        }
        doorward.provider.sign_in(User::new("alice", &[]));
        Self {
            doorward,
            folder,
            _shop: shop,
            _dav: dav,
        }
    }

    async fn chromium(&self) -> Chromium {
        let launch = Launch {
            trusted_keys: vec![self.doorward.spki_sha256()],
            ports: vec![(HOST, self.doorward.port_of(0))],
            features: None,
        };
        Chromium::launch(&launch).await
    }
}

/// The status and body of a request of a script.
async fn fetch(chromium: &Chromium, path: &str, options: Value) -> (u64, String) {
    const SCRIPT: &str = "const [path, options, done] = arguments;
        fetch(path, options).then(async (response) => done([response.status, await response.text()]));";
    let arguments = vec![json!(path), options];
    let found = chromium.client().execute_async(SCRIPT, arguments).await;
    let found = found.expect("a response");
    let status = found[0].as_u64().expect("a status");
    (status, found[1].as_str().expect("a body").to_owned())
}

/// The computed value of a property.
async fn style(chromium: &Chromium, css: &str, property: &str) -> String {
    let script = format!("return getComputedStyle(document.querySelector('{css}')).{property}");
    let found = chromium.client().execute(&script, Vec::new()).await;
    found.expect("a style").as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_site_django_and_radicale_share_a_host() {
    let host = OneHost::start().await;
    let chromium = host.chromium().await;

    chromium.open(&format!("{ORIGIN}/")).await;
    chromium.says("h1", "Home").await;
    eventually_async("the style sheet is used", SOON, async || {
        style(&chromium, "h1", "color").await == "rgb(1, 2, 3)"
    })
    .await;

    // A login at another app of the host, and a form with a file.
    chromium.click("#shop").await;
    chromium.says("h1", "alice-id").await;
    assert_eq!(chromium.address().await, format!("{ORIGIN}/shop/upload/"));
    let content: Vec<u8> = (0..300_000_u32).map(|byte| (byte % 251) as u8).collect();
    let file = host.folder.path().join("photo.bin");
    fs::write(&file, &content).expect("a file");
    chromium
        .type_into("#file", &file.display().to_string())
        .await;
    chromium.click("#send").await;
    let hash: String = digest(&SHA256, &content)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let received = format!("photo.bin 300000 {hash}");
    chromium.says("#received", &received).await;
    assert_eq!(chromium.address().await, format!("{ORIGIN}/shop/upload/"));
    let forged = json!({"method": "POST", "body": "file=x", "headers": {"Content-Type": "application/x-www-form-urlencoded"}});
    let (status, text) = fetch(&chromium, "/shop/upload/", forged).await;
    assert!(status == 403 && text.contains("CSRF"), "{status} {text}");

    // The admin, whose style sheets Doorward serves.
    chromium.click("#admin").await;
    chromium.says("#site-name", "Django administration").await;
    assert_eq!(
        style(&chromium, "#header", "backgroundColor").await,
        "rgb(65, 118, 144)"
    );
    chromium.open(&format!("{ORIGIN}/shop/admin")).await;
    assert_eq!(chromium.address().await, format!("{ORIGIN}/shop/admin/"));
    chromium
        .open(&format!("{ORIGIN}/shop/admin/auth/group/add/"))
        .await;
    chromium.type_into("#id_name", "Editors").await;
    chromium.click("input[name=_save]").await;
    let list = format!("{ORIGIN}/shop/admin/auth/group/");
    chromium
        .arrives("the list of groups", |address| address == list)
        .await;
    chromium.says(".messagelist a", "Editors").await;

    let cookies = chromium.cookies().await;
    for name in ["csrftoken", "sessionid"] {
        let mut paths = cookies.iter().filter(|cookie| cookie["name"] == name);
        let path = paths.next().map(|cookie| &cookie["path"]);
        assert_eq!(path, Some(&json!("/shop")), "{cookies:?}");
        assert!(paths.next().is_none(), "{cookies:?}");
    }

    chromium.open(&format!("{ORIGIN}/")).await;
    chromium.click("#dav").await;
    let web = format!("{ORIGIN}/dav/.web/");
    chromium
        .arrives("the page of Radicale", |address| address == web)
        .await;
    let made = json!({"method": "MKCALENDAR"});
    assert_eq!(fetch(&chromium, "/dav/alice/work/", made).await.0, 201);
    let event = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nBEGIN:VEVENT\r\nUID:one\r\n\
        DTSTAMP:20270101T000000Z\r\nDTSTART:20270102T100000Z\r\nSUMMARY:Tea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let put = json!({"method": "PUT", "body": event, "headers": {"Content-Type": "text/calendar"}});
    assert_eq!(
        fetch(&chromium, "/dav/alice/work/one.ics", put).await.0,
        201
    );
    let list = json!({"method": "PROPFIND", "headers": {"Depth": "1"}});
    let (status, text) = fetch(&chromium, "/dav/alice/work/", list).await;
    assert_eq!(status, 207);
    assert!(text.contains("/dav/alice/work/one.ics"), "{text}");
    chromium.close().await;
}
