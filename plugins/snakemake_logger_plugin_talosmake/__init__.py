"""``snakemake --logger talosmake``: a live view of the run, by Snakemake's logger plugin interface.

Where the output is no terminal, it is Snakemake's own. set-up makes this module known to .venv.
"""

from __future__ import annotations

import sys
import time
from logging import ERROR, WARNING, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from rich.live import Live

# What the view needs is imported when there is one to draw: Snakemake imports this at every start.
if (_code := str(Path(__file__).resolve().parents[2])) not in sys.path:
    sys.path.insert(0, _code)


# What Snakemake says before and between jobs, of no use to somebody who sees the view.
_NOISE = ("Assuming unrestricted", "Building DAG", "Using shell", "Select jobs", "Execute ")
_INTERRUPTED = "Terminating processes on user request"


class LogHandler(LogHandlerBase):  # type: ignore[misc]  # snakemake's interface has no types here
    """Draws the view on a terminal; elsewhere writes what Snakemake itself would."""

    def __post_init__(self) -> None:
        """Begin to draw, where there is somebody to see it."""
        from rich.console import Console
        from rich.live import Live

        from scripts import view

        self._shown = view.shown
        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        self.console = Console(file=stream)
        self.view = view.View(time.monotonic())
        self.live: Live | None = None
        self.plain: ColorizingTextHandler | None = None
        if not self.console.is_terminal or settings.dryrun or settings.quiet or settings.verbose:
            self.plain = ColorizingTextHandler(nocolor=settings.nocolor, stream=stream)
            self.plain.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
            self.addFilter(
                DefaultFilter(
                    settings.quiet,
                    settings.debug_dag,
                    settings.verbose,
                    settings.dryrun,
                    settings.printshellcmds,
                )
            )
            return
        self.live = Live(
            console=self.console, get_renderable=self._drawn, refresh_per_second=5, transient=True
        )
        self.live.start()

    def _drawn(self) -> object:
        return self._shown(self.view, time.monotonic(), min(self.console.height - 2, 20))

    def emit(self, record: LogRecord) -> None:
        """Take in one message of Snakemake's or of a step."""
        if self.plain is not None:
            self.plain.emit(record)
            return
        event = getattr(record, "event", None)
        if event is None:
            self._said(record)
        else:
            self._happened(event, record)

    def _happened(self, event: str, record: LogRecord) -> None:
        told = record.__dict__
        if event == LogEvent.JOB_INFO:
            self.view.know(told["jobid"], told["rule_name"], dict(told.get("wildcards") or {}))
        elif event == LogEvent.JOB_STARTED:
            self.view.start(told["jobs"], time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self.view.finish(told["job_id"])
        elif event == LogEvent.JOB_ERROR:
            self.view.finish(told["jobid"])
            logs = ", ".join(told.get("log") or ())
            self.view.errors.append(f"  log: {logs}" if logs else "")
        elif event == LogEvent.PROGRESS:
            self.view.done, self.view.total = told["done"], told["total"]
        elif event == LogEvent.RUN_INFO:
            self.view.total = int((told.get("stats") or {}).get("total", 0))
        elif event == LogEvent.ERROR:
            self.view.errors.append(record.getMessage())

    def _said(self, record: LogRecord) -> None:
        from rich.text import Text

        text = record.getMessage()
        if _INTERRUPTED in text:
            self.view.interrupted = True
        elif record.levelno >= ERROR:
            self.view.errors.append(text)
        elif record.levelno >= WARNING:
            self.console.print(Text(text, style="yellow"))
        elif not self.view.hear(text) and text != "None" and not text.startswith(_NOISE):
            self.console.print(Text(text))

    def close(self) -> None:
        """Leave a clean terminal, with what failed and how to go on."""
        from rich.text import Text

        if self.live is not None:
            self.live.stop()
            self.live = None
            for error in filter(None, dict.fromkeys(self.view.errors)):
                self.console.print(Text(error, style="bold red" if "Error" in error else ""))
            if self.view.interrupted:
                self.console.print(
                    f"Interrupted after {self.view.done} of {self.view.total} steps. The same "
                    "command goes on where this one stopped."
                )
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own output."""
        return True

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
