"""Each fact of the schema: what its entry refuses is refused where it is read, with its place."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base.errors import InventoryError
from talosmake.inventory import canonical, environments, fact_values, known_facts
from talosmake.inventory.disks import MOST_DISKS
from talosmake.inventory.fact_values import Facts
from talosmake.inventory.known_facts import Fact
from talosmake.inventory.machines import Accelerator, Firmware, NetworkMode
from talosmake.inventory.model import CniInstall, Goal
from tests.project import Project

FACTS = known_facts.facts()
# Texts, of which one at least is wrong wherever anything is.
ODD = ("?", "-1", "x y", "ftp://x", "99999999", "0", "1.5", "a" * 64, "on off", "1 " * 30, "nan")
# Those of which nothing can be said without other facts, files or nodes.
FREE = {
    *("ARTIFACT_RECIPIENTS", "CERT_TTL", "GATEWAY", "LINT_OFF", "NETWORK", "NETWORK_DHCP_RANGE"),
    *("STORAGE_POOL", "TALOS_IMAGE", "TALOS_INITRAMFS", "TALOS_KERNEL", "TALOS_KERNEL_ARGS"),
    "TALOS_SCHEMATIC",
}
# An environment in which every fact is read, and what else some need for that.
ALL_READ = """\
CLUSTER_NAME=talos-test
CLUSTER_ENDPOINT=https://10.9.0.10:6443
TALOS_VERSION=v1.13.0
TALOS_CONTRACT=v1.13
KUBERNETES_VERSION=1.36.0
CNI_INSTALL=helm
CILIUM_VERSION=1.20.2
CILIUM_CHART_SHA256={digest}
LIBVIRT_URI=test:///default
NETWORK=10.9.0.0/24
""".format(digest="0a" * 32)
KERNEL = "TALOS_KERNEL=/kernel\nTALOS_INITRAMFS=/initramfs\n"
BESIDE = {
    "NETWORK_BRIDGE": "NETWORK_MODE=bridge\n",
    "TALOS_KERNEL_SHA256": KERNEL,
    "TALOS_INITRAMFS_SHA256": KERNEL,
}


def problem(fact: Fact, text: str) -> fact_values.Wrong | None:
    if not text and fact.may_be_empty:
        return None
    form = canonical.facts({fact.name: text})[fact.name]
    return fact_values.problem(fact, fact_values.parsed(fact, form))


def refused(fact: Fact) -> list[str]:
    return [text for text in ("", *ODD) if problem(fact, text)]


def test_every_fact_has_a_rule_or_is_free() -> None:
    assert {name for name, fact in FACTS.items() if not refused(fact)} == FREE


@pytest.mark.parametrize("name", sorted(FACTS.keys() - FREE))
def test_what_an_entry_refuses_is_refused_where_it_is_read(small: Project, name: str) -> None:
    fact = FACTS[name]
    cluster = "".join(line for line in ALL_READ.splitlines(True) if not line.startswith(f"{name}="))
    cluster += BESIDE.get(name, "")
    small.environment("dev", cluster_env=cluster)
    for text in refused(fact):
        if not text and fact.is_required:
            continue  # it is missing, which is another error
        file = small.root / "patches/envs/dev/cluster.env"
        lines = cluster
        if name in known_facts.of_a_node():
            file = small.root / "patches/envs/dev/workers/worker_1/node.env"
            lines = "" if name == "NODE_IP" else "NODE_IP=10.9.0.21\n"
        file.write_text(f'{lines}# a comment\n{name}="{text}"\n')
        with pytest.raises(InventoryError) as error:
            environments.load("dev")
        where = f"{file.relative_to(small.root)}:{lines.count(chr(10)) + 2}"
        wrong = problem(fact, text)
        assert wrong is not None
        form = canonical.facts({name: text})[name]
        assert error.value.message.startswith(f"{where}: {name}={form!r}")
        assert error.value.message.endswith(wrong.why)
        assert error.value.hint == wrong.hint
        assert "must " in wrong.why or wrong.hint


@pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)
def test_what_an_entry_offers_is_accepted(fact: Fact) -> None:
    offered = [*fact.entry.get("examples", ()), *fact.entry.get("enum", ())]
    if isinstance(fact.default, str):
        offered.append(fact.default)
    elif fact.default is not None and fact.kind != "array":
        offered.append(str(fact.default).lower())
    for text in offered:
        assert problem(fact, str(text).strip('"')) is None, text
    if fact.default is not None:
        assert fact_values.problem(fact, fact.default) is None
    # A message that says how to write it needs a value to show.
    assert not fact.is_required or fact.example


def test_every_known_key_of_an_entry_is_used() -> None:
    keys = {key for fact in FACTS.values() for key in fact.entry}
    assert {key for key in keys if key.startswith("x-")} == {
        *("x-default", "x-empty", "x-hint", "x-node", "x-required", "x-run", "x-table", "x-unit"),
        "x-wrong",
    }


@given(st.sampled_from([FACTS[name] for name in sorted(FACTS)]), st.text())
def test_no_text_makes_the_reader_fail(fact: Fact, text: str) -> None:
    wrong = problem(fact, text)
    assert wrong is None or wrong.why


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GOAL", Goal),
        ("CNI_INSTALL", CniInstall),
        ("NETWORK_MODE", NetworkMode),
        ("VM_ACCELERATOR", Accelerator),
        ("VM_FIRMWARE", Firmware),
    ],
)
def test_words_of_the_schema_are_those_of_the_code(name: str, words: type[StrEnum]) -> None:
    assert FACTS[name].entry["enum"] == list(words)


def test_as_many_disks_as_have_names() -> None:
    assert FACTS["VM_DISKS"].entry["maxItems"] == MOST_DISKS - 1


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("VM_DISKS", "20 100GiB", "'100GiB' is not a whole number of GiB from 1 to 65536"),
        ("VM_DISKS", "20 0", "0 is not a whole number of GiB from 1 to 65536"),
        ("VM_DISKS", "1 " * 25, "must be 24 numbers at most"),
        ("VM_CPUS", "2.5", "must be a whole number from 1 to 512"),
        ("VM_CPUS", " 5", "must be a whole number from 1 to 512"),
        ("VM_CPUS", "1_0", "must be a whole number from 1 to 512"),
        ("VM_MEMORY_MIB", "1e3", "must be a whole number of MiB from 64 to 16777216"),
        ("VM_DISKS", "20 1e3", "'1e3' is not a whole number of GiB from 1 to 65536"),
        ("VM_TPM", "yes", "must be one of true, false"),
        ("VM_FIRMWARE", "uefi", "must be one of efi, bios; did you mean efi?"),
        ("NODE_IP", "::", "is no address of a machine"),
        ("NODE_IP", "ff02::1", "is no address of a machine"),
    ],
)
def test_what_is_said(name: str, text: str, why: str) -> None:
    wrong = problem(FACTS[name], text)
    assert wrong is not None
    assert why in wrong.why


def test_values_have_their_types() -> None:
    facts = Facts(
        {"VM_CPUS": "4", "VM_DISKS": "20  100", "VM_TPM": "true", "VM_MEMORY_MIB": ""}, (Path("x"),)
    )
    assert (facts.whole("VM_CPUS"), facts.whole_numbers("VM_DISKS")) == (4, (20, 100))
    assert (facts.yes("VM_TPM"), facts.yes("VM_AUTOSTART")) == (True, True)
    # Not given, or without a value: the default.
    assert (facts.whole("VM_MEMORY_MIB"), facts.whole_numbers("VM_DISKS")) == (2048, (20, 100))
    assert facts.number("CALL_TIMEOUT") == 20
    assert facts.text("NODE_ENDPOINT") == ""


def test_a_default_of_the_project_is_named_with_its_line(small: Project) -> None:
    small.write("config/config.yaml", "defaults:\n  MY_OWN: 1\n  GOAL: later\n")
    with pytest.raises(InventoryError, match=r"^config/config\.yaml:3: GOAL='later': must be one"):
        environments.load("dev", {"MY_OWN": "1", "GOAL": "later"})


def test_a_fact_for_all_nodes_is_named_where_it_stands(small: Project) -> None:
    small.environment("dev", "VM_CPUS=none\n", ALL_READ)
    with pytest.raises(InventoryError, match=r"^patches/envs/dev/cluster\.env:11: VM_CPUS='none'"):
        environments.load("dev")


@pytest.mark.parametrize("name", sorted(known_facts.of_a_node() - known_facts.of_one_node() - FREE))
@pytest.mark.parametrize("role", ["workers", "control_planes"])
def test_a_fact_of_a_role_is_named_where_it_stands(small: Project, name: str, role: str) -> None:
    small.environment("dev", cluster_env=ALL_READ)
    text = refused(FACTS[name])[-1]
    file = f"patches/envs/dev/{role}/common.env"
    small.write(file, f'# for all of the role\n{name}="{text}"\n')
    with pytest.raises(InventoryError) as error:
        environments.load("dev")
    assert error.value.message.startswith(f"{file}:2: {name}=")
