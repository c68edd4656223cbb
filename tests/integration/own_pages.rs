//! Doorward's own pages: branding, languages, links to the start page, and pages that reload.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use doorward::admin::ReloadError;

use crate::support::assertions::{CART, assert_error_page, assert_problem};
use crate::support::browser::{Kind, Page, RequestSpec};
use crate::support::doorward::{Doorward, Setup};

const LOGO: &str = "<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0h8v8z'/></svg>";
const UNKNOWN: &str = "/.doorward/nothing";

fn navigation(url: &str) -> RequestSpec {
    RequestSpec::new(Kind::Navigation, url)
}

async fn in_language(doorward: &Doorward, path: &str, languages: &str) -> Page {
    let request = navigation(&doorward.store_url(path)).header("Accept-Language", languages);
    doorward.browser().send(request).await
}

#[tokio::test]
async fn pages_show_the_branding_of_their_app() {
    let tables = "[pages]\nname = \"Example & Co\"\ncontact = \"help@example.com\"\n\
        [apps.store.pages]\nname = \"The Store\"\nlogo_file = \"logo.svg\"\naccent_color = \"#7a1f5c\"\n";
    let doorward = Setup::plain().more(tables).file("logo.svg", LOGO).start();
    let mut browser = doorward.browser();

    let page = browser.step(&doorward.store_url(UNKNOWN)).await;
    assert_error_page(&page, 404, "no_such_endpoint");
    let html = page.text();
    let logo = format!("data:image/svg+xml;base64,{}", STANDARD.encode(LOGO));
    for part in [
        &format!("<img src=\"{logo}\" alt=\"The Store\">"),
        "<title>This page doesn&#x27;t exist · The Store</title>",
        "--main: #7a1f5c;",
        "href=\"mailto:help@example.com\"",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(!html.contains(doorward.store_host()), "{html}");
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("img-src data:;"), "{policy}");
    let style = html.split("<style>").nth(1).unwrap();
    let style = style.split("</style>").next().unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let hash = STANDARD.encode(hash);
    assert!(
        policy.contains(&format!("style-src 'sha256-{hash}'")),
        "{policy}"
    );

    let page = browser.step(&doorward.forum_url(UNKNOWN)).await;
    let html = page.text();
    assert!(html.contains("<bdi>Example &amp; Co</bdi>"), "{html}");
    assert!(html.contains("mailto:help@example.com"));
    assert!(
        !html.contains("<img") && !html.contains("#7a1f5c"),
        "{html}"
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(!policy.contains("img-src"), "{policy}");
}

#[tokio::test]
async fn unknown_page_and_unknown_site_link_to_the_start_page() {
    let link = |page: &Page| {
        let mut links = page.links().into_iter();
        links
            .find(|(_, label)| label == "Go to the start page")
            .map(|(href, _)| href)
    };
    for home_url in [None, Some("https://www.example.com/")] {
        let table = home_url.map(|url| format!("[pages]\nhome_url = \"{url}\"\n"));
        let doorward = Setup::plain().more(&table.unwrap_or_default()).start();
        let mut browser = doorward.browser();
        let page = browser.step(&doorward.store_url(UNKNOWN)).await;
        assert_eq!(
            link(&page).as_deref(),
            Some(home_url.unwrap_or("/")),
            "{page}"
        );
        let elsewhere = doorward.store_url("/").replacen("store", "nobody", 1);
        let page = browser.step(&elsewhere).await;
        assert_error_page(&page, 421, "misdirected");
        assert_eq!(link(&page).as_deref(), home_url, "{page}");
    }
}

#[tokio::test]
async fn page_is_in_a_language_that_the_client_accepts() {
    let doorward = Setup::plain()
        .more("[pages]\nmessage_files = { fr = \"fr.toml\" }\n")
        .file(
            "fr.toml",
            "[error.not_found]\ntitle = \"Cette page n'existe pas\"\n",
        )
        .start();
    for (accepted, language, title) in [
        ("de-AT, en;q=0.5", "de", "Diese Seite gibt es nicht"),
        ("de;q=0.5, en-US", "en", "This page doesn't exist"),
        ("fr, de;q=0.5", "fr", "Cette page n'existe pas"),
        ("it", "en", "This page doesn't exist"),
    ] {
        let page = in_language(&doorward, UNKNOWN, accepted).await;
        assert_eq!(page.status(), 404);
        assert_eq!(page.header("content-language"), Some(language), "{page}");
        let vary = page.head.all("vary").join(", ");
        assert!(
            vary.contains("Accept-Language") && vary.contains("Cookie"),
            "{vary}"
        );
        let html = page.text();
        assert!(
            html.contains(&format!("<html lang=\"{language}\" dir=\"ltr\">")),
            "{html}"
        );
        let heading = format!("<h1>{}</h1>", title.replace('\'', "&#x27;"));
        assert!(html.contains(&heading), "{html}");
    }
    let page = in_language(&doorward, UNKNOWN, "fr").await;
    assert!(
        page.words().contains("There is no page at this address."),
        "{page}"
    );

    let request = RequestSpec::new(Kind::Program, &doorward.store_url(UNKNOWN));
    let page = doorward
        .browser()
        .send(request.header("Accept-Language", "de"))
        .await;
    assert_problem(&page, 404, "no_such_endpoint");
    assert_eq!(page.json()["title"], "This page doesn't exist");
    assert_eq!(page.header("content-language"), None);
}

#[tokio::test]
async fn page_of_an_outage_reloads_unless_it_answers_a_form() {
    let doorward = Setup::plain().without_provider().start();
    let url = doorward.store_url(CART);
    let page = doorward.browser().send(navigation(&url)).await;
    assert_eq!(page.status(), 503, "{page}");
    let seconds: u64 = page.header("refresh").unwrap().parse().unwrap();
    assert!((5..=60).contains(&seconds), "{seconds}");
    assert!(
        page.words().contains("This page reloads by itself."),
        "{page}"
    );

    let form = navigation(&url)
        .method("POST")
        .body("application/x-www-form-urlencoded", "item=knocker")
        .from(&url.parse().unwrap());
    let page = doorward.browser().send(form).await;
    assert_eq!(page.status(), 503, "{page}");
    assert_eq!(page.header("refresh"), None, "{page}");
    assert!(!page.words().contains("reloads"), "{page}");
}

#[tokio::test]
async fn invalid_template_leaves_the_last_good_one() {
    let template = |heading: &str| {
        let content = format!("{{% block content %}}<h1>{heading}</h1>{{% endblock %}}");
        format!("{{% extends \"layout.html\" %}}\n{content}")
    };
    let doorward = Setup::plain()
        .more("[pages]\ntemplate_folder = \".\"\n")
        .file("error.html", &template("First"))
        .start();
    let shown = async || {
        let page = in_language(&doorward, UNKNOWN, "en").await;
        assert_eq!(page.status(), 404);
        page.text()
            .split("<h1>")
            .nth(1)
            .unwrap()
            .chars()
            .take(6)
            .collect::<String>()
    };
    assert_eq!(shown().await, "First<");
    doorward.replace_file("error.html", &template("{{ access_token }}"));
    let Err(ReloadError::Invalid(diagnosis)) = doorward.reload().await else {
        panic!("an invalid template is used");
    };
    assert!(diagnosis.contains("error.html, line 2"), "{diagnosis}");
    assert_eq!(shown().await, "First<");
    doorward.replace_file("error.html", &template("Second"));
    doorward.reload().await.expect("a valid template");
    assert_eq!(shown().await, "Second");
}
