"""What a run and the table of nodes tell of nodes whose Talos is not Git's."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from talosmake.base import marker
from talosmake.base.errors import NodeError
from talosmake.inventory.model import Environment, Node
from talosmake.inventory.schematic import PLAIN
from talosmake.render import machine_config
from talosmake.report import diff, outdated, status
from talosmake.rollout import guard, installed
from talosmake.rollout.installed import Talos
from talosmake.talos.observe import Observation, State
from tests.unit.rollout.test_installed import ENVIRONMENT, NODE, config

CONFIG = config("ghcr.io/siderolabs/installer:v1.13.6")
WORKER = replace(NODE, name="w_1", address="10.0.0.2")
OLD, NEW = Talos("v1.13.0", PLAIN), Talos("v1.13.6", PLAIN)
Answers = dict[str, Talos | str]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Two nodes that were applied an hour ago, while they ran."""
    made = replace(ENVIRONMENT, nodes=(NODE, WORKER), output=tmp_path)
    for node in made.nodes:
        made.paths.state.mkdir(parents=True, exist_ok=True)
        made.paths.config(node).write_bytes(CONFIG)
        applied(made, node, mode="auto", ago=3600)
    monkeypatch.setattr(outdated, "connection_error", lambda _: "")
    return made


def applied(environment: Environment, node: Node, *, mode: str, ago: float) -> None:
    path = environment.paths.applied(node)
    marker.write(path, sha256=hashlib.sha256(CONFIG).hexdigest(), mode=mode)
    os.utime(path, (time.time() - ago,) * 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], list[str]]:
    """Have nodes answer by name; returns the names of those that are asked."""

    def answering(answers: Answers) -> list[str]:
        names: list[str] = []

        def ask(_: Environment, node: Node) -> Talos:
            names.append(node.name)
            answer = answers[node.name]
            if isinstance(answer, str):
                raise NodeError(answer)
            return answer

        monkeypatch.setattr(installed, "ask", ask)
        return names

    return answering


def after(environment: Environment) -> tuple[str, str]:
    seen = outdated.after_run(environment)
    return outdated.in_short(seen), "\n".join(outdated.advice(environment, seen))


def test_nodes_in_line_are_asked_once(
    environment: Environment, asked: Callable[[Answers], list[str]]
) -> None:
    names = asked({"cp_1": NEW, "w_1": NEW})
    assert after(environment) == ("", "")
    assert sorted(names) == ["cp_1", "w_1"]
    assert after(environment) == ("", "")
    assert len(names) == 2


def test_nodes_that_do_not_run_what_git_says_are_asked_again(
    environment: Environment, asked: Callable[[Answers], list[str]]
) -> None:
    asked({"cp_1": OLD, "w_1": NEW})
    short, advice = after(environment)
    assert short == "; 1 runs Talos v1.13.0, Git says v1.13.6"
    assert "A new config changes no running Talos" in advice
    assert "one node at a time" in advice
    assert "cp_1: talosctl upgrade --image ghcr.io/siderolabs/installer:v1.13.6 " in advice
    assert "w_1" not in advice
    names = asked({"cp_1": NEW})
    assert after(environment) == ("", "")
    assert names == ["cp_1"]


def test_what_a_node_said_before_it_was_applied_does_not_count(
    environment: Environment, asked: Callable[[Answers], list[str]]
) -> None:
    asked({"cp_1": NEW, "w_1": NEW})
    after(environment)
    applied(environment, WORKER, mode="auto", ago=-1)
    names = asked({"w_1": OLD})
    assert after(environment)[0] == "; 1 runs Talos v1.13.0, Git says v1.13.6"
    assert names == ["w_1"]


def test_a_machine_that_may_install_yet_is_not_asked(
    environment: Environment, asked: Callable[[Answers], list[str]]
) -> None:
    applied(environment, WORKER, mode="maintenance", ago=-1)
    names = asked({"cp_1": NEW})
    assert after(environment) == ("", "")
    assert names == ["cp_1"]
    # A later run asks it.
    applied(environment, WORKER, mode="maintenance", ago=3600)
    names = asked({"w_1": OLD})
    assert after(environment)[0] == "; 1 runs Talos v1.13.0, Git says v1.13.6"
    assert names == ["w_1"]


def test_a_node_that_does_not_say_is_not_taken_for_one_in_line(
    environment: Environment, asked: Callable[[Answers], list[str]]
) -> None:
    asked({"cp_1": "dev/cp_1: no answer\nmore", "w_1": NEW})
    for _ in range(2):  # and it is asked again
        short, advice = after(environment)
        assert short == ""
        assert advice == "  Which Talos runs is not known of cp_1: dev/cp_1: no answer"


