from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from snakemake.cli import parse_config

from talosmake.inventory.model import Cluster, Environment, Goal, Node, Options, Role
from talosmake.report import dag
from talosmake.report.dag import Step, StepState

HEAD = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"


def environment(control_planes: int, workers: int) -> Environment:
    cluster = Cluster("c", "https://c:6443", "v1.13.0", "v1.13", "1.36.0")
    options = Options(Goal.RENDERED, "auto", 1, 1, 1, 1)
    nodes = [
        Node(f"{short}_{number}", role, "x", "10.0.0.1", Path("x"), (), {})
        for role, short, count in (
            (Role.CONTROLPLANE, "cp", control_planes),
            (Role.WORKER, "worker", workers),
        )
        for number in range(1, count + 1)
    ]
    return Environment("dev", Path("dev"), cluster, options, tuple(nodes), Path("b"))


def node_steps(
    of: Environment, apply: StepState = StepState.TO_RUN, odd: tuple[str, ...] = ()
) -> list[Step]:
    found = []
    for node in of.nodes:
        path = f"rendered_configs/dev/{node.config_name}.yaml"
        marker = f"rendered_configs/dev/state/{node.config_name}"
        state = StepState.FAILED if node.name in odd else StepState.FRESH
        found.append(Step(path, "render_config", StepState.FRESH))
        found.append(Step(f"{marker}.validated", "validate_config", state))
        found.append(Step(f"{marker}.applied", f"apply_{node.role}", apply))
    return found


@pytest.mark.parametrize(
    ("status", "plan", "error", "state"),
    [
        ("ok", "no update", "", StepState.FRESH),
        ("ok", "no update", "Error: no", StepState.FRESH),
        ("missing", "update pending", "", StepState.TO_RUN),
        ("missing", "update pending", "Error: no", StepState.FAILED),
        ("updated input files", "update pending", "", StepState.STALE),
        ("params changed", "update pending", "", StepState.STALE),
        ("ok", "update pending", "", StepState.STALE),
    ],
)
def test_states(status: str, plan: str, error: str, state: StepState) -> None:
    line = f"out/a.yaml\tTue\trender_config\tlogs/a.log\t{status}\t{plan}\n"
    [step] = dag.steps("noise\n" + HEAD + line, {"logs/a.log": error})
    shown = error if state is StepState.FAILED else ""
    assert step == Step("out/a.yaml", "render_config", state, "logs/a.log", shown)


def test_failures_are_told_by_their_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    Path("logs/bad.log").write_text(
        "2026-01-01T00:00:00Z dev: beginning\n"
        "2026-01-01T00:00:01Z Error: it went wrong\n  -> do this\n"
        "2026-01-01T00:00:02Z dev: after it\n"
    )
    Path("logs/good.log").write_text("2026-01-01T00:00:00Z Error is a word\n")
    summary = HEAD + "".join(
        f"x\t\tr\tlogs/{name}.log\tmissing\tupdate pending\n" for name in ("bad", "good", "none")
    )
    assert dag.failures(summary) == {
        "logs/bad.log": "Error: it went wrong\n  -> do this",
        "logs/good.log": "",
        "logs/none.log": "",
    }


def test_few_nodes_have_a_row_each() -> None:
    few = environment(3, 2)
    drawn = dag.arranged(few, node_steps(few))
    assert [row.label for row in drawn.rows] == ["cp_1", "cp_2", "cp_3", "worker_1", "worker_2"]
    assert drawn.columns == ["render", "validate", "apply"]
    assert drawn.counts == {
        StepState.FAILED: 0,
        StepState.STALE: 0,
        StepState.TO_RUN: 5,
        StepState.FRESH: 10,
    }


def test_many_nodes_share_rows_unless_they_differ() -> None:
    many = environment(3, 97)
    found = node_steps(many, odd=("worker_7",))
    drawn = dag.arranged(many, found)
    assert [row.label for row in drawn.rows] == [
        "cp_1 … cp_3 (3)",
        "worker_1 … worker_97 (96)",
        "worker_7",
    ]
    assert drawn.counts[StepState.FAILED] == 1
    assert drawn.counts[StepState.FRESH] == 199


