//! Links and forms of HTML pages.

use crate::support::html::{Form, forms, links, text};

const PAGE: &str = r#"<!doctype html><title>T &amp; co</title>
<a class="x" href='/a?b=1&amp;c=2'>Sign&#32;out</a><a name=anchor>no link</a>
<form id="one" action="/go" method="post"><input type="hidden" name="xsrf" value="a&quot;b&#x41;"><input name=user>
<input type=checkbox disabled><textarea name="note">well &amp; good</textarea></form><input name="outside">
<button form="one" name="logout" value="yes">Yes &mdash; go</button><button form=one name=logout value=no>No</button><form><input name="q" value="&unknown;"/></form>"#;

#[test]
fn forms_include_associated_controls() {
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let first = Form {
        id: Some("one".to_owned()),
        method: "POST".to_owned(),
        action: "/go".to_owned(),
        fields: vec![
            field("xsrf", "a\"bA"),
            field("user", ""),
            field("note", "well & good"),
        ],
        buttons: vec![field("logout", "yes"), field("logout", "no")],
    };
    let second = Form {
        method: "GET".to_owned(),
        fields: vec![field("q", "&unknown;")],
        ..Form::default()
    };
    assert_eq!(forms(PAGE), [first.clone(), second]);
    let pressed = |values| {
        first
            .filled(values)
            .into_iter()
            .filter(|(name, _)| name == "logout")
            .collect::<Vec<_>>()
    };
    assert_eq!(pressed(&[("user", "x")]), [field("logout", "yes")]);
    assert_eq!(pressed(&[("logout", "no")]), [field("logout", "no")]);
}

#[test]
fn links_and_text_are_extracted() {
    assert_eq!(
        links(PAGE),
        [("/a?b=1&c=2".to_owned(), "Sign out".to_owned())]
    );
    assert_eq!(
        text(PAGE),
        "T & co Sign out no link well & good Yes &mdash; go No"
    );
}
