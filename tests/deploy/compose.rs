//! The Compose file: the app can be reached through Doorward only.

use serde_json::{Value, json};

use super::{cut, put};

const COMPOSE: &str = include_str!("../../deploy/docker/compose.yaml");

#[test]
fn app_is_reachable_through_doorward_only() {
    let compose: Value = serde_saphyr::from_str(COMPOSE).unwrap();
    assert_eq!(complaints(&compose), Vec::<String>::new());
    for open in [
        put(
            compose.clone(),
            "/services/store",
            "ports",
            json!(["3000:3000"]),
        ),
        put(
            compose.clone(),
            "/services/store",
            "network_mode",
            json!("host"),
        ),
        put(
            compose.clone(),
            "/services/store",
            "networks",
            json!(["front", "back"]),
        ),
        put(
            compose.clone(),
            "/services/doorward",
            "ports",
            json!(["443:8443", "9090:9090"]),
        ),
        put(
            compose.clone(),
            "/services/doorward",
            "read_only",
            json!(false),
        ),
        cut(compose.clone(), "/networks/back", "internal"),
    ] {
        assert_ne!(complaints(&open), Vec::<String>::new(), "{open}");
    }
}

fn complaints(compose: &Value) -> Vec<String> {
    let at = |path: &str| compose.pointer(path).cloned().unwrap_or_default();
    let rules = [
        (
            at("/services/doorward/ports") == json!(["443:8443"]),
            "Doorward publishes another port",
        ),
        (
            at("/services/doorward/read_only") == json!(true)
                && at("/services/doorward/cap_drop") == json!(["ALL"]),
            "Doorward has too many rights",
        ),
        (
            at("/services/store/ports") == Value::Null
                && at("/services/store/network_mode") == Value::Null,
            "the app publishes a port",
        ),
        (
            at("/services/store/networks") == json!(["back"])
                && at("/networks/back/internal") == json!(true),
            "the app is in a network that is not internal",
        ),
    ];
    rules
        .into_iter()
        .filter(|(holds, _)| !holds)
        .map(|(_, complaint)| complaint.to_owned())
        .collect()
}
