//! The Redis store with real servers: contract, topologies, TLS, logins, outages and foreign values.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::store::contract::{Replicas, check};
use crate::types::secret::Secret;
use server::{RedisCluster, RedisServer};
use tls::Authority;

mod inspect;
#[path = "../../../tests/integration/support/redis.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the integration tests, which use more of it"
)]
mod server;
#[path = "../../../tests/integration/support/tls.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the integration tests, which use more of it"
)]
mod tls;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_800_000_060);
const LIMITS: LogLimits = LogLimits {
    max_lifetime: Duration::from_secs(3600),
    max_entries: 5000,
};

fn at(server: &RedisServer) -> RedisSettings {
    RedisSettings {
        nodes: vec![RedisNode {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        }],
        topology: Topology::Single,
        tls: None,
        login: None,
        database: 0,
        key_prefix: "doorward:".to_owned(),
        timeout: Duration::from_secs(10),
    }
}

fn login(username: Option<&str>, password: &str) -> Option<RedisLogin> {
    Some(RedisLogin {
        username: username.map(str::to_owned),
        password: Secret::new(password.to_owned()),
    })
}

fn store(settings: &RedisSettings) -> Redis {
    Redis::new(settings, "test", 64, LIMITS).unwrap()
}

async fn check_contract(settings: &RedisSettings) {
    let spaces = AtomicUsize::new(0);
    check(|| {
        let space = spaces.fetch_add(1, Ordering::Relaxed).to_string();
        let replica =
            || -> Arc<dyn Store> { Arc::new(Redis::new(settings, &space, 64, LIMITS).unwrap()) };
        Replicas {
            one: replica(),
            other: replica(),
        }
    })
    .await;
}

fn is_unavailable<T: std::fmt::Debug>(response: Result<T, StoreError>, with: &str) {
    match response {
        Err(StoreError::Unavailable(why)) if why.contains(with) => {}
        other => panic!("not `{with}`, but: {other:?}"),
    }
}

