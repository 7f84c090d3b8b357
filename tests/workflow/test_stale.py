"""Only what is stale runs: proven by Snakemake's own job list."""

from __future__ import annotations

import os
import time

import pytest

from tests.project import Project

GO = ("-j4", "--config", "env=dev")


def _all_jobs(
    *nodes: str, steps: tuple[str, ...] = ("render_config", "validate_config")
) -> set[str]:
    return {f"{step}:dev/{node}" for step in steps for node in nodes} | {"lint_environment:dev"}


@pytest.fixture
def built(dev: Project) -> Project:
    dev.ok(*GO)
    return dev


def test_first_run_makes_everything_and_the_second_nothing(dev: Project) -> None:
    first = dev.ok(*GO)
    nodes = ("cp_1", "cp_2", "worker_1", "worker_2")
    assert first.jobs == _all_jobs(*nodes) | {
        "client_certificate:dev",
        "talosconfig:dev",
        "apply_script:dev",
    }
    second = dev.ok(*GO)
    assert second.jobs == set()
    assert "Nothing to be done" in second.output


def test_dry_run_writes_nothing_and_tells_the_truth(dev: Project) -> None:
    def everything() -> dict[str, float]:
        ignored = (".snakemake",)
        return {
            str(path): path.stat().st_mtime_ns
            for path in dev.root.rglob("*")
            if not str(path.relative_to(dev.root)).startswith(ignored)
        }

    before = everything()
    foretold = dev.ok("-n", *GO)
    assert everything() == before
    assert foretold.jobs == dev.ok(*GO).jobs


def test_changed_patch_reaches_its_node_only(built: Project) -> None:
    patch = "machine:\n  sysctls:\n    vm.swappiness: '1'\n"
    built.patch("dev", "workers", "worker_1", patch)
    assert built.ok(*GO).jobs == _all_jobs("worker_1")
    assert "vm.swappiness" in built.read("rendered_configs/dev/worker-worker_1.yaml")

    built.patch("dev", "workers", "worker_1", patch.replace("'1'", "'2'"))
    assert built.ok(*GO).jobs == _all_jobs("worker_1")

    built.remove("patches/envs/dev/workers/worker_1/node.yaml")
    assert built.ok(*GO).jobs == _all_jobs("worker_1")
    assert "vm.swappiness" not in built.read("rendered_configs/dev/worker-worker_1.yaml")
    assert built.ok(*GO).jobs == set()


def test_older_file_with_other_content_is_a_change(built: Project) -> None:
    """As `cp -p` and `mv` leave them, or an edit while a run had read the file already."""
    patch = built.root / "patches/envs/dev/workers/worker_1/node.yaml"
    patch.write_text("machine:\n  sysctls:\n    vm.swappiness: '1'\n")
    built.ok(*GO)
    patch.write_text("machine:\n  sysctls:\n    vm.swappiness: '2'\n")
    os.utime(patch, (1_000_000_000, 1_000_000_000))
    assert built.ok(*GO).jobs == _all_jobs("worker_1")
    assert 'vm.swappiness: "2"' in built.read("rendered_configs/dev/worker-worker_1.yaml")
    facts = patch.with_name("node.env")
    facts.write_text(f"{facts.read_text()}MINE=1\n")
    os.utime(facts, (1_000_000_000, 1_000_000_000))
    assert "render_config:dev/worker_1" in built.ok(*GO).jobs
    assert built.ok(*GO).jobs == set()


def test_lint_sees_layers_that_leave_the_config_as_it_is(built: Project) -> None:
    built.patch("dev", "workers", "worker_1", "machine: {nodeLabels: {zone: rack-1}}\n", "z.yaml")
    built.ok(*GO)
    built.patch("dev", "workers", "worker_1", "machine: {nodeLabels: {zone: rack-9}}\n", "a.yaml")
    built.ok("render", *GO)
    assert "[silent-override]" in built.ok("lint", *GO).output


def test_changed_address_reaches_its_node_and_apply_sh(built: Project) -> None:
    built.node("dev", "workers", "worker_2", "10.9.0.29")
    assert built.ok(*GO).jobs == _all_jobs("worker_2") | {"apply_script:dev"}
    assert "10.9.0.29" in built.read("rendered_configs/dev/apply.sh")


