//! The provider's state: sessions, codes, and grants with their refresh token families. The methods
//! are pure: `now` and random values are arguments.

use std::time::Duration;

use crate::demo::bounded::BoundedMap;
use crate::types::oauth::{ClientId, Subject};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

const MAX_SIGN_ONS: usize = 1_000;
const MAX_CODES: usize = 1_000;
const MAX_GRANTS: usize = 10_000;
const MAX_REFRESH_TOKENS: usize = 50_000;

/// Lifetime of a code (RFC 6749 section 4.1.2 recommends at most ten minutes).
const CODE_LIFETIME: Duration = Duration::from_secs(60);

pub(super) struct State {
    sign_ons: BoundedMap<SignOn>,
    codes: BoundedMap<Code>,
    grants: BoundedMap<Grant>,
    refresh_tokens: BoundedMap<Refresh>,
}

/// A user's provider session in one browser. The map's key is its `sid`.
#[derive(Clone, Debug)]
pub(super) struct SignOn {
    pub(super) sid: String,
    pub(super) subject: Subject,
    pub(super) auth_time: Timestamp,
    /// The secret part of the cookie, which is in no token.
    key: String,
    expires: Timestamp,
}

/// A code, and the values that its exchange must match.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: Vec<String>,
    pub(super) sid: String,
    issued: Timestamp,
    status: CodeStatus,
}

#[derive(Clone, Debug)]
enum CodeStatus {
    Unused,
    Redeemed { grant: Option<String> },
}

/// A user's grant to a client: the root of a token family.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) id: String,
    pub(super) client: ClientId,
    pub(super) subject: Subject,
    pub(super) sid: String,
    pub(super) scope: Vec<String>,
    pub(super) auth_time: Timestamp,
    revoked: bool,
}

struct Refresh {
    grant: String,
    expires: Timestamp,
    spent: bool,
}

/// Why a code or refresh token is rejected (`invalid_grant`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GrantError {
    /// It is unknown, was evicted, or belongs to another client.
    Unknown,
    /// It has expired.
    Expired,
    /// The code was redeemed before; its grant is revoked now.
    Replayed,
    /// The redirect URI or the code verifier does not match.
    Mismatch,
    /// The user signed out, or the grant was revoked.
    Revoked,
    /// The refresh token was used before; its family is revoked now.
    Reused(Subject),
}

