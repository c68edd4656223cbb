//! How the nodes of the settings are reached: addresses, login and trusted authorities.

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, RedisResult,
    TlsCertificates,
};

use super::settings::{RedisLogin, RedisNode, RedisSettings};

pub(super) fn nodes(settings: &RedisSettings) -> RedisResult<Vec<ConnectionInfo>> {
    let mut info = RedisConnectionInfo::default().set_db(i64::from(settings.database));
    if let Some(RedisLogin { username, password }) = &settings.login {
        info = info.set_password(password.expose());
        info = username
            .iter()
            .fold(info, RedisConnectionInfo::set_username);
    }
    let node = |node| {
        Ok(address(node, settings)
            .into_connection_info()?
            .set_redis_settings(info.clone()))
    };
    settings.nodes.iter().map(node).collect()
}

pub(super) fn address(node: &RedisNode, settings: &RedisSettings) -> ConnectionAddr {
    let (host, port) = (node.host.clone(), node.port);
    match &settings.tls {
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        None => ConnectionAddr::Tcp(host, port),
    }
}

pub(super) fn certificates(settings: &RedisSettings) -> Option<TlsCertificates> {
    let tls = settings.tls.as_ref()?;
    Some(TlsCertificates {
        client_tls: None,
        root_cert: tls.ca_certificates.clone(),
    })
}
