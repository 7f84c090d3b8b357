from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.cli import parse_config

from talosmake.base import merge
from talosmake.base.errors import ConfigError, InventoryError
from talosmake.inventory import environments, names
from talosmake.inventory.model import Environment, Goal, Node, Role
from talosmake.inventory.schematic import PLAIN
from tests.project import CLUSTER_ENV, Project

NAMES = st.from_regex(r"[A-Z_]{1,5}", fullmatch=True)
FACTS = st.dictionaries(NAMES, st.text())


def dev() -> Environment:
    return environments.load("dev")


def test_environments_are_directories(here: Project) -> None:
    assert names.environment_names() == []
    for name in ("prod", "dev", ".git"):
        here.environment(name)
    here.write("patches/envs/README.md", "")
    assert names.environment_names() == ["dev", "prod"]
    assert environments.selected("all") == ["dev", "prod"]
    assert environments.selected("dev") == ["dev"]


def test_no_directory_for_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there are: none; make a directory below patches/envs"):
        environments.selected(None)


def test_nodes_are_directories_sorted_by_role_and_name(small: Project) -> None:
    small.node("dev", "control_planes", "cp_10", "10.9.0.13")
    small.node("dev", "control_planes", "cp_0", "10.9.0.14")
    small.node("dev", "control_planes", "cp_9", "10.9.0.15")
    small.node("dev", "control_planes", "cp_09", "10.9.0.16")
    small.write("patches/envs/dev/workers/.cache/node.env", "")
    small.write("patches/envs/dev/workers/README.md", "")
    environment = dev()
    control_planes = ["cp_0", "cp_1", "cp_09", "cp_9", "cp_10"]
    assert [n.name for n in environment.nodes] == [*control_planes, "worker_1"]
    assert environment.first_control_plane.name == "cp_0"
    assert [n.name for n in environment.workers] == ["worker_1"]
    assert environment.node("worker", "worker_1").role is Role.WORKER
    with pytest.raises(KeyError):
        environment.node("controlplane", "worker_1")


@pytest.mark.parametrize("name", ["01", "7", "1_0", "1e3", "nan", "inf"])
def test_names_that_the_command_line_takes_for_numbers_are_refused(
    small: Project, name: str
) -> None:
    # What Snakemake makes of `--config node=NAME`.
    assert not isinstance(parse_config([f"node={name}"])["node"], str)
    small.node("dev", "workers", name, "10.9.0.22")
    message = f"'{name}' is no name for an environment or a node: Snakemake reads a number"
    with pytest.raises(InventoryError, match=f"workers/{name}: {message}"):
        dev()
    small.environment(name)
    with pytest.raises(InventoryError, match=f"patches/envs/{name}: {message}"):
        environments.load(name)


@pytest.mark.parametrize("name", ["n01", "1a", "0x10", "true", "no", "null", "1-2"])
def test_names_that_the_command_line_takes_for_text_are_fine(small: Project, name: str) -> None:
    assert parse_config([f"node={name}"]) == {"node": name}
    small.node("dev", "workers", name, "10.9.0.22")
    assert dev().node("worker", name).name == name


def test_no_workers_is_fine(small: Project) -> None:
    small.remove("patches/envs/dev/workers")
    assert dev().workers == ()


def test_cluster_and_settings_come_from_cluster_env(small: Project) -> None:
    small.environment("dev", "GOAL=applied\nAPPLY_MODE=staged\nAPPLY_RETRIES=0\nCALL_TIMEOUT=0.5\n")
    environment = dev()
    assert environment.cluster.name == "talos-test"
    assert environment.cluster.contract == (1, 13)
    assert not environment.cluster.simulated
    options = environment.options
    assert (options.goal, options.apply_mode) == (Goal.APPLIED, "staged")
    assert (options.apply_retries, options.call_timeout) == (0, 0.5)


@pytest.mark.parametrize("version", ["v1.36.0", "1.36.0"])
def test_kubernetes_version_with_and_without_v(small: Project, version: str) -> None:
    small.environment("dev", cluster_env=CLUSTER_ENV.replace("1.36.0", version))
    assert dev().cluster.kubernetes_version == "1.36.0"


@pytest.mark.parametrize("identifier", ["", "TALOS_SCHEMATIC_ID=\n"])
def test_secure_boot_without_a_schematic_takes_the_plain_one(
    small: Project, identifier: str
) -> None:
    small.environment("dev", f"TALOS_SECURE_BOOT=true\n{identifier}")
    image = f"factory.talos.dev/metal-installer-secureboot/{PLAIN}:v1.13.0"
    assert dev().cluster.installer == image


