//! The directives of mod_auth_openidc 2.4.20.3.

use super::super::options::{KnownOption, options};

/// Every directive.
pub const DIRECTIVES: &[KnownOption] = options! {
    "OIDCRedirectURI" Mapped [] "`apps.NAME.public_url`, `endpoint_prefix`",
        "The callback is `public_url` + `endpoint_prefix` + `/callback`. A URI that ends otherwise must be registered anew";
    "OIDCCryptoPassphrase" Mapped [] "`session.key_files`",
        "From `doorward keygen`. The passphrase is not used again";
    "OIDCMetadataDir" ByHand [] "`apps.NAME.providers`",
        "A `[providers.NAME]` for each file";
    "OIDCProviderMetadataURL" Mapped [] "`providers.NAME.issuer`, `discovery_url`",
        "The issuer is the URL without `/.well-known/openid-configuration`";
    "OIDCProviderIssuer" Mapped [] "`providers.NAME.issuer`",
        "";
    "OIDCProviderAuthorizationEndpoint" Mapped [] "`providers.NAME.authorization_endpoint`",
        "";
    "OIDCProviderJwksUri" Mapped [] "`providers.NAME.jwks_uri`",
        "";
    "OIDCProviderSignedJwksUri" Missing [] "no equivalent",
        "The key set comes over TLS";
    "OIDCProviderVerifyCertFiles" Missing [] "no equivalent",
        "Keys come from the provider's key set";
    "OIDCProviderTokenEndpoint" Mapped [] "`providers.NAME.token_endpoint`",
        "";
    "OIDCProviderTokenEndpointAuth" Mapped [] "`apps.NAME.token_endpoint_auth_method`",
        "`client_secret_basic`, `client_secret_post` or `none`. `private_key_jwt` and `tls_client_auth` need `client_key_file`. No `client_secret_jwt`";
    "OIDCProviderTokenEndpointParams" Missing [] "no equivalent",
        "The token request has the parameters of the standard only";
    "OIDCProviderUserInfoEndpoint" Mapped [] "`providers.NAME.userinfo_endpoint`",
        "";
    "OIDCProviderCheckSessionIFrame" Missing [] "no equivalent",
        "Browsers block third-party cookies. Use back-channel logout";
    "OIDCProviderEndSessionEndpoint" Mapped [] "`providers.NAME.end_session_endpoint`",
        "";
    "OIDCLogoutRequestParams" Missing [] "no equivalent",
        "The logout request has the parameters of the standard only";
    "OIDCProviderRevocationEndpoint" Mapped [] "`providers.NAME.revocation_endpoint`",
        "";
    "OIDCProviderPushedAuthorizationRequestEndpoint" Mapped [] "`providers.NAME.pushed_authorization_request_endpoint`",
        "";
    "OIDCProviderBackChannelLogoutSupported" BuiltIn ["On"] "always",
        "`endpoint_prefix` + `/backchannel-logout`";
    "OIDCProviderRegistrationEndpointJson" Missing [] "no equivalent",
        "No dynamic registration";
    "OIDCProviderMetadataRefreshInterval" BuiltIn ["*"] "no equivalent",
        "Every 15 minutes";
    "OIDCScope" Mapped [] "`apps.NAME.scopes`",
        "";
    "OIDCAuthRequestParams" Mapped [] "`apps.NAME.extra_authorization_params`",
        "";
    "OIDCSSLValidateServer" BuiltIn ["On"] "always",
        "Use `ca_file`";
    "OIDCCABundlePath" Mapped [] "`providers.NAME.ca_file`",
        "";
    "OIDCValidateIssuer" BuiltIn ["On"] "always",
        "";
    "OIDCUserInfoRefreshInterval" Missing [] "no equivalent",
        "At login and at each refresh, if the tokens lack a claim that is used";
    "OIDCJWKSRefreshInterval" BuiltIn ["*"] "no equivalent",
        "Every 15 minutes, and at once for an unknown key";
    "OIDCUserInfoTokenMethod" BuiltIn ["authz_header"] "no equivalent",
        "In the header";
    "OIDCProviderAuthRequestMethod" BuiltIn ["GET"] "no equivalent",
        "Always GET";
    "OIDCPublicKeyFiles" Missing [] "no equivalent",
        "Doorward has no keys of its own at the provider";
    "OIDCPrivateKeyFiles" Missing [] "no equivalent",
        "Doorward has no keys of its own at the provider";
    "OIDCResponseType" BuiltIn ["code"] "no equivalent",
        "Always `code`";
    "OIDCResponseMode" BuiltIn ["query"] "no equivalent",
        "Always `query`";
    "OIDCClientID" Mapped [] "`apps.NAME.client_id`",
        "";
    "OIDCClientSecret" Mapped [] "`apps.NAME.client_secret_file`",
        "The secret is not copied: put it into the file";
    "OIDCClientTokenEndpointCert" Missing [] "no equivalent",
        "No mutual TLS at the provider";
    "OIDCClientTokenEndpointKey" Missing [] "no equivalent",
        "No mutual TLS at the provider";
    "OIDCClientTokenEndpointKeyPassword" Missing [] "no equivalent",
        "No mutual TLS at the provider";
    "OIDCCertBoundAccessTokens" Missing [] "no equivalent",
        "Tokens bound to a certificate are refused";
    "OIDCClientName" Missing [] "no equivalent",
        "For dynamic registration";
    "OIDCClientContact" Missing [] "no equivalent",
        "For dynamic registration";
    "OIDCPKCEMethod" BuiltIn ["S256"] "always S256",
        "";
    "OIDCDPoPMode" Missing [] "no equivalent",
        "DPoP is not used at the provider. It is checked for API clients: `apps.NAME.bearer.dpop`";
    "OIDCClientJwksUri" Missing [] "no equivalent",
        "Doorward has no keys of its own at the provider";
    "OIDCIDTokenSignedResponseAlg" Mapped [] "`providers.NAME.algorithms`",
        "No HMAC, no `none`";
    "OIDCIDTokenEncryptedResponseAlg" Missing [] "no equivalent",
        "Encrypted tokens are refused";
    "OIDCIDTokenEncryptedResponseEnc" Missing [] "no equivalent",
        "Encrypted tokens are refused";
    "OIDCIDTokenAudValues" Missing [] "no equivalent",
        "An ID token must be for the client";
    "OIDCUserInfoSignedResponseAlg" Missing [] "no equivalent",
        "Userinfo is plain JSON over TLS";
    "OIDCUserInfoEncryptedResponseAlg" Missing [] "no equivalent",
        "Userinfo is plain JSON over TLS";
    "OIDCUserInfoEncryptedResponseEnc" Missing [] "no equivalent",
        "Userinfo is plain JSON over TLS";
    "OIDCProfile" Missing [] "no equivalent",
        "PKCE, nonce, exact issuer are always on. FAPI 2.0 also wants PAR and client keys";
    "OIDCRequestObject" Missing [] "no equivalent",
        "Parameters are in the query";
    "OIDCIDTokenIatSlack" Mapped [] "`providers.NAME.leeway`",
        "";
    "OIDCStateTimeout" Missing [] "no equivalent",
        "Ten minutes";
    "OIDCHTTPTimeoutLong" ByHand [] "`providers.NAME.request_timeout`, `refresh_timeout`",
        "`OIDCHTTPTimeoutShort` is mapped";
    "OIDCHTTPTimeoutShort" Mapped [] "`providers.NAME.request_timeout`",
        "";
    "OIDCOutgoingProxy" ByHand [] "`[providers.NAME.proxy]`",
        "The password is in a file of its own";
    "OIDCTraceParent" ByHand [] "`tracing.context`",
        "Without it a client's `traceparent` passes to the app";
    "OIDCOAuthServerMetadataURL" ByHand [] "`apps.NAME.bearer.providers`",
        "Each is a provider with discovery";
    "OIDCOAuthIntrospectionEndpoint" ByHand [] "`providers.NAME.introspection_endpoint`",
        "And `bearer.opaque_tokens = \"introspect\"`";
    "OIDCOAuthClientID" ByHand [] "`apps.NAME.client_id`",
        "Introspection uses the app's own client";
    "OIDCOAuthClientSecret" ByHand [] "`apps.NAME.client_secret_file`",
        "";
    "OIDCOAuthIntrospectionEndpointAuth" ByHand [] "`apps.NAME.token_endpoint_auth_method`",
        "The same as at the token endpoint";
    "OIDCOAuthIntrospectionClientAuthBearerToken" Missing [] "no equivalent",
        "Introspection uses the client's own authentication";
    "OIDCOAuthIntrospectionEndpointCert" Missing [] "no equivalent",
        "No mutual TLS at the provider";
    "OIDCOAuthIntrospectionEndpointKey" Missing [] "no equivalent",
        "No mutual TLS at the provider";
    "OIDCOAuthIntrospectionEndpointKeyPassword" Missing [] "no equivalent",
        "No mutual TLS at the provider";
    "OIDCOAuthIntrospectionEndpointMethod" BuiltIn ["POST"] "no equivalent",
        "Always POST";
    "OIDCOAuthIntrospectionEndpointParams" Missing [] "no equivalent",
        "The request has the parameters of RFC 7662 only";
    "OIDCOAuthIntrospectionTokenParamName" BuiltIn ["token"] "no equivalent",
        "Always `token`";
    "OIDCOAuthTokenExpiryClaim" BuiltIn ["*"] "no equivalent",
        "Always `exp`. A JWT without it is refused";
    "OIDCOAuthTokenIntrospectionInterval" ByHand [] "`bearer.introspection_cache`",
        "";
    "OIDCOAuthSSLValidateServer" BuiltIn ["On"] "always",
        "";
    "OIDCOAuthVerifySharedKeys" Refused [] "no equivalent",
        "HMAC is refused: a key that verifies such a token can also make one";
    "OIDCOAuthDecryptSharedKeys" Missing [] "no equivalent",
        "Encrypted tokens are refused";
    "OIDCOAuthVerifyCertFiles" Missing [] "no equivalent",
        "Keys come from the provider's key set";
    "OIDCOAuthVerifyJwksUri" Missing [] "no equivalent",
        "From the discovery document";
    "OIDCOAuthVerifyAudience" Mapped [] "`apps.NAME.bearer.audiences`",
        "Where `AuthType` is `oauth20` or `auth-openidc`";
    "OIDCOAuthVerifyIssuer" BuiltIn ["*"] "always",
        "";
    "OIDCOAuthRemoteUserClaim" ByHand [] "`[apps.NAME.headers]`",
        "";
    "OIDCOAuthAcceptTokenAs" Refused ["header"] "no equivalent",
        "In the `Authorization` header only";
    "OIDCCookiePath" BuiltIn ["/"] "no equivalent",
        "Always `/`";
    "OIDCCookieDomain" Missing [] "no equivalent",
        "Cookies are for one host. For several hosts, make several apps";
    "OIDCCookie" Mapped [] "`apps.NAME.cookie_name`",
        "If it has lower-case letters, digits and `-` only";
    "OIDCSessionCookieChunkSize" BuiltIn ["*"] "no equivalent",
        "3800 bytes, at most three chunks";
    "OIDCCookieHTTPOnly" BuiltIn ["On"] "always",
        "";
    "OIDCCookieSameSite" BuiltIn ["Lax"] "no equivalent",
        "Always `Lax`";
    "OIDCPassCookies" Missing [] "no equivalent",
        "No cookie of the browser is sent to the provider";
    "OIDCStripCookies" BuiltIn ["*"] "always",
        "Doorward's own cookies never reach the app. Others pass";
    "OIDCStateMaxNumberOfCookies" Missing [] "no equivalent",
        "At most eight";
    "OIDCStateCookiePrefix" BuiltIn ["*"] "`apps.NAME.cookie_name`",
        "";
    "OIDCStateInputHeaders" Refused ["none"] "no equivalent",
        "A login is bound to the browser by a cookie";
    "OIDCSessionInactivityTimeout" Mapped [] "`idle_timeout`",
        "";
    "OIDCSessionMaxDuration" Mapped [] "`absolute_timeout`",
        "";
    "OIDCSessionType" BuiltIn ["server-cache", "client-cookie"] "no equivalent",
        "Sealed cookies, always";
    "OIDCSessionCacheFallbackToCookie" BuiltIn ["*"] "not needed",
        "Sessions are in cookies";
    "OIDCRefreshAccessTokenBeforeExpiry" BuiltIn ["*"] "no equivalent",
        "By itself, in the last fifth of the JWT's lifetime";
    "OIDCCacheType" Mapped [] "`store.url`",
        "`memory:` or Redis";
    "OIDCCacheEncrypt" BuiltIn ["*"] "always",
        "What is secret is sealed";
    "OIDCCacheShmMax" ByHand [] "`store.max_entries`",
        "";
    "OIDCCacheShmEntrySizeMax" BuiltIn ["*"] "not needed",
        "Entries have no fixed size";
    "OIDCCacheDir" Missing [] "no equivalent",
        "There is no store in files";
    "OIDCCacheFileCleanInterval" BuiltIn ["*"] "not needed",
        "There is no store in files";
    "OIDCMemCacheServers" Missing [] "no equivalent",
        "Memcached cannot do what the store needs. Use Redis";
    "OIDCMemCacheConnectionsMin" Missing [] "no equivalent",
        "Memcached cannot do what the store needs";
    "OIDCMemCacheConnectionsSMax" Missing [] "no equivalent",
        "Memcached cannot do what the store needs";
    "OIDCMemCacheConnectionsHMax" Missing [] "no equivalent",
        "Memcached cannot do what the store needs";
    "OIDCMemCacheConnectionsTTL" Missing [] "no equivalent",
        "Memcached cannot do what the store needs";
    "OIDCRedisCacheServer" Mapped [] "`store.url`",
        "";
    "OIDCRedisCachePassword" Mapped [] "`store.redis.password_file`",
        "The password is not copied: put it into the file";
    "OIDCRedisCacheUsername" Mapped [] "`store.redis.username`",
        "";
    "OIDCRedisCacheDatabase" Mapped [] "`store.url`",
        "`redis://host:6379/1`";
    "OIDCRedisCacheConnectTimeout" ByHand [] "`store.redis.timeout`",
        "Connecting included. At most 5 seconds";
    "OIDCRedisCacheTimeout" ByHand [] "`store.redis.timeout`",
        "Connecting included. At most 5 seconds";
    "OIDCDiscoverURL" BuiltIn ["*"] "`apps.NAME.providers`",
        "Users choose a provider on a page of Doorward";
    "OIDCDiscoverIssuersAllowed" ByHand [] "`apps.NAME.providers`",
        "Only listed providers can be chosen";
    "OIDCDefaultURL" Missing [] "no equivalent",
        "The callback leads to the requested page, or `/`";
    "OIDCDefaultLoggedOutURL" ByHand [] "`logout?return_to=…`",
        "Otherwise `endpoint_prefix` + `/signed-out`, which links to `/`";
    "OIDCPathScope" Missing [] "no equivalent",
        "Scopes are for the app";
    "OIDCPathAuthRequestParams" ByHand [] "`require` of a rule",
        "`acr` and `max_age`. Other parameters are for the app";
    "OIDCRedirectURLsAllowed" ByHand [] "`logout_return_to`",
        "After a logout. After a login the app's own origin only";
    "OIDCLogoutXFrameOptions" Missing [] "no equivalent",
        "The logout frame may be shown by the provider only";
    "OIDCXForwardedHeaders" Mapped [] "`server.trusted_proxies`",
        "The networks are yours to name. Host and scheme come from `public_url`";
    "OIDCUnAuthAction" BuiltIn ["auth"] "by the kind of request",
        "A navigation goes to log in, everything else gets 401. `pass` is `allow = \"public\"`, where a session is told to the app";
    "OIDCUnAutzAction" Missing ["403"] "no equivalent",
        "403";
    "OIDCPreservePost" Mapped [] "`apps.NAME.preserve_post_max_bytes`",
        "On by default. In the store, sealed, not in the browser. Sent after the user confirms";
    "OIDCPreservePostTemplates" Missing [] "no equivalent",
        "Pages are built in";
    "OIDCClaimPrefix" ByHand [] "`[apps.NAME.headers]`",
        "Name each header. Nothing else is sent";
    "OIDCClaimDelimiter" Missing [] "no equivalent",
        "A comma. Commas within a value are percent-encoded";
    "OIDCRemoteUserClaim" Mapped [] "`X-Forwarded-User = \"{email}\"`",
        "`sub@` of the module is `\"{sub}@{iss}\"` without the scheme stripped. No regular expressions";
    "OIDCPassIDTokenAs" ByHand ["off"] "`apps.NAME.dangerously_pass_id_token`",
        "Without it the app never sees a token";
    "OIDCPassUserInfoAs" Refused [] "no equivalent",
        "Single claims only";
    "OIDCUserInfoClaimsExpr" Missing [] "no equivalent",
        "Only claims that headers and rules name are kept beside the JWT";
    "OIDCFilterClaimsExpr" Missing [] "no equivalent",
        "Only claims that headers and rules name are kept beside the JWT";
    "OIDCPassClaimsAs" ByHand [] "headers",
        "Percent-encoded UTF-8 where it is not visible ASCII";
    "OIDCAuthNHeader" ByHand [] "`[apps.NAME.headers]`",
        "";
    "OIDCPassAccessToken" ByHand ["Off"] "`apps.NAME.dangerously_pass_access_token`",
        "Without it the app never sees a token";
    "OIDCPassRefreshToken" Refused ["Off"] "no equivalent",
        "The app never sees a refresh token";
    "OIDCInfoHook" ByHand [] "`endpoint_prefix` + `/session`",
        "User and clocks. No tokens";
    "OIDCBlackListedClaims" Missing [] "no equivalent",
        "Only claims that headers and rules name are kept beside the JWT";
    "OIDCWhiteListedClaims" Missing [] "no equivalent",
        "Only claims that headers and rules name are kept beside the JWT";
    "OIDCMetricsData" BuiltIn ["*"] "always",
        "See [metrics](../operations/metrics.md)";
    "OIDCMetricsPublish" ByHand [] "`server.admin_listen`",
        "`/metrics`";
    "OIDCDebugMaskSecrets" BuiltIn ["On"] "always",
        "Secrets never reach the log, at any level";
};
