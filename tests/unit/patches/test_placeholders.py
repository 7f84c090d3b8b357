from __future__ import annotations

from pathlib import Path

import pytest

from talosmake.base.errors import InventoryError, PatchError
from talosmake.patches import placeholders
from talosmake.patches.patch import parse

FACTS = ("CLUSTER_NAME", "NODE_IP", "ENV")
PATH = Path("common.yaml")


def written(text: str) -> list[tuple[str, str, bool]]:
    return [(one.written, one.fact, one.certain) for one in placeholders.found(text, FACTS)]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("${CLUSTER_NAME}", "CLUSTER_NAME"),
        ("${CLUSTER_NAME:-talos}", "CLUSTER_NAME"),
        ("${CLUSTER_NAME-talos}", "CLUSTER_NAME"),
        ("${NODE_IP%.*}", "NODE_IP"),
        ("${#NODE_IP}", "NODE_IP"),
        ("${ NODE_IP }", "NODE_IP"),
        ("${clusterName}", "CLUSTER_NAME"),
        ("${cluster_name}", "CLUSTER_NAME"),
        ("${cluster-name}", "CLUSTER_NAME"),
        ("${env.NODE_IP}", "NODE_IP"),
        ("${nodeIp:-10.0.0.1}", "NODE_IP"),
        ("$(NODE_IP)", "NODE_IP"),
        ("$NODE_IP", "NODE_IP"),
        ("{{ NODE_IP }}", "NODE_IP"),
        ("{{ .NODE_IP }}", "NODE_IP"),
        ("${NODE_PI}", ""),
        ("${DISK:-/dev/sda}", ""),
    ],
)
def test_what_is_plainly_meant_for_a_fact(text: str, fact: str) -> None:
    assert written(f"a-{text}.b") == [(text, fact, True)]


@pytest.mark.parametrize("text", ["${tailscaleAuthKey}", "${dns-suffix}", "${other:-x}"])
def test_what_nothing_replaces(text: str) -> None:
    assert written(text) == [(text, "", False)]


@pytest.mark.parametrize(
    "text",
    [
        "talos.config=https://example.org/?u=${uuid}&m=${mac}&s=${serial}&h=${hostname}&c=${code}",
        "$NODE_IPS",
        "$HOME",
        "$(id)",
        "cost: 5$",
        "^a$",
        "{{ include }}",
        "$env{NODE_IP}",
        "${}",
        "NODE_IP",
        "$$",
    ],
)
def test_what_may_be_meant_as_it_is(text: str) -> None:
    assert written(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "machine: {files: [{path: /var/x, content: 'echo ${node_ip} ${NODE_IP:-x}'}]}\n",
        "machine: {udev: {rules: ['RUN+=\"/bin/sh -c ${node_ip}\"']}}\n",
        "machine: {pods: [{spec: {containers: [{args: ['$(NODE_IP)']}]}}]}\n",
        "cluster: {inlineManifests: [{name: a, contents: 'a: ${node_ip}'}]}\n",
        "kind: ExtensionServiceConfig\nconfigFiles: [{content: '${node_ip}', mountPath: /x}]\n",
        "machine:\n  other: |\n    a ${node_ip}\n    b\n",
    ],
)
def test_texts_that_machines_read_by_themselves_are_left_alone(text: str) -> None:
    placeholders.check_patch(parse(text, PATH), text, FACTS)
    assert list(placeholders.in_document(parse(text, PATH).documents[0], FACTS)) == []


def test_patch_is_refused_with_every_line_and_what_to_write() -> None:
    raw = "machine:\n  certSANs:\n    - api.${clusterName}.example\n"
    raw += "  nodeLabels:\n    ${node_ip}: ''\n"
    with pytest.raises(PatchError) as error:
        placeholders.check_patch(parse(raw, PATH), raw, FACTS)
    assert error.value.message == (
        "common.yaml:3: machine.certSANs[0]: ${clusterName} is not replaced, and would be taken as "
        "it is\n"
        "common.yaml:5: machine.nodeLabels.${node_ip}: ${node_ip} is not replaced, and would be "
        "taken as it is"
    )
    assert error.value.hint == (
        "Write ${CLUSTER_NAME}: only ${UPPER_CASE} is replaced.\n"
        "Write ${NODE_IP}: only ${UPPER_CASE} is replaced."
    )


def test_of_an_encrypted_patch_nothing_is_shown() -> None:
    raw = "machine:\n  env:\n    KEY: ${NODE_IP:-hunter2}\n"
    with pytest.raises(PatchError) as error:
        placeholders.check_patch(parse(raw, PATH, secret=True), raw, FACTS)
    assert error.value.message == (
        "common.yaml: a placeholder is not replaced, and would be taken as it is"
    )
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("password", ["a$ENV!", "x{{ ENV }}", "pa$$w0rd", "a${b"])
def test_password_in_an_encrypted_patch_may_look_like_much(password: str) -> None:
    raw = f"machine:\n  env:\n    KEY: '{password}'\n"
    placeholders.check_patch(parse(raw, PATH, secret=True), raw, FACTS)


def test_value_of_a_fact_may_name_none() -> None:
    with pytest.raises(InventoryError) as error:
        placeholders.check_value("API", "api.${CLUSTER_NAME}", "cluster.env:3", FACTS)
    assert error.value.message == (
        "cluster.env:3: the value of API has ${CLUSTER_NAME} in it, and nothing in a value is "
        "replaced"
    )
    placeholders.check_value("ARGS", "talos.config=http://x/?m=${mac}", "cluster.env:3", FACTS)
    placeholders.check_value("COST", "5$ or $HOME", "cluster.env:3", FACTS)


def test_literal_reference_says_where_it_has_its_place() -> None:
    raw = "machine:\n  nodeLabels:\n    a: ${NODE_IP}\n"
    with pytest.raises(PatchError) as error:
        placeholders.check_patch(parse(raw, PATH), raw, FACTS)
    assert error.value.hint == (
        "Write ${NODE_IP} with one $. A literal one has its place in the content of files, in "
        "scripts and in manifests only."
    )
