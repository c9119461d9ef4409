"""The Kubernetes resources against their schemas, and against the server that they run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from handlers.core.keyring import KEYS_VARIABLE
from handlers.tracing import ENDPOINTS
from server.__main__ import _parser
from server.endpoints import PortOverrides, from_properties
from server.settings import read_config
from tests.deploy.dockerfiles import ROOT, stages

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
VERSIONS: Final = ("1.34", "1.37")
OVERLAYS: Final = ("cpu", "gpu", "keda", "dev")
PROPERTIES: Final = read_config(ROOT / "config.properties")
END_SECONDS: Final = 25
MEGABYTE: Final = 10**6
LISTENS: Final = from_properties(PortOverrides(bind="0.0.0.0").apply(PROPERTIES))
CUSTOM: Final = {
    "HTTPRoute": {"parentRefs", "rules"},
    "GRPCRoute": {"parentRefs", "rules"},
    "PodMonitor": {"selector", "namespaceSelector", "podMetricsEndpoints"},
    "ScaledObject": {
        "scaleTargetRef",
        "minReplicaCount",
        "maxReplicaCount",
        "pollingInterval",
        "advanced",
        "triggers",
    },
}
"""Resources that Kubernetes has no schema for, and the fields of their ``spec`` that are used here."""

PODS: Final = ("base", *(f"overlays/{overlay}" for overlay in OVERLAYS), "kserve")
"""Every pod that is deployed."""

Resource = dict[str, Any]


def documents(text: str) -> list[Resource]:
    return [document for document in yaml.safe_load_all(text) if document]


def base() -> list[Resource]:
    """The resources of the base, as they stand in their files."""
    files = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [resource for file in files for resource in documents((KUBERNETES / "base" / file).read_text("utf-8"))]


@cache
def rendered(folder: str) -> list[Resource]:
    """What an overlay gives."""
    if shutil.which("kubectl") is None:
        pytest.skip("rendering needs kubectl (Debian: kubernetes-client)")
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def one(resources: list[Resource], kind: str, name: str = "lantern") -> Resource:
    (found,) = [item for item in resources if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pod_of(resources: list[Resource]) -> Resource:
    return dict(one(resources, "Deployment")["spec"]["template"]["spec"])


def quantity(text: str | int) -> float:
    """Bytes or cores of a Kubernetes quantity."""
    match = re.fullmatch(r"([0-9.]+)(m|Mi|Gi)?", str(text))
    assert match is not None, text
    return float(match[1]) * {None: 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30}[match[2]]


def check_schema(resource: Resource) -> None:
    for version in VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


def pod(where: str) -> Resource:
    if where == "base":
        return pod_of(base())
    if where != "kserve":
        return pod_of(rendered(where))
    runtime, service = kserve()
    own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "model"}
    predictor = {key: value for key, value in service["spec"]["predictor"].items() if key not in own}
    return predictor | {key: runtime["spec"][key] for key in ("containers", "volumes")}


def container(where: str) -> Resource:
    (only,) = pod(where)["containers"]
    return dict(only)


def kserve() -> tuple[Resource, Resource]:
    folder = KUBERNETES / "kserve"
    runtime, service = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        for name in ("serving-runtime.yaml", "inference-service.yaml")
    )
    return runtime, service


# --- schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", base(), ids=lambda resource: f"{resource['kind']}-{resource['metadata']['name']}")
def test_the_base_is_plain_kubernetes(resource: Resource) -> None:
    check_schema(resource)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_that_an_overlay_renders_is_valid(overlay: str) -> None:
    for resource in rendered(f"overlays/{overlay}"):
        if resource["kind"] in CUSTOM:
            assert set(resource["spec"]) <= CUSTOM[resource["kind"]]
        else:
            check_schema(resource)
        assert resource["kind"] == "Namespace" or resource["metadata"]["namespace"] == "lantern"


def test_components_render_on_the_base(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("rendering needs kubectl (Debian: kubernetes-client)")
    for folder in ("base", "components"):
        shutil.copytree(KUBERNETES / folder, tmp_path / folder)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["base"],
        "components": ["components/tracing", "components/model-volume"],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resources = documents(done.stdout)

    for resource in resources:
        check_schema(resource)
    (only,) = pod_of(resources)["containers"]
    assert {variable["name"] for variable in only["env"]} >= {ENDPOINTS[1], KEYS_VARIABLE}
    assert {mount["mountPath"] for mount in only["volumeMounts"]} >= {"/models", "/run/lantern"}
    assert len(one(resources, "NetworkPolicy")["spec"]["egress"]) == 2


def test_the_parts_of_the_kserve_runtime_are_a_valid_pod() -> None:
    metadata = {"name": "lantern"}

    check_schema({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod("kserve")})


def test_the_kserve_service_uses_the_runtime_and_a_format_that_it_has() -> None:
    runtime, service = kserve()
    model = service["spec"]["predictor"]["model"]

    assert (runtime["apiVersion"], service["apiVersion"]) == ("serving.kserve.io/v1alpha1", "serving.kserve.io/v1beta1")
    assert model["runtime"] == runtime["metadata"]["name"]
    formats = [{key: item[key] for key in ("name", "version")} for item in runtime["spec"]["supportedModelFormats"]]
    assert model["modelFormat"] in formats
    assert runtime["spec"]["containers"][0]["name"] == "kserve-container"
    assert runtime["spec"]["containers"][0]["ports"][0]["containerPort"] == LISTENS.http.port
    assert set(runtime["spec"]) == {"annotations", "supportedModelFormats", "containers", "volumes"}
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(LISTENS.metrics.port)
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"


# --- the server's own limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", PODS)
def test_the_server_understands_its_arguments(where: str) -> None:
    started = _parser().parse_args(container(where)["args"])
    image = _parser().parse_args(stages("Dockerfile")["mounted"].words("CMD"))

    assert (started.command, started.bind, started.run_dir) == ("start", "0.0.0.0", image.run_dir)
    assert started.archive.name == image.archive.name
    assert (started.drain_grace, started.drain_timeout) == (image.drain_grace, image.drain_timeout)


@pytest.mark.parametrize("where", PODS)
def test_ports_are_those_that_the_server_binds(where: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(where)["ports"]}

    assert ports == {
        name: getattr(LISTENS, name).port
        for name in ("http", "grpc", "metrics", "health")
        if getattr(LISTENS, name).host == "0.0.0.0"
    }


@pytest.mark.parametrize("where", PODS)
def test_probes_ask_paths_that_the_health_port_has(where: str) -> None:
    only = container(where)
    probes = {name: only[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}

    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {str(probe["port"]) for probe in probes.values()} <= {"health", str(LISTENS.health.port)}
    source = "".join((ROOT / "server" / name).read_text(encoding="utf-8") for name in ("health.py", "listener.py"))
    assert all(path in source for path in ("/livez", "/readyz"))


@pytest.mark.parametrize("where", PODS)
def test_a_pod_has_the_time_to_drain(where: str) -> None:
    only = container(where)
    started = _parser().parse_args(only["args"])
    before = only["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = before + started.drain_grace + started.drain_timeout + END_SECONDS

    assert pod(where)["terminationGracePeriodSeconds"] >= needed


@pytest.mark.parametrize("where", PODS)
def test_a_pod_that_is_not_ready_is_seen_before_it_drains(where: str) -> None:
    only = container(where)
    probe = only["readinessProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] < _parser().parse_args(only["args"]).drain_grace


def measured(name: str) -> tuple[float, float]:
    """Bytes of a worker and of the JVM in a measurement."""
    report = json.loads((ROOT / "benchmarks" / "results" / f"serving-{name}-fp32.json").read_text(encoding="utf-8"))
    return report["worker_peak_mb"] * MEGABYTE, report["server_mb"] * MEGABYTE


@pytest.mark.parametrize("where", PODS)
def test_memory_holds_what_was_measured_and_the_whole_heap(where: str) -> None:
    worker, jvm = measured("small" if where.endswith("dev") else "random-longformer-base")
    heap_mib = re.search(r"-Xmx(\d+)g", PROPERTIES["vmargs"])
    assert heap_mib is not None
    heap = int(heap_mib[1]) * 2**30
    supervisor = 50 * MEGABYTE
    resources = container(where)["resources"]

    assert quantity(resources["requests"]["memory"]) >= worker + jvm + supervisor
    assert quantity(resources["limits"]["memory"]) >= 1.1 * (worker + heap + supervisor)


@pytest.mark.parametrize("where", PODS)
def test_variables_are_those_that_the_code_reads(where: str) -> None:
    names = {variable["name"] for variable in container(where)["env"]}

    assert names == {KEYS_VARIABLE, "ORT_DISABLE_TELEMETRY"}


@pytest.mark.parametrize("where", PODS)
def test_secrets_are_named_and_never_written_out(where: str) -> None:
    (keys,) = [variable for variable in container(where)["env"] if variable["name"] == KEYS_VARIABLE]

    assert "value" not in keys
    assert keys["valueFrom"]["secretKeyRef"]["optional"] is True
    assert not [resource for resource in base() if resource["kind"] == "Secret"]


# --- security ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", PODS)
def test_a_pod_is_restricted(where: str) -> None:
    spec, only = pod(where), container(where)
    together = spec["securityContext"] | only["securityContext"]

    assert together["runAsNonRoot"] is True
    assert (together["runAsUser"], together["runAsGroup"]) == (10001, 10001)
    assert together["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"]["allowPrivilegeEscalation"] is False
    assert only["securityContext"]["readOnlyRootFilesystem"] is True
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


@pytest.mark.parametrize("where", PODS)
def test_what_may_be_written_is_the_run_folder_and_tmp(where: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(where)["volumes"]}
    writable = {mount["mountPath"] for mount in container(where)["volumeMounts"] if not mount.get("readOnly")}

    assert writable == {"/run/lantern", "/tmp"}
    assert all("sizeLimit" in volumes[name]["emptyDir"] for name in ("run", "tmp"))
    # Native libraries are loaded from the run folder: a folder in memory could be mounted noexec.
    assert "medium" not in volumes["run"]["emptyDir"]


def test_a_namespace_refuses_pods_that_are_less_restricted() -> None:
    labels = one(base(), "Namespace")["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_gateways_and_monitoring_reach_their_ports_and_nobody_reaches_management() -> None:
    policy = one(base(), "NetworkPolicy")["spec"]
    reached = {
        rule["from"][0]["namespaceSelector"]["matchLabels"]["lantern-access"]: {port["port"] for port in rule["ports"]}
        for rule in policy["ingress"]
    }

    assert reached == {
        "gateway": {LISTENS.http.port, LISTENS.grpc.port, LISTENS.health.port},
        "monitoring": {LISTENS.metrics.port},
    }
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    assert not {LISTENS.management.port, LISTENS.grpc_management.port} & set().union(*reached.values())


# --- how the resources fit each other ------------------------------------------------------------------------------


def test_selectors_select_the_pods() -> None:
    resources = base()
    labels = one(resources, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(resources, "Deployment")["spec"]["selector"]["matchLabels"],
        one(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one(resources, "Service")["spec"]["selector"],
        one(resources, "Service", "lantern-pods")["spec"]["selector"],
        *(rule["labelSelector"]["matchLabels"] for rule in pod_of(resources)["topologySpreadConstraints"]),
    ]

    for selector in selectors:
        assert selector.items() <= labels.items()


def test_services_lead_to_ports_that_the_container_names() -> None:
    names = {port["name"]: port["containerPort"] for port in container("base")["ports"]}

    for service in ("lantern", "lantern-pods"):
        ports = one(base(), "Service", service)["spec"]["ports"]
        assert {port["targetPort"]: port["port"] for port in ports} == {key: names[key] for key in ("http", "grpc")}
    assert one(base(), "Service", "lantern-pods")["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("overlay", ["cpu", "keda"])
def test_a_budget_leaves_a_pod_at_the_smallest_number_of_replicas(overlay: str) -> None:
    resources = rendered(f"overlays/{overlay}")
    fewest = (
        one(resources, "HorizontalPodAutoscaler")["spec"]["minReplicas"]
        if overlay == "cpu"
        else one(resources, "ScaledObject")["spec"]["minReplicaCount"]
    )

    assert fewest > one(resources, "PodDisruptionBudget")["spec"]["maxUnavailable"]
    assert "replicas" not in one(resources, "Deployment")["spec"]


def test_one_autoscaler_at_most_looks_after_the_deployment() -> None:
    scalers = {
        overlay: sorted(
            resource["kind"]
            for resource in rendered(f"overlays/{overlay}")
            if resource["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
        )
        for overlay in OVERLAYS
    }

    assert scalers == {"cpu": ["HorizontalPodAutoscaler"], "gpu": [], "keda": ["ScaledObject"], "dev": []}


def test_a_gpu_pod_asks_for_a_gpu_and_goes_where_one_is() -> None:
    spec, only = pod("overlays/gpu"), container("overlays/gpu")

    assert only["resources"]["limits"]["nvidia.com/gpu"] == only["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert only["image"].endswith("-gpu")


def test_scaling_looks_at_queue_time_by_the_name_that_the_metrics_have() -> None:
    trigger = one(rendered("overlays/keda"), "ScaledObject")["spec"]["triggers"][0]
    query = trigger["metadata"]["query"]
    kinds = yaml.safe_load((ROOT / "handlers" / "config" / "metrics.yaml").read_text(encoding="utf-8"))["model_metrics"]
    declared = {metric["name"]: metric["dimensions"] for kind in kinds.values() for metric in kind}
    asked = set(re.findall(r"lantern_\w+", query))

    assert asked == {"lantern_stage_seconds_sum", "lantern_stage_seconds_count"}
    assert all("stage" in declared[name] for name in asked)
    assert query.count('stage="queue"') == len(asked)
    assert trigger["metricType"] == "Value"
    assert float(trigger["metadata"]["threshold"]) > 0


def test_routes_lead_to_what_the_server_serves() -> None:
    resources = rendered("overlays/cpu")
    ports = {port["port"] for port in one(resources, "Service")["spec"]["ports"]}
    (rest,) = one(resources, "HTTPRoute")["spec"]["rules"]
    (grpc,) = one(resources, "GRPCRoute")["spec"]["rules"]
    proto = (ROOT / "client" / "_generated" / "inference_pb2.py").read_text(encoding="utf-8")

    assert {rest["backendRefs"][0]["port"], grpc["backendRefs"][0]["port"]} == ports
    model = _parser().parse_args(container("base")["args"]).model
    assert rest["matches"][0]["path"] == {"type": "Exact", "value": f"/predictions/{model}"}
    assert {match["method"]["service"] for match in grpc["matches"]} == {
        "org.pytorch.serve.grpc.inference.InferenceAPIsService"
    }
    assert "org.pytorch.serve.grpc.inference" in proto and "InferenceAPIsService" in proto
    response = yaml.safe_load((ROOT / "handlers" / "config" / "model-config.yaml").read_text(encoding="utf-8"))
    assert float(rest["timeouts"]["request"].removesuffix("s")) > response["responseTimeout"]
