//! Paths: the rules are matched on what any backend reads, and return targets stay on the app.

use proptest::prelude::*;

use crate::{adversarial_inputs, checks};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_backend_reads_a_path_that_rules_did_not_match(path in adversarial_inputs::paths()) {
        checks::target::check(&path);
    }

    #[test]
    fn return_target_stays_on_app_pages(text in adversarial_inputs::redirects()) {
        checks::return_to::check(&text);
    }
}