def test_no_schematic_is_talos_s_own_installer(small: Project) -> None:
    small.environment("dev", "TALOS_SCHEMATIC_ID=\n")
    assert dev().cluster.installer == ""
    small.environment("dev", f"TALOS_SCHEMATIC_ID={'0a' * 32}\n")
    assert dev().cluster.installer == f"factory.talos.dev/metal-installer/{'0a' * 32}:v1.13.0"


@pytest.mark.parametrize("identifier", ["abc", "0g" * 32, "0a" * 33, "schematic.yaml"])
def test_schematic_ids_that_are_refused(small: Project, identifier: str) -> None:
    small.environment("dev", f"TALOS_SCHEMATIC_ID={identifier}\n")
    with pytest.raises(InventoryError, match=f"'{identifier}' is no schematic's id") as error:
        dev()
    assert error.value.hint.startswith("Write the 64 hex digits")


@pytest.mark.parametrize("contract", ["v1.14", "v1.100", "v2.0"])
def test_contract_after_the_version_is_refused(small: Project, contract: str) -> None:
    small.environment("dev", cluster_env=CLUSTER_ENV.replace("T=v1.13", f"T={contract}"))
    with pytest.raises(InventoryError) as error:
        dev()
    assert error.value.message == (
        f"patches/envs/dev/cluster.env:5: TALOS_CONTRACT={contract} is later than "
        "TALOS_VERSION=v1.13.0"
    )


@pytest.mark.parametrize(
    ("written", "contract"),
    [("v1.13", "v1.13"), ("v1.13.7", "v1.13"), ("1.13.0", "v1.13"), ("v1.9", "v1.9")],
)
def test_contract_up_to_the_version_is_fine(small: Project, written: str, contract: str) -> None:
    small.environment("dev", cluster_env=CLUSTER_ENV.replace("T=v1.13", f"T={written}"))
    assert dev().cluster.talos_contract == dev().facts["TALOS_CONTRACT"] == contract


def test_later_layers_of_facts_win(small: Project) -> None:
    small.environment("dev", "A=env\nB=env\n")
    small.node("dev", "workers", "worker_1", "10.9.0.21", "B=node\n")
    environment = environments.load("dev", {"A": "default", "B": "default", "C": "default"})
    facts = environment.node("worker", "worker_1").facts
    assert (facts["A"], facts["B"], facts["C"]) == ("env", "node", "default")
    assert environment.node("controlplane", "cp_1").facts["B"] == "env"


def test_built_in_facts(small: Project) -> None:
    facts = dev().node("worker", "worker_1").facts
    expected = {
        "ENV": "dev",
        "NODE_NAME": "worker_1",
        "NODE_ROLE": "worker",
        "NODE_HOSTNAME": "worker-1",
        "NODE_IP": "10.9.0.21",
        "CLUSTER_NAME": "talos-test",
    }
    assert expected.items() <= facts.items()


@given(FACTS, FACTS, FACTS)
def test_merged_facts_are_those_of_the_last_layer_that_has_them(
    one: dict[str, str], two: dict[str, str], three: dict[str, str]
) -> None:
    assert merge.merged(one, two, three) == {**one, **two, **three}


@pytest.mark.parametrize("base", [True, None, "text", [1]])
def test_merged_mapping_replaces_what_is_none_and_the_other_way(base: Any) -> None:
    mapping = {"b": {"c": 1}}
    other = {"b": base, "kept": 2}
    assert merge.merged({"a": other}, {"a": mapping}) == {"a": {**mapping, "kept": 2}}
    assert merge.merged({"a": mapping}, {"a": other}) == {"a": other}
    assert merge.merged({"a": base}, {"a": mapping}) == {"a": mapping}


