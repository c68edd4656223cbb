//! FusionAuth providers: required keys, errors and warnings.

use doorward::config::{Config, Severity};
use doorward::oidc::fusionauth::RefreshBy;
use doorward::oidc::fusionauth::sender::SignatureKey;

use super::support::{Folder, GOOD, problems, shown};

/// The valid file with a FusionAuth provider, with `lines` in its table.
fn text(lines: &str) -> String {
    let issuer = "issuer = \"https://login.example.com\"";
    let apps = GOOD.replace(
        "provider = \"login\"",
        "provider = \"login\"\nsession_jwt = \"access\"",
    );
    apps.replace(issuer, &format!("kind = \"fusionauth\"\n{issuer}\n{lines}"))
}

fn config(lines: &str) -> Config {
    let loaded = Folder::with(&text(lines))
        .load(&[])
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings.problems(), []);
    loaded.config
}

#[test]
fn kind_alone_uses_defaults() {
    let config = config("");
    let fusionauth = config.providers[0].dialect.fusionauth().unwrap();
    assert_eq!(
        (fusionauth.refresh_by, fusionauth.require_registration),
        (RefreshBy::Token, true)
    );
    assert!(
        fusionauth.tenant_id.is_none()
            && fusionauth.api_key.is_none()
            && fusionauth.webhooks.is_none()
    );
    assert!(
        config
            .apps
            .iter()
            .all(|app| app.policy.optional_endpoints.fusionauth_webhooks.is_none())
    );
    let plain = Folder::with(GOOD).load(&[]).unwrap().config;
    assert!(plain.providers[0].dialect.fusionauth().is_none());
}

