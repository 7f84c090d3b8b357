from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base import yamls
from talosmake.base.errors import PatchError
from talosmake.inventory.model import Cluster, Role
from talosmake.patches.patch import Patch, parse
from talosmake.render import fit
from talosmake.talos import generate

PATH = Path("node.yaml")


def patch(text: str) -> Patch:
    return parse(text, PATH)


@pytest.mark.parametrize(
    "scalar", ["22:33:44:55:01:02", "0o644", "0644", "1e3", "yes", "2024-01-01", "1_000", "~"]
)
def test_scalars_stay_as_they_are_written(scalar: str) -> None:
    assert patch(f"a: {scalar}\n").documents == ({"a": scalar},)


@given(
    st.dictionaries(
        st.text(st.characters(categories=["L"]), min_size=1),
        st.recursive(
            st.integers() | st.booleans() | st.text(), lambda v: st.lists(v), max_leaves=5
        ),
        min_size=1,
    ),
    st.sampled_from(["", "# comment\n", "---\n", "\n\n", "%YAML 1.1\n---\n"]),
)
def test_text_is_kept_byte_for_byte(document: dict[str, Any], before: str) -> None:
    text = before + yaml.safe_dump(document, allow_unicode=True)
    parsed = patch(text)
    assert parsed.text == text
    assert list(parsed.documents[0]) == sorted(document)


@pytest.mark.parametrize(
    "text", ["", "\n", "# comment\n", "---\n", "---\n---\n", "null\n", "~", "{}"]
)
def test_files_that_say_nothing_have_no_documents(text: str) -> None:
    assert patch(text).documents == ()


def test_several_documents() -> None:
    text = "---\nmachine: {}\n---\n# nothing\n---\nkind: LinkConfig\n"
    assert patch(text).documents == ({"machine": {}}, {"kind": "LinkConfig"})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("machine:\n  a: [1\n", "node.yaml:3:1: not YAML: while parsing a flow sequence"),
        ("a: 1\n\tb: 2\n", "node.yaml:2:1: not YAML"),
        ("a: hunter2\n b: hunter2\n", "node.yaml:2:3: not YAML"),
        ('a: "hunter2\n', "node.yaml:2:1: not YAML"),
        ("a: hunter2: hunter2\n", "node.yaml:1:11: not YAML"),
        ("a: &hunter2x 1\nb: *hunter2\n", "node.yaml:2:4: not YAML"),
        ("a: \x00hunter2", "node.yaml: not YAML"),
    ],
)
def test_what_is_no_yaml_is_told_by_place_and_never_quoted(text: str, where: str) -> None:
    with pytest.raises(PatchError) as error:
        patch(text)
    assert error.value.message.startswith(where)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- op: add\n", "node.yaml: a JSON6902 patch"),
        ("a: 1\n---\n- op: add\n", "node.yaml: a JSON6902 patch"),
        ("just text\n", "node.yaml: not a patch: the document is text"),
        ("hunter2hunter2\n", "node.yaml: not a patch"),
    ],
)
def test_documents_that_are_no_mappings_are_refused(text: str, message: str) -> None:
    with pytest.raises(PatchError) as error:
        patch(text)
    assert error.value.message.startswith(message)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("document", [None, "x", [], {}, {"a": "x"}, {"a": {"b": None}}])
def test_lookup_of_what_is_not_there(document: object) -> None:
    assert yamls.lookup(document, "a", "b") is None


HEADER = "apiVersion: v1alpha1\nkind: HostnameConfig\n"
OLD_WAY = "machine:\n  network:\n    hostname: other\n"
DELETED = HEADER + "$patch: delete\n"
NOT_STABLE = "machine:\n  features:\n    stableHostname: false\n"


@pytest.mark.parametrize(
    ("texts", "contract", "expected"),
    [
        ([], (1, 11), "machine:\n  network:\n    hostname: cp-1\n"),
        ([OLD_WAY], (1, 11), ""),
        ([HEADER + "hostname: x\nauto: off\n"], (1, 11), NOT_STABLE),
        ([HEADER + "auto: stable\n"], (1, 11), NOT_STABLE),
        ([HEADER, DELETED], (1, 11), "machine:\n  network:\n    hostname: cp-1\n"),
        ([], (1, 12), HEADER + "hostname: cp-1\nauto: off\n"),
        ([], (1, 13), HEADER + "hostname: cp-1\nauto: off\n"),
        ([], (2, 0), HEADER + "hostname: cp-1\nauto: off\n"),
        ([OLD_WAY], (1, 13), DELETED),
        ([OLD_WAY, DELETED], (1, 13), ""),
        ([DELETED, OLD_WAY], (1, 13), ""),
        ([HEADER + "auto: stable\n"], (1, 13), ""),
        ([HEADER + "hostname: other\n"], (1, 13), HEADER + "hostname: cp-1\nauto: off\n"),
        ([HEADER + "hostname: x\nauto: off\n"], (1, 13), HEADER + "hostname: cp-1\nauto: off\n"),
    ],
)
def test_hostname_fits_the_contract(
    texts: list[str], contract: tuple[int, int], expected: str
) -> None:
    given = [patch(text) for text in texts]
    assert fit.hostname_patch(given, "cp-1", contract) == expected


@pytest.mark.parametrize("role", list(Role))
def test_machine_type_may_repeat_the_directory_but_not_differ(role: Role) -> None:
    fit.check_role(patch(f"machine:\n  type: {role}\n"), role, shared=False)
    other = next(r for r in Role if r is not role)
    with pytest.raises(PatchError, match=rf"node\.yaml: machine\.type: {other}, but"):
        fit.check_role(patch(f"machine:\n  type: {other}\n"), role, shared=False)


