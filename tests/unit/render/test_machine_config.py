"""From layers to a machine config, with the real talosctl, sops and age."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base import talosctls
from talosmake.base.errors import PatchError
from talosmake.inventory import environments
from talosmake.inventory.model import Cluster, Role
from talosmake.patches.inject import inject
from talosmake.render import disclosure, machine_config
from talosmake.render.layers import NodeLayers
from talosmake.secrets import age, bundles
from talosmake.talos import generate
from tests.project import BIN, CLUSTER_ENV, Project, encrypted

KEY = age.new_key()
BUNDLE = generate.gen_secrets("v1.13")
WORKER = "patches/envs/dev/workers/worker_1"
SECRET = "correct-horse-battery-staple"


@pytest.fixture
def dev(small: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The small project with a bundle and a key of the whole module."""
    Path(small.env["SOPS_AGE_KEY_FILE"]).write_bytes(KEY.identity)
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    return small


def encrypted_patch(project: Project, path: str, text: str) -> None:
    project.write(path, encrypted(text, KEY.recipient, path))


def rendered(name: str = "worker_1") -> bytes:
    environment = environments.load("dev")
    return machine_config.render(environment, next(n for n in environment.nodes if n.name == name))


def documents(name: str = "worker_1") -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(rendered(name)))


def machine(name: str = "worker_1") -> Any:
    return documents(name)[0]["machine"]


def refused(name: str = "worker_1") -> PatchError:
    with pytest.raises(PatchError) as error:
        rendered(name)
    return error.value


def sysctls(*layers: str) -> str:
    """A patch in which the layer sets its own key and those of all after it, to its name."""
    return "machine:\n  sysctls:\n" + "".join(f"    upto.{key}: {layers[0]}\n" for key in layers)


def test_later_layers_win(dev: Project) -> None:
    files = {
        "shared": "patches/common.yaml",
        "shared-secret": "patches/common.sops.yaml",
        "env": "patches/envs/dev/common.yaml",
        "env-secret": "patches/envs/dev/common.sops.yaml",
        "role": "patches/envs/dev/workers/common.yaml",
        "role-secret": "patches/envs/dev/workers/common.sops.yaml",
        "ten": f"{WORKER}/10-x.yaml",
        "nine": f"{WORKER}/9-x.yaml",
        "b": f"{WORKER}/b.yaml",
        "c": f"{WORKER}/c.sops.yaml",
        "d": f"{WORKER}/d.yaml",
    }
    names = list(files)
    for number, (name, path) in enumerate(files.items()):
        # Each layer sets a key for itself and for every layer before it.
        text = sysctls(name, *names[:number])
        encrypted_patch(dev, path, text) if ".sops." in path else dev.write(path, text)
    assert machine()["sysctls"] == {f"upto.{name}": "d" for name in names}
    dev.remove(files["d"])
    assert machine()["sysctls"] == {f"upto.{name}": "c" for name in names[:-1]}
    above = names[: names.index("env-secret") + 1]
    assert machine("cp_1")["sysctls"] == {f"upto.{name}": "env-secret" for name in above}


def test_layers_of_one_role_reach_that_role_only(dev: Project) -> None:
    dev.write("patches/envs/dev/workers/common.yaml", sysctls("worker"))
    dev.write("patches/envs/dev/control_planes/common.yaml", sysctls("controlplane"))
    assert machine()["sysctls"] == {"upto.worker": "worker"}
    assert machine("cp_1")["sysctls"] == {"upto.controlplane": "controlplane"}
    assert (machine()["type"], machine("cp_1")["type"]) == ("worker", "controlplane")


def test_config_carries_versions_and_endpoint_of_cluster_env(dev: Project) -> None:
    config = documents()[0]
    assert config["machine"]["install"]["image"].endswith("/installer:v1.13.0")
    assert config["machine"]["kubelet"]["image"].endswith("kubelet:v1.36.0")
    assert config["cluster"]["controlPlane"]["endpoint"] == "https://10.9.0.10:6443"


def test_facts_are_injected_in_plain_and_encrypted_patches(dev: Project) -> None:
    dev.patch("dev", "workers", "worker_1", "machine:\n  sysctls:\n    a: ${NODE_IP}\n")
    encrypted_patch(
        dev, f"{WORKER}/x.sops.yaml", "machine:\n  sysctls:\n    b: ${ENV}/${NODE_NAME}\n"
    )
    assert machine()["sysctls"] == {"a": "10.9.0.21", "b": "dev/worker_1"}