def test_patches_are_all_layers_in_order(small: Project) -> None:
    for path in (
        "patches/common.yaml",
        "patches/common.sops.yaml",
        "patches/envs/dev/common.sops.yaml",
        "patches/envs/dev/workers/common.yaml",
        "patches/envs/dev/workers/worker_1/b.yaml",
        "patches/envs/dev/workers/worker_1/a.sops.yaml",
        "patches/envs/dev/workers/worker_1/10.yaml",
        "patches/envs/dev/workers/worker_1/9.yaml",
        "patches/envs/dev/workers/worker_1/.hidden.yaml",
        "patches/envs/dev/workers/worker_1/notes.txt",
    ):
        small.write(path, "")
    nodes = {node.name: [str(p) for p in node.patches] for node in dev().nodes}
    shared = ["patches/common.yaml", "patches/common.sops.yaml"]
    shared += ["patches/envs/dev/common.yaml", "patches/envs/dev/common.sops.yaml"]
    assert nodes["cp_1"] == shared
    own = [f"patches/envs/dev/workers/worker_1/{n}" for n in ("10", "9", "a.sops", "b")]
    role = "patches/envs/dev/workers/common.yaml"
    assert nodes["worker_1"] == [*shared, role, *(f"{path}.yaml" for path in own)]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("common.yml", "Rename it to common.yaml."),
        ("network.yaml", "goes into patches/common.yaml (encrypted: common.sops.yaml), and"),
        ("cilium.yaml", "goes into patches/common.yaml"),
        ("envs/dev/network.yaml", "goes into patches/envs/dev/common.yaml"),
        ("envs/dev/common.sops.yml", "Rename it to common.sops.yaml."),
        ("envs/dev/cilium.YAML", "Rename it to cilium.yaml."),
        ("envs/dev/schematic.yaml", "is named by TALOS_SCHEMATIC in cluster.env."),
        ("envs/dev/control_planes/vip.yaml", "goes into patches/envs/dev/control_planes/common.y"),
        ("envs/dev/control_planes/Common.yaml", "Rename it to common.yaml."),
        ("envs/dev/workers/cilium.yaml", "goes into patches/envs/dev/workers/common.yaml"),
        ("envs/dev/control_planes/cp_1/X.YAML", "Rename it to X.yaml."),
        ("envs/dev/control_planes/cp_1/a.sops.yml", "Rename it to a.sops.yaml."),
        ("envs/dev/control_planes/cp_1/sub/x.yaml", "move it to patches/envs/dev/control_planes/c"),
        ("envs/dev/control_planes/cp_1/sub/sub/x.Yml", "A node's patches stand in its directory"),
    ],
)
def test_patches_that_no_node_would_get_are_refused(small: Project, path: str, hint: str) -> None:
    small.write(f"patches/{path}", "machine: {}\n")
    with pytest.raises(InventoryError) as error:
        dev()
    assert error.value.message == f"patches/{path}: is not read"
    assert hint in error.value.hint


def test_files_beside_the_patches_that_are_left_alone(small: Project) -> None:
    small.environment("dev", "TALOS_SCHEMATIC=image.yaml\n")
    small.write("patches/envs/dev/image.yaml", "customization: {}\n")
    for directory in ("", "envs/dev/", "envs/dev/workers/", "envs/dev/workers/worker_1/"):
        for name in (".x.yaml", ".cache/x.yaml", "x.yaml~", "#x.yaml#", "x.yaml.bak", "README.md"):
            small.write(f"patches/{directory}{name}", "")
    small.write("patches/envs/dev/cilium.yaml", "")
    small.write("patches/cilium/values.yaml", "")
    assert [path.name for path in dev().node("worker", "worker_1").patches] == ["common.yaml"]


@pytest.mark.parametrize(
    "schematic", ["../../image.yaml", "../image.yaml", "control_planes/i.yaml"]
)
def test_schematic_may_stand_elsewhere(small: Project, schematic: str) -> None:
    small.environment("dev", f"TALOS_SCHEMATIC={schematic}\n")
    small.write(f"patches/envs/dev/{schematic}", "customization: {}\n")
    assert dev().schematics == (Path("patches/envs/dev", schematic),)


def test_address_comes_from_a_patch_where_node_env_has_none(small: Project) -> None:
    small.remove("patches/envs/dev/workers/worker_1/node.env")
    link = "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses:\n  - address: {}\n"
    small.patch("dev", "workers", "worker_1", link.format("10.9.0.33/24"))
    node = dev().node("worker", "worker_1")
    assert node.address == node.facts["NODE_IP"] == node.maintenance_address == "10.9.0.33"


def only_a_patch(small: Project, text: str) -> Node:
    """worker_1 with no NODE_IP but what the patch says."""
    small.write("patches/envs/dev/workers/worker_1/node.env", "NODE_IP=\nLAST=31\n")
    small.patch("dev", "workers", "worker_1", text)
    return dev().node("worker", "worker_1")


