//! Addresses of Redis, without the credentials in them.

use url::Url;

/// An address of Redis.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RedisUrl {
    /// The address without credentials.
    pub(super) url: String,
    /// The host and the port.
    pub(super) node: String,
    pub(super) username: Option<String>,
    pub(super) has_password: bool,
}

impl RedisUrl {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            return None;
        }
        let username = Some(url.username().to_owned()).filter(|name| !name.is_empty());
        let has_password = url.password().is_some();
        url.set_password(None).ok()?;
        url.set_username("").ok()?;
        url.set_query(None);
        url.set_fragment(None);
        let port = url.port().unwrap_or(6379);
        let node = format!("{}:{port}", url.host_str()?);
        Some(Self {
            url: url.to_string().trim_end_matches('/').to_owned(),
            node,
            username,
            has_password,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_split_off() {
        let url = RedisUrl::parse("rediss://me:secret@cache:6380/2?x=secret").unwrap();
        assert_eq!(url.url, "rediss://cache:6380/2");
        assert_eq!(url.node, "cache:6380");
        assert_eq!(url.username.as_deref(), Some("me"));
        assert!(url.has_password);
        assert_eq!(
            RedisUrl::parse("redis://cache").unwrap().url,
            "redis://cache"
        );
        for bad in ["cache:6379", "http://cache", "unix:/run/redis.sock", ""] {
            assert_eq!(RedisUrl::parse(bad), None, "{bad}");
        }
    }
}