def test_changed_control_plane_address_also_changes_the_talosconfig(built: Project) -> None:
    certificate = built.read("rendered_configs/dev/state/talosconfig")
    built.node("dev", "control_planes", "cp_2", "10.9.0.19")
    wanted = _all_jobs("cp_2") | {"apply_script:dev", "talosconfig:dev"}
    assert built.ok(*GO).jobs == wanted
    assert built.read("rendered_configs/dev/state/talosconfig") == certificate
    assert "10.9.0.19" in built.read("rendered_configs/dev/talosconfig")


@pytest.mark.parametrize("path", ["common.yaml", "cluster.env"])
def test_shared_files_reach_their_environment_only(dev: Project, path: str) -> None:
    dev.environment("other")
    dev.node("other", "control_planes", "cp_1", "10.8.0.11")
    dev.ok("secrets", "--config", "env=other")
    dev.ok("-j4", "--config", "env=all")
    before = dev.read("rendered_configs/other/controlplane-cp_1.yaml")

    file = dev.root / "patches/envs/dev" / path
    file.write_text(file.read_text() + ("\n# changed\n"))
    run = dev.ok("-j4", "--config", "env=all")
    assert run.jobs == _all_jobs("cp_1", "cp_2", "worker_1", "worker_2")
    assert dev.read("rendered_configs/other/controlplane-cp_1.yaml") == before


def test_role_layer_reaches_its_role_only(built: Project) -> None:
    layer = "cluster:\n  allowSchedulingOnControlPlanes: true\n"
    built.write("patches/envs/dev/control_planes/common.yaml", layer)
    assert built.ok(*GO).jobs == _all_jobs("cp_1", "cp_2")


def test_changed_secrets_reach_all_their_environments(project: Project) -> None:
    for env in ("dev", "other"):
        project.environment(env)
        project.node(env, "control_planes", "cp_1", "10.9.0.11")
    project.ok("secrets", "--config", "env=dev", "bundle=shared")
    project.ok("-j4", "--config", "env=all")
    project.remove("secrets/secrets.yaml")
    project.ok("secrets", "--config", "env=dev", "bundle=shared")
    jobs = project.ok("-j4", "--config", "env=all").jobs
    assert jobs == {
        f"{step}:{env}{node}"
        for env in ("dev", "other")
        for step, node in (
            ("render_config", "/cp_1"),
            ("validate_config", "/cp_1"),
            ("client_certificate", ""),
            ("talosconfig", ""),
            ("lint_environment", ""),
        )
    }


def test_touched_file_with_the_same_content_changes_nothing(built: Project) -> None:
    later = time.time() + 5
    for path in built.root.glob("patches/**/*.*"):
        os.utime(path, (later, later))
    for path in built.root.glob("secrets/*"):
        os.utime(path, (later, later))
    assert built.ok(*GO).jobs == set()


def test_added_node_makes_its_own_and_what_lists_it(built: Project) -> None:
    built.node("dev", "workers", "worker_3", "10.9.0.23")
    assert built.ok(*GO).jobs == _all_jobs("worker_3") | {"apply_script:dev"}


def test_removed_node_is_named_and_pruned_on_request(built: Project) -> None:
    built.remove("patches/envs/dev/workers/worker_2")
    run = built.ok(*GO)
    assert run.jobs == {"apply_script:dev", "lint_environment:dev"}
    assert "no longer in Git, but still here: worker-worker_2" in run.output
    assert "worker_2" not in built.read("rendered_configs/dev/apply.sh")
    assert (built.root / "rendered_configs/dev/worker-worker_2.yaml").exists()

    built.ok("prune", "--config", "env=dev")
    assert not list(built.root.glob("rendered_configs/dev/**/*worker_2*"))
    assert (built.root / "rendered_configs/dev/worker-worker_1.yaml").exists()
    assert "no longer in Git" not in built.ok(*GO).output


def test_configs_are_the_same_bytes_on_every_render(built: Project) -> None:
    def configs() -> dict[str, bytes]:
        files = built.root.glob("rendered_configs/dev/*.yaml")
        return {path.name: path.read_bytes() for path in files}

    first = configs()
    assert len(first) == 4
    built.remove("rendered_configs")
    built.ok(*GO)
    assert configs() == first
