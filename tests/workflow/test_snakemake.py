"""What is used of Snakemake without being documented is there, and does what it is used for.

A new Snakemake that drops or renames any of it fails here, by its name.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from talosmake.base.errors import ToolError
from talosmake.workflow import snakemake
from talosmake.workflow.snakemake import LogEvent
from tests import forked
from tests.project import BIN, OWN_OUTPUT, REPOSITORY, Project, Run

MAIN = """\
include: "sub/inner.smk"


workflow.default_target = "all"
"""
INNER = f"""\
import json, logging, sys, time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, "{REPOSITORY}/scripts")
from talosmake.base import progress
from talosmake.workflow import snakemake as internals


class Keep(logging.Handler):
    def emit(self, record):
        event = internals.event_of(record)
        heard = asdict(event) if event else {{"level": record.levelno, "text": record.getMessage()}}
        with open("heard.jsonl", "a") as file:
            print(json.dumps(heard), file=file)


progress.logger.addHandler(Keep())
internals.check(workflow)
listener = internals.queue_listener(workflow)
internals.limit(workflow, {{"slot": 1, "given": 1}})
TOLD = {{
    "directory": workflow.current_basedir.get_path_or_uri(secret_free=True),
    "main_process": internals.is_main_process(workflow),
    "main_snakefile": str(internals.main_snakefile(workflow)),
    "shows_nothing": internals.shows_nothing(workflow),
    "queue": hasattr(listener, "queue") and hasattr(listener.queue, "unfinished_tasks"),
    "handlers": len(getattr(listener, "handlers", ())),
}}
RUNNING, MOST = {{"slot": [], "given": []}}, {{"slot": 0, "given": 0}}


def work(what, output):
    RUNNING[what].append(output)
    MOST[what] = max(MOST[what], len(RUNNING[what]))
    time.sleep(0.3)
    RUNNING[what].remove(output)
    Path(output).touch()


onstart:
    internals.start_at_once(workflow)
    TOLD["rate_limiter"] = str(workflow.scheduler.job_rate_limiter)
    TOLD["due"] = sorted(internals.due_rules(workflow))


onsuccess:
    Path("told.json").write_text(json.dumps({{**TOLD, "most": MOST}}))


rule first:
    output:
        "first",
    run:
        raise Exception("is no default target")


rule all:
    input:
        expand("slot.{{n}}", n=[1, 2, 3]),
        expand("given.{{n}}", n=[1, 2, 3]),


rule limited:
    input:
        internals.ancient("old"),
    output:
        "slot.{{n}}",
    resources:
        slot=1,
    run:
        work("slot", output[0])


rule as_called:
    output:
        "given.{{n}}",
    resources:
        given=1,
    run:
        work("given", output[0])


rule failing:
    log:
        "failing.log",
    run:
        class Told(internals.SpawnedJobError):
            __traceback__ = property(lambda _: None, lambda *_: None)

        raise Told
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A directory with a small workflow that tells what it was told."""
    root = tmp_path_factory.mktemp("workflow")
    made = Project(root, {"HOME": str(root / "home")})
    made.write("Snakefile", MAIN)
    made.write("sub/inner.smk", INNER)
    made.write("old", "")
    return made


# With its own output, and a handler of ours that shows nothing.
_LOGGER = ("--logger", "talosmake", OWN_OUTPUT)


def run(workflow: Project, *arguments: str) -> Run:
    (workflow.root / "heard.jsonl").unlink(missing_ok=True)
    command = [str(BIN / "snakemake"), "--force-use-threads", "-j8", *_LOGGER, *arguments]
    with forked.server() as server:
        return Run(*server.run(command, workflow.root, workflow.variables, 120))


def heard(workflow: Project) -> list[dict[str, Any]]:
    """What the last run's logger told, as events and as messages."""
    return [json.loads(line) for line in workflow.read("heard.jsonl").splitlines()]


@pytest.fixture(scope="module")
def told(workflow: Project) -> dict[str, Any]:
    """What a run was told that makes all."""
    done = run(workflow, "--resources", "given=2")
    assert done.code == 0, done.output
    return {**json.loads(workflow.read("told.json")), "heard": heard(workflow)}


def test_places(told: dict[str, Any], workflow: Project) -> None:
    assert Path(told["directory"]) == workflow.root / "sub"
    assert Path(told["main_snakefile"]).resolve() == workflow.root / "Snakefile"


def test_process_that_a_person_started(told: dict[str, Any]) -> None:
    assert told["main_process"] is True


def test_what_shows_messages(told: dict[str, Any]) -> None:
    assert told["shows_nothing"] is False
    assert told["queue"]
    assert told["handlers"] >= 1


def test_limits_are_kept_and_the_command_line_counts(told: dict[str, Any]) -> None:
    assert told["most"] == {"slot": 1, "given": 2}


def test_rules_that_are_due_and_the_default_target(told: dict[str, Any]) -> None:
    assert told["due"] == ["all", "as_called", "limited"]


def test_jobs_start_at_once(told: dict[str, Any]) -> None:
    assert told["rate_limiter"] == "None"


def of_kind(heard: list[dict[str, Any]], kind: LogEvent) -> list[dict[str, Any]]:
    found = [event for event in heard if event.get("kind") == kind]
    assert found, f"Snakemake tells of no {kind}"
    return found


