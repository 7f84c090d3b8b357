"""One form for each fact, for the program and for ``${NAME}`` in patches."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.errors import ConfigError, InventoryError
from talosmake.inventory import canonical, environments, known_facts, settings
from talosmake.patches.inject import inject
from tests.project import CLUSTER_ENV, Project

MAC = "52:54:00:ab:cd:ef"
UUID = "4c4c4544-0042-3510-8052-b4c04f4d3332"
DIGEST = "0123456789abcdef" * 4
BYTES = bytes(range(200, 232))
FINGERPRINT = base64.b64encode(BYTES).decode()

SPELLINGS = [
    *(
        ("NODE_MAC", MAC, text)
        for text in (
            *("52:54:00:AB:CD:EF", "52-54-00-AB-CD-EF", "52-54-00-ab-cd-ef", "5254.00ab.cdef"),
            *("5254:00AB:CDEF", "525400abcdef", "525400ABCDEF", "525400-ABCDEF"),
            "52 54 00 ab cd ef",
        )
    ),
    *(
        ("NODE_UUID", UUID, text)
        for text in (UUID.upper(), UUID.replace("-", ""), f"{{{UUID.upper()}}}", f"urn:uuid:{UUID}")
    ),
    *(
        ("NODE_CERT_FINGERPRINT", FINGERPRINT, text)
        for text in (FINGERPRINT.rstrip("="), BYTES.hex(), BYTES.hex(":").upper())
    ),
    ("NODE_HOSTNAME", "w1.k8s.example.com", "W1.K8s.Example.com."),
    ("NODE_ENDPOINT", "2001:db8::21", "2001:0DB8:0:0::21"),
    ("NODE_ENDPOINT", "2001:db8::21", "[2001:DB8::21]:50000"),
    ("NODE_ENDPOINT", "[2001:db8::21]:50001", "[2001:DB8:0::21]:50001"),
    ("NODE_ENDPOINT", "w1.example.com", "W1.Example.com:50000"),
    ("NODE_MAINTENANCE_IP", "fd00::99", "FD00:0::99"),
]
OF_THE_CLUSTER = [
    ("TALOS_VERSION", "v1.13.0", "1.13.0"),
    ("TALOS_VERSION", "v1.13.0", "V1.13.0"),
    ("TALOS_CONTRACT", "v1.13", "1.13"),
    ("TALOS_CONTRACT", "v1.13", "v1.13.0"),
    ("KUBERNETES_VERSION", "1.36.0", "v1.36.0"),
    ("TALOS_SCHEMATIC_ID", DIGEST, DIGEST.upper()),
    ("TALOS_IMAGE_SHA256", DIGEST, DIGEST.upper()),
    ("TALOS_KERNEL_SHA256", DIGEST, f"sha256:{DIGEST}"),
    ("CILIUM_VERSION", "1.20.2", "v1.20.2"),
    ("CILIUM_CHART_SHA256", DIGEST, f"sha256:{DIGEST.upper()}"),
    ("NETWORK", "10.9.0.0/24", "10.9.0.0/255.255.255.0"),
    ("NETWORK_DHCP_RANGE", "10.9.0.100-10.9.0.199", "10.9.0.100 - 10.9.0.199"),
    ("CLUSTER_ENDPOINT", "https://[fd00::10]:6443", "https://[FD00:0:0::10]:6443/"),
]


@pytest.mark.parametrize(("name", "form", "written"), SPELLINGS)
def test_a_node_and_its_patches_have_one_form(
    small: Project, name: str, form: str, written: str
) -> None:
    small.node("dev", "workers", "worker_1", "10.9.0.21", f'{name}="{written}"\n')
    node = environments.load("dev").node("worker", "worker_1")
    assert inject(f"a: '${{{name}}}'", node.facts, Path("x.yaml")) == f"a: '{form}'"
    seen = {
        "NODE_MAC": node.mac,
        "NODE_UUID": node.uuid,
        "NODE_CERT_FINGERPRINT": node.cert_fingerprint,
        "NODE_HOSTNAME": node.hostname,
        "NODE_ENDPOINT": node.endpoint,
        "NODE_MAINTENANCE_IP": node.maintenance_address,
    }
    assert seen[name] == form


def test_the_address_has_one_form(small: Project) -> None:
    small.node("dev", "workers", "worker_1", "FD00:0:0::21")
    node = environments.load("dev").node("worker", "worker_1")
    assert node.address == node.endpoint == "fd00::21"
    facts = {node.facts[name] for name in ("NODE_IP", "NODE_ENDPOINT", "NODE_ENDPOINT_HOST")}
    assert facts == {"fd00::21"}


@pytest.mark.parametrize(("name", "form", "written"), OF_THE_CLUSTER)
def test_a_cluster_and_its_patches_have_one_form(
    small: Project, name: str, form: str, written: str
) -> None:
    lines = [line for line in CLUSTER_ENV.splitlines() if not line.startswith(f"{name}=")]
    small.environment("dev", f'{name}="{written}"\n', "\n".join(lines) + "\n")
    environment = environments.load("dev")
    assert environment.facts[name] == form
    assert {node.facts[name] for node in environment.nodes} == {form}
    cluster = environment.cluster
    seen = {
        "TALOS_VERSION": cluster.talos_version,
        "TALOS_CONTRACT": cluster.talos_contract,
        "KUBERNETES_VERSION": cluster.kubernetes_version,
        "CLUSTER_ENDPOINT": cluster.endpoint,
    }
    assert seen.get(name, form) == form


def test_defaults_have_one_form_too(small: Project) -> None:
    without = CLUSTER_ENV.replace("TALOS_VERSION=v1.13.0\n", "")
    small.environment("dev", cluster_env=without)
    environment = environments.load("dev", {"TALOS_VERSION": "1.13.0"})
    assert environment.cluster.talos_version == environment.facts["TALOS_VERSION"] == "v1.13.0"


@pytest.mark.parametrize("name", ["TALOS_CONTRACT", "KUBERNETES_VERSION"])
def test_a_version_that_yaml_takes_for_a_number_is_refused(small: Project, name: str) -> None:
    small.write("config/config.yaml", f"defaults:\n  {name}: 1.10\n")
    with pytest.raises(ConfigError) as error:
        settings.read({})
    assert error.value.message.startswith(f"defaults.{name}: 1.1 is a number to YAML")
    assert "in quotes" in error.value.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("NODE_MAC", text)
            for text in (
                "52:54:00:ab:cd",
                "52:54-00:ab-cd:ef",
                "5254.00ab.cde",
                "52:54:00:ab:cd:eg",
            )
        ),
        ("NODE_UUID", "4c4c4544-0042"),
        ("NODE_CERT_FINGERPRINT", "ab12"),
        ("NODE_IP", "10.9.0.021"),
        ("NODE_IP", "node.example.com"),
        ("NODE_IP", "::"),
        ("NODE_IP", "ff02::1"),
        ("NODE_ENDPOINT", "10.9.0.300"),
        ("NODE_ENDPOINT", "https://10.9.0.21:50000"),
        ("NODE_ENDPOINT", "w1.example.com:0"),
        ("NODE_ENDPOINT", "w1.example.com:70000"),
        ("NODE_ENDPOINT", "fd00::1:"),
        ("NODE_ENDPOINT", "[10.9.0.21]:50000"),
        ("NODE_MAINTENANCE_IP", "my host"),
    ],
)
def test_what_has_no_form_is_quoted_as_it_is_written(small: Project, name: str, text: str) -> None:
    own = f"NODE_IP=10.9.0.21\n{name}={text}\n" if name != "NODE_IP" else f"NODE_IP={text}\n"
    small.write("patches/envs/dev/workers/worker_1/node.env", own)
    with pytest.raises(InventoryError) as error:
        environments.load("dev")
    assert f"worker_1/node.env:{own.count(chr(10))}: {name}=" in error.value.message
    assert text in error.value.message
    assert error.value.hint


FORMED = sorted(name for name, fact in known_facts.facts().items() if fact.format)


def test_every_format_of_the_schema_is_made_or_checked() -> None:
    text = known_facts.SCHEMA.read_text()
    formats = set(re.findall(r"^ +-? *format: (\S+)$", text, re.M))
    assert formats == canonical.FORMS.keys() | canonical.VALID.keys()


@given(st.sampled_from(FORMED), st.text())
def test_one_form_is_its_own_form(name: str, text: str) -> None:
    once = canonical.facts({name: text})
    assert canonical.facts(once) == once


def test_facts_of_one_s_own_stay_as_they_are() -> None:
    assert canonical.facts({"BOND_MAC": "AA-BB", "X": " y "}) == {"BOND_MAC": "AA-BB", "X": " y "}
