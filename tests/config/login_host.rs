//! `login_url` of a provider.

use doorward::config::Severity;
use doorward::policy::login_providers::LoginSite;

use super::support::{Folder, GOOD, edited};

const LOGIN: &str = "https://signin.example.com";

fn with_login_url() -> String {
    GOOD.replace(
        "[providers.login]",
        &format!("[providers.login]\nlogin_url = \"{LOGIN}\""),
    )
}

#[test]
fn apps_of_the_provider_use_the_redirect_uri_of_its_login_host() {
    let config = Folder::with(&with_login_url()).load(&[]).unwrap().config;
    assert_eq!(config.login_hosts.len(), 1);
    assert!(config.login_hosts[0].policy.is_login_host());
    for app in &config.apps {
        assert_eq!(
            app.registrations[0].client.redirect_uri.as_str(),
            "https://signin.example.com/.doorward/callback"
        );
        let site = &app.policy.providers.iter().next().unwrap().site;
        let LoginSite::Through(origin) = site else {
            panic!("{site:?}")
        };
        assert_eq!(origin.to_string(), LOGIN);
    }
}

#[test]
fn prefix_without_login_url_is_warned_about() {
    let text = GOOD.replace(
        "[providers.login]",
        "[providers.login]\nlogin_endpoint_prefix = \"/sso\"",
    );
    let loaded = Folder::with(&text).load(&[]).unwrap();
    let problems = loaded.warnings.problems().iter();
    let keys: Vec<&str> = problems.map(|problem| problem.key.as_str()).collect();
    assert!(
        keys.contains(&"providers.login.login_endpoint_prefix"),
        "{keys:?}"
    );
    assert!(loaded.config.login_hosts.is_empty());
}

#[test]
fn login_host_with_memory_store_gets_advice() {
    let advice = |store: &str| {
        let text = edited("url = \"memory:\"", store).replace(
            "[providers.login]",
            "[providers.login]\nlogin_url = \"https://signin.example.com\"",
        );
        let loaded = Folder::with(&text).load(&[]).unwrap();
        let problems = loaded.warnings.problems().iter();
        let mut of_login_url = problems.filter(|one| one.key == "providers.login.login_url");
        of_login_url.any(|problem| problem.severity == Severity::Advice)
    };
    assert!(advice("url = \"memory:\""));
    assert!(!advice("url = \"rediss://127.0.0.1:6379\""));
}
