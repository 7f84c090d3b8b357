"""Which files of an environment each target is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from talosmake.base.errors import ArtifactError, ConfigError
from talosmake.inventory.artifact import Artifact
from talosmake.inventory.machines import Vms
from talosmake.inventory.model import Environment, Goal, Node, Role
from talosmake.inventory.settings import Config
from talosmake.report import status
from talosmake.workflow import targets
from tests.unit.rollout.test_installed import ENVIRONMENT, NODE

WORKER = Node("w_1", Role.WORKER, "w-1", "10.0.0.2", Path("x/w_1"), (), {})
DEV = replace(ENVIRONMENT, nodes=(NODE, WORKER))
SIMULATED = replace(DEV, cluster=replace(DEV.cluster, simulated=True))
LAB = replace(DEV, cluster=replace(DEV.cluster, lab=True))

RENDERED = {"controlplane-cp_1.yaml", "worker-w_1.yaml", "talosconfig", "apply.sh"}
MARKERS = {"controlplane-cp_1.validated", "worker-w_1.validated"}
VALIDATED = RENDERED | MARKERS | {"linted"}
APPLIED = VALIDATED | {"controlplane-cp_1.applied", "worker-w_1.applied"}
RUNNING = {"bootstrapped", "kubeconfig"}


def names(files: list[Path]) -> set[str]:
    assert len(files) == len(set(files))
    return {file.name for file in files}


@pytest.fixture
def from_artifact() -> Environment:
    return replace(DEV, artifact=object.__new__(Artifact))


@pytest.mark.parametrize(
    ("goal", "made"),
    [
        (Goal.RENDERED, RENDERED),
        (Goal.VALIDATED, VALIDATED),
        (Goal.APPLIED, APPLIED),
        (Goal.BOOTSTRAPPED, APPLIED | RUNNING),
    ],
)
def test_a_run_without_a_target_goes_as_far_as_the_goal(goal: Goal, made: set[str]) -> None:
    options = replace(DEV.options, goal=goal)
    assert names(targets.goal(replace(DEV, options=options))) == made


def test_every_goal_has_files() -> None:
    for goal in Goal:
        assert targets.goal(replace(DEV, options=replace(DEV.options, goal=goal)))


def test_bootstrap_waits_for_no_worker() -> None:
    files = targets.bootstrapped(DEV)
    assert names(files) == {"talosconfig", "linted", "controlplane-cp_1.applied"} | RUNNING
    assert set(files) < set(targets.up(DEV))


def test_what_an_artifact_has_is_not_linted_again(from_artifact: Environment) -> None:
    linted = DEV.paths.linted
    for files in (targets.validated, targets.before_apply, targets.up, targets.bootstrapped):
        assert linted in files(DEV)
        assert linted not in files(from_artifact)


@pytest.mark.parametrize(
    ("environment", "ready"), [(DEV, []), (SIMULATED, [".simulator"]), (LAB, [".lab"])]
)
def test_nodes_run_before_they_are_applied(environment: Environment, ready: list[str]) -> None:
    files = targets.powered_on(environment)
    assert [file.parts[-3] for file in files] == ready
    for made in (targets.before_apply, targets.applied, targets.bootstrapped):
        assert set(files) <= set(made(environment))


def test_looking_starts_simulated_nodes_and_no_lab() -> None:
    assert targets.reachable(DEV) == targets.reachable(LAB) == []
    ready = targets.powered_on(SIMULATED)
    assert targets.reachable(SIMULATED) == ready
    assert targets.administered(SIMULATED) == [SIMULATED.paths.talosconfig, *ready]
    assert targets.compared(SIMULATED, against="live") == [*targets.markers(SIMULATED), *ready]
    assert targets.compared(SIMULATED, against="applied") == targets.markers(SIMULATED)


def test_machines_are_made_where_they_are_virtual() -> None:
    assert targets.machines(DEV) == []
    virtual = replace(DEV, vms=object.__new__(Vms))
    assert names(targets.machines(virtual)) == {"controlplane-cp_1.vm", "worker-w_1.vm"}


def test_report_is_made_of_what_did_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[Node] = []
    monkeypatch.setattr(status, "failed_nodes", lambda _: failed)
    assert names(targets.reported(DEV, strict=False, live=False)) == VALIDATED
    # Strict, what lint finds would end the run before there is a page that tells of it.
    assert names(targets.reported(DEV, strict=True, live=False)) == VALIDATED - {"linted"}
    [ready] = targets.reachable(SIMULATED)
    assert ready in targets.reported(SIMULATED, strict=False, live=True)
    assert ready not in targets.reported(SIMULATED, strict=False, live=False)

    failed.append(WORKER)
    sound = {"talosconfig", "apply.sh", "controlplane-cp_1.validated"}
    assert names(targets.reported(DEV, strict=False, live=False)) == sound


def test_files_of_each_environment_one_after_the_other() -> None:
    other = replace(DEV, name="prod")
    files = targets.of_each([DEV, other], lambda environment: [environment.paths.talosconfig])
    assert files == ["rendered_configs/dev/talosconfig", "rendered_configs/prod/talosconfig"]


def test_artifact_is_for_deploy_and_deploy_for_an_artifact(from_artifact: Environment) -> None:
    lint = targets.from_git("lint", targets.markers)
    assert lint(DEV) == targets.markers(DEV)
    with pytest.raises(ArtifactError, match=r"^lint works on what is in Git; ar"):
        lint(from_artifact)
    assert targets.deployed(from_artifact) == targets.up(from_artifact)
    with pytest.raises(ArtifactError, match=r"^deploy needs the artifact that is to be deployed"):
        targets.deployed(DEV)


def test_one_node_is_explained_or_all() -> None:
    assert targets.explained(DEV, name=None) == targets.configs(DEV)
    assert names(targets.explained(DEV, name="w_1")) == {"worker-w_1.yaml"}
    with pytest.raises(ConfigError):
        targets.explained(DEV, name="w_2")


def test_two_environments_are_promoted() -> None:
    config = Config(None, None, 1, "", {}, promotes=("dev", "prod"))
    assert targets.promoted(DEV, config=config) == targets.configs(DEV)
    with pytest.raises(ConfigError) as error:
        targets.promoted(DEV, config=replace(config, promotes=None))
    assert error.value.hint == "Run:  snakemake promote --config from=dev to=prod"
