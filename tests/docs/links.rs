//! Internal links: files and fragments that they name exist, and every page can be reached.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::book::{Page, pages};

#[test]
fn internal_links_resolve() {
    assert_eq!(complaints(&pages()), Vec::<String>::new());
}

#[test]
fn broken_links_are_found() {
    let text = "# A\n\n[x](absent.md) [y](b.md#absent) [z](#absent) [w](/absolute.md) [v](http://plain.example) [ok](b.md#b)";
    let pages = [
        Page::parse("docs/a.md", text),
        Page::parse("docs/b.md", "# B\n\n## C\n\n## C\n\n[c](#c)"),
    ];
    let expected = [
        "docs/a.md: absent.md: there is no such file",
        "docs/a.md: b.md#absent: there is no such heading",
        "docs/a.md: #absent: there is no such heading",
        "docs/a.md: /absolute.md: write a relative link",
        "docs/a.md: http://plain.example: not https",
        "docs/b.md: #c: several headings have this fragment",
    ];
    assert_eq!(complaints(&pages), expected);
}

#[test]
fn every_page_is_in_the_site_navigation() {
    let navigation =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("mkdocs.yml")).unwrap();
    let listed: HashSet<&str> = navigation
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|word| word.ends_with(".md"))
        .collect();
    for page in pages().iter().filter(|page| page.path != "README.md") {
        assert!(
            listed.contains(page.path.trim_start_matches("docs/")),
            "mkdocs.yml does not list {}",
            page.path
        );
    }
}

fn complaints(pages: &[Page]) -> Vec<String> {
    let mut complaints = Vec::new();
    for page in pages {
        for link in &page.links {
            if let Err(complaint) = resolve(pages, page, link) {
                complaints.push(format!("{}: {link}: {complaint}", page.path));
            }
        }
    }
    complaints
}

fn resolve(pages: &[Page], from: &Page, link: &str) -> Result<(), &'static str> {
    if link.starts_with("https://") {
        return Ok(());
    }
    if link.contains("://") {
        return Err("not https");
    }
    if link.starts_with('/') {
        return Err("write a relative link");
    }
    let (file, fragment) = link
        .split_once('#')
        .map_or((link, None), |(file, fragment)| (file, Some(fragment)));
    let path = if file.is_empty() {
        from.path.clone()
    } else {
        beside(&from.path, file)
    };
    let Some(target) = pages.iter().find(|page| page.path == path) else {
        let exists =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).is_file() && fragment.is_none();
        // The site holds what is below `docs/` only.
        let is_in_site = from.path == "README.md" || path.starts_with("docs/");
        return if exists && is_in_site {
            Ok(())
        } else {
            Err("there is no such file")
        };
    };
    let Some(fragment) = fragment else {
        return Ok(());
    };
    match target
        .anchors()
        .iter()
        .filter(|anchor| *anchor == fragment)
        .count()
    {
        0 => Err("there is no such heading"),
        1 => Ok(()),
        _ => Err("several headings have this fragment"),
    }
}

/// The path of `file`, as a link on the page `from` names it.
fn beside(from: &str, file: &str) -> String {
    let mut path: Vec<&str> = from.split('/').collect();
    path.pop();
    for step in file.split('/') {
        match step {
            "." => {}
            ".." => _ = path.pop(),
            step => path.push(step),
        }
    }
    path.join("/")
}