async fn eventually<T>(mut request: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    for _ in 0..2000 {
        if let Ok(response) = request().await {
            return response;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the store does not recover");
}

#[tokio::test]
async fn single_redis_keeps_the_contract() {
    check_contract(&at(&RedisServer::start())).await;
}

#[tokio::test]
async fn cluster_keeps_the_contract() {
    let server = RedisServer::start_cluster();
    check_contract(&RedisSettings {
        topology: Topology::Cluster,
        ..at(&server)
    })
    .await;
}

#[tokio::test]
async fn sentinel_master_keeps_the_contract() {
    let server = RedisServer::start();
    let sentinel = server.start_sentinel("login-store");
    let topology = |master: &str| Topology::Sentinel {
        master: master.to_owned(),
        login: None,
    };
    check_contract(&RedisSettings {
        topology: topology("login-store"),
        ..at(&sentinel)
    })
    .await;
    let unknown = RedisSettings {
        topology: topology("other-store"),
        ..at(&sentinel)
    };
    is_unavailable(store(&unknown).get("a", NOW).await, "aster");
}

#[tokio::test]
async fn tls_verifies_the_configured_authority() {
    let (authority, other) = (Authority::fresh(), Authority::fresh());
    let certificate = authority.certificate_for(&["127.0.0.1"]);
    let server = RedisServer::start_tls(&certificate.chain_pem, &certificate.key_pem, &[]);
    let trusting = |pem: Option<String>| RedisSettings {
        tls: Some(RedisTls {
            ca_certificates: pem.map(String::into_bytes),
        }),
        ..at(&server)
    };
    check_contract(&trusting(Some(authority.pem()))).await;
    for untrusted in [Some(other.pem()), None] {
        is_unavailable(
            store(&trusting(untrusted)).get("a", NOW).await,
            "certificate",
        );
    }
    let elsewhere = authority.certificate_for(&["redis.example.test"]);
    let server = RedisServer::start_tls(&elsewhere.chain_pem, &elsewhere.key_pem, &[]);
    let settings = RedisSettings {
        nodes: at(&server).nodes,
        ..trusting(Some(authority.pem()))
    };
    is_unavailable(store(&settings).get("a", NOW).await, "certificate");
}

#[tokio::test]
async fn cluster_keeps_the_contract_over_tls() {
    let authority = Authority::fresh();
    let certificate = authority.certificate_for(&["127.0.0.1"]);
    let server = RedisServer::start_tls_cluster(&certificate.chain_pem, &certificate.key_pem);
    let trusting = |pem: String| RedisSettings {
        tls: Some(RedisTls {
            ca_certificates: Some(pem.into_bytes()),
        }),
        topology: Topology::Cluster,
        ..at(&server)
    };
    check_contract(&trusting(authority.pem())).await;
    is_unavailable(
        store(&trusting(Authority::fresh().pem()))
            .get("a", NOW)
            .await,
        "",
    );
}

#[tokio::test]
async fn sentinel_login_is_separate() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let sentinel = server.start_sentinel("login-store");
    sentinel.command(&["ACL", "SETUSER", "doorward", "on", ">watch3r", "+@all"]);
    sentinel.command(&["ACL", "SETUSER", "default", "off"]);
    let with = |at_sentinel, at_redis| {
        let topology = Topology::Sentinel {
            master: "login-store".to_owned(),
            login: at_sentinel,
        };
        store(&RedisSettings {
            topology,
            login: at_redis,
            ..at(&sentinel)
        })
    };
    let both = with(login(Some("doorward"), "watch3r"), login(None, "s3cret"));
    assert_eq!(both.put("a", Bytes::new(), LATER, NOW).await, Ok(()));
    is_unavailable(with(None, login(None, "s3cret")).get("a", NOW).await, "");
    is_unavailable(
        with(login(Some("doorward"), "watch3r"), None)
            .get("a", NOW)
            .await,
        "",
    );
}

#[tokio::test]
async fn documented_acl_is_sufficient() {
    let server = RedisServer::start();
    permit(&server, "");
    let user = |username, password| RedisSettings {
        login: login(username, password),
        ..at(&server)
    };
    check_contract(&user(Some("doorward"), "s3cret")).await;
    is_unavailable(
        store(&RedisSettings {
            database: 1,
            ..user(Some("doorward"), "s3cret")
        })
        .get("a", NOW)
        .await,
        "",
    );
    permit(&server, "+select +role");
    check_contract(&RedisSettings {
        database: 1,
        ..user(Some("doorward"), "s3cret")
    })
    .await;
    let sentinel = server.start_sentinel("login-store");
    let topology = Topology::Sentinel {
        master: "login-store".to_owned(),
        login: None,
    };
    check_contract(&RedisSettings {
        topology,
        database: 2,
        login: login(Some("doorward"), "s3cret"),
        ..at(&sentinel)
    })
    .await;
    let cluster = RedisServer::start_cluster();
    permit(&cluster, "+cluster");
    let (topology, login) = (Topology::Cluster, login(Some("doorward"), "s3cret"));
    check_contract(&RedisSettings {
        topology,
        login,
        ..at(&cluster)
    })
    .await;
}

/// Grants the documented permissions.
fn permit(server: &RedisServer, more: &str) {
    let page = include_str!("../../../docs/replicas.md");
    let line = page
        .lines()
        .find(|line| line.starts_with("ACL SETUSER doorward "))
        .unwrap();
    let line = format!("{} {more}", line.replace("PASSWORD", "s3cret"));
    server.command(&line.split_whitespace().collect::<Vec<_>>());
}

#[tokio::test]
async fn permission_error_reveals_no_key() {
    let server = RedisServer::start();
    permit(&server, "");
    let user = |username, password| RedisSettings {
        login: login(username, password),
        ..at(&server)
    };
    let wrong = store(&user(Some("doorward"), "wr0ng")).get("a", NOW).await;
    assert!(!format!("{wrong:?}").contains("wr0ng"), "{wrong:?}");
    is_unavailable(wrong, "");
    let elsewhere = RedisSettings {
        key_prefix: "other:".to_owned(),
        ..user(Some("doorward"), "s3cret")
    };
    is_unavailable(
        store(&elsewhere).get("sid-of-somebody", NOW).await,
        "NOPERM",
    );
    let refused = store(&elsewhere)
        .put_if_absent("sid-of-somebody", Bytes::new(), LATER, NOW)
        .await;
    assert!(
        !format!("{refused:?}").contains("sid-of-somebody"),
        "{refused:?}"
    );
    is_unavailable(refused, "NOPERM");
}

#[tokio::test]
async fn password_without_user_is_sufficient() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let with = |login| {
        store(&RedisSettings {
            login,
            ..at(&server)
        })
    };
    assert_eq!(with(login(None, "s3cret")).get("a", NOW).await, Ok(None));
    is_unavailable(with(None).get("a", NOW).await, "NOAUTH");
}

