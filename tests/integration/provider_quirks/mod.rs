//! Unusual provider behaviour seen in practice: none of it breaks a login or a refresh, or causes a
//! login loop. One file per subject. The provider has one switch per oddity
//! ([`Behaviour`](crate::support::provider::Behaviour)).

mod authorization_response;
mod claim_forms;
mod discovery;
mod fusionauth;
mod identity;
mod refresh_responses;
mod refreshed_id_token;
mod requested_authentication;
mod unverified_email;
