"""How a run is shown, by Snakemake's logger plugin interface, as the profile's ``logger``.

A live view on a terminal, plain lines elsewhere. set-up makes this module known to .venv.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

if TYPE_CHECKING:
    from talosmake.workflow.run_view import Screen

# What is shown is imported when there is a run: Snakemake imports this at every start.
if (_code := str(Path(__file__).resolve().parents[2] / "scripts")) not in sys.path:
    sys.path.insert(0, _code)


# What Snakemake says before and between jobs, of no use to somebody who sees the steps.
_NOISE = (
    *("Assuming unrestricted", "Building DAG", "Using shell", "Select jobs", "Execute "),
    "Shutting down, this might take some time",
)
_INTERRUPTED = "Terminating processes on user request"
# What it says at the end of a run in which something failed; the errors themselves are shown.
_FAILED = ("Exiting because a job execution failed", "WorkflowError:\nAt least one job did not")


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):  # type: ignore[misc]  # no types there
    """What Snakemake's command line can set."""

    off: bool = field(default=False, metadata={"help": "Show Snakemake's own output."})


class LogHandler(LogHandlerBase):  # type: ignore[misc]  # snakemake's interface has no types here
    """Shows a run; does nothing where Snakemake's own output is wanted."""

    def __post_init__(self) -> None:
        """Begin to show, unless it is a dry run or a person asked for more, or less."""
        from talosmake.base import streams

        # Before Snakemake has its own output where none is drawn, so for that as well.
        streams.outlive_readers()
        self.screen: Screen | None = None
        shown = self.common_settings
        if shown.dryrun or shown.quiet or shown.verbose or shown.printshellcmds:
            return
        if self.settings.off:
            return
        from talosmake.workflow import run_view

        self.view = run_view.View(time.monotonic())
        self.ended, self.outcome = run_view.ended, run_view.outcome
        stream = sys.stdout if shown.stdout else sys.stderr
        if stream.isatty():
            from talosmake.workflow import live_view

            if live_view.is_capable(stream):
                self.screen = live_view.Terminal(self.view, stream)
                return
        self.screen = run_view.Lines(stream)

    def emit(self, record: LogRecord) -> None:
        """Take in one message of Snakemake's or of a step."""
        if self.screen is None:
            return
        event = getattr(record, "event", None)
        if event is None:
            self._said(self.screen, record)
        else:
            self._happened(self.screen, event, record)

    def _happened(self, screen: "Screen", event: str, record: LogRecord) -> None:
        told = record.__dict__
        if event == LogEvent.JOB_INFO:
            self.view.know(told["jobid"], told["rule_name"], dict(told.get("wildcards") or {}))
        elif event == LogEvent.JOB_STARTED:
            self.view.start(told["jobs"], time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self._finished(screen, told["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self._finished(screen, told["jobid"], failed=True)
            self.view.failed += 1
            self.view.errors += _where_to_look(told)
        elif event == LogEvent.PROGRESS:
            self.view.done, self.view.total = told["done"], told["total"]
        elif event == LogEvent.RUN_INFO:
            self.view.total = int((told.get("stats") or {}).get("total", 0))
        elif event == LogEvent.ERROR:
            self._went_wrong(record.getMessage())

    def _finished(self, screen: "Screen", number: int, failed: bool = False) -> None:
        job = self.view.finish(number)
        # Snakemake counts a moment later.
        self.view.done += not failed
        line = self.ended(self.view, job, time.monotonic(), failed) if job else ""
        if line and not screen.draws:
            screen.show(line)

    def _said(self, screen: "Screen", record: LogRecord) -> None:
        text = record.getMessage()
        if _INTERRUPTED in text:
            self.view.interrupted = True
        elif record.levelno >= ERROR:
            self._went_wrong(text)
        elif record.levelno >= WARNING:
            screen.show(text, "yellow")
        elif not text.startswith(_NOISE) and text != "None":
            heard = self.view.hear(text)
            if not (heard and screen.draws):
                screen.show(text)

    def _went_wrong(self, text: str) -> None:
        if not text.startswith(_FAILED):
            self.view.errors.append(text)

    def close(self) -> None:
        """Leave a clean terminal, with what failed and how to go on."""
        if (screen := self.screen) is not None:
            self.screen = None
            screen.close()
            for error in filter(None, dict.fromkeys(self.view.errors)):
                screen.show(error, "bold red" if "Error" in error else "")
            if outcome := self.outcome(self.view):
                screen.show(outcome)
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Whether it takes the place of Snakemake's own output."""
        return self.screen is not None

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's log file stays as it is."""
        return False

    @property
    def has_filter(self) -> bool:
        """What it leaves out it decides itself."""
        return True

    @property
    def has_formatter(self) -> bool:
        """It has its own form."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It draws no graph."""
        return False


def _where_to_look(told: Mapping[str, Any]) -> list[str]:
    """Below an error: the job's log files, and what an executor tells of a job elsewhere."""
    logs = ", ".join(told.get("log") or ())
    elsewhere = [f"{name.replace('_', ' ')}: {value}" for name, value in told["aux"].items()]
    return [f"  {line}" for line in (f"log: {logs}" if logs else "", *elsewhere) if line]
