"""Lint's own parts; what the rules find is in tests/errors/test_lint.py."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from talosmake.base.errors import LintError
from talosmake.checks import environment_rules, image_rules, lint, lint_rules, value_rules
from talosmake.checks.finding import (
    Entry,
    EnvironmentView,
    Finding,
    NodeView,
    joined,
    leaves,
    report,
)
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.patches.patch import parse
from talosmake.render import disclosure
from talosmake.render.layers import Layer
from tests.project import BIN, REPOSITORY, Project, encrypted

DOCS = (REPOSITORY / "docs/lint.md").read_text()


@pytest.fixture
def dev(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.root)
    project.environment("dev")
    project.node("dev", "control_planes", "cp_1", "10.9.0.11")
    project.node("dev", "workers", "worker_1", "10.9.0.21")
    return project


def environment(project: Project, off: str = "") -> Environment:
    project.environment("dev", f'LINT_OFF="{off}"\n')
    return environments.load("dev")


def test_each_rule_is_documented_and_each_documented_rule_is_there() -> None:
    rows = [line.split("|")[1].strip() for line in DOCS.splitlines() if line.startswith("| `")]
    documented = [row.strip("`") for row in rows]
    assert sorted(documented) == sorted([*lint_rules.NODE, *lint_rules.ENVIRONMENT])


def test_each_rule_says_what_it_is_for() -> None:
    for rule in (*lint_rules.NODE.values(), *lint_rules.ENVIRONMENT.values()):
        assert rule.__doc__


def test_a_finding_in_a_shared_layer_is_said_once() -> None:
    shared = Finding("common.yaml:10", "a", "b", "r", ("cp_1",))
    found = [
        shared,
        Finding("common.yaml:10", "a", "b", "r", ("worker_1",)),
        shared,
        Finding("common.yaml:9", "a", "b", "r", ("cp_1",)),
        Finding("common.yaml:9", "a", "b", "off", ("cp_1",)),
    ]
    assert joined(found, {"off"}) == [
        Finding("common.yaml:9", "a", "b", "r", ("cp_1",)),
        Finding("common.yaml:10", "a", "b", "r", ("cp_1", "worker_1")),
    ]


@pytest.mark.parametrize(
    ("nodes", "where", "said"),
    [
        ((), "x", "x: a [r]"),
        (("cp_1", "worker_1"), "x", "x: a (all nodes) [r]"),
        (("cp_1",), "x", "x: a (cp_1) [r]"),
        (("cp_1",), "p/cp_1/x.yaml:3", "p/cp_1/x.yaml:3: a [r]"),
        (("a", "b", "c"), "x", "x: a (a, b, c) [r]"),
        (("a", "b", "c", "d", "e"), "x", "x: a (a, b, c and 2 more) [r]"),
    ],
)
def test_report(dev: Project, nodes: tuple[str, ...], where: str, said: str) -> None:
    shown = report(environment(dev), [Finding(where, "a", "b", "r", nodes)]).splitlines()
    assert shown[0] == "dev: 1 lint finding:"
    assert shown[1:3] == [f"  {said}", "    -> b"]
    assert 'LINT_OFF="r" in patches/envs/dev/cluster.env' in shown[3]


def test_switched_off(dev: Project) -> None:
    assert lint_rules.switched_off(environment(dev)) == frozenset()
    off = lint_rules.switched_off(environment(dev, "endpoint, disk-path"))
    assert off == {"endpoint", "disk-path"}


def test_unknown_rule_in_lint_off(dev: Project) -> None:
    with pytest.raises(LintError) as error:
        lint_rules.switched_off(environment(dev, "endpoint disk-paht"))
    assert error.value.message == (
        "patches/envs/dev/cluster.env:7: LINT_OFF: there is no lint rule 'disk-paht'; "
        "did you mean disk-path?"
    )
    assert "even-control-planes" in error.value.hint


def layer(text: str, *, secret: bool = False) -> Layer:
    return Layer(parse(text, Path("a.sops.yaml"), secret=secret), text)


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        (("machine", "token"), "<redacted>"),
        (("cluster", "aescbcEncryptionSecret"), "<redacted>"),
        (("machine", "registries", "config", "a", "auth", "username"), "<redacted>"),
        (("cluster", "ca", "key"), "<redacted>"),
        (("machine", "install", "disk"), "hunter2"),
    ],
)
def test_values_below_secret_keys_are_not_shown(keys: tuple[str, ...], shown: str) -> None:
    assert disclosure.shown(layer("a: b"), keys, "hunter2") == shown


def test_values_and_lines_of_encrypted_files_are_not_shown() -> None:
    secret = layer("machine:\n  install:\n    disk: hunter2\n", secret=True)
    assert disclosure.shown(secret, ("machine", "install", "disk"), "hunter2") == "<redacted>"
    assert secret.where(0, ("machine", "install", "disk")) == "a.sops.yaml"


def test_nothing_of_an_encrypted_patch_is_in_a_finding(dev: Project) -> None:
    text = (
        "machine:\n  install: {disk: hunter2, image: 'hunter2:v1.0.0'}\n"
        "  certSANs: [hunter2, hunter2]\n  network: {hostname: hunter2_}\n"
        "  kubelet: {image: 'hunter2:v1.0.0', nodeIP: {validSubnets: [10.77.0.0/16]}}\n"
        "cluster: {network: {podSubnets: [hunter2], serviceSubnets: [10.77.1.1/16]}}\n---\n"
        "{kind: LinkConfig, name: hunter2, addresses: [{address: 10.77.0.1/24}],"
        " routes: [{gateway: 10.78.0.1}]}\n---\n{kind: Layer2VIPConfig, name: 10.78.0.3}\n"
    )
    loaded = environment(dev)
    view = NodeView(
        loaded,
        loaded.workers[0],
        [layer(text, secret=True)],
        read_config=text.encode,
    )
    findings = lint_rules.of_node(view)
    rules = {finding.rule for finding in findings}
    assert rules >= {"disk-path", "host-name", "subnet", "kubernetes-image", "installer-image"}
    assert rules >= {"doubled-item", "address-outside", "control-plane-settings"}
    shown = report(loaded, findings)
    for secret in ("hunter2", "10.77.", "10.78."):
        assert secret not in shown


def test_warnings_of_talosctl_are_findings(dev: Project) -> None:
    loaded = environment(dev)
    view = NodeView(loaded, loaded.workers[0], [], warnings="1 warning:\n\t* x is deprecated\n")
    said = [f.what for f in lint_rules.of_node(view) if f.rule == "talosctl-warning"]
    assert "talosctl validate warns: x is deprecated" in said


def test_leaves() -> None:
    value = {"a": {"b": "1", "c": []}, "d": [{"e": "2"}, "3"], "f": {}}
    assert dict(leaves(value)) == {
        ("a", "b"): "1",
        ("a", "c"): [],
        ("d", 0, "e"): "2",
        ("d", 1): "3",
        ("f",): {},
    }


def test_labels_name_the_document() -> None:
    content = {"kind": "LinkConfig", "name": "net0", "routes": [{"gateway": "a"}]}
    entry = Entry(layer("a: b"), 0, content)
    assert entry.label(("routes", 0, "gateway")) == "LinkConfig net0: routes[0].gateway"


ONE, TWO, THREE = (
    subprocess.run([BIN / "age-keygen"], capture_output=True, check=True, text=True)
    .stderr.partition(": ")[2]
    .strip()
    for _ in range(3)
)
RULES = f"""\
creation_rules:
  - path_regex: ^secrets/dev
    key_groups:
      - age: [{ONE}]
  - path_regex: \\.sops\\.yaml$
    age: >-
      {ONE},
      {TWO}
  - age: {THREE}
