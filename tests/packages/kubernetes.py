"""Helm charts and Kustomize component: renders them with Helm's and Kustomize's own code.

The manifests are validated by the schemas of Kubernetes, and Doorward checks the configuration that
a pod gets.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml

DEPLOY = Path("deploy")
DOORWARD = Path("target/debug/doorward")
# The oldest version that has what the manifests need, and the newest with a schema.
VERSIONS = ["1.33", "1.37"]
# Custom resources, which Kubernetes has no schemas of: the fields that they must and may have.
CUSTOM = {
    "HTTPRoute": ("gateway.networking.k8s.io/v1", {"parentRefs", "hostnames", "rules"}),
    "PodMonitor": ("monitoring.coreos.com/v1", {"jobLabel", "selector", "podMetricsEndpoints"}),
}
CONFIG = (DEPLOY / "kustomize/example/doorward.toml").read_text()
GATEWAY = {
    "image": {"repository": "images.example.com/doorward"},
    "secret": "doorward-secrets",
    "config": CONFIG,
    "redis": {"url": "rediss://redis.example.svc"},
}
EVERYTHING = GATEWAY | {
    "redis": {"existingSecret": "redis"},
    "keys": ["next.key", "session.key"],
    "autoscaling": {"enabled": True},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["store.example.com"],
        "tlsSecret": "t",
    },
    "httpRoute": {
        "enabled": True,
        "hostnames": ["store.example.com"],
        "parentRefs": [{"name": "public"}],
    },
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {"clients": [{"podSelector": {}}]},
    "env": [{"name": "DOORWARD_LOG__FORMAT", "value": "json"}],
    "podLabels": {"team": "edge"},
    "podAnnotations": {"a": "b"},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
}


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def validate(manifests):
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if custom := CUSTOM.get(kind):
            version, fields = custom
            assert manifest["apiVersion"] == version, manifest
            assert set(manifest["spec"]) == fields, manifest
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                sys.exit(f"{kind} {name} is not valid in Kubernetes {version}: {error.message}")


def only(manifests, kind):
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def render(chart, values, name="shop"):
    with helm_python.Chart.load(chart) as loaded:
        rendered = loaded.render(values=values, name=name)
    return [
        document
        for file, text in rendered.items()
        if file.endswith(".yaml")
        for document in documents(text)
    ]


def refused(values, reason):
    try:
        render(DEPLOY / "helm/doorward", values)
    except helm_python.HelmError as error:
        assert re.search(reason, str(error)), error
    else:
        sys.exit(f"the chart was rendered although `{reason}`")


def check_configuration(container, config):
    """Runs `doorward check` with the variables and files of the container."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ["session.key", "next.key"]:
            key = Path(folder, name)
            subprocess.run(
                [DOORWARD, "keygen", "--out", key], check=True, stdout=subprocess.DEVNULL
            )
        secret = Path(folder, "store")
        secret.write_text("a-secret-of-this-test-only\n")
        secret.chmod(0o600)
        file = Path(folder, "doorward.toml")
        file.write_text(config.replace("/var/run/doorward", folder))
        variables = {
            variable["name"]: variable.get("value", "redis://redis").replace(
                "/var/run/doorward", folder
            )
            for variable in container["env"]
        }
        arguments = ["check", "--strict", "--config", file]
        ended = subprocess.run(
            [DOORWARD, *arguments], check=False, env=variables, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr


def check_reach(policy, clients=None):
    """Only the proxy port is open to clients, and only the admin port to Prometheus."""
    proxy, admin = policy["spec"]["ingress"]
    assert [port["port"] for port in proxy["ports"]] == ["proxy"] and proxy.get("from") == clients
    assert [port["port"] for port in admin["ports"]] == ["admin"]
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert admin["from"] == [{"namespaceSelector": namespace}], admin


def check_gateway():
    chart = DEPLOY / "helm/doorward"
    linted = helm_python.lint(str(chart), values=GATEWAY)
    found = [message for message in linted["messages"] if message["severity"] > 1]
    assert not found and not linted["errors"], linted

    plain = render(chart, GATEWAY)
    validate(plain)
    kinds = {manifest["kind"] for manifest in plain}
    assert kinds == {
        "ConfigMap",
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }, kinds
    check_reach(only(plain, "NetworkPolicy"))
    full = render(chart, EVERYTHING)
    validate(full)
    extra = {manifest["kind"] for manifest in full} - kinds
    assert extra == {"HorizontalPodAutoscaler", "Ingress", "HTTPRoute", "PodMonitor"}, extra
    check_reach(only(full, "NetworkPolicy"), [{"podSelector": {}}])
    assert "replicas" not in only(full, "Deployment")["spec"], (
        "the autoscaler's number is overwritten"
    )

    for manifests in [plain, full]:
        deployment, service = only(manifests, "Deployment"), only(manifests, "Service")
        pod = deployment["spec"]["template"]
        selected = deployment["spec"]["selector"]["matchLabels"]
        for labels in [selected, service["spec"]["selector"]]:
            assert labels.items() <= pod["metadata"]["labels"].items()
        [container] = pod["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert [port["targetPort"] for port in service["spec"]["ports"]] == [
            "proxy"
        ] and "proxy" in ports
        config_map = only(manifests, "ConfigMap")
        assert pod["spec"]["volumes"][0]["configMap"]["name"] == config_map["metadata"]["name"]
        check_configuration(container, config_map["data"]["doorward.toml"])
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert json.loads(variables["DOORWARD_SESSION__KEY_FILES"]) == [
        "/var/run/doorward/next.key",
        "/var/run/doorward/session.key",
    ]

    refused(GATEWAY | {"redis": {}}, "replicas need a Redis")
    assert render(chart, GATEWAY | {"redis": {}, "replicas": 1})
    refused(GATEWAY | {"secret": ""}, "set secret")
    refused(GATEWAY | {"config": ""}, "set config")
    refused(GATEWAY | {"image": {}}, "set image.repository")
    refused(GATEWAY | {"image": {"repository": "a", "tag": "latest"}}, "tag")
    refused(GATEWAY | {"redis": {"url": "redis://user:password@redis"}}, "url")
    refused(GATEWAY | {"replica": 3}, "replica")


def sidecar_of_helm(folder):
    """The pod's spec of an app whose chart uses the library as its documentation says."""
    library = DEPLOY / "helm/doorward-library"
    documented = (library / "templates/_doorward.tpl").read_text()
    spec = documented.split("app's chart:\n\n")[1].split("\n\nThe app's Service")[0]
    values = documented.split("The values:\n\n")[1].split("*/}}")[0]
    chart = Path(folder, "store")
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(library, chart / "charts/doorward-library")
    dependency = {"name": "doorward-library", "version": "0.1.0"}
    head = {"apiVersion": "v2", "name": "store", "version": "1.0.0", "dependencies": [dependency]}
    (chart / "Chart.yaml").write_text(json.dumps(head))
    (chart / "values.yaml").write_text(values)
    pod = spec.replace("containers: …", "containers: [{name: store, image: 'store:1'}]")
    pod = re.sub("^    ", "", pod, flags=re.MULTILINE)
    head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: store\n"
    (chart / "templates/pod.yaml").write_text(head + pod)
    [pod] = render(chart, {})
    validate([pod])
    return pod["spec"]


def check_sidecars():
    kubectl = Path(sys.executable).with_name("kubectl")
    arguments = ["kustomize", DEPLOY / "kustomize/example"]
    built = subprocess.run([kubectl, *arguments], check=True, capture_output=True, text=True)
    manifests = documents(built.stdout)
    validate(manifests)
    check_reach(only(manifests, "NetworkPolicy"))
    assert only(manifests, "Service")["spec"]["ports"][0]["targetPort"] == "proxy"
    pod = only(manifests, "Deployment")["spec"]["template"]
    policy = only(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= pod["metadata"]["labels"].items()
    [app] = pod["spec"]["containers"]
    assert app["name"] == "store" and app["env"] == [{"name": "HOST", "value": "127.0.0.1"}], app
    [container] = pod["spec"]["initContainers"]
    assert container["restartPolicy"] == "Always"
    check_configuration(container, only(manifests, "ConfigMap")["data"]["doorward.toml"])

    with tempfile.TemporaryDirectory() as folder:
        spec = sidecar_of_helm(folder)
    [of_helm] = spec["initContainers"]
    for one in [of_helm, container]:
        one["env"].sort(key=lambda variable: variable["name"])
    assert of_helm == container, "Helm's sidecar and Kustomize's differ"
    assert spec["volumes"][0]["configMap"] == {"name": "store-doorward"}
    assert spec["volumes"][1]["secret"]["defaultMode"] == 0o440


if __name__ == "__main__":
    os.environ.pop("KUBECONFIG", None)
    check_gateway()
    check_sidecars()
    print("charts and component: rendered, valid, and accepted by Doorward")
