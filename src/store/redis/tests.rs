//! A real Redis keeps the contract, however it is set up; and what happens when it goes, comes back, hangs, forgets, or
//! holds what is not ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::store::contract::{Shared, is_kept_by};
use crate::types::secret::Secret;
use server::RedisServer;
use tls::Authority;

#[path = "../../../tests/integration/support/redis.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "integration tests share this file, and need more of it"
)]
mod server;
#[path = "../../../tests/integration/support/tls.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "integration tests share this file, and need more of it"
)]
mod tls;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const LATER: Timestamp = Timestamp::from_secs(1_800_000_060);
const LIMITS: FeedLimits = FeedLimits {
    longest_life: Duration::from_secs(3600),
    max_items: 5000,
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

async fn contract_over(settings: &RedisSettings) {
    let spaces = AtomicUsize::new(0);
    is_kept_by(|| {
        let space = spaces.fetch_add(1, Ordering::Relaxed).to_string();
        let replica =
            || -> Arc<dyn Store> { Arc::new(Redis::new(settings, &space, 64, LIMITS).unwrap()) };
        Shared {
            one: replica(),
            other: replica(),
        }
    })
    .await;
}

fn is_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>, with: &str) {
    match answer {
        Err(StoreError::Unavailable(why)) if why.contains(with) => {}
        other => panic!("not `{with}`, but: {other:?}"),
    }
}

