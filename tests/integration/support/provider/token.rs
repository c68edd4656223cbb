//! The server-to-server endpoints: token, revocation, introspection, userinfo, discovery.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::super::random_name;
use super::behaviour::{Endpoint, ExpiresIn};
use super::http::Reply;
use super::record::Visit;
use super::state::{Grant, State};
use super::tokens;

/// OpenID Connect Discovery section 3.
pub(super) fn discovery(state: &State) -> Reply {
    let behaviour = &state.behaviour;
    let mut document = json!({
        "issuer": behaviour.discovery_issuer.as_ref().unwrap_or(&state.issuer),
        "authorization_endpoint": address(state, Endpoint::Authorize),
        "token_endpoint": address(state, Endpoint::Token),
        "jwks_uri": address(state, Endpoint::Jwks),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email", "profile", "offline_access"],
        "authorization_response_iss_parameter_supported": true,
    });
    let optional = [
        (
            "end_session_endpoint",
            behaviour.has_end_session,
            Endpoint::EndSession,
        ),
        (
            "revocation_endpoint",
            behaviour.has_revocation,
            Endpoint::Revocation,
        ),
        (
            "userinfo_endpoint",
            behaviour.has_userinfo,
            Endpoint::Userinfo,
        ),
        (
            "introspection_endpoint",
            behaviour.has_introspection,
            Endpoint::Introspection,
        ),
    ];
    for (name, present, endpoint) in optional {
        if present {
            document[name] = json!(address(state, endpoint));
        }
    }
    for (name, value) in &behaviour.discovery_members {
        document[*name] = value.clone();
    }
    Reply::json(200, &document)
}

/// RFC 6749 section 3.2.
pub(super) fn token(state: &mut State, visit: &Visit) -> Reply {
    let Some(client_id) = authenticated_client(state, visit) else {
        return error(401, "invalid_client");
    };
    match visit.parameter("grant_type") {
        Some("authorization_code") => exchange(state, visit, &client_id),
        Some("refresh_token") => refresh(state, visit, &client_id),
        Some("password") => password(state, visit, &client_id),
        Some("urn:ietf:params:oauth:grant-type:token-exchange") => exchange_token(state, visit),
        _ => error(400, "unsupported_grant_type"),
    }
}

/// RFC 7009: responds with 200 for unknown tokens too.
pub(super) fn revocation(state: &mut State, visit: &Visit) -> Reply {
    if authenticated_client(state, visit).is_none() {
        return error(401, "invalid_client");
    }
    let Some(token) = visit.parameter("token") else {
        return error(400, "invalid_request");
    };
    state.revoke(token);
    Reply::empty(200)
}

/// RFC 7662: an opaque token is active until it is deactivated.
pub(super) fn introspection(state: &State, visit: &Visit) -> Reply {
    if authenticated_client(state, visit).is_none() {
        return error(401, "invalid_client");
    }
    if let Some(response) = &state.behaviour.introspection_answer {
        return Reply::json(200, response);
    }
    let known = visit
        .parameter("token")
        .and_then(|token| state.opaque_tokens.get(token));
    let mut response = known.cloned().unwrap_or_else(|| json!({}));
    response["active"] = json!(known.is_some());
    Reply::json(200, &response)
}

/// OpenID Connect Core section 5.3.
pub(super) fn userinfo(state: &State, visit: &Visit) -> Reply {
    let bearer = visit
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let Some(user) = bearer.and_then(|token| state.access_tokens.get(token)) else {
        return error(401, "invalid_token");
    };
    let mut claims = user.claims.clone();
    claims.insert("sub".to_owned(), json!(user.sub));
    for (name, value) in &state.behaviour.userinfo_claims {
        claims.insert((*name).to_owned(), value.clone());
    }
    Reply::json(200, &Value::Object(claims))
}

