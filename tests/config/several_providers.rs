//! Several providers for one app.

use doorward::config::Severity;

use super::support::{Folder, GOOD, edited, problems, shown};

const FORUM: &str = "provider = \"login\"\npublic_url = \"https://forum.example.com\"\nupstream = \"http://127.0.0.1:4000\"\nclient_id = \"forum\"\n";
const SEVERAL: &str = r#"providers = ["login", "members"]
public_url = "https://forum.example.com"
upstream = "http://127.0.0.1:4000"

[apps.forum.registrations.login]
client_id = "forum"

[apps.forum.registrations.members]
client_id = "4711"
scopes = ["openid"]

[providers.members]
issuer = "https://members.example.com"
title = "Members"
login_hint_domains = ["example.net"]
"#;

fn several() -> String {
    edited(FORUM, SEVERAL)
}

#[test]
fn each_provider_has_a_registration_with_its_own_redirect_uri() {
    let config = Folder::with(&several()).load(&[]).unwrap().config;
    let forum = &config.apps[0];
    let found: Vec<_> = forum
        .registrations
        .iter()
        .map(|one| {
            (
                one.client.client_id.as_str(),
                one.client.redirect_uri.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "forum",
                "https://forum.example.com/.doorward/callback/login"
            ),
            (
                "4711",
                "https://forum.example.com/.doorward/callback/members"
            ),
        ]
    );
    let titles: Vec<_> = forum
        .policy
        .providers
        .iter()
        .map(|one| one.title.as_str())
        .collect();
    assert_eq!(titles, ["login", "Members"]);
    assert!(forum.registrations.iter().all(|one| one.bearer.is_none()));
}

#[test]
fn each_registration_verifies_only_tokens_of_its_own_provider() {
    let text = format!(
        "{}\n[providers.robots]\nissuer = \"https://robots.example.com\"\n\
         [apps.forum.bearer]\nproviders = [\"members\"]\naudiences = [\"api\"]\n",
        several()
    );
    let config = Folder::with(&text).load(&[]).unwrap().config;
    let verified = config.apps[0].registrations.iter().map(|one| {
        let providers = &one.bearer.as_ref().unwrap().providers;
        let names = providers.iter().map(|name| name.as_str());
        names.collect::<Vec<_>>()
    });
    let verified: Vec<_> = verified.collect();
    assert_eq!(verified, [vec![], vec!["members"]]);
}

/// A refused configuration: the replaced text, its replacement, and a part of the message.
const REFUSED: [(&str, &str, &str); 17] = [
    (
        "providers = [",
        "provider = \"login\"\nproviders = [",
        "`providers` is set too",
    ),
    ("\"login\", \"members\"", "\"login\"", "fewer than two"),
    (
        "\"login\", \"members\"",
        "\"login\", \"login\", \"members\"",
        "duplicate provider",
    ),
    (
        "\"login\", \"members\"",
        "\"login\", \"members\", \"nobody\"",
        "unknown provider",
    ),
    (
        "client_id = \"4711\"\nscopes = [\"openid\"]",
        "",
        "`client_id`",
    ),
    (
        "[apps.forum.registrations.members]",
        "[apps.forum.registrations.membres]",
        "not one of `providers`",
    ),
    (
        "[apps.forum.registrations.members]",
        "[apps.forum.registrations.membres]",
        "`members`",
    ),
    (
        "upstream = \"http://127.0.0.1:4000\"",
        "upstream = \"http://127.0.0.1:4000\"\nclient_id = \"forum\"",
        "a registration of its own",
    ),
    (
        "upstream = \"http://127.0.0.1:4000\"",
        "upstream = \"http://127.0.0.1:4000\"\npassword_provider = \"nobody\"",
        "not one of `providers`",
    ),
    (
        "issuer = \"https://members.example.com\"",
        "issuer = \"https://login.example.com\"",
        "the same issuer",
    ),
    ("title = \"Members\"", "title = \"\"", "not a title"),
    ("\"example.net\"", "\"@example.net\"", "not a domain"),
    (
        "upstream = \"http://127.0.0.1:4000\"",
        "upstream = \"http://127.0.0.1:4000\"\nnative = { password_grant = true }",
        "password_provider",
    ),
    (
        "upstream = \"http://127.0.0.1:4000\"",
        "upstream = \"http://127.0.0.1:4000\"\nrules = [{ paths = [\"/dav/**\"], allow = \"authenticated\", auth_methods = [\"basic\"] }]",
        "password_provider",
    ),
    (
        "upstream = \"http://127.0.0.1:4000\"",
        "upstream = \"http://127.0.0.1:4000\"\nbearer = { opaque_tokens = \"introspect\" }",
        "which of several providers issued it",
    ),
    (
        "upstream = \"http://127.0.0.1:4000\"",
        "upstream = \"http://127.0.0.1:4000\"\nbearer = { providers = [\"login\", \"robots\"], audiences = [\"api\"] }",
        "no user logs in at",
    ),
    (
        "scopes = [\"openid\"]",
        "scopes = [\"email\"]",
        "the scope `openid` is missing",
    ),
];

#[test]
fn what_is_ambiguous_is_refused() {
    for (from, to, message) in REFUSED {
        let text = several();
        assert!(text.contains(from), "{from}");
        let found = problems(&text.replacen(from, to, 1));
        let has_it = found.iter().any(|problem| {
            problem.severity == Severity::Error && problem.message.contains(message)
        });
        assert!(has_it, "{to}: {}", shown(&found));
    }
}

#[test]
fn app_with_one_provider_has_no_keys_of_several() {
    for line in [
        "password_provider = \"login\"",
        "registrations = { login = { client_id = \"x\" } }",
    ] {
        let text = GOOD.replacen(
            "client_id = \"forum\"",
            &format!("client_id = \"forum\"\n{line}"),
            1,
        );
        let found = problems(&text);
        let has_it = found
            .iter()
            .any(|problem| problem.message.contains("the app has one provider"));
        assert!(has_it, "{line}: {}", shown(&found));
    }
}

#[test]
fn logo_is_an_image_without_scripts() {
    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><circle r=\"4\"/></svg>";
    let text = several().replace(
        "title = \"Members\"",
        "title = \"Members\"\nlogo_file = \"logo.svg\"",
    );
    let folder = Folder::with(&text);
    folder.write("logo.svg", SVG);
    let config = folder.load(&[]).unwrap().config;
    let providers = &config.apps[0].policy.providers;
    let logos: Vec<_> = providers.iter().map(|one| one.logo.is_some()).collect();
    assert_eq!(logos, [false, true]);

    for (content, why) in [
        (
            SVG.replace("<circle", "<script>alert(1)</script><circle"),
            "the SVG image contains a script",
        ),
        (
            SVG.replace("<circle", "<circle onload=\"alert(1)\""),
            "the SVG image contains an event handler",
        ),
        ("GIF89a".to_owned(), "it is neither PNG nor SVG"),
        (" ".repeat(40_000), "it is larger than 32 KiB"),
    ] {
        folder.write("logo.svg", &content);
        let shown = format!("{:?}", folder.load(&[]).unwrap_err());
        assert!(shown.contains(why), "{why}: {shown}");
    }
}
