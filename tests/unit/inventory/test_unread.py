"""Files that no node would get are errors that say where they belong."""

from __future__ import annotations

import pytest

from talosmake.base.errors import InventoryError
from talosmake.inventory import environments
from tests.project import Project

DEV = "patches/envs/dev"
CP, WORKERS = f"{DEV}/control_planes", f"{DEV}/workers"
TEMPLATES = "Templates are not run: write YAML, with ${NAME} for facts"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        # The layouts of other tools
        ("envs/dev/nodes/k8s-0.yaml", f"{CP}/k8s-0 or {WORKERS}/k8s-0."),
        ("envs/dev/nodes/worker_1.yaml", f"goes into its directory: {WORKERS}/worker_1."),
        ("envs/dev/nodes/worker_1/net.yaml", f"goes into its directory: {WORKERS}/worker_1."),
        ("envs/dev/all/x.yaml", f"What is for all nodes goes into {DEV}/common.yaml."),
        ("envs/dev/patches/global/x.yaml", f"What is for all nodes goes into {DEV}/common.yaml."),
        ("envs/dev/patches/controller/x.yaml", f"all control_planes goes into {CP}/common.yaml."),
        ("envs/dev/master/x.yaml", f"all control_planes goes into {CP}/common.yaml."),
        ("envs/dev/agents/x.yaml", f"all workers goes into {WORKERS}/common.yaml."),
        ("global/x.yaml", "What is for all nodes goes into patches/common.yaml."),
        ("controller/x.yaml", "into patches/envs/<env>/control_planes/common.yaml."),
        ("nodes/k8s-0.yaml", "patches/envs/<env>/control_planes/k8s-0 or patches/envs/<env>/work"),
        ("talos/a/b/x.yml", "What is for all environments goes into patches/common.yaml"),
        ("envs/dev/storage/x.yaml", f"for all nodes of one into {DEV}/common.yaml"),
        ("envs/common.yaml", "What is for all environments goes into patches/common.yaml"),
        # Other forms
        ("common.json", "Rename it to common.yaml."),
        ("envs/dev/network.json", "JSON is YAML, too: name it network.yaml."),
        ("envs/dev/common.yaml.j2", TEMPLATES),
        ("envs/dev/workers/net.tmpl", TEMPLATES),
        ("envs/dev/workers/worker_1/net.json", "JSON is YAML, too: name it net.yaml."),
        ("envs/dev/workers/worker_1/net.yaml.j2", TEMPLATES),
        ("envs/dev/workers/worker_1/sub/net.tpl", f"move it to {WORKERS}/worker_1"),
        # Cilium's
        ("envs/dev/cilium/values.yaml", f"stand in patches/cilium/values.yaml and {DEV}/cilium.ya"),
        ("cilium/values-dev.yaml", "manifests in cilium/manifests/ of either"),
        ("cilium/manifests/sub/pool.yaml", "manifests in cilium/manifests/ of either"),
        ("cilium/manifests/pool.json", "JSON is YAML, too: name it pool.yaml."),
        ("cilium/manifests/pool.yaml.tmpl", TEMPLATES),
        # Facts
        ("envs/dev/workers/node.env", f"Facts of all nodes stand in {DEV}/cluster.env"),
        ("envs/dev/node.env", f"Facts of all nodes stand in {DEV}/cluster.env"),
        ("common.env", f"Facts of all nodes stand in {DEV}/cluster.env"),
        ("envs/dev/workers/worker_1/cluster.env", f"facts stand in {WORKERS}/worker_1/node.env"),
        ("envs/dev/workers/worker_1/sub/node.env", f"move it to {WORKERS}/worker_1"),
        # No schematic that is named
        ("envs/dev/factory/schematic.yaml", f"for all nodes of one into {DEV}/common.yaml"),
    ],
)
def test_what_no_node_would_get_is_refused(small: Project, path: str, hint: str) -> None:
    small.write(f"patches/{path}", "machine: {}\n")
    with pytest.raises(InventoryError) as error:
        environments.load("dev")
    assert error.value.message == f"patches/{path}: is not read"
    assert hint in error.value.hint


def test_more_than_one_is_counted(small: Project) -> None:
    for name in ("a", "b", "c"):
        small.write(f"{DEV}/nodes/{name}.yaml", "machine: {}\n")
    with pytest.raises(InventoryError, match=r"nodes/a\.yaml: is not read, and 2 more files"):
        environments.load("dev")


def test_what_is_read_or_is_no_patch_is_left_alone(small: Project) -> None:
    for path in (
        "patches/README.md",
        "patches/docs/notes.txt",
        "patches/.github/x.yaml",
        "patches/envs/README.md",
        "patches/cilium/values.yaml",
        "patches/cilium/README.md",
        "patches/cilium/manifests/pool.yaml",
        f"{DEV}/.cache/x.json",
        f"{DEV}/notes/plan.txt",
        f"{DEV}/cilium.yaml",
        f"{DEV}/cilium/manifests/pool.yaml",
        f"{WORKERS}/README.md",
        f"{WORKERS}/worker_1/.old/x.yaml",
        f"{WORKERS}/worker_1/x.yaml.bak",
    ):
        small.write(path, "")
    assert len(environments.load("dev").nodes) == 2


@pytest.mark.parametrize(
    ("facts", "path"),
    [
        ("TALOS_SCHEMATIC=factory/schematic.yaml", f"{DEV}/factory/schematic.yaml"),
        ("TALOS_SCHEMATIC=../../factory/s.yaml", "patches/factory/s.yaml"),
        ("CILIUM_CHART=patches/charts/cilium", "patches/charts/cilium/templates/all.tpl"),
        (f"CILIUM_CHART={DEV}/chart", f"{DEV}/chart/values.yaml"),
    ],
)
def test_what_a_fact_names_is_read(small: Project, facts: str, path: str) -> None:
    small.write(path, "customization: {}\n")
    with pytest.raises(InventoryError, match="is not read"):
        environments.load("dev")
    small.environment("dev", f"{facts}\n")
    assert len(environments.load("dev").nodes) == 2


def test_what_another_environment_names_of_the_shared_files_is_read(small: Project) -> None:
    small.write("patches/factory/s.yaml", "customization: {}\n")
    small.write("patches/envs/broken/cluster.env", "not a line\n")
    small.environment("prod", "TALOS_SCHEMATIC=../../factory/s.yaml\n")
    assert len(environments.load("dev").nodes) == 2
    small.remove("patches/envs/prod")
    with pytest.raises(InventoryError, match=r"factory/s\.yaml: is not read"):
        environments.load("dev")