def test_jobs_are_told_by_number_with_rule_and_wildcards(told: dict[str, Any]) -> None:
    known = {
        event["jobs"][0]: (event["rule"], event["wildcards"])
        for event in of_kind(told["heard"], LogEvent.JOB_INFO)
    }
    assert ("limited", {"n": "1"}) in known.values()
    assert ("all", {}) in known.values()
    started = of_kind(told["heard"], LogEvent.JOB_STARTED)
    finished = of_kind(told["heard"], LogEvent.JOB_FINISHED)
    assert {number for event in started for number in event["jobs"]} == known.keys()
    assert {number for event in finished for number in event["jobs"]} == known.keys()


def test_jobs_are_counted(told: dict[str, Any]) -> None:
    assert {event["total"] for event in of_kind(told["heard"], LogEvent.RUN_INFO)} == {7}
    counts = [(e["done"], e["total"]) for e in of_kind(told["heard"], LogEvent.PROGRESS)]
    assert counts[-1] == (7, 7)


def test_messages_of_a_run_in_which_nothing_is_said_are_noise(told: dict[str, Any]) -> None:
    texts = [each["text"] for each in told["heard"] if each.get("level") == logging.INFO]
    assert texts
    # What the rules of this workflow are shown as, and where the whole of it is, are for a person.
    loud = [text for text in texts if not snakemake.is_noise(text)]
    assert [text for text in loud if not text.startswith(("Complete log", "Elapsed"))] == []


@pytest.mark.parametrize("text", [*snakemake.NOISE, snakemake.INTERRUPTED, *snakemake.FAILED])
def test_messages_that_are_known_are_still_said(text: str) -> None:
    said = text.rpartition("\n")[2]
    sources = Path(str(files("snakemake"))).rglob("*.py")
    assert any(f'"{said}' in path.read_text() for path in sources), f"Snakemake says no '{said}'"


def test_ancient_input_is_no_reason(told: dict[str, Any], workflow: Project) -> None:
    workflow.write("old", "newer than what was made of it")
    assert "Nothing to be done" in run(workflow).output


def test_asked_to_show_nothing(told: dict[str, Any], workflow: Project) -> None:
    assert run(workflow, "--quiet", "all", "--forceall").code == 0
    assert json.loads(workflow.read("told.json"))["shows_nothing"] is True


def test_job_that_told_its_error_gets_no_second_message(workflow: Project) -> None:
    done = run(workflow, "failing")
    assert done.code == 1
    assert "Error in rule failing:" in done.output
    assert "Traceback" not in done.output
    assert 'File "' not in done.output
    [error] = of_kind(heard(workflow), LogEvent.JOB_ERROR)
    assert error["logs"] == ["failing.log"]
    texts = [each["text"] for each in heard(workflow) if each.get("level") == logging.ERROR]
    assert [text for text in texts if not snakemake.is_said_already(text)] == []


def test_error_of_the_workflow_is_told(workflow: Project) -> None:
    assert run(workflow, "nothing_makes_this").code == 1
    assert of_kind(heard(workflow), LogEvent.ERROR)


def stand_in() -> SimpleNamespace:
    """A workflow with all that is asked for."""
    job = SimpleNamespace(rule=SimpleNamespace(name="up"))
    return SimpleNamespace(
        is_main_process=True,
        main_snakefile="Snakefile",
        dryrun=False,
        global_resources={},
        local_exec=True,
        output_settings=SimpleNamespace(quiet=None),
        logger_manager=SimpleNamespace(queue_listener=None),
        persistence=SimpleNamespace(dag=SimpleNamespace(needrun_jobs=lambda: [job])),
        scheduler=SimpleNamespace(job_rate_limiter=object()),
    )


def _paths(thing: SimpleNamespace, *above: str) -> Iterator[tuple[str, ...]]:
    for name, value in vars(thing).items():
        yield (*above, name)
        if isinstance(value, SimpleNamespace):
            yield from _paths(value, *above, name)


@pytest.mark.parametrize("path", list(_paths(stand_in())), ids=".".join)
def test_what_is_gone_is_told_by_its_name(path: tuple[str, ...]) -> None:
    workflow = stand_in()
    _ask_all(workflow)
    holder: Any = workflow
    for name in path[:-1]:
        holder = getattr(holder, name)
    delattr(holder, path[-1])
    with pytest.raises(ToolError, match=rf"^Snakemake \d.* has no workflow\.{'.'.join(path)}, "):
        _ask_all(workflow)


def _ask_all(workflow: SimpleNamespace) -> None:
    snakemake.check(workflow)
    assert snakemake.is_main_process(workflow)
    assert snakemake.main_snakefile(workflow) == Path("Snakefile")
    assert not snakemake.shows_nothing(workflow)
    assert snakemake.queue_listener(workflow) is None
    snakemake.limit(workflow, {"worker": 2})
    assert workflow.global_resources == {"worker": 2}
    assert snakemake.due_rules(workflow) == {"up"}
    snakemake.start_at_once(workflow)
    assert workflow.scheduler.job_rate_limiter is None


def test_nothing_else_looks_into_snakemake() -> None:
    """The one thing that the rules look at finds the code, and so the module for all else."""
    found = {
        (path.name, line.strip())
        for path in (REPOSITORY / "Snakefile", *(REPOSITORY / "rules").glob("*.smk"))
        for line in path.read_text().splitlines()
        if "workflow." in line.replace("talosmake.workflow", "") and not line.startswith("#")
    }
    assert found == {
        (
            "common.smk",
            "Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parent",
        )
    }
