//! Deployment files: Kubernetes schemas and security rules. Each rule maps a manifest to complaints, and
//! a test shows it a manifest that violates it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helpers fail the test by panicking"
)]

use serde_json::{Value, json};

mod compose;
mod configuration;
#[cfg(test)]
mod edges;
mod image_build;
mod monitoring;
mod production_build;
mod schema;
#[cfg(test)]
mod traefik;

const SIDECAR: &str = include_str!("../../deploy/kubernetes/sidecar.yaml");
const DOCKERFILE: &str = include_str!("../../deploy/docker/Dockerfile");
const UNIT: &str = include_str!("../../deploy/systemd/doorward.service");
const SOCKET: &str = include_str!("../../deploy/systemd/doorward.socket");

const POD: &str = "/spec/template/spec";
const DOORWARD: &str = "/spec/template/spec/initContainers/0";
const APP: &str = "/spec/template/spec/containers/0";

#[test]
fn pod_is_unprivileged_and_has_probes() {
    assert_eq!(
        pod_complaints(&document("Deployment")),
        Vec::<String>::new()
    );
    for (at, key, value) in [
        (DOORWARD, "restartPolicy", json!("OnFailure")),
        (DOORWARD, "image", json!("doorward:latest")),
        (DOORWARD, "image", json!("doorward")),
        (APP, "lifecycle", json!({})),
        (
            &format!("{DOORWARD}/startupProbe/httpGet"),
            "path",
            json!("/readyz"),
        ),
        (
            &format!("{DOORWARD}/livenessProbe/httpGet"),
            "port",
            json!("proxy"),
        ),
        (
            &format!("{DOORWARD}/securityContext"),
            "runAsUser",
            json!(0),
        ),
        (
            &format!("{DOORWARD}/securityContext/capabilities"),
            "add",
            json!(["NET_ADMIN"]),
        ),
        (&format!("{APP}/securityContext"), "privileged", json!(true)),
        (
            &format!("{POD}/securityContext/seccompProfile"),
            "type",
            json!("Unconfined"),
        ),
        (POD, "hostNetwork", json!(true)),
        (POD, "automountServiceAccountToken", json!(true)),
        (POD, "terminationGracePeriodSeconds", json!(5)),
        (&format!("{DOORWARD}/ports/0"), "hostPort", json!(8080)),
        (
            &format!("{POD}/volumes/0"),
            "hostPath",
            json!({ "path": "/" }),
        ),
    ] {
        assert_ne!(
            pod_complaints(&put(document("Deployment"), at, key, value)),
            Vec::<String>::new(),
            "{at}/{key}"
        );
    }
    for (at, key) in [
        (DOORWARD, "restartPolicy"),
        (DOORWARD, "startupProbe"),
        (DOORWARD, "readinessProbe"),
        (DOORWARD, "livenessProbe"),
        (DOORWARD, "resources"),
        (APP, "securityContext"),
        (POD, "securityContext"),
        (POD, "initContainers"),
        (
            &format!("{DOORWARD}/securityContext"),
            "readOnlyRootFilesystem",
        ),
        (
            &format!("{DOORWARD}/securityContext"),
            "allowPrivilegeEscalation",
        ),
        (&format!("{DOORWARD}/securityContext/capabilities"), "drop"),
    ] {
        assert_ne!(
            pod_complaints(&cut(document("Deployment"), at, key)),
            Vec::<String>::new(),
            "{at}/{key}"
        );
    }
}