def _renamed(of: Environment, name: Callable[[str], str]) -> Environment:
    nodes = tuple(
        Node(name(node.name), node.role, "x", "10.0.0.1", Path("x"), (), {}) for node in of.nodes
    )
    return Environment("dev", Path("dev"), of.cluster, of.options, nodes, Path("b"))


@pytest.mark.parametrize("nodes", [(1, 1), (3, 13)])
def test_nodes_of_one_name_and_two_roles(nodes: tuple[int, int]) -> None:
    both = _renamed(environment(*nodes), lambda name: f"n_{name.rpartition('_')[2]}")
    drawn = dag.arranged(both, node_steps(both))
    assert [row.role for row in drawn.rows] == [*Role]
    assert [len(row.names) for row in drawn.rows] == [*nodes]
    assert all(drawn.of(node) for node in both.nodes)


def test_each_of_a_few_nodes_that_failed_is_named() -> None:
    many = environment(3, 97)
    odd = ("worker_3", "worker_42", "worker_90")
    drawn = dag.arranged(many, node_steps(many, odd=odd))
    labels = [row.label for row in drawn.rows]
    assert labels == ["cp_1 … cp_3 (3)", "worker_1 … worker_97 (94)", *odd]
    everywhere = node_steps(many, odd=tuple(node.name for node in many.nodes))
    assert [len(row.names) for row in dag.arranged(many, everywhere).rows] == [1, 1, 1, 97]


def test_the_longest_name_has_room() -> None:
    long = _renamed(environment(1, 1), lambda name: name.ljust(63, "x"))
    root = ElementTree.fromstring(dag.svg(dag.arranged(long, node_steps(long))))  # noqa: S314
    boxes = [
        float(box.attrib["transform"].removeprefix("translate(").split()[0])
        for box in root.iter("{http://www.w3.org/2000/svg}g")
        if box.find("{http://www.w3.org/2000/svg}title") is not None
    ]
    # Letters of this font are narrower than 8 pixels.
    assert min(boxes) > 20 + 63 * 8


def test_snakemake_is_asked_about_what_was_called() -> None:
    given = {"env": "all", "strict": "true", "defaults": {"VM_CPUS": "2"}, "workers_at_once": 4}
    command = dag.Workflow(Path("Snakefile"), given).command(environment(1, 0), "--summary")
    said = parse_config(command[command.index("--config") + 1 :])
    assert said == {**given, "env": "dev"}


@pytest.mark.parametrize("nodes", [(1, 0), (3, 2), (3, 97)])
def test_pictures_say_it_all(nodes: tuple[int, int]) -> None:
    of = environment(*nodes)
    found = [
        Step("s", "throwaway_secrets", StepState.FRESH),
        Step("t", "talosconfig", StepState.STALE),
        Step("b", "bootstrap_cluster", StepState.TO_RUN),
        *node_steps(of, odd=("cp_1",)),
    ]
    drawn = dag.arranged(of, found)
    text = dag.svg(drawn)
    root = ElementTree.fromstring(text)  # noqa: S314 - our own
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "talosconfig: stale" in titles
    assert "bootstrap: to run" in titles
    assert any(title and title.endswith("validate: failed") for title in titles)
    assert len(titles) == 3 + sum(len(row.steps) for row in drawn.rows)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for element in root.iter("{http://www.w3.org/2000/svg}g"):
        x, y = map(float, element.attrib["transform"].removeprefix("translate(")[:-1].split())
        assert 0 <= x < width - 20
        assert 0 <= y < height - 20
    flow = dag.mermaid(drawn)
    assert flow.startswith("flowchart LR\n")
    assert '"✗ validate"]:::failed' in flow
    assert flow.count("subgraph") == flow.count("  end\n") == 2 + (nodes[1] > 0)


def test_names_are_escaped() -> None:
    of = environment(1, 0)
    drawn = dag.Dag("<a&b>", {}, dag.arranged(of, node_steps(of)).rows, None)
    ElementTree.fromstring(dag.svg(drawn))  # noqa: S314 - our own
