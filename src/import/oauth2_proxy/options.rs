//! The options of oauth2-proxy 7.15.3: the command line flags of its reference, those of single
//! providers, and those of the alpha configuration.

use super::super::options::{KnownOption, options};

/// Every option.
pub const OPTIONS: &[KnownOption] = options! {
    "config" BuiltIn ["*"] "`doorward run --config FILE`",
        "";
    "config-test" BuiltIn ["*"] "`doorward check --config FILE`",
        "Reports every problem at once. `--online` also tries the provider, the store and the apps";
    "version" BuiltIn ["*"] "`doorward --version`",
        "";
    "acr-values" Mapped [] "`extra_authorization_params = { acr_values = \"…\" }`, or `require` of a rule",
        "The claim `acr` of the login must be one of the values";
    "allowed-group" Mapped [] "a rule: `allow = { claim = \"groups\", any_of = [\"…\"] }`",
        "By path. For the whole app use `paths = [\"/**\"]`";
    "approval-prompt" ByHand [] "`extra_authorization_params`",
        "Google's old parameter. Use `prompt`";
    "backend-logout-url" ByHand [] "no equivalent",
        "Not needed: the browser goes to the provider's `end_session_endpoint`, and the refresh token is revoked";
    "client-id" Mapped [] "`apps.NAME.client_id`",
        "";
    "client-secret-file" Mapped [] "`apps.NAME.client_secret_file`",
        "A newline at the end does not matter";
    "client-secret" Mapped [] "`apps.NAME.client_secret_file`",
        "The secret is not copied: put it into the file";
    "code-challenge-method" BuiltIn ["S256"] "always S256",
        "`plain` is not supported";
    "force-code-challenge-method" BuiltIn ["S256"] "always S256",
        "Deprecated there";
    "insecure-oidc-allow-unverified-email" Mapped [] "`dangerously_allow_unverified_claims` of the provider",
        "Without it an unverified `email` counts as absent; the login succeeds";
    "insecure-oidc-skip-issuer-verification" Refused ["false"] "no equivalent",
        "The issuer is always verified";
    "insecure-oidc-skip-nonce" Refused ["false"] "no equivalent",
        "The nonce is always verified";
    "jwt-key-file" ByHand [] "`apps.NAME.client_key_file`",
        "`client_assertion_audience = \"token-endpoint\"` for login.gov";
    "jwt-key" ByHand [] "`apps.NAME.client_key_file`",
        "`client_assertion_audience = \"token-endpoint\"` for login.gov";
    "login-url" Mapped [] "`providers.NAME.authorization_endpoint`",
        "";
    "auth-request-response-mode" Missing ["query"] "no equivalent",
        "Always `query`";
    "oidc-audience-claim" Missing ["aud"] "no equivalent",
        "Always `aud`";
    "oidc-email-claim" Mapped [] "`[apps.NAME.headers]`, rules",
        "`{claim}` in the header. Rules on addresses need the claim `email`";
    "oidc-extra-audience" Mapped [] "`apps.NAME.bearer.audiences`",
        "For API tokens. An ID token must be for the client";
    "oidc-groups-claim" Mapped [] "`[apps.NAME.headers]`, rules",
        "Any claim";
    "oidc-issuer-url" Mapped [] "`providers.NAME.issuer`",
        "";
    "oidc-jwks-url" Mapped [] "`providers.NAME.jwks_uri`",
        "";
    "oidc-public-key-file" Missing [] "no equivalent",
        "Keys come from the provider's key set";
    "oidc-enabled-signing-alg" Mapped [] "`providers.NAME.algorithms`",
        "";
    "profile-url" Mapped [] "`providers.NAME.userinfo_endpoint`",
        "";
    "prompt" Mapped [] "`extra_authorization_params = { prompt = \"…\" }`",
        "Login links may have it too: `login_parameters`";
    "provider-ca-file" Mapped [] "`providers.NAME.ca_file`",
        "One file. Put several into one";
    "provider-display-name" BuiltIn ["*"] "no equivalent",
        "There is no sign-in page";
    "provider" Mapped [] "`providers.NAME.issuer`",
        "Those with OpenID Connect: `oidc`, `keycloak-oidc`, `google`, `azure`, `entra-id`, `gitlab`, `adfs`, `cidaas`";
    "pubjwk-url" Missing [] "no equivalent",
        "login.gov";
    "redeem-url" Mapped [] "`providers.NAME.token_endpoint`",
        "";
    "resource" Mapped [] "`extra_authorization_params = { resource = \"…\" }`",
        "Azure AD's v1.0 endpoints. Use v2.0";
    "scope" Mapped [] "`apps.NAME.scopes`",
        "A list. `openid` is added if it is absent";
    "skip-claims-from-profile-url" Mapped [] "`apps.NAME.userinfo = \"never\"`",
        "";
    "skip-oidc-discovery" Mapped [] "`providers.NAME.discovery = false`",
        "";
    "use-system-trust-store" ByHand ["false"] "no equivalent",
        "With `ca_file`: these only. Without: the system's. Put both into one file";
    "user-id-claim" ByHand [] "`[apps.NAME.headers]`",
        "Deprecated there";
    "validate-url" Missing [] "no equivalent",
        "JWTs are verified by their signature";
    "allowed-role" Mapped [] "a rule: `allow = { claim = \"realm_access.roles\", any_of = [\"…\"] }`",
        "The ID token needs the claim: see [Keycloak](../providers/keycloak.md#roles-and-groups)";
    "keycloak-group" Mapped [] "a rule on `groups`",
        "The claim `groups`";
    "azure-tenant" Mapped [] "the tenant in `providers.NAME.issuer`",
        "`common` is not supported. See [Entra ID](../providers/entra-id.md#traps)";
    "azure-graph-group-field" Missing [] "no equivalent",
        "Doorward does not call Microsoft Graph. Use app roles";
    "entra-id-allowed-tenant" Missing [] "no equivalent",
        "One tenant for each provider";
    "entra-id-federated-token-auth" Missing ["false"] "no equivalent",
        "A client secret is needed";
    "bitbucket-repository" Missing [] "no equivalent",
        "Bitbucket has no OpenID Connect. Put a provider such as Keycloak or Dex in between";
    "bitbucket-team" Missing [] "no equivalent",
        "Bitbucket has no OpenID Connect. Put a provider such as Keycloak or Dex in between";
    "github-org" Missing [] "no equivalent",
        "GitHub has no OpenID Connect for users. Put a provider such as Keycloak or Dex in between";
    "github-repo" Missing [] "no equivalent",
        "GitHub has no OpenID Connect for users. Put a provider such as Keycloak or Dex in between";
    "github-team" Missing [] "no equivalent",
        "GitHub has no OpenID Connect for users. Put a provider such as Keycloak or Dex in between";
    "github-token" Missing [] "no equivalent",
        "GitHub has no OpenID Connect for users. Put a provider such as Keycloak or Dex in between";
    "github-user" Missing [] "no equivalent",
        "GitHub has no OpenID Connect for users. Put a provider such as Keycloak or Dex in between";
    "gitlab-group" Mapped [] "a rule on `groups`",
        "GitLab is an OpenID provider";
    "gitlab-project" Missing [] "no equivalent",
        "Projects are not in GitLab's tokens";
    "google-admin-api-user-scope" Missing [] "no equivalent",
        "Doorward does not call Google's Admin API";
    "google-admin-email" Missing [] "no equivalent",
        "Doorward does not call Google's Admin API";
    "google-group" Missing [] "no equivalent",
        "Doorward does not call Google's Admin API. Groups are not in Google's tokens";
    "google-service-account-json" Missing [] "no equivalent",
        "Doorward does not call Google's Admin API. Groups are not in Google's tokens";
    "google-target-principal" Missing [] "no equivalent",
        "Doorward does not call Google's Admin API. Groups are not in Google's tokens";
    "google-use-application-default-credentials" Missing ["false"] "no equivalent",
        "Doorward does not call Google's Admin API. Groups are not in Google's tokens";
    "google-use-organization-id" Missing ["false"] "no equivalent",
        "Doorward does not call Google's Admin API. Groups are not in Google's tokens";
    "cookie-csrf-expire" Missing [] "no equivalent",
        "A login attempt lives ten minutes";
    "cookie-csrf-per-request" BuiltIn ["true"] "always",
        "Each login attempt has a cookie of its own";
    "cookie-csrf-per-request-limit" Missing [] "no equivalent",
        "At most eight, and fewer if they do not fit";
    "cookie-csrf-samesite" Missing ["lax"] "no equivalent",
        "Always `Lax`";
    "cookie-domain" ByHand [] "`providers.NAME.login_url`",
        "Cookies are for one host (`__Host-`). For several hosts, make several apps or a wildcard: one redirect URI serves them all through a [login host](../login-host.md), and the provider's session logs the user in without a form";
    "cookie-expire" Mapped [] "`absolute_timeout`, `idle_timeout`",
        "Both get its value, since oauth2-proxy has no idle timeout";
    "cookie-httponly" BuiltIn ["true"] "always",
        "";
    "cookie-name" Mapped [] "`apps.NAME.cookie_name`",
        "The stem of all names, if it has lower-case letters, digits and `-` only";
    "cookie-path" Missing ["/"] "no equivalent",
        "Always `/`. Login and logout cookies have paths of their own";
    "cookie-refresh" BuiltIn ["*"] "no equivalent",
        "By the JWT's lifetime";
    "cookie-samesite" Missing ["lax"] "no equivalent",
        "Always `Lax`";
    "cookie-secret" Mapped [] "`session.key_files`",
        "From `doorward keygen`. The secret is not used again";
    "cookie-secret-file" Mapped [] "`session.key_files`",
        "From `doorward keygen`. The secret is not used again";
    "cookie-secure" BuiltIn ["true"] "by `public_url`",
        "Over https always";
    "basic-auth-password" ByHand [] "`apps.NAME.upstream_basic_auth`",
        "One user name for all users";
    "set-xauthrequest" ByHand ["false"] "`server.decision_listen`",
        "The response has the headers of `[apps.NAME.headers]`";
    "set-authorization-header" Refused ["false"] "no equivalent",
        "A proxy that asks for decisions gets no token";
    "set-basic-auth" Refused ["false"] "no equivalent",
        "Use identity headers";
    "skip-auth-strip-headers" BuiltIn ["true"] "always",
        "On every path, in every spelling";
    "pass-access-token" ByHand ["false"] "`apps.NAME.dangerously_pass_access_token`",
        "Without it the app never sees a token";
    "pass-authorization-header" ByHand ["false"] "`apps.NAME.dangerously_pass_id_token`",
        "Without it the app never sees a token";
    "pass-basic-auth" Mapped [] "`[apps.NAME.headers]`",
        "`false` together with `--pass-user-headers=false` sends none. A password is never sent";
    "prefer-email-to-user" Mapped [] "`X-Forwarded-User = \"{email}\"`",
        "In `[apps.NAME.headers]`";
    "pass-user-headers" Mapped [] "`[apps.NAME.headers]`",
        "These four are the default. An empty table sends none";
    "auth-logging-format" Missing [] "no equivalent",
        "Events have a fixed form: `log.format` is `text` or `json`";
    "auth-logging" ByHand ["true"] "`log.level`",
        "Events have levels";
    "errors-to-info-log" Missing ["false"] "no equivalent",
        "Events go to standard error, the access log to standard output";
    "exclude-logging-path" Missing [] "no equivalent",
        "Filter where the log is read";
    "logging-compress" Missing ["false"] "no equivalent",
        "Log files are the platform's business";
    "logging-filename" Missing [] "no equivalent",
        "Log files are the platform's business";
    "logging-local-time" Missing ["false"] "no equivalent",
        "Times are in UTC";
    "logging-max-age" Missing [] "no equivalent",
        "Log files are the platform's business";
    "logging-max-backups" Missing [] "no equivalent",
        "Log files are the platform's business";
    "logging-max-size" Missing [] "no equivalent",
        "Log files are the platform's business";
    "request-id-header" BuiltIn ["X-Request-Id", "X-Request-ID"] "always `X-Request-Id`",
        "Kept from trusted proxies, otherwise made. The app gets it";
    "request-logging-format" Missing [] "no equivalent",
        "JSON with fixed fields";
    "request-logging" Mapped [] "`log.access`",
        "";
    "silence-ping-logging" BuiltIn ["true"] "always",
        "Probes are on the admin listener, which has no access log";
    "standard-logging-format" Missing [] "no equivalent",
        "Events have a fixed form";
    "standard-logging" ByHand ["true"] "`log.level`",
        "Events have levels";
    "banner" Missing [] "no equivalent",
        "There is no sign-in page";
    "custom-sign-in-logo" Missing [] "no equivalent",
        "There is no sign-in page";
    "custom-templates-dir" Missing [] "no equivalent",
        "Pages are built in";
    "display-htpasswd-form" Missing ["true", "false"] "no equivalent",
        "There is no sign-in page";
    "footer" Missing [] "no equivalent",
        "There is no sign-in page";
    "show-debug-on-error" Missing ["false"] "no equivalent",
        "Pages have a code and a request ID. Details are in the log";
    "ping-path" ByHand [] "`/livez` on the admin listener",
        "Change the probes";
    "ping-user-agent" Refused [] "no equivalent",
        "A user agent opens nothing";
    "ready-path" ByHand [] "`/readyz` on the admin listener",
        "Change the probes. It waits at the start until the provider was reached";
    "gcp-healthchecks" ByHand ["false"] "`/livez`, `/readyz`",
        "Deprecated there";
    "allow-query-semicolons" BuiltIn ["true", "false"] "always",
        "The query is passed on unchanged, and no rule reads it";
    "api-route" BuiltIn ["*"] "not needed",
        "Requests that are no navigation get 401 on every path";
    "authenticated-emails-file" Mapped [] "a rule: `allow = { emails = { file = \"…\" } }`",
        "One address in each line. Read again when it changes";
    "bearer-token-login-fallback" Missing ["false"] "no equivalent",
        "A bad token gets 401. Without a token the request may log in";
    "email-domain" Mapped [] "a rule: `allow = { email_domains = [\"…\"] }`",
        "Verified addresses only. A domain does not include its subdomains, so `.example.com` is not mapped. `*` is `allow = \"authenticated\"`";
    "encode-state" BuiltIn ["true", "false"] "no equivalent",
        "`state` is sealed";
    "extra-jwt-issuers" ByHand [] "`apps.NAME.bearer.providers`, `audiences`",
        "Each issuer is a provider with discovery";
    "force-https" Mapped [] "`[[server.listeners]]` with `redirect_to_https = true`",
        "Mapped if it has certificates. Otherwise the proxy in front redirects";
    "force-json-errors" BuiltIn ["true", "false"] "not needed",
        "Clients that are no browser get problem documents";
    "htpasswd-file" Missing [] "no equivalent",
        "Users are at the provider, which also checks the passwords of [Basic clients](../basic-clients.md)";
    "htpasswd-user-group" Missing [] "no equivalent",
        "Users and their groups are at the provider";
    "proxy-prefix" Mapped [] "`apps.NAME.endpoint_prefix`",
        "";
    "real-client-ip-header" Mapped [] "`server.forwarded_header`",
        "`X-Forwarded-For` only. Your proxy must set it";
    "redirect-url" Mapped [] "`apps.NAME.public_url`",
        "The callback is `public_url` + `endpoint_prefix` + `/callback`, or at the login host";
    "relative-redirect-url" Refused ["false"] "no equivalent",
        "Addresses come from the configuration only";
    "reverse-proxy" Mapped [] "`server.trusted_proxies`",
        "Without `--trusted-proxy-ip` the networks are yours to name: no proxy is trusted by default";
    "signature-key" Missing [] "no equivalent",
        "GAP-Signature";
    "skip-auth-preflight" Mapped [] "a rule: `methods = [\"OPTIONS\"]`, `allow = \"public\"`",
        "Or `cors_origins`";
    "skip-auth-regex" Mapped [] "a rule: `allow = \"public\"`",
        "Patterns are not regular expressions. What translates exactly is mapped";
    "skip-auth-route" Mapped [] "a rule with `methods` and `allow = \"public\"`",
        "Patterns are not regular expressions. What translates exactly is mapped";
    "skip-jwt-bearer-tokens" Mapped [] "`[apps.NAME.bearer]`",
        "";
    "skip-provider-button" BuiltIn ["true"] "always",
        "";
    "ssl-insecure-skip-verify" Refused ["false"] "no equivalent",
        "Use `ca_file`";
    "trusted-ip" Refused [] "no equivalent",
        "An address is no identity. The condition `from` restricts authenticated users to networks";
    "trusted-proxy-ip" Mapped [] "`server.trusted_proxies`",
        "None is trusted by default";
    "whitelist-domain" ByHand [] "`logout_return_to`",
        "After a login the user returns to the app's own origin only";
    "http-address" Mapped [] "`server.listen`",
        "An IP address and a port, or `unix:/path`";
    "https-address" Mapped [] "`server.listen` with `[server.tls]`",
        "Several: `[[server.listeners]]`";
    "metrics-address" Mapped [] "`server.admin_listen`",
        "";
    "metrics-secure-address" Missing [] "no equivalent",
        "The admin listener has no TLS";
    "metrics-tls-cert-file" Missing [] "no equivalent",
        "The admin listener has no TLS";
    "metrics-tls-key-file" Missing [] "no equivalent",
        "The admin listener has no TLS";
    "tls-cert-file" Mapped [] "`server.tls.cert_file`",
        "Several by name: `[[server.tls.certificates]]`";
    "tls-key-file" Mapped [] "`server.tls.key_file`",
        "";
    "tls-cipher-suite" Missing [] "no equivalent",
        "The library's suites of TLS 1.2 and 1.3";
    "tls-min-version" ByHand ["TLS1.2"] "no equivalent",
        "TLS 1.2 and 1.3";
    "session-cookie-minimal" BuiltIn ["true", "false"] "no equivalent",
        "Only claims that headers and rules name are kept beside the JWT";
    "session-store-type" Mapped [] "`store.url`",
        "`redis`: `redis://…` or `rediss://…`. Sessions are in cookies in any case";
    "redis-cluster-connection-urls" Mapped [] "`store.url`, `store.redis.nodes`",
        "";
    "redis-connection-url" Mapped [] "`store.url`",
        "";
    "redis-ca-path" Mapped [] "`store.redis.ca_file`",
        "";
    "redis-insecure-skip-tls-verify" Refused ["false"] "no equivalent",
        "Use `ca_file`";
    "redis-password" Mapped [] "`store.redis.password_file`",
        "The password is not copied: put it into the file";
    "redis-username" Mapped [] "`store.redis.username`",
        "";
    "redis-sentinel-password" Mapped [] "`store.redis.sentinel_password_file`",
        "The password is not copied: put it into the file";
    "redis-sentinel-master-name" Mapped [] "`store.redis.sentinel_master`",
        "";
    "redis-sentinel-connection-urls" Mapped [] "`store.url`, `store.redis.nodes`",
        "";
    "redis-use-cluster" Mapped [] "`store.redis.cluster = true`",
        "";
    "redis-use-sentinel" Mapped [] "`store.redis.sentinel_master`",
        "";
    "redis-connection-idle-timeout" BuiltIn ["*"] "no equivalent",
        "One connection, kept open, and dialled again if it breaks";
    "flush-interval" BuiltIn ["*"] "no equivalent",
        "Responses are passed on as they come";
    "pass-host-header" Mapped [] "`apps.NAME.upstream_host`",
        "`false` is `\"upstream\"`";
    "proxy-websockets" BuiltIn ["true"] "always",
        "Other origins need `websocket_origins`";
    "ssl-upstream-insecure-skip-verify" Refused ["false"] "no equivalent",
        "Use `upstream_ca_file` and `upstream_server_name`";
    "disable-keep-alives" BuiltIn ["false"] "no equivalent",
        "A connection that the app closed is not used again";
    "upstream-timeout" Mapped [] "`apps.NAME.response_timeout`",
        "And `connect_timeout`, `stream_idle_timeout`";
    "upstream" Mapped [] "`apps.NAME.upstream`, `apps.NAME.routes`",
        "`http://host/path/` is a route for everything below, and for `/path` too. No `file://`, no `static://`";
    "alpha-config" ByHand [] "the one configuration file",
        "Give it to the import with `--alpha-config`";
    "convert-config-to-alpha" Missing ["false"] "no equivalent",
        "There is one form of configuration";
};