def test_several_addresses_in_patches_are_refused(small: Project) -> None:
    text = (
        "kind: BondConfig\nname: bond0\naddresses: [{address: 10.9.0.10/24}]\n---\n"
        "kind: LinkConfig\nname: eth2\naddresses: [{address: 192.168.99.5/24}]\n"
    )
    with pytest.raises(InventoryError) as error:
        only_a_patch(small, text)
    node = "patches/envs/dev/workers/worker_1"
    assert error.value.message == (
        f"{node}: its patches give the node several addresses: 10.9.0.10, 192.168.99.5"
    )
    assert f"into {node}/node.env, e.g.  NODE_IP=10.9.0.10" in error.value.hint
    small.node("dev", "workers", "worker_1", "192.168.99.5")
    assert dev().node("worker", "worker_1").address == "192.168.99.5"


@pytest.mark.parametrize(
    "sans",
    ["${CLUSTER_NAME}", "${NODE_IP}", "${NODE_ENDPOINT}", "${NODE_HOSTNAME}", "${ENV}", "${OTHER}"],
)
def test_address_in_a_patch_is_found_after_injection(small: Project, sans: str) -> None:
    small.environment("dev", "NET=10.9.0\n")
    text = (
        f"machine:\n  certSANs: [{sans}]\n  network:\n    interfaces:\n"
        "      - {interface: eth0, addresses: ['${NET}.${LAST}/24']}\n"
    )
    assert only_a_patch(small, text).address == "10.9.0.31"


def test_the_address_itself_is_no_address_in_a_patch(small: Project) -> None:
    text = "machine: {network: {interfaces: [{interface: a, addresses: ['${NODE_IP}/24']}]}}\n"
    with pytest.raises(InventoryError, match="worker_1: the node has no address"):
        only_a_patch(small, text)


def test_an_address_that_does_not_count_is_named_with_the_reason(small: Project) -> None:
    small.write("patches/common.yaml", "kind: DHCPv4Config\nname: eno1\n")
    text = "kind: DummyLinkConfig\nname: dummy0\naddresses: [{address: 192.168.66.1/32}]\n"
    with pytest.raises(InventoryError, match="worker_1: the node has no address") as error:
        only_a_patch(small, text)
    assert "worker_1/node.env:  NODE_IP=" in error.value.hint
    assert "do not count: 192.168.66.1 (dummy0: a dummy link)." in error.value.hint
    link = "kind: LinkConfig\nname: eno2\naddresses: [{address: 10.9.0.31/24}]\n"
    with pytest.raises(InventoryError) as error:
        only_a_patch(small, link)
    assert "10.9.0.31 (eno2: beside eno1, which has DHCP)" in error.value.hint


def test_maintenance_address_may_differ(small: Project) -> None:
    small.node("dev", "workers", "worker_1", "10.9.0.21", "NODE_MAINTENANCE_IP=10.9.0.99\n")
    assert dev().node("worker", "worker_1").maintenance_address == "10.9.0.99"


def test_hostname_and_mac(small: Project) -> None:
    facts = "NODE_HOSTNAME=w1\nNODE_MAC=52:54:00:AB:CD:EF\n"
    small.node("dev", "workers", "worker_1", "10.9.0.21", facts)
    node = dev().node("worker", "worker_1")
    assert (node.hostname, node.mac) == ("w1", "52:54:00:ab:cd:ef")
    assert dev().first_control_plane.hostname == "cp-1"


@pytest.mark.parametrize(
    "name", ["w1.k8s.example.com", "1a.example.com", "w.x--y.z", ".".join(["a" * 63] * 3)]
)
def test_host_names_with_a_domain(small: Project, name: str) -> None:
    small.node("dev", "workers", "worker_1", "10.9.0.21", f"NODE_HOSTNAME={name}\n")
    node = dev().node("worker", "worker_1")
    assert node.hostname == node.facts["NODE_HOSTNAME"] == name
    assert node.short_hostname == name.split(".")[0]


@pytest.mark.parametrize(
    "name",
    [
        *("w1..example.com", ".example.com", "w_1.example.com", "-w.example.com", "10.9.0.21"),
        *("w1.exämple.com", "a" * 64 + ".example.com", ".".join(["a" * 63] * 4), "w1 .example.com"),
    ],
)
def test_host_names_that_are_none(small: Project, name: str) -> None:
    small.node("dev", "workers", "worker_1", "10.9.0.21", f"NODE_HOSTNAME='{name}'\n")
    with pytest.raises(InventoryError, match="is no host name"):
        dev()


