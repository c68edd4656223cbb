//! Names of users and sessions in the logs.

use std::sync::Arc;

use aws_lc_rs::hmac;
use serde_json::{Map, Value};

use crate::auth::session_list::UserNames;
use crate::identity::claims::Claims;
use crate::identity::identity::{HeaderTemplate, Identity};
use crate::policy::decide::Caller;
use crate::telemetry::caller_names::Names;
use crate::types::oauth::Subject;
use crate::types::secret::Secret;

/// The domain of the key, which is derived from a sealing key.
const DOMAIN: &[u8] = b"doorward names of users in the log";

/// The form of user names in the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoggedUser {
    /// A keyed hash of `sub`: entries of one user can be joined, and without the key nobody can test
    /// a guess.
    #[default]
    Hash,
    /// Nothing.
    None,
    /// Their claims. The hash, if they lack one.
    Claims(HeaderTemplate),
}

/// Names users in the logs.
#[derive(Clone, Debug)]
pub struct LogNames {
    key: hmac::Key,
    user: LoggedUser,
}

impl LogNames {
    /// Names users as `user` says, by a key that is derived from the deployment's.
    pub fn new(deployment_key: &Secret<[u8; 32]>, user: LoggedUser) -> Self {
        let deployment_key = hmac::Key::new(hmac::HMAC_SHA256, deployment_key.expose());
        let derived = hmac::sign(&deployment_key, DOMAIN);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            user,
        }
    }

    /// The same key, with another form of names.
    #[must_use]
    pub fn naming(&self, user: LoggedUser) -> Self {
        Self {
            key: self.key.clone(),
            user,
        }
    }

    /// The user's name in the logs. Without `claims` only `sub` is known.
    pub fn user(&self, subject: &Subject, claims: Option<&Claims>) -> Option<String> {
        match &self.user {
            LoggedUser::None => None,
            LoggedUser::Hash => Some(self.hash(subject)),
            LoggedUser::Claims(template) => {
                let name = match claims {
                    Some(claims) => template.rendered(claims),
                    None => template.rendered(&claims_of(subject)),
                };
                Some(name.unwrap_or_else(|| self.hash(subject)))
            }
        }
    }

    /// Names the caller of a request: see [`Identity::log_names`]. `None` for an anonymous request.
    pub fn name_caller(&self, caller: &Caller) -> Option<Arc<Identity>> {
        let session = match caller {
            Caller::Anonymous(_) => return None,
            Caller::Authenticated(live) | Caller::NativeSession(live) | Caller::Basic(live) => {
                &live.session().sid
            }
            Caller::Bearer(live) => &live.token().name,
        };
        let identity = identity_of(caller)?;
        identity.log_names.get_or_make(|| Names {
            user: self.user(&identity.subject, Some(&identity.claims)),
            session: session.log_name(),
        });
        Some(Arc::clone(identity))
    }

    fn hash(&self, subject: &Subject) -> String {
        let tag = hmac::sign(&self.key, subject.as_str().as_bytes());
        // A collision would need billions of users.
        let first = tag.as_ref().first_chunk().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(first))
    }
}

impl UserNames for LogNames {
    fn name(&self, subject: &Subject, claims: &Claims) -> Option<String> {
        self.user(subject, Some(claims))
    }
}

fn claims_of(subject: &Subject) -> Claims {
    let sub = ("sub".to_owned(), Value::from(subject.as_str()));
    Claims::new(Map::from_iter([sub]), Map::new())
}

/// The identity of the caller. `None` for an anonymous request.
pub fn identity_of(caller: &Caller) -> Option<&Arc<Identity>> {
    match caller {
        Caller::Anonymous(_) => None,
        Caller::Authenticated(live) | Caller::NativeSession(live) | Caller::Basic(live) => {
            Some(&live.session().identity)
        }
        Caller::Bearer(live) => Some(&live.token().identity),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(key: u8, user: LoggedUser) -> Option<String> {
        let claims = json!({"sub": "alice", "email": "alice@example.com"});
        let claims = Claims::new(claims.as_object().unwrap().clone(), Map::new());
        let names = LogNames::new(&Secret::new([key; 32]), user);
        names.user(&Subject::new("alice"), Some(&claims))
    }

    #[test]
    fn hash_depends_on_the_key_and_hides_the_user() {
        let hash = named(1, LoggedUser::Hash).unwrap();
        assert_eq!(hash.len(), 16);
        assert_eq!(named(1, LoggedUser::Hash).unwrap(), hash);
        assert_ne!(named(2, LoggedUser::Hash).unwrap(), hash);
    }

    #[test]
    fn template_falls_back_to_the_hash() {
        let template = |text| LoggedUser::Claims(HeaderTemplate::parse("user", text).unwrap());
        let email = named(1, template("{email}"));
        assert_eq!(email.as_deref(), Some("alice@example.com"));
        let hash = named(1, LoggedUser::Hash);
        assert_eq!(named(1, template("{phone_number}")), hash);
        assert_eq!(named(1, LoggedUser::None), None);
    }

    #[test]
    fn user_without_claims_is_named_by_sub() {
        let by_subject = |text| {
            let template = HeaderTemplate::parse("user", text).unwrap();
            let names = LogNames::new(&Secret::new([1; 32]), LoggedUser::Claims(template));
            names.user(&Subject::new("alice"), None)
        };
        assert_eq!(by_subject("{sub}").as_deref(), Some("alice"));
        assert_eq!(by_subject("{email}"), named(1, LoggedUser::Hash));
    }
}
