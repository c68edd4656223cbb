//! Choice of an address: of two random ones, the one with fewer requests in flight (power of two
//! choices). It spreads requests nearly as evenly as a search for the minimum, and many processes
//! that choose at the same time do not all choose the same address.

use super::health::Standing;

/// An address that can be chosen.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Candidate {
    /// Its position among all addresses.
    pub(in crate::upstream) index: usize,
    pub(in crate::upstream) standing: Standing,
    pub(in crate::upstream) in_flight: usize,
}

impl Candidate {
    /// Whether it is chosen before others. An address on trial gets one request at a time.
    const fn is_preferred(&self) -> bool {
        match self.standing {
            Standing::Working => true,
            Standing::OnTrial => self.in_flight == 0,
            Standing::Ejected | Standing::Unhealthy => false,
        }
    }
}

/// The index of the chosen candidate. If none is preferred, all are tried, for want of better ones.
pub(in crate::upstream) fn choose(
    candidates: impl Iterator<Item = Candidate> + Clone,
    random: u64,
) -> Option<usize> {
    let preferred = candidates.clone().filter(Candidate::is_preferred);
    least_in_flight_of_two(preferred, random).or_else(|| least_in_flight_of_two(candidates, random))
}

fn least_in_flight_of_two(
    candidates: impl Iterator<Item = Candidate> + Clone,
    random: u64,
) -> Option<usize> {
    let count = u32::try_from(candidates.clone().count()).unwrap_or(u32::MAX);
    // Each half of the bits gives one position. The second position skips the first one.
    let [one, other] = [random >> 32, random & u64::from(u32::MAX)];
    let one = u32::try_from(one).ok()?.checked_rem(count)?;
    let one = usize::try_from(one).ok()?;
    let first = candidates.clone().nth(one)?;
    let others = candidates
        .enumerate()
        .filter(|(position, _)| *position != one);
    let mut others = others.map(|(_, candidate)| candidate);
    let other = u32::try_from(other).ok()?.checked_rem(count - 1);
    let second = other.and_then(|other| others.nth(usize::try_from(other).ok()?));
    let second = second.filter(|second| second.in_flight < first.in_flight);
    Some(second.unwrap_or(first).index)
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
            })
            .collect()
    }

    /// How often each candidate is chosen.
    fn shares(of: &[(Standing, usize)]) -> HashMap<usize, u32> {
        let candidates = candidates(of);
        let mut shares = HashMap::new();
        for random in 0..1000 {
            let chosen = choose(candidates.iter().copied(), split_mix(7, random)).unwrap();
            *shares.entry(chosen).or_default() += 1;
        }
        shares
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
