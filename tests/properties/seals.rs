//! Seals: a seal opens in its own context only, and not if a byte is changed.

use std::sync::Arc;

use doorward::session::seal::{Binding, Key, KeyRing, Purpose, Seal};
use doorward::types::oauth::{ClientId, Issuer};
use doorward::types::secret::Secret;
use proptest::collection::vec;
use proptest::prelude::*;

struct Note;
impl Purpose for Note {
    type Payload = (String, Vec<u8>, Option<u64>);
    const NAME: &'static str = "note";
}

/// Its name has the other's as prefix, so only a length prefix distinguishes them.
struct Notebook;
impl Purpose for Notebook {
    type Payload = (String, Vec<u8>, Option<u64>);
    const NAME: &'static str = "notebook";
}

fn key(material: [u8; 32]) -> Key {
    Key::new(&Secret::new(material)).unwrap()
}

fn seal<P: Purpose>(keys: &[[u8; 32]], [origin, issuer, client]: [&str; 3]) -> Seal<P> {
    let ring = KeyRing::new(
        key(keys[0]),
        keys[1..].iter().map(|material| key(*material)).collect(),
    );
    let binding = Binding {
        origin: origin.into(),
        issuer: Issuer::new(issuer),
        client_id: ClientId::new(client),
    };
    Seal::new(Arc::new(ring), &binding)
}

proptest! {
    #[test]
    fn seal_opens_unless_a_byte_is_changed(
        payload in any::<(String, Vec<u8>, Option<u64>)>(),
        keys in (any::<[u8; 32]>(), any::<[u8; 32]>()),
        nonce in any::<[u8; 12]>(),
        binding in ["[a-z:/.]{0,8}", "[a-z:/.]{0,8}", "[a-z:/.]{0,8}"],
        (at, other) in (any::<prop::sample::Index>(), any::<u8>()),
    ) {
        let binding = [&*binding[0], &*binding[1], &*binding[2]];
        let ours = seal::<Note>(&[keys.0], binding);
        let text = ours.seal(&payload, nonce).unwrap();
        prop_assert_eq!(ours.open(&text), Some(payload.clone()));
        let rotated = seal::<Note>(&[keys.1, keys.0], binding);
        prop_assert_eq!(rotated.open(&text), Some(payload));
        let mut changed = text.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = other;
        if let Ok(changed) = String::from_utf8(changed) && changed != text {
            prop_assert_eq!(ours.open(&changed), None, "byte {} as {}", at, other);
        }
        for longer in [format!("{text}A"), format!("A{text}"), format!("{text}="), format!(" {text}")] {
            prop_assert_eq!(ours.open(&longer), None);
        }
    }

    /// Also if the parts of two bindings have the same concatenation.
    #[test]
    fn seal_opens_in_its_own_context_only(
        parts in vec("[ab]{0,3}", 6), keys in (any::<[u8; 32]>(), any::<[u8; 32]>()), nonce in any::<[u8; 12]>(),
    ) {
        let payload = ("x".to_owned(), vec![1], None);
        let (ours, theirs) = ([&*parts[0], &*parts[1], &*parts[2]], [&*parts[3], &*parts[4], &*parts[5]]);
        let text = seal::<Note>(&[keys.0], ours).seal(&payload, nonce).unwrap();
        prop_assert_eq!(seal::<Note>(&[keys.0], theirs).open(&text).is_some(), ours == theirs);
        prop_assert!(seal::<Notebook>(&[keys.0], ours).open(&text).is_none());
        prop_assert_eq!(seal::<Note>(&[keys.1], ours).open(&text).is_some(), keys.0 == keys.1);
    }

    #[test]
    fn arbitrary_text_does_not_open(text in prop_oneof![any::<String>(), "AQ[A-Za-z0-9_-]{0,200}"]) {
        let ours = seal::<Note>(&[[7; 32]], ["https://store.example.com", "https://login.example.com", "store"]);
        prop_assert!(ours.open(&text).is_none());
    }
}
