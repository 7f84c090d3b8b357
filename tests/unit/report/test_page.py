from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from talosmake.base.errors import NodeError
from talosmake.inventory.model import Node, Role
from talosmake.report.dag import StepState
from talosmake.report.diff import NodeDiff
from talosmake.report.page import NodePart, compared_with
from talosmake.rollout.installed import Talos

NODE = Node("worker_1", Role.WORKER, "worker-1", "10.0.0.1", Path("x"), (), {})
IN_LINE = NodeDiff(NODE, "runs what is in Git", differs=False)
OLD_TALOS = NodeDiff(
    NODE,
    "runs the config in Git, but Talos v1.13.0, Git says v1.13.6",
    talos=Talos("v1.13.0", ""),
    to_do=("talosctl upgrade",),
)
EDITED = NodeDiff(NODE, "differs; applying it needs no reboot", lines=("@@ @@", "-a", "+b"))
WIPED = NodeDiff(NODE, "new: in maintenance mode at 10.0.0.1")
SILENT = NodeDiff(NODE, "cannot be compared", error=NodeError("dev/worker_1: does not answer"))


def part(step: str, state: StepState = StepState.FRESH) -> NodePart:
    return NodePart(NODE, step, {"validate": state}, [], (), {}, ())


@pytest.mark.parametrize(
    ("step", "seen", "kind", "state"),
    [
        ("applied", IN_LINE, "applied", "applied"),
        ("applied", EDITED, "stale", "applied, differs from Git"),
        ("applied", OLD_TALOS, "stale", "applied, differs from Git"),
        ("validated", OLD_TALOS, "stale", "validated, differs from Git"),
        ("applied", WIPED, "stale", "applied, differs from Git"),
        ("applied", SILENT, "failed", "applied, cannot be compared"),
        ("validated", WIPED, "validated", "validated"),
        ("validated", EDITED, "stale", "validated, differs from Git"),
        ("validated", SILENT, "failed", "validated, cannot be compared"),
    ],
)
def test_what_a_node_said_counts(step: str, seen: NodeDiff, kind: str, state: str) -> None:
    asked = compared_with(part(step), seen)
    assert (asked.kind, asked.state) == (kind, state)
    assert asked.live == (seen.error.message if seen.error else seen.summary)


def test_files_count_where_no_node_was_asked() -> None:
    stale = part("applied", StepState.STALE)
    assert (stale.kind, stale.state) == ("stale", "applied, changed since")
    # The node itself knows better.
    assert compared_with(stale, IN_LINE).kind == "applied"
    assert part("applied").kind == "applied"


def test_third_state_is_shown_until_the_node_says_otherwise() -> None:
    waiting = replace(part("applied"), waits=("cluster.etcd",), way_on="snakemake reboot …")
    assert waiting.state == "applied, not in force until a reboot"
    assert waiting.kind == "stale"
    assert compared_with(waiting, IN_LINE).state == "applied"
    assert compared_with(waiting, SILENT).waits == ("cluster.etcd",)