def hostnames(name: str) -> tuple[Any, list[dict[str, Any]]]:
    first, *others = documents(name)
    kinds = [document for document in others if document["kind"] == "HostnameConfig"]
    return first["machine"].get("network", {}).get("hostname"), kinds


@pytest.mark.parametrize("name", ["worker_1", "cp_1"])
def test_hostname_of_contract_1_13_is_a_document(dev: Project, name: str) -> None:
    old, [document] = hostnames(name)
    assert old is None
    assert (document["hostname"], document["auto"]) == (name.replace("_", "-"), "off")
    generate.validate(rendered(name), talosctls.default())


@pytest.mark.parametrize("name", ["worker_1", "cp_1"])
def test_hostname_of_contract_1_11_is_in_machine_network(dev: Project, name: str) -> None:
    dev.environment("dev", cluster_env=CLUSTER_ENV.replace("CONTRACT=v1.13", "CONTRACT=v1.11"))
    assert hostnames(name) == (name.replace("_", "-"), [])
    generate.validate(rendered(name), talosctls.default())


@pytest.mark.parametrize("contract", ["v1.11", "v1.12", "v1.13"])
def test_hostname_the_old_way_in_a_patch_wins(dev: Project, contract: str) -> None:
    dev.environment(
        "dev", cluster_env=CLUSTER_ENV.replace("CONTRACT=v1.13", f"CONTRACT={contract}")
    )
    dev.patch("dev", "workers", "worker_1", "machine:\n  network:\n    hostname: mine\n")
    assert hostnames("worker_1") == ("mine", [])
    generate.validate(rendered(), talosctls.default())


def test_hostname_document_in_a_patch_wins(dev: Project) -> None:
    text = "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: mine\n"
    dev.patch("dev", "workers", "worker_1", text)
    _, [document] = hostnames("worker_1")
    assert (document["hostname"], document["auto"]) == ("mine", "off")
    generate.validate(rendered(), talosctls.default())


@pytest.mark.parametrize("document", [{"hostname": "mine", "auto": "off"}, {"auto": "stable"}])
def test_hostname_document_in_a_patch_wins_with_an_old_contract(
    dev: Project, document: dict[str, str]
) -> None:
    dev.environment("dev", cluster_env=CLUSTER_ENV.replace("CONTRACT=v1.13", "CONTRACT=v1.11"))
    written = {"apiVersion": "v1alpha1", "kind": "HostnameConfig", **document}
    dev.patch("dev", "workers", "worker_1", yaml.safe_dump(written))
    assert hostnames("worker_1") == (None, [written])
    generate.validate(rendered(), talosctls.default())


@pytest.mark.parametrize("contract", ["v1.12", "v1.13"])
def test_hostname_the_old_way_beside_a_deleted_document(dev: Project, contract: str) -> None:
    dev.environment(
        "dev", cluster_env=CLUSTER_ENV.replace("CONTRACT=v1.13", f"CONTRACT={contract}")
    )
    text = "machine:\n  network:\n    hostname: mine\n---\n"
    text += "apiVersion: v1alpha1\nkind: HostnameConfig\n$patch: delete\n"
    dev.patch("dev", "workers", "worker_1", text)
    assert hostnames("worker_1") == ("mine", [])
    generate.validate(rendered(), talosctls.default())


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "null\n", "---\n---\n# x\n"])
def test_files_that_say_nothing_are_skipped(dev: Project, text: str) -> None:
    before = rendered()
    dev.write("patches/common.yaml", text)
    dev.patch("dev", "workers", "worker_1", text)
    assert rendered() == before


def test_rendering_is_the_same_bytes_every_time(dev: Project) -> None:
    assert rendered() == rendered()
    assert rendered("cp_1") != rendered()