#[test]
fn all_keys_are_read_and_no_secret_is_shown() {
    let config = config(
        "discovery_url = \"https://login.example.com/x/.well-known/openid-configuration\"\n\
         tenant_id = \"30663132-6464-6665-3032-326466613934\"\nrefresh_by = \"jwt-refresh\"\n\
         api_key_file = \"secrets/fusionauth\"\nrequire_registration = false\n\
         [providers.login.webhooks]\nsignature = \"jwks\"\nusername = \"hook\"\n\
         password_file = \"secrets/webhook-password\"\nheader = \"X-Webhook-Key\"\n\
         header_secret_file = \"secrets/webhook-key\"\n",
    );
    let fusionauth = config.providers[0].dialect.fusionauth().unwrap();
    assert_eq!(
        (fusionauth.refresh_by, fusionauth.require_registration),
        (RefreshBy::JwtRefresh, false)
    );
    assert_eq!(fusionauth.api_key.as_ref().unwrap().expose(), "hunter2");
    let sender = fusionauth.webhooks.as_ref().unwrap();
    assert!(matches!(sender.signature, Some(SignatureKey::KeySet)));
    assert_eq!(sender.basic.as_ref().unwrap().expose(), "hook:hunter2");
    assert_eq!(sender.header.as_ref().unwrap().0, "x-webhook-key");
    assert!(
        config
            .apps
            .iter()
            .all(|app| app.policy.optional_endpoints.fusionauth_webhooks.is_some())
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn hmac_secret_is_read_and_a_short_one_warned_about() {
    let hmac = "[providers.login.webhooks]\nsignature = \"hmac\"\nsignature_secret_file = ";
    let config = config(&format!("{hmac}\"secrets/webhook-signature\"\n"));
    let sender = config.providers[0]
        .dialect
        .fusionauth()
        .unwrap()
        .webhooks
        .as_ref()
        .unwrap();
    let Some(SignatureKey::Shared(secret)) = &sender.signature else {
        panic!("a shared secret")
    };
    assert_eq!(secret.expose().as_slice(), "hunter2-".repeat(8).as_bytes());
    let short = problems(&text(&format!("{hmac}\"store.secret\"\n")));
    assert_eq!(short.len(), 1, "{}", shown(&short));
    assert!(
        short[0].severity == Severity::Warning && short[0].message.contains("enough to be guessed"),
        "{short:?}"
    );
}

#[test]
fn issuer_may_be_plain_text() {
    let bare = |lines| {
        text(lines).replace(
            "issuer = \"https://login.example.com\"",
            "issuer = \"acme.com\"",
        )
    };
    let found = problems(&bare(""));
    assert_eq!(found.len(), 1, "{}", shown(&found));
    assert_eq!(
        (found[0].key.as_str(), found[0].severity),
        ("providers.login.issuer", Severity::Error)
    );
    assert!(
        found[0].message.contains("`discovery_url` is required"),
        "{found:?}"
    );
    let discovery =
        "discovery_url = \"https://login.example.com/.well-known/openid-configuration\"\n";
    let config = Folder::with(&bare(discovery)).load(&[]).unwrap().config;
    assert_eq!(config.providers[0].issuer.as_str(), "acme.com");
    let elsewhere = problems(&bare(discovery).replace("kind = \"fusionauth\"\n", ""));
    assert_eq!(elsewhere.len(), 1, "{}", shown(&elsewhere));
    assert!(
        elsewhere[0].message.contains("is not a URL"),
        "{elsewhere:?}"
    );
}

#[test]
fn invalid_value_is_one_problem_at_its_key() {
    let hooks = |lines: &str| format!("[providers.login.webhooks]\n{lines}\n");
    let cases = [
        (
            "tenant_id = \"default\"\n".to_owned(),
            "providers.login.tenant_id",
            "is not a tenant ID",
        ),
        (
            "refresh_by = \"magic\"\n".to_owned(),
            "providers.login.refresh_by",
            "unknown value `magic`",
        ),
        (
            "api_key_file = \"absent\"\n".to_owned(),
            "providers.login.api_key_file",
            "no such file",
        ),
        (
            hooks(""),
            "providers.login.webhooks",
            "are not authenticated",
        ),
        (
            hooks("signature = \"hmac\""),
            "providers.login.webhooks.signature_secret_file",
            "is missing",
        ),
        (
            hooks("signature = \"jwks\"\nsignature_secret_file = \"secrets/webhook-key\""),
            "providers.login.webhooks.signature_secret_file",
            "without HMAC signatures",
        ),
        (
            hooks("username = \"hook\""),
            "providers.login.webhooks.password_file",
            "is missing",
        ),
        (
            hooks("signature = \"jwks\"\npassword_file = \"store.secret\""),
            "providers.login.webhooks.username",
            "is missing",
        ),
        (
            hooks("username = \"a:b\"\npassword_file = \"store.secret\""),
            "providers.login.webhooks.username",
            "invalid user name",
        ),
        (
            hooks("header = \"X-Key\""),
            "providers.login.webhooks.header_secret_file",
            "is missing",
        ),
        (
            hooks("header = \"X Key\"\nheader_secret_file = \"store.secret\""),
            "providers.login.webhooks.header",
            "invalid header name",
        ),
        (
            hooks(
                "header = \"authorization\"\nheader_secret_file = \"store.secret\"\nusername = \"hook\"\n\
                 password_file = \"store.secret\"",
            ),
            "providers.login.webhooks.header",
            "use this header too",
        ),
    ];
    for (lines, key, message) in cases {
        let found = problems(&text(&lines));
        assert_eq!(found.len(), 1, "{lines}: {}", shown(&found));
        assert_eq!(
            (found[0].key.as_str(), found[0].severity),
            (key, Severity::Error),
            "{lines}: {found:?}"
        );
        assert!(
            found[0].message.contains(message) && found[0].hint.is_some(),
            "{lines}: {found:?}"
        );
    }
}

#[test]
fn keys_are_rejected_for_other_providers() {
    let webhooks = "[providers.login.webhooks]\nsignature = \"jwks\"\n";
    for (key, lines) in [
        (
            "tenant_id",
            "tenant_id = \"30663132-6464-6665-3032-326466613934\"\n",
        ),
        ("refresh_by", "refresh_by = \"token\"\n"),
        ("api_key_file", "api_key_file = \"store.secret\"\n"),
        ("require_registration", "require_registration = false\n"),
        ("webhooks", webhooks),
    ] {
        let found = problems(&text(lines).replace("kind = \"fusionauth\"\n", ""));
        assert_eq!(found.len(), 1, "{key}: {}", shown(&found));
        assert_eq!(found[0].key, format!("providers.login.{key}"));
        assert!(
            found[0].message.contains("for FusionAuth only"),
            "{found:?}"
        );
    }
}

#[test]
fn sessions_with_id_tokens_need_unchecked_registration() {
    let with_id_tokens = |lines: &str| text(lines).replace("session_jwt = \"access\"\n", "");
    for (lines, message) in [
        ("", "neither the user's registration"),
        ("refresh_by = \"jwt-refresh\"\n", "returns no ID token"),
    ] {
        let found = problems(&with_id_tokens(lines));
        let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            ["apps.forum.session_jwt", "apps.store.session_jwt"],
            "{}",
            shown(&found)
        );
        assert!(
            found
                .iter()
                .all(|problem| problem.message.contains(message)),
            "{}",
            shown(&found)
        );
    }
    assert_eq!(
        problems(&with_id_tokens("require_registration = false\n")),
        []
    );
}

#[test]
fn frontchannel_logout_of_other_site_is_warned_about() {
    let with = |issuer: &str| {
        let text = GOOD.replace(
            "client_id = \"forum\"",
            "client_id = \"forum\"\nfrontchannel_logout = true",
        );
        problems(&text.replace("https://login.example.com", issuer))
    };
    assert_eq!(with("https://login.example.com"), []);
    assert_eq!(with("https://forum.example.com/auth"), []);
    for elsewhere in [
        "https://login.example.org",
        "https://login.notexample.com",
        "https://com",
    ] {
        let found = with(elsewhere);
        assert_eq!(found.len(), 1, "{elsewhere}: {}", shown(&found));
        assert_eq!(
            (found[0].key.as_str(), found[0].severity),
            ("apps.forum.frontchannel_logout", Severity::Warning)
        );
    }
    let folder = Folder::with(&GOOD.replace(
        "client_id = \"forum\"",
        "client_id = \"forum\"\nfrontchannel_logout = true",
    ));
    let config = folder.load(&[]).unwrap().config;
    assert!(
        config.apps[0].policy.optional_endpoints.frontchannel_logout
            && !config.apps[1].policy.optional_endpoints.frontchannel_logout
    );
}