#[tokio::test]
async fn namespaces_prefixes_and_databases_are_separate() {
    let server = RedisServer::start();
    let one = store(&at(&server));
    one.put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    let beside = one.with_namespace("doorward:", "strangers", 1);
    let elsewhere = store(&RedisSettings {
        key_prefix: "blue:".to_owned(),
        ..at(&server)
    });
    let numbered = store(&RedisSettings {
        database: 3,
        ..at(&server)
    });
    for other in [&beside, &elsewhere, &numbered] {
        assert_eq!(other.get("a", NOW).await, Ok(None));
        other
            .publish(
                vec![LogEntry {
                    value: Bytes::new(),
                    ends_at: LATER,
                }],
                NOW,
            )
            .await
            .unwrap();
    }
    assert_eq!(
        one.read_since(&Cursor::default(), NOW).await.unwrap().held,
        0
    );
    assert_eq!(
        store(&at(&server)).get("a", NOW).await,
        Ok(Some(Bytes::from_static(b"1")))
    );
}

#[tokio::test]
async fn redis_expires_entries_after_the_margin() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    store.put("a", Bytes::new(), LATER, NOW).await.unwrap();
    store
        .put_if_absent("b", Bytes::new(), LATER, NOW)
        .await
        .unwrap();
    store
        .compare_and_swap("a", b"", Bytes::new(), LATER, NOW)
        .await
        .unwrap();
    store.remove("b", b"", NOW).await.unwrap();
    store
        .put(
            "for ever",
            Bytes::new(),
            Timestamp::from_secs(u64::MAX),
            NOW,
        )
        .await
        .unwrap();
    store
        .publish(
            vec![LogEntry {
                value: Bytes::new(),
                ends_at: LATER,
            }],
            NOW,
        )
        .await
        .unwrap();
    let kept_for = |key: &str| {
        server
            .command(&["TTL", &format!("doorward:test:{key}")])
            .parse::<u64>()
            .unwrap()
    };
    assert!((300..=360).contains(&kept_for("a")), "{}", kept_for("a"));
    assert!(kept_for("b") <= 60);
    assert!(kept_for("for ever") > 10 * 365 * 24 * 60 * 60);
    for key in ["{feed}:state", "{feed}:items"] {
        assert!((3600..=3900).contains(&kept_for(key)), "{key}");
    }
    assert_eq!(server.command(&["DBSIZE"]), "5");
}