PATCHES = {
    "merges": "machine:\n  sysctls:\n    a: '1'\n  certSANs: [one]\n",
    "again": "machine:\n  sysctls:\n    a: '2'\n    b: '3'\n  certSANs: [two, one]\n",
    "subnets": "cluster:\n  network:\n    podSubnets: [10.1.0.0/16]\n",
    "other subnets": "cluster:\n  network:\n    podSubnets: [10.2.0.0/16]\n",
    "mac": "machine:\n  network:\n    interfaces:\n      - deviceSelector:\n"
    "          hardwareAddr: 22:33:44:55:01:02\n        dhcp: true\n",
    "file": "machine:\n  files:\n    - path: /var/x\n      permissions: 0o644\n      op: create\n"
    "      content: |\n        a: ${x}\n\n        b\n",
    "delete": "machine:\n  features:\n    $patch: delete\n",
    "document": "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nup: true\n",
    "same document": "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: 9000\n",
    "two documents": "---\nmachine: {sysctls: {c: '4'}}\n---\napiVersion: v1alpha1\n"
    "kind: ResolverConfig\nnameservers:\n  - address: 1.1.1.1\n",
    "hostname": "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: x\nauto: off\n",
}
ORDERS = [
    [*PATCHES],
    [*PATCHES][::-1],
    ["again", "merges", "again"],
    ["other subnets", "subnets"],
    ["same document", "document", "hostname"],
    *([name] for name in PATCHES),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("patches")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("order", ORDERS, ids="+".join)
def test_one_call_equals_talosctl_machineconfig_patch(
    directory: Path, role: Role, order: list[str]
) -> None:
    cluster = Cluster("c", "https://10.9.0.10:6443", "v1.13.0", "v1.13", "1.36.0")
    ours = generate.gen_config(cluster, role, BUNDLE, [PATCHES[name] for name in order])

    base = directory / f"{role}.yaml"
    base.write_bytes(generate.gen_config(cluster, role, BUNDLE, []))
    arguments: list[str] = []
    for name in order:
        (directory / f"{name}.yaml").write_text(PATCHES[name])
        arguments += ["-p", f"@{directory / name}.yaml"]
    done = subprocess.run(
        [BIN / "talosctl", "machineconfig", "patch", base, *arguments],
        capture_output=True,
        check=True,
    )
    # It prints the config as a line of its own; ours is what it writes with --output.
    assert ours == done.stdout.removesuffix(b"\n")


@pytest.mark.parametrize(
    "culprit",
    ["patches/common.yaml", "patches/envs/dev/workers/common.yaml", f"{WORKER}/b.yaml"],
)
def test_refused_patch_is_named(dev: Project, culprit: str) -> None:
    dev.patch("dev", "workers", "worker_1", sysctls("a"), name="a.yaml")
    dev.patch("dev", "workers", "worker_1", sysctls("c"), name="c.yaml")
    dev.write(culprit, "machine:\n  nonsense: 1\n")
    error = refused()
    assert error.message.startswith(f"{culprit}: talosctl refuses it for dev/worker_1:\n")
    assert "nonsense: 1" in error.message
    assert ".yaml" not in error.message.removeprefix(culprit)


def test_refused_base_is_laid_at_no_patchs_door(
    dev: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = yaml.safe_load(BUNDLE)
    key = broken["certs"]["os"]["key"]
    broken["certs"]["os"]["key"] = "!" + key
    monkeypatch.setattr(bundles, "bundle_of", lambda _: yaml.safe_dump(broken).encode())
    error = refused()
    where = "patches/envs/dev/cluster.env or secrets/dev.yaml: talosctl refuses it for dev/worker_1"
    assert error.message.startswith(where)
    assert key not in str(error)


@pytest.mark.parametrize(
    "text",
    [
        f"machine:\n  install:\n    wipe: {SECRET}\n",
        f"machine:\n  {SECRET}: 1\n",
        f"machine: [{SECRET}]\n",
        f"cluster:\n  controlPlane:\n    endpoint: 'https://me:{SECRET}%zz@x'\n",
        f"machine:\n  time:\n    bootTimeout: {SECRET}\n",
        f"apiVersion: v1alpha1\nkind: LinkConfig\nname: x\naddresses:\n  - address: {SECRET}\n",
        f"machine:\n  files:\n    - permissions: {SECRET}\n",
        f"machine:\n  sysctls:\n    a: ${{UNKNOWN}} {SECRET}\n",
    ],
)
def test_refused_encrypted_patch_is_named_and_shows_no_value(dev: Project, text: str) -> None:
    path = f"{WORKER}/x.sops.yaml"
    encrypted_patch(dev, path, text)
    assert_shows_no_value(refused(), path)


@pytest.mark.parametrize(
    "text", [f"machine:\n  sysctls: [{SECRET}\n", f"{SECRET}\n", f"- {SECRET}\n"]
)
def test_what_is_no_patch_once_decrypted_shows_no_value(
    dev: Project, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = f"{WORKER}/x.sops.yaml"
    dev.write(path, "encrypted by other means than sops's, which takes mappings only")
    monkeypatch.setattr(bundles, "plaintext_of", lambda *_: text.encode())
    assert_shows_no_value(refused(), path)


def assert_shows_no_value(error: PatchError, path: str) -> None:
    assert error.message.startswith(path)
    for word in (SECRET, SECRET[:6], *SECRET.split("-")):
        assert word not in str(error)


def test_bundle_values_in_a_message_are_redacted(
    dev: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = yaml.safe_load(BUNDLE)["trustdinfo"]["token"]
    dev.patch("dev", "workers", "worker_1", f"machine:\n  install:\n    wipe: {token}\n")
    error = refused()
    assert error.message.startswith(f"{WORKER}/node.yaml: talosctl refuses it")
    assert token not in str(error)
    assert token[:7] not in str(error)


def test_encrypted_patch_without_sops_in_its_name(dev: Project) -> None:
    encrypted_patch(dev, f"{WORKER}/x.yaml", "machine:\n  sysctls:\n    a: b\n")
    error = refused()
    assert error.message == f"{WORKER}/x.yaml: is encrypted with sops, but its name does not say so"
    assert "x.sops.yaml" in error.hint


def test_patch_that_is_no_text(dev: Project) -> None:
    (dev.root / WORKER / "x.yaml").write_bytes(b"machine: \xff\n")
    assert refused().message == f"{WORKER}/x.yaml: not UTF-8 text (byte 9)"


def test_patch_that_is_a_directory(dev: Project) -> None:
    dev.write(f"{WORKER}/x.yaml/y", "")
    assert refused().message == f"{WORKER}/x.yaml: cannot be read: Is a directory"


def test_config_too_large_for_maintenance_mode(dev: Project) -> None:
    content = "x" * 2_200_000
    text = f"machine:\n  files:\n    - path: /var/x\n      op: create\n      content: {content}\n"
    dev.patch("dev", "workers", "worker_1", text, name="a.yaml")
    dev.patch("dev", "workers", "worker_1", text.replace("/x", "/y"), name="b.yaml")
    error = refused()
    assert "dev/worker_1: the machine config has 44" in error.message
    assert "4194304 at most" in error.message


def test_known_secrets_are_those_of_bundle_and_encrypted_patches(dev: Project) -> None:
    encrypted_patch(dev, f"{WORKER}/x.sops.yaml", f"machine:\n  sysctls:\n    a: {SECRET}\n")
    environment = environments.load("dev")
    worker = environment.workers[0]
    key = yaml.safe_load(BUNDLE)["certs"]["os"]["key"]
    own = NodeLayers(environment, worker)
    assert disclosure.message(own, f"a: {SECRET}, {key}") == "a: <redacted>, <redacted>"


def test_known_secrets_are_as_they_are_applied(dev: Project) -> None:
    text = f"machine:\n  sysctls:\n    a: {SECRET}@${{NODE_IP}}\n    b: ${{NODE_NAME}}\n"
    encrypted_patch(dev, f"{WORKER}/x.sops.yaml", text)
    environment = environments.load("dev")
    worker = environment.workers[0]
    known = disclosure.patch_secrets(worker, NodeLayers(environment, worker).patches)
    assert f"{SECRET}@10.9.0.21" in known
    # A fact stands in node.env in the clear.
    assert "worker_1" not in known


def test_written_config_is_for_its_owner_only(dev: Project) -> None:
    environment = environments.load("dev")
    worker = environment.workers[0]
    machine_config.write_config(environment, worker)
    path = dev.root / "rendered_configs/dev/worker-worker_1.yaml"
    assert path.read_bytes() == rendered()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_injection_comes_before_parsing(dev: Project) -> None:
    text = "machine:\n  sysctls: ${SYSCTLS}\n"
    dev.node("dev", "workers", "worker_1", "10.9.0.21", "SYSCTLS=\"{a: '1'}\"\n")
    dev.patch("dev", "workers", "worker_1", text)
    assert inject(text, {"SYSCTLS": "{a: '1'}"}, Path("x")).endswith("{a: '1'}\n")
    assert machine()["sysctls"] == {"a": "1"}
