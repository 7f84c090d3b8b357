"""Where settings stand in machine configs of both layouts, by configs that talosctl generated."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from talosmake.patches import layout
from talosmake.patches.layout import Place, Setting
from talosmake.render import collisions
from tests import talos_configs
from tests.project import REPOSITORY

BOTH = pytest.mark.parametrize("contract", talos_configs.CONTRACTS)


def number(contract: str) -> tuple[int, ...]:
    return tuple(map(int, contract.removeprefix("v").split(".")))


# What every generated control plane has, whatever the layout. PEM is told from base64 of it.
EVERYWHERE = {
    layout.MACHINE_TYPE: "controlplane",
    layout.CLUSTER_ID: "<cluster.id>",
    layout.CLUSTER_SECRET: "<cluster.secret>",
    layout.CLUSTER_NAME: "talos-test",
    layout.ENDPOINT: "https://10.9.0.10:6443",
    layout.MACHINE_TOKEN: "<trustdinfo.token>",
    layout.BOOTSTRAP_TOKEN: "<secrets.bootstraptoken>",
    layout.MACHINE_CA_CRT: "<certs.os.crt>",
    layout.MACHINE_CA_KEY: "<certs.os.key>",
    layout.ETCD_CA_CRT: "<certs.etcd.crt>",
    layout.ETCD_CA_KEY: "<certs.etcd.key>",
    layout.KUBERNETES_CA_CRT: "<certs.k8s.crt>",
    layout.KUBERNETES_CA_KEY: "<certs.k8s.key>",
    layout.AGGREGATOR_CA_CRT: "<certs.k8saggregator.crt>",
    layout.AGGREGATOR_CA_KEY: "<certs.k8saggregator.key>",
    layout.SERVICE_ACCOUNT_KEY: "<certs.k8sserviceaccount.key>",
    layout.KUBELET_IMAGE: "ghcr.io/siderolabs/kubelet:v1.36.0",
    layout.API_SERVER_IMAGE: "registry.k8s.io/kube-apiserver:v1.36.0",
    layout.CONTROLLER_MANAGER_IMAGE: "registry.k8s.io/kube-controller-manager:v1.36.0",
    layout.PROXY_IMAGE: "registry.k8s.io/kube-proxy:v1.36.0",
    layout.SCHEDULER_IMAGE: "registry.k8s.io/kube-scheduler:v1.36.0",
    layout.POD_SUBNETS: ["10.244.0.0/16"],
    layout.SERVICE_SUBNETS: ["10.96.0.0/12"],
}


@BOTH
@pytest.mark.parametrize("setting", EVERYWHERE, ids=lambda one: one.places[0].label)
def test_each_setting_is_found_where_talosctl_puts_it(contract: str, setting: Setting) -> None:
    documents = talos_configs.documents(contract, "controlplane")
    [value] = layout.values(documents, setting)
    assert (value.replace(" as PEM", "") if isinstance(value, str) else value) == EVERYWHERE[
        setting
    ]
    place = setting.at(number(contract))
    [document] = [one for one in documents if layout.kind_of(one) == place.kind]
    assert [keys for keys, _ in layout.found(document, setting)] == [place.keys]


@BOTH
@pytest.mark.parametrize("role", talos_configs.ROLES)
def test_install_disk_and_image(contract: str, role: str) -> None:
    documents = talos_configs.documents(contract, role)
    disk = {"v1.13": "/dev/sda", "v1.14": 'disk.dev_path == "/dev/sda"'}[contract]
    assert layout.values(documents, layout.INSTALL_DISK) == [disk]
    assert layout.value(documents, layout.INSTALL_IMAGE).endswith(talos_configs.CONTRACTS[contract])


@BOTH
@pytest.mark.parametrize("role", talos_configs.ROLES)
def test_kube_prism_listens_in_both_layouts(contract: str, role: str) -> None:
    found = layout.value(talos_configs.documents(contract, role), layout.KUBE_PRISM)
    assert found["port"] == "7445"


@BOTH
@pytest.mark.parametrize("role", talos_configs.ROLES)
def test_generated_documents_are_known(contract: str, role: str) -> None:
    there = {
        (str(one["kind"]), str(one.get("name", "")))
        for one in talos_configs.documents(contract, role)
        if "kind" in one
    }
    assert layout.generated(number(contract), control_plane=role == "controlplane") == there


def test_older_contracts_have_no_other_documents() -> None:
    assert layout.generated((1, 11), control_plane=True) == frozenset()
    assert layout.generated((1, 12), control_plane=True) == {("HostnameConfig", "")}


@BOTH
@pytest.mark.parametrize("role", talos_configs.ROLES)
def test_what_talosctl_generates_collides_with_nothing(contract: str, role: str) -> None:
    assert collisions.of_config(talos_configs.documents(contract, role)) == []


def test_only_control_planes_are_generated_with_their_documents() -> None:
    kinds = {one.get("kind") for one in talos_configs.documents("v1.14", "worker")}
    assert not kinds & layout.CONTROL_PLANE_KINDS


def test_value_is_of_the_document_of_its_kind_alone() -> None:
    documents = [{"kind": "Other", "clusterName": "a"}, {"clusterName": "b"}]
    assert layout.value(documents, layout.CLUSTER_NAME) is None
    assert layout.values([{"kind": "KubeClusterConfig"}], layout.CLUSTER_NAME) == []


@pytest.mark.parametrize("document", [None, "text", [], {}, {"machine": "text"}, {"kind": None}])
def test_what_is_no_document_has_no_setting(document: Any) -> None:
    assert layout.values([document], layout.MACHINE_TYPE) == []
    assert list(layout.inline_manifests(document)) == []


def test_empty_value_gives_way_to_one_elsewhere() -> None:
    documents = [
        {"cluster": {"id": ""}},
        {"kind": "DiscoveryIdentityConfig", "clusterID": "abc="},
    ]
    assert layout.value(documents, layout.CLUSTER_ID) == "abc="


def test_places_are_named_as_people_write_them() -> None:
    assert layout.INSTALL_DISK.label((1, 13)) == "machine.install.disk"
    assert layout.CLUSTER_ID.label((1, 14)) == "DiscoveryIdentityConfig: clusterID"
    assert Place("KubePrismConfig").label == "KubePrismConfig"
    # What has one place has it in every layout.
    assert layout.CERT_SANS.label((1, 14)) == "machine.certSANs"


INLINE = """\
cluster:
  inlineManifests:
    - {name: one, contents: a}
    - {contents: b}
    - text
---
kind: KubeInlineManifestConfig
name: two
manifest: c
---
kind: KubeInlineManifestConfig
name: three
$patch: delete
---
kind: Other
cluster: {inlineManifests: [{name: four, contents: d}]}
"""


def test_inline_manifests_of_both_layouts() -> None:
    documents = yaml.load_all(INLINE, Loader=yaml.BaseLoader)
    found = [one for document in documents for one in layout.inline_manifests(document)]
    assert found == [("one", "a"), ("", "b"), ("", ""), ("two", "c")]


def test_documentation_names_the_same_places() -> None:
    page = (REPOSITORY / "docs/versions.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|$", page, re.MULTILINE)
    known = {
        setting.places[0].label: setting.places[1].label
        for setting in vars(layout).values()
        if isinstance(setting, Setting) and len(setting.places) == 2
    }
    assert len(rows) > 10
    assert rows == [(legacy, known.get(legacy)) for legacy, _ in rows]
