"""Cilium's layer, and what fits to it in other layers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from talosmake.base import talosctls
from talosmake.base.errors import PatchError
from talosmake.inventory import environments
from talosmake.inventory.model import Environment
from talosmake.patches.patch import parse
from talosmake.render import cilium, machine_config
from talosmake.secrets import bundles
from talosmake.talos import generate
from tests.project import CLUSTER_ENV, REPOSITORY, Project

JOB = CLUSTER_ENV.replace("CNI_INSTALL=none", "CNI_INSTALL=job\nCILIUM_VERSION=1.20.2")
HELM = CLUSTER_ENV.replace("CNI_INSTALL=none", "CNI_INSTALL=helm\nCILIUM_VERSION=0.1.0")
OWN = "patches/envs/dev/cilium.yaml"
SHARED = "patches/cilium/manifests"
ADDED = "patches/envs/dev/cilium/manifests"
BUNDLE = generate.gen_secrets("v1.13")


@pytest.fixture
def dev(here: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An environment with the shipped values, a control plane and a worker."""
    here.environment("dev", cluster_env=JOB)
    here.node("dev", "control_planes", "cp_1", "10.9.0.11")
    here.node("dev", "workers", "worker_1", "10.9.0.21")
    here.write(
        "patches/cilium/values.yaml", (REPOSITORY / cilium.SHARED / "values.yaml").read_text()
    )
    monkeypatch.setattr(bundles, "bundle_of", lambda _: BUNDLE)
    return here


def config_map(name: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n"


def inlined(environment: Environment | None = None) -> dict[str, str]:
    """Names and contents of the layer's inline manifests, in order."""
    layer = yaml.safe_load(cilium.render_layer(environment or environments.load("dev")))
    assert list(layer) == ["cluster"]
    return {entry["name"]: entry["contents"] for entry in layer["cluster"]["inlineManifests"]}


def rendered(name: str) -> Any:
    """A node's main document, its environment's layer made before."""
    environment = environments.load("dev")
    if environment.cilium:
        cilium.write_layer(environment)
    node = next(node for node in environment.nodes if node.name == name)
    config = machine_config.render(environment, node)
    assert generate.validate(config, talosctls.default()) == ""
    return next(yaml.safe_load_all(config))


def objects(contents: str) -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(contents)}


def test_values_are_shared_ones_and_then_the_environments(dev: Project) -> None:
    dev.environment("dev", "MTU=1400\n", cluster_env=JOB)
    dev.write(OWN, "MTU: ${MTU}\nhubble:\n  enabled: false\nipam:\n  mode: null\nlist: [2]\n")
    shared = dev.read("patches/cilium/values.yaml") + "list: [1, 1]\n"
    dev.write("patches/cilium/values.yaml", shared)
    values = cilium.values_of(environments.load("dev"))
    assert values["hubble"] == {
        "tls": {"auto": {"enabled": True, "method": "cronJob"}},
        "enabled": False,
    }
    assert (values["MTU"], values["ipam"], values["list"]) == (1400, {"mode": None}, [2])


