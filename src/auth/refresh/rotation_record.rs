//! The stored form of a rotation state: parts that are sealed and only ever appended, so that no
//! replica overwrites what another has noted. The state is the merge of all parts.

use bytes::Bytes;

use crate::auth::purposes::StoredRotation;
use crate::auth::random;
use crate::auth::refresh::rotation::Rotation;
use crate::session::seal::Seal;

/// The beginning of a part. No state that earlier versions stored, without a seal, begins so, and
/// they cannot read it as one.
const MARK: [u8; 10] = [0xff; 10];

/// The bytes of the length after the mark.
const LENGTH: usize = 2;

/// A rotation state that was read.
#[derive(Debug, Default)]
pub(super) struct RotationRecord {
    /// The state.
    pub(super) rotation: Rotation,
    /// The number of its parts.
    pub(super) parts: usize,
}

impl RotationRecord {
    /// The stored form of a part for the entry `key`. `None`: there is no randomness.
    pub(super) fn part(
        seal: &Seal<StoredRotation>,
        key: &str,
        rotation: &Rotation,
    ) -> Option<Bytes> {
        let sealed = seal.seal_at(key, &rotation.encode()?, random::bytes().ok()?)?;
        let length = u16::try_from(sealed.len()).ok()?;
        Some(Bytes::from(
            [&MARK, length.to_be_bytes().as_slice(), sealed.as_bytes()].concat(),
        ))
    }

    /// Reads the parts of the entry `key`. A part that does not open is skipped: it was not written
    /// by this deployment.
    pub(super) fn read(seal: &Seal<StoredRotation>, key: &str, mut bytes: &[u8]) -> Self {
        let mut record = Self::default();
        if !bytes.is_empty() && !bytes.starts_with(&MARK) {
            // An earlier version wrote a state without a seal. Parts may follow it.
            let plain_len = bytes
                .windows(MARK.len())
                .position(|window| window == MARK)
                .unwrap_or(bytes.len());
            let (plain, parts) = bytes.split_at_checked(plain_len).unwrap_or_default();
            record.add(Rotation::decode(plain));
            bytes = parts;
        }
        while let Some((sealed, rest)) = split_part(bytes) {
            let opened = seal.open_at(key, sealed);
            record.add(opened.and_then(|(part, _)| Rotation::decode(&part)));
            bytes = rest;
        }
        if !bytes.is_empty() {
            record.add(None);
        }
        record
    }

    fn add(&mut self, part: Option<Rotation>) {
        self.parts += 1;
        match part {
            Some(part) => self.rotation.merge(&part),
            None => tracing::warn!("rotation_state_invalid"),
        }
    }
}

/// The sealed text of the first part, and the rest.
fn split_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.strip_prefix(&MARK)?.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::seal::{Binding, Key, KeyRing};
    use crate::types::oauth::{ClientId, Generation, Issuer};
    use crate::types::secret::Secret;
    use crate::types::time::Timestamp;

    const KEY: &str = "rotation/store/sid";

    fn seal(key: u8) -> Seal<StoredRotation> {
        let key = Key::new(&Secret::new([key; 32])).unwrap();
        let binding = Binding {
            origin: "https://store.example.com".to_owned(),
            issuer: Issuer::new("https://login.example.com"),
            client_id: ClientId::new("store"),
        };
        Seal::new(Arc::new(KeyRing::new(key, Vec::new())), &binding)
    }

    fn newest(refreshes: u32) -> Rotation {
        let newest = (0..refreshes).fold(Generation::FIRST, |newest, _| newest.next());
        Rotation {
            newest,
            ..Rotation::default()
        }
    }

    fn ended() -> Rotation {
        Rotation {
            ended: true,
            ..Rotation::default()
        }
    }

    fn read(bytes: &[u8]) -> RotationRecord {
        RotationRecord::read(&seal(1), KEY, bytes)
    }

    #[test]
    fn parts_are_merged() {
        let part = |rotation| RotationRecord::part(&seal(1), KEY, &rotation).unwrap();
        let bytes = [part(newest(2)), part(ended()), part(newest(1))].concat();
        let record = read(&bytes);
        assert_eq!(
            record.rotation,
            Rotation {
                ended: true,
                ..newest(2)
            }
        );
        assert_eq!(record.parts, 3);
        assert_eq!(read(b"").rotation, Rotation::default());
    }

    #[test]
    fn parts_of_others_and_cut_parts_are_skipped() {
        let part = |key, at: &str| RotationRecord::part(&seal(key), at, &ended()).unwrap();
        for foreign in [part(2, KEY), part(1, "rotation/store/other")] {
            assert!(!read(&foreign).rotation.ended);
        }
        let good = part(1, KEY);
        for length in 0..good.len() {
            assert!(!read(&good[..length]).rotation.ended, "{length}");
        }
        let mut changed = good.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        assert!(!read(&changed).rotation.ended);
    }

    #[test]
    fn state_of_an_earlier_version_is_read_with_parts_after_it() {
        let confirmed = vec![(newest(1).newest, Timestamp::from_secs(u64::MAX))];
        let earlier = Rotation {
            confirmed: confirmed.clone(),
            ..newest(2)
        };
        let plain = earlier.encode().unwrap();
        assert_eq!(read(&plain).rotation, earlier);
        let part = RotationRecord::part(&seal(1), KEY, &ended()).unwrap();
        let expected = Rotation {
            ended: true,
            ..earlier
        };
        assert_eq!(read(&[&plain[..], &part].concat()).rotation, expected);
        assert_eq!(Rotation::decode(&part), None, "not even by accident");
    }
}
