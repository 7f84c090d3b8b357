"""Simulated nodes answer as real ones do."""

from __future__ import annotations

import pytest

from tests.lab.conftest import Life
from tests.lab.contract import CALLS, Call


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_same_answer(call: Call, real: Life, simulated: Life) -> None:
    assert simulated.answers[call.name] == real.answers[call.name], (
        f"real:\n{real.shown[call.name]}\nsimulated:\n{simulated.shown[call.name]}"
    )