#[tokio::test]
async fn repeated_call_has_the_same_result() {
    // As after a connection failure between a call and its reply.
    let server = RedisServer::start();
    let store = store(&at(&server));
    let (call, entry) = (store.shared.call_ids.next(), |call: &str, value: &[u8]| {
        entry::write(LATER, call, value)
    });
    let mut claim = store.entry_script(PUT_IF_ABSENT, &["a"], &call, NOW);
    claim.arg(entry(&call, b"1")).arg(60);
    let call = store.shared.call_ids.next();
    let mut compare_and_swap = store.entry_script(COMPARE_AND_SWAP, &["a"], &call, NOW);
    compare_and_swap.arg(entry(&call, b"2")).arg(60).arg("1");
    let mut remove = store.entry_script(REMOVE, &["a"], &store.shared.call_ids.next(), NOW);
    remove.arg("2");
    for (command, response) in [
        (&claim, Value::Int(0)),
        (&compare_and_swap, Value::Int(1)),
        (&remove, Value::Int(1)),
    ] {
        for _ in 0..2 {
            assert_eq!(store.execute(command).await, Ok(response.clone()));
        }
    }
    assert_eq!(
        store.execute(&compare_and_swap).await,
        Ok(Value::Int(0)),
        "another call came in between"
    );
}

#[tokio::test]
async fn other_values_are_errors_until_overwritten() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    let value = || Bytes::from_static(b"1");
    let (long, garbled) = ("9".repeat(51), format!("x{}", "9".repeat(80)));
    for foreign in ["x", &long, &garbled] {
        server.command(&["SET", "doorward:test:a", foreign]);
        is_unavailable(store.get("a", NOW).await, "not written by Doorward");
        is_unavailable(
            store.put_if_absent("a", value(), LATER, NOW).await,
            "not written by Doorward",
        );
        is_unavailable(
            store.compare_and_swap("a", b"x", value(), LATER, NOW).await,
            "not written by Doorward",
        );
        is_unavailable(
            store.remove("a", b"x", NOW).await,
            "not written by Doorward",
        );
    }
    server.command(&["DEL", "doorward:test:a"]);
    server.command(&["LPUSH", "doorward:test:a", "x"]);
    is_unavailable(store.get("a", NOW).await, "WRONGTYPE");
    is_unavailable(
        store.put_if_absent("a", value(), LATER, NOW).await,
        "WRONGTYPE",
    );
    server.command(&[
        "SETRANGE",
        "doorward:test:big",
        &(HEADER_LEN + MAX_VALUE).to_string(),
        "x",
    ]);
    is_unavailable(store.get("big", NOW).await, "not written by Doorward");
    is_unavailable(
        store.put_if_absent("big", value(), LATER, NOW).await,
        "not written by Doorward",
    );
    for key in ["a", "big"] {
        store.put(key, value(), LATER, NOW).await.unwrap();
        assert_eq!(store.get(key, NOW).await, Ok(Some(value())));
    }
    assert_eq!(
        store
            .put("c", vec![0; MAX_VALUE + 1].into(), LATER, NOW)
            .await,
        Err(StoreError::Full)
    );
}

#[tokio::test]
async fn full_redis_is_reported() {
    let server = RedisServer::start();
    let (store, value) = (store(&at(&server)), || Bytes::from_static(b"1"));
    store.put("a", value(), LATER, NOW).await.unwrap();
    // Below the memory in use, without eviction.
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(
        store.put("b", value(), LATER, NOW).await,
        Err(StoreError::Full)
    );
    assert_eq!(
        store.put_if_absent("b", value(), LATER, NOW).await,
        Err(StoreError::Full)
    );
    assert_eq!(
        store.compare_and_swap("a", b"1", value(), LATER, NOW).await,
        Err(StoreError::Full)
    );
    assert_eq!(
        store.get("a", NOW).await,
        Ok(Some(value())),
        "no current entry is evicted"
    );
    assert_eq!(store.get("b", NOW).await, Ok(None));
    assert_eq!(store.remove("a", b"1", NOW).await, Ok(true));
    assert_eq!(store.get("a", NOW).await, Ok(None));
}

mod cluster;
mod log;
mod outages;
