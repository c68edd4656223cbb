//! `[pages]` and `[apps.NAME.pages]`.

use doorward::config::{Problem, Severity};

use super::support::{ENGLISH, Folder, edited, problems};

/// Warnings about colors as `key: contrast`.
fn warnings(pages: &str) -> Vec<String> {
    let problems = problems(&edited("[store]", &format!("{pages}\n[store]")));
    let warnings = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Warning);
    warnings
        .map(|problem| {
            let words = problem.message.split(' ');
            let contrast = words
                .clone()
                .find(|word| word.ends_with(":1"))
                .unwrap_or_default();
            format!("{}: {contrast}", problem.key)
        })
        .collect()
}

#[test]
fn colors_with_low_contrast_are_warned_about() {
    let good = "[pages]\naccent_color = \"#7a1f5c\"\naccent_color_dark = \"#e79ccd\"";
    assert!(warnings(good).is_empty());
    let colors = "accent_color = \"#ffdd00\"\naccent_color_dark = \"#7a1f5c\"\n\
                  background_color = \"#52616d\"\nbackground_color_dark = \"#000000\"";
    for table in ["pages", "apps.forum.pages"] {
        let found = warnings(&format!("[{table}]\n{colors}"));
        let expected = [
            "accent_color: 1.3:1",
            "accent_color_dark: 1.7:1",
            "background_color: 1.0:1",
        ];
        assert_eq!(found, expected.map(|warning| format!("{table}.{warning}")));
    }
}

/// The problems with a file of messages in French.
fn problems_of(messages: &str) -> Vec<Problem> {
    let text = edited(
        "[store]",
        "[pages]\nmessage_files = { fr = \"fr.toml\" }\n[store]",
    );
    let folder = Folder::with(&text);
    folder.write("fr.toml", messages);
    match folder.load(&[]) {
        Ok(loaded) => loaded.warnings.problems().to_vec(),
        Err(diagnosis) => diagnosis.problems().to_vec(),
    }
}

#[test]
fn missing_messages_are_named() {
    assert!(problems_of(ENGLISH).is_empty());
    let one_less = ENGLISH.replace("log_in = \"Log in\"\n", "");
    let found = problems_of(&one_less);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Warning);
    assert_eq!(found[0].key, "pages.message_files.fr");
    assert!(
        found[0].message.ends_with("has no `action.log_in`"),
        "{found:?}"
    );
    let found = problems_of("[action]\nlog_in = \"Se connecter\"\n");
    assert!(found[0].message.ends_with(" more"), "{found:?}");
}

#[test]
fn unknown_message_is_named_with_its_line() {
    for (messages, message) in [
        (
            "[action]\n\nlog_on = \"x\"",
            "line 3: there is no message `action.log_on`",
        ),
        (
            "[forbidden]\nuser = \"{token}\"",
            "line 2: the message `forbidden.user` has no value `{token}`",
        ),
    ] {
        let found = problems_of(messages);
        assert_eq!(found[0].severity, Severity::Error);
        assert!(found[0].message.ends_with(message), "{found:?}");
    }
}

/// An app's list of languages can use the files of the deployment.
#[test]
fn keys_of_an_app_replace_those_of_the_deployment() {
    let text = edited(
        "[store]",
        "[pages]\nmessage_files = { fr = \"messages/fr.toml\" }\n\
         [apps.forum.pages]\nlanguages = [\"FR\", \"en\"]\n[store]",
    );
    assert!(problems(&text).is_empty());
}

/// The problems with these templates.
fn problems_of_templates(files: &[(&str, &str)]) -> Vec<Problem> {
    let text = edited("[store]", "[pages]\ntemplate_folder = \"pages\"\n[store]");
    let folder = Folder::with(&text);
    for (name, text) in files {
        folder.write(&format!("pages/{name}"), text);
    }
    match folder.load(&[]) {
        Ok(loaded) => loaded.warnings.problems().to_vec(),
        Err(diagnosis) => diagnosis.problems().to_vec(),
    }
}

#[test]
fn example_templates_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/pages");
    let text = edited(
        "[store]",
        &format!("[pages]\ntemplate_folder = \"{folder}\"\n[store]"),
    );
    assert!(problems(&text).is_empty());
}

#[test]
fn invalid_template_is_named_with_its_line() {
    let valid = "{% extends \"layout.html\" %}\n{% block content %}<h1>{{ user|strong }}</h1>{% endblock %}";
    assert!(problems_of_templates(&[("forbidden.html", valid), ("README.md", "{{")]).is_empty());
    for (name, text, message) in [
        (
            "error.html",
            "<h1>\n{% if title %}",
            "error.html, line 2: syntax error",
        ),
        (
            "error.html",
            "{{ t(title) }}\n\n{{ title|nothing }}",
            "error.html, line 3: unknown filter",
        ),
        (
            "forbidden.html",
            "\n{{ access_token }}",
            "forbidden.html, line 2: undefined value",
        ),
        (
            "forbidden.html",
            "{{ t(\"forbidden.token\") }}",
            "there is no message `forbidden.token`",
        ),
        (
            "forbidden.html",
            "{{ user|safe }}",
            "forbidden.html, line 1: unknown filter",
        ),
        (
            "layout.html",
            "{% include \"_no.html\" %}",
            "layout.html, line 1: template not found",
        ),
        (
            "layout.html",
            "{% include \"/etc/passwd\" %}",
            "layout.html, line 1: template not found",
        ),
        (
            "error.html",
            "{% for a in range(9999) %}{% for b in range(9999) %}.{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("style.css", "</style><script>", "the style contains `</`"),
    ] {
        let found = problems_of_templates(&[(name, text)]);
        let errors: Vec<_> = found
            .iter()
            .filter(|one| one.severity == Severity::Error)
            .collect();
        assert_eq!(errors.len(), 1, "{found:?}");
        assert_eq!(errors[0].key, "pages.template_folder");
        assert!(errors[0].message.contains(message), "{message}: {found:?}");
    }
}

#[test]
fn template_of_no_page_is_rejected() {
    let found = problems_of_templates(&[("errors.html", "x")]);
    assert!(
        found[0]
            .message
            .contains("no page uses the template `errors.html`"),
        "{found:?}"
    );
    let found = problems_of_templates(&[
        ("_part.html", "x"),
        ("error.html", "{% include '_part.html' %}"),
    ]);
    assert!(found.is_empty(), "{found:?}");
    let found = problems_of_templates(&[("error.html", "<script>1</script>")]);
    assert_eq!(found[0].severity, Severity::Warning, "{found:?}");
}
