"""What is known of contract 1.14 is what the real talosctl of Talos 1.14 says."""

from __future__ import annotations

import re
from functools import cache

import pytest
import yaml

from talosmake.base.errors import ValidationError
from talosmake.inventory.model import Role
from talosmake.patches import layout
from talosmake.render import cilium, collisions, disclosure, identity
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests import talos_configs
from tests.talos_configs import without_secrets

CLUSTER = talos_configs.cluster("v1.14")
BUNDLE = generate.gen_secrets("v1.14", CLUSTER.talosctl)
OTHER = generate.gen_secrets("v1.14", CLUSTER.talosctl)
SECRETS = disclosure.secrets_in(bundles.secret_values(BUNDLE), [])


@cache
def generated(role: Role, *patches: str, bundle: bytes = BUNDLE) -> bytes:
    return generate.gen_config(CLUSTER, role, bundle, patches)


def complaints(config: bytes) -> str:
    """What ``talosctl validate`` has against a config; "" for nothing."""
    try:
        generate.validate(config, CLUSTER.talosctl)
    except ValidationError as error:
        return error.message
    return ""


# --- v1alpha1 beside documents --------------------------------------------------------------------

# A value for each field of v1alpha1 that collides with a document, and what talosctl says of it.
FIELDS = {
    "cluster.aescbcEncryptionSecret": "z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=",
    "cluster.aggregatorCA": "{crt: YQ==, key: YQ==}",
    "cluster.allowSchedulingOnControlPlanes": "true",
    "cluster.allowSchedulingOnMasters": "true",
    "cluster.apiServer": "{certSANs: [a.example.org]}",
    "cluster.apiServer.admissionControl": "[{name: Other, configuration: {a: b}}]",
    "cluster.apiServer.auditPolicy": "{apiVersion: audit.k8s.io/v1, kind: Policy}",
    "cluster.ca": "{crt: YQ==, key: YQ==}",
    "cluster.clusterName": "other",
    "cluster.controlPlane.endpoint": "https://10.9.0.99:6443",
    "cluster.controlPlane.localAPIServerPort": "6444",
    "cluster.controllerManager": "{extraArgs: {a: b}}",
    "cluster.coreDNS": "{disabled: true}",
    "cluster.discovery": "{enabled: true}",
    "cluster.id": "z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=",
    "cluster.network": "{podSubnets: [10.1.0.0/16]}",
    "cluster.proxy": "{disabled: true}",
    "cluster.scheduler": "{extraArgs: {a: b}}",
    "cluster.secret": "z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=",
    "cluster.secretboxEncryptionSecret": "z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=",
    "cluster.serviceAccount": "{key: YQ==}",
    "machine.baseRuntimeSpecOverrides": "{process: {rlimits: [{type: A, hard: 1, soft: 1}]}}",
    "machine.controlPlane.controllerManager": "{disabled: false}",
    "machine.controlPlane.scheduler": "{disabled: false}",
    "machine.features.hostDNS": "{enabled: true}",
    "machine.features.imageCache": "{localEnabled: true}",
    "machine.features.kubePrism": "{enabled: true, port: 7445}",
    "machine.features.kubernetesTalosAPIAccess": (
        "{enabled: true, allowedRoles: ['os:reader'], allowedKubernetesNamespaces: [a]}"
    ),
    "machine.install": "{disk: /dev/vda}",
    "machine.kubelet": "{extraArgs: {a: b}}",
    "machine.kubelet.nodeIP": "{validSubnets: [10.9.0.0/24]}",
    "machine.kubelet.registerWithFQDN": "true",
    "machine.kubelet.skipNodeRegistration": "true",
    "machine.network.nameservers": "[1.1.1.1]",
    "machine.network.searchDomains": "[example.org]",
    "machine.nodeAnnotations": "{a: b}",
    "machine.nodeLabels": "{a: b}",
    "machine.nodeTaints": "{a: 'b:NoSchedule'}",
}
# Documents that no generated config has.
MORE = {
    "CRIBaseRuntimeSpecConfig": "overrides: {process: {rlimits: [{type: B, hard: 1, soft: 1}]}}\n",
    "DiscoveryServiceConfig": "name: own\nendpoint: https://discovery.example.org\n",
    "ImageCacheConfig": "local: {enabled: true}\n",
    "KubeCredentialProviderConfig": "configuration: {apiVersion: v1, kind: A}\n",
    "KubeTalosAPIAccessConfig": ("allowedRoles: ['os:reader']\nallowedKubernetesNamespaces: [a]\n"),
}