#[test]
fn clients_reach_the_proxy_port_and_prometheus_the_admin_port() {
    let (service, policy) = (document("Service"), document("NetworkPolicy"));
    assert_eq!(reach_complaints(&service, &policy), Vec::<String>::new());
    for port in [json!("admin"), json!(9090), json!(3000)] {
        let open = put(service.clone(), "/spec/ports/0", "targetPort", port.clone());
        assert_ne!(
            reach_complaints(&open, &policy),
            Vec::<String>::new(),
            "{port}"
        );
        let open = put(
            policy.clone(),
            "/spec/ingress/0/ports/0",
            "port",
            port.clone(),
        );
        assert_ne!(
            reach_complaints(&service, &open),
            Vec::<String>::new(),
            "{port}"
        );
    }
    for open in [
        cut(service.clone(), "/spec/ports/0", "targetPort"),
        put(service.clone(), "/spec", "type", json!("NodePort")),
    ] {
        assert_ne!(
            reach_complaints(&open, &policy),
            Vec::<String>::new(),
            "{open}"
        );
    }
    for open in [
        cut(policy.clone(), "/spec/ingress/0", "ports"),
        cut(policy.clone(), "/spec/ingress/1", "from"),
        cut(policy.clone(), "/spec/ingress/1", "ports"),
        put(policy.clone(), "/spec/ingress/1", "from", json!([])),
        put(
            policy.clone(),
            "/spec",
            "ingress",
            json!([policy["spec"]["ingress"][0]]),
        ),
        put(policy.clone(), "/spec", "policyTypes", json!(["Egress"])),
        put(
            policy.clone(),
            "/spec/podSelector",
            "matchLabels",
            json!({ "app.kubernetes.io/name": "other" }),
        ),
    ] {
        assert_ne!(
            reach_complaints(&service, &open),
            Vec::<String>::new(),
            "{open}"
        );
    }
}

#[test]
fn config_matches_the_pod() {
    let config: Value =
        toml::from_str(text(&document("ConfigMap"), "/data/doorward.toml")).unwrap();
    let (deployment, secret) = (document("Deployment"), document("Secret"));
    let port = |at: &str| {
        format!(
            "0.0.0.0:{}",
            deployment
                .pointer(&format!("{DOORWARD}/ports/{at}"))
                .unwrap()
        )
    };
    assert_eq!(text(&config, "/server/listen"), port("0/containerPort"));
    assert_eq!(
        text(&config, "/server/admin_listen"),
        port("1/containerPort")
    );
    assert!(text(&config, "/apps/store/upstream").starts_with("http://127.0.0.1:"));
    assert!(
        !array(&config, "/server/trusted_proxies").is_empty(),
        "every client would have the address of the ingress"
    );

    let mount = text(&deployment, &format!("{DOORWARD}/volumeMounts/1/mountPath"));
    for at in ["/session/key_files/0", "/apps/store/client_secret_file"] {
        let key = text(&config, at)
            .strip_prefix(mount)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap();
        assert!(
            text(&secret, &format!("/stringData/{key}")).starts_with("REPLACE"),
            "{key}"
        );
    }
    let args = deployment.pointer(&format!("{DOORWARD}/args")).unwrap();
    let config_mount = text(&deployment, &format!("{DOORWARD}/volumeMounts/0/mountPath"));
    assert_eq!(
        args,
        &json!(["run", "--config", format!("{config_mount}/doorward.toml")])
    );
    for (volume, source, name) in [
        (0, "configMap/name", "ConfigMap"),
        (1, "secret/secretName", "Secret"),
    ] {
        let named = text(&deployment, &format!("{POD}/volumes/{volume}/{source}"));
        assert_eq!(named, text(&document(name), "/metadata/name"));
    }
}

#[test]
fn image_is_locked_and_not_root() {
    assert_eq!(image_complaints(DOCKERFILE), Vec::<String>::new());
    for (from, to) in [
        ("--locked", ""),
        ("USER 65532:65532", "USER root"),
        ("USER 65532:65532", ""),
        ("rust:1.95.0-bookworm", "rust:latest"),
        ("rust:1.95.0-bookworm", "rust"),
        ("FROM scratch", "FROM debian"),
        ("ENTRYPOINT [\"/doorward\"]", "ENTRYPOINT /doorward"),
        ("EXPOSE 8080", "EXPOSE 8080 9090"),
    ] {
        assert_ne!(
            image_complaints(&DOCKERFILE.replace(from, to)),
            Vec::<String>::new(),
            "{to}"
        );
    }
}

#[test]
fn unit_is_hardened() {
    assert_eq!(unit_complaints(UNIT), Vec::<String>::new());
    for line in UNIT_LINES {
        assert_ne!(
            unit_complaints(&UNIT.replace(line, "")),
            Vec::<String>::new(),
            "{line}"
        );
    }
    assert_ne!(
        unit_complaints(&UNIT.replace("DynamicUser=yes", "DynamicUser=yes\nUser=root")),
        Vec::<String>::new()
    );
}

