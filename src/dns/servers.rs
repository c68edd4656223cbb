//! DNS queries to the servers of `/etc/resolv.conf`, with its search domains, `ndots`, timeout and
//! attempts.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::time::timeout;

use super::LookupError;
use super::services::{Service, Services};

/// How long the addresses of one family wait for those of the other (RFC 8305 section 3). Some
/// servers never answer queries for IPv6 addresses.
const RESOLUTION_DELAY: Duration = Duration::from_millis(250);

/// Addresses with their remaining lifetime.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// The configured servers.
pub(super) struct Servers {
    resolver: TokioResolver,
    search: Vec<Name>,
    /// A name with fewer dots is tried with the search domains first.
    ndots: usize,
}

impl Servers {
    /// The servers in the text of a `resolv.conf`. `port` replaces the standard one in tests.
    pub(super) fn parse(text: &str, port: Option<u16>) -> Result<Self, NetError> {
        let (config, mut options) = parse_resolv_conf(text)?;
        let mut servers = config.name_servers().to_vec();
        for connection in servers
            .iter_mut()
            .flat_map(|server| &mut server.connections)
        {
            connection.port = port.unwrap_or(connection.port);
        }
        let search = match config.search() {
            [] => config.domain().into_iter().cloned().collect(),
            search => search.to_vec(),
        };
        let ndots = options.ndots;
        // The hosts file, the search and the cache are this module's.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        let mut builder = TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), servers),
            TokioRuntimeProvider::default(),
        );
        *builder.options_mut() = options;
        Ok(Self {
            resolver: builder.build()?,
            search,
            ndots,
        })
    }

    /// Looks `host` up, by itself and under each search domain, in the order of `resolv.conf(5)`.
    /// The next one is tried only if a server says that there is no such name: if a server does not
    /// answer, another name could be that of another machine.
    pub(super) async fn look_up(&self, host: &str) -> Result<Found, LookupError> {
        for name in self.candidates(host)? {
            match self.addresses(&name).await {
                Err(LookupError::NotFound) => {}
                found => return found,
            }
        }
        Err(LookupError::NotFound)
    }

    /// Looks up the SRV records of `name` (RFC 2782), as [`Self::look_up`] does addresses.
    pub(super) async fn services(&self, name: &str) -> Result<Services, LookupError> {
        for name in self.candidates(name)? {
            match self.query_services(&name).await {
                Err(LookupError::NotFound) => {}
                found => return found,
            }
        }
        Err(LookupError::NotFound)
    }

    async fn query_services(&self, name: &Name) -> Result<Services, LookupError> {
        let records = self.records(name, RecordType::SRV).await?;
        let services = records.iter().filter_map(|record| {
            let RData::SRV(record) = &record.data else {
                return None;
            };
            Some(Service {
                priority: record.priority,
                weight: record.weight,
                target: record.target.to_ascii(),
                port: record.port,
            })
        });
        let services: Vec<Service> = services.collect();
        if services.is_empty() {
            return Err(LookupError::NotFound);
        }
        let ttl = records.iter().map(|record| record.ttl).min();
        Ok(Services::new(services, seconds(ttl)))
    }

    fn candidates(&self, host: &str) -> Result<Vec<Name>, LookupError> {
        let invalid = |_| LookupError::NotFound;
        let name = Name::from_str_relaxed(host).map_err(invalid)?;
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return Ok(vec![absolute]);
        }
        // A name that would be too long under a search domain does not exist.
        let under_search = self
            .search
            .iter()
            .filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = under_search.collect();
        let has_enough_dots = host.bytes().filter(|byte| *byte == b'.').count() >= self.ndots;
        let position = if has_enough_dots { 0 } else { candidates.len() };
        candidates.insert(position, absolute);
        Ok(candidates)
    }

    /// The addresses of one absolute name, of both families at once.
    async fn addresses(&self, name: &Name) -> Result<Found, LookupError> {
        let mut v6 = std::pin::pin!(self.query(name, RecordType::AAAA));
        let mut v4 = std::pin::pin!(self.query(name, RecordType::A));
        let (first, second) = tokio::select! {
            first = &mut v6 => {
                let second = match &first {
                    Ok(_) => timeout(RESOLUTION_DELAY, v4).await.ok(),
                    Err(_) => Some(v4.await),
                };
                (first, second)
            }
            first = &mut v4 => {
                let second = match &first {
                    Ok(_) => timeout(RESOLUTION_DELAY, v6).await.ok(),
                    Err(_) => Some(v6.await),
                };
                (first, second)
            }
        };
        match (first, second) {
            (Ok(mut first), Some(Ok(second))) => {
                first.addresses.extend(second.addresses);
                first.ttl = first.ttl.min(second.ttl);
                Ok(first)
            }
            (Ok(found), _) | (Err(_), Some(Ok(found))) => Ok(found),
            // That one family has no addresses says nothing if the other is unknown.
            (Err(LookupError::NotFound), Some(Err(error))) => Err(error),
            (Err(error), _) => Err(error),
        }
    }

    async fn records(&self, name: &Name, kind: RecordType) -> Result<Vec<Record>, LookupError> {
        match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => Ok(lookup.answers().to_vec()),
            Err(error) if error.is_no_records_found() => Err(LookupError::NotFound),
            Err(error) => Err(LookupError::Failed(error.to_string())),
        }
    }

    async fn query(&self, name: &Name, family: RecordType) -> Result<Found, LookupError> {
        let records = self.records(name, family).await?;
        let addresses: Vec<IpAddr> = records
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect();
        if addresses.is_empty() {
            return Err(LookupError::NotFound);
        }
        // The aliases on the way to an address expire too.
        let ttl = records.iter().map(|record| record.ttl).min();
        Ok(Found {
            addresses,
            ttl: seconds(ttl),
        })
    }
}

fn seconds(ttl: Option<u32>) -> Duration {
    Duration::from_secs(u64::from(ttl.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(conf: &str, host: &str) -> Vec<String> {
        let servers = Servers::parse(conf, None).unwrap();
        let names = servers.candidates(host).unwrap();
        names.iter().map(Name::to_string).collect()
    }

    #[tokio::test]
    async fn search_domains_are_tried_as_in_kubernetes() {
        let conf = "nameserver 10.96.0.10\n\
                    search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                    options ndots:5\n";
        assert_eq!(
            candidates(conf, "store"),
            [
                "store.shop.svc.cluster.local.",
                "store.svc.cluster.local.",
                "store.cluster.local.",
                "store.",
            ]
        );
        assert_eq!(
            candidates(conf, "a.b.c.d.e.f")[0],
            "a.b.c.d.e.f.",
            "a name with enough dots is tried by itself first"
        );
        assert_eq!(
            candidates(conf, "store.example.com."),
            ["store.example.com."]
        );
    }

    #[tokio::test]
    async fn names_without_search_domains_are_absolute() {
        let conf = "nameserver 127.0.0.53\nsearch .\n";
        assert_eq!(candidates(conf, "my_app")[0], "my_app.");
        assert!(Servers::parse("# nothing", None).is_err());
    }
}