def nested(field: str) -> str:
    text = FIELDS[field]
    for key in reversed(field.split(".")):
        text = f"{{{key}: {text}}}"
    return text


def document(kind: str) -> str:
    return f"apiVersion: v1alpha1\nkind: {kind}\n{MORE[kind]}"


def test_each_field_that_collides_is_tried() -> None:
    assert set(FIELDS) == {field for fields in layout.COLLISIONS.values() for field in fields}


@pytest.mark.parametrize("field", FIELDS)
def test_talosctl_refuses_each_field_that_is_said_to_collide(field: str) -> None:
    kinds = [one.partition(" ")[0] for one, fields in layout.COLLISIONS.items() if field in fields]
    own = [document(kind) for kind in kinds if kind in MORE]
    with_document, with_both = (
        generated(Role.CONTROLPLANE, *own, *texts) for texts in ((), (nested(field),))
    )
    found = {one.field for one in collisions.of_config(yaml.safe_load_all(with_both))}
    assert field in found
    more = set(complaints(with_both).splitlines()) - set(complaints(with_document).splitlines())
    assert any("v1alpha1" in line or "both" in line for line in more), more


@pytest.mark.parametrize(
    "text",
    [
        "machine: {sysctls: {a: b}, certSANs: [a]}",
        "cluster: {externalCloudProvider: {enabled: true}}",
        "cluster: {inlineManifests: [{name: a, contents: 'a: b'}]}",
        "cluster: {etcd: {advertisedSubnets: [10.9.0.0/24]}}",
        "machine: {network: {disableSearchDomain: false}}",
        "machine: {files: [{path: /var/a, content: a, op: create}]}",
        "apiVersion: v1alpha1\nkind: KubeNodeConfig\nregisterWithFQDN: true\n",
    ],
)
def test_what_talosctl_takes_is_not_said_to_collide(text: str) -> None:
    config = generated(Role.CONTROLPLANE, text)
    assert complaints(config) == ""
    assert collisions.of_config(yaml.safe_load_all(config)) == []


# --- roles ----------------------------------------------------------------------------------------


def test_talosctl_refuses_the_same_documents_on_workers() -> None:
    _, *generated_ones = talos_configs.text("v1.14", "controlplane").split("---\n")
    given = [re.sub(r"<[^>]*>", "YQ==", text) for text in generated_ones]
    # A document twice would be refused: one patch each, later ones merge.
    refused = re.search(
        r"only allowed on control plane machines: \[([^]]*)\]",
        complaints(generated(Role.WORKER, *given, *map(document, MORE))),
    )
    assert refused
    assert set(refused[1].split()) == layout.CONTROL_PLANE_KINDS


# --- Cilium's layer -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_network_layer_leaves_a_valid_config_without_flannel_and_kube_proxy(role: Role) -> None:
    layer = cilium.network_layer(CLUSTER.contract, role)
    config = generated(role, *filter(None, [layer]))
    assert complaints(config) == ""
    by_kind = {layout.kind_of(one): one for one in yaml.safe_load_all(config)}
    assert layout.FLANNEL not in by_kind
    assert by_kind.get("KubeProxyConfig", {}).get("enabled", False) is False
    assert by_kind["KubePrismConfig"]["port"] == cilium.KUBEPRISM_PORT


# --- which cluster it is --------------------------------------------------------------------------


def differences(role: Role, config: bytes) -> set[str]:
    bundle = identity.documents(BUNDLE)["", ""]
    found = identity.differences(
        identity.documents(config), identity.documents(generated(role)), bundle, secret=True
    )
    return {one.label for one in found}


@pytest.mark.parametrize("role", Role)
def test_config_of_this_cluster_is_let_through(role: Role) -> None:
    assert differences(role, generated(role)) == set()
    assert differences(role, generated(role, "machine: {certSANs: [a]}")) == set()


