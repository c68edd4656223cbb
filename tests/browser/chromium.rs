//! A separate Chromium for each test: its own driver and profile, every host name on loopback, no
//! external network.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::tls::Certificate;

const TIMEOUT: Duration = Duration::from_secs(15);
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1100,800",
    // A fixed language, so that screenshots do not depend on the machine.
    "--lang=en",
];

/// A running browser; browser and driver are stopped on drop.
pub struct Chromium {
    client: Client,
    driver: Driver,
    _profile: TempDir,
}

/// The settings of a browser.
pub struct Launch<'l> {
    /// The hashes of the public keys of certificates that it trusts, in addition to the defaults.
    pub trusted_keys: Vec<String>,
    /// Each `host:port` is mapped to another port.
    pub ports: Vec<(&'l str, u16)>,
    /// The features to enable.
    pub features: Option<&'l str>,
}

struct Driver {
    port: u16,
    process: Child,
}

impl Chromium {
    /// Starts a browser that resolves every host name to 127.0.0.1 and trusts these certificates in
    /// addition to the defaults.
    pub async fn start(trusted: &[&Certificate]) -> Self {
        Self::start_with_ports(trusted, &[]).await
    }

    /// Like `start`, and maps each `host:port` to another port, for URLs without a port.
    pub async fn start_with_ports(trusted: &[&Certificate], ports: &[(&str, u16)]) -> Self {
        let keys = trusted.iter().map(|certificate| certificate.spki_sha256());
        Self::launch(&Launch {
            trusted_keys: keys.collect(),
            ports: ports.to_vec(),
            features: None,
        })
        .await
    }