async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    for _ in 0..2000 {
        if let Ok(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it does not come back");
}

#[tokio::test]
async fn a_redis_keeps_the_contract() {
    contract_over(&at(&RedisServer::start())).await;
}

#[tokio::test]
async fn a_cluster_keeps_it() {
    let server = RedisServer::start_cluster();
    contract_over(&RedisSettings {
        topology: Topology::Cluster,
        ..at(&server)
    })
    .await;
}

#[tokio::test]
async fn the_master_of_a_sentinel_keeps_it() {
    let server = RedisServer::start();
    let sentinel = server.start_sentinel("login-store");
    let topology = |master: &str| Topology::Sentinel {
        master: master.to_owned(),
        login: None,
    };
    contract_over(&RedisSettings {
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
async fn it_is_kept_over_tls_by_whom_the_named_authority_vouches_for() {
    let (authority, other) = (Authority::fresh(), Authority::fresh());
    let certificate = authority.certificate_for(&["127.0.0.1"]);
    let server = RedisServer::start_tls(&certificate.chain_pem, &certificate.key_pem, &[]);
    let trusting = |pem: Option<String>| RedisSettings {
        tls: Some(RedisTls {
            ca_certificates: pem.map(String::into_bytes),
        }),
        ..at(&server)
    };
    contract_over(&trusting(Some(authority.pem()))).await;
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
async fn a_cluster_keeps_it_over_tls_too() {
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
    contract_over(&trusting(authority.pem())).await;
    is_unavailable(
        store(&trusting(Authority::fresh().pem()))
            .get("a", NOW)
            .await,
        "",
    );
}

#[tokio::test]
async fn sentinels_may_want_a_login_of_their_own() {
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
async fn a_user_who_may_do_just_what_is_documented_keeps_it() {
    let server = RedisServer::start();
    permit(&server, "");
    let user = |username, password| RedisSettings {
        login: login(username, password),
        ..at(&server)
    };
    contract_over(&user(Some("doorward"), "s3cret")).await;
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
    contract_over(&RedisSettings {
        database: 1,
        ..user(Some("doorward"), "s3cret")
    })
    .await;
    let sentinel = server.start_sentinel("login-store");
    let topology = Topology::Sentinel {
        master: "login-store".to_owned(),
        login: None,
    };
    contract_over(&RedisSettings {
        topology,
        database: 2,
        login: login(Some("doorward"), "s3cret"),
        ..at(&sentinel)
    })
    .await;
    let cluster = RedisServer::start_cluster();
    permit(&cluster, "+cluster");
    let (topology, login) = (Topology::Cluster, login(Some("doorward"), "s3cret"));
    contract_over(&RedisSettings {
        topology,
        login,
        ..at(&cluster)
    })
    .await;
}

/// As the documentation says.
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
async fn who_may_not_is_told_so_and_nothing_more() {
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
async fn a_password_alone_will_do_and_none_will_not() {
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
async fn another_space_or_prefix_or_database_is_another_store() {
    let server = RedisServer::start();
    let one = store(&at(&server));
    one.put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    let beside = one.beside("doorward:", "strangers", 1);
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
                LogEntry {
                    value: Bytes::new(),
                    ends_at: LATER,
                },
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
async fn redis_forgets_by_itself_but_not_early() {
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
            LogEntry {
                value: Bytes::new(),
                ends_at: LATER,
            },
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
async fn a_redis_that_is_gone_is_no_empty_redis() {
    let mut server = RedisServer::start_persistent();
    let settings = RedisSettings {
        timeout: Duration::from_millis(500),
        ..at(&server)
    };
    let store = store(&settings);
    store
        .put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    server.stop();
    let value = || Bytes::from_static(b"2");
    for _ in 0..20 {
        is_unavailable(store.get("a", NOW).await, "");
        is_unavailable(store.put("a", value(), LATER, NOW).await, "");
        is_unavailable(store.put_if_absent("a", value(), LATER, NOW).await, "");
        is_unavailable(
            store.compare_and_swap("a", b"1", value(), LATER, NOW).await,
            "",
        );
        is_unavailable(store.remove("a", b"1", NOW).await, "");
        is_unavailable(
            store
                .publish(
                    LogEntry {
                        value: value(),
                        ends_at: LATER,
                    },
                    NOW,
                )
                .await,
            "",
        );
        is_unavailable(store.read_since(&Cursor::default(), NOW).await, "");
    }
    server.restart();
    assert_eq!(
        eventually(async || store.get("a", NOW).await).await,
        Some(Bytes::from_static(b"1"))
    );
}

#[tokio::test]
async fn a_cluster_that_goes_or_hangs_is_found_again() {
    let mut server = RedisServer::start_cluster();
    let settings = RedisSettings {
        topology: Topology::Cluster,
        timeout: Duration::from_millis(500),
        ..at(&server)
    };
    let store = store(&settings);
    let value = Bytes::from_static(b"1");
    store.put("a", value.clone(), LATER, NOW).await.unwrap();
    server.pause();
    for _ in 0..3 {
        is_unavailable(store.get("a", NOW).await, "");
    }
    server.resume();
    assert_eq!(
        eventually(async || store.get("a", NOW).await).await,
        Some(value.clone())
    );
    server.stop();
    for _ in 0..3 {
        is_unavailable(store.put("a", value.clone(), LATER, NOW).await, "");
    }
    server.restart();
    assert_eq!(
        eventually(async || store.put_if_absent("a", value.clone(), LATER, NOW).await).await,
        None
    );
}

#[tokio::test]
async fn the_first_call_after_a_restart_is_answered() {
    let mut server = RedisServer::start_persistent();
    let store = store(&at(&server));
    let value = || Bytes::from_static(b"1");
    for round in 0..3 {
        let key = round.to_string();
        assert_eq!(
            store.put_if_absent(&key, value(), LATER, NOW).await,
            Ok(None)
        );
        // A connection that broke at once would count as a failure to connect.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        server.restart();
        assert_eq!(
            store.put_if_absent(&key, value(), LATER, NOW).await,
            Ok(Some(value()))
        );
    }
}

#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up_and_is_found_again() {
    let server = RedisServer::start();
    let settings = RedisSettings {
        timeout: Duration::from_millis(200),
        ..at(&server)
    };
    let store = Arc::new(store(&settings));
    store
        .put("a", Bytes::from_static(b"1"), LATER, NOW)
        .await
        .unwrap();
    server.pause();
    let mut calls = tokio::task::JoinSet::new();
    // More than there are places for.
    for _ in 0..200 {
        let store = Arc::clone(&store);
        calls.spawn(async move { store.get("a", NOW).await });
    }
    for answer in calls.join_all().await {
        is_unavailable(answer, "");
    }
    is_unavailable(store.get("a", NOW).await, "");
    server.resume();
    assert_eq!(
        eventually(async || store.get("a", NOW).await).await,
        Some(Bytes::from_static(b"1"))
    );
}

#[tokio::test]
async fn many_who_wait_for_a_connection_share_one() {
    let server = RedisServer::start();
    let store = Arc::new(store(&at(&server)));
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = Arc::clone(&store);
        calls.spawn(async move {
            store
                .put(&number.to_string(), Bytes::new(), LATER, NOW)
                .await
        });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    let clients = server.command(&["CLIENT", "LIST"]);
    // One of them is `redis-cli` itself.
    assert_eq!(clients.lines().count(), 2, "{clients}");
    let seen = server.command(&["INFO", "stats"]);
    assert!(!seen.contains("total_connections_received:500"), "{seen}");
}

#[tokio::test]
async fn a_call_that_comes_twice_says_the_same() {
    // As it happens when the connection breaks between a call and its answer.
    let server = RedisServer::start();
    let store = store(&at(&server));
    let (call, entry) = (store.shared.calls.next(), |call: &str, value: &[u8]| {
        entry::write(LATER, call, value)
    });
    let mut claim = store.entry_script(PUT_IF_ABSENT, "a", &call, NOW);
    claim.arg(entry(&call, b"1")).arg(60);
    let call = store.shared.calls.next();
    let mut compare_and_swap = store.entry_script(COMPARE_AND_SWAP, "a", &call, NOW);
    compare_and_swap.arg(entry(&call, b"2")).arg(60).arg("1");
    let mut remove = store.entry_script(REMOVE, "a", &store.shared.calls.next(), NOW);
    remove.arg("2");
    for (command, answer) in [
        (&claim, Value::Int(0)),
        (&compare_and_swap, Value::Int(1)),
        (&remove, Value::Int(1)),
    ] {
        for _ in 0..2 {
            assert_eq!(store.ask(command).await, Ok(answer.clone()));
        }
    }
    assert_eq!(
        store.ask(&compare_and_swap).await,
        Ok(Value::Int(0)),
        "somebody else's call came in between"
    );
}

#[tokio::test]
async fn what_somebody_else_wrote_is_an_error_and_is_put_right_by_a_put() {
    let server = RedisServer::start();
    let store = store(&at(&server));
    let value = || Bytes::from_static(b"1");
    let (long, garbled) = ("9".repeat(51), format!("x{}", "9".repeat(80)));
    for foreign in ["x", &long, &garbled] {
        server.command(&["SET", "doorward:test:a", foreign]);
        is_unavailable(store.get("a", NOW).await, "not written by a Doorward");
        is_unavailable(
            store.put_if_absent("a", value(), LATER, NOW).await,
            "not written by a Doorward",
        );
        is_unavailable(
            store.compare_and_swap("a", b"x", value(), LATER, NOW).await,
            "not written by a Doorward",
        );
        is_unavailable(
            store.remove("a", b"x", NOW).await,
            "not written by a Doorward",
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
        &(HEAD + MAX_VALUE).to_string(),
        "x",
    ]);
    is_unavailable(store.get("big", NOW).await, "not written by a Doorward");
    is_unavailable(
        store.put_if_absent("big", value(), LATER, NOW).await,
        "not written by a Doorward",
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
async fn a_full_redis_says_so() {
    let server = RedisServer::start();
    let (store, value) = (store(&at(&server)), || Bytes::from_static(b"1"));
    store.put("a", value(), LATER, NOW).await.unwrap();
    // Less than it takes already, and nothing is to be evicted.
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
        "nothing that lives is forgotten"
    );
    assert_eq!(store.get("b", NOW).await, Ok(None));
    assert_eq!(store.remove("a", b"1", NOW).await, Ok(true));
    assert_eq!(store.get("a", NOW).await, Ok(None));
}

mod feed;
