//! Accessibility of each of Doorward's own pages by axe-core: light and dark, wide and narrow, in each
//! language, with the shipped style, with a branding and with the example templates.

use std::fs;
use std::path::Path;

use doorward::config::{SealingKey, load};
use doorward::proxy::pages::{RenderedPage, RenderedSample};
use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::rendering::emulate;
use crate::support::backend::{Answer, Backend, Content};

const CONFIG: &str = r#"
[session]
key_files = ["key"]
[providers.login]
issuer = "https://login.example.com"
[apps.store]
provider = "login"
public_url = "https://store.example.com"
upstream = "http://127.0.0.1:3000"
client_id = "store"
"#;

const BRANDING: &str = r##"
[pages]
name = "Example Store"
logo_file = "logo.svg"
contact = "help@example.com"
home_url = "https://www.example.com/"
accent_color = "#7a1f5c"
accent_color_dark = "#e79ccd"
background_color = "#faf3f7"
background_color_dark = "#1c1218"
"##;

const LOGO: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 160 40'>\
    <rect width='160' height='40' rx='8' fill='#7a1f5c'/><circle cx='20' cy='20' r='9' fill='#fff'/></svg>";

/// Runs the rules and returns the violations: rule and element.
const RUN: &str = "const done = arguments[arguments.length - 1]; \
    axe.run(document, { resultTypes: ['violations'] }).then( \
    ({ violations }) => done(violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`))), \
    (error) => done([String(error)]))";

/// The pages of a configuration with these lines.
fn samples(lines: &str) -> Vec<RenderedSample> {
    let folder = tempfile::tempdir().unwrap();
    let key = SealingKey::generate().unwrap();
    key.write_new(&folder.path().join("key")).unwrap();
    fs::write(folder.path().join("logo.svg"), LOGO).unwrap();
    let file = folder.path().join("doorward.toml");
    fs::write(&file, format!("{CONFIG}{lines}")).unwrap();
    let loaded = load(&file, []).unwrap_or_else(|error| panic!("{error}"));
    loaded.config.pages.of(None).render_samples()
}

/// A browser with axe-core on the pages of a server.
struct Examiner {
    chromium: Chromium,
    server: Backend,
    axe: String,
}

impl Examiner {
    async fn start() -> Self {
        let axe = Path::new("tests/provider/node_modules/axe-core/axe.min.js");
        let axe = fs::read_to_string(axe).expect("run ./tests/run once: it installs axe-core");
        Self {
            chromium: Chromium::start(&[]).await,
            server: Backend::start(),
            axe,
        }
    }

    /// The violations on a page, as a server shows it.
    async fn violations(&self, page: &RenderedPage) -> Value {
        let answer = Answer {
            body: Content::Bytes(page.html.clone().into_bytes()),
            ..Answer::default()
        };
        let policy = page.content_security_policy.to_str().unwrap();
        let answer = answer
            .with_header("Content-Type", "text/html; charset=utf-8")
            .with_header("Content-Security-Policy", policy);
        self.server.respond_to_all(answer);
        self.chromium
            .open(&format!("{}/page", self.server.url()))
            .await;
        let client = self.chromium.client();
        client
            .execute(&self.axe, Vec::new())
            .await
            .expect("axe-core");
        client
            .execute_async(RUN, Vec::new())
            .await
            .expect("a result")
    }

    /// Examines each page in one color scheme and width, and saves its picture.
    async fn examine(&self, set: &str, samples: &[RenderedSample], scheme: &str, width: u32) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media = json!({ "features": features });
        emulate(&self.chromium, "Emulation.setEmulatedMedia", media).await;
        let device =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500 });
        emulate(&self.chromium, "Emulation.setDeviceMetricsOverride", device).await;
        for RenderedSample { name, page } in samples {
            let violations = self.violations(page).await;
            let language = &page.language;
            let picture = format!("page-{set}-{language}-{name}-{scheme}-{width}");
            self.chromium.screenshot(&picture).await;
            assert_eq!(violations, json!([]), "{picture}");
        }
    }
}

#[tokio::test]
async fn pages_have_no_violations() {
    let examiner = Examiner::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/pages");
    let templates = format!("[pages]\ntemplate_folder = \"{folder}\"\n");
    let every: &[(&str, u32)] = &[
        ("light", 1100),
        ("dark", 1100),
        ("light", 320),
        ("dark", 320),
    ];
    for (set, lines, looks) in [
        ("shipped", "", every),
        ("branded", BRANDING, &[("light", 1100), ("dark", 320)][..]),
        ("templates", &templates, &[("light", 320)][..]),
    ] {
        let samples = samples(lines);
        assert!(samples.len() > 30, "{}", samples.len());
        for (scheme, width) in looks {
            examiner.examine(set, &samples, scheme, *width).await;
        }
    }
    examiner.chromium.close().await;
}

#[tokio::test]
async fn violation_is_found() {
    let examiner = Examiner::start().await;
    let mut page = samples("").remove(0).page;
    page.html = page.html.replace("<h1>", "<img src=\"/x\"><h1>");
    let violations = examiner.violations(&page).await.to_string();
    assert!(violations.contains("image-alt"), "{violations}");
    examiner.chromium.close().await;
}