impl GrantError {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Replayed => "used before",
            Self::Mismatch => "redirect_uri or code_verifier does not match",
            Self::Revoked => "revoked",
            Self::Reused(_) => "used before, its token family is revoked",
        }
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            sign_ons: BoundedMap::new(MAX_SIGN_ONS),
            codes: BoundedMap::new(MAX_CODES),
            grants: BoundedMap::new(MAX_GRANTS),
            refresh_tokens: BoundedMap::new(MAX_REFRESH_TOKENS),
        }
    }

    /// The session of a cookie, unless it has expired.
    pub(super) fn sign_on(&self, cookie: &str, now: Timestamp) -> Option<SignOn> {
        let (sid, key) = cookie.split_once('.')?;
        let session = self.sign_ons.get(sid)?;
        (same_bytes(session.key.as_bytes(), key.as_bytes()) && now < session.expires)
            .then(|| session.clone())
    }

    /// Starts a session and returns it with its new cookie. The browser's current session keeps its
    /// `sid` if it belongs to the same user; otherwise it ends.
    pub(super) fn start_sign_on(
        &mut self,
        current: Option<&SignOn>,
        subject: &Subject,
        [sid, key]: [String; 2],
        now: Timestamp,
        lifetime: Duration,
    ) -> (SignOn, String) {
        let sid = match current {
            Some(session) if session.subject == *subject => session.sid.clone(),
            Some(session) => {
                self.end_session(&session.sid);
                sid
            }
            None => sid,
        };
        let cookie = format!("{sid}.{key}");
        let session = SignOn {
            sid: sid.clone(),
            subject: subject.clone(),
            auth_time: now,
            key,
            expires: now.plus(lifetime),
        };
        self.sign_ons.insert(sid, session.clone());
        (session, cookie)
    }

    /// Ends a session and revokes its grants. Returns the user.
    pub(super) fn end_session(&mut self, sid: &str) -> Option<Subject> {
        for grant in self.grants.values_mut().filter(|grant| grant.sid == sid) {
            grant.revoked = true;
        }
        self.sign_ons.remove(sid).map(|session| session.subject)
    }

    /// Ends a session. Its grants stay active.
    pub(super) fn end_sign_on(&mut self, sid: &str) {
        self.sign_ons.remove(sid);
    }

    /// Ends all sessions of a user and revokes the grants. Returns the number of grants that were
    /// active.
    pub(super) fn revoke_all_of(&mut self, subject: &Subject) -> usize {
        self.sign_ons.retain(|session| session.subject != *subject);
        self.revoke_where(|grant| grant.subject == *subject)
    }

    /// Revokes the grants for which `which` is true. Returns the number of grants that were active.
    pub(super) fn revoke_where(&mut self, which: impl Fn(&Grant) -> bool) -> usize {
        let living = self
            .grants
            .values_mut()
            .filter(|grant| !grant.revoked && which(grant));
        living.map(|grant| grant.revoked = true).count()
    }

    pub(super) fn issue_code(&mut self, code: String, request: CodeRequest, now: Timestamp) {
        let CodeRequest {
            client,
            redirect_uri,
            challenge,
            nonce,
            scope,
            sid,
        } = request;
        let status = CodeStatus::Unused;
        let issued = now;
        self.codes.insert(
            code,
            Code {
                client,
                redirect_uri,
                challenge,
                nonce,
                scope,
                sid,
                issued,
                status,
            },
        );
    }

    /// Redeems a code (RFC 6749 section 4.1.3, RFC 7636 section 4.6). Its client has one attempt,
    /// successful or not.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client: &ClientId,
        redirect_uri: &str,
        challenge: &str,
        grant_id: String,
        now: Timestamp,
    ) -> Result<(Grant, Option<String>), GrantError> {
        let code = self
            .codes
            .get_mut(code)
            .filter(|code| code.client == *client)
            .ok_or(GrantError::Unknown)?;
        if let CodeStatus::Redeemed { grant } = &code.status {
            if let Some(grant) = grant.as_deref().and_then(|id| self.grants.get_mut(id)) {
                grant.revoked = true;
            }
            return Err(GrantError::Replayed);
        }
        code.status = CodeStatus::Redeemed { grant: None };
        if now >= code.issued.plus(CODE_LIFETIME) {
            return Err(GrantError::Expired);
        }
        if code.redirect_uri != redirect_uri
            || !same_bytes(code.challenge.as_bytes(), challenge.as_bytes())
        {
            return Err(GrantError::Mismatch);
        }
        let session = self.sign_ons.get(&code.sid).ok_or(GrantError::Revoked)?;
        code.status = CodeStatus::Redeemed {
            grant: Some(grant_id.clone()),
        };
        let nonce = code.nonce.clone();
        let grant = Grant {
            id: grant_id,
            client: client.clone(),
            subject: session.subject.clone(),
            sid: session.sid.clone(),
            scope: code.scope.clone(),
            auth_time: session.auth_time,
            revoked: false,
        };
        self.grants.insert(grant.id.clone(), grant.clone());
        Ok((grant, nonce))
    }

    /// A grant of the password grant type, with its own `sid`.
    pub(super) fn grant_directly(
        &mut self,
        [id, sid]: [String; 2],
        client: &ClientId,
        subject: &Subject,
        scope: Vec<String>,
        now: Timestamp,
    ) -> Grant {
        let (client, subject) = (client.clone(), subject.clone());
        let grant = Grant {
            id,
            client,
            subject,
            sid,
            scope,
            auth_time: now,
            revoked: false,
        };
        self.grants.insert(grant.id.clone(), grant.clone());
        grant
    }

    pub(super) fn issue_refresh_token(&mut self, token: String, grant: &Grant, expires: Timestamp) {
        self.refresh_tokens.insert(
            token,
            Refresh {
                grant: grant.id.clone(),
                expires,
                spent: false,
            },
        );
    }

    /// Uses a refresh token and returns its grant. With `spends` the token cannot be used again.
    /// Reuse revokes the family (RFC 9700 section 4.14.2). Without `client`, the client is not
    /// checked.
    pub(super) fn use_refresh_token(
        &mut self,
        token: &str,
        client: Option<&ClientId>,
        spends: bool,
        now: Timestamp,
    ) -> Result<Grant, GrantError> {
        let refresh = self
            .refresh_tokens
            .get_mut(token)
            .ok_or(GrantError::Unknown)?;
        let grant = self
            .grants
            .get_mut(&refresh.grant)
            .ok_or(GrantError::Unknown)?;
        if client.is_some_and(|client| grant.client != *client) {
            return Err(GrantError::Unknown);
        }
        if grant.revoked {
            return Err(GrantError::Revoked);
        }
        if refresh.spent {
            grant.revoked = true;
            return Err(GrantError::Reused(grant.subject.clone()));
        }
        if now >= refresh.expires {
            return Err(GrantError::Expired);
        }
        refresh.spent = spends;
        Ok(grant.clone())
    }

    /// The grant of a refresh token, active or not.
    pub(super) fn grant_of_refresh_token(&self, token: &str) -> Option<&Grant> {
        self.grants.get(&self.refresh_tokens.get(token)?.grant)
    }

    pub(super) fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id)
    }

    pub(super) fn active_grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id).filter(|grant| !grant.revoked)
    }

    /// Revokes a grant with all its tokens. Returns whether it was active.
    pub(super) fn revoke(&mut self, id: &str) -> bool {
        self.grants
            .get_mut(id)
            .is_some_and(|grant| !std::mem::replace(&mut grant.revoked, true))
    }
}

/// The data that a code is issued for.
pub(super) struct CodeRequest {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: Vec<String>,
    pub(super) sid: String,
}
