//! A Redis Cluster whose nodes fail and are replaced.

use super::*;

/// Keys in the slots of all masters.
const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

fn named(nodes: &[&RedisServer]) -> RedisSettings {
    RedisSettings {
        nodes: nodes.iter().flat_map(|node| at(node).nodes).collect(),
        topology: Topology::Cluster,
        timeout: Duration::from_millis(500),
        ..at(nodes[0])
    }
}

/// Waits until all slots are served.
async fn serves_all_slots(store: &Redis) {
    for key in KEYS {
        eventually(async || store.put(key, Bytes::from_static(b"1"), LATER, NOW).await).await;
    }
}

#[tokio::test]
async fn cluster_serves_after_the_named_node_died() {
    let mut cluster = RedisCluster::start();
    let store = store(&named(&[&cluster.masters[0]]));
    serves_all_slots(&store).await;
    cluster.masters[0].stop();
    serves_all_slots(&store).await;
    for key in KEYS {
        let found = store.get(key, NOW).await;
        assert_eq!(found, Ok(Some(Bytes::from_static(b"1"))), "{key}");
    }
}

#[tokio::test]
async fn cluster_serves_after_a_node_hung() {
    let cluster = RedisCluster::start();
    let store = store(&named(&[&cluster.masters[0]]));
    serves_all_slots(&store).await;
    cluster.masters[0].pause();
    serves_all_slots(&store).await;
}

#[tokio::test]
async fn cluster_is_found_after_all_named_nodes_were_replaced() {
    let mut cluster = RedisCluster::start();
    let masters: Vec<&RedisServer> = cluster.masters.iter().collect();
    let store = store(&named(&masters));
    serves_all_slots(&store).await;
    for (master, replica) in cluster.masters.iter_mut().zip(&cluster.replicas) {
        replica.command(&["CLUSTER", "FAILOVER", "FORCE"]);
        replica.await_master();
        master.stop();
        serves_all_slots(&store).await;
    }
    // All connections are lost, and only the nodes that were discovered are left.
    for replica in &mut cluster.replicas {
        replica.stop();
    }
    for _ in 0..3 {
        is_unavailable(store.get("a", NOW).await, "");
    }
    for replica in &mut cluster.replicas {
        replica.restart();
    }
    serves_all_slots(&store).await;
}
