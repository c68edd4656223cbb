//! Rotation state of a session: its generations, and which of them a client has confirmed. States
//! are merged, so that replicas lose nothing of each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::oauth::Generation;
use crate::types::time::Timestamp;

/// How long a superseded refresh token is still accepted after its successor was confirmed.
pub(in crate::auth) const GRACE: Duration = Duration::from_secs(30);

/// How many confirmed generations are kept. More than [`MAX_RECENT`], so that none within the grace
/// period is forgotten.
const MAX_CONFIRMED: usize = 16;

/// How many generations of a session may be confirmed within the grace period. While there are so
/// many, the session is not refreshed.
const MAX_RECENT: usize = 12;

/// The rotation state of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::auth) struct Rotation {
    /// The newest generation.
    pub newest: Generation,
    /// The confirmed generations, each with the time of its first request. Those at or below
    /// `floor` are left out.
    pub confirmed: Vec<(Generation, Timestamp)>,
    /// The session is over. The result of an in-flight refresh is discarded.
    pub ended: bool,
    /// A generation that was confirmed before the grace period: every older one is reuse.
    pub floor: Generation,
    /// The newest generation that the provider refused to refresh, for a reason that does not end
    /// the session.
    pub refused: Option<Generation>,
}

/// A [`Rotation`] as earlier versions stored it.
#[derive(Deserialize)]
struct OldRotation {
    newest: Generation,
    confirmed: Vec<(Generation, Timestamp)>,
    ended: bool,
}

/// The permitted use of a refresh token of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum TokenStatus {
    /// The newest: it may be sent to the provider.
    Current,
    /// Replaced, and still exchanged for its successor.
    Superseded,
    /// Replaced, and its successor was confirmed longer ago than the grace period: reuse.
    Replayed,
}

impl Rotation {
    /// Decodes a stored state. `None`: it is unreadable.
    pub(in crate::auth) fn decode(bytes: &[u8]) -> Option<Self> {
        let current = postcard::from_bytes(bytes).ok();
        current.or_else(|| {
            let old: OldRotation = postcard::from_bytes(bytes).ok()?;
            Some(Self {
                newest: old.newest,
                confirmed: old.confirmed,
                ended: old.ended,
                ..Self::default()
            })
        })
    }

