//! Session IDs: 128 random bits, and the time of the store when the session started. The random bits
//! are in front, because logs show the beginning.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::random::{self, RandomError};
use crate::store::StoreTime;
use crate::types::oauth::SessionId;

/// Bytes of the time, and of an ID.
const TIME_LEN: usize = 8;
const LEN: usize = TIME_LEN + 16;

/// A new ID of a session that starts at `started`, base64url.
pub(in crate::auth) fn new_session_id(started: StoreTime) -> Result<SessionId, RandomError> {
    let mut id = Vec::with_capacity(LEN);
    id.extend_from_slice(&random::bytes::<16>()?);
    id.extend_from_slice(&started.millis().to_be_bytes());
    Ok(SessionId::new(URL_SAFE_NO_PAD.encode(id)))
}

/// The start of a session by the time of the store. `None`: an earlier version made the ID. Only for
/// IDs that come from a seal.
pub(in crate::auth) fn start_of(sid: &SessionId) -> Option<StoreTime> {
    let mut id = [0; LEN];
    let written = URL_SAFE_NO_PAD.decode_slice(sid.as_str(), &mut id).ok()?;
    let time = id.last_chunk::<TIME_LEN>().filter(|_| written == LEN)?;
    Some(StoreTime::from_millis(u64::from_be_bytes(*time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_has_its_start_and_is_unique() {
        let started = StoreTime::from_millis(1_800_000_000_123);
        let ids = [0; 2].map(|_| new_session_id(started).unwrap());
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|sid| start_of(sid) == Some(started)));
    }

    #[test]
    fn ids_of_earlier_versions_have_no_start() {
        let earlier = random::random_id().unwrap();
        for text in [
            earlier.as_str(),
            "",
            "sid",
            "!",
            &"A".repeat(31),
            &"A".repeat(33),
        ] {
            assert_eq!(start_of(&SessionId::new(text)), None, "{text}");
        }
    }
}