#[test]
fn socket_is_for_the_proxy_listener() {
    for line in [
        "ListenStream=0.0.0.0:8080",
        "FileDescriptorName=listen",
        "WantedBy=sockets.target",
    ] {
        assert!(SOCKET.lines().any(|found| found == line), "{line}");
    }
    assert_eq!(SOCKET.matches("\nListen").count(), 1);
}

fn pod_complaints(deployment: &Value) -> Vec<String> {
    let mut expect = Expectations::of(deployment);
    for (at, value) in [
        ("securityContext/runAsNonRoot", json!(true)),
        (
            "securityContext/seccompProfile/type",
            json!("RuntimeDefault"),
        ),
        ("automountServiceAccountToken", json!(false)),
    ] {
        expect.value(&format!("{POD}/{at}"), &value);
    }
    for at in ["hostNetwork", "hostPID", "hostIPC"] {
        expect.absent(&format!("{POD}/{at}"));
    }
    let volumes = array(deployment, &format!("{POD}/volumes"));
    expect.that(
        volumes
            .iter()
            .all(|volume| volume.get("hostPath").is_none()),
        "no volume is a host path",
    );

    for container in [DOORWARD, APP] {
        for (at, value) in [
            ("securityContext/privileged", json!(false)),
            ("securityContext/allowPrivilegeEscalation", json!(false)),
            ("securityContext/readOnlyRootFilesystem", json!(true)),
            ("securityContext/capabilities/drop", json!(["ALL"])),
        ] {
            expect.value(&format!("{container}/{at}"), &value);
        }
        expect.absent(&format!("{container}/securityContext/capabilities/add"));
        for at in ["requests/cpu", "requests/memory", "limits/memory"] {
            expect.present(&format!("{container}/resources/{at}"));
        }
        let ports = array(deployment, &format!("{container}/ports"));
        expect.that(
            ports.iter().all(|port| port.get("hostPort").is_none()),
            "no port of the host",
        );
        let image = deployment
            .pointer(&format!("{container}/image"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        expect.that(is_pinned(image), "an image has a tag other than latest");
    }
    expect.value(&format!("{DOORWARD}/restartPolicy"), &json!("Always"));
    let user = deployment
        .pointer(&format!("{DOORWARD}/securityContext/runAsUser"))
        .and_then(Value::as_u64);
    expect.that(
        user.is_some_and(|user| user > 0),
        "Doorward's user is not root",
    );
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ] {
        expect.value(&format!("{DOORWARD}/{probe}/httpGet/path"), &json!(path));
        expect.value(&format!("{DOORWARD}/{probe}/httpGet/port"), &json!("admin"));
    }
    let seconds = |at: &str| deployment.pointer(at).and_then(Value::as_u64);
    let (grace, wait) = (
        seconds(&format!("{POD}/terminationGracePeriodSeconds")),
        seconds(&format!("{APP}/lifecycle/preStop/sleep/seconds")),
    );
    expect.that(
        wait.zip(grace)
            .is_some_and(|(wait, grace)| wait > 0 && grace >= wait + 30),
        "there is time to drain",
    );
    expect.complaints
}

fn reach_complaints(service: &Value, policy: &Value) -> Vec<String> {
    let pod = document("Deployment")
        .pointer("/spec/template/metadata/labels")
        .cloned()
        .unwrap();
    let mut expect = Expectations::of(service);
    expect.value("/spec/type", &json!("ClusterIP"));
    expect.value("/spec/selector", &pod);
    let ports = array(service, "/spec/ports");
    expect.that(!ports.is_empty(), "the service has a port");
    expect.that(
        ports.iter().all(|port| port["targetPort"] == "proxy"),
        "the service names the proxy port only",
    );

    let mut of_policy = Expectations::of(policy);
    of_policy.value("/spec/policyTypes", &json!(["Ingress"]));
    of_policy.value("/spec/podSelector/matchLabels", &pod);
    let has_only = |rule: &Value, name: &str| {
        let ports = array(rule, "/ports");
        !ports.is_empty() && ports.iter().all(|port| port["port"] == name)
    };
    let rules = array(policy, "/spec/ingress");
    // An empty list of peers admits everybody.
    let (limited, open): (Vec<_>, Vec<_>) = rules
        .iter()
        .partition(|rule| rule["from"].as_array().is_some_and(|from| !from.is_empty()));
    of_policy.that(
        open.iter().all(|rule| has_only(rule, "proxy")),
        "the policy lets everybody in to the proxy port only",
    );
    of_policy.that(
        limited.len() == 1 && limited.iter().all(|rule| has_only(rule, "admin")),
        "the policy lets Prometheus in to the admin port",
    );
    expect.complaints.extend(of_policy.complaints);
    expect.complaints
}

fn image_complaints(dockerfile: &str) -> Vec<String> {
    let mut expect = Expectations::default();
    let lines: Vec<&str> = dockerfile
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .collect();
    let images = lines
        .iter()
        .filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next());
    expect.that(
        images.clone().count() == 2
            && images
                .clone()
                .all(|image| image == "scratch" || is_pinned(image)),
        "images have a tag other than latest",
    );
    expect.that(
        lines
            .iter()
            .any(|line| line.contains("cargo build --profile dist --locked")),
        "it builds what is locked",
    );
    for line in [
        "USER 65532:65532",
        "EXPOSE 8080",
        "ENTRYPOINT [\"/doorward\"]",
    ] {
        expect.that(lines.contains(&line), line);
    }
    let command = "CMD [\"run\", \"--config\", \"/etc/doorward/doorward.toml\"]";
    expect.that(lines.last() == Some(&command), command);
    expect.complaints
}