"""


@pytest.mark.parametrize(
    "path", ["secrets/dev.yaml", "secrets/prod.yaml", "patches/common.sops.yaml", "x.yaml"]
)
def test_recipients_are_those_that_sops_takes(tmp_path: Path, path: str) -> None:
    (tmp_path / ".sops.yaml").write_text(RULES)
    command: list[str | Path] = [BIN / "sops", "encrypt", "--filename-override", path]
    command += ["--input-type", "yaml", "--output-type", "yaml"]
    done = subprocess.run(
        command, cwd=tmp_path, input="a: b\n", capture_output=True, text=True, check=True
    )
    taken = {item["recipient"] for item in environment_rules._age_of(done.stdout)}
    assert environment_rules.recipients_by_rule(RULES, Path(path)) == taken


def test_recipients_without_a_rule() -> None:
    rules = "creation_rules:\n  - path_regex: '['\n    age: a\n  - path_regex: y\n    pgp: b\n"
    assert environment_rules.recipients_by_rule(rules, Path("x.yaml")) is None
    assert environment_rules.recipients_by_rule(rules, Path("y.yaml")) is None
    assert environment_rules.recipients_by_rule("[", Path("y.yaml")) is None
    assert environment_rules.recipients_by_rule("", Path("y.yaml")) is None


def test_recipients_of_a_patch_with_two_documents(dev: Project) -> None:
    path = "patches/envs/dev/workers/worker_1/x.sops.yaml"
    dev.write(".sops.yaml", RULES)
    dev.write(path, encrypted("a: b\n---\nc: d\n", ONE, path))
    view = lint.environment_view(environment(dev))
    [found] = environment_rules.recipients(view)
    assert found.where == path
    assert found.what == f".sops.yaml names {TWO} for it, but it is not encrypted for them"


def test_copied_bundle_is_known_after_its_recipients_changed(dev: Project) -> None:
    text = "certs:\n  os:\n    key: hunter2hunter2\n"
    first = encrypted(text, ONE, "secrets/dev.yaml")
    again = encrypted(text, ONE, "secrets/dev.yaml")
    loaded = environment(dev)
    assert environment_rules.key_values(first)
    assert not environment_rules.key_values(first) & environment_rules.key_values(again)
    dev.write("secrets/dev.yaml", first)
    dev.environment("prod")
    dev.write("secrets/prod.yaml", first.replace(ONE, TWO))
    view = lint.environment_view(loaded)
    assert [f.where for f in environment_rules.shared_bundle(view)] == ["secrets/dev.yaml"]


def test_target_lint_shows_all_environments_before_it_fails(
    dev: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dev.environment("prod")
    dev.node("prod", "control_planes", "cp_1", "10.9.1.11")
    loaded = [environment(dev), environments.load("prod")]
    monkeypatch.setattr(lint, "findings", lambda env: [Finding(env.name, "a", "b", "r")])
    lint.show(loaded, strict=False)
    shown = capsys.readouterr().out
    assert shown.startswith("dev: 1 lint finding:\n  dev: a [r]\n")
    assert "\nprod: 1 lint finding:\n" in shown

    with pytest.raises(LintError) as error:
        lint.show(loaded, strict=True)
    assert error.value.message == shown.rstrip("\n")
    assert capsys.readouterr().out == ""

    monkeypatch.setattr(lint, "findings", lambda _: [])
    lint.show(loaded, strict=True)
    assert capsys.readouterr().out == "dev: no lint findings\nprod: no lint findings\n"


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ("", 0),
        ("LIBVIRT_URI=test:///default\nNETWORK=10.9.0.0/24\n", 1),
        ("LIBVIRT_URI=test:///default\nNETWORK=10.9.0.0/24\nVM_FIRMWARE=bios\n", 0),
        ("TALOS_SECURE_BOOT=true\n", 1),
    ],
)
def test_kernel_arguments_of_a_machine_that_boots_a_uki(
    dev: Project, facts: str, found: int
) -> None:
    dev.environment("dev", facts)
    text = "machine: {install: {grubUseUKICmdline: false, extraKernelArgs: [console=ttyS0]}}\n"
    dev.patch("dev", "workers", "worker_1", text)
    loaded = environments.load("dev")
    worker = loaded.workers[0]
    patch = parse(text, worker.patches[-1])
    image = loaded.cluster.installer_image
    config = f"machine: {{install: {{image: '{image}'}}}}\n".encode()
    view = NodeView(loaded, worker, [Layer(patch, text)], read_config=lambda: config)
    findings = list(value_rules.kernel_arguments(view))
    assert len(findings) == found
    assert all("customization.extraKernelArgs" in finding.do for finding in findings)


@pytest.mark.parametrize(
    ("version", "image", "found"),
    [
        ("v1.13.6", "ghcr.io/siderolabs/installer:v1.13.6", 0),
        ("v1.14.1", "ghcr.io/siderolabs/installer:v1.14.1", 1),
        ("v1.14.1", "ghcr.io/siderolabs/installer@sha256:" + "0a" * 32, 1),
        ("v2.0.0", "ghcr.io/siderolabs/installer", 1),
        ("v1.14.1", "mirror.lan/siderolabs/installer:v1.14.1", 0),
        ("v1.14.1", "ghcr.io/siderolabs/installer-mine:v1.14.1", 0),
        ("v1.14.1", f"factory.talos.dev/metal-installer/{'0a' * 32}:v1.14.1", 0),
    ],
)
def test_an_installer_that_is_not_published(
    dev: Project, version: str, image: str, found: int
) -> None:
    text = f"machine: {{install: {{image: '{image}'}}}}\n"
    dev.patch("dev", "workers", "worker_1", text)
    loaded = environments.load("dev")
    loaded = replace(loaded, cluster=replace(loaded.cluster, talos_version=version))
    worker = loaded.workers[0]
    view = NodeView(loaded, worker, [Layer(parse(text, worker.patches[-1]), text)])
    findings = list(image_rules.installer_source(view))
    assert len(findings) == found
    for finding in findings:
        assert f"{image} is not published for Talos {version}" in finding.what
        assert finding.do.startswith("Leave the image out: it then is the factory's.")


def test_an_installer_in_a_document_of_its_own(dev: Project) -> None:
    image = "ghcr.io/siderolabs/installer:v1.14.1"
    text = f"apiVersion: v1alpha1\nkind: UnattendedInstallConfig\ninstaller:\n  image: {image}\n"
    dev.patch("dev", "workers", "worker_1", text)
    loaded = environments.load("dev")
    loaded = replace(loaded, cluster=replace(loaded.cluster, talos_version="v1.14.1"))
    worker = loaded.workers[0]
    view = NodeView(loaded, worker, [Layer(parse(text, worker.patches[-1]), text)])
    [finding] = image_rules.installer_source(view)
    assert finding.where.endswith("node.yaml:4")
    assert "UnattendedInstallConfig" in finding.what


def test_a_misspelt_fact_of_a_role_is_told_once_with_its_file(dev: Project) -> None:
    dev.node("dev", "workers", "worker_2", "10.9.0.22")
    dev.write("patches/envs/dev/workers/common.env", "VM_MEMORY_MB=4096\n")
    loaded = environments.load("dev")
    found = list(environment_rules.fact_name(EnvironmentView(loaded, read_used=frozenset)))
    assert [finding.where for finding in found] == ["patches/envs/dev/workers/common.env"]
    assert found[0].what.startswith("VM_MEMORY_MB is not used")
