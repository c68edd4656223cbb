//! Client key: what counts as one client of a limit, an address or a user. It is a keyed hash, so
//! that it is small, and nobody can choose addresses or names that collide.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

use crate::types::net::client_network;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

tokio::task_local! {
    /// The client on whose behalf the current task runs.
    static CLIENT: Option<ClientKey>;
}

/// One client of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

impl ClientKey {
    /// The client at an IPv4 address, or in an IPv6 /64 network.
    pub fn of_address(address: IpAddr) -> Self {
        Self(HASHER.hash_one((0_u8, client_network(address))))
    }

    /// A user or an OAuth client at an issuer.
    pub fn of_user(issuer: &str, subject: &str) -> Self {
        Self(HASHER.hash_one((1_u8, issuer, subject)))
    }

    /// A session, by its ID.
    pub fn of_session(id: &str) -> Self {
        Self(HASHER.hash_one((2_u8, id)))
    }

    /// A client with this name, for tests of limits.
    #[cfg(test)]
    pub(crate) fn of_test(name: &str) -> Self {
        Self::of_user("", name)
    }

    /// The hash.
    pub(super) const fn hash(self) -> u64 {
        self.0
    }
}

/// Runs `task` on behalf of `client`: it counts towards the client's shares of all task limits and
/// stores. Not an `async fn`, whose future would hold `task` twice.
pub fn on_behalf_of<F: Future>(
    client: Option<ClientKey>,
    task: F,
) -> impl Future<Output = F::Output> {
    CLIENT.scope(client, task)
}

/// The client on whose behalf the current task runs, if it is known.
pub fn current_client() -> Option<ClientKey> {
    CLIENT.try_with(|client| *client).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_counts_as_its_network_and_not_as_a_user() {
        let of = |address: &str| ClientKey::of_address(address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        let of = ClientKey::of_user;
        assert_eq!(of("issuer", "alice"), of("issuer", "alice"));
        assert_ne!(of("issuer", "alice"), of("other", "alice"));
        assert_ne!(of("issuer", "alice"), of("issuer", "bob"));
        assert_ne!(of("issuer", "x"), of("issue", "rx"));
    }

    #[tokio::test]
    async fn current_client_is_that_of_the_innermost_scope() {
        let (outer, inner) = (ClientKey::of_test("a"), ClientKey::of_test("b"));
        assert_eq!(current_client(), None);
        on_behalf_of(Some(outer), async {
            assert_eq!(current_client(), Some(outer));
            on_behalf_of(Some(inner), async {
                assert_eq!(current_client(), Some(inner))
            })
            .await;
            on_behalf_of(None, async { assert_eq!(current_client(), None) }).await;
        })
        .await;
    }
}
