"""The manifests for Kubernetes, against its published models: a field that is not one, or is missing, fails."""

import dataclasses
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from prefect.settings import Settings
from prefect.settings.legacy import _get_valid_setting_names

# The models are dataclasses once they have these; the client that brings its own has eight more packages.
core: Any = types.ModuleType("lightkube.core.schema")
core.dataclass, core.field, core.DictMixin = dataclasses.dataclass, dataclasses.field, object
sys.modules |= {"lightkube.core": types.ModuleType("lightkube.core"), "lightkube.core.schema": core}

from lightkube.models import apps_v1, core_v1, networking_v1  # noqa: E402

FOLDER = Path(__file__).parents[2] / "deployments" / "kubernetes"
KINDS = {
    "ConfigMap": core_v1.ConfigMap,
    "Secret": core_v1.Secret,
    "PersistentVolumeClaim": core_v1.PersistentVolumeClaim,
    "Service": core_v1.Service,
    "Deployment": apps_v1.Deployment,
    "Ingress": networking_v1.Ingress,
}
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGT]i?)?")
OBJECTS = [
    (path.name, found) for path in sorted(FOLDER.glob("*.yaml")) for found in yaml.safe_load_all(path.read_text())
]


def find_faults(value: Any, hint: Any, where: str) -> Iterator[str]:
    """Compare a value with the type that a model says: unknown and missing fields, and values of another type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        found = [list(find_faults(value, option, where)) for option in arguments if option is not type(None)]
        yield from min(found, key=len)
    elif dataclasses.is_dataclass(hint):
        yield from find_wrong_fields(value, hint, where) if isinstance(value, dict) else [f"{where} is no object"]
    elif not is_of_type(value, origin or hint):
        yield f"{where} is {value!r}, and no {(origin or hint).__name__}"
    elif arguments:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from find_faults(item, arguments[-1], f"{where}.{name}")


def is_of_type(value: Any, kind: Any) -> bool:
    """Whether a value is of a plain type; True and False are no numbers."""
    return kind is Any or (isinstance(value, kind) and isinstance(value, bool) <= (kind is bool))


def find_wrong_fields(value: dict[str, Any], model: Any, where: str) -> Iterator[str]:
    fields = {field.metadata.get("json", field.name): field for field in dataclasses.fields(model)}
    hints = get_type_hints(model, vars(sys.modules[model.__module__]))
    yield from (f"{where}.{name} is no field" for name in value if name not in fields)
    for name, field in fields.items():
        if name in value:
            yield from find_faults(value[name], hints[field.name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            yield f"{where}.{name} is missing"


@pytest.mark.parametrize(
    ("file", "found"), OBJECTS, ids=lambda value: value["kind"] if isinstance(value, dict) else value
)
def test_every_field_is_one_of_kubernetes(file: str, found: dict[str, Any]) -> None:
    assert list(find_faults(found, KINDS[found["kind"]], file)) == []
    group = {"Deployment": "apps/v1", "Ingress": "networking.k8s.io/v1"}.get(found["kind"], "v1")
    assert found["apiVersion"] == group


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"replica": 1}, "spec.replica is no field"),
        ({"replicas": "1"}, "spec.replicas is '1', and no int"),
        ({"template": {"spec": {"containers": [{"image": "x"}]}}}, "spec.template.spec.containers.0.name is missing"),
        ({"selector": None}, "spec.selector is no object"),
    ],
)
def test_wrong_field_is_found(change: dict[str, Any], fault: str) -> None:
    (deployment,) = [found for _, found in OBJECTS if found["metadata"]["name"] == "linear-neuron-worker"]
    wrong = deployment | {"spec": deployment["spec"] | change}
    assert fault in list(find_faults(wrong["spec"], apps_v1.DeploymentSpec, "spec"))


def list_pods() -> list[dict[str, Any]]:
    return [found["spec"] for _, found in OBJECTS if found["kind"] == "Deployment"]


def list_containers() -> list[dict[str, Any]]:
    templates = [pod["template"]["spec"] for pod in list_pods()]
    return [
        container for spec in templates for part in ("initContainers", "containers") for container in spec.get(part, ())
    ]


def test_labels_ports_volumes_and_settings_agree() -> None:
    named = {(found["kind"], found["metadata"]["name"]): found for _, found in OBJECTS}
    service = named["Service", "linear-neuron-server"]["spec"]
    labels = [pod["template"]["metadata"]["labels"] for pod in list_pods()]
    assert [pod["selector"]["matchLabels"] for pod in list_pods()] == labels
    assert service["selector"] in labels
    for pod in list_pods():
        spec = pod["template"]["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        claims = [
            volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "emptyDir" not in volume
        ]
        assert all(("PersistentVolumeClaim", claim) in named for claim in claims)
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
            ports = {port["name"] for port in container.get("ports", ())}
            probes = [container[probe]["httpGet"]["port"] for probe in container if probe.endswith("Probe")]
            assert set(probes) == ports
            sources = {kind: source["name"] for entry in container["envFrom"] for kind, source in entry.items()}
            assert sources == {"configMapRef": "linear-neuron", "secretRef": "linear-neuron"}
    (rule,) = named["Ingress", "linear-neuron"]["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "linear-neuron-server", "port": {"name": "http"}}
    url = named["ConfigMap", "linear-neuron"]["data"]["PREFECT_API_URL"]
    assert url == f"http://linear-neuron-server:{service['ports'][0]['port']}/api"


def test_no_container_has_rights_that_it_does_not_need() -> None:
    assert len(list_containers()) == 3
    for container in list_containers():
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"]
        amounts = [text for group in container["resources"].values() for text in group.values()]
        assert all(QUANTITY.fullmatch(text) for text in amounts)
        assert container["image"] == "registry.example/linear-neuron:0.1.0"
    assert all(pod["template"]["spec"]["securityContext"]["runAsNonRoot"] for pod in list_pods())


def test_settings_are_known_and_no_secret_is_among_them() -> None:
    (settings,) = [found["data"] for _, found in OBJECTS if found["kind"] == "ConfigMap"]
    (secrets,) = [found["stringData"] for _, found in OBJECTS if found["kind"] == "Secret"]
    named = {name for name in {**settings, **secrets} if name.startswith("PREFECT_")}
    assert named <= _get_valid_setting_names(Settings)
    assert not [name for name in settings if re.search("SECRET|PASSWORD|AUTH|KEY", name)]
    assert secrets["PREFECT_API_AUTH_STRING"] == secrets["PREFECT_SERVER_API_AUTH_STRING"]
