//! The endpoints for the browser: authorization and end of session.

use serde_json::Value;

use super::behaviour::IssParameter;
use super::http::Reply;
use super::record::Visit;
use super::state::{Client, Code, Grant, State};

/// RFC 6749 section 4.1.1 with RFC 7636; PKCE with S256 is required.
pub(super) fn authorize(state: &mut State, visit: &Visit) -> Reply {
    let client = visit
        .parameter("client_id")
        .and_then(|id| state.clients.get(id))
        .cloned();
    let redirect_uri = visit
        .parameter("redirect_uri")
        .unwrap_or_default()
        .to_owned();
    let Some(client) = client.filter(|client| client.redirect_uris.contains(&redirect_uri)) else {
        return Reply::html(400, "<h1>Unknown client or redirect_uri</h1>");
    };
    match decide(state, visit, &client, &redirect_uri) {
        Ok(code) => back(state, visit, &redirect_uri, ("code", &code)),
        Err(Stop::Error(error)) => back(state, visit, &redirect_uri, ("error", error)),
        Err(Stop::Form) => {
            state.record.forms_shown += 1;
            let form = r#"<form id="login" method="post"><input name="username"><input name="password"></form>"#;
            Reply::html(200, &format!("<h1>Sign in</h1>{form}"))
        }
    }
}

enum Stop {
    Error(&'static str),
    Form,
}

fn decide(
    state: &mut State,
    visit: &Visit,
    client: &Client,
    redirect_uri: &str,
) -> Result<String, Stop> {
    if let Some(error) = state.behaviour.authorize_error {
        return Err(Stop::Error(error));
    }
    if visit.parameter("response_type") != Some("code") {
        return Err(Stop::Error("unsupported_response_type"));
    }
    let scope = visit.parameter("scope").unwrap_or_default().to_owned();
    let challenge = visit
        .parameter("code_challenge")
        .unwrap_or_default()
        .to_owned();
    let challenged =
        !challenge.is_empty() && visit.parameter("code_challenge_method") == Some("S256");
    if !challenged || !scope.split(' ').any(|word| word == "openid") {
        return Err(Stop::Error("invalid_request"));
    }
    let Some(session) = state.session.clone() else {
        let silently =
            visit.parameter("prompt") == Some("none") && !state.behaviour.ignores_prompt_none;
        return Err(if silently {
            Stop::Error("login_required")
        } else {
            Stop::Form
        });
    };
    let grant = Grant {
        client_id: client.id.clone(),
        user: session.user,
        sid: session.sid,
        scope,
        nonce: visit.parameter("nonce").map(str::to_owned),
        auth_time: session.since,
        family: state.new_family(),
    };
    let code = state.secret();
    let issued = Code {
        grant,
        redirect_uri: redirect_uri.to_owned(),
        challenge,
        used: false,
    };
    state.codes.insert(code.clone(), issued);
    Ok(code)
}

fn back(state: &State, visit: &Visit, redirect_uri: &str, outcome: (&str, &str)) -> Reply {
    let mut target = url::Url::parse(redirect_uri).expect("a registered URL");
    {
        let mut query = target.query_pairs_mut();
        query.append_pair(outcome.0, outcome.1);
        if let Some(value) = visit.parameter("state") {
            query.append_pair("state", value);
        }
        match state.behaviour.iss_parameter {
            IssParameter::Right => drop(query.append_pair("iss", &state.issuer)),
            IssParameter::Wrong => drop(query.append_pair("iss", "https://somebody.else.test")),
            IssParameter::Missing => {}
        }
        query.extend_pairs(&state.behaviour.extra_callback_parameters);
    }
    Reply::redirect(target.as_str())
}

/// RP-initiated logout: ends the session and its grants, then redirects to a registered URI.
pub(super) fn revoke_session(state: &mut State, visit: &Visit) -> Reply {
    let hinted = visit.parameter("id_token_hint").and_then(claims_of);
    let hinted_client = hinted
        .as_ref()
        .and_then(|claims| claims.get("aud"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    let client = visit
        .parameter("client_id")
        .map(str::to_owned)
        .or(hinted_client);
    if let Some(session) = state.session.take() {
        state.revoke_where(|grant| grant.sid == session.sid);
    }
    let registered = client
        .and_then(|id| state.clients.get(&id))
        .map(|client| client.post_logout_redirect_uris.clone());
    let Some(target) = visit.parameter("post_logout_redirect_uri") else {
        return Reply::html(200, "<h1>Signed out</h1>");
    };
    if !registered.is_some_and(|uris| uris.iter().any(|uri| uri == target)) {
        return Reply::html(400, "<h1>Unknown post_logout_redirect_uri</h1>");
    }
    let mut target = url::Url::parse(target).expect("a registered URL");
    if let Some(value) = visit.parameter("state") {
        target.query_pairs_mut().append_pair("state", value);
    }
    Reply::redirect(target.as_str())
}

/// The claims of a JWT, without verification.
fn claims_of(jwt: &str) -> Option<Value> {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(jwt.split('.').nth(1)?)
        .ok()?;
    serde_json::from_slice(&payload).ok()
}
