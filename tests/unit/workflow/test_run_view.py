from __future__ import annotations

import io

import pytest
from rich.console import Console

from talosmake.workflow.live_view import shown
from talosmake.workflow.run_view import Lines, Running, View, clock, ended, outcome


def drawn(view: View, now: float, rows: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=60, height=rows, color_system=None)
    with console.capture() as text:
        console.print(shown(view, now, rows, 60))
    return [line.rstrip() for line in text.get().splitlines()]


def test_what_runs_and_what_it_waits_for() -> None:
    view = View(began=100.0, total=12, done=3)
    # Snakemake tells that a job started before it tells what it is.
    view.start([1, 2], now=110.0)
    view.know(1, "apply_worker", {"env": "dev", "node": "worker_1"})
    view.know(2, "bootstrap_cluster", {"env": "dev"})
    assert not view.hear("a line of Snakemake's")
    assert not view.hear("prod/worker_1: is another's")
    assert view.hear("dev: waiting for 3 etcd members (20 of 300 s): it knows 1: cp-1, and so on")
    assert drawn(view, 165.0)[0].endswith("3 of 12 steps  1:05")
    assert drawn(view, 165.0)[1:] == [
        "dev           bootstrapping  55 s  waiting for 3 etcd",
        "                                   members (20 of 300 s): it",
        "                                   knows 1: cp-1, and so on",
        "dev/worker_1  applying       55 s",
    ]
    view.finish(2)
    view.finish(7)
    assert len(drawn(view, 166.0)) == 2


def test_fifty_nodes_on_a_small_window() -> None:
    view = View(began=0.0, total=200)
    for number in range(50):
        view.know(number, "render_config", {"env": "dev", "node": f"worker_{number}"})
    view.start(range(50), now=1.0)
    view.hear("dev/worker_49: waiting for something")
    lines = drawn(view, 2.0, rows=10)
    assert len(lines) == 10 - 2  # two are kept for a long reason
    assert lines[1].startswith("dev/worker_49")  # who waits is never hidden
    assert lines[-1] == "and 44 more"


def test_a_long_reason_is_cut() -> None:
    view = View(began=0.0, total=2)
    for number, node in enumerate(("cp_1", "worker_1")):
        view.know(number, "apply_worker", {"env": "dev", "node": node})
        view.start([number], now=1.0)
        view.hear(f"dev/{node}: " + "a long reason " * 20)
    lines = drawn(view, 2.0)
    assert len(lines) == 1 + 3 + 1
    assert all(len(line) <= 60 for line in lines)
    assert lines[3].endswith("…")
    assert lines[4].endswith("…")


def test_an_environments_step_that_tells_of_a_node() -> None:
    view = View(began=0.0, total=2)
    view.know(1, "start_lab", {"env": "lab"})
    view.start([1], now=1.0)
    assert view.hear("lab/cp_1: waiting for its first line on the console (3 of 90 s)")
    lines = " ".join(line.strip() for line in drawn(view, 2.0)[1:])
    said = "cp_1: waiting for its first line on the console (3 of 90 s)"
    assert lines == f"lab  powering on  1 s  {said}"
    assert not view.hear("other/cp_1: is another's")


def test_before_anything_is_known() -> None:
    assert "looking what is to do" in drawn(View(began=0.0), 1.0)[0]


def test_a_line_for_each_step() -> None:
    view = View(began=0.0, total=12)
    view.start([1, 2, 3], now=1.0)
    view.know(1, "render_config", {"env": "dev", "node": "cp_1"})
    view.know(2, "apply_worker", {"env": "dev", "node": "worker_1"})
    view.know(3, "up", {})
    lines = []
    for number, failed in ((1, False), (2, True), (3, False)):
        job = view.finish(number)
        assert job is not None
        view.done += not failed
        lines.append(ended(view, job, now=1.0 + 35 * (number - 1), failed=failed))
    assert lines == [" 1 of 12  dev/cp_1: rendered", "  failed  dev/worker_1: applying (35 s)", ""]
    assert view.finish(4) is None
    assert ended(view, Running("dev", "x y", "x y", 0.0), 0.5) == " 2 of 12  dev: x y"


def test_how_to_go_on() -> None:
    assert outcome(View(0.0, total=3, done=3)) == ""
    assert outcome(View(0.0, total=3, done=1, failed=2)).startswith("2 failed, 1 of 3 steps are")
    stopped = View(0.0, total=3, done=1, failed=2, interrupted=True)
    assert outcome(stopped).startswith("Interrupted after 1 of 3 steps.")


def test_lines_are_written_at_once() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.show("one: [2/3]", "bold")
    lines.close()
    assert stream.getvalue() == "one: [2/3]\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0 s"), (59.9, "59 s"), (60, "1:00"), (3725, "62:05")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
