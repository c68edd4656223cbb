//! Choice of an address: of two random ones, the one with fewer requests in flight (power of two
//! choices). It spreads requests nearly as evenly as a search for the minimum, and many processes
//! that choose at the same time do not all choose the same address.

use super::health::Standing;

/// How an address is preferred to others (RFC 2782). Addresses that are not of SRV records are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::upstream) struct Rank {
    /// Those with a larger number are used only if those with a smaller one do not work.
    pub(in crate::upstream) priority: u16,
    /// The share among those of the same priority.
    pub(in crate::upstream) weight: u16,
}

impl Rank {
    pub(super) fn to_bits(self) -> u32 {
        (u32::from(self.priority) << 16) | u32::from(self.weight)
    }

    pub(super) fn from_bits(bits: u32) -> Self {
        let [high, low, weight_high, weight_low] = bits.to_be_bytes();
        Self {
            priority: u16::from_be_bytes([high, low]),
            weight: u16::from_be_bytes([weight_high, weight_low]),
        }
    }

    /// Positive, and very small for the weight 0.
    fn share(self) -> u64 {
        u64::from(self.weight) * 1000 + 1
    }
}

/// An address that can be chosen.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Candidate {
    /// Its position among all addresses.
    pub(in crate::upstream) index: usize,
    pub(in crate::upstream) standing: Standing,
    pub(in crate::upstream) in_flight: usize,
    pub(in crate::upstream) rank: Rank,
}

impl Candidate {
    /// Whether it is chosen before others. An address on trial gets one request at a time.
    pub(in crate::upstream) const fn is_preferred(&self) -> bool {
        match self.standing {
            Standing::Working => true,
            Standing::OnTrial => self.in_flight == 0,
            Standing::Ejected | Standing::Unhealthy => false,
        }
    }

    /// Whether one request more leaves it with no more in flight for its share than `other` has.
    fn is_less_loaded_than(&self, other: &Self) -> bool {
        let load = |in_flight: usize, rank: Rank| {
            u128::try_from(in_flight)
                .unwrap_or(u128::MAX)
                .saturating_mul(rank.share().into())
        };
        load(self.in_flight + 1, other.rank) <= load(other.in_flight, self.rank)
    }
}

/// Whether a browser keeps to the address that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Known {
    /// The request is sent to it.
    Usable,
    /// Another request tries it. This one is sent elsewhere.
    OnTrial,
    /// It does not work, or one with a smaller priority does.
    Replaced,
}

impl Known {
    pub(in crate::upstream) fn of(
        known: Candidate,
        mut others: impl Iterator<Item = Candidate>,
    ) -> Self {
        let priority = known.rank.priority;
        if others.any(|other| other.is_preferred() && other.rank.priority < priority) {
            return Self::Replaced;
        }
        match known.standing {
            Standing::Working => Self::Usable,
            Standing::OnTrial if known.is_preferred() => Self::Usable,
            Standing::OnTrial => Self::OnTrial,
            Standing::Ejected | Standing::Unhealthy => Self::Replaced,
        }
    }
}

/// The index of the chosen candidate. If none is preferred, all are tried, for want of better ones.
pub(in crate::upstream) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    random: u64,
) -> Option<usize> {
    let preferred = candidates.clone().filter(Candidate::is_preferred);
    of_first_priority(preferred, random).or_else(|| of_first_priority(candidates, random))
}

fn of_first_priority(
    candidates: impl Iterator<Item = Candidate> + Clone,
    random: u64,
) -> Option<usize> {
    let priorities = candidates.clone().map(|candidate| candidate.rank.priority);
    let first = priorities.min()?;
    let candidates = candidates.filter(|candidate| candidate.rank.priority == first);
    least_in_flight_of_two(candidates, random)
}

fn least_in_flight_of_two(
    candidates: impl Iterator<Item = Candidate> + Clone,
    random: u64,
) -> Option<usize> {
    // Each half of the bits gives one of the two.
    let first = by_share(candidates.clone(), random >> 32)?;
    let others = candidates.filter(|candidate| candidate.index != first.index);
    let second = by_share(others, random & u64::from(u32::MAX));
    let second = second.filter(|second| second.is_less_loaded_than(&first));
    Some(second.unwrap_or(first).index)
}