def test_one_name_before_the_first_dot_is_refused(small: Project) -> None:
    small.node("dev", "workers", "worker_1", "10.9.0.21", "NODE_HOSTNAME=n.a.example.com\n")
    small.node("dev", "workers", "worker_2", "10.9.0.22", "NODE_HOSTNAME=n.b.example.com\n")
    with pytest.raises(InventoryError) as error:
        dev()
    assert "n.b.example.com and n.a.example.com. Both would be n to etcd" in error.value.message
    small.write("patches/common.yaml", "machine: {kubelet: {registerWithFQDN: true}}\n")
    assert len(dev().workers) == 2
    small.patch("dev", "workers", "worker_2", "machine: {kubelet: {registerWithFQDN: false}}\n")
    with pytest.raises(InventoryError, match="begin with the same name"):
        dev()


def test_control_planes_never_share_the_name_that_etcd_knows(small: Project) -> None:
    small.write("patches/common.yaml", "machine: {kubelet: {registerWithFQDN: true}}\n")
    for last in (2, 3):
        facts = f"NODE_HOSTNAME=n.{'ab'[last - 2]}.example.com\n"
        small.node("dev", "control_planes", f"cp_{last}", f"10.9.0.1{last}", facts)
    with pytest.raises(InventoryError, match="begin with the same name"):
        dev()


@pytest.mark.parametrize("endpoint", ["localhost", "127.0.9.21:50001", "w.example.com:50000"])
@pytest.mark.parametrize("fact", ["NODE_ENDPOINT", "NODE_MAINTENANCE_IP"])
def test_simulated_nodes_are_reached_at_loopback_addresses_alone(
    small: Project, fact: str, endpoint: str
) -> None:
    small.environment("dev", "SIMULATED=true\n")
    small.node("dev", "control_planes", "cp_1", "127.0.9.11")
    small.node("dev", "workers", "worker_1", "127.0.9.21", f"{fact}={endpoint}\n")
    with pytest.raises(InventoryError, match=r"is no loopback address, but .* SIMULATED=true"):
        dev()


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://10.0.1.10:6443", "https://10.0.1.10:6443"),
        ("https://k8s.example.org:443/", "https://k8s.example.org:443"),
        ("HTTPS://K8s.Example.org:6443", "https://k8s.example.org:6443"),
        ("https://[2001:DB8:0:0::10]:6443", "https://[2001:db8::10]:6443"),
    ],
)
def test_endpoints_that_are_fine(small: Project, url: str, read: str) -> None:
    small.environment("dev", cluster_env=CLUSTER_ENV.replace("https://10.9.0.10:6443", url))
    assert dev().cluster.endpoint == dev().facts["CLUSTER_ENDPOINT"] == read


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.1.10:6443",
        "https://10.0.1.10",
        "https://10.0.1.10:6443/api",
        "https://10.0.1.10:6443?x",
        "https://10.0.1.10:6443#x",
        "https://me@10.0.1.10:6443",
        "https://10.0.1.10:port",
        "https://:6443",
        "https://[::1:6443",
        "10.0.1.10:6443",
        "ftp://10.0.1.10:6443",
    ],
)
def test_endpoints_that_are_refused(small: Project, url: str) -> None:
    small.environment("dev", cluster_env=CLUSTER_ENV.replace("https://10.9.0.10:6443", url))
    with pytest.raises(InventoryError, match=r"CLUSTER_ENDPOINT=.* is no https URL"):
        dev()


@pytest.mark.parametrize("value", ["-1", "x", "", "nan", "inf", "86401"])
def test_numbers_that_are_refused(small: Project, value: str) -> None:
    small.environment("dev", f"ETCD_TIMEOUT={value}\n")
    with pytest.raises(InventoryError, match="must be a number of seconds from 0 to 86400"):
        dev()


@pytest.mark.parametrize("name", ["CALL_TIMEOUT", "NODE_TIMEOUT"])
@pytest.mark.parametrize("value", ["0", "0.0", "-0", "00", "-1", "86401"])
def test_no_time_at_all_is_refused(small: Project, name: str, value: str) -> None:
    small.environment("dev", f"{name}={value}\n")
    refused = f"{name}='{value}': must be a number of seconds above 0, and 86400 at most"
    with pytest.raises(InventoryError, match=refused):
        dev()


