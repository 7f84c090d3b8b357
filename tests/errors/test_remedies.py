"""What messages advise about ``$patch: delete`` and null, followed with the real talosctl."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base import talosctls
from talosmake.base.errors import PatchError
from talosmake.checks import lint, lint_rules
from talosmake.checks.finding import Finding
from talosmake.inventory import environments
from talosmake.inventory.model import Role
from talosmake.render import machine_config
from talosmake.render.layers import NodeLayers
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests.project import Project

HERE = Path(__file__).parent
ENV = "patches/envs/dev"
NODES = {Role.CONTROLPLANE: "cp_1", Role.WORKER: "worker_1"}
ROLES = list(Role)
LINK = "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth9\n"


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return generate.gen_secrets("v1.13")


@pytest.fixture
def dev(project: Project, monkeypatch: pytest.MonkeyPatch, bundle: bytes) -> Project:
    shutil.copytree(HERE / "valid", project.root, dirs_exist_ok=True)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: bundle)
    return project


def patch(project: Project, role: Role, text: str, name: str = "b.yaml") -> None:
    project.patch("dev", role.directory, NODES[role], text, name)


def documents(role: Role) -> list[dict[str, Any]]:
    environment = environments.load("dev")
    config = machine_config.render(environment, environment.node(role, NODES[role]))
    generate.validate(config, talosctls.default())
    return list(yaml.safe_load_all(config))


def findings(role: Role, rule: str) -> list[Finding]:
    environment = environments.load("dev")
    node = environment.node(role, NODES[role])
    view = lint.node_view(NodeLayers(environment, node), machine_config.render(environment, node))
    return [finding for finding in lint_rules.of_node(view) if finding.rule == rule]


def refused(role: Role) -> PatchError:
    with pytest.raises(PatchError) as error:
        documents(role)
    return error.value


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("admissionControl: {$patch: delete}", "admissionControl"),
        ("admissionControl: [{name: PodSecurity, $patch: delete}]", "admissionControl"),
        ("auditPolicy: {$patch: delete}", "auditPolicy"),
        ("image: {$patch: delete}", "image"),
    ],
)
@pytest.mark.parametrize("path", ["control_planes/common.yaml", "control_planes/cp_1/b.yaml"])
def test_what_only_control_planes_have_can_be_deleted(
    dev: Project, path: str, text: str, gone: str
) -> None:
    before = documents(Role.CONTROLPLANE)[0]["cluster"]["apiServer"]
    file = dev.root / ENV / path
    written = yaml.safe_load(file.read_text()) if file.exists() else {}
    cluster = written.get("cluster", {})
    cluster["apiServer"] = {**cluster.get("apiServer", {}), **yaml.safe_load(text)}
    dev.write(f"{ENV}/{path}", yaml.safe_dump({**written, "cluster": cluster}))
    after = documents(Role.CONTROLPLANE)[0]["cluster"]["apiServer"]
    assert gone in before
    assert {key: value for key, value in before.items() if key != gone} == after


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "text",
    [
        "cluster: {discovery: {$patch: delete}}",
        "cluster: {discovery: {registries: {kubernetes: {disabled: {$patch: delete}}}}}",
        "machine: {features: {hostDNS: {$patch: delete}}}",
        "machine: {kubelet: {disableManifestsDirectory: {$patch: delete}}}",
    ],
)
def test_what_both_roles_have_can_be_deleted_for_both(dev: Project, role: Role, text: str) -> None:
    dev.write("patches/common.yaml", text)
    keys: list[str] = []
    wanted: Any = yaml.safe_load(text)
    while "$patch" not in wanted:
        [(key, wanted)] = wanted.items()
        keys.append(key)
    found: Any = documents(role)[0]
    for key in keys[:-1]:
        found = found[key]
    assert keys[-1] not in found


def test_shared_delete_of_what_control_planes_have_says_where_it_belongs(dev: Project) -> None:
    text = "cluster:\n  apiServer:\n    auditPolicy:\n      $patch: delete\n"
    dev.write("patches/common.yaml", text)
    error = refused(Role.WORKER)
    to = f"{ENV}/control_planes/common.yaml"
    assert error.message.startswith("patches/common.yaml: talosctl refuses it for dev/worker_1")
    assert error.hint == f"Only control planes have what it deletes: move it to {to}."
    dev.remove("patches/common.yaml")
    dev.write(to, text)
    assert "auditPolicy" not in documents(Role.CONTROLPLANE)[0]["cluster"]["apiServer"]
    assert documents(Role.WORKER)


def test_shared_delete_of_what_nobody_has_says_so(dev: Project) -> None:
    dev.write("patches/common.yaml", "machine:\n  nodeLabels:\n    zone: {$patch: delete}\n")
    assert refused(Role.CONTROLPLANE).hint.startswith("No earlier layer sets what it deletes;")
    assert refused(Role.WORKER).hint.startswith("No earlier layer sets what it deletes;")


def test_worker_has_a_delete_that_does_nothing_and_lint_says_where_it_belongs(dev: Project) -> None:
    dev.write("patches/common.yaml", "cluster:\n  apiServer:\n    $patch: delete\n")
    [finding] = findings(Role.WORKER, "absent-delete")
    to = f"{ENV}/control_planes/common.yaml"
    assert finding.do.endswith(f"If only control planes have it, move it to {to}.")
    dev.remove("patches/common.yaml")
    dev.write(to, "cluster:\n  apiServer:\n    $patch: delete\n")
    assert not findings(Role.WORKER, "absent-delete")
    assert "apiServer" not in documents(Role.CONTROLPLANE)[0]["cluster"]


NULLS = {
    "mapping": ("machine: {sysctls: {a: '1'}}", "machine: {sysctls: ~}"),
    "text": ("machine: {sysctls: {a: '1', b: '2'}}", "machine: {sysctls: {a: ~}}"),
    "list": ("machine: {certSANs: [a.example]}", "machine: {certSANs: ~}"),
    "list of Talos's": ("machine: {}", "machine: {kubelet: {image: ~}}"),
    "in a document": (f"{LINK}mtu: 9000", f"{LINK}mtu: ~"),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", NULLS)
def test_advice_about_null_removes_what_was_meant(dev: Project, role: Role, name: str) -> None:
    first, second = NULLS[name]
    patch(dev, role, first, "a.yaml")
    patch(dev, role, second)
    [finding] = findings(role, "null-value")
    key, advice = finding.do.rpartition("sets:  ")[2].split(": ", 1)
    assert advice == "{$patch: delete}"
    before = documents(role)
    patch(dev, role, second.replace(f"{key}: ~", f"{key}: {advice}"))
    assert not findings(role, "null-value")
    assert str(before).count(f"'{key}'") > str(documents(role)).count(f"'{key}'") or name == "list"
    assert "a.example" not in str(documents(role))


def test_advice_about_null_in_a_list_of_controls(dev: Project) -> None:
    inside = "cluster: {apiServer: {admissionControl: [{name: PodSecurity, configuration: %s}]}}"
    role = Role.CONTROLPLANE
    patch(dev, role, inside % "{defaults: ~}")
    crashed = refused(role)
    assert "talosctl crashes on it (null is in line 1)" in crashed.message
    patch(dev, role, inside % "{defaults: {$patch: delete}}")
    error = refused(role)
    assert error.hint in crashed.hint
    assert error.hint.startswith("Talos deletes no key inside a list's item. Delete the item,")
    patch(
        dev, role, "cluster: {apiServer: {admissionControl: [{name: PodSecurity, $patch: delete}]}}"
    )
    patch(dev, role, inside % "{kind: PodSecurityConfiguration}", "c.yaml")
    [control] = documents(role)[0]["cluster"]["apiServer"]["admissionControl"]
    assert control["configuration"] == {"kind": "PodSecurityConfiguration"}


def test_advice_about_null_inside_an_item(dev: Project) -> None:
    network = "machine: {network: {interfaces: [{interface: eth9, %s}]}}"
    role = Role.WORKER
    patch(dev, role, network % "mtu: 9000", "a.yaml")
    patch(dev, role, network % "addresses: ~")
    [finding] = findings(role, "null-value")
    assert "Delete the item, with '$patch: delete' beside the key that names it" in finding.do
    patch(dev, role, network % "$patch: delete")
    patch(dev, role, network % "dhcp: true", "c.yaml")
    assert documents(role)[0]["machine"]["network"]["interfaces"] == [
        {"interface": "eth9", "dhcp": True}
    ]


def test_item_of_a_free_form_list_is_deleted_with_its_list(dev: Project) -> None:
    policy = "cluster: {apiServer: {auditPolicy: {rules: %s}}}"
    role = Role.CONTROLPLANE
    patch(dev, role, policy % "[{level: Metadata, $patch: delete}]")
    assert "can only be deleted as a whole" in refused(role).hint
    patch(dev, role, policy % "{$patch: delete}")
    assert "rules" not in documents(role)[0]["cluster"]["apiServer"]["auditPolicy"]


def test_item_without_a_name_cannot_be_deleted(dev: Project) -> None:
    control = "cluster: {apiServer: {admissionControl: %s}}"
    role = Role.CONTROLPLANE
    patch(dev, role, control % "[{$patch: delete}]")
    assert "or the whole list:  KEY: {$patch: delete}" in refused(role).hint
    patch(dev, role, control % "{$patch: delete}")
    assert "admissionControl" not in documents(role)[0]["cluster"]["apiServer"]


@pytest.mark.parametrize("role", ROLES)
def test_advice_about_another_directive_replaces_a_mapping(dev: Project, role: Role) -> None:
    patch(dev, role, "machine: {sysctls: {a: '1'}}", "a.yaml")
    patch(dev, role, "machine: {sysctls: {$patch: replace, b: '2'}}")
    assert "To replace one, write '$patch: delete' into it" in refused(role).hint
    patch(dev, role, "machine: {sysctls: {$patch: delete}}")
    patch(dev, role, "machine: {sysctls: {b: '2'}}", "c.yaml")
    assert documents(role)[0]["machine"]["sysctls"] == {"b": "2"}
