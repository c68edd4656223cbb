//! Name resolution for the Redis client: as for apps and providers, without threads.

use std::io;
use std::net::SocketAddr;

use redis::RedisFuture;
use redis::io::AsyncDNSResolver;

use crate::dns::Resolver;

/// The addresses of a Redis node.
type Addresses<'a> = Box<dyn Iterator<Item = SocketAddr> + Send + 'a>;

/// Resolves the names of Redis nodes.
#[derive(Clone, Default)]
pub(super) struct Dns(Resolver);

impl AsyncDNSResolver for Dns {
    fn resolve<'a, 'b: 'a>(&'a self, host: &'b str, port: u16) -> RedisFuture<'a, Addresses<'a>> {
        Box::pin(async move {
            let found = self.0.resolve(host).await.map_err(io::Error::from)?;
            let addresses: Vec<SocketAddr> =
                found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            Ok(Box::new(addresses.into_iter()) as Addresses<'a>)
        })
    }
}