def test_what_may_be_nothing(small: Project) -> None:
    small.environment("dev", "ETCD_TIMEOUT=0\nAPPLY_RETRIES=0\nNODE_TIMEOUT=0.5\n")
    options = dev().options
    assert (options.etcd_timeout, options.apply_retries, options.node_timeout) == (0, 0, 0.5)


@pytest.mark.parametrize("number", ["1.5", "0.1"])
def test_tries_are_whole_numbers(small: Project, number: str) -> None:
    small.environment("dev", f"APPLY_RETRIES={number}\n")
    with pytest.raises(InventoryError, match=r"APPLY_RETRIES=.* must be a whole number of tries"):
        dev()


@pytest.mark.parametrize("name", ["ENV", "NODE_NAME", "NODE_ROLE", "NODE_ENDPOINT_HOST"])
@pytest.mark.parametrize("file", ["cluster.env", "workers/worker_1/node.env"])
def test_built_in_facts_cannot_be_given(small: Project, name: str, file: str) -> None:
    path = f"patches/envs/dev/{file}"
    small.write(path, small.read(path) + f"{name}=x\n")
    with pytest.raises(InventoryError, match=rf"{path}:\d+: {name} is set by"):
        dev()


def test_patch_that_cannot_be_read_is_a_clear_error(small: Project) -> None:
    small.remove("patches/envs/dev/workers/worker_1/node.env")
    small.write("patches/envs/dev/workers/worker_1/dir.yaml/x", "")
    with pytest.raises(InventoryError, match=r"dir\.yaml: cannot be read"):
        dev()


def test_own_bundle_comes_before_the_shared_one(small: Project) -> None:
    small.environment("prod")
    small.environment("lab", "SIMULATED=true\n")
    assert dev().bundle == Path("secrets/dev.yaml")
    small.write("secrets/secrets.yaml", "")
    assert dev().bundle == Path("secrets/secrets.yaml")
    assert dev().shares_bundle_with == ("prod",)
    small.write("secrets/prod.yaml", "")
    assert dev().shares_bundle_with == ()
    small.write("secrets/dev.yaml", "")
    assert dev().bundle == Path("secrets/dev.yaml")


def test_simulated_environment_never_uses_the_shared_bundle(small: Project) -> None:
    small.write("secrets/secrets.yaml", "")
    small.environment("dev", "SIMULATED=true\n")
    small.node("dev", "control_planes", "cp_1", "127.0.9.11")
    small.node("dev", "workers", "worker_1", "127.0.9.21")
    assert dev().bundle == Path("secrets/dev.yaml")


def test_one_name_in_both_roles_is_refused(small: Project) -> None:
    small.node("dev", "workers", "cp_1", "10.9.0.22", "NODE_HOSTNAME=other\n")
    with pytest.raises(InventoryError) as error:
        dev()
    envs = "patches/envs/dev"
    assert error.value.message == (
        f"{envs}/control_planes/cp_1 and {envs}/workers/cp_1 have the same name: node= and "
        "confirm= could not tell which machine is meant"
    )
    assert "NODE_HOSTNAME=other" in error.value.hint


@pytest.mark.parametrize("name", ["worker-cp_2", "controlplane-cp_2"])
def test_a_name_that_is_another_node_s_role_and_name_is_refused(small: Project, name: str) -> None:
    role = "control_planes" if name.startswith("w") else "workers"
    other = "workers" if name.startswith("w") else "control_planes"
    small.node("dev", role, name, "10.9.0.22")
    small.node("dev", other, "cp_2", "10.9.0.23")
    with pytest.raises(InventoryError, match="have the same name"):
        dev()


@pytest.mark.parametrize("name", ["dev", "prod", "all"])
def test_a_node_named_like_an_environment_is_refused(small: Project, name: str) -> None:
    small.environment("prod")
    small.node("dev", "workers", name, "10.9.0.22")
    refused = f"workers/{name}: confirm={name} could mean this node"
    with pytest.raises(InventoryError, match=refused) as error:
        dev()
    assert f"NODE_HOSTNAME={name}" in error.value.hint
    small.remove(f"patches/envs/dev/workers/{name}")
    small.node("dev", "workers", "w_9", "10.9.0.22", f"NODE_HOSTNAME={name}\n")
    assert dev().node("worker", "w_9").hostname == name
