//! What the provider remembers: who is signed on, codes, and grants with their families of refresh
//! tokens. Plain transitions with `now` as argument; random words are handed in.

use std::time::Duration;

use crate::demo::bounded::Bounded;
use crate::types::oauth::{ClientId, Subject};
use crate::types::secret::same_bytes;
use crate::types::time::Timestamp;

const MAX_SIGN_ONS: usize = 1_000;
const MAX_CODES: usize = 1_000;
const MAX_GRANTS: usize = 10_000;
const MAX_REFRESH_TOKENS: usize = 50_000;

/// How long a code may wait for its exchange (RFC 6749 section 4.1.2 recommends at most ten minutes).
const CODE_LIFETIME: Duration = Duration::from_secs(60);

pub(super) struct State {
    sign_ons: Bounded<SignOn>,
    codes: Bounded<Code>,
    grants: Bounded<Grant>,
    refresh_tokens: Bounded<Refresh>,
}

/// A person's session at the provider, in one browser; the map's key is its `sid`.
#[derive(Clone, Debug)]
pub(super) struct SignOn {
    pub(super) sid: String,
    pub(super) subject: Subject,
    pub(super) auth_time: Timestamp,
    /// The half of the cookie that is not in any token.
    key: String,
    expires: Timestamp,
}

/// A code, and what its exchange must match.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: Vec<String>,
    pub(super) sid: String,
    issued: Timestamp,
    fate: Fate,
}

#[derive(Clone, Debug)]
enum Fate {
    Waiting,
    Spent { grant: Option<String> },
}

/// What a client may do for a person: the head of a family of tokens.
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

/// Why a code or a refresh token is refused (`invalid_grant`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It never was, was forgotten, or is another client's.
    Unknown,
    /// Its time is over.
    Expired,
    /// A code that came a second time; what was granted for it is revoked.
    Replayed,
    /// A code with another redirect URI or verifier than it was asked for with.
    Mismatch,
    /// The person signed out, or it was revoked.
    Revoked,
    /// A refresh token that was spent came again; its family is revoked.
    Reused(Subject),
}

impl Refused {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Replayed => "used before",
            Self::Mismatch => "redirect_uri or code_verifier does not match",
            Self::Revoked => "revoked",
            Self::Reused(_) => "used before, so its family is revoked",
        }
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            sign_ons: Bounded::new(MAX_SIGN_ONS),
            codes: Bounded::new(MAX_CODES),
            grants: Bounded::new(MAX_GRANTS),
            refresh_tokens: Bounded::new(MAX_REFRESH_TOKENS),
        }
    }

    /// The living session that a cookie names.
    pub(super) fn sign_on(&self, cookie: &str, now: Timestamp) -> Option<SignOn> {
        let (sid, key) = cookie.split_once('.')?;
        let session = self.sign_ons.get(sid)?;
        (same_bytes(session.key.as_bytes(), key.as_bytes()) && now < session.expires)
            .then(|| session.clone())
    }

    /// Signs a person on and gives the session with its new cookie. A session that the browser has
    /// already keeps its `sid` if it is the same person's, else it ends.
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

    /// Ends a session and everything that was granted within it. Gives whose it was.
    pub(super) fn end_session(&mut self, sid: &str) -> Option<Subject> {
        for grant in self.grants.values_mut().filter(|grant| grant.sid == sid) {
            grant.revoked = true;
        }
        self.sign_ons.remove(sid).map(|session| session.subject)
    }

    /// Ends a session, and nothing that was granted within it.
    pub(super) fn end_sign_on(&mut self, sid: &str) {
        self.sign_ons.remove(sid);
    }

    /// Ends all sessions and grants of a person; gives how many grants were alive.
    pub(super) fn revoke_all_of(&mut self, subject: &Subject) -> usize {
        self.sign_ons.retain(|session| session.subject != *subject);
        self.revoke_where(|grant| grant.subject == *subject)
    }

    /// Ends the grants that `which` says yes to; gives how many of them were alive.
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
        let fate = Fate::Waiting;
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
                fate,
            },
        );
    }

    /// Spends a code (RFC 6749 section 4.1.3, RFC 7636 section 4.6): one attempt by its client, right or wrong, and
    /// it is gone.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client: &ClientId,
        redirect_uri: &str,
        challenge: &str,
        grant_id: String,
        now: Timestamp,
    ) -> Result<(Grant, Option<String>), Refused> {
        let code = self
            .codes
            .get_mut(code)
            .filter(|code| code.client == *client)
            .ok_or(Refused::Unknown)?;
        if let Fate::Spent { grant } = &code.fate {
            if let Some(grant) = grant.as_deref().and_then(|id| self.grants.get_mut(id)) {
                grant.revoked = true;
            }
            return Err(Refused::Replayed);
        }
        code.fate = Fate::Spent { grant: None };
        if now >= code.issued.plus(CODE_LIFETIME) {
            return Err(Refused::Expired);
        }
        if code.redirect_uri != redirect_uri
            || !same_bytes(code.challenge.as_bytes(), challenge.as_bytes())
        {
            return Err(Refused::Mismatch);
        }
        let session = self.sign_ons.get(&code.sid).ok_or(Refused::Revoked)?;
        code.fate = Fate::Spent {
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

    /// A grant for a person who gave name and password to the client; it has a `sid` of its own.
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

    /// Gives the grant of a refresh token, which `spends` says to be its last use; one that was spent before ends its
    /// whole family (RFC 9700 section 4.14.2). Without `client` anybody may.
    pub(super) fn use_refresh_token(
        &mut self,
        token: &str,
        client: Option<&ClientId>,
        spends: bool,
        now: Timestamp,
    ) -> Result<Grant, Refused> {
        let refresh = self.refresh_tokens.get_mut(token).ok_or(Refused::Unknown)?;
        let grant = self
            .grants
            .get_mut(&refresh.grant)
            .ok_or(Refused::Unknown)?;
        if client.is_some_and(|client| grant.client != *client) {
            return Err(Refused::Unknown);
        }
        if grant.revoked {
            return Err(Refused::Revoked);
        }
        if refresh.spent {
            grant.revoked = true;
            return Err(Refused::Reused(grant.subject.clone()));
        }
        if now >= refresh.expires {
            return Err(Refused::Expired);
        }
        refresh.spent = spends;
        Ok(grant.clone())
    }

    /// The grant a refresh token belongs to, alive or not.
    pub(super) fn grant_of_refresh_token(&self, token: &str) -> Option<&Grant> {
        self.grants.get(&self.refresh_tokens.get(token)?.grant)
    }

    pub(super) fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id)
    }

    pub(super) fn living_grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id).filter(|grant| !grant.revoked)
    }

    /// Revokes a grant with all its tokens; says whether it was alive.
    pub(super) fn revoke(&mut self, id: &str) -> bool {
        self.grants
            .get_mut(id)
            .is_some_and(|grant| !std::mem::replace(&mut grant.revoked, true))
    }
}

/// What a code is issued for.
pub(super) struct CodeRequest {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) scope: Vec<String>,
    pub(super) sid: String,
}
