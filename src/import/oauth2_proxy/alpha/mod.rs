//! The alpha configuration (YAML) as settings: a field that a flag has too becomes the setting of this flag.
//! Fields of one upstream or header have a scope of their own.

mod headers;
mod upstreams;
mod yaml;

use serde_saphyr::Spanned;

use self::yaml::Value;
use super::super::ImportError;
use super::super::options::{KnownOption, options};
use super::super::settings::{Position, Scope, Setting, SettingValue, Settings};

pub(super) use self::headers::{add_login_parameters, map as map_headers};
pub(super) use self::upstreams::map as map_upstreams;

/// The setting that says that there is an alpha configuration.
const MARK: &str = "an alpha configuration";
const UPSTREAMS: &str = "upstreamConfig.upstreams";
const HEADERS: &str = "injectRequestHeaders";
const RESPONSE_HEADERS: &str = "injectResponseHeaders";
const LOGIN_PARAMETERS: &str = "providers.loginURLParameters";

/// The lists whose elements have scopes.
const SCOPED: [&str; 3] = [UPSTREAMS, HEADERS, LOGIN_PARAMETERS];

/// What only the alpha configuration has.
pub(super) const OPTIONS: &[KnownOption] = options! {
    "providers" ByHand [] "`apps.NAME.providers`",
        "The first one is mapped";
    "providers.id" BuiltIn ["*"] "`[providers.login]`",
        "";
    "providers.loginURLParameters.allow" ByHand [] "`apps.NAME.login_parameters`",
        "";
    "providers.loginURLParameters.allow.pattern" ByHand [] "`apps.NAME.login_parameters`",
        "Values are listed, without expressions";
    "providers.loginURLParameters.allow.value" ByHand [] "`apps.NAME.login_parameters`",
        "";
    "providers.additionalClaims" BuiltIn ["*"] "`[apps.NAME.headers]`",
        "Every claim can be in a template";
    "upstreamConfig.proxyRawPath" BuiltIn ["*"] "always",
        "The path is passed on as it came, if it is not ambiguous";
    "upstreamConfig.upstreams.id" BuiltIn ["*"] "no equivalent",
        "";
    "upstreamConfig.upstreams.staticCode" ByHand [] "`respond` of a route",
        "At a path of your choice";
    "injectRequestHeaders.preserveRequestValue" Refused ["false"] "no equivalent",
        "Clients could forge the header";
    "injectRequestHeaders.values.basicAuthPassword.fromEnv" ByHand [] "`apps.NAME.upstream_basic_auth`",
        "";
    "injectRequestHeaders.values.basicAuthPassword.fromFile" ByHand [] "`apps.NAME.upstream_basic_auth`",
        "";
    "injectRequestHeaders.values.basicAuthPassword.value" ByHand [] "`apps.NAME.upstream_basic_auth`",
        "";
    "injectRequestHeaders.values.fromEnv" ByHand [] "`apps.NAME.request_headers`",
        "";
    "injectRequestHeaders.values.fromFile" ByHand [] "`apps.NAME.request_headers`",
        "";
    "injectRequestHeaders.values.value" ByHand [] "`apps.NAME.request_headers`",
        "";
    "injectRequestHeaders.values" ByHand [] "`[apps.NAME.headers]`",
        "A template may have several claims; fixed values are in `request_headers`";
    "injectResponseHeaders" ByHand [] "`server.decision_listen`",
        "A proxy that asks for decisions gets the identity headers";
};

