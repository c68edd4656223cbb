//! Inspection: rights and state are reported, and no key is left behind.

use super::super::inspect::{CommandCheck, ServerInfo};
use super::*;

fn user(server: &RedisServer) -> Redis {
    store(&RedisSettings {
        login: login(Some("doorward"), "s3cret"),
        ..at(server)
    })
}

fn failed(check: &CommandCheck) -> Vec<&str> {
    check.failed.iter().map(|one| one.name.as_str()).collect()
}

#[tokio::test]
async fn documented_acl_is_found_sufficient() {
    let server = RedisServer::start();
    permit(&server, "");
    let check = user(&server).check_commands().await.unwrap();
    assert_eq!(check.failed, []);
    assert!(check.time.is_some());
    is_unavailable(user(&server).server_info().await, "NOPERM");
    assert_eq!(server.command(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn missing_rights_are_named() {
    let server = RedisServer::start();
    permit(&server, "-hset -xtrim -time");
    let check = user(&server).check_commands().await.unwrap();
    assert_eq!(failed(&check), ["TIME", "HSET", "XTRIM"]);
    assert_eq!(check.time, None);
    for one in &check.failed {
        assert!(one.is_denied(), "{one:?}");
    }
    permit(&server, "-del");
    let check = user(&server).check_commands().await.unwrap();
    assert_eq!(
        failed(&check),
        ["DEL"],
        "nothing is written that cannot be removed"
    );
    permit(&server, "-eval");
    is_unavailable(user(&server).check_commands().await, "'eval'");
    assert_eq!(server.command(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn state_is_read_from_one_server_and_from_a_cluster() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--maxmemory", "50mb"]);
    let servers = store(&at(&server)).server_info().await.unwrap();
    let [info] = <[ServerInfo; 1]>::try_from(servers).unwrap();
    assert_eq!(info.eviction_policy.as_deref(), Some("noeviction"));
    assert_eq!(info.max_memory, Some(50 * 1024 * 1024));
    assert_eq!(info.has_append_only_file, Some(true));
    assert_eq!(info.replicas, Some(0));
    assert!(info.version.is_some());

    let server = RedisServer::start_cluster();
    let cluster = store(&RedisSettings {
        topology: Topology::Cluster,
        ..at(&server)
    });
    let servers = eventually(async || cluster.server_info().await).await;
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].has_append_only_file, Some(false));
    assert_eq!(cluster.check_commands().await.unwrap().failed, []);
    assert_eq!(server.command(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn replica_is_read_only() {
    let server = RedisServer::start();
    let replica = server.start_replica();
    let check = store(&at(&replica)).check_commands().await.unwrap();
    let [first, ..] = check.failed.as_slice() else {
        panic!("{check:?}")
    };
    assert!(first.error.contains("READONLY"), "{check:?}");
    assert!(!first.is_denied(), "{check:?}");
}
