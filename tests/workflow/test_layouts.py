"""An environment of contract 1.14, whose configs are made of documents, beside one of 1.13."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from talosmake.base import marker
from talosmake.inventory import environments
from talosmake.patches import layout
from talosmake.render import disclosure
from talosmake.render.layers import NodeLayers
from talosmake.secrets import age
from tests.project import CLUSTER_ENV, REPOSITORY, Project, encrypted

# What both say, each in its way; all else is the same.
CLUSTERS = {
    "new": ("v1.14.1", "v1.14", "10.9.0"),
    "old": ("v1.13.0", "v1.13", "10.8.0"),
}
PASSWORD = "correct-horse"
DOCUMENTS = """\
apiVersion: v1alpha1
kind: UnattendedInstallConfig
provisioning:
  diskSelector:
    match: disk.dev_path == "/dev/vda"
---
apiVersion: v1alpha1
kind: KubeletConfig
extraArgs:
  rotate-server-certificates: "true"
---
apiVersion: v1alpha1
kind: KubeNodeConfig
nodeIP:
  validSubnets: ["${NODE_IP}/32"]
---
apiVersion: v1alpha1
kind: KubeNetworkConfig
podSubnets: [10.40.0.0/16]
serviceSubnets: [10.41.0.0/16]
---
apiVersion: v1alpha1
kind: SysctlConfig
params:
  vm.swappiness: "7"
"""
FIELDS = """\
machine:
  install:
    disk: /dev/vda
  kubelet:
    extraArgs:
      rotate-server-certificates: "true"
    nodeIP:
      validSubnets: ["${NODE_IP}/32"]
  sysctls:
    vm.swappiness: "7"
cluster:
  network:
    podSubnets: [10.40.0.0/16]
    serviceSubnets: [10.41.0.0/16]