def test_job_installs_the_pinned_version_with_the_values(dev: Project) -> None:
    environment = environments.load("dev")
    found = objects(inlined()["cilium"])
    data = found["ConfigMap"]["data"]
    assert json.loads(data["values.yaml"]) == cilium.values_of(environment)
    assert data["version"] == "1.20.2"
    pod = found["Job"]["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    [container] = pod["containers"]
    assert environment.cilium is not None
    assert container["image"] == environment.cilium.cli_image


def test_who_may_do_everything_may_nothing_once_the_job_has_ended(dev: Project) -> None:
    """The only role that may is emptied by an account that may do just that."""
    documents = list(yaml.safe_load_all(inlined()["cilium"]))
    named = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    assert len(named) == len(documents)
    assert [each["kind"] for each in documents][-1] == "CronJob"
    roles = {
        (each["roleRef"]["kind"], each["roleRef"]["name"]): each["subjects"][0]["name"]
        for each in documents
        if each["kind"].endswith("Binding")
    }
    job = named["Job", "cilium-install"]["spec"]["template"]["spec"]
    all_rights = [role for role in roles if "*" in str(named[role]["rules"])]
    assert all_rights == [("ClusterRole", "cilium-install")]
    assert roles[all_rights[0]] == job["serviceAccountName"] == "cilium-install"
    assert not [each for each in documents if "cluster-admin" in str(each)]

    end = named["CronJob", "cilium-install-end"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert end["serviceAccountName"] == "cilium-install-end"
    [waits], [empties] = end["initContainers"], end["containers"]
    assert waits["command"][:3] == ["kubectl", "wait", "job/cilium-install"]
    assert empties["command"] == [
        *("kubectl", "patch", "clusterrole", "cilium-install", "--type=merge"),
        '--patch={"rules":[]}',
    ]
    rules = [
        rule
        for role, account in roles.items()
        if account == "cilium-install-end"
        for rule in named[role]["rules"]
    ]
    assert [(rule["resources"], rule["resourceNames"], rule["verbs"]) for rule in rules] == [
        (["clusterroles"], ["cilium-install"], ["get", "patch"]),
        (["jobs"], ["cilium-install"], ["get", "list", "watch"]),
    ]


def test_changed_version_or_value_leaves_the_job_as_it_is(dev: Project) -> None:
    before = objects(inlined()["cilium"])
    dev.environment("dev", cluster_env=JOB.replace("1.20.2", "1.20.3"))
    dev.write(OWN, "debug:\n  enabled: true\n")
    after = objects(inlined()["cilium"])
    assert after["ConfigMap"] != before["ConfigMap"]
    # Its template cannot be changed in a cluster.
    assert after["Job"] == before["Job"]


def test_manifests_follow_in_the_order_of_their_names(dev: Project) -> None:
    for path in (f"{SHARED}/pool", f"{SHARED}/20-b", f"{ADDED}/10-a", f"{SHARED}/pool-b"):
        dev.write(f"{path}.yaml", config_map(Path(path).name))
    names = list(inlined())
    assert names == ["cilium", "cilium-10-a", "cilium-20-b", "cilium-pool", "cilium-pool-b"]
    # Talos sorts by name.
    assert names == sorted(names)


def test_manifest_of_an_environment_replaces_the_shared_one(dev: Project) -> None:
    dev.write(f"{SHARED}/pool.yaml", config_map("shared"))
    dev.write(f"{SHARED}/policy.yaml", config_map("policy"))
    dev.write(f"{ADDED}/pool.yaml", config_map("own"))
    assert "name: own" in inlined()["cilium-pool"]
    dev.write(f"{ADDED}/pool.yaml", "# none here\n")
    assert list(inlined()) == ["cilium", "cilium-policy"]


def test_facts_of_the_environment_are_injected(dev: Project) -> None:
    dev.environment("dev", "POOL=10.9.0.200\n", cluster_env=JOB)
    dev.write(f"{SHARED}/pool.yaml", config_map("a") + "data: {a: '${POOL} $${POOL} ${ENV}'}\n")
    assert "10.9.0.200 ${POOL} dev" in inlined()["cilium-pool"]
    dev.write(f"{SHARED}/pool.yaml", config_map("a") + "data: {a: '${NODE_IP}'}\n")
    with pytest.raises(PatchError, match=r"pool\.yaml:5: \$\{NODE_IP\} is not known"):
        inlined()


def test_rendered_chart_is_inlined_as_it_is(dev: Project) -> None:
    shutil.copytree(REPOSITORY / "tests/charts/plain", dev.root / "chart")
    dev.environment("dev", "CILIUM_CHART=chart\n", cluster_env=HELM)
    dev.write(f"{SHARED}/a.yaml", config_map("a") + "  namespace: cilium-secrets\n")
    contents = inlined()["cilium"]
    values = json.loads(objects(contents)["ConfigMap"]["data"]["values.json"])
    assert values["k8sServicePort"] == 7445
    assert 'echo "${HOME} kubernetes"' in contents
    # Through talosctl, too.
    [entry, _] = rendered("cp_1")["cluster"]["inlineManifests"]
    assert entry["contents"].strip() == contents.strip()


def test_all_nodes_have_no_other_network_and_control_planes_have_cilium(dev: Project) -> None:
    for name, inline in (("cp_1", True), ("worker_1", False)):
        cluster = rendered(name)["cluster"]
        assert cluster["network"]["cni"] == {"name": "none"}
        assert cluster["proxy"]["disabled"] is True
        assert ("inlineManifests" in cluster) is inline


def test_none_leaves_flannel_and_kube_proxy(dev: Project) -> None:
    dev.environment("dev", cluster_env=CLUSTER_ENV)
    cluster = rendered("cp_1")["cluster"]
    assert "inlineManifests" not in cluster
    assert cluster["network"].get("cni", {"name": "flannel"})["name"] == "flannel"
    assert not cluster.get("proxy", {}).get("disabled", False)
    dev.write("patches/common.yaml", "cluster:\n  network:\n    cni:\n      name: flannel\n")
    rendered("cp_1")


@pytest.mark.parametrize("contract", ["v1.5", "v1.6", "v1.12", "v1.13"])
@pytest.mark.parametrize("name", ["cp_1", "worker_1"])
def test_kubeprism_is_on_in_every_contract(dev: Project, contract: str, name: str) -> None:
    env = JOB.replace("TALOS_CONTRACT=v1.13", f"TALOS_CONTRACT={contract}")
    dev.environment("dev", cluster_env=env)
    prism = rendered(name)["machine"]["features"]["kubePrism"]
    assert prism == {"enabled": True, "port": 7445}


def test_patch_may_say_what_cilium_needs(dev: Project) -> None:
    patch = "cluster:\n  network:\n    cni:\n      name: none\n  proxy:\n    disabled: true\n"
    before = rendered("worker_1")
    dev.write("patches/common.yaml", patch)
    assert rendered("worker_1") == before


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ("cluster: {network: {cni: {name: custom}}}", "cluster.network.cni.name: custom"),
        ("cluster: {proxy: {disabled: False}}", "cluster.proxy.disabled: false"),
        ("cluster: {proxy: {disabled: off}}", "cluster.proxy.disabled: false"),
        ("cluster: {network: {cni: {$patch: delete}}}", "cluster.network.cni: $patch: delete"),
        ("cluster: {$patch: delete}", "cluster: $patch: delete"),
        ("cluster: {inlineManifests: {$patch: delete}}", "inlineManifests: $patch: delete"),
        ("machine: {features: {kubePrism: {enabled: false}}}", "kubePrism.enabled: false"),
    ],
)
@pytest.mark.parametrize("layer", ["common", "envs/dev/control_planes/cp_1/z"])
def test_contradictions_name_their_file(dev: Project, patch: str, says: str, layer: str) -> None:
    dev.write(f"patches/{layer}.yaml", f"machine:\n  sysctls: {{a: b}}\n---\n{patch}\n")
    with pytest.raises(PatchError) as error:
        rendered("cp_1")
    assert error.value.message.startswith(f"patches/{layer}.yaml: ")
    assert says in error.value.message


