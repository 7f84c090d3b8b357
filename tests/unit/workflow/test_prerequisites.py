"""What is a reason to apply a node, and what only has to be there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from talosmake.base import marker
from talosmake.base.errors import SecretsError
from talosmake.inventory.model import Cilium, CniInstall, Environment
from talosmake.rollout import kubeconfig
from talosmake.workflow import prerequisites, targets
from tests.unit.rollout.test_installed import NODE
from tests.unit.workflow.test_targets import DEV, WORKER


@pytest.fixture
def dev(tmp_path: Path) -> Environment:
    made = replace(DEV, output=tmp_path)
    made.paths.state.mkdir(parents=True)
    for node in made.nodes:
        made.paths.config(node).write_bytes(b"machine: {}\n")
        marker.write(made.paths.validated(node))
    return made


def ancient(files: Sequence[Any]) -> set[str]:
    return {Path(f).name for f in files if getattr(f, "flags", {}).get("ancient")}


def names(files: Sequence[Any]) -> set[str]:
    return {Path(file).name for file in files}


def apply(environment: Environment) -> None:
    """As after a run, so that what is below is older."""
    for node in environment.nodes:
        for path in (environment.paths.config(node), environment.paths.validated(node)):
            os.utime(path, (1, 1))
        marker.write(environment.paths.applied(node))


def test_node_that_has_to_be_applied_has_reasons(dev: Environment) -> None:
    before = {"talosconfig", "linted"}
    assert names(prerequisites.of_control_plane(dev, NODE)) == before
    assert ancient(prerequisites.of_control_plane(dev, NODE)) == set()
    # Its certificate comes from a control plane; bootstrap is not waited for.
    assert names(prerequisites.of_worker(dev, WORKER)) == {*before, "controlplane-cp_1.applied"}
    assert ancient(prerequisites.of_worker(dev, WORKER)) == set()


def test_node_that_has_its_config_has_none(dev: Environment) -> None:
    apply(dev)
    files = prerequisites.of_worker(dev, WORKER)
    assert ancient(files) == names(files) == {"talosconfig", "linted", "controlplane-cp_1.applied"}
    # One stale node gives the others no reason.
    dev.paths.applied(NODE).unlink()
    assert ancient(prerequisites.of_control_plane(dev, NODE)) == set()
    assert ancient(prerequisites.of_worker(dev, WORKER)) == names(files)


def test_cluster_is_bootstrapped_once(dev: Environment) -> None:
    apply(dev)
    files = {"talosconfig", "controlplane-cp_1.applied"}
    assert names(prerequisites.of_bootstrap(dev)) == files
    assert ancient(prerequisites.of_bootstrap(dev)) == set()
    marker.write(dev.paths.bootstrapped)
    assert ancient(prerequisites.of_bootstrap(dev)) == files


@pytest.mark.parametrize("reason", ["", "is missing"])
def test_kubeconfig_is_fetched_for_its_own_reasons(
    dev: Environment, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "reason", lambda _: reason)
    files = prerequisites.of_kubeconfig(dev)
    assert names(files) == {"talosconfig", "controlplane-cp_1.applied", "bootstrapped"}
    assert ancient(files) == (set() if reason else names(files))


def test_control_planes_are_applied_one_at_a_time_once_etcd_runs(dev: Environment) -> None:
    assert prerequisites.one_at_a_time(dev, NODE) == 0
    marker.write(dev.paths.bootstrapped)
    assert prerequisites.one_at_a_time(dev, NODE) == 0  # it joins
    apply(dev)
    assert prerequisites.one_at_a_time(dev, NODE) == 1


def test_missing_bundle_is_told_with_the_way_to_one(dev: Environment, tmp_path: Path) -> None:
    absent = replace(dev, bundle=tmp_path / "secrets.yaml")
    with pytest.raises(SecretsError, match="dev: there is no secrets bundle") as error:
        prerequisites.bundle(absent)
    assert "snakemake secrets --config" in (error.value.hint or "")
    absent.bundle.write_text("")
    assert prerequisites.bundle(absent) == absent.bundle


def test_throwaway_secrets_are_made_by_the_run(dev: Environment, tmp_path: Path) -> None:
    cluster = replace(dev.cluster, simulated=True)
    throwaway = replace(dev, cluster=cluster, bundle=tmp_path / "secrets.yaml")
    assert prerequisites.bundle(throwaway).name == ".dev.made"
    # They are made again where they were lost, and then all is that is made of them.
    assert ancient([prerequisites.bundle_is_there(throwaway)]) == set()


def test_contents_that_are_parameters_are_no_reasons(dev: Environment, tmp_path: Path) -> None:
    served = replace(dev, bundle=tmp_path / "secrets.yaml")
    served.bundle.write_text("")
    assert ancient([prerequisites.bundle_is_there(served)]) == {"secrets.yaml"}
    patched = replace(NODE, patches=(Path("patches/a.yaml"), Path("patches/b.yaml")))
    assert ancient(prerequisites.patches(dev, patched)) == {"a.yaml", "b.yaml"}
    assert prerequisites.cilium_files(dev) == []


def test_control_planes_alone_carry_cilium(dev: Environment) -> None:
    cilium = Cilium(CniInstall.JOB, "1.18.0", "cli", "chart", "")
    carrying = replace(dev, cilium=cilium)
    assert names(prerequisites.cilium(carrying, NODE)) == {"cilium.yaml"}
    assert prerequisites.cilium(carrying, WORKER) == []
    assert prerequisites.cilium(dev, NODE) == []


def test_bare_metal_has_no_machine_to_wait_for(dev: Environment) -> None:
    assert prerequisites.vm(dev, NODE) == targets.machines(dev) == []
