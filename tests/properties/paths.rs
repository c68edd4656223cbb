//! Paths: the rules are matched on what any backend reads, and return targets stay on the app.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::checks::routes::Configured;
use crate::{adversarial_inputs, checks};

const LITERALS: [&str; 7] = [
    "",
    "/admin",
    "/public",
    "/admin/public",
    "/admin/admin",
    "/admin/public/x",
    "/adminx",
];

fn route() -> impl Strategy<Value = Configured> {
    let added = select(&["", "", "/app", "/admin", "/a/b"][..]);
    (select(&LITERALS[..]), any::<bool>(), 0..4_usize, added).prop_map(
        |(literal, has_descendants, stripped, added)| Configured {
            literal: literal.to_owned(),
            has_descendants,
            stripped,
            added,
        },
    )
}

fn below_routes() -> impl Strategy<Value = String> {
    (select(&LITERALS[..]), adversarial_inputs::paths())
        .prop_map(|(literal, path)| format!("{literal}{path}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_backend_reads_a_path_that_rules_did_not_match(path in adversarial_inputs::paths()) {
        checks::target::check(&path);
    }

    #[test]
    fn route_is_the_most_specific_and_replaces_its_prefix(
        routes in vec(route(), 0..6),
        path in prop_oneof![adversarial_inputs::paths(), below_routes()],
    ) {
        checks::routes::check(&routes, &path);
    }

    #[test]
    fn return_target_stays_on_app_pages(text in adversarial_inputs::redirects()) {
        checks::return_to::check(&text);
    }
}
