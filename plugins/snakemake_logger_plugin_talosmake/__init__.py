"""How a run is shown, by Snakemake's logger plugin interface, as the profile's ``logger``.

A live view on a terminal, plain lines elsewhere. set-up makes this module known to .venv.
"""

import sys
import time
from dataclasses import dataclass, field
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

if TYPE_CHECKING:
    from talosmake.workflow.run_view import Screen
    from talosmake.workflow.snakemake import Event

# What is shown is imported when there is a run: Snakemake imports this at every start.
if (_code := str(Path(__file__).resolve().parents[2] / "scripts")) not in sys.path:
    sys.path.insert(0, _code)


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
        from talosmake.workflow import run_view, snakemake

        self.snakemake = snakemake
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
        event = self.snakemake.event_of(record)
        if event is None:
            self._said(self.screen, record)
        else:
            self._happened(self.screen, event, record)

    def _happened(self, screen: "Screen", event: "Event", record: LogRecord) -> None:
        kinds = self.snakemake.LogEvent
        if event.kind == kinds.JOB_INFO:
            self.view.know(event.jobs[0], event.rule, event.wildcards)
        elif event.kind == kinds.JOB_STARTED:
            self.view.start(event.jobs, time.monotonic())
        elif event.kind == kinds.JOB_FINISHED:
            self._finished(screen, event.jobs[0])
        elif event.kind == kinds.JOB_ERROR:
            self._finished(screen, event.jobs[0], failed=True)
            self.view.failed += 1
            self.view.errors += _where_to_look(event)
        elif event.kind == kinds.PROGRESS:
            self.view.done, self.view.total = event.done, event.total
        elif event.kind == kinds.RUN_INFO:
            self.view.total = event.total
        elif event.kind == kinds.ERROR:
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
        if self.snakemake.is_interruption(text):
            self.view.interrupted = True
        elif record.levelno >= ERROR:
            self._went_wrong(text)
        elif record.levelno >= WARNING:
            screen.show(text, "yellow")
        elif not self.snakemake.is_noise(text):
            heard = self.view.hear(text)
            if not (heard and screen.draws):
                screen.show(text)

    def _went_wrong(self, text: str) -> None:
        if not self.snakemake.is_said_already(text):
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


def _where_to_look(event: "Event") -> list[str]:
    """Below an error: the job's log files, and what an executor tells of a job elsewhere."""
    logs = ", ".join(event.logs)
    elsewhere = [f"{name.replace('_', ' ')}: {value}" for name, value in event.elsewhere.items()]
    return [f"  {line}" for line in (f"log: {logs}" if logs else "", *elsewhere) if line]
