//! The tenants of a FusionAuth whose tokens were verified or found in sessions here. Without
//! `tenant_id` in the configuration they tell which events are about other tenants.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The maximum number of tenants: with more, no event is ignored.
const MAX_TENANTS: usize = 16;

/// The tenants of verified tokens.
#[derive(Debug, Default)]
pub(in crate::oidc) struct VerifiedTenants(ArcSwap<Vec<String>>);

impl VerifiedTenants {
    /// Records the tenant of a verified token.
    pub(in crate::oidc) fn record(&self, tenant: &str) {
        let is_full_or_known = |known: &[String]| {
            known.len() > MAX_TENANTS || known.iter().any(|known| known == tenant)
        };
        if is_full_or_known(&self.0.load()) {
            return;
        }
        self.0.rcu(|known| {
            let mut known = Vec::clone(known);
            if !is_full_or_known(&known) {
                known.push(tenant.to_owned());
            }
            Arc::new(known)
        });
    }

    /// Whether tokens of some tenants were verified, and of this one none.
    pub(in crate::oidc) fn excludes(&self, tenant: &str) -> bool {
        let known = self.0.load();
        let is_listed = known.iter().any(|known| known.eq_ignore_ascii_case(tenant));
        (1..=MAX_TENANTS).contains(&known.len()) && !is_listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_without_a_verified_token_is_excluded_once_another_has_one() {
        let tenants = VerifiedTenants::default();
        assert!(!tenants.excludes("a") && !tenants.excludes("b"));
        for _ in 0..2 {
            tenants.record("a");
        }
        assert!(!tenants.excludes("A") && tenants.excludes("b"));
        tenants.record("b");
        assert!(!tenants.excludes("a") && !tenants.excludes("b") && tenants.excludes("c"));
    }

    #[test]
    fn with_too_many_tenants_none_is_excluded() {
        let tenants = VerifiedTenants::default();
        for number in 0..100 {
            tenants.record(&number.to_string());
        }
        assert!(!tenants.excludes("0") && !tenants.excludes("other"));
        assert_eq!(tenants.0.load().len(), MAX_TENANTS + 1);
    }
}
