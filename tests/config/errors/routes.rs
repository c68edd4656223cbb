//! Errors in `[[apps.NAME.routes]]`.

use super::super::support::{edited, problems, shown};

const FORUM: &str = "client_id = \"forum\"";

/// The valid file with these routes of the forum.
fn with_routes(routes: &[&str]) -> String {
    let tables = routes
        .iter()
        .map(|lines| format!("\n[[apps.forum.routes]]\n{lines}\n"));
    edited(FORUM, &format!("{FORUM}\n{}", tables.collect::<String>()))
}

#[test]
fn invalid_route_is_the_only_error() {
    let wiki = "path = \"/wiki/**\"\nupstream = \"http://127.0.0.1:4100\"";
    let same = "path = \"/wiki/**\"\nresponse_timeout = \"5m\"";
    let case = |lines: &str| lines.replace('\'', "\"");
    for (routes, message) in [
        (vec![String::new()], "`path` is missing"),
        (vec![case("path = '/a/*/b'")], "no `*` but `/**`"),
        (vec![case("path = 'a'")], "starts with `/`"),
        (vec![case("path = '/a//b'")], "must not contain"),
        (vec![case("path = '/.doorward/login'")], "own endpoints"),
        (
            vec![wiki.to_owned(), same.to_owned()],
            "another route has the path",
        ),
        (
            vec![case("path = '/a@b'"), case("path = '/a%40b'")],
            "another route has the path",
        ),
        (
            vec![format!("{wiki}\nstrip_prefix = \"/wik\"")],
            "does not begin with",
        ),
        (
            vec![format!("{wiki}\nstrip_prefix = \"/wiki/\"")],
            "is not a prefix",
        ),
        (
            vec![format!("{wiki}\nadd_prefix = \"app\"")],
            "is not a prefix",
        ),
        (
            vec![case("path = '/a'\nupstream = 'http://localhost:8080'")],
            "doorward itself",
        ),
        (
            vec![case("path = '/a'\nupstream_host = 'upstream'")],
            "needs an `upstream`",
        ),
        (
            vec![case("path = '/a'\nresponse_timeout = '0s'")],
            "must not be zero",
        ),
        (
            vec![case(
                "path = '/a'\nrequest_headers.set = { X-Forwarded-Prefix = '/b' }",
            )],
            "is reserved",
        ),
        (
            vec![case(
                "path = '/a'\nredirect = { to = '/b' }\nrespond = { body = 'c' }",
            )],
            "two of `redirect`, `respond` and `files`",
        ),
        (
            vec![case(
                "path = '/a'\nredirect = { to = '/b' }\nresponse_timeout = '5s'",
            )],
            "responds itself",
        ),
        (
            vec![case(
                "path = '/a'\nfiles = 'static'\nrespond = { body = 'c' }",
            )],
            "two of `redirect`, `respond` and `files`",
        ),
        (
            vec![case(
                "path = '/a'\nfiles = 'static'\nupstream_host = 'client'",
            )],
            "responds itself",
        ),
        (
            vec![case(
                "path = '/a'\nfiles = 'static'\nrequest_headers.remove = ['X-A']",
            )],
            "responds itself",
        ),
        (
            vec![case("path = '/a'\nfiles = 'missing'")],
            "cannot be read",
        ),
        (
            vec![case("path = '/a'\nfiles = 'doorward.key'")],
            "cannot be read",
        ),
        (
            vec![case("path = '/a'\nfiles = '.'")],
            "contains the configuration",
        ),
        (
            vec![case("path = '/a'\nfiles = '/'")],
            "contains the configuration",
        ),
        (
            vec![case("path = '/a'\nredirect = { status = 308 }")],
            "`to` is missing",
        ),
        (
            vec![case("path = '/a'\nredirect = { to = '/b', status = 200 }")],
            "status of a redirect",
        ),
        (
            vec![case("path = '/a'\nredirect = { to = '/b/**' }")],
            "the rest of the path",
        ),
        (
            vec![case("path = '/a/**'\nredirect = { to = '/a/b' }")],
            "to itself",
        ),
        (
            vec![case("path = '/**'\nredirect = { to = '/b/**' }")],
            "to itself",
        ),
        (
            vec![case("path = '/a'\nrespond = { status = 401 }")],
            "fixed response",
        ),
        (
            vec![case("path = '/a'\nrespond = { status = 302 }")],
            "fixed response",
        ),
        (
            vec![case("path = '/a'\nrespond = { status = 204, body = 'a' }")],
            "has no body",
        ),
        (
            vec![case("path = '/a'\nrespond = { content_type = 'text' }")],
            "not a media type",
        ),
        (
            vec![format!(
                "path = \"/a\"\nrespond = {{ body = \"{}\" }}",
                "x".repeat(4097)
            )],
            "too many",
        ),
    ] {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let mut found = problems(&with_routes(&routes));
        found.retain(|problem| problem.severity == doorward::config::Severity::Error);
        assert_eq!(found.len(), 1, "{routes:?}: {}", shown(&found));
        assert!(
            found[0].message.contains(message),
            "{routes:?}: {}",
            shown(&found)
        );
    }
}

