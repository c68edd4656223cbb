//! Rendering of Doorward's pages: light and dark, wide and narrow. No scripts, no external
//! resources, sufficient contrast, and no horizontal scrolling.

use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::chromium::Chromium;
use crate::support::process::DemoProcess;

/// Returns a page's violations of WCAG 2.2 (1.4.3 contrast, 1.4.10 reflow, 2.5.8 target size, 1.3.1
/// and 2.4.2 one heading, a main part and a title, 3.1.1 language), its scripts and its external
/// resources.
const COMPLAINTS: &str = r#"
const complaints = [];
const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
const luminance = (color) => channels(color).slice(0, 3)
  .map((value) => value / 255)
  .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
  .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
const ground = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return channels(color)[3] === 0 ? ground(element.parentElement) : color;
};
for (const element of document.body.querySelectorAll('h1, p, li, a, button, code, strong')) {
  if (!element.textContent.trim()) continue;
  const [one, two] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
  const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  if (contrast < 4.5) complaints.push(`contrast ${contrast.toFixed(2)}: ${element.textContent.trim()}`);
}
for (const element of document.querySelectorAll('a, button')) {
  const { width, height } = element.getBoundingClientRect();
  if (width < 24 || height < 24) complaints.push(`${width} x ${height}: ${element.textContent}`);
}
if (document.documentElement.scrollWidth > innerWidth) complaints.push(`${document.documentElement.scrollWidth} wide`);
if (document.querySelectorAll('h1').length !== 1) complaints.push('not one heading');
if (document.querySelectorAll('main').length !== 1) complaints.push('not one main part');
if (!document.title || !document.documentElement.lang) complaints.push('no title or no language');
if (document.scripts.length) complaints.push('a script');
const loaded = performance.getEntriesByType('resource').map(({ name }) => name);
for (const name of loaded) if (!name.endsWith('/favicon.ico')) complaints.push(`loads ${name}`);
return complaints;
"#;

const POST: &str = "const form = document.createElement('form'); form.method = 'post'; form.action = '/shopping-cart'; \
    form.enctype = arguments[0]; document.body.append(form); form.submit()";

#[tokio::test]
async fn pages_are_legible_in_light_and_dark_at_any_width() {
    let demo = DemoProcess::start(60);
    let chromium = Chromium::start(&[]).await;
    let store = &demo.store;
    chromium.open(&format!("{store}/")).await;
    chromium
        .client()
        .execute(POST, vec!["multipart/form-data".into()])
        .await
        .expect("a form is sent");
    looks_good(&chromium, "Your form was not sent", "form-not-sent").await;
    chromium
        .open(&format!("{store}/.doorward/callback?error=access_denied"))
        .await;
    looks_good(&chromium, "The login couldn't be completed", "error").await;
    chromium
        .open(&format!("{store}/.doorward/signed-out"))
        .await;
    looks_good(&chromium, "You are signed out", "signed-out").await;

    chromium.open(&format!("{store}/shopping-cart")).await;
    chromium.type_into("input[name=username]", "alice").await;
    chromium.type_into("input[name=password]", "alice").await;
    chromium.click("form button").await;
    chromium.find("#visitor").await;
    chromium.open(&format!("{store}/admin")).await;
    looks_good(&chromium, "You don't have access to this page", "forbidden").await;
    chromium.open(&format!("{store}/shopping-cart")).await;
    chromium
        .client()
        .delete_all_cookies()
        .await
        .expect("the cookies go");
    chromium
        .client()
        .execute(POST, vec!["application/x-www-form-urlencoded".into()])
        .await
        .expect("a form is sent");
    looks_good(&chromium, "Do you want to send your form now?", "send-form").await;
    chromium.open(&format!("{store}/.doorward/logout")).await;
    looks_good(&chromium, "Do you want to log out?", "logout").await;
    chromium.close().await;
}

#[tokio::test]
async fn illegible_page_is_detected() {
    let chromium = Chromium::start(&[]).await;
    let broken = "<title>x</title><body style='background: white'><h1 style='color: %23888'>One</h1><h1>Two</h1>\
        <p style='width: 3000px'>Three</p><a href='/' style='font-size: 9px'>F</a><script>1</script>";
    chromium.open(&format!("data:text/html,{broken}")).await;
    let complaints = chromium
        .client()
        .execute(COMPLAINTS, Vec::new())
        .await
        .expect("a valid script")
        .to_string();
    for part in [
        "contrast 3.54: One",
        ": F",
        " wide",
        "not one heading",
        "not one main",
        "no language",
        "a script",
    ] {
        assert!(
            complaints.contains(part),
            "nothing of `{part}`: {complaints}"
        );
    }
    chromium.close().await;
}

#[tokio::test]
async fn page_of_sessions_is_legible_and_ends_one_and_all() {
    let demo = DemoProcess::start(60);
    let store = format!("{}/shopping-cart", demo.store);
    let page = format!("{}/.doorward/sessions", demo.store);
    let other = Chromium::start(&[]).await;
    let chromium = Chromium::start(&[]).await;
    for browser in [&other, &chromium] {
        browser.open(&store).await;
        browser.type_into("input[name=username]", "alice").await;
        browser.type_into("input[name=password]", "alice").await;
        browser.click("form button").await;
        browser.says("#visitor", "alice").await;
    }
    chromium.open(&page).await;
    chromium.find(".sessions li:nth-child(2) button").await;
    looks_good(&chromium, "Your sessions", "sessions").await;
    chromium.click(".sessions li:nth-child(2) button").await;
    chromium.find(".sessions li:only-child").await;
    chromium.click(".actions button").await;
    chromium
        .arrives("the logout at the provider", |address| address != page)
        .await;
    for browser in [other, chromium] {
        browser.close().await;
    }
}

async fn looks_good(chromium: &Chromium, heading: &str, name: &str) {
    chromium.says("h1", heading).await;
    let mut grounds = Vec::new();
    for (scheme, width) in [
        ("light", 1100),
        ("dark", 1100),
        ("light", 320),
        ("dark", 320),
    ] {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        emulate(
            chromium,
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
        let device =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        emulate(chromium, "Emulation.setDeviceMetricsOverride", device).await;
        let complaints = chromium
            .client()
            .execute(COMPLAINTS, Vec::new())
            .await
            .expect("a valid script");
        let picture = chromium
            .screenshot(&format!("look-{name}-{scheme}-{width}"))
            .await;
        assert_eq!(complaints, json!([]), "{}", picture.display());
        let ground = "return getComputedStyle(document.body).backgroundColor";
        grounds.push(
            chromium
                .client()
                .execute(ground, Vec::new())
                .await
                .expect("a colour"),
        );
    }
    assert_ne!(grounds[0], grounds[1], "{heading}: dark is not light");
    emulate(chromium, "Emulation.clearDeviceMetricsOverride", json!({})).await;
}

pub(crate) async fn emulate(chromium: &Chromium, command: &'static str, params: Value) {
    let command = DevTools { command, params };
    chromium
        .client()
        .issue_cmd(command)
        .await
        .expect("the driver passes it on");
}

/// Sends a command of the Chrome DevTools Protocol through the driver.
#[derive(Debug)]
struct DevTools {
    command: &'static str,
    params: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _request: &Url) -> (http::Method, Option<String>) {
        let body = json!({ "cmd": self.command, "params": self.params });
        (http::Method::POST, Some(body.to_string()))
    }
}
