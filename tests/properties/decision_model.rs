//! Paths, and a model of conditions, for the properties of decisions.

use doorward::policy::condition::{Condition, NetworkList, TextList};

/// The address of the client.
pub(crate) const CLIENT: [u8; 4] = [192, 0, 2, 1];

/// Paths of the app and of endpoints.
pub(crate) const PATHS: [&str; 30] = [
    "/",
    "/a",
    "/a/b",
    "/a;x",
    "//a",
    "/b/c?d=e",
    "/.doorward/login?return_to=/a",
    "/.doorward/login?return_to=//evil",
    "/.doorward/login?return_to=%2F%252edoorward%2Flogout",
    "/.doorward/login?return_to=/a&prompt=login",
    "/.doorward/login?return_to=/a&prompt=none",
    "/.doorward/login?return_to=/a&max_age=60",
    "/.doorward/login?return_to=/a&acr_values=gold",
    "/.doorward/callback?code=c&state=s",
    "/.doorward/logout",
    "/.doorward/logout?return_to=https://www.example.com/bye",
    "/.doorward/signed-out",
    "/.doorward/signed-out?return_to=/a",
    "/.doorward/signed-out?state=https%3A%2F%2Fwww.example.com%2Fbye",
    "/.doorward/signed-out?return_to=https://evil.example/bye",
    "/.doorward/session",
    "/.doorward/sessions",
    "/.doorward/backchannel-logout",
    "/.doorward/frontchannel-logout?sid=s",
    "/.doorward/webhooks/fusionauth",
    "/.doorward/token",
    "/.doorward/native/login",
    "/.doorward/native/logout",
    "/.doorward/else",
    "/.doorward",
];

/// Whether a condition holds for a caller with these roles.
pub(crate) fn holds(condition: &Condition, roles: &[String], is_user: bool) -> bool {
    match condition {
        Condition::Authenticated => is_user,
        Condition::All(all) => all.iter().all(|one| holds(one, roles, is_user)),
        Condition::Any(any) => any.iter().any(|one| holds(one, roles, is_user)),
        Condition::Not(one) => !holds(one, roles, is_user),
        Condition::Claim(_, TextList::Listed(any_of)) => roles.contains(&any_of[0]),
        Condition::From(NetworkList::Listed(networks)) => networks.contain(CLIENT.into()),
        Condition::Claim(_, TextList::File(_))
        | Condition::From(NetworkList::File(_))
        | Condition::Scope(_)
        | Condition::EmailDomain(_)
        | Condition::Email(_) => panic!("not generated: {condition:?}"),
    }
}

/// Whether a claim of an OAuth client fulfils a part of the condition that counts.
pub(crate) fn grants(condition: &Condition, roles: &[String]) -> bool {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => parts
            .iter()
            .any(|one| holds(one, roles, false) && grants(one, roles)),
        Condition::Claim(..) => holds(condition, roles, false),
        Condition::Authenticated
        | Condition::Not(_)
        | Condition::Scope(_)
        | Condition::EmailDomain(_)
        | Condition::Email(_)
        | Condition::From(_) => false,
    }
}
