"""What looks into machine configs and patches, on documents of contract 1.14."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base.errors import NodeError, PatchError
from talosmake.base.redact import pem, pem_lines
from talosmake.base.secret_keys import is_secret_at, secret_key
from talosmake.checks import cilium_rules, environment_rules, network_rules, value_rules
from talosmake.checks.finding import EnvironmentView, Finding, NodeView
from talosmake.inventory import environments, node_names
from talosmake.inventory.model import Cilium, CniInstall, Environment, Role
from talosmake.patches.patch import Patch, parse
from talosmake.render import cilium, cilium_network, collisions, fit, manifests
from talosmake.render.layers import Layer
from talosmake.report import promote
from talosmake.rollout import guard, installed
from tests import talos_configs
from tests.project import Project

PATH = Path("patches/common.yaml")
CONTRACT = (1, 14)
PEM = "-----BEGIN X-----\nabcdefgh\nijk=\n-----END X-----\n"


def patch(*documents: str, secret: bool = False) -> Patch:
    return parse("---\n".join(documents), PATH, secret=secret)


def document(kind: str, text: str = "") -> str:
    return f"apiVersion: v1alpha1\nkind: {kind}\n{text}"


@pytest.fixture
def dev(small: Project) -> Environment:
    """A control plane and a worker of contract 1.14."""
    environment = environments.load("dev")
    cluster = replace(environment.cluster, talos_version="v1.14.1", talos_contract="v1.14")
    return replace(environment, cluster=cluster)


def view(dev: Environment, *documents: str, role: Role = Role.CONTROLPLANE) -> NodeView:
    node = next(node for node in dev.nodes if node.role is role)
    text = "---\n".join(documents)
    config = talos_configs.text("v1.14", role).encode()
    return NodeView(dev, node, [Layer(patch(*documents), text)], lambda: config, lambda: config)


def said(findings: Iterable[Finding]) -> list[str]:
    return [f"{finding.where}: {finding.what}" for finding in findings]


# --- which cluster it is --------------------------------------------------------------------------


def running(identifier: str, role: str = "controlplane", name: str = "talos-test") -> bytes:
    return (
        f"machine:\n  type: {role}\n---\nkind: DiscoveryIdentityConfig\nclusterID: {identifier}\n"
        f"---\nkind: KubeClusterConfig\nclusterName: {name}\n"
    ).encode()


@pytest.mark.parametrize("contract", talos_configs.CONTRACTS)
def test_guard_reads_who_a_node_is_from_either_layout(dev: Environment, contract: str) -> None:
    config = talos_configs.text(contract, "controlplane").encode()
    cluster = guard.ClusterIdentity("<cluster.id>", "talos-test")
    assert guard.cluster_of(config) == cluster
    guard.check_cluster(dev, dev.first_control_plane, config, cluster)


@pytest.mark.parametrize(
    "config",
    [
        running("''"),
        running("null"),
        running("other="),
        b"machine: {type: controlplane}\n",
        # A config that says two things is of no cluster.
        b"machine: {type: controlplane}\ncluster: {id: one=}\n---\n"
        b"kind: DiscoveryIdentityConfig\nclusterID: two=\n",
    ],
)
@pytest.mark.parametrize("identifier", ["", "one="])
def test_guard_takes_nothing_unknown_for_the_same(
    dev: Environment, config: bytes, identifier: str
) -> None:
    wanted = guard.ClusterIdentity(identifier, "talos-test")
    with pytest.raises(NodeError, match=r"another cluster\.id: it has (none|other=…), this"):
        guard.check_cluster(dev, dev.first_control_plane, config, wanted)


def test_guard_compares_names_of_a_shared_bundle(dev: Environment) -> None:
    shared = replace(dev, shares_bundle_with=("prod",))
    wanted = guard.ClusterIdentity("one=", "talos-test")
    node = shared.first_control_plane
    guard.check_cluster(shared, node, running("one="), wanted)
    with pytest.raises(NodeError, match=r"another cluster\.clusterName: it has other, this"):
        guard.check_cluster(shared, node, running("one=", name="other"), wanted)


# --- names ----------------------------------------------------------------------------------------


def test_node_registers_with_its_whole_name() -> None:
    name = document("HostnameConfig", "hostname: CP-1.example.org\n")
    full = name + "---\n" + document("KubeNodeConfig", "registerWithFQDN: true\n")
    assert node_names.of_config(name.encode()) == node_names.Name("cp-1", "cp-1")
    assert node_names.of_config(full.encode()) == node_names.Name("cp-1", "cp-1.example.org")


@pytest.mark.parametrize("value", ["true", "false"])
def test_workers_may_share_a_short_name_where_kubelets_register_in_full(
    here: Project, value: str
) -> None:
    here.environment("dev")
    here.node("dev", "control_planes", "cp_1", "10.9.0.11")
    for number in (1, 2):
        name = f"worker_{number}"
        here.node("dev", "workers", name, f"10.9.0.2{number}", f"NODE_HOSTNAME=w.r{number}.test\n")
        here.patch(
            "dev", "workers", name, document("KubeNodeConfig", f"registerWithFQDN: {value}\n")
        )
    if value == "true":
        assert len(environments.load("dev").workers) == 2
    else:
        with pytest.raises(Exception, match=r"Both would be w to etcd and to Kubernetes"):
            environments.load("dev")


# --- what fits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
def test_document_of_control_planes_is_refused_where_workers_get_it(shared: bool) -> None:
    given = patch(document("KubePrismConfig", "port: 7445\n"), document("KubeProxyConfig"))
    reaches = "this patch reaches workers, too" if shared else "this is a worker"
    message = (
        rf"^patches/common.yaml:6: the document KubeProxyConfig: Talos takes it on control planes "
        rf"alone, and {reaches}\n"
    )
    with pytest.raises(PatchError, match=message):
        fit.check_role(given, Role.WORKER, shared=shared)
    fit.check_role(given, Role.CONTROLPLANE, shared=shared)


@pytest.mark.parametrize("kind", ["KubeExternalManifestConfig", "KubeInlineManifestConfig"])
def test_manifests_are_of_no_use_on_workers(dev: Environment, kind: str) -> None:
    text = document(kind, "name: a\n")
    message = rf"^patches/common\.yaml: the document {kind}: only control planes have this"
    with pytest.raises(PatchError, match=message):
        fit.check_role(patch(text), Role.WORKER, shared=False)
    fit.check_role(patch(text), Role.WORKER, shared=True)
    assert said(value_rules.control_plane_settings(view(dev, text, role=Role.WORKER))) == [
        f"patches/common.yaml:2: {kind} a: only control planes have this, and it reaches workers"
    ]
    assert not said(value_rules.control_plane_settings(view(dev, text)))


def test_encrypted_document_of_control_planes_shows_no_line() -> None:
    given = patch(document("KubeAuthorizerConfig", "name: node\n"), secret=True)
    with pytest.raises(
        PatchError, match=r"^patches/common\.yaml: the document KubeAuthorizerConfig"
    ):
        fit.check_role(given, Role.WORKER, shared=True)


@pytest.mark.parametrize(
    ("kind", "role", "contract", "fits"),
    [
        ("KubeFlannelCNIConfig", Role.CONTROLPLANE, (1, 14), True),
        ("KubeFlannelCNIConfig", Role.WORKER, (1, 14), False),
        ("KubeFlannelCNIConfig", Role.CONTROLPLANE, (1, 13), False),
        ("FilesystemTrimConfig", Role.WORKER, (1, 14), True),
        ("EthernetConfig", Role.WORKER, (1, 14), False),
    ],
)
def test_only_documents_that_are_there_are_deleted(
    kind: str, role: Role, contract: tuple[int, int], fits: bool
) -> None:
    given = [patch(document(kind, "$patch: delete\n"))]
    if fits:
        fit.check_documents(given, contract, role)
    else:
        with pytest.raises(PatchError, match=f"delete of the document {kind}, which no earlier"):
            fit.check_documents(given, contract, role)


def test_field_beside_the_document_that_a_contract_generates() -> None:
    given = patch("machine:\n  kubelet:\n    extraArgs: {a: b}\n  install:\n    disk: /dev/vda\n")
    whole = [*talos_configs.documents("v1.14", "worker"), *given.documents]
    found = collisions.of_config(whole)
    assert [(one.kind, one.field) for one in found] == [
        ("KubeletConfig", "machine.kubelet"),
        ("UnattendedInstallConfig", "machine.install"),
    ]
    error = collisions.refused(found, [given], (1, 14), "dev/w", "cluster.env")
    assert (
        "patches/common.yaml:2: machine.kubelet: Talos refuses this beside the document "
        "KubeletConfig of contract v1.14; for dev/w"
    ) in error.message
    assert "patches/common.yaml:4: machine.install: Talos refuses this" in error.message
    assert "or stay at an older TALOS_CONTRACT than v1.14, in cluster.env" in error.hint
    assert "patches/common.yaml reaches environments of other contracts, too" in error.hint
    own = parse(given.text, Path("patches/envs/dev/common.yaml"))
    error = collisions.refused(found, [own], (1, 14), "dev/w", "cluster.env")
    assert "reaches environments of other contracts" not in error.hint


def test_document_beside_the_field_that_a_contract_generates() -> None:
    given = patch(document("KubeletConfig", "extraArgs: {a: b}\n"))
    found = collisions.of_config([*talos_configs.documents("v1.13", "worker"), *given.documents])
    error = collisions.refused(found, [given], (1, 13), "dev/w", "cluster.env")
    assert error.message == (
        "patches/common.yaml:2: the document KubeletConfig: Talos refuses this beside "
        "machine.kubelet, which configs of contract v1.13 have; for dev/w"
    )
    assert error.hint.startswith(
        "Write it in machine and cluster instead (machine.kubelet), or raise TALOS_CONTRACT in "
        "cluster.env\nfrom v1.13 to v1.14, whose configs are made of such documents.\n"
    )


def test_either_may_stay_where_no_contract_generates_one() -> None:
    field = patch("machine:\n  network:\n    nameservers: [1.1.1.1]\n")
    own = document("ResolverConfig", "searchDomains: {domains: [a.b]}\n")
    other = parse(own, Path("patches/envs/dev/dns.yaml"))
    base = talos_configs.documents("v1.13", "worker")
    found = collisions.of_config([*base, *field.documents, *other.documents])
    error = collisions.refused(found, [field, other], (1, 13), "dev/w", "cluster.env")
    assert error.message == (
        "patches/envs/dev/dns.yaml:2: the document ResolverConfig: Talos refuses this beside "
        "machine.network.nameservers, in patches/common.yaml:3; for dev/w"
    )
    assert error.hint == (
        "Write it in one of the two alone: in machine and cluster, or in ResolverConfig."
    )
    for one in (field, other):  # what the hint says
        assert collisions.of_config([*base, *one.documents]) == []


def test_both_in_patches_name_each_other() -> None:
    one = patch("cluster:\n  discovery:\n    enabled: true\n")
    other = parse(document("DiscoveryServiceConfig", "name: a\n"), Path("patches/more.yaml"))
    found = collisions.of_config([*one.documents, *other.documents])
    error = collisions.refused(found, [one, other], (1, 14), "dev/w", "cluster.env")
    assert error.message == (
        "patches/common.yaml:2: cluster.discovery: Talos refuses this beside the document "
        "DiscoveryServiceConfig, in patches/more.yaml:2; for dev/w"
    )


def test_a_document_is_what_does_not_fit_an_older_contract() -> None:
    one = patch("machine:\n  kubelet:\n    extraArgs: {a: b}\n")
    other = parse(document("KubeletConfig"), Path("patches/more.yaml"))
    found = collisions.of_config([*one.documents, *other.documents])
    error = collisions.refused(found, [one, other], (1, 13), "dev/w", "cluster.env")
    assert error.message == (
        "patches/more.yaml:2: the document KubeletConfig: Talos refuses this beside "
        "machine.kubelet, in patches/common.yaml:2; for dev/w"
    )


def test_resolvers_are_beside_host_dns_unless_they_set_it() -> None:
    main = {"machine": {"features": {"hostDNS": {"enabled": "true"}}}}
    resolver: dict[str, Any] = {"kind": "ResolverConfig", "nameservers": [{"address": "1.1.1.1"}]}
    assert collisions.of_config([main, resolver]) == []
    assert collisions.of_config([main, {**resolver, "hostDNS": {"enabled": "true"}}]) != []


# --- Cilium ---------------------------------------------------------------------------------------


def test_network_layer_takes_flannel_and_kube_proxy_away_where_they_are() -> None:
    assert cilium.network_layer(CONTRACT, Role.WORKER) == ""
    layer = patch(cilium.network_layer(CONTRACT, Role.CONTROLPLANE))
    assert layer.documents == (
        {"apiVersion": "v1alpha1", "kind": "KubeFlannelCNIConfig", "$patch": "delete"},
        {"apiVersion": "v1alpha1", "kind": "KubeProxyConfig", "enabled": "false"},
    )
    fit.check_documents([layer], CONTRACT, Role.CONTROLPLANE)


@pytest.mark.parametrize(
    ("file", "legacy", "name"),
    [
        ("l2_announcements", "cilium-l2_announcements", "cilium-l2-announcements"),
        ("A b", "cilium-A b", "cilium-a-b"),
        ("pool.v2", "cilium-pool.v2", "cilium-pool.v2"),
        ("pool_", "cilium-pool_", "cilium-pool"),
    ],
)
def test_inline_manifest_is_named_as_its_layout_takes_it(file: str, legacy: str, name: str) -> None:
    path = Path(f"patches/cilium/manifests/{file}.yaml")
    assert cilium._name_of(path, (1, 13)) == legacy
    assert cilium._name_of(path, CONTRACT) == name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (document("KubeFlannelCNIConfig", "backendType: vxlan\n"), "the document KubeFlannelCNI"),
        (document("KubeProxyConfig", "enabled: true\n"), "KubeProxyConfig: enabled: true"),
        (document("KubeProxyConfig", "$patch: delete\n"), r"KubeProxyConfig: \$patch: delete"),
        (document("KubePrismConfig", "$patch: delete\n"), r"KubePrismConfig: \$patch: delete"),
        (
            document("KubeInlineManifestConfig", "name: cilium-l2\n$patch: delete\n"),
            r"KubeInlineManifestConfig cilium-l2: \$patch: delete",
        ),
    ],
)
def test_documents_that_contradict_cilium(dev: Environment, text: str, found: str) -> None:
    with pytest.raises(PatchError, match=rf"^patches/common\.yaml: {found}"):
        cilium.check_patch(dev, patch(text))


@pytest.mark.parametrize(
    "text",
    [
        document("KubeFlannelCNIConfig", "$patch: delete\n"),
        document("KubeProxyConfig", "enabled: false\n"),
        document("KubePrismConfig", "port: 7446\n"),
        document("KubeInlineManifestConfig", "name: ciliumx\n$patch: delete\n"),
        document("CoreDNSConfig", "enabled: true\n"),
    ],
)
def test_documents_that_do_not_contradict_cilium(dev: Environment, text: str) -> None:
    cilium.check_patch(dev, patch(text))


def test_subnets_are_those_of_the_last_document() -> None:
    first = document(
        "KubeNetworkConfig", "podSubnets: [10.1.0.0/16]\nserviceSubnets: [10.2.0.0/16]\n"
    )
    documents = patch(first, document("KubeNetworkConfig", "podSubnets: [10.3.0.0/16]")).documents
    found = cilium_network.of_documents(documents)
    assert found == cilium_network.Subnets(("10.3.0.0/16",), ("10.2.0.0/16",))


def test_changed_inline_manifests_are_told_in_either_layout() -> None:
    legacy = [{"cluster": {"inlineManifests": [{"name": "cilium", "contents": "a\n"}]}}]
    documents = [{"kind": "KubeInlineManifestConfig", "name": "cilium", "manifest": "a"}]
    assert manifests.changed(legacy, documents) == []
    assert manifests.changed([], documents) == ["cilium"]


# --- lint -----------------------------------------------------------------------------------------

INSTALL = "provisioning:\n  diskSelector:\n    match: "
RULES: list[tuple[Callable[[NodeView], Iterable[Finding]], str, str]] = [
    (
        value_rules.disk_path,
        document("UnattendedInstallConfig", f'{INSTALL}disk.dev_path == "sda"\n'),
        "5: UnattendedInstallConfig: provisioning.diskSelector.match: sda is no path of a disk",
    ),
    (
        value_rules.disk_path,
        document("UserVolumeConfig", f"name: data\n{INSTALL}'disk.dev_path == \"vdb\"'\n"),
        "6: UserVolumeConfig data: provisioning.diskSelector.match: vdb is no path of a disk",
    ),
    (
        value_rules.host_name,
        document("HostnameConfig", "hostname: bad_host\n"),
        "3: HostnameConfig: hostname: bad_host is no host name",
    ),
    (
        value_rules.kubernetes_image,
        document("KubeletConfig", "image: ghcr.io/siderolabs/kubelet:v1.30.0\n"),
        "3: KubeletConfig: image: ghcr.io/siderolabs/kubelet:v1.30.0 is not of "
        "KUBERNETES_VERSION=1.36.0",
    ),
    (
        value_rules.kubernetes_image,
        document("KubeSchedulerConfig", "image: registry.k8s.io/kube-scheduler:v1.30.0\n"),
        "3: KubeSchedulerConfig: image: registry.k8s.io/kube-scheduler:v1.30.0 is not of "
        "KUBERNETES_VERSION=1.36.0",
    ),
    (
        value_rules.installer_image,
        document("UnattendedInstallConfig", "installer:\n  image: factory.x/installer/a:v1.12.0\n"),
        "4: UnattendedInstallConfig: installer.image: factory.x/installer/a:v1.12.0 is not of "
        "TALOS_VERSION=v1.13.0",
    ),
    (
        network_rules.subnet,
        document("KubeNetworkConfig", "podSubnets: [10.1.2.3/16]\n"),
        "3: KubeNetworkConfig: podSubnets: 10.1.2.3/16 is an address in 10.1.0.0/16, not the "
        "network itself",
    ),
    (
        network_rules.subnet_overlap,
        document("KubeNetworkConfig", "podSubnets: [10.9.0.0/16]\n"),
        "3: pods have 10.9.0.0/16, and nodes have addresses in it: they overlap",
    ),
]


@pytest.mark.parametrize(("rule", "text", "found"), RULES)
def test_rule_finds_it_in_a_document(
    dev: Environment, rule: Callable[[NodeView], Iterable[Finding]], text: str, found: str
) -> None:
    assert said(rule(view(dev, text))) == [f"patches/common.yaml:{found}"]


@pytest.mark.parametrize("expression", ['disk.dev_path == "/dev/vda"', "disk.size > 10u * GiB"])
def test_install_disk_is_named_by_an_expression(dev: Environment, expression: str) -> None:
    given = view(dev, document("UnattendedInstallConfig", f"{INSTALL}{expression}\n"))
    assert not list(value_rules.disk_path(given))
    assert not list(value_rules.disk_not_given(given))
    [finding] = value_rules.disk_not_given(view(dev))
    assert finding.do.startswith(
        "Set UnattendedInstallConfig: provisioning.diskSelector.match, e.g. in patches/envs/dev"
    )


@pytest.mark.parametrize("given", ["disk: /dev/vda", "diskSelector: {size: '> 10GB'}"])
def test_install_disk_is_named_in_machine_and_cluster(dev: Environment, given: str) -> None:
    assert not list(value_rules.disk_not_given(view(dev, f"machine:\n  install:\n    {given}\n")))
    assert list(value_rules.disk_not_given(view(dev, "machine:\n  install:\n    wipe: true\n")))


def test_endpoint_is_served_by_a_name_of_the_api_server(dev: Environment) -> None:
    sans = document("KubeAPIServerConfig", "certExtraSANs: [10.9.0.10]\n")
    assert not list(environment_rules.endpoint(EnvironmentView(dev, [view(dev, sans)])))
    [finding] = environment_rules.endpoint(EnvironmentView(dev, [view(dev)]))
    assert "name it there in KubeAPIServerConfig: certExtraSANs: 10.9.0.10" in finding.do


def test_valid_subnets_of_a_node_are_held_against_its_addresses(dev: Environment) -> None:
    link = document("LinkConfig", "name: eth0\naddresses: [{address: 10.9.0.11/24}]\n")
    allowed = document("KubeNodeConfig", "nodeIP:\n  validSubnets: [192.168.0.0/16]\n")
    assert said(network_rules.address_outside(view(dev, link, allowed))) == [
        "patches/common.yaml:9: KubeNodeConfig: nodeIP.validSubnets: none of the node's addresses "
        "is in 192.168.0.0/16"
    ]


def test_subnets_that_etcd_advertises_are_held_against_addresses_of_control_planes(
    dev: Environment,
) -> None:
    link = document("LinkConfig", "name: eth0\naddresses: [{address: 10.9.0.11/24}]\n")
    wrong = "cluster:\n  etcd:\n    advertisedSubnets: [192.168.0.0/16]\n"
    assert said(network_rules.address_outside(view(dev, link, wrong))) == [
        "patches/common.yaml:8: cluster.etcd.advertisedSubnets: none of the node's addresses is in "
        "192.168.0.0/16"
    ]
    right = wrong.replace("192.168.0.0/16", "192.168.0.0/16, 10.9.0.0/24")
    assert not said(network_rules.address_outside(view(dev, link, right)))
    assert not said(network_rules.address_outside(view(dev, link, wrong, role=Role.WORKER)))


def test_cilium_is_held_against_the_documents_of_the_config(dev: Environment) -> None:
    with_cilium = replace(dev, cilium=cilium_facts())
    values = {"k8sServiceHost": "localhost", "k8sServicePort": "6443", "ipv4": {"enabled": False}}
    given = replace(view(with_cilium), read_cilium=lambda: values)
    found = [finding.what for finding in cilium_rules.cilium_values(given)]
    assert found == [
        "ipv4.enabled: must be true, because podSubnets has an IPv4 subnet (10.244.0.0/16)",
        "k8sServicePort: is 6443, but KubePrism listens on port 7445 of localhost",
    ]


def cilium_facts() -> Cilium:
    return Cilium(CniInstall.JOB, "1.20.2", "image", "", "")


# --- looking --------------------------------------------------------------------------------------


def test_installed_talos_is_that_of_the_document(dev: Environment) -> None:
    config = talos_configs.text("v1.14", "worker").encode()
    wanted = installed.wanted(dev.cluster, config)
    assert wanted.version == "v1.14.1"
    assert wanted.schematic.startswith("376567988ad3")


def test_settings_of_the_installation_that_a_running_talos_does_not_read() -> None:
    before = talos_configs.text("v1.14", "worker")
    after = before.replace("/dev/sda", "/dev/vda").replace(":v1.14.1", ":v1.14.2")
    assert installed.not_read(before.encode(), after.encode()) == [
        "UnattendedInstallConfig: provisioning"
    ]
    legacy = talos_configs.text("v1.13", "worker")
    after = legacy.replace("/dev/sda", "/dev/vda")
    assert installed.not_read(legacy.encode(), after.encode()) == ["machine.install.disk"]


def test_promote_shows_subnets_and_masks_addresses() -> None:
    config = {
        ("KubeNetworkConfig", ""): {"podSubnets": ["10.1.0.0/16"]},
        ("KubeNodeConfig", ""): {"nodeIP": {"validSubnets": ["10.2.0.0/16"]}},
        ("", ""): {"cluster": {"network": {"podSubnets": ["10.3.0.0/16"]}}},
    }
    masked = promote.masked(config, {"ENV": "dev"})
    assert masked[("KubeNetworkConfig", "")] == {"podSubnets": ["10.1.0.0/16"]}
    assert masked[("KubeNodeConfig", "")] == {"nodeIP": {"validSubnets": ["<address>"]}}
    assert masked[("", "")] == config[("", "")]


# --- secrets --------------------------------------------------------------------------------------


def test_pem_of_a_bundle_is_secret_line_by_line() -> None:
    encoded = base64.b64encode(PEM.encode()).decode()
    assert pem(encoded) == PEM.strip()
    assert pem_lines(encoded) == ["abcdefgh", "ijk="]
    for other in ("", "text", base64.b64encode(b"text").decode(), "v1.14", "é"):
        assert pem(other) == ""


def test_secrets_of_generated_configs_are_known_by_their_keys() -> None:
    """Each place that has a secret of the bundle, but certificates, which are public."""
    public = re.compile(r"<certs\.\w+\.crt( as PEM)?>|<cluster\.id>")
    seen = []
    for role in talos_configs.ROLES:
        for one in talos_configs.documents("v1.14", role):
            for keys, text in scalars(one):
                if text.startswith("<") and not public.fullmatch(text):
                    seen.append(keys[-1])
                    assert secret_key(keys), keys
                    signed = text.endswith("key as PEM>") or keys[-1] == "key"
                    assert is_secret_at((one.get("kind", "machine"), *keys)) or signed, keys
    assert {"clusterSecret", "privateKey", "secret", "key", "token"} <= set(seen)


def scalars(value: Any, keys: tuple[Any, ...] = ()) -> Iterable[tuple[tuple[Any, ...], str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from scalars(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from scalars(item, (*keys, index))
    else:
        yield keys, str(yaml.safe_load(value) if value in ("true", "false") else value)