def test_machine_type_in_a_shared_layer_is_refused() -> None:
    shared = patch("machine:\n  type: worker\n")
    with pytest.raises(PatchError, match="a node's role is its directory"):
        fit.check_role(shared, Role.WORKER, shared=True)


def test_worker_with_control_plane_settings_is_refused_with_each_of_them() -> None:
    text = "cluster:\n  apiServer:\n    certSANs: [x]\n  etcd:\n    subnet: x\n  network: {}\n"
    with pytest.raises(PatchError, match=r"node\.yaml: cluster\.apiServer, cluster\.etcd: only"):
        fit.check_role(patch(text), Role.WORKER, shared=False)
    fit.check_role(patch(text), Role.WORKER, shared=True)
    fit.check_role(patch(text), Role.CONTROLPLANE, shared=False)


def test_what_the_kubelet_of_workers_reads_is_no_control_plane_setting() -> None:
    text = "cluster:\n  externalCloudProvider:\n    enabled: true\n"
    fit.check_role(patch(text), Role.WORKER, shared=False)


LINK_A = "kind: LinkConfig\nname: a\n"


@pytest.mark.parametrize(
    "texts",
    [
        ["machine: {a: b}\n---\nkind: HostnameConfig\n---\n" + LINK_A, LINK_A],
        [LINK_A + "---\nkind: LinkConfig\nname: b\n"],
        [LINK_A, LINK_A + "$patch: delete\n"],
        [LINK_A, LINK_A + "$patch: delete\n---\n" + LINK_A],
        ["kind: HostnameConfig\n$patch: delete\n---\nkind: HostnameConfig\nhostname: a\n"],
        ["machine:\n  sysctls:\n    $patch: delete\n"],
    ],
)
def test_documents_that_talosctl_takes(texts: list[str]) -> None:
    fit.check_documents([patch(text) for text in texts], (1, 13))


@pytest.mark.parametrize(
    ("texts", "contract", "message"),
    [
        ([LINK_A + "---\n" + LINK_A], (1, 13), "has the document LinkConfig a more than once"),
        (["machine: {a: b}\n---\ncluster: {a: b}\n"], (1, 13), "of machine and cluster more than"),
        ([LINK_A + "$patch: delete\n"], (1, 13), r"\$patch: delete of the document LinkConfig a"),
        ([LINK_A + "$patch: delete\n---\n" + LINK_A], (1, 13), "which no earlier layer has"),
        ([LINK_A, *[LINK_A + "$patch: delete\n"] * 2], (1, 13), "which no earlier layer has"),
        (["kind: HostnameConfig\n$patch: delete\n"], (1, 11), "the document HostnameConfig, which"),
    ],
)
def test_documents_that_break_the_config(
    texts: list[str], contract: tuple[int, int], message: str
) -> None:
    with pytest.raises(PatchError, match=message):
        fit.check_documents([patch(text) for text in texts], contract)


@pytest.mark.parametrize("value", ["replace", "merge", "Delete", "null", "'hunter2'", ""])
def test_patch_that_talosctl_takes_for_a_value(value: str) -> None:
    text = f"# one\n---\nmachine:\n  kubelet:\n    extraArgs: {{v: '2', $patch: {value}}}\n"
    with pytest.raises(PatchError) as error:
        fit.check_documents([patch(text)], (1, 13))
    said = value.strip("'")
    assert error.value.message == (
        f"node.yaml:5: machine.kubelet.extraArgs: $patch: {said}: Talos knows '$patch: delete' "
        "alone, and would take this for a value of the config"
    )
    assert error.value.hint.startswith("Mappings merge without it. To replace one, write")
    with pytest.raises(PatchError) as error:
        fit.check_documents([parse(text, PATH, secret=True)], (1, 13))
    assert error.value.message.startswith("node.yaml: machine.kubelet.extraArgs: $patch: Talos")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (LINK_A + "$patch: replace\n", "node.yaml:3: the document LinkConfig a: $patch: replace"),
        ("a: [{b: c, $patch: [delete]}]\n", "node.yaml:1: a.0: $patch: Talos"),
    ],
)
def test_patch_of_a_document_or_in_a_list_that_talosctl_does_not_know(
    text: str, where: str
) -> None:
    with pytest.raises(PatchError) as error:
        fit.check_documents([patch(text)], (1, 13))
    assert error.value.message.startswith(where)


def test_talosctl_takes_no_other_patch_than_delete() -> None:
    cluster = Cluster("a", "https://10.0.0.1:6443", "v1.13.0", "v1.13", "1.36.0")
    bundle = generate.gen_secrets("v1.13")
    text = "machine:\n  kubelet:\n    extraArgs: {{$patch: {}, v: '2'}}\n"
    for value, shown in (("replace", {"$patch": "replace", "v": "2"}), ("delete", None)):
        config = generate.gen_config(
            cluster,
            Role.WORKER,
            bundle,
            ["machine: {kubelet: {extraArgs: {v: '1'}}}\n", text.format(value)],
        )
        document = next(yaml.safe_load_all(config))
        assert document["machine"]["kubelet"].get("extraArgs") == shown


@pytest.mark.parametrize("contract", ["v1.8", "v1.11", "v1.12", "v1.13"])
@pytest.mark.parametrize("role", list(Role))
def test_talosctl_generates_the_documents_that_are_taken_for_there(
    contract: str, role: Role
) -> None:
    cluster = Cluster("a", "https://10.0.0.1:6443", "v1.13.0", contract, "1.36.0")
    config = generate.gen_config(cluster, role, generate.gen_secrets(contract), [])
    kinds = [document["kind"] for document in yaml.safe_load_all(config) if "kind" in document]
    assert kinds == (["HostnameConfig"] if cluster.contract >= (1, 12) else [])