/// The candidate at a position between 0 and 2^32 of the sum of all shares.
fn by_share(
    mut candidates: impl Iterator<Item = Candidate> + Clone,
    position: u64,
) -> Option<Candidate> {
    let shares = candidates.clone().map(|candidate| candidate.rank.share());
    let total: u64 = shares.sum();
    let mut position = (u128::from(position) * u128::from(total)) >> 32;
    candidates.find(|candidate| {
        let share = u128::from(candidate.rank.share());
        let is_here = position < share;
        position = position.saturating_sub(share);
        is_here
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::types::split_mix::split_mix;

    fn candidates(of: &[(Standing, usize)]) -> Vec<Candidate> {
        let candidates = of.iter().enumerate();
        candidates
            .map(|(index, (standing, in_flight))| Candidate {
                index,
                standing: *standing,
                in_flight: *in_flight,
                rank: Rank::default(),
            })
            .collect()
    }

    /// How often each candidate is chosen.
    fn shares(of: &[(Standing, usize)]) -> HashMap<usize, u32> {
        shares_of(&candidates(of))
    }

    #[test]
    fn equal_candidates_have_equal_shares() {
        let shares = shares(&[(Standing::Working, 3); 4]);
        assert_eq!(shares.len(), 4);
        assert!(
            shares.values().all(|share| (200..300).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn busiest_candidate_is_never_chosen() {
        let shares = shares(&[
            (Standing::Working, 9),
            (Standing::Working, 1),
            (Standing::Working, 2),
        ]);
        assert_eq!(shares.get(&0), None);
        assert!(shares[&1] > shares[&2], "{shares:?}");
    }

    fn ranked(index: usize, priority: u16, weight: u16, in_flight: usize) -> Candidate {
        Candidate {
            index,
            standing: Standing::Working,
            in_flight,
            rank: Rank { priority, weight },
        }
    }

    fn shares_of(candidates: &[Candidate]) -> HashMap<usize, u32> {
        let mut shares = HashMap::new();
        for random in 0..1000 {
            let chosen = choose(candidates.iter().copied(), split_mix(7, random)).unwrap();
            *shares.entry(chosen).or_default() += 1;
        }
        shares
    }

    #[test]
    fn idle_candidates_are_chosen_by_weight() {
        let shares = shares_of(&[ranked(0, 1, 10, 0), ranked(1, 1, 30, 0), ranked(2, 1, 0, 0)]);
        assert!((200..300).contains(&shares[&0]), "{shares:?}");
        assert!((700..800).contains(&shares[&1]), "{shares:?}");
        // The weight 0 has a very small chance.
        assert!(
            shares.get(&2).copied().unwrap_or_default() < 10,
            "{shares:?}"
        );
    }

    #[test]
    fn requests_in_flight_count_by_weight() {
        // The first one has three times the weight, and twice the requests.
        let shares = shares_of(&[ranked(0, 1, 30, 20), ranked(1, 1, 10, 10)]);
        assert_eq!(shares, HashMap::from([(0, 1000)]));
    }

    #[test]
    fn larger_priority_is_chosen_only_if_no_smaller_one_works() {
        let mut of = [
            ranked(0, 1, 1, 90),
            ranked(1, 2, 50, 0),
            ranked(2, 3, 50, 0),
        ];
        assert_eq!(shares_of(&of), HashMap::from([(0, 1000)]));
        of[0].standing = Standing::Ejected;
        assert_eq!(shares_of(&of), HashMap::from([(1, 1000)]));
        of[1].standing = Standing::Unhealthy;
        of[2].standing = Standing::Ejected;
        assert_eq!(shares_of(&of), HashMap::from([(0, 1000)]));
    }

    #[test]
    fn known_candidate_is_kept_unless_a_smaller_priority_works() {
        let mut of = [ranked(0, 1, 1, 0), ranked(1, 2, 1, 0), ranked(2, 2, 1, 0)];
        let known = |of: [Candidate; 3], index: usize| Known::of(of[index], of.into_iter());
        assert_eq!(known(of, 0), Known::Usable);
        assert_eq!(known(of, 1), Known::Replaced);
        of[0].standing = Standing::Ejected;
        assert_eq!(known(of, 0), Known::Replaced);
        assert_eq!(known(of, 1), Known::Usable);
        of[1].standing = Standing::OnTrial;
        assert_eq!(known(of, 1), Known::Usable);
        of[1].in_flight = 1;
        assert_eq!(known(of, 1), Known::OnTrial);
        of[0].standing = Standing::OnTrial;
        assert_eq!(known(of, 1), Known::Replaced);
    }

    #[test]
    fn rank_fits_in_its_bits() {
        for (priority, weight) in [(0, 0), (1, 2), (u16::MAX, 0), (0, u16::MAX), (513, 1027)] {
            let rank = Rank { priority, weight };
            assert_eq!(Rank::from_bits(rank.to_bits()), rank);
        }
    }

    #[test]
    fn ejected_candidate_is_chosen_only_if_all_are() {
        let mut of = [(Standing::Ejected, 0), (Standing::Working, 50)];
        assert_eq!(shares(&of), HashMap::from([(1, 1000)]));
        of[1].0 = Standing::Ejected;
        assert_eq!(shares(&of), HashMap::from([(0, 1000)]));
    }

    #[test]
    fn candidate_on_trial_has_one_request_at_a_time() {
        let mut of = [(Standing::OnTrial, 0), (Standing::Working, 50)];
        assert_eq!(shares(&of), HashMap::from([(0, 1000)]));
        of[0].1 = 1;
        assert_eq!(shares(&of), HashMap::from([(1, 1000)]));
    }

    #[test]
    fn number_of_candidates_may_be_one_or_none() {
        let one = candidates(&[(Standing::Working, 7)]);
        for random in [0, 1, u64::MAX] {
            assert_eq!(choose(one.iter().copied(), random), Some(0));
            assert_eq!(choose(std::iter::empty(), random), None);
        }
    }
}