"""
API_SERVER = {
    "new": "apiVersion: v1alpha1\nkind: KubeAPIServerConfig\ncertExtraSANs: [{network}.10]\n",
    "old": "cluster:\n  apiServer:\n    certSANs: [{network}.10]\n",
}
MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n"
INLINE = {
    "new": "---\napiVersion: v1alpha1\nkind: KubeInlineManifestConfig\nname: mine\nmanifest: |\n",
    "old": "  inlineManifests:\n    - name: mine\n      contents: |\n",
}
REGISTRY = {
    "new": (
        "apiVersion: v1alpha1\nkind: RegistryAuthConfig\nname: registry.example.org\n"
        f"username: me\npassword: {PASSWORD}\n"
    ),
    "old": (
        "machine:\n  registries:\n    config:\n      registry.example.org:\n"
        f"        auth: {{username: me, password: {PASSWORD}}}\n"
    ),
}


@pytest.fixture
def both(project: Project) -> Project:
    key = age.new_key()
    Path(project.env["SOPS_AGE_KEY_FILE"]).write_bytes(key.identity)
    project.write(".sops.yaml", f"creation_rules:\n  - age: {key.recipient}\n")
    shutil.copytree(REPOSITORY / "patches/cilium", project.root / "patches/cilium")
    for name, (talos, contract, network) in CLUSTERS.items():
        text = CLUSTER_ENV.replace("10.9.0", network).replace("CNI_INSTALL=none\n", "")
        text = text.replace("v1.13.0", talos).replace("CONTRACT=v1.13", f"CONTRACT={contract}")
        facts = "CNI_INSTALL=job\nCILIUM_VERSION=1.20.2\n"
        facts += f"POOL_FIRST={network}.200\nPOOL_LAST={network}.250\n"
        project.environment(name, facts, text)
        project.node(name, "control_planes", "cp_1", f"{network}.11")
        project.node(name, "workers", "worker_1", f"{network}.21")
        environment = f"patches/envs/{name}"
        project.write(f"{environment}/common.yaml", DOCUMENTS if name == "new" else FIELDS)
        indent = "  " if name == "new" else " " * 8
        manifest = "".join(f"{indent}{line}\n" for line in MANIFEST.splitlines())
        text = API_SERVER[name].replace("{network}", network) + INLINE[name] + manifest
        project.write(f"{environment}/control_planes/common.yaml", text)
        path = f"{environment}/common.sops.yaml"
        project.write(path, encrypted(REGISTRY[name], key.recipient, path))
        project.ok("secrets", "--config", f"env={name}")
    return project


def go(name: str, *arguments: str) -> tuple[str, ...]:
    return ("-j4", *arguments, "--config", f"env={name}", "strict=true")


def test_same_cluster_in_both_layouts(both: Project) -> None:
    """Rendered, validated by the talosctl of its Talos, linted, explained, and compared."""
    configs = {}
    for name in CLUSTERS:
        run = both.ok(*go(name))
        assert "lint finding" not in run.output
        assert both.ok(*go(name)).jobs == set()
        text = both.read(f"rendered_configs/{name}/controlplane-cp_1.yaml")
        configs[name] = list(yaml.safe_load_all(text))
    for setting, value in {
        layout.POD_SUBNETS: ["10.40.0.0/16"],
        layout.KUBELET_IMAGE: "ghcr.io/siderolabs/kubelet:v1.36.0",
        layout.SYSCTLS: {"vm.swappiness": "7"},
        layout.HOSTNAME: "cp-1",
        layout.CLUSTER_NAME: "talos-test",
    }.items():
        assert [layout.value(config, setting) for config in configs.values()] == [value, value]
    # A document's name has no _ in it.
    names = [
        [name.replace("_", "-") for one in config for name, _ in layout.inline_manifests(one)]
        for config in configs.values()
    ]
    assert names[0] == names[1]
    assert {"cilium", "cilium-l2-announcements", "mine"} <= set(names[0])
    kinds = {layout.kind_of(one) for one in configs["new"]}
    assert layout.FLANNEL not in kinds
    assert layout.value(configs["new"], layout.PROXY)["enabled"] is False
    assert layout.value(configs["old"], layout.PROXY)["disabled"] is True

    explained = both.ok("explain", "-q", "all", *go("new")[1:], "node=cp_1").output
    for line in (
        'UnattendedInstallConfig.provisioning.diskSelector.match: disk.dev_path == "/dev/vda"\n'
        "    patches/envs/new/common.yaml:5, over",
        "KubeNodeConfig.nodeIP.validSubnets[0]: 10.9.0.11/32\n    patches/envs/new/common.yaml:15",
        "KubeClusterConfig.clusterName: talos-test\n    (talosctl gen config)",
        "KubeProxyConfig.enabled: false\n    (CNI_INSTALL in patches/envs/new/cluster.env)",
        "KubeEtcdEncryptionConfig.config.resources[0].providers[0].secretbox.keys[0].secret: "
        "<redacted>",
        "password: <redacted>\n    patches/envs/new/common.sops.yaml",
    ):
        assert line in explained
    promoted = both.ok("promote", "-q", "all", "--config", "from=new", "to=old").output
    assert "+kind: KubeletConfig" in promoted
    for output in (explained, promoted):
        assert PASSWORD not in output
        assert "PRIVATE KEY-----\n  " not in output


def keep_as_applied(name: str) -> None:
    """What applying leaves behind, without a node."""
    environment = environments.load(name)
    for node in environment.nodes:
        config = environment.paths.config(node).read_bytes()
        disclosure.write_applied(NodeLayers(environment, node), config)
        path = environment.paths.applied(node)
        marker.write(path, step="applied", sha256=hashlib.sha256(config).hexdigest())


def test_diff_shows_what_changed_in_a_document(
    both: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(both.root)
    for variable, value in both.env.items():
        monkeypatch.setenv(variable, value)
    both.ok(*go("new"))
    keep_as_applied("new")
    path = "patches/envs/new/common.yaml"
    both.write(path, both.read(path).replace('swappiness: "7"', 'swappiness: "8"'))
    run = both.snakemake("diff", "-q", "all", *go("new")[1:], "against=applied")
    assert run.code == 2, run.output
    assert run.output.count("differs from what was last applied\n") == 2
    assert "\n-  vm.swappiness: 7\n+  vm.swappiness: 8\n" in run.output
    assert PASSWORD not in run.output


def test_field_of_v1alpha1_is_refused_with_the_line_that_has_it(both: Project) -> None:
    both.patch("new", "workers", "worker_1", "machine:\n  kubelet:\n    extraArgs: {a: b}\n")
    error = both.fails(*go("new"))
    assert (
        "patches/envs/new/workers/worker_1/node.yaml:2: machine.kubelet: Talos refuses this beside "
        "the document KubeletConfig"
    ) in error
    # The way on that it names.
    document = "apiVersion: v1alpha1\nkind: KubeletConfig\nextraArgs: {a: b}\n"
    both.patch("new", "workers", "worker_1", document)
    both.ok(*go("new"))
    assert "a: b" in both.read("rendered_configs/new/worker-worker_1.yaml")

    # The other way round: a document where the contract has fields.
    env_file = "patches/envs/old/cluster.env"
    both.write(env_file, both.read(env_file).replace("v1.13.0", "v1.14.1"))
    both.patch("old", "workers", "worker_1", document)
    error = both.fails(*go("old"))
    assert (
        "patches/envs/old/workers/worker_1/node.yaml:2: the document KubeletConfig: Talos refuses "
        "this beside machine.kubelet, in patches/envs/old/common.yaml:4; for old/worker_1"
    ) in error