fn exchange(state: &mut State, visit: &Visit, client_id: &str) -> Reply {
    let presented = visit.parameter("code").unwrap_or_default();
    let verifier = visit.parameter("code_verifier").unwrap_or_default();
    let Some(code) = state.codes.get_mut(presented) else {
        return error(400, "invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
    let fits = code.grant.client_id == client_id
        && visit.parameter("redirect_uri") == Some(&code.redirect_uri)
        && code.challenge == challenge;
    let grant = code.grant.clone();
    let replayed = std::mem::replace(&mut code.used, true);
    if replayed {
        // RFC 6749 section 4.1.2: reuse of a code revokes its grant.
        state.revoke_where(|other| other.family == grant.family);
    }
    if !fits || replayed {
        return error(400, "invalid_grant");
    }
    let granted = state.behaviour.grants_refresh_token;
    let refresh_token = if granted {
        Some(state.issue_refresh_token(&grant))
    } else {
        None
    };
    response(state, &grant, refresh_token, true)
}

/// RFC 6749 section 4.3. Creates a provider session of its own, as there is no browser.
fn password(state: &mut State, visit: &Visit, client_id: &str) -> Reply {
    if let Some((status, response)) = &state.behaviour.password_answer {
        return Reply::json(*status, response);
    }
    let [name, password, scope] =
        ["username", "password", "scope"].map(|name| visit.parameter(name).unwrap_or_default());
    let known = state
        .users
        .get(name)
        .filter(|(secret, _)| secret == password);
    let Some((_, user)) = known.cloned() else {
        return error(400, "invalid_grant");
    };
    let grant = Grant {
        client_id: client_id.to_owned(),
        user,
        sid: random_name(9),
        scope: scope.to_owned(),
        nonce: None,
        auth_time: state.clock.now(),
        family: state.new_family(),
    };
    let granted = state.behaviour.grants_refresh_token;
    let refresh_token = if granted {
        Some(state.issue_refresh_token(&grant))
    } else {
        None
    };
    response(
        state,
        &grant,
        refresh_token,
        state.behaviour.password_brings_id_token,
    )
}

/// RFC 8693: the new token tells what was exchanged.
fn exchange_token(state: &State, visit: &Visit) -> Reply {
    if let Some((status, response)) = &state.behaviour.exchange_answer {
        return Reply::json(*status, response);
    }
    let [kind, audience, scope] = ["subject_token_type", "audience", "scope"]
        .map(|name| visit.parameter(name).unwrap_or_default());
    let Some(subject) = visit.parameter("subject_token") else {
        return error(400, "invalid_request");
    };
    let kind = kind.rsplit(':').next().unwrap_or_default();
    let tail: String = subject.chars().rev().take(8).collect();
    Reply::json(
        200,
        &json!({
            "access_token": format!("{kind}.{audience}.{scope}.{tail}"),
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 200,
        }),
    )
}

fn refresh(state: &mut State, visit: &Visit, client_id: &str) -> Reply {
    let presented = visit.parameter("refresh_token").unwrap_or_default();
    let grant = state.present(presented, client_id);
    if let Some(refusal) = state.behaviour.refresh_refusal {
        return match refusal.error {
            Some(word) => error(refusal.status, word),
            None => Reply::empty(refusal.status),
        };
    }
    let Some(mut grant) = grant else {
        return error(400, "invalid_grant");
    };
    // The nonce belongs to the login (OpenID Connect Core section 12.2).
    grant.nonce = None;
    let mut new = state
        .behaviour
        .repeats_refresh_token
        .then(|| presented.to_owned());
    if state.behaviour.rotates_refresh_tokens {
        state.consume(presented);
        new = Some(state.issue_refresh_token(&grant));
    }
    if let Some(sub) = state.behaviour.refreshed_sub.clone() {
        grant.user.sub = sub;
    }
    response(state, &grant, new, state.behaviour.refresh_brings_id_token)
}

fn response(
    state: &mut State,
    grant: &Grant,
    refresh_token: Option<String>,
    with_id_token: bool,
) -> Reply {
    let access_token = if state.behaviour.opaque_access_token {
        state.secret()
    } else {
        let jwt = tokens::access_token(state, grant);
        state.record.secrets.push(jwt.clone());
        jwt
    };
    state
        .access_tokens
        .insert(access_token.clone(), grant.user.clone());
    let mut body =
        json!({ "access_token": access_token, "token_type": "Bearer", "scope": grant.scope });
    match state.behaviour.expires_in {
        ExpiresIn::Right => body["expires_in"] = json!(state.behaviour.token_lifetime.as_secs()),
        ExpiresIn::Seconds(seconds) => body["expires_in"] = json!(seconds),
        ExpiresIn::Missing => {}
    }
    if with_id_token {
        let jwt = tokens::id_token(state, grant);
        state.record.secrets.push(jwt.clone());
        body["id_token"] = json!(jwt);
    }
    if let Some(refresh_token) = refresh_token {
        body["refresh_token"] = json!(refresh_token);
    }
    for (name, value) in &state.behaviour.token_response_members {
        body[*name] = value.clone();
    }
    Reply::json(200, &body)
}

/// RFC 6749 section 2.3.1: Basic (form-encoded parts) or in the body; a public client only names
/// itself.
fn authenticated_client(state: &State, visit: &Visit) -> Option<String> {
    let basic = visit
        .header("authorization")
        .and_then(|value| value.strip_prefix("Basic "));
    let (id, secret) = match basic {
        Some(encoded) => {
            let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
            let (id, secret) = decoded.split_once(':')?;
            (form_decoded(id), Some(form_decoded(secret)))
        }
        None => (
            visit.parameter("client_id")?.to_owned(),
            visit.parameter("client_secret").map(str::to_owned),
        ),
    };
    let client = state.clients.get(&id)?;
    if client.secret == secret {
        Some(id)
    } else {
        None
    }
}

fn form_decoded(text: &str) -> String {
    let pair = format!("x={text}");
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn address(state: &State, endpoint: Endpoint) -> String {
    format!("{}{}", state.address, endpoint.path())
}

fn error(status: u16, word: &str) -> Reply {
    Reply::json(status, &json!({ "error": word }))
}