const UNIT_LINES: [&str; 19] = [
    "Type=notify",
    "WatchdogSec=30s",
    "ExecStartPre=doorward check --config /etc/doorward/doorward.toml",
    "ExecStart=doorward run --config /etc/doorward/doorward.toml",
    "ExecReload=doorward reload --config /etc/doorward/doorward.toml",
    "SupplementaryGroups=doorward-secrets",
    "RestartPreventExitStatus=64 78",
    "DynamicUser=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallFilter=@system-service",
    "UMask=0077",
];

fn unit_complaints(unit: &str) -> Vec<String> {
    let mut expect = Expectations::default();
    let lines: Vec<&str> = unit.lines().collect();
    for line in UNIT_LINES {
        expect.that(lines.contains(&line), line);
    }
    expect.that(
        !lines.iter().any(|line| line.starts_with("User=")),
        "systemd makes the user",
    );
    expect.complaints
}

/// The complaints about one document.
#[derive(Default)]
struct Expectations {
    document: Value,
    complaints: Vec<String>,
}

impl Expectations {
    fn of(document: &Value) -> Self {
        Self {
            document: document.clone(),
            complaints: Vec::new(),
        }
    }

    fn that(&mut self, holds: bool, what: &str) {
        if !holds {
            self.complaints.push(what.to_owned());
        }
    }

    fn value(&mut self, at: &str, expected: &Value) {
        let found = self.document.pointer(at).cloned().unwrap_or_default();
        self.that(
            &found == expected,
            &format!("{at} is {found} instead of {expected}"),
        );
    }

    fn present(&mut self, at: &str) {
        self.that(
            self.document.pointer(at).is_some(),
            &format!("{at} is missing"),
        );
    }

    fn absent(&mut self, at: &str) {
        self.that(self.document.pointer(at).is_none(), &format!("{at} is set"));
    }
}

fn is_pinned(image: &str) -> bool {
    image
        .rsplit_once(':')
        .is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest" && !tag.contains('/'))
}

fn documents() -> Vec<Value> {
    serde_saphyr::from_multiple(SIDECAR).unwrap()
}

fn document(kind: &str) -> Value {
    documents()
        .into_iter()
        .find(|document| document["kind"] == kind)
        .unwrap()
}

fn text<'a>(document: &'a Value, at: &str) -> &'a str {
    document
        .pointer(at)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {at}"))
}

fn array<'a>(document: &'a Value, at: &str) -> &'a [Value] {
    document
        .pointer(at)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn put(mut document: Value, at: &str, key: &str, value: Value) -> Value {
    document
        .pointer_mut(at)
        .unwrap_or_else(|| panic!("nothing at {at}"))[key] = value;
    document
}

fn cut(mut document: Value, at: &str, key: &str) -> Value {
    let cut = document
        .pointer_mut(at)
        .and_then(Value::as_object_mut)
        .and_then(|object| object.remove(key));
    assert!(cut.is_some(), "nothing at {at}/{key}");
    document
}