    /// Encodes a state.
    pub(in crate::auth) fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_allocvec(self).ok()
    }

    /// The status of `generation` at `now`.
    pub(in crate::auth) fn status(&self, generation: Generation, now: Timestamp) -> TokenStatus {
        if generation >= self.newest {
            return TokenStatus::Current;
        }
        let is_replayed = generation < self.floor
            || self
                .confirmed
                .iter()
                .any(|(confirmed, at)| *confirmed > generation && now.since(*at) > GRACE);
        if is_replayed {
            TokenStatus::Replayed
        } else {
            TokenStatus::Superseded
        }
    }

    /// Whether a generation after this one is confirmed.
    pub(in crate::auth) fn is_confirmed_after(&self, generation: Generation) -> bool {
        self.floor > generation
            || self
                .confirmed
                .iter()
                .any(|(confirmed, _)| *confirmed > generation)
    }

    /// Whether the session was refreshed so often within the grace period that it may not be
    /// refreshed again: the reuse of a token could no longer be recognized.
    pub(in crate::auth) fn is_too_frequent(&self, now: Timestamp) -> bool {
        let recent = self
            .confirmed
            .iter()
            .filter(|(_, at)| now.since(*at) <= GRACE);
        recent.count() >= MAX_RECENT
    }

    /// Whether the provider refused the last refresh of `generation`.
    pub(in crate::auth) fn was_refused(&self, generation: Generation) -> bool {
        self.refused.is_some_and(|refused| refused >= generation)
    }

    /// Merges another state: no confirmation is lost, and the newest generation never decreases.
    pub(in crate::auth) fn merge(&mut self, other: &Self) {
        self.newest = self.newest.max(other.newest);
        self.ended |= other.ended;
        self.refused = self.refused.max(other.refused);
        self.raise_floor(other.floor);
        for (generation, at) in &other.confirmed {
            self.confirm(*generation, *at);
        }
    }

    /// Records that a request carried `generation`. Returns whether that is new.
    pub(in crate::auth) fn confirm(&mut self, generation: Generation, now: Timestamp) -> bool {
        let is_known = |(confirmed, _): &(Generation, Timestamp)| *confirmed == generation;
        if generation > self.newest
            || (generation <= self.floor && self.floor > Generation::FIRST)
            || self.confirmed.iter().any(is_known)
        {
            return false;
        }
        self.confirmed.push((generation, now));
        let before_grace = self
            .confirmed
            .iter()
            .filter(|(_, at)| now.since(*at) > GRACE)
            .map(|(generation, _)| *generation)
            .max();
        if let Some(floor) = before_grace {
            self.raise_floor(floor);
        }
        // A forgotten generation counts as confirmed before the grace period.
        while self.confirmed.len() > MAX_CONFIRMED
            && let Some(oldest) = self
                .confirmed
                .iter()
                .map(|(generation, _)| *generation)
                .min()
        {
            self.raise_floor(oldest);
        }
        true
    }

    fn raise_floor(&mut self, floor: Generation) {
        if floor > self.floor {
            self.floor = floor;
        }
        let floor = self.floor;
        self.confirmed.retain(|(generation, _)| *generation > floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn superseded_token_is_replayed_after_grace() {
        let (first, second) = (Generation::FIRST, Generation::FIRST.next());
        let mut rotation = Rotation {
            newest: second,
            ..Rotation::default()
        };
        assert_eq!(rotation.status(second, at(0)), TokenStatus::Current);
        assert_eq!(rotation.status(first, at(100_000)), TokenStatus::Superseded);
        assert!(rotation.confirm(second, at(100)));
        assert!(!rotation.confirm(second, at(120)));
        assert_eq!(rotation.status(first, at(130)), TokenStatus::Superseded);
        assert_eq!(rotation.status(first, at(131)), TokenStatus::Replayed);
    }

    #[test]
    fn two_quick_rotations_are_no_reuse() {
        let (first, third) = (Generation::FIRST, Generation::FIRST.next().next());
        let mut rotation = Rotation {
            newest: third,
            ..Rotation::default()
        };
        rotation.confirm(Generation::FIRST.next(), at(100));
        assert_eq!(rotation.status(first, at(110)), TokenStatus::Superseded);
        assert_eq!(
            rotation.status(Generation::FIRST.next(), at(500)),
            TokenStatus::Superseded
        );
        assert_eq!(rotation.status(first, at(131)), TokenStatus::Replayed);
    }

    #[test]
    fn merge_loses_no_confirmation_and_no_generation() {
        let (first, second, third) = (
            Generation::FIRST,
            Generation::FIRST.next(),
            Generation::FIRST.next().next(),
        );
        let mut stored = Rotation {
            newest: third,
            confirmed: vec![(second, at(5)), (third, at(7))],
            ..Rotation::default()
        };
        let other = Rotation {
            newest: second,
            confirmed: vec![(first, at(1)), (second, at(9))],
            ended: true,
            ..Rotation::default()
        };
        stored.merge(&other);
        assert!(stored.ended);
        assert_eq!(stored.newest, third);
        assert_eq!(
            stored.confirmed,
            [(second, at(5)), (third, at(7)), (first, at(1))]
        );
    }

    fn after(refreshes: u32) -> Generation {
        (0..refreshes).fold(Generation::FIRST, |generation, _| generation.next())
    }

    #[test]
    fn forgotten_generation_makes_older_tokens_replayed() {
        let mut rotation = Rotation::default();
        for refreshes in 1..=100 {
            rotation.newest = after(refreshes);
            assert!(rotation.confirm(after(refreshes), at(0)));
        }
        assert_eq!(rotation.confirmed.len(), MAX_CONFIRMED);
        assert_eq!(rotation.status(after(3), at(0)), TokenStatus::Replayed);
        assert!(rotation.is_confirmed_after(after(3)));
        assert!(
            !rotation.confirm(after(3), at(0)),
            "it is confirmed already"
        );
        assert_eq!(rotation.status(after(90), at(0)), TokenStatus::Superseded);
    }

    #[test]
    fn frequent_refreshes_do_not_hide_an_old_token() {
        let mut rotation = Rotation::default();
        for refreshes in 1..=40 {
            rotation.newest = after(refreshes);
            rotation.confirm(after(refreshes), at(u64::from(refreshes) * 3));
        }
        let now = at(120);
        assert_eq!(rotation.status(after(0), now), TokenStatus::Replayed);
        assert_eq!(rotation.status(after(28), now), TokenStatus::Replayed);
        assert_eq!(rotation.status(after(29), now), TokenStatus::Superseded);
    }

    #[test]
    fn refreshes_within_the_grace_period_are_limited() {
        let mut rotation = Rotation::default();
        for refreshes in 1..=12 {
            assert!(!rotation.is_too_frequent(at(5)), "{refreshes}");
            rotation.newest = after(refreshes);
            rotation.confirm(after(refreshes), at(5));
        }
        assert!(rotation.is_too_frequent(at(35)));
        assert!(!rotation.is_too_frequent(at(36)));
    }

    #[test]
    fn refusal_concerns_its_generation_only() {
        let mut rotation = Rotation::default();
        assert!(!rotation.was_refused(after(1)));
        rotation.merge(&Rotation {
            refused: Some(after(1)),
            ..Rotation::default()
        });
        assert!(rotation.was_refused(after(1)));
        assert!(!rotation.was_refused(after(2)));
    }

    #[test]
    fn state_of_earlier_version_is_decoded() {
        let old = (after(2), vec![(after(1), at(5))], true);
        let rotation = Rotation::decode(&postcard::to_allocvec(&old).unwrap()).unwrap();
        let expected = Rotation {
            newest: after(2),
            confirmed: vec![(after(1), at(5))],
            ended: true,
            ..Rotation::default()
        };
        assert_eq!(rotation, expected);
        let current = Rotation {
            floor: after(1),
            refused: Some(after(2)),
            ..expected
        };
        let bytes = postcard::to_allocvec(&current).unwrap();
        assert_eq!(Rotation::decode(&bytes), Some(current));
        assert_eq!(Rotation::decode(b""), None);
    }
}
