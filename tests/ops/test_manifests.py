"""Kubernetes manifests against the interface's own schema (1.37, strict, without its prose), and against our rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("kubernetes-1.37.schema.json").read_text())
FILES = sorted(path for path in (ROOT / "docker" / "k8s").glob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS = [(path.name, document) for path in FILES for document in yaml.safe_load_all(path.read_text())]
NAMES = [f"{name}-{document['kind']}-{document['metadata']['name']}" for name, document in OBJECTS]
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip


def problems(value: Any, schema: dict[str, Any], where: str = "") -> list[str]:
    """What in `value` the schema does not allow; as much of JSON Schema as these schemas use."""
    if "$ref" in schema:
        return problems(value, SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]], where)
    if "oneOf" in schema:
        fits = [one for one in schema["oneOf"] if not problems(value, one, where)]
        return [] if fits else [f"{where}: {value!r} fits nothing that is allowed"]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{where}: {value!r} is not {' or '.join(kinds)}"]
    if value is not None and value not in schema.get("enum", [value]):
        return [f"{where}: {value!r} is not one of {schema['enum']}"]
    if isinstance(value, dict):
        return _problems_of_object(value, schema, where)
    if isinstance(value, list) and "items" in schema:
        return [
            problem
            for index, item in enumerate(value)
            for problem in problems(item, schema["items"], f"{where}[{index}]")
        ]
    return []


def _problems_of_object(value: dict[str, Any], schema: dict[str, Any], where: str) -> list[str]:
    found = [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in known:
            found += problems(item, known[name], f"{where}.{name}")
        elif more is False:
            found.append(f"{where}.{name} does not exist")
        elif isinstance(more, dict):
            found += problems(item, more, f"{where}.{name}")
    return found


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


@pytest.mark.parametrize(("name", "document"), OBJECTS, ids=NAMES)
def test_every_object_fits_its_schema(name: str, document: dict[str, Any]) -> None:
    assert document["kind"] in SCHEMA["kinds"], f"{name}: no schema for {document['kind']}"
    assert not problems(document, SCHEMA["kinds"][document["kind"]], name)


def test_the_check_itself_finds_mistakes() -> None:
    wrong = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": "two", "template": {"spec": {"containers": [{"image": "a", "port": 1}]}}},
    }
    found = "\n".join(problems(wrong, SCHEMA["kinds"]["Deployment"]))
    for mistake in (".spec.selector is missing", "'two' is not", ".name is missing", ".port does not exist"):
        assert mistake in found


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [
        (document["metadata"]["name"], document["spec"]["template"]["spec"])
        for _, document in OBJECTS
        if document["kind"] == "Deployment"
    ]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_pods_meet_the_restricted_standard(name: str, pod: dict[str, Any]) -> None:
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        inner = container["securityContext"]
        assert inner["allowPrivilegeEscalation"] is False
        assert inner["readOnlyRootFilesystem"] is True
        assert inner["capabilities"]["drop"] == ["ALL"]
        assert "memory" in container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert "startupProbe" in container
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for variable in container["env"]:
            assert "value" not in variable, f"{variable['name']} belongs into the secret"
    assert pod["terminationGracePeriodSeconds"] > 30  # the drain time of a worker


def test_selectors_find_what_they_are_for() -> None:
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for _, document in OBJECTS
        if document["kind"] == "Deployment"
    }
    for name, document in OBJECTS:
        spec = document.get("spec", {})
        wanted = {
            "Deployment": lambda spec=spec: spec["selector"]["matchLabels"],
            "Service": lambda spec=spec: spec["selector"],
            "PodDisruptionBudget": lambda spec=spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec=spec: spec["podSelector"]["matchLabels"],
        }.get(document["kind"])
        if wanted is not None:
            assert wanted() in labels.values(), f"{name}: {document['metadata']['name']} selects nothing"
        if document["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] in labels


def test_claims_exist_and_kustomize_lists_every_file() -> None:
    claims = {
        document["metadata"]["name"] for _, document in OBJECTS if document["kind"] == "PersistentVolumeClaim"
    }
    for _, pod in pods():
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
    listed = yaml.safe_load((ROOT / "docker" / "k8s" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in FILES]
