from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talosmake.base import this_run
from talosmake.report import journal
from talosmake.report.journal import Job

LOG = Path("logs/dev/worker-worker_1.apply.log")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_jobs_of_a_run() -> None:
    journal.begin("dev")
    with journal.noted(LOG):
        pass
    with pytest.raises(KeyError), journal.noted(Path("logs/dev/bootstrap_cluster.log")):
        raise KeyError
    first, second = journal.jobs("dev")
    assert (first.name, first.failed) == ("worker-worker_1.apply", False)
    assert (second.name, second.failed) == ("bootstrap_cluster", True)
    assert 0 <= first.seconds < 60
    assert first.end <= second.start
    journal.begin("dev")
    assert journal.jobs("dev") == []


def test_who_only_looks_writes_nothing() -> None:
    journal.begin("dev")
    this_run.begin()
    with journal.noted(LOG):
        pass
    assert journal.jobs("dev") == []
    assert journal.jobs("never_run") == []


def test_job_in_a_process_of_its_own() -> None:
    journal.begin("dev")
    this_run.begin()
    journal.join("dev")
    with journal.noted(LOG):
        pass
    assert len(journal.jobs("dev")) == 1


def test_lost_journal_fails_no_job() -> None:
    journal.begin("dev")
    journal.path_of("dev").unlink()
    with journal.noted(LOG):
        pass


def test_line_that_was_cut_off() -> None:
    journal.begin("dev")
    whole = json.dumps({"name": "a", "start": 1.0, "end": 2.0, "failed": False})
    journal.path_of("dev").write_text(f"{whole}\n{whole[:20]}\n[]\n{{}}\n")
    assert journal.jobs("dev") == [Job("a", 1.0, 2.0, failed=False)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10)), max_size=40))
def test_lanes_hold_all_jobs_and_none_covers_another(times: list[tuple[int, int]]) -> None:
    run = sorted(
        (Job(str(i), start, start + long, False) for i, (start, long) in enumerate(times)),
        key=lambda job: job.start,
    )
    lanes = journal.lanes(run)
    assert sorted(job.name for lane in lanes for job in lane) == sorted(job.name for job in run)
    for lane in lanes:
        assert all(one.end <= other.start for one, other in itertools.pairwise(lane))
    at_once = max((sum(o.start <= job.start < o.end for o in run) for job in run), default=0)
    # A job that takes no time needs a line, too.
    assert at_once <= len(lanes) <= max(at_once, 0) + 1