/// The fields that flags have too, and the flags.
const FLAGS: [(&str, &str); 58] = [
    ("metricsServer.BindAddress", "metrics-address"),
    ("metricsServer.SecureBindAddress", "metrics-secure-address"),
    ("metricsServer.TLS.Cert.fromFile", "metrics-tls-cert-file"),
    ("metricsServer.TLS.Key.fromFile", "metrics-tls-key-file"),
    ("providers.allowedGroups", "allowed-group"),
    (
        "providers.azureConfig.graphGroupField",
        "azure-graph-group-field",
    ),
    ("providers.azureConfig.tenant", "azure-tenant"),
    (
        "providers.bitbucketConfig.repository",
        "bitbucket-repository",
    ),
    ("providers.bitbucketConfig.team", "bitbucket-team"),
    ("providers.caFiles", "provider-ca-file"),
    ("providers.clientID", "client-id"),
    ("providers.clientSecret", "client-secret"),
    ("providers.clientSecretFile", "client-secret-file"),
    ("providers.code_challenge_method", "code-challenge-method"),
    ("providers.githubConfig.org", "github-org"),
    ("providers.githubConfig.repo", "github-repo"),
    ("providers.githubConfig.team", "github-team"),
    ("providers.githubConfig.token", "github-token"),
    ("providers.githubConfig.users", "github-user"),
    ("providers.gitlabConfig.group", "gitlab-group"),
    ("providers.gitlabConfig.projects", "gitlab-project"),
    ("providers.googleConfig.adminEmail", "google-admin-email"),
    ("providers.googleConfig.group", "google-group"),
    (
        "providers.googleConfig.serviceAccountJson",
        "google-service-account-json",
    ),
    ("providers.keycloakConfig.groups", "keycloak-group"),
    ("providers.keycloakConfig.roles", "allowed-role"),
    ("providers.loginURL", "login-url"),
    ("providers.name", "provider-display-name"),
    ("providers.oidcConfig.audienceClaims", "oidc-audience-claim"),
    ("providers.oidcConfig.emailClaim", "oidc-email-claim"),
    ("providers.oidcConfig.extraAudiences", "oidc-extra-audience"),
    ("providers.oidcConfig.groupsClaim", "oidc-groups-claim"),
    (
        "providers.oidcConfig.insecureAllowUnverifiedEmail",
        "insecure-oidc-allow-unverified-email",
    ),
    (
        "providers.oidcConfig.insecureSkipIssuerVerification",
        "insecure-oidc-skip-issuer-verification",
    ),
    (
        "providers.oidcConfig.insecureSkipNonce",
        "insecure-oidc-skip-nonce",
    ),
    ("providers.oidcConfig.issuerURL", "oidc-issuer-url"),
    ("providers.oidcConfig.jwksURL", "oidc-jwks-url"),
    ("providers.oidcConfig.publicKeys", "oidc-public-key-file"),
    ("providers.oidcConfig.skipDiscovery", "skip-oidc-discovery"),
    ("providers.oidcConfig.userIDClaim", "user-id-claim"),
    ("providers.profileURL", "profile-url"),
    ("providers.provider", "provider"),
    ("providers.redeemURL", "redeem-url"),
    ("providers.resource", "resource"),
    ("providers.scope", "scope"),
    ("providers.validateURL", "validate-url"),
    ("server.BindAddress", "http-address"),
    ("server.SecureBindAddress", "https-address"),
    ("server.TLS.Cert.fromFile", "tls-cert-file"),
    ("server.TLS.Key.fromFile", "tls-key-file"),
    ("server.TLS.CipherSuites", "tls-cipher-suite"),
    ("server.TLS.MinVersion", "tls-min-version"),
    (
        "upstreamConfig.upstreams.disableKeepAlives",
        "disable-keep-alives",
    ),
    ("upstreamConfig.upstreams.flushInterval", "flush-interval"),
    (
        "upstreamConfig.upstreams.insecureSkipTLSVerify",
        "ssl-upstream-insecure-skip-verify",
    ),
    (
        "upstreamConfig.upstreams.passHostHeader",
        "pass-host-header",
    ),
    (
        "upstreamConfig.upstreams.proxyWebSockets",
        "proxy-websockets",
    ),
    ("upstreamConfig.upstreams.timeout", "upstream-timeout"),
];

/// Reads an alpha configuration.
pub(super) fn read(name: &str, text: &str, settings: &mut Settings) -> Result<(), ImportError> {
    let root = yaml::parse(text).map_err(|line| ImportError::Malformed {
        at: Position::line(name, line, line),
        message: "not YAML".to_owned(),
    })?;
    let mut reader = Reader {
        file: name,
        found: Vec::new(),
    };
    reader.add(
        MARK,
        None,
        &[Text {
            text: name,
            line: 1,
        }],
    );
    reader.flatten(&root, "", None);
    for setting in reader.found {
        if setting.scope.is_some() {
            settings.push(setting)?;
        } else {
            settings.replace(setting)?;
        }
    }
    Ok(())
}

/// Whether there is an alpha configuration.
pub(super) fn is_read(settings: &mut Settings) -> bool {
    settings.take(MARK).is_some()
}

/// A scalar.
#[derive(Clone, Copy)]
struct Text<'t> {
    text: &'t str,
    line: usize,
}

struct Reader<'t> {
    file: &'t str,
    found: Vec<Setting>,
}

impl Reader<'_> {
    fn flatten(&mut self, node: &Spanned<Value>, path: &str, scope: Option<Scope>) {
        match &node.value {
            Value::Scalar(text) => {
                let line = yaml::line(node);
                self.add(path, scope, &[Text { text, line }]);
            }
            Value::Table(entries) => {
                for entry in entries {
                    let path = match path {
                        "" => entry.key.clone(),
                        path => format!("{path}.{}", entry.key),
                    };
                    self.flatten(&entry.value, &path, scope);
                }
            }
            Value::List(elements) => self.list(elements, path, scope),
        }
    }

    fn list(&mut self, elements: &[Spanned<Value>], path: &str, scope: Option<Scope>) {
        let mut texts = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let line = yaml::line(element);
            match &element.value {
                Value::Scalar(text) => texts.push(Text { text, line }),
                Value::Table(_) | Value::List(_) if SCOPED.contains(&path) => {
                    self.flatten(element, path, Some(Scope(index)));
                }
                Value::Table(_) | Value::List(_) if index == 0 && path != RESPONSE_HEADERS => {
                    self.flatten(element, path, scope);
                }
                // Reported once, and not by field.
                Value::Table(_) | Value::List(_) => {
                    let text = "a further one";
                    self.add(path, scope, &[Text { text, line }]);
                }
            }
        }
        if !texts.is_empty() {
            self.add(path, scope, &texts);
        }
    }

    fn add(&mut self, path: &str, scope: Option<Scope>, texts: &[Text<'_>]) {
        let at = |line| Position::line(self.file, line, line);
        let flag = FLAGS.iter().find(|(field, _)| *field == path);
        let name = flag.map_or(path, |(_, flag)| *flag);
        let first = texts.first().map_or(1, |text| text.line);
        let values = texts.iter().map(|text| SettingValue {
            written: path.to_owned(),
            text: text.text.to_owned(),
            at: at(text.line),
        });
        self.found.push(Setting {
            name: name.to_owned(),
            written: path.to_owned(),
            values: values.collect(),
            at: at(first),
            scope,
        });
    }
}
