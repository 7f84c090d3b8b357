"""Only what is stale runs: proven by Snakemake's own job list."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.project import REPOSITORY, Project

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
    patch.write_text("machine:\n  sysctls:\n    vm.swappiness: '${NODE_IP}'\n")
    built.ok(*GO)
    facts = patch.with_name("node.env")
    facts.write_text("NODE_IP=10.9.0.29\n")
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
    assert built.ok(*GO).jobs == {"lint_environment:dev", "apply_script:dev"}
    built.patch("dev", "workers", "worker_2", "machine: {sysctls: {a: '${NODE_IP}'}}\n")
    built.ok(*GO)
    built.node("dev", "workers", "worker_2", "10.9.0.39")
    assert built.ok(*GO).jobs == _all_jobs("worker_2") | {"apply_script:dev"}
    assert "10.9.0.39" in built.read("rendered_configs/dev/apply.sh")


def test_changed_control_plane_address_also_changes_the_talosconfig(built: Project) -> None:
    certificate = built.read("rendered_configs/dev/state/talosconfig")
    built.node("dev", "control_planes", "cp_2", "10.9.0.19")
    wanted = {"lint_environment:dev", "apply_script:dev", "talosconfig:dev"}
    assert built.ok(*GO).jobs == wanted
    assert built.read("rendered_configs/dev/state/talosconfig") == certificate
    assert "10.9.0.19" in built.read("rendered_configs/dev/talosconfig")


def test_shared_files_reach_their_environment_only(dev: Project) -> None:
    dev.environment("other")
    dev.node("other", "control_planes", "cp_1", "10.8.0.11")
    dev.ok("secrets", "--config", "env=other")
    dev.ok("-j4", "--config", "env=all")
    before = dev.read("rendered_configs/other/controlplane-cp_1.yaml")

    nodes = ("cp_1", "cp_2", "worker_1", "worker_2")
    file = dev.root / "patches/envs/dev/common.yaml"
    file.write_text(file.read_text() + "\n# changed\n")
    assert dev.ok("-j4", "--config", "env=all").jobs == _all_jobs(*nodes)
    file = dev.root / "patches/envs/dev/cluster.env"
    file.write_text(
        file.read_text().replace("KUBERNETES_VERSION=1.36.0", "KUBERNETES_VERSION=1.36.1")
    )
    assert dev.ok("-j4", "--config", "env=all").jobs == _all_jobs(*nodes)
    assert dev.read("rendered_configs/other/controlplane-cp_1.yaml") == before


def _rewritten(text: str) -> str:
    """The same facts, in another order, quoted, and with a comment."""
    lines = [
        f"export {name}='{value}'"
        for name, value in (line.split("=", 1) for line in reversed(text.splitlines()))
    ]
    return "# in another order\n\n" + "\n".join(lines) + "\n"


def test_env_files_written_in_another_way_change_nothing(built: Project) -> None:
    for path in built.root.glob("patches/**/*.env"):
        path.write_text(_rewritten(path.read_text()))
    dry = built.ok("-n", *GO)
    assert dry.jobs == set()
    assert "Nothing to be done" in dry.output
    assert built.ok(*GO).jobs == set()


@pytest.mark.parametrize(
    ("facts", "jobs"),
    [
        ("APPLY_MODE=no-reboot\nAPPLY_RETRIES=7\nGOAL=rendered\nPROTECTED=true\n", set()),
        ("VM_MEMORY_MIB=4096\nVM_DISK_GIB=40\nVM_CPUS=8\n", set()),
        ("CALL_TIMEOUT=99\nNODE_TIMEOUT=999\n", {"apply_script:dev"}),
        ("LINT_OFF=disk-path\n", {"lint_environment:dev"}),
        ("MINE=1\n", {"lint_environment:dev"}),  # it may be a misspelt one
    ],
)
def test_facts_of_the_run_render_nothing(built: Project, facts: str, jobs: set[str]) -> None:
    path = "patches/envs/dev/cluster.env"
    built.write(path, built.read(path) + facts)
    assert built.ok("validate", *GO).jobs == jobs
    assert built.ok("validate", *GO).jobs == set()


def test_fact_reaches_the_nodes_whose_patches_name_it(built: Project) -> None:
    path = "patches/envs/dev/cluster.env"
    built.write(path, built.read(path) + "MINE=1\nCALL_TIMEOUT=9\n")
    built.patch("dev", "workers", "worker_1", "machine: {sysctls: {a: '${MINE}'}}\n")
    built.patch("dev", "control_planes", "cp_1", "machine: {sysctls: {a: '${CALL_TIMEOUT}'}}\n")
    built.ok(*GO)
    built.write(path, built.read(path).replace("MINE=1", "MINE=2"))
    assert built.ok(*GO).jobs == _all_jobs("worker_1")
    built.write(path, built.read(path).replace("CALL_TIMEOUT=9", "CALL_TIMEOUT=8"))
    assert built.ok(*GO).jobs == _all_jobs("cp_1") | {"apply_script:dev"}


@pytest.fixture
def updated(built: Project, tmp_path: Path) -> Project:
    """The project with a copy of the program, which is changed."""
    copy = tmp_path / "program"
    for name in ("config", "plugins", "profiles", "requirements", "rules", "scripts", "tools"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    shutil.copy(REPOSITORY / "Snakefile", copy)
    built.env["PYTHONPATH"] = str(copy / "plugins")
    built.program = copy
    return built


def _edit(program: Path, path: str, old: str, new: str) -> None:
    text = (program / path).read_text()
    assert old in text
    (program / path).write_text(text.replace(old, new))


def test_update_of_the_program_changes_nothing(updated: Project) -> None:
    code = updated.program / "scripts/talosmake"
    modules = [path for path in code.rglob("*.py") if path.name != "__init__.py"]
    assert {"machine_config.py", "validate.py", "lint_rules.py"} <= {path.name for path in modules}
    for module in modules:
        module.write_text(f"{module.read_text()}\n# a comment\nNEW = 1\n")
    _edit(updated.program, "rules/render.smk", "run:\n", "run:\n                # a comment\n")
    _edit(updated.program, "rules/deploy.smk", "run:\n", "run:\n        assert True\n")
    assert updated.ok("-n", *GO).jobs == set()
    assert updated.ok(*GO).jobs == set()


def test_raised_revision_reaches_what_it_is_of(updated: Project) -> None:
    _edit(updated.program, "scripts/talosmake/render/revisions.py", "LINT = ", "LINT = 9000 + ")
    assert updated.ok(*GO).jobs == {"lint_environment:dev"}
    _edit(
        updated.program,
        "scripts/talosmake/render/revisions.py",
        "APPLY_SCRIPT = ",
        "APPLY_SCRIPT = 9000 + ",
    )
    assert updated.ok(*GO).jobs == {"apply_script:dev"}
    _edit(updated.program, "scripts/talosmake/render/revisions.py", "RENDER = ", "RENDER = 9000 + ")
    assert updated.ok(*GO).jobs == _all_jobs("cp_1", "cp_2", "worker_1", "worker_2")
    assert updated.ok(*GO).jobs == set()


def test_new_lint_rule_finds_what_is_there(updated: Project) -> None:
    """And validates nothing again for it."""
    _edit(
        updated.program,
        "scripts/talosmake/checks/value_rules.py",
        "def disk_path(",
        "def disk_path_(",
    )
    with (updated.program / "scripts/talosmake/checks/value_rules.py").open("a") as file:
        file.write(
            "\n\ndef disk_path(view: NodeView) -> Iterator[Finding]:\n"
            '    yield Finding("here", f"is {view.node.name}", "Do.")\n'
        )
    assert "is worker_1" not in updated.ok("lint", *GO).output
    _edit(updated.program, "scripts/talosmake/render/revisions.py", "LINT = ", "LINT = 9000 + ")
    run = updated.ok(*GO)
    assert run.jobs == {"lint_environment:dev"}
    assert "here: is worker_1 (worker_1) [disk-path]" in run.output
    assert "here: is worker_1" in updated.ok("lint", *GO).output


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

    for left in ("applied", "explain"):
        built.write(f"rendered_configs/dev/{left}/worker-worker_2.yaml", "machine: {}\n")
        built.write(f"rendered_configs/dev/{left}/worker-worker_1.yaml", "machine: {}\n")
    built.ok("prune", "--config", "env=dev")
    assert (built.root / "rendered_configs/dev/applied/worker-worker_1.yaml").exists()
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


UP = ("up", "-j4", "--config", "env=lab")


def test_nodes_are_asked_only_for_what_reaches_them(lab: Project) -> None:
    lab.ok(*UP)
    assert lab.ok(*UP).jobs == set()
    path = "patches/envs/lab/cluster.env"
    lab.write(path, "# why\n" + lab.read(path).replace("CALL_TIMEOUT=5", "CALL_TIMEOUT=6"))
    assert lab.ok("-n", *UP).jobs == {"apply_script:lab"}
    assert lab.ok(*UP).jobs == {"apply_script:lab"}

    # Rendered and validated again, to the same bytes.
    common = "patches/envs/lab/common.yaml"
    lab.write(common, lab.read(common) + "# changed\n")
    nodes = ("cp_1", "cp_2", "cp_3", "worker_1", "worker_2")
    steps = {f"{step}_config:lab/{node}" for step in ("render", "validate") for node in nodes}
    again = lab.ok("validate", *UP[1:]).jobs
    assert again == steps | {"lint_environment:lab"}
    assert lab.ok("-n", *UP).jobs == set()
    assert lab.ok(*UP).jobs == set()

    # The same config, and another machine to have it.
    worker = "patches/envs/lab/workers/worker_1/node.env"
    lab.write(worker, lab.read(worker) + "NODE_UUID=4c4c4544-0042-3510-8052-b4c04f4d3332\n")
    due = {"apply_worker:lab/worker_1", "apply_script:lab", "lint_environment:lab"}
    # The simulated machines change with it.
    assert lab.ok("-n", *UP).jobs - {"start_simulator:lab"} == due
