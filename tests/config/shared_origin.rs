//! Apps whose `public_url` has a path.

use doorward::config::Severity;

use super::support::{Folder, edited};

#[test]
fn apps_share_an_origin_by_different_paths() {
    let text = edited(
        "client_id = \"forum\"",
        "client_id = \"forum\"\nrules = [{ paths = [\"/\", \"/wiki/**\", \"/**\"], allow = \"authenticated\" }]\n\
         [apps.wiki]\nprovider = \"login\"\npublic_url = \"https://forum.example.com/wiki\"\n\
         upstream = \"http://127.0.0.1:1\"\nclient_id = \"wiki\"",
    );
    let loaded = Folder::with(&text).load(&[]).unwrap();
    let problems = loaded.warnings.problems().iter();
    let problems: Vec<_> = problems
        .map(|problem| (problem.severity, problem.key.as_str()))
        .collect();
    let expected = [
        (Severity::Warning, "apps.forum.rules.0.paths.1"),
        (Severity::Advice, "apps.wiki.public_url"),
    ];
    assert_eq!(problems, expected);
    let app = |name: &str| {
        let mut apps = loaded.config.apps.iter();
        apps.find(|app| app.policy.name.as_str() == name).unwrap()
    };
    let (forum, wiki) = (app("forum"), app("wiki"));
    assert_eq!(
        forum.policy.paths.nested,
        std::slice::from_ref(&wiki.policy.paths.base)
    );
    assert_eq!(wiki.policy.cookies.jwt, "__Secure-doorward-wiki_jwt");
    let callback = &wiki.registrations[0].client.redirect_uri;
    assert_eq!(
        callback.as_str(),
        "https://forum.example.com/wiki/.doorward/callback"
    );
}

#[test]
fn route_may_strip_the_path_of_the_app() {
    let is_accepted = |route: &str| {
        let app = format!("https://forum.example.com/posts\"\nroutes = [{{ {route} }}]");
        let text = edited("https://forum.example.com\"", &app);
        Folder::with(&text).load(&[]).is_ok()
    };
    for (route, expected) in [
        ("path = \"/posts/**\", strip_prefix = \"/posts\"", true),
        ("path = \"/posts/a/**\", strip_prefix = \"/posts\"", true),
        ("path = \"/**\", strip_prefix = \"/posts\"", false),
        // The rest of the app leads to the same paths.
        (
            "path = \"/posts/a/**\", strip_prefix = \"/posts/a\", add_prefix = \"/posts\"",
            false,
        ),
    ] {
        assert_eq!(is_accepted(route), expected, "{route}");
    }
}
