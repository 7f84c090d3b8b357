from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from talosmake.base.errors import InventoryError
from talosmake.inventory import environments, lifetimes
from tests.project import CLUSTER_ENV

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("8760h", 8760),
        ("1y", 8760),
        ("365d", 8760),
        ("2w", 336),
        ("1d12h", 36),
        ("120m", 2),
        ("1.5d", 36),
        ("3600s", 1),
        ("0h", 0),
    ],
)
def test_durations(text: str, hours: int) -> None:
    assert lifetimes.hours(text) == hours


@pytest.mark.parametrize(
    "text", ["", "1", "8760", "-1h", "1 h", "h", "1H", "1h x", "one year", "∞"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        lifetimes.hours(text)


@pytest.mark.parametrize("text", ["90m", "1h1s", "0.3h"])
def test_what_is_not_of_whole_hours(text: str) -> None:
    with pytest.raises(ValueError, match="is not of whole hours"):
        lifetimes.hours(text)


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        (-10, 300, ""),
        (-154, 156, ""),
        (-156, 154, "is past half of its life, which ends on 2026-11-02 00:00 UTC"),
        (-365, 0, "expired on 2026-06-01 00:00 UTC"),
        (-365, -1, "expired on 2026-05-31 00:00 UTC"),
        (1, 365, "is not valid before 2026-06-02 00:00 UTC, and this machine's clock says "),
        (1 / 1440, 365, ""),  # a minute: clocks differ
    ],
)
def test_when_a_new_one_is_due(since: float, until: float, why: str) -> None:
    found = lifetimes.outlived(NOW + timedelta(since), NOW + timedelta(until), NOW)
    assert found.startswith(why)
    assert bool(found) == bool(why)


def _environment(root: Path, facts: str) -> None:
    directory = root / "patches/envs/dev"
    (directory / "control_planes/cp_1").mkdir(parents=True)
    (directory / "control_planes/cp_1/node.env").write_text("NODE_IP=10.9.0.11\n")
    (directory / "cluster.env").write_text(CLUSTER_ENV + facts)


@pytest.mark.parametrize(("facts", "hours"), [("", 8760), ("CERT_TTL=90d\n", 2160)])
def test_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: str, hours: int) -> None:
    monkeypatch.chdir(tmp_path)
    _environment(tmp_path, facts)
    assert environments.load("dev").options.cert_hours == hours


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("0", "is no duration"),
        ("0h", "is too short: half of it must be longer than NODE_TIMEOUT and ETCD_TIMEOUT"),
        ("-1h", "is no duration"),
        ("soon", "is no duration"),
        ("90m", "is not of whole hours"),
        ("11y", "is longer than the CA lives that signs it"),
        ("", "is no duration"),
    ],
)
def test_what_the_fact_may_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _environment(tmp_path, f"# how long\nCERT_TTL={value}\n")
    with pytest.raises(InventoryError) as error:
        environments.load("dev")
    line = CLUSTER_ENV.count("\n") + 2
    assert error.value.message.startswith(f"patches/envs/dev/cluster.env:{line}: CERT_TTL=")
    assert problem in error.value.message
    assert "from 1h to 10y" in error.value.hint


def test_it_outlasts_what_a_step_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _environment(tmp_path, "CERT_TTL=2h\nNODE_TIMEOUT=3600\nETCD_TIMEOUT=60\n")
    with pytest.raises(InventoryError, match="is too short") as error:
        environments.load("dev")
    assert "from 3h to 10y" in error.value.hint
