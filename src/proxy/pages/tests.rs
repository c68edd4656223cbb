//! Tests of all pages: values are escaped and bounded, nothing is loaded, and each page has one
//! heading.

use super::escaping::{MAX_TEXT, clean, is_disruptive};
use super::templates::STYLE;
use super::*;

/// Every page, with `text` wherever a page takes text.
fn every_page(pages: &Pages, text: &str) -> Vec<(&'static str, RenderedPage)> {
    let text = SampleText {
        site: text,
        user: text,
        name: text,
        request_id: text,
    };
    let samples = samples(&text).into_iter();
    samples
        .map(|sample| (sample.name, pages.render(&sample.page, None)))
        .collect()
}

fn rendered(content: &impl PageContent) -> RenderedPage {
    Pages::shipped().unwrap().render(&Page::new(content), None)
}

#[test]
fn every_page_is_complete_and_loads_nothing() {
    for (name, page) in every_page(&Pages::shipped().unwrap(), "store.example.com") {
        let html = page.html.as_str();
        for (part, times) in [
            ("<h1>", 1),
            ("<main", 1),
            ("</html>", 1),
            ("<style>", 1),
            ("<title>", 1),
        ] {
            assert_eq!(html.matches(part).count(), times, "{part} in {name}");
        }
        assert!(
            html.starts_with("<!doctype html>\n<html lang=\"en\" dir=\"ltr\">"),
            "{name}"
        );
        for part in [
            "<script",
            " style=",
            "javascript:",
            "<link",
            "@import",
            "url(",
            "http:",
            "https:",
            " onclick",
        ] {
            // That page leads to another host.
            let is_link = part == "https:" && name == "moving-on";
            assert!(is_link || !html.contains(part), "{part} in {name}");
        }
        // The page contains its images. A slash may be written as an entity.
        let images = html.matches("<img").count();
        let contained = html.matches("<img src=\"data:image").count();
        assert_eq!(images, contained, "{name}");
        assert_eq!(images, usize::from(name == "provider-choice"), "{name}");
    }
}

/// Reflected XSS, and text that is evaluated as a template.
#[test]
fn hostile_text_is_escaped() {
    let pages = Pages::shipped().unwrap();
    let plain = every_page(&pages, "x");
    for hostile in [
        "<script>alert(1)</script>",
        "</title></style><script>1</script>",
        "\" onmouseover=\"x",
        "' autofocus onfocus='x",
        "&lt;b&gt;<b>",
        "{{ style }}{% include 'layout.html' %}",
        "--><svg/onload=1>",
    ] {
        for ((name, page), (_, plain)) in every_page(&pages, hostile).iter().zip(&plain) {
            for mark in ['<', '>', '"', '\''] {
                let count = |html: &str| html.matches(mark).count();
                assert_eq!(
                    count(&page.html),
                    count(&plain.html),
                    "{mark} of {hostile} in {name}"
                );
            }
            assert_eq!(page.html.matches(STYLE).count(), 1, "{hostile} in {name}");
        }
    }
}

#[test]
fn bidirectional_and_control_characters_are_replaced() {
    let hostile = "alice\u{202E}\u{2066}moc.live\u{200F}\r\n\0\u{1b}[2J\u{85}\u{2028}";
    for (name, page) in every_page(&Pages::shipped().unwrap(), hostile) {
        assert!(
            page.html.contains(
                "alice\u{FFFD}\u{FFFD}moc.live\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}[2J"
            ),
            "{name}"
        );
        assert!(
            !page.html.chars().any(|c| c != '\n' && is_disruptive(c)),
            "{name}"
        );
    }
    assert_eq!(clean("Ελένη علي 山田 नमस्ते 👩‍🚀"), "Ελένη علي 山田 नमस्ते 👩‍🚀");
}

#[test]
fn long_text_is_cut() {
    let pages = Pages::shipped().unwrap();
    let sizes = |text: &str| -> Vec<usize> {
        every_page(&pages, text)
            .iter()
            .map(|(_, p)| p.html.len())
            .collect()
    };
    for (long, short) in sizes(&"<".repeat(10 * 1024)).into_iter().zip(sizes("x")) {
        assert!(long - short < 11 * MAX_TEXT * "&lt;".len(), "{long} bytes");
    }
    assert_eq!(clean(&"é".repeat(MAX_TEXT)), "é".repeat(MAX_TEXT));
    assert_eq!(
        clean(&"é".repeat(MAX_TEXT + 1)),
        format!("{}…", "é".repeat(MAX_TEXT))
    );
}