    /// Starts a browser with these settings.
    pub async fn launch(launch: &Launch<'_>) -> Self {
        let driver = Driver::start();
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let mut arguments: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut names: Vec<String> = launch
            .ports
            .iter()
            .map(|(name, port)| format!("MAP {name} 127.0.0.1:{port}"))
            .collect();
        names.push("MAP * 127.0.0.1".to_owned());
        arguments.push(format!("--host-resolver-rules={}", names.join(",")));
        if !launch.trusted_keys.is_empty() {
            let keys = launch.trusted_keys.join(",");
            arguments.push(format!("--ignore-certificate-errors-spki-list={keys}"));
        }
        if let Some(features) = launch.features {
            arguments.push(format!("--enable-features={features}"));
        }
        let mut capabilities = Map::new();
        capabilities.insert(
            "goog:chromeOptions".to_owned(),
            json!({ "args": arguments }),
        );
        // By default the driver accepts every certificate.
        capabilities.insert("acceptInsecureCerts".to_owned(), json!(false));
        let address = format!("http://127.0.0.1:{}", driver.port);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder
            .capabilities(capabilities)
            .connect(&address)
            .await
            .expect("a WebDriver session");
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    /// The WebDriver client, for commands without a function here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a URL and waits for the page to load.
    pub async fn open(&self, url: &str) {
        self.client
            .goto(url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
    }

    /// Reloads the page.
    pub async fn reload(&self) {
        self.client.refresh().await.expect("the page loads again");
    }

    /// The URL in the address bar.
    pub async fn address(&self) -> String {
        self.client
            .current_url()
            .await
            .expect("an address")
            .to_string()
    }

    /// The current source of the page.
    pub async fn source(&self) -> String {
        self.client.source().await.expect("a source")
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> Element {
        let found = self
            .client
            .wait()
            .at_most(TIMEOUT)
            .for_element(Locator::Css(css))
            .await;
        match found {
            Ok(element) => element,
            Err(error) => panic!(
                "no `{css}` at {} ({error}):\n{}",
                self.address().await,
                self.source().await
            ),
        }
    }

    /// Whether an element is present.
    pub async fn has(&self, css: &str) -> bool {
        !self
            .client
            .find_all(Locator::Css(css))
            .await
            .expect("a page")
            .is_empty()
    }

    /// The text of an element.
    pub async fn text(&self, css: &str) -> String {
        self.find(css).await.text().await.expect("a text")
    }

    /// Waits until an element has this text. Use it after a click, while the previous page may
    /// still be shown.
    pub async fn says(&self, css: &str, text: &str) {
        let begun = Instant::now();
        loop {
            // The element may disappear with its page between the two commands.
            let said = match self.client.find(Locator::Css(css)).await {
                Ok(element) => element.text().await.unwrap_or_default(),
                Err(_) => String::new(),
            };
            if said == text {
                return;
            }
            assert!(
                begun.elapsed() < TIMEOUT,
                "`{css}` says `{said}`, not `{text}`:\n{}",
                self.source().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types into a field.
    pub async fn type_into(&self, css: &str, text: &str) {
        self.find(css)
            .await
            .send_keys(text)
            .await
            .expect("a field to type into");
    }

    /// Clicks an element.
    pub async fn click(&self, css: &str) {
        self.find(css)
            .await
            .click()
            .await
            .expect("something to click at");
    }

    /// Waits until the URL satisfies `condition`.
    pub async fn arrives(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let address = self.address().await;
            if condition(&address) {
                return address;
            }
            assert!(
                begun.elapsed() < TIMEOUT,
                "{what}: still at {address}\n{}",
                self.source().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The status of the last navigation's response.
    pub async fn status(&self) -> u64 {
        let script = "return performance.getEntriesByType('navigation')[0].responseStatus";
        self.client
            .execute(script, Vec::new())
            .await
            .ok()
            .and_then(|status| status.as_u64())
            .expect("a status")
    }

    /// Opens each URL in a new tab, all concurrently; the current tab does not change.
    pub async fn open_tabs(&self, urls: &[String]) {
        let script = "for (const url of arguments[0]) window.open(url)";
        self.client
            .execute(script, vec![json!(urls)])
            .await
            .expect("tabs open");
    }

    /// All tabs, in no particular order.
    pub async fn tabs(&self) -> Vec<WindowHandle> {
        self.client.windows().await.expect("tabs")
    }

    /// Waits until there are `count` tabs besides `known`.
    pub async fn new_tabs(&self, known: &[WindowHandle], count: usize) -> Vec<WindowHandle> {
        let begun = Instant::now();
        loop {
            let new: Vec<_> = self
                .tabs()
                .await
                .into_iter()
                .filter(|tab| !known.contains(tab))
                .collect();
            if new.len() == count {
                return new;
            }
            assert!(
                begun.elapsed() < TIMEOUT,
                "{} new tabs, not {count}",
                new.len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Switches to another tab.
    pub async fn switch_to(&self, tab: &WindowHandle) {
        self.client
            .switch_to_window(tab.clone())
            .await
            .expect("a tab to switch to");
    }

    /// The cookies visible to scripts in the page.
    pub async fn cookies_of_scripts(&self) -> String {
        let cookies = self
            .client
            .execute("return document.cookie", Vec::new())
            .await
            .expect("a script runs");
        cookies.as_str().expect("a text").to_owned()
    }

    /// The cookies for the page's host, including HttpOnly ones, as WebDriver describes them.
    pub async fn cookies(&self) -> Vec<Value> {
        let cookies = self.client.get_all_cookies().await.expect("cookies");
        let described = |cookie: &fantoccini::cookies::Cookie<'_>| {
            json!({
                "name": cookie.name(),
                "value": cookie.value(),
                "secure": cookie.secure(),
                "httpOnly": cookie.http_only(),
                "path": cookie.path(),
                "domain": cookie.domain(),
            })
        };
        cookies.iter().map(described).collect()
    }

    /// Saves a screenshot of the page under `tests/artefacts/`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let picture = self.client.screenshot().await.expect("a screenshot");
        let folder = Path::new("tests/artefacts");
        std::fs::create_dir_all(folder).expect("a folder for artefacts");
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, picture).expect("a file for the screenshot");
        file
    }

    /// Ends the session gracefully; dropping the browser also ends it.
    pub async fn close(self) {
        self.client.clone().close().await.expect("the session ends");
        drop(self.driver);
    }
}

impl Driver {
    fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts: ./tests/run installs it");
        let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(
                stdout.read_line(&mut line).expect("a line") > 0,
                "chromedriver ended before it was ready"
            );
            let ready = line
                .trim_end()
                .trim_end_matches('.')
                .rsplit_once("started successfully on port ");
            if let Some(port) = ready.and_then(|(_, port)| port.parse().ok()) {
                break port;
            }
        };
        // Drain the pipe, so that the driver never blocks on it.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { port, process }
    }

    /// Asks the driver to stop, browsers included.
    fn shut_down(&self) -> std::io::Result<()> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection
            .write_all(b"GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        connection.read_to_end(&mut Vec::new()).map(drop)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Kill it if it does not react.
        let asked = self.shut_down();
        let begun = Instant::now();
        while asked.is_ok() && begun.elapsed() < Duration::from_secs(5) {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}