def test_a_persons_inline_manifests_are_checked_beside_cilium(dev: Project) -> None:
    def inline(name: str, contents: str) -> None:
        entry = {"name": name, "contents": contents}
        layer = yaml.safe_dump({"cluster": {"inlineManifests": [entry]}})
        dev.write("patches/envs/dev/control_planes/common.yaml", layer)

    inline("apps", config_map("a"))
    assert len(rendered("cp_1")["cluster"]["inlineManifests"]) == 2
    account = "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: cilium-install\n"
    inline("apps", account + "  namespace: kube-system\n")
    with pytest.raises(
        PatchError, match="ServiceAccount kube-system/cilium-install is there twice"
    ):
        rendered("cp_1")
    inline("apps", config_map("a") + "  namespace: apps\n")
    with pytest.raises(PatchError, match="the namespace apps will not be there"):
        rendered("cp_1")
    dev.write("patches/common.yaml", "cluster:\n  extraManifests: []\n")
    with pytest.raises(PatchError, match="the namespace apps will not be there"):
        rendered("cp_1")
    dev.write("patches/common.yaml", "cluster:\n  extraManifests: [https://example.org/a.yaml]\n")
    rendered("cp_1")


def test_config_that_is_too_large_names_the_biggest_parts(dev: Project) -> None:
    dev.write(f"{SHARED}/big.yaml", config_map("a") + f"data: {{a: '{'x' * 3_000_000}'}}\n")
    file = {"path": "/var/x", "op": "create", "content": "y" * 1_500_000}
    dev.write("patches/common.yaml", yaml.safe_dump({"machine": {"files": [file]}}))
    with pytest.raises(PatchError) as error:
        rendered("cp_1")
    biggest = error.value.message.split("The biggest parts:\n")[1].splitlines()
    assert biggest[0].split() == [
        "3000065", "bytes:", "inline", "manifest", "cilium-big",
        "(rendered_configs/dev/state/cilium.yaml)",
    ]  # fmt: skip
    assert biggest[1].strip() == "1500000 bytes: file /var/x (patches/common.yaml)"
    assert "inline manifest cilium (" in biggest[2]


