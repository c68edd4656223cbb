//! Paths: what the rules judge is what any backend reads, and where a login may lead back to.

use proptest::prelude::*;

use crate::{adversarial_inputs, checks};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_reading_of_the_sent_path_is_one_that_the_rules_did_not_see(path in adversarial_inputs::paths()) {
        checks::target::check(&path);
    }

    #[test]
    fn a_return_target_stays_on_the_apps_own_pages(text in adversarial_inputs::redirects()) {
        checks::return_to::check(&text);
    }
}
