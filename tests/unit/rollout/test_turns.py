from __future__ import annotations

import pytest

from talosmake.base.errors import NodeError, ToolError
from talosmake.inventory import environments, locks
from talosmake.rollout import turns
from tests.project import Project


@pytest.mark.parametrize("error", [NodeError("away"), ToolError("talosctl is not installed")])
def test_failure_of_one_control_plane_stops_those_after_it(
    small: Project, error: NodeError | ToolError
) -> None:
    small.node("dev", "control_planes", "cp_2", "10.9.0.12")
    small.write("rendered_configs/dev/state/bootstrapped", "{}")
    dev = environments.load("dev")
    first, second = dev.control_planes
    with pytest.raises(type(error), match=error.message) as failed, turns.turn(dev, first):
        raise error
    assert "env=dev" in failed.value.hint
    stopped = pytest.raises(NodeError, match="dev/cp_2: not changed, because the roll-out stopped")
    with stopped, turns.turn(dev, second):
        raise AssertionError("its turn must not come")

    # The next run starts over.
    locks.begin_roll_out(dev)
    with turns.turn(dev, second):
        assert locks.stopped_at(dev) == ""