#[test]
fn redirect_target_is_a_plain_path_or_url() {
    for (to, is_valid) in [
        ("/b", true),
        ("/b/", true),
        ("/b/**", true),
        ("/**", false),
        ("https://b.test", true),
        ("https://b.test/", true),
        ("https://b.test/**", true),
        ("https://b.test:8443/c/**", true),
        ("http://b.test/c", true),
        ("//b.test", false),
        ("/\\\\b.test", false),
        ("b", false),
        ("", false),
        ("**", false),
        ("https://b.test**", false),
        ("https://a@b.test/", false),
        ("https://B.test/", false),
        ("https://b.test/?q={path}", false),
        ("https://b.test/../c", false),
        ("https:b.test", false),
        ("javascript://b.test/", false),
        ("/b?c=d", false),
        ("/b#c", false),
        ("/{host}", false),
    ] {
        let route = format!("path = \"/a/**\"\nredirect = {{ to = \"{to}\" }}");
        let found = problems(&with_routes(&[&route]));
        let is_refused = found
            .iter()
            .any(|problem| problem.message.contains("not a target"));
        // `/**` would be the same path again.
        assert_eq!(
            is_refused,
            !is_valid && to != "/**",
            "{to}: {}",
            shown(&found)
        );
    }
}

#[test]
fn two_paths_to_one_file_are_refused() {
    for (routes, is_refused) in [
        (&["/a/** static"][..], false),
        (&["/a/** static strip=/a", "/b/** static strip=/b"], true),
        (&["/a/** static strip=/a", "/b/** pages strip=/b"], false),
        (
            &["/a/** static strip=/a", "/b/** static/../static strip=/b"],
            true,
        ),
        (&["/a/** static strip=/a", "/a/b/** static strip=/a"], false),
        (&["/a/** static add=/x", "/b/** static add=/x"], false),
        (
            &[
                "/a/** static strip=/a",
                "/b static strip=/b add=/c/index.html",
            ],
            true,
        ),
    ] {
        let tables: Vec<String> = routes.iter().map(|route| of_files(route)).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let found = problems(&with_routes(&tables));
        let reported = found
            .iter()
            .any(|problem| problem.message.contains("also reached by"));
        assert_eq!(reported, is_refused, "{routes:?}: {}", shown(&found));
    }
}

/// A route with files, such as `/a/** static strip=/a`.
fn of_files(route: &str) -> String {
    let mut parts = route.split(' ');
    let (path, files) = (parts.next().unwrap(), parts.next().unwrap());
    let prefixes = parts.map(|part| {
        let (key, value) = part.split_once('=').unwrap();
        format!("\n{key}_prefix = \"{value}\"")
    });
    let prefixes: String = prefixes.collect();
    format!("path = \"{path}\"\nfiles = \"{files}\"{prefixes}")
}

