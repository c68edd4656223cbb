//! DPoP nonces and the replay check of proofs.

use std::time::Duration;

use super::{START, Setup, closed_port};
use crate::auth::bearer::dpop::{DpopError, DpopVerifier, nonce_valid_until};
use crate::limits::{ClientKey, on_behalf_of};
use crate::oidc::dpop::Proof;
use crate::types::oauth::{JwkThumbprint, Subject};

fn proof(key: &str, id: usize) -> Proof {
    Proof {
        key: JwkThumbprint::new(key),
        id: id.to_string(),
        counts_until: START.plus(Duration::from_secs(60)),
    }
}

#[tokio::test]
async fn proof_is_valid_once_within_a_share_of_the_store() {
    let setup = Setup::new(closed_port().await);
    let dpop = DpopVerifier::new(setup.context.clone());
    let spend = async |key: &str, id| {
        let owner = setup.app.client_key(&Subject::new(key));
        dpop.spend(&setup.app, &proof(key, id), owner).await
    };
    for id in 0..6 {
        assert_eq!(spend("mine", id).await, Ok(()));
    }
    assert_eq!(spend("mine", 0).await, Err(DpopError::Replayed));
    let full = spend("mine", 6).await.unwrap_err();
    assert_eq!(full.code(), "store_full", "the share of one user");
    assert!(matches!(full, DpopError::Unavailable(_)));
    assert_eq!(spend("other", 0).await, Ok(()), "the `jti` of another key");
    let stores = &setup.context.stores;
    assert_eq!(stores.login_proofs.held(), Some(0));
    let at_login = async |client: &str, id| {
        let proof = proof("stranger", id);
        let spend = dpop.spend_at_login(&setup.app, &proof);
        on_behalf_of(Some(ClientKey::of_test(client)), spend).await
    };
    let mut spent = 0;
    for id in 0..20 {
        spent += usize::from(at_login("a", id).await.is_ok());
    }
    assert_eq!(spent, 6, "the share of one address");
    assert_eq!(at_login("b", 0).await, Err(DpopError::Replayed));
    assert_eq!(at_login("b", 100).await, Ok(()));
    assert_eq!(spend("third", 0).await, Ok(()), "in a space of their own");
    assert_eq!(stores.sessions.held(), Some(0));
    assert_eq!(stores.anonymous.held(), Some(0));
    setup.clock.advance(Duration::from_secs(60));
    stores.proofs.sweep(setup.context.now());
    assert_eq!(stores.proofs.held(), Some(0));
}

#[tokio::test]
async fn nonce_belongs_to_one_app_and_is_valid_for_five_minutes() {
    // Two issuers: the key ring is the same, but the seal is bound to the issuer too.
    let provider = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Setup::new(provider.local_addr().unwrap());
    let setup = Setup::new(closed_port().await);
    let dpop = DpopVerifier::new(setup.context.clone());
    let nonce = dpop.new_nonce(&setup.app).unwrap();
    let nonce = nonce.to_str().unwrap();
    let until = START.plus(Duration::from_secs(300));
    assert_eq!(nonce_valid_until(&setup.app, nonce, START), Some(until));
    assert_eq!(nonce_valid_until(&setup.app, nonce, until), None);
    assert_eq!(nonce_valid_until(&setup.app, "", START), None);
    let lower_case = nonce.to_lowercase();
    assert_eq!(nonce_valid_until(&setup.app, &lower_case, START), None);
    assert_eq!(nonce_valid_until(&other.app, nonce, START), None);
    assert!(!dpop.is_nonce_ageing(until));
    setup.clock.advance(Duration::from_secs(151));
    assert!(dpop.is_nonce_ageing(until));
}