def test_names_in_an_encrypted_patch_are_not_among_the_biggest_parts() -> None:
    text = yaml.safe_dump({"machine": {"files": [{"path": "/var/x", "content": "y" * 99}]}})
    patch = parse(text, Path("a.sops.yaml"), secret=True)
    found = machine_config._biggest([patch])
    assert [line.split() for line in found] == [
        ["99", "bytes:", "file", "<redacted>", "(a.sops.yaml)"]
    ]


@pytest.mark.parametrize("file", [OWN, f"{SHARED}/a.yaml"])
def test_private_key_is_refused_and_not_shown(dev: Project, file: str) -> None:
    key = "-----BEGIN " + "PRIVATE KEY-----\nhunter2\n"
    text = yaml.safe_dump({"hubble": {"tls": {"server": {"key": key}}}})
    dev.write(file, text if file == OWN else config_map("a") + "data:\n  " + text)
    with pytest.raises(PatchError) as error:
        cilium.write_layer(environments.load("dev"))
    assert "there is a private key in the manifest 'cilium" in error.value.message
    assert "hunter2" not in str(error.value)
    assert not (dev.root / "rendered_configs").exists()


def test_encrypted_manifest_is_not_taken(dev: Project) -> None:
    dev.write(f"{SHARED}/a.sops.yaml", "a: ENC[x]\n")
    with pytest.raises(PatchError, match=r"manifests/a\.sops\.yaml: is not read") as error:
        cilium.files_of(environments.load("dev"))
    assert "are not decrypted" in error.value.hint


def test_layer_is_the_same_each_time_and_for_its_owner_only(dev: Project) -> None:
    environment = environments.load("dev")
    cilium.write_layer(environment)
    path = dev.root / environment.paths.cilium
    assert path.read_text() == cilium.render_layer(environment)
    assert path.stat().st_mode & 0o777 == 0o600


def test_shipped_values_are_what_talos_asks_for_and_make_no_keys() -> None:
    values = yaml.safe_load((REPOSITORY / cilium.SHARED / "values.yaml").read_text())
    assert values["ipam"]["mode"] == "kubernetes"
    assert (values["k8sServiceHost"], values["k8sServicePort"]) == ("localhost", 7445)
    assert values["l2announcements"]["enabled"] is True
    assert values["cgroup"] == {"autoMount": {"enabled": False}, "hostRoot": "/sys/fs/cgroup"}
    assert values["hubble"]["tls"]["auto"]["method"] == "cronJob"