def test_config_of_another_cluster_differs_in_each_place() -> None:
    assert differences(Role.CONTROLPLANE, generated(Role.CONTROLPLANE, bundle=OTHER)) == {
        "machine.token",
        "machine.ca.crt",
        "machine.ca.key",
        "cluster.token",
        "cluster.etcd.ca.crt",
        "cluster.etcd.ca.key",
        "DiscoveryIdentityConfig.clusterID",
        "DiscoveryIdentityConfig.clusterSecret",
        "KubeAPIServerCAConfig.issuingCA.cert",
        "KubeAPIServerCAConfig.issuingCA.key",
        "KubeAggregatorCAConfig.issuingCA.cert",
        "KubeAggregatorCAConfig.issuingCA.key",
        "KubeEtcdEncryptionConfig.config.resources.0.providers.0.secretbox.keys.0.secret",
        "KubeServiceAccountConfig.issuer.privateKey",
    }


def test_worker_of_another_cluster_trusts_another_ca() -> None:
    found = differences(Role.WORKER, generated(Role.WORKER, bundle=OTHER))
    assert {"KubeAPIServerCAConfig.acceptedCAs.0", "DiscoveryIdentityConfig.clusterID"} <= found


@pytest.mark.parametrize(
    ("patch", "label"),
    [
        ("kind: KubeClusterConfig\nclusterName: other\n", "KubeClusterConfig.clusterName"),
        (
            "kind: KubeClusterConfig\nendpoint: https://10.9.0.99:6443\n",
            "KubeClusterConfig.endpoint",
        ),
        (
            "kind: DiscoveryIdentityConfig\n"
            "clusterID: z01mye6j16bspJYtTB/5SFX8j7Ph4JXxM2Xuu4vsBPM=\n",
            "DiscoveryIdentityConfig.clusterID",
        ),
        (
            "kind: DiscoveryIdentityConfig\n$patch: delete\n",
            "DiscoveryIdentityConfig.clusterID",
        ),
        ("kind: KubeAPIServerCAConfig\nissuingCA: {cert: a}\n", "KubeAPIServerCAConfig.issuingCA"),
    ],
)
def test_patch_of_a_document_makes_it_another_cluster(patch: str, label: str) -> None:
    config = generated(Role.CONTROLPLANE, f"apiVersion: v1alpha1\n{patch}")
    assert any(one.startswith(label) for one in differences(Role.CONTROLPLANE, config))


def test_names_of_v1alpha1_are_held_against_those_of_documents() -> None:
    same, other = (
        generated(Role.CONTROLPLANE, f"cluster: {{clusterName: {name}}}")
        for name in (CLUSTER.name, "other")
    )
    assert differences(Role.CONTROLPLANE, same) == set()
    assert differences(Role.CONTROLPLANE, other) == {"cluster.clusterName"}


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_nothing_secret_of_a_generated_config_is_shown(role: Role) -> None:
    config = generated(role)
    shown = disclosure.text(disclosure.redacted(disclosure.parsed(config), SECRETS.hides))
    for value in bundles.secret_values(BUNDLE):
        assert value not in shown
    # It is the same, but for its secrets: nothing else is hidden.
    named = yaml.load_all(without_secrets(config, BUNDLE), Loader=yaml.BaseLoader)
    plain = {(layout.kind_of(one), str(one.get("name", ""))): one for one in named}
    hidden = re.sub(r"<[a-z0-9.]+( as PEM)?>", "<redacted>", disclosure.text(plain))
    # What stands below a cipher's keys, its name too.
    hidden = hidden.replace("name: key2", "name: <redacted>")
    assert without_blocks(shown) == hidden


def without_blocks(text: str) -> str:
    """A PEM whose lines are hidden one by one, as one hidden value."""
    block = r"\|-?\n(?: *(?:-----.*-----|<redacted>)\n)+"
    return re.sub(block, "<redacted>\n", text)


def test_lines_of_pem_in_documents_are_known_from_the_bundle() -> None:
    text = generated(Role.CONTROLPLANE).decode()
    lines = [line for line in bundles.secret_values(BUNDLE) if "\n" not in line and line in text]
    assert len(lines) > 20
