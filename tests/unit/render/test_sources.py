"""What counts as a change of a config, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from talosmake.base import this_run
from talosmake.base.errors import PatchError
from talosmake.checks import lint
from talosmake.inventory import environments, known_facts
from talosmake.render import cilium, sources
from talosmake.render.layers import NodeLayers
from talosmake.secrets import age, bundles
from tests.project import Project, encrypted

CLUSTER = "patches/envs/dev/cluster.env"
NODE = "patches/envs/dev/workers/worker_1/node.env"
PATCH = "patches/envs/dev/workers/worker_1/node.yaml"
SECRET = "patches/envs/dev/workers/worker_1/node.sops.yaml"
KEY = age.new_key()
# For each fact of the run another value than without it.
OF_THE_RUN = {
    "TALOSCTL_VERSION": "1.13.7",
    "GOAL": "rendered",
    "LINT_OFF": "disk-path",
    "APPLY_MODE": "reboot",
    "CALL_TIMEOUT": "77",
    "NODE_TIMEOUT": "77",
    "ETCD_TIMEOUT": "77",
    "APPLY_RETRIES": "7",
    "PROTECTED": "true",
    "TALOS_ARCH": "arm64",
    "MAC_CHECK": "off",
    "NODE_MAINTENANCE_IP": "10.9.0.99",
    "NODE_CERT_FINGERPRINT": f"{'A' * 43}=",
    "LIBVIRT_URI": "qemu:///system",
}


def digests() -> dict[str, str]:
    """Of each node of dev, by its name."""
    this_run.begin()
    environment = environments.load("dev")
    return {node.name: sources.of_node(environment, node) for node in environment.nodes}


Changed = Callable[[Callable[[], object]], set[str]]


@pytest.fixture
def changed(small: Project) -> Changed:
    """The nodes that a change reaches."""

    def reached(change: Callable[[], object]) -> set[str]:
        before = digests()
        change()
        after = digests()
        return {name for name in before | after if before.get(name) != after.get(name)}

    return reached


def add(project: Project, path: str, text: str) -> Callable[[], object]:
    return lambda: project.write(path, project.read(path) + text)


@pytest.mark.parametrize("name", sorted(known_facts.of_the_run()))
def test_fact_of_the_run_reaches_no_node(small: Project, changed: Changed, name: str) -> None:
    of_a_node = name in known_facts.of_a_node() and not name.startswith("VM_")
    path = NODE if of_a_node else CLUSTER
    if name == "LIBVIRT_URI":
        small.write(CLUSTER, small.read(CLUSTER) + "NETWORK=10.9.0.0/24\n")
    assert changed(add(small, path, f"{name}={OF_THE_RUN.get(name, '4')}\n")) == set()


@pytest.mark.parametrize("name", sorted(known_facts.of_the_run()))
def test_fact_of_the_run_counts_where_a_patch_names_it(
    small: Project, changed: Changed, name: str
) -> None:
    small.write(PATCH, f"machine: {{sysctls: {{a: '${{{name}}}'}}}}\n")
    of_a_node = name in known_facts.of_a_node() and not name.startswith("VM_")
    path = NODE if of_a_node else CLUSTER
    if name == "LIBVIRT_URI":
        small.write(CLUSTER, small.read(CLUSTER) + "NETWORK=10.9.0.0/24\n")
    assert changed(add(small, path, f"{name}={OF_THE_RUN.get(name, '4')}\n")) == {"worker_1"}


@pytest.mark.parametrize(
    "text",
    ["# a comment\n", "\n\n", "MINE=1\n", "export MINE='1' # why\n"],
    ids=["comment", "blank", "own", "quoted"],
)
@pytest.mark.parametrize("path", [CLUSTER, NODE])
def test_what_no_patch_names_reaches_no_node(
    small: Project, changed: Changed, path: str, text: str
) -> None:
    assert changed(add(small, path, text)) == set()


@pytest.mark.parametrize(
    ("path", "fact", "reached"),
    [
        (NODE, f"TALOS_SCHEMATIC_ID={'0a' * 32}", {"worker_1"}),
        ("patches/envs/dev/workers/common.env", "TALOS_PLATFORM=nocloud", {"worker_1"}),
        ("patches/envs/dev/workers/common.env", "MINE=1", set()),
        (CLUSTER, "IMAGE_FACTORY=f.lan", {"cp_1", "worker_1"}),
        (CLUSTER, "TALOS_PLATFORM=metal", set()),
    ],
)
def test_another_installer_reaches_those_that_get_it(
    small: Project, changed: Changed, path: str, fact: str, reached: set[str]
) -> None:
    small.write("patches/envs/dev/workers/common.env", "OTHER=1\n")
    assert changed(add(small, path, f"{fact}\n")) == reached


def test_order_and_quotes_reach_no_node(small: Project, changed: Changed) -> None:
    lines = small.read(CLUSTER).splitlines()
    rewritten = [f"{name}='{value}'" for name, value in (line.split("=", 1) for line in lines)]
    assert changed(lambda: small.write(CLUSTER, "\n".join(reversed(rewritten)))) == set()


@pytest.mark.parametrize(
    "text", ["${MINE}", "$${MINE}", "${MINE:-x}", "$MINE", "{{ .MINE }}", "${mine}", "$(MINE)"]
)
def test_what_a_patch_may_mean_counts(small: Project, changed: Changed, text: str) -> None:
    small.write(PATCH, f"machine: {{sysctls: {{a: '{text}'}}}}\n")
    assert changed(add(small, NODE, "MINE=1\n")) == {"worker_1"}
    assert changed(add(small, NODE, "YOURS=1\n")) == set()


def test_fact_in_a_fact_counts(small: Project, changed: Changed) -> None:
    environment = environments.load("dev")
    node = environment.node("worker", "worker_1")
    small.write(PATCH, "machine: {sysctls: {a: '${MINE}'}}\n")
    facts = {"MINE": "${YOURS}", "YOURS": "1", "OTHER": "1"}
    assert sources._facts_in([Path(PATCH)], facts) == {"MINE": "${YOURS}", "YOURS": "1"}
    assert sources._facts_in(node.patches, {"A": "${B}", "B": "${A}"}) == {}


@pytest.mark.parametrize(
    ("old", "new", "reached"),
    [
        ("CLUSTER_NAME=talos-test", "CLUSTER_NAME=other", {"cp_1", "worker_1"}),
        ("KUBERNETES_VERSION=1.36.0", "KUBERNETES_VERSION=1.36.1", {"cp_1", "worker_1"}),
        ("TALOS_VERSION=v1.13.0", "TALOS_VERSION=v1.13.1", {"cp_1", "worker_1"}),
    ],
)
def test_what_talosctl_is_given_counts(
    small: Project, changed: Changed, old: str, new: str, reached: set[str]
) -> None:
    text = small.read(CLUSTER)
    assert old in text
    assert changed(lambda: small.write(CLUSTER, text.replace(old, new))) == reached


def test_host_name_reaches_its_node(small: Project, changed: Changed) -> None:
    assert changed(add(small, NODE, "NODE_HOSTNAME=other\n")) == {"worker_1"}


def test_encrypted_patch_may_name_all_but_facts_of_the_run(
    small: Project, changed: Changed
) -> None:
    text = "machine: {sysctls: {a: '${MINE}'}}\n"
    small.write(SECRET, encrypted(text, KEY.recipient, SECRET))
    assert changed(add(small, NODE, "MINE=1\n")) == {"worker_1"}
    assert changed(add(small, CLUSTER, "NODE_TIMEOUT=77\n")) == set()


def test_encrypted_patch_that_names_a_fact_of_the_run_is_refused(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "machine: {sysctls: {a: '${NODE_TIMEOUT} ${CALL_TIMEOUT}', b: '$${GOAL}'}}\n"
    small.write(SECRET, encrypted(text, KEY.recipient, SECRET))
    small.write(CLUSTER, small.read(CLUSTER) + "NODE_TIMEOUT=77\nCALL_TIMEOUT=7\n")
    environment = environments.load("dev")
    node = environment.node("worker", "worker_1")
    monkeypatch.setattr(bundles, "plaintext_of", lambda *_: text.encode())
    with pytest.raises(PatchError) as error:
        assert NodeLayers(environment, node).patches
    assert error.value.message == (
        f"{SECRET}: an encrypted patch cannot name CALL_TIMEOUT, NODE_TIMEOUT"
    )
    assert "e.g. MY_CALL_TIMEOUT" in error.value.hint


@pytest.mark.parametrize("path", [SECRET, "secrets/dev.yaml"])
def test_letting_a_person_in_reaches_no_node(small: Project, changed: Changed, path: str) -> None:
    text = encrypted("machine: {sysctls: {a: b}}\n", KEY.recipient, path)
    small.write(path, text)
    values, metadata = text.split("sops:\n")
    more = metadata.replace("lastmodified", "    more: recipients\n    lastmodified")
    assert more != metadata
    assert changed(lambda: small.write(path, f"{values}sops:\n{more}")) == set()
    other = values.replace("ENC[AES256_GCM,data:", "ENC[AES256_GCM,data:A", 1)
    nodes = {"worker_1"} if path == SECRET else {"cp_1", "worker_1"}
    assert changed(lambda: small.write(path, f"{other}sops:\n{metadata}")) == nodes


def test_metadata_of_sops_in_a_plain_file_counts(small: Project, changed: Changed) -> None:
    small.write(PATCH, "machine: {}\nsops:\n  mac: a\n")
    assert changed(lambda: small.write(PATCH, "machine: {}\nsops:\n  mac: b\n")) == {"worker_1"}


def test_lint_looks_at_names_of_ones_own_and_not_at_their_values(small: Project) -> None:
    def seen(text: str) -> str:
        small.write(NODE, f"NODE_IP=10.9.0.21\n{text}")
        this_run.begin()
        return lint.sources_of(environments.load("dev"))

    assert seen("MINE=1\n") == seen("# why\nMINE='2'\n")
    assert seen("MINE=1\n") != seen("YOURS=1\n")
    assert seen("") == seen("NODE_MAINTENANCE_IP=10.9.0.99\n")
    assert seen("") != seen("NODE_ENDPOINT=10.9.0.99\n")


def test_cilium_layer_counts_what_its_files_name(small: Project) -> None:
    plain = small.read(CLUSTER).replace("CNI_INSTALL=none\n", "")
    small.write("patches/envs/dev/cilium.yaml", "a: ${POOL}\n")

    def seen(text: str) -> str:
        small.write(CLUSTER, f"{plain}CNI_INSTALL=job\nCILIUM_VERSION=1.20.2\n{text}")
        this_run.begin()
        environment = environments.load("dev")
        return sources.of_cilium(environment, cilium.files_of(environment))

    assert seen("POOL=1\n") == seen("POOL=1\nMINE=1\nNODE_TIMEOUT=9\nPROTECTED=true\n")
    assert seen("POOL=1\n") != seen("POOL=2\n")
    assert seen("POOL=1\n") != seen("POOL=1\nCILIUM_CLI_IMAGE=a:b\n")