#[test]
fn link_is_complete_and_escaped() {
    let long = Href::parse(format!(
        "/.doorward/login?a=1&return_to=%2F{}\"",
        "x".repeat(2000)
    ))
    .unwrap();
    let page = rendered(&FrameLoginPage {
        site: "a",
        login: &long,
        request_id: "r",
    });
    let escaped = long
        .as_str()
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('/', "&#x2f;");
    assert!(
        page.html.contains(&format!("href=\"{escaped}\"")),
        "{}",
        page.html
    );
}

/// Targets that browsers read differently, such as `/\evil`.
#[test]
fn href_cannot_leave_the_origin() {
    for path in ["/", "/.doorward/logout", "/a?b=c&d=%0a#e", "/a//b"] {
        assert_eq!(Href::parse(path).unwrap().as_str(), path);
    }
    for path in [
        "",
        "a",
        "//evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        " /",
        "\t//evil",
    ] {
        assert_eq!(Href::parse(path), Err(ParseHrefError::NotAPath), "{path}");
    }
    for path in [
        "/\\evil.example",
        "/\t/evil.example",
        "/a b",
        "/a\n",
        "/é",
        "/a\\b",
        "/\0",
    ] {
        assert_eq!(Href::parse(path), Err(ParseHrefError::Byte), "{path}");
    }
    assert_eq!(
        Href::parse(format!("/{}", "a".repeat(MAX_LINK))),
        Err(ParseHrefError::TooLong)
    );
}

#[test]
fn policy_allows_the_inline_style_by_hash() {
    for (name, page) in every_page(&Pages::shipped().unwrap(), "store.example.com") {
        let style = page
            .html
            .split_once("<style>")
            .unwrap()
            .1
            .split_once("</style>")
            .unwrap()
            .0;
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        let policy = page.content_security_policy.to_str().unwrap();
        let has_image = page.html.contains("<img");
        let images = if has_image { " img-src data:;" } else { "" };
        assert!(
            policy.starts_with(&format!(
                "default-src 'none'; style-src 'sha256-{hash}';{images} base-uri 'none'"
            )),
            "{name}"
        );
        let has_form = page.html.contains("<form");
        // The page for a frame of any site is the only one that a frame may contain.
        assert_eq!(
            policy.contains("frame-ancestors 'none'"),
            name != "frame-login",
            "{name}"
        );
        // A form's POST is redirected on to the provider, which Chromium would refuse under
        // `form-action`.
        assert!(!(has_form && policy.contains("form-action")), "{name}");
    }
}

#[test]
fn forbidden_page_shows_user_and_offers_no_login() {
    let (log_out, home) = (
        Href::parse("/.doorward/logout").unwrap(),
        Href::parse("/").unwrap(),
    );
    let page = ForbiddenPage {
        site: "s",
        user: "alice@example.com",
        switch_account: &log_out,
        home: &home,
        request_id: "R-1",
    };
    let html = rendered(&page).html;
    for part in [
        "<bdi>alice@example.com</bdi>",
        "href=\"&#x2f;.doorward&#x2f;logout\"",
        "<code>R-1</code>",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.to_lowercase().contains("log in"));
}

#[test]
fn page_of_a_login_host_links_to_the_app() {
    let target = "https://store.example.com/.doorward/callback?handover=AbC-_9";
    let page = rendered(&MovingOnPage {
        site: "login.example.com",
        title: "moving_on.signed_in",
        to: "store.example.com",
        target,
    });
    let link =
        "href=\"https:&#x2f;&#x2f;store.example.com&#x2f;.doorward&#x2f;callback?handover=AbC-_9\"";
    assert!(page.html.contains(link), "{}", page.html);
    let policy = page.content_security_policy.to_str().unwrap();
    assert!(policy.ends_with("form-action 'none'; frame-ancestors 'none'"));
}
