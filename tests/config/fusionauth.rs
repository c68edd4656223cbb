//! A provider that is a FusionAuth: what it needs, and what is refused.

use doorward::config::{Config, Severity};
use doorward::oidc::fusionauth::RefreshBy;
use doorward::oidc::fusionauth::sender::SignatureKey;

use super::{Folder, GOOD, problems, shown};

/// The good file with a FusionAuth, whose table goes on with `lines`.
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
        .unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.warnings.problems(), []);
    loaded.config
}

#[test]
fn the_least_is_its_kind() {
    let config = config("");
    let own = config.providers[0].dialect.fusionauth().unwrap();
    assert_eq!(
        (own.refresh_by, own.require_registration),
        (RefreshBy::Token, true)
    );
    assert!(own.tenant_id.is_none() && own.api_key.is_none() && own.webhooks.is_none());
    assert!(
        config
            .apps
            .iter()
            .all(|app| !app.policy.offers.fusionauth_webhooks)
    );
    let plain = Folder::with(GOOD).load(&[]).unwrap().config;
    assert!(plain.providers[0].dialect.fusionauth().is_none());
}

#[test]
fn everything_it_can_have_is_read_and_no_secret_is_shown() {
    let config = config(
        "discovery_url = \"https://login.example.com/x/.well-known/openid-configuration\"\n\
         tenant_id = \"30663132-6464-6665-3032-326466613934\"\nrefresh_by = \"jwt-refresh\"\n\
         api_key_file = \"secrets/fusionauth\"\nrequire_registration = false\n\
         [providers.login.webhooks]\nsignature = \"jwks\"\nusername = \"hook\"\n\
         password_file = \"secrets/webhook-password\"\nheader = \"X-Webhook-Key\"\n\
         header_secret_file = \"secrets/webhook-key\"\n",
    );
    let own = config.providers[0].dialect.fusionauth().unwrap();
    assert_eq!(
        (own.refresh_by, own.require_registration),
        (RefreshBy::JwtRefresh, false)
    );
    assert_eq!(own.api_key.as_ref().unwrap().expose(), "hunter2");
    let proofs = own.webhooks.as_ref().unwrap();
    assert!(matches!(proofs.signature, Some(SignatureKey::KeySet)));
    assert_eq!(proofs.basic.as_ref().unwrap().expose(), "hook:hunter2");
    assert_eq!(proofs.header.as_ref().unwrap().0, "x-webhook-key");
    assert!(
        config
            .apps
            .iter()
            .all(|app| app.policy.offers.fusionauth_webhooks)
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_shared_secret_is_one_of_its_own() {
    let hmac = "[providers.login.webhooks]\nsignature = \"hmac\"\nsignature_secret_file = ";
    let config = config(&format!("{hmac}\"secrets/webhook-signature\"\n"));
    let proofs = config.providers[0]
        .dialect
        .fusionauth()
        .unwrap()
        .webhooks
        .as_ref()
        .unwrap();
    let Some(SignatureKey::Shared(secret)) = &proofs.signature else {
        panic!("a shared secret")
    };
    assert_eq!(secret.expose().as_slice(), "hunter2 ".repeat(8).as_bytes());
    let short = problems(&text(&format!("{hmac}\"store.secret\"\n")));
    assert_eq!(short.len(), 1, "{}", shown(&short));
    assert!(
        short[0].severity == Severity::Advice && short[0].message.contains("can be guessed"),
        "{short:?}"
    );
}

#[test]
fn its_issuer_may_be_a_bare_name() {
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
        found[0].message.contains("`discovery_url` is needed"),
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
fn what_cannot_be_is_one_problem_at_its_key() {
    let hooks = |lines: &str| format!("[providers.login.webhooks]\n{lines}\n");
    let cases = [
        (
            "tenant_id = \"default\"\n".to_owned(),
            "providers.login.tenant_id",
            "not a tenant's id",
        ),
        (
            "refresh_by = \"magic\"\n".to_owned(),
            "providers.login.refresh_by",
            "`magic` is not known",
        ),
        (
            "api_key_file = \"absent\"\n".to_owned(),
            "providers.login.api_key_file",
            "no such file",
        ),
        (hooks(""), "providers.login.webhooks", "anybody could send"),
        (
            hooks("signature = \"hmac\""),
            "providers.login.webhooks.signature_secret_file",
            "is missing",
        ),
        (
            hooks("signature = \"jwks\"\nsignature_secret_file = \"secrets/webhook-key\""),
            "providers.login.webhooks.signature_secret_file",
            "is for signatures by HMAC",
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
            "cannot be a user name",
        ),
        (
            hooks("header = \"X-Key\""),
            "providers.login.webhooks.header_secret_file",
            "is missing",
        ),
        (
            hooks("header = \"X Key\"\nheader_secret_file = \"store.secret\""),
            "providers.login.webhooks.header",
            "header's name",
        ),
        (
            hooks(
                "header = \"authorization\"\nheader_secret_file = \"store.secret\"\nusername = \"hook\"\n\
                 password_file = \"store.secret\"",
            ),
            "providers.login.webhooks.header",
            "into this header too",
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
fn its_keys_are_for_it_only() {
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
fn sessions_rest_on_access_tokens_unless_registration_is_no_matter() {
    let resting_on_id = |lines: &str| text(lines).replace("session_jwt = \"access\"\n", "");
    for (lines, message) in [
        ("", "whether the person is registered"),
        ("refresh_by = \"jwt-refresh\"\n", "brings no ID token"),
    ] {
        let found = problems(&resting_on_id(lines));
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
        problems(&resting_on_id("require_registration = false\n")),
        []
    );
}

#[test]
fn a_frame_of_another_site_brings_no_cookie_which_is_said() {
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
            ("apps.forum.frontchannel_logout", Severity::Advice)
        );
    }
    let folder = Folder::with(&GOOD.replace(
        "client_id = \"forum\"",
        "client_id = \"forum\"\nfrontchannel_logout = true",
    ));
    let config = folder.load(&[]).unwrap().config;
    assert!(
        config.apps[0].policy.offers.frontchannel_logout
            && !config.apps[1].policy.offers.frontchannel_logout
    );
}
