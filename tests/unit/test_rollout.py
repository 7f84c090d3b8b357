from __future__ import annotations

import pytest

from scripts import inventory, locks, rollout
from scripts.errors import NodeError, ToolError
from tests.project import Project


@pytest.mark.parametrize("error", [NodeError("away"), ToolError("talosctl is not installed")])
def test_failure_of_one_control_plane_stops_those_after_it(
    small: Project, error: NodeError | ToolError
) -> None:
    small.node("dev", "control_planes", "cp_2", "10.9.0.12")
    small.write("rendered_configs/dev/state/bootstrapped", "{}")
    dev = inventory.load("dev")
    first, second = dev.control_planes
    with pytest.raises(type(error), match=error.message) as failed, rollout.turn(dev, first):
        raise error
    assert "env=dev" in failed.value.hint
    stopped = pytest.raises(NodeError, match="dev/cp_2: not changed, because the roll-out stopped")
    with stopped, rollout.turn(dev, second):
        raise AssertionError("its turn must not come")

    # The next run begins anew.
    locks.begin_roll_out(dev)
    with rollout.turn(dev, second):
        assert locks.stopped_at(dev) == ""