#[test]
fn two_paths_to_one_path_of_an_address_are_refused() {
    // The forum's own upstream has the port 4000.
    for (routes, is_refused) in [
        (&["/a/** 4100 strip=/a"][..], false),
        (&["/a/** 4100 strip=/a", "/b/** 4200 strip=/b"], false),
        (&["/a/** 4100 strip=/a", "/b/** 4100 strip=/b"], true),
        (
            &["/a/** 4100 strip=/a add=/x", "/b/** 4100 strip=/b add=/y"],
            false,
        ),
        (
            &["/a/** 4100 strip=/a add=/x", "/b/** 4100 strip=/b add=/x/y"],
            true,
        ),
        (&["/a/** 4100 strip=/a", "/a/b/** 4100 strip=/a"], false),
        // `@` and its escaped form are one character to rules.
        (&["/a@b/** 4100", "/x/** 4100 strip=/x add=/a%40b"], true),
        (&["/a/** 4100 strip=/a", "/a/b/** 4100 strip=/a/b"], true),
        (&["/a/** 4000 strip=/a"], true),
        (&["/a/** 4000 add=/x"], true),
        (&["/a 4000 strip=/a add=/b"], true),
        (&["/a/** 4000"], false),
        (&["/a/** 4000 strip=/a add=/a"], false),
        // Nothing is left to the forum's own upstream.
        (&["/** 4000 add=/x"], false),
        (&["/** 4000 add=/x", "/y/** 4000"], false),
        (&["/** 4000 add=/x", "/x/** 4000"], true),
    ] {
        let lines = |route: &&str| {
            let mut parts = route.split(' ');
            let (path, port) = (parts.next().unwrap(), parts.next().unwrap());
            let mut lines = format!("path = \"{path}\"\nupstream = \"http://127.0.0.1:{port}\"");
            for part in parts {
                let (key, value) = part.split_once('=').unwrap();
                lines.push_str(&format!("\n{key}_prefix = \"{value}\""));
            }
            lines
        };
        let tables: Vec<String> = routes.iter().map(lines).collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let found = problems(&with_routes(&tables));
        let reported = found
            .iter()
            .any(|problem| problem.message.contains("also reached by"));
        assert_eq!(reported, is_refused, "{routes:?}: {}", shown(&found));
        assert!(
            reported
                || found
                    .iter()
                    .all(|problem| problem.severity != doorward::config::Severity::Error),
            "{}",
            shown(&found)
        );
    }
}

#[test]
fn routes_of_two_apps_to_one_path_are_advised_about() {
    // The forum's own upstream has the port 4000, and that of the store 3000.
    for (route, other) in [
        (
            "path = '/a/**'\nupstream = 'http://127.0.0.1:3000'\nstrip_prefix = '/a'",
            Some("store"),
        ),
        (
            "path = '/a/**'\nupstream = 'http://127.0.0.1:3000'\nadd_prefix = '/x'",
            Some("store"),
        ),
        (
            "path = '/a'\nupstream = 'http://127.0.0.1:3000'\nstrip_prefix = '/a'\nadd_prefix = '/x/y'",
            Some("store"),
        ),
        // The same paths, as if the store had two hosts.
        ("path = '/a/**'\nupstream = 'http://127.0.0.1:3000'", None),
        (
            "path = '/a/**'\nupstream = 'http://127.0.0.1:3001'\nstrip_prefix = '/a'",
            None,
        ),
    ] {
        let text = with_routes(&[&route.replace('\'', "\"")]);
        let found = problems(&text);
        let mut advice = found
            .iter()
            .filter(|problem| problem.message.contains("has other rules"));
        let about = advice.next();
        assert_eq!(
            about.is_some(),
            other.is_some(),
            "{route}: {}",
            shown(&found)
        );
        if let (Some(about), Some(other)) = (about, other) {
            assert_eq!(about.severity, doorward::config::Severity::Advice);
            assert_eq!(about.key, "apps.forum.routes.0");
            assert!(about.message.contains(other), "{about:?}");
        }
        assert_eq!(advice.next().map(|more| &more.message), None);
    }
}