def test_a_node_that_cannot_be_reached_is_told_of(
    environment: Environment,
    asked: Callable[[Answers], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = asked({})
    monkeypatch.setattr(outdated, "connection_error", lambda address: f"{address}: refused")
    assert "not known of cp_1, w_1: 10.0.0.1: refused" in after(environment)[1]
    assert names == []


def test_an_empty_record_is_no_proof(
    environment: Environment, asked: Callable[[Answers], list[str]]
) -> None:
    marker.write(environment.paths.talos(NODE), version="", schematic="")
    names = asked({"cp_1": OLD, "w_1": NEW})
    assert after(environment)[0] == "; 1 runs Talos v1.13.0, Git says v1.13.6"
    assert sorted(names) == ["cp_1", "w_1"]


def test_of_many_nodes_the_first_commands_are_shown(environment: Environment) -> None:
    difference = installed.Difference(OLD, replace(NEW, image="i:v1.13.6"))
    nodes = [replace(NODE, name=f"w_{number}") for number in range(20)]
    seen = [outdated.Seen(node, difference) for node in nodes]
    assert outdated.in_short(seen) == "; 20 run Talos v1.13.0, Git says v1.13.6"
    advice = outdated.advice(environment, seen)
    assert len(advice) == 10
    assert advice[-1].endswith("all of them: snakemake diff --config env=dev")


@pytest.mark.parametrize("answer", [NEW, OLD, "dev/cp_1: no answer"])
def test_the_table_of_nodes(
    environment: Environment,
    asked: Callable[[Answers], list[str]],
    answer: Talos | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked({"cp_1": answer, "w_1": NEW})
    environment.paths.talosconfig.touch()
    monkeypatch.setattr(status, "observe", lambda *_: Observation(State.RUNNING, CONFIG))
    monkeypatch.setattr(machine_config, "render", lambda *_: CONFIG)
    table = status.node_table(environment)
    [row] = [line for line in table.splitlines() if line.startswith("cp_1 ")]
    expected = {NEW: "v1.13.6", OLD: "v1.13.0 (Git: v1.13.6)"}
    cell = "not known" if isinstance(answer, str) else expected[answer]
    assert re.search(rf"  {re.escape(cell)} +running$", row)
    assert ("talosctl upgrade" in table) is (answer == OLD)
    assert ("not known of cp_1: dev/cp_1: no answer" in table) is isinstance(answer, str)


def test_where_git_cannot_be_rendered_nothing_is_claimed(
    environment: Environment,
    asked: Callable[[Answers], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_key(*_: object) -> bytes:
        raise NodeError("no key")

    asked({"cp_1": OLD, "w_1": NEW})
    environment.paths.talosconfig.touch()
    monkeypatch.setattr(status, "observe", lambda *_: Observation(State.RUNNING, CONFIG))
    monkeypatch.setattr(machine_config, "render", without_key)
    table = status.node_table(environment)
    assert "v1.13.0 (Git's is not known)" in table
    assert "talosctl upgrade" not in table


class Api:
    def persistent_config(self) -> bytes:
        return CONFIG


@pytest.mark.parametrize("answer", [NEW, OLD, "dev/cp_1: no answer"])
def test_diff_compares_the_talos_too(
    environment: Environment,
    asked: Callable[[Answers], list[str]],
    answer: Talos | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked({"cp_1": answer})
    monkeypatch.setattr(diff, "validated_config", lambda *_: CONFIG)
    monkeypatch.setattr(diff, "observe", lambda *_: Observation(State.RUNNING, CONFIG))
    monkeypatch.setattr(diff, "secure_api", lambda *_: Api())
    monkeypatch.setattr(guard, "check_cluster", lambda *_: None)
    monkeypatch.setattr(guard, "cluster_of", lambda *_: "id")
    [found] = diff.of_environment(environment, [NODE], diff.Against.LIVE)
    shown = diff.report(environment, [found], diff.Against.LIVE)
    if isinstance(answer, str):
        assert found.error is not None
        assert "1 cannot be compared" in shown
        return
    assert found.differs is (answer == OLD)
    assert found.summary == (
        "runs what is in Git"
        if answer == NEW
        else "runs the config in Git, but Talos v1.13.0, Git says v1.13.6"
    )
    assert ("  -> talosctl upgrade --image " in shown) is (answer == OLD)
